//! All that the table keeps of one peer, in as few bytes and cache lines as it may take: there can be a million of them.

use std::num::NonZeroU64;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::peer::{ConnectionId, Flags, OtherFields, Peer, PeerStatus};
use crate::peer_table::groups::GroupId;
use crate::peer_table::order::BlockId;
use crate::peer_table::rank::Rank;
use crate::peer_table::rares::{RareId, Rares};

/// A proven peer stays one until this many of our attempts failed in a row …
const UNPROVEN_STREAK: u32 = 10;
/// … and it was last alive on a connection of ours this long ago.
const UNPROVEN_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What tells who a peer is and how good: one cache line, which is all that a look-up or a comparison touches.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Record {
    pub(crate) peer: Peer,
    /// Keyed hash of the address, the last word but one where two peers are equally good.
    pub(crate) tie: u32,
}

/// Where a peer stands in the indexes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) paused_until: Option<Moment>,
    /// In the order of peers, if it is listed there.
    pub(crate) block: Option<BlockId>,
    pub(crate) group: GroupId,
    /// Of a member of a crowd there, of a peer that is dialed among the dials, otherwise [`Self::NO_SEAT`].
    pub(crate) seat: u32,
    pub(crate) rare: Option<RareId>,
}

/// A time since the start, in nanoseconds, which last for 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

/// What few peers have at one time: those that are connected or banned, and those with an odd record.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) banned_at: Option<DateTime<Utc>>,
    pub(crate) other: Option<Box<OtherFields>>,
    /// What to believe instead of the peer's times, where some of those lay in the future when they were loaded.
    pub(crate) believed: Option<Box<Times>>,
    /// Dials in a row for which this host found no way to the address.
    pub(crate) unroutable_in_row: u32,
    /// The dial or connection of a peer that is neither Idle nor Banned.
    pub(crate) connection: Option<ConnectionId>,
    /// Of a dial: no outgoing connection was alive when it started, so that it may fail for want of a network even
    /// where one is back before it does.
    pub(crate) began_in_outage: bool,
    /// When the handshake is given up or the ban ends.
    pub(crate) deadline: Option<Moment>,
    /// For a ban: the number of the last event that concerned it, …
    pub(crate) last_event: u64,
    /// … and the one by which it stands among the bans, which may be an earlier one.
    pub(crate) listed_event: u64,
    /// An inbound socket of the peer is parked: it is not dialed meanwhile.
    pub(crate) has_parked: bool,
}

/// The times that the order of peers goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) last_alive: Option<DateTime<Utc>>,
    pub(crate) last_failure: Option<DateTime<Utc>>,
    pub(crate) last_alive_outgoing: Option<DateTime<Utc>>,
}

/// Everything of one peer.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) marks: &'a Marks,
    pub(crate) tie: u32,
    pub(crate) rares: &'a Rares,
}

/// One peer, to be changed. It knows what an edit may have moved, so that nobody has to compare all of the peer before
/// and after it.
pub(crate) struct EntryMut<'a> {
    peer: &'a mut Peer,
    pub(crate) marks: &'a mut Marks,
    rares: &'a mut Rares,
    tie: u32,
    edited: Edited,
}

/// What an edit changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Edited {
    /// What is stored of the peer, its status apart.
    pub(crate) stored: bool,
    /// Something that its rank follows from, its status apart.
    pub(crate) history: bool,
}

impl Marks {
    pub(crate) const NO_SEAT: u32 = u32::MAX;
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            paused_until: None,
            block: None,
            group: GroupId::default(),
            seat: Self::NO_SEAT,
            rare: None,
        }
    }
}

impl Moment {
    pub(crate) fn of(since_start: Duration) -> Self {
        let seconds = since_start.as_secs().saturating_mul(1_000_000_000);
        let nanos = seconds.saturating_add(u64::from(since_start.subsec_nanos()));
        Self(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN))
    }

    pub(crate) fn since_start(self) -> Duration {
        Duration::from_nanos(self.0.get())
    }
}

impl Rare {
    pub(crate) fn is_ordinary(&self) -> bool {
        let Self {
            banned_at,
            other,
            believed,
            unroutable_in_row,
            connection,
            began_in_outage,
            deadline,
            last_event,
            listed_event,
            has_parked,
        } = self;
        connection.is_none()
            && deadline.is_none()
            && banned_at.is_none()
            && *last_event == 0
            && *listed_event == 0
            && *unroutable_in_row == 0
            && !began_in_outage
            && !has_parked
            && believed.is_none()
            && other.is_none()
    }
}

impl Times {
    fn stored(peer: &Peer) -> Self {
        Self {
            last_alive: peer.last_alive,
            last_failure: peer.last_failure,
            last_alive_outgoing: peer.last_alive_outgoing,
        }
    }
}

impl<'a> Entry<'a> {
    /// What is out of the ordinary about the peer.
    pub(crate) fn rare(self) -> &'a Rare {
        self.rares.get(self.marks.rare)
    }

    pub(crate) fn connection(self) -> Option<ConnectionId> {
        self.rare().connection
    }

    pub(crate) fn rank(self) -> Rank {
        let peer = self.peer;
        if peer.flags.has(Flags::AHEAD)
            && let Some(believed) = &self.rare().believed
        {
            return Rank::of(peer, believed, self.tie);
        }
        Rank::of(peer, &Times::stored(peer), self.tie)
    }

    /// Whether the present or coming connection is one that we made.
    pub(crate) fn is_outgoing(self) -> bool {
        is_outgoing(self.peer.status)
    }
}

impl<'a> EntryMut<'a> {
    pub(crate) fn new(record: &'a mut Record, marks: &'a mut Marks, rares: &'a mut Rares) -> Self {
        Self {
            peer: &mut record.peer,
            tie: record.tie,
            marks,
            rares,
            edited: Edited::default(),
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        self.peer
    }

    pub(crate) fn shown(&self) -> Entry<'_> {
        Entry {
            peer: self.peer,
            marks: self.marks,
            tie: self.tie,
            rares: self.rares,
        }
    }

    pub(crate) fn edited(&self) -> Edited {
        self.edited
    }

    pub(crate) fn rare(&self) -> &Rare {
        self.rares.get(self.marks.rare)
    }

    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        let id = *self.marks.rare.get_or_insert_with(|| self.rares.add());
        self.rares.get_mut(id)
    }

    pub(crate) fn set_status(&mut self, status: PeerStatus) {
        self.peer.status = status;
    }

    /// The address is this node's own, or this is not known; once it is, it stays so.
    pub(crate) fn note_own(&mut self, is_own: bool) {
        if is_own {
            self.peer.flags.set(Flags::OWN, true);
        }
    }

    pub(crate) fn set_banned_at(&mut self, banned_at: Option<DateTime<Utc>>) {
        if self.rare().banned_at != banned_at {
            self.rare_mut().banned_at = banned_at;
            self.edited.stored = true;
        }
    }

    /// Gives the memory back once nothing is out of the ordinary any more.
    pub(crate) fn tidy(&mut self) {
        if let Some(id) = self.marks.rare
            && self.rares.get(Some(id)).is_ordinary()
        {
            self.marks.rare = None;
            self.rares.remove_ordinary(id);
        }
    }

    pub(crate) fn pause_until(&mut self, until: Option<Duration>) {
        self.marks.paused_until = until.map(Moment::of);
    }

    pub(crate) fn on_alive(&mut self, utc: DateTime<Utc>) {
        let (now, outgoing) = (Some(utc), is_outgoing(self.peer.status));
        let is_new = self.peer.last_alive != now
            || (outgoing && (self.peer.last_alive_outgoing != now || self.peer.failures_in_row > 0));
        self.note_history(is_new);
        self.peer.last_alive = now;
        if outgoing {
            self.peer.last_alive_outgoing = now;
            self.peer.failures_in_row = 0;
            self.peer.is_proven = true;
        }
        if let Some(believed) = self.believed_mut() {
            believed.last_alive = now;
            if outgoing {
                believed.last_alive_outgoing = now;
            }
        }
    }

    pub(crate) fn on_failure(&mut self, utc: DateTime<Utc>) {
        self.note_history(self.peer.last_failure != Some(utc));
        self.peer.last_failure = Some(utc);
        if let Some(believed) = self.believed_mut() {
            believed.last_failure = Some(utc);
        }
    }

    pub(crate) fn lengthen_streak(&mut self, utc: DateTime<Utc>) {
        let longer = self.peer.failures_in_row.saturating_add(1);
        self.note_history(longer != self.peer.failures_in_row);
        self.peer.failures_in_row = longer;
        self.judge_proven(utc);
    }

    /// Settles whether the peer is proven, from what is stored of it.
    fn judge_proven(&mut self, utc: DateTime<Utc>) {
        let alive = match self.believed_mut() {
            Some(believed) => believed.last_alive_outgoing,
            None => self.peer.last_alive_outgoing,
        };
        let worn_out = self.peer.failures_in_row >= UNPROVEN_STREAK;
        let is_old = |alive: DateTime<Utc>| (utc - alive).to_std().is_ok_and(|age| age > UNPROVEN_AGE);
        let is_proven = alive.is_some_and(|alive| !(worn_out && is_old(alive)));
        self.edited.history |= is_proven != self.peer.is_proven;
        self.peer.is_proven = is_proven;
    }

    /// Settles what follows from what was stored of a peer, but believes no time that is later than `utc`.
    pub(crate) fn believe_stored(&mut self, utc: DateTime<Utc>) {
        let stored = Times::stored(self.peer);
        let times = [stored.last_alive, stored.last_failure, stored.last_alive_outgoing];
        let is_tried = times.iter().any(Option::is_some) || self.peer.failures_in_row > 0;
        self.peer.flags.set(Flags::TRIED, is_tried);
        let believe = |time: Option<DateTime<Utc>>| time.map(|time| time.min(utc));
        let believed = Times {
            last_alive: believe(stored.last_alive),
            last_failure: believe(stored.last_failure),
            last_alive_outgoing: believe(stored.last_alive_outgoing),
        };
        if believed != stored {
            self.peer.flags.set(Flags::AHEAD, true);
            self.rare_mut().believed = Some(Box::new(believed));
        }
        self.judge_proven(utc);
    }

    fn note_history(&mut self, has_changed: bool) {
        self.peer.flags.set(Flags::TRIED, true);
        // What is believed may have been another time than the one stored.
        self.edited.history |= has_changed || self.peer.flags.has(Flags::AHEAD);
        self.edited.stored |= has_changed;
    }

    fn believed_mut(&mut self) -> Option<&mut Times> {
        let is_ahead = self.peer.flags.has(Flags::AHEAD);
        let id = self.marks.rare.filter(|_| is_ahead)?;
        self.rares.get_mut(id).believed.as_deref_mut()
    }
}

/// Whether the peer may be told of and nothing is known of it, so that its tie alone says how good it is.
pub(crate) fn is_untried(peer: &Peer) -> bool {
    let is_told = match peer.status {
        PeerStatus::Idle | PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::InHandshaking => true,
        PeerStatus::OutAlive | PeerStatus::InAlive | PeerStatus::Banned => false,
    };
    is_told && !peer.flags.has_any(Flags::TRIED_OR_OWN)
}

pub(crate) fn is_outgoing(status: PeerStatus) -> bool {
    matches!(
        status,
        PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::OutAlive
    )
}

/// A status that only passes through says nothing that would be worth a dump.
pub(crate) fn lasting(status: PeerStatus) -> PeerStatus {
    match status {
        PeerStatus::Idle | PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::InHandshaking => {
            PeerStatus::Idle
        }
        PeerStatus::OutAlive | PeerStatus::InAlive | PeerStatus::Banned => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_peer_takes_one_cache_line_and_a_few_marks() {
        assert_eq!(size_of::<Option<Record>>(), 64);
        assert_eq!(size_of::<Marks>(), 24);
    }

    #[test]
    fn moments_are_exact_for_centuries() {
        for nanos in [1, 999_999_999, 1_000_000_000, u64::MAX] {
            let since_start = Duration::from_nanos(nanos);
            assert_eq!(Moment::of(since_start).since_start(), since_start);
        }
        assert!(Moment::of(Duration::ZERO) <= Moment::of(Duration::from_nanos(1)));
        assert_eq!(Moment::of(Duration::MAX), Moment::of(Duration::from_nanos(u64::MAX)));
    }
}
