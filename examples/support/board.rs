//! What the run looks like: a live table and a progress bar per phase in a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One node in the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) mood: &'static str,
    pub(crate) out: usize,
    pub(crate) incoming: usize,
    pub(crate) known: usize,
    pub(crate) banned: usize,
    pub(crate) dials_per_second: u64,
}

const COLUMNS: &str = "node        out  in  known  banned  dials/s";
const GAP: &str = "   ";

impl Row {
    fn text(&self) -> String {
        format!(
            "{:<5}{:<6}{:>4}{:>4}{:>7}{:>8}{:>9}",
            self.name, self.mood, self.out, self.incoming, self.known, self.banned, self.dials_per_second
        )
    }
}

/// How far a phase is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) done: usize,
    pub(crate) of: usize,
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
    /// The board for `nodes` nodes that suits the output.
    pub(crate) fn new(nodes: usize) -> Self {
        if io::stdout().is_terminal() {
            Self::Live(Live::new(nodes))
        } else {
            Self::Plain(Plain::new())
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
    pub(crate) fn show(&mut self, rows: &[Row], progress: Progress) {
        match self {
            Self::Live(live) => live.show(rows, progress),
            Self::Plain(plain) => plain.show(rows, progress),
        }
    }

    /// The phase that began last is over.
    pub(crate) fn end(&mut self, outcome: &str) {
        match self {
            Self::Live(live) => live.end(outcome),
            Self::Plain(_) => say(&format!("  {outcome}")),
        }
    }
}

/// Two nodes a line, and below them one bar a phase.
#[derive(Debug)]
pub(crate) struct Live {
    screen: MultiProgress,
    lines: Vec<ProgressBar>,
    phase: ProgressBar,
}

impl Live {
    fn new(nodes: usize) -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stdout_with_hz(20));
        let line = || screen.add(ProgressBar::new(0).with_style(style("{msg}")));
        let heading = line();
        let lines = (0..nodes.div_ceil(2)).map(|_| line()).collect();
        line().tick();
        heading.set_message(format!("{COLUMNS}{GAP}{COLUMNS}"));
        Self {
            screen,
            lines,
            phase: ProgressBar::hidden(),
        }
    }

    fn begin(&mut self, phase: &str) {
        let bar = ProgressBar::new(0).with_style(style("{prefix:<30} [{bar:24}] {pos:>2}/{len} {elapsed:>3} {msg}"));
        self.phase = self.screen.add(bar.with_prefix(phase.to_owned()));
    }

    fn show(&mut self, rows: &[Row], progress: Progress) {
        let (left, right) = rows.split_at(self.lines.len());
        let mut right = right.iter();
        for (line, row) in self.lines.iter().zip(left) {
            let beside = right.next().map(Row::text).unwrap_or_default();
            line.set_message(format!("{}{GAP}{beside}", row.text()));
        }
        self.phase.set_length(as_u64(progress.of));
        self.phase.set_position(as_u64(progress.done));
    }

    fn end(&mut self, outcome: &str) {
        self.phase.abandon_with_message(outcome.to_owned());
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("templates of this file are valid");
    style.progress_chars("=> ")
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// A line at each phase's begin and end, and one a second in between.
#[derive(Debug)]
pub(crate) struct Plain {
    next_line: Instant,
}

const LINE_INTERVAL: Duration = Duration::from_secs(1);

impl Plain {
    fn new() -> Self {
        Self {
            next_line: Instant::now() + LINE_INTERVAL,
        }
    }

    fn begin(&mut self, phase: &str) {
        say(phase);
        self.next_line = Instant::now() + LINE_INTERVAL;
    }

    fn show(&mut self, rows: &[Row], progress: Progress) {
        if Instant::now() < self.next_line {
            return;
        }
        self.next_line += LINE_INTERVAL;
        let connections: usize = rows.iter().map(|row| row.out).sum();
        let bans: usize = rows.iter().map(|row| row.banned).sum();
        let dials: u64 = rows.iter().map(|row| row.dials_per_second).sum();
        let Progress { done, of } = progress;
        say(&format!(
            "  {done} of {of}: {connections} connections, {bans} bans, {dials} dials/s"
        ));
    }
}

fn say(line: &str) {
    // A reader who has left does not matter to the run.
    let _ = writeln!(io::stdout(), "{line}");
}
