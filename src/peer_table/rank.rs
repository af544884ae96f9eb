//! Which peer is better.
//!
//! Only a connection that *we* made proves that a peer listens. A peer that only ever came in, or that somebody fed us,
//! is unproven however often it is alive; otherwise anyone would become promising by connecting to us. Bitcoin Core drew
//! this line after "Eclipse Attacks on Bitcoin's Peer-to-Peer Network" (Heilman et al., 2015).

use chrono::{DateTime, Utc};

use crate::peer::PeerStatus;
use crate::peer_table::entry::Entry;

/// A peer's place in the order: the smaller, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) class: Class,
    time: i64,
    pub(crate) tie: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    OutAlive,
    InAlive,
    /// Proven, streak 0: most recently alive on a connection of ours first.
    Proven,
    /// Unproven, alive once and no failure since: most recent first.
    Met,
    NeverTried,
    /// By streak, then the oldest failure first.
    Rest(u32),
}

/// How bad a peer is, in a number: never in contradiction to the rank, but often equal where the ranks are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Badness(u32);

impl Rank {
    pub(crate) fn of(entry: &Entry) -> Self {
        let (class, time) = match entry.peer.status {
            PeerStatus::OutAlive => (Class::OutAlive, 0),
            PeerStatus::InAlive => (Class::InAlive, 0),
            PeerStatus::Idle
            | PeerStatus::OutConnecting
            | PeerStatus::OutHandshaking
            | PeerStatus::InHandshaking
            | PeerStatus::Banned => by_history(entry),
        };
        Self {
            class,
            time,
            tie: entry.tie,
        }
    }

    pub(crate) fn badness(&self) -> Badness {
        let (class, within) = match self.class {
            Class::OutAlive | Class::InAlive | Class::Proven => (0, 0),
            Class::Met => (1, 0),
            Class::NeverTried => (2, self.tie >> 2),
            Class::Rest(streak) => (3, (streak.min(1023) << 20) | quarter_hours(self.time)),
        };
        Badness((class << 30) | within)
    }
}

impl Badness {
    /// What remains if little room is left.
    pub(crate) fn coarse(self) -> u8 {
        // Class, and the streak up to 63 where there is one; the tie says nothing.
        let class = self.0 >> 30;
        let within = if class == 3 { ((self.0 >> 20) & 1023).min(63) } else { 0 };
        u8::try_from((class << 6) | within).unwrap_or(u8::MAX)
    }
}

/// Since about 2020, in 20 bits, so for 29 years; what lies outside counts as the nearest end.
fn quarter_hours(micros: i64) -> u32 {
    const FIRST: i64 = 50 * 365 * 24 * 4;
    let since = micros.div_euclid(15 * 60 * 1_000_000).saturating_sub(FIRST);
    u32::try_from(since.clamp(0, (1 << 20) - 1)).unwrap_or(0)
}

fn by_history(entry: &Entry) -> (Class, i64) {
    let times = entry.believed_times();
    let (streak, proven) = (entry.peer.failures_in_row, entry.peer.is_proven);
    let failed_since = times.last_failure > times.last_alive;
    if proven && streak == 0 {
        (Class::Proven, -micros(times.last_alive_outgoing))
    } else if !proven && times.last_alive.is_some() && !failed_since {
        (Class::Met, -micros(times.last_alive))
    } else if times.last_alive.is_none() && times.last_failure.is_none() && streak == 0 {
        (Class::NeverTried, 0)
    } else {
        (Class::Rest(streak), micros(times.last_failure))
    }
}

fn micros(time: Option<DateTime<Utc>>) -> i64 {
    // The whole range of chrono, in microseconds, fits with room for the sign.
    time.map_or(-i64::MAX, |time| time.timestamp_micros())
}
