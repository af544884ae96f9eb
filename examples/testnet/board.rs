//! The output of a run: a live table and a progress bar per phase in a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One node in the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) state: &'static str,
    pub(crate) out: usize,
    pub(crate) incoming: usize,
    pub(crate) known: usize,
    pub(crate) banned: usize,
    pub(crate) dials_per_second: u64,
}

/// Two of these and the gap fit a terminal of 80 columns.
const HEADING: &str = "node       out  in known banned dial/s";
const GAP: &str = "   ";

impl Row {
    fn text(&self) -> String {
        format!(
            "{:<5}{:<6}{:>3}{:>4}{:>6}{:>7}{:>7}",
            self.name, self.state, self.out, self.incoming, self.known, self.banned, self.dials_per_second
        )
    }
}

/// Shows a run.
#[derive(Debug)]
pub(crate) enum Board {
    /// In a terminal.
    Live(Live),
    /// Anywhere else.
    Plain(Plain),
}

impl Board {
    /// The board that suits the output.
    pub(crate) fn new() -> Self {
        if io::stdout().is_terminal() {
            Self::Live(Live::new())
        } else {
            Self::Plain(Plain::new())
        }
    }

    /// Whether the output is a terminal.
    pub(crate) fn is_live(&self) -> bool {
        match self {
            Self::Live(_) => true,
            Self::Plain(_) => false,
        }
    }

    /// A phase begins.
    pub(crate) fn begin(&mut self, phase: &str) {
        match self {
            Self::Live(live) => live.begin(phase),
            Self::Plain(plain) => plain.begin(phase),
        }
    }

    /// The nodes as they are now.
    pub(crate) fn show_nodes(&mut self, rows: &[Row]) {
        match self {
            Self::Live(live) => live.show_nodes(rows),
            Self::Plain(plain) => plain.show_nodes(rows),
        }
    }

    /// How far the phase that began last is.
    pub(crate) fn show_progress(&mut self, done: usize, of: usize) {
        match self {
            Self::Live(live) => live.show_progress(done, of),
            Self::Plain(plain) => plain.show_progress(done, of),
        }
    }

    /// The phase that began last is over.
    pub(crate) fn end(&mut self, outcome: &str) {
        match self {
            Self::Live(live) => live.phase.abandon_with_message(outcome.to_owned()),
            Self::Plain(_) => say(&format!("  {outcome}")),
        }
    }

    /// Leaves everything on the screen as it is; the next line is written below it.
    pub(crate) fn leave(&self) {
        match self {
            Self::Live(live) => {
                live.phase.abandon();
                live.table.abandon();
                say("");
            }
            Self::Plain(_) => {}
        }
    }
}

/// A table with two nodes a line, and below it one bar a phase.
#[derive(Debug)]
pub(crate) struct Live {
    screen: MultiProgress,
    table: ProgressBar,
    phase: ProgressBar,
}

impl Live {
    fn new() -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let table = screen.add(ProgressBar::new(0).with_style(style("{msg}")));
        Self {
            screen,
            table,
            phase: ProgressBar::hidden(),
        }
    }

    fn begin(&mut self, phase: &str) {
        let bar = ProgressBar::new(0).with_style(style("{prefix:<26} [{bar:24}] {pos:>2}/{len} {msg}"));
        self.phase = self.screen.add(bar.with_prefix(phase.to_owned()));
    }

    fn show_nodes(&mut self, rows: &[Row]) {
        let (left, right) = rows.split_at(rows.len().div_ceil(2));
        let mut right = right.iter();
        let mut table = format!("{HEADING}{GAP}{HEADING}");
        for row in left {
            let beside = right.next().map(Row::text).unwrap_or_default();
            table.extend(["\n", &row.text(), GAP, &beside]);
        }
        self.table.set_message(table);
    }

    fn show_progress(&mut self, done: usize, of: usize) {
        self.phase.set_length(as_u64(of));
        self.phase.set_position(as_u64(done));
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("templates of this file are valid");
    style.progress_chars("=> ")
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// A line at the start and the end of each phase, and one a second in between.
#[derive(Debug)]
pub(crate) struct Plain {
    nodes: String,
    next_line: Instant,
}

const LINE_INTERVAL: Duration = Duration::from_secs(1);

impl Plain {
    fn new() -> Self {
        Self {
            nodes: String::new(),
            next_line: Instant::now(),
        }
    }

    fn begin(&mut self, phase: &str) {
        say(phase);
        self.next_line = Instant::now() + LINE_INTERVAL;
    }

    fn show_nodes(&mut self, rows: &[Row]) {
        let connections: usize = rows.iter().map(|row| row.out).sum();
        let bans: usize = rows.iter().map(|row| row.banned).sum();
        let dials: u64 = rows.iter().map(|row| row.dials_per_second).sum();
        self.nodes = format!("{connections} connections, {bans} bans, {dials} dials/s");
    }

    fn show_progress(&mut self, done: usize, of: usize) {
        if Instant::now() >= self.next_line {
            self.next_line += LINE_INTERVAL;
            say(&format!("  {done} of {of}: {}", self.nodes));
        }
    }
}

fn say(line: &str) {
    // The run goes on without a reader.
    let _ = writeln!(io::stdout(), "{line}");
}
