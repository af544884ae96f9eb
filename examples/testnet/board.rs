//! The output of a run: a live table and a progress bar per phase in a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::screen::{self, Phase, Row};

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

    /// A phase begins, whose progress is counted in these units.
    pub(crate) fn begin(&mut self, phase: &str, unit: &'static str) {
        match self {
            Self::Live(live) => live.begin(phase, unit),
            Self::Plain(plain) => plain.begin(phase, unit),
        }
    }

    /// The nodes as they are now.
    pub(crate) fn show_nodes(&mut self, rows: Vec<Row>) {
        match self {
            Self::Live(live) => live.show_nodes(rows),
            Self::Plain(plain) => plain.show_nodes(&rows),
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
            Self::Live(live) => live.end(outcome),
            Self::Plain(_) => say(&format!("  {outcome}")),
        }
    }

    /// Leaves everything on the screen as it is; the next line is written below it.
    pub(crate) fn leave(&self) {
        match self {
            Self::Live(live) => {
                live.bar.abandon();
                say("");
            }
            Self::Plain(_) => {}
        }
    }
}

/// A table and bars, drawn as one text, as only that can be fitted into the terminal as a whole.
#[derive(Debug)]
pub(crate) struct Live {
    bar: ProgressBar,
    rows: Vec<Row>,
    phases: Vec<Phase>,
}

impl Live {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{msg}").expect("it is a valid template");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        Self {
            bar: bar.with_style(style),
            rows: Vec::new(),
            phases: Vec::new(),
        }
    }

    fn begin(&mut self, phase: &str, unit: &'static str) {
        self.phases.push(Phase {
            name: phase.to_owned(),
            unit,
            ..Phase::default()
        });
    }

    fn show_nodes(&mut self, rows: Vec<Row>) {
        self.rows = rows;
        self.draw();
    }

    fn show_progress(&mut self, done: usize, of: usize) {
        if let Some(phase) = self.phases.last_mut() {
            (phase.done, phase.of) = (done, of);
        }
        self.draw();
    }

    fn end(&mut self, outcome: &str) {
        if let Some(phase) = self.phases.last_mut() {
            outcome.clone_into(&mut phase.outcome);
        }
        self.draw();
    }

    fn draw(&self) {
        // It may have been resized.
        let (height, width) = Term::stdout().size();
        let lines = screen::lines(&self.rows, &self.phases, height.into(), width.into());
        self.bar.set_message(lines.join("\n"));
    }
}

/// A line at the start and the end of each phase, and one a second in between.
#[derive(Debug)]
pub(crate) struct Plain {
    unit: &'static str,
    nodes: String,
    next_line: Instant,
}

const LINE_INTERVAL: Duration = Duration::from_secs(1);

impl Plain {
    fn new() -> Self {
        Self {
            unit: "",
            nodes: String::new(),
            next_line: Instant::now(),
        }
    }

    fn begin(&mut self, phase: &str, unit: &'static str) {
        say(phase);
        self.unit = unit;
        self.next_line = Instant::now() + LINE_INTERVAL;
    }

    fn show_nodes(&mut self, rows: &[Row]) {
        let connections: usize = rows.iter().map(|row| row.out).sum();
        let bans: usize = rows.iter().map(|row| row.banned).sum();
        let dials: u64 = rows.iter().map(|row| row.dials_per_second).sum();
        self.nodes = format!("all have {connections} outgoing connections, {bans} bans, {dials} dials/s");
    }

    fn show_progress(&mut self, done: usize, of: usize) {
        if Instant::now() >= self.next_line {
            self.next_line += LINE_INTERVAL;
            say(&format!("  {done} of {of} {}; {}", self.unit, self.nodes));
        }
    }
}

fn say(line: &str) {
    // The run goes on without a reader.
    let _ = writeln!(io::stdout(), "{line}");
}
