//! [`Progress`]: how far an experiment is in virtual time, on the terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; nothing where that is no terminal.
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for one experiment.
    #[must_use]
    pub fn new() -> Self {
        let style = ProgressStyle::with_template("{prefix}[{bar:30}] {msg} ({elapsed})")
            .expect("the template is valid")
            .progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        Self(bar.with_style(style))
    }

    /// Shows nothing.
    #[must_use]
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// So much virtual time of so much is over, and what there is to say about it.
    pub fn show(&self, now: Duration, end: Duration, message: &str) {
        self.0.set_length(end.as_secs());
        self.0.set_position(now.as_secs().min(end.as_secs()));
        let message = format!("{} of {} {message}", clock(now), clock(end));
        self.0.set_message(message.trim_end().to_owned());
    }

    /// Of an experiment of several runs, the one with this number (from 1 on) begins.
    pub fn begin_run(&self, number: usize, of: usize) {
        self.0.set_prefix(format!("{number}/{of} "));
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_shown_in_minutes_and_seconds() {
        assert_eq!(clock(Duration::from_secs(59)), "0:59");
        assert_eq!(clock(Duration::from_secs(3_661)), "61:01");
    }

    #[test]
    fn a_bar_can_be_made() {
        Progress::new().end();
    }
}
