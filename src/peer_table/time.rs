//! Times as the table takes and keeps them.

use std::num::NonZeroU64;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// The present, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall-clock time, for what is stored. May jump.
    pub utc: DateTime<Utc>,
    /// Monotonic time since the start, for what is waited for. Never goes back.
    pub since_start: Duration,
}

/// A monotonic time: nanoseconds since the start and one more, which last for 584 years. Half the size of a `Duration`,
/// and an `Option` of it takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

impl Now {
    pub(crate) fn moment(self) -> Moment {
        Moment::of(self.since_start)
    }

    /// The moment `wait` from now.
    pub(crate) fn after(self, wait: Duration) -> Moment {
        Moment::of(self.since_start.saturating_add(wait))
    }

    /// The date and time of a moment, by the present clocks.
    pub(crate) fn utc_at(self, moment: Moment) -> DateTime<Utc> {
        let ago = TimeDelta::from_std(self.moment().since(moment)).unwrap_or_default();
        let then = self.utc_after(moment.since(self.moment()));
        then.checked_sub_signed(ago).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    /// The date and time `wait` from now.
    pub(crate) fn utc_after(self, wait: Duration) -> DateTime<Utc> {
        let wait = TimeDelta::from_std(wait).ok();
        wait.and_then(|wait| self.utc.checked_add_signed(wait))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl Moment {
    pub(crate) const START: Self = Self(NonZeroU64::MIN);

    pub(crate) fn of(since_start: Duration) -> Self {
        let nanos = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    pub(crate) fn since_start(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }

    pub(crate) fn plus(self, wait: Duration) -> Self {
        Self::of(self.since_start().saturating_add(wait))
    }

    /// How long ago `earlier` was, zero if it is still to come.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.since_start().saturating_sub(earlier.since_start())
    }
}

/// The earlier of two times that may not be set.
pub(crate) fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
