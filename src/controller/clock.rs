//! What time it is, on both clocks of a running controller.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use crate::config::Clock;
use crate::peer_table::Now;

#[derive(Debug)]
pub(crate) struct RunningClock {
    start: Instant,
    clock: Clock,
    /// What it was in this pass.
    pass: Option<Now>,
}

impl RunningClock {
    pub(crate) fn start(clock: Clock) -> Self {
        Self {
            start: Instant::now(),
            clock,
            pass: None,
        }
    }

    /// A pass over the parts of a controller begins: what comes in or is due in it does so at one time, so that a
    /// pass over many connections reads the clock once.
    pub(crate) fn begin_pass(&mut self) {
        self.pass = None;
    }

    /// What time it was when this pass first asked.
    pub(crate) fn pass_time(&mut self) -> Now {
        let now = self.pass.unwrap_or_else(|| self.now());
        *self.pass.insert(now)
    }

    pub(crate) fn now(&self) -> Now {
        let since_start = self.start.elapsed();
        let utc = match self.clock {
            Clock::System => Utc::now(),
            Clock::Tokio { start } => later(start, since_start),
            Clock::Epoch { instant, utc } => later(utc, Instant::now().saturating_duration_since(instant)),
        };
        Now { utc, since_start }
    }

    /// The instant that lies this long after the start; `None` if none can.
    pub(crate) fn instant(&self, since_start: Duration) -> Option<Instant> {
        self.start.checked_add(since_start)
    }
}

fn later(start: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by)
        .ok()
        .and_then(|by| start.checked_add_signed(by))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
