//! Which peer is better.
//!
//! Only a connection that *we* made proves that a peer listens. A peer that only ever came in, or that somebody fed us,
//! is unproven however often it is alive; otherwise anyone would become promising by connecting to us. Bitcoin Core drew
//! this line after "Eclipse Attacks on Bitcoin's Peer-to-Peer Network" (Heilman et al., 2015).

use chrono::{DateTime, Datelike, Timelike, Utc};

use crate::peer::{Peer, PeerStatus};
use crate::peer_table::entry::Times;
use crate::peer_table::slots::PeerId;

/// A peer's place in the order: the smaller, the better.
///
/// Two words, so that a comparison is that of two numbers: three bits of class, the streak, 61 bits of time, the tie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    high: u64,
    low: u64,
}

/// What is compared first: the class, and the streak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Level(u64);

/// A rank and whose it is: no two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ranked {
    pub(crate) rank: Rank,
    pub(crate) id: PeerId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    OutAlive,
    InAlive,
    /// Proven, streak 0: most recently alive on a connection of ours first.
    Proven,
    /// Unproven, alive once and no failure since: most recent first.
    Met,
    NeverTried,
    /// By streak, then the oldest failure first.
    Rest,
}

/// How bad a peer is, in three bits: never in contradiction to the rank, but often equal where the ranks are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grade(u8);

const CLASS_SHIFT: u32 = 61;
const STREAK_SHIFT: u32 = 29;
const TIME_BITS: u32 = 61;
const LATEST: u64 = (1 << TIME_BITS) - 1;

impl Rank {
    /// No rank is better.
    pub(crate) const BEST: Self = Self { high: 0, low: 0 };

    pub(crate) fn of(peer: &Peer, times: &Times, tie: u32) -> Self {
        match peer.status {
            PeerStatus::OutAlive => Self::new(Class::OutAlive, 0, 0, tie),
            PeerStatus::InAlive => Self::new(Class::InAlive, 0, 0, tie),
            PeerStatus::Idle
            | PeerStatus::OutConnecting
            | PeerStatus::OutHandshaking
            | PeerStatus::InHandshaking
            | PeerStatus::Banned => Self::by_history(peer, times, tie),
        }
    }

    pub(crate) fn level(self) -> Level {
        Level(self.high >> STREAK_SHIFT)
    }

    pub(crate) fn grade(self) -> Grade {
        let class = self.high >> CLASS_SHIFT;
        if class == Class::Rest as u64 {
            // 0, 1, 2 to 3, 4 to 7, 8 to 15, and more.
            let bits = u32::BITS - self.streak().leading_zeros();
            Grade(u8::try_from(bits.min(5)).unwrap_or(5) + 2)
        } else {
            Grade(u8::from(class == Class::NeverTried as u64))
        }
    }

    fn by_history(peer: &Peer, times: &Times, tie: u32) -> Self {
        let (streak, proven) = (peer.failures_in_row, peer.is_proven);
        if proven && streak == 0 {
            Self::new(Class::Proven, 0, LATEST - stamp(times.last_alive_outgoing), tie)
        } else if !proven && times.last_alive.is_some() && times.last_failure <= times.last_alive {
            Self::new(Class::Met, 0, LATEST - stamp(times.last_alive), tie)
        } else if times.last_alive.is_none() && times.last_failure.is_none() && streak == 0 {
            Self::new(Class::NeverTried, 0, 0, tie)
        } else {
            Self::new(Class::Rest, streak, stamp(times.last_failure), tie)
        }
    }

    fn new(class: Class, streak: u32, time: u64, tie: u32) -> Self {
        Self {
            high: (class as u64) << CLASS_SHIFT | u64::from(streak) << STREAK_SHIFT | time >> 32,
            low: time << 32 | u64::from(tie),
        }
    }

    fn streak(self) -> u32 {
        u32::try_from(self.high >> STREAK_SHIFT & u64::from(u32::MAX)).unwrap_or(u32::MAX)
    }
}

impl Level {
    /// That of peers that were never tried, all of one level.
    pub(crate) const UNTRIED: Self = Self((Class::NeverTried as u64) << (CLASS_SHIFT - STREAK_SHIFT));

    /// No peer of the level is better.
    pub(crate) fn first(self) -> Ranked {
        let (high, low) = (self.0 << STREAK_SHIFT, 0);
        Ranked {
            rank: Rank { high, low },
            id: PeerId::FIRST,
        }
    }

    /// A small number that differs where levels are near each other.
    pub(crate) fn number(self) -> usize {
        let (class, streak) = (self.0 >> (CLASS_SHIFT - STREAK_SHIFT), self.0);
        usize::try_from(class.wrapping_add(streak) & 0xFFFF).unwrap_or(0)
    }
}

impl Grade {
    pub(crate) const BITS: u32 = 3;
    /// That of peers that were never tried.
    pub(crate) const UNTRIED: Self = Self(1);

    pub(crate) fn of_bits(bits: u32) -> Self {
        Self(u8::try_from(bits).unwrap_or(u8::MAX))
    }

    pub(crate) fn bits(self) -> u32 {
        u32::from(self.0)
    }
}

/// A number that grows with time, by microseconds, for the years 0 to 16383: what lies outside counts as an end of that.
/// No time comes before all. Made of the fields that a time has, as counting the microseconds takes several divisions.
fn stamp(time: Option<DateTime<Utc>>) -> u64 {
    let Some(time) = time else { return 0 };
    let (date, time) = (time.naive_utc().date(), time.naive_utc().time());
    let Ok(year) = u64::try_from(date.year()) else {
        return 1;
    };
    if year >= 1 << 14 {
        return LATEST;
    }
    let (day, second) = (u64::from(date.ordinal()), u64::from(time.num_seconds_from_midnight()));
    let micros = u64::from(time.nanosecond() / 1_000);
    ((year << 9 | day) << 17 | second) << 21 | micros
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(text: &str) -> u64 {
        stamp(Some(text.parse().unwrap()))
    }

    #[test]
    fn stamps_grow_with_time() {
        let times = [
            "0000-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "1970-01-01T00:00:00Z",
            "2016-12-31T23:59:59Z",
            "2016-12-31T23:59:59.999999Z",
            "2016-12-31T23:59:60.5Z",
            "2017-01-01T00:00:00Z",
            "2024-02-29T12:00:00.000001Z",
            "2024-12-31T23:59:59Z",
            "2025-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
        ];
        let stamps: Vec<_> = times.into_iter().map(stamped).collect();
        assert!(stamps.is_sorted_by(|one, other| one < other), "{stamps:?}");
        assert!(stamps[0] > stamp(None));
        assert!(*stamps.last().unwrap() < LATEST);
        assert_eq!(stamp(Some(DateTime::<Utc>::MAX_UTC)), LATEST);
        assert_eq!(stamp(Some(DateTime::<Utc>::MIN_UTC)), 1);
    }

    #[test]
    fn grades_follow_the_order() {
        let rank = |class, streak| Rank::new(class, streak, LATEST, u32::MAX);
        let mut ranks = vec![rank(Class::Met, 0), rank(Class::NeverTried, 0)];
        ranks.extend([0, 1, 2, 3, 4, 7, 8, 15, 16, u32::MAX].map(|streak| rank(Class::Rest, streak)));
        assert!(ranks.is_sorted());
        assert!(ranks.iter().map(|rank| rank.grade()).is_sorted());
        assert_eq!(ranks.last().unwrap().grade().bits(), 7);
        assert_eq!(ranks.last().unwrap().streak(), u32::MAX);
    }
}
