//! What time it is, on both clocks of a running controller.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use crate::config::Clock;
use crate::peer_table::Now;

#[derive(Clone, Copy, Debug)]
pub(crate) struct RunningClock {
    start: Instant,
    clock: Clock,
}

impl RunningClock {
    pub(crate) fn start(clock: Clock) -> Self {
        Self {
            start: Instant::now(),
            clock,
        }
    }

    pub(crate) fn now(&self) -> Now {
        let since_start = self.start.elapsed();
        let utc = match self.clock {
            Clock::System => Utc::now(),
            Clock::Tokio { start } => later(start, since_start),
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
