//! What the table keeps of one peer.

use std::io::ErrorKind;
use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::peer::{OtherFields, Peer, PeerId, PeerRecord, PeerStatus};
use crate::peer_table::bag::Numbered;
use crate::peer_table::subnet::{GroupId, is_global};
use crate::peer_table::time::{Moment, Now};

/// A proven peer stays one until this many of our attempts failed in a row …
const UNPROVEN_STREAK: u32 = 10;
/// … and it was last alive on a connection of ours this long ago.
const UNPROVEN_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A peer and what the rules have to remember of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) peer: Peer,
    /// Keyed hash of the address: breaks ties between peers of one rank.
    pub(crate) tie: u32,
    /// The group of its subnet.
    pub(crate) group: GroupId,
    /// A dial of ours came alive: the only proof that the peer listens.
    pub(crate) is_proven: bool,
    /// An outgoing connection has ended since the start or since the last one came alive, without a failure.
    pub(crate) has_ended: bool,
    /// `denied` or `allowed` excludes the address.
    pub(crate) is_denied: bool,
    /// The address is this node's own.
    pub(crate) is_own: bool,
    /// The peer was in the peer file at the start, where the operator may have put it.
    pub(crate) is_from_file: bool,
    /// Outgoing connections to globally reachable addresses take their subnet.
    pub(crate) is_global: bool,
    /// How we came to know of the peer.
    pub(crate) source: Source,
    /// The config lets others be told of the address.
    pub(crate) may_be_told: bool,
    /// A connection with the peer is always wanted.
    pub(crate) is_reserved: bool,
    /// The present dial or outgoing connection is not one of `target_outgoing_connections`.
    pub(crate) is_beside_target: bool,
    /// An inbound socket of the peer is parked, so it is not dialed.
    pub(crate) has_parked: bool,
    /// Its last connection was rotated or evicted, and the socket may still be open, so it is not dialed.
    pub(crate) is_held: bool,
    /// The application has taken the lease of its present connection, which ends that when it is dropped.
    pub(crate) is_leased: bool,
    /// Dials in a row for which this host found no way to the address.
    pub(crate) unroutable_in_row: u8,
    /// How our last dial failed; `None` if it did not, or if that is not known.
    pub(crate) last_error: Option<ErrorKind>,
    /// Failures in the present outage: they are not stored.
    pub(crate) failures_in_outage: u8,
    /// Outgoing connections in a row that ended soon after their start.
    pub(crate) short_in_row: u8,
    /// The port that the present connection left from, if we made it. (Here, where it takes no room.)
    pub(crate) local_port: Option<NonZeroU16>,
    /// Not dialed before.
    pub(crate) paused_until: Option<Moment>,
    /// The dial or connection of a peer that is neither Idle nor Banned.
    pub(crate) connection: Option<Connection>,
    pub(crate) rare: Option<Box<Rare>>,
}

/// How we came to know of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A list named it, the operator's for instance, or it was alive once.
    Told,
    /// It has connected to us and was admitted, no more. Others are not told of it: a host can connect from many addresses.
    Admitted,
    /// It has connected to us and was refused for want of room, so it had no chance to fail.
    Refused,
}

/// A dial or connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub(crate) number: NonZeroU64,
    /// When the dial started; once it succeeded or the socket was admitted, when that was.
    pub(crate) since: Moment,
    pub(crate) alive_since: Option<Moment>,
    /// When the handshake times out.
    pub(crate) deadline: Option<Moment>,
}

/// What few peers have.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Fields of the peer's record that this crate does not know.
    pub(crate) other: Option<Box<OtherFields>>,
    /// The times to rank the peer by, where a stored one lay in the future when it was loaded.
    pub(crate) believed: Option<Times>,
    pub(crate) ban_times: BanTimes,
    pub(crate) ban_end: Option<Moment>,
    /// The number of the last event that concerned the ban: it is chosen for eviction by it.
    pub(crate) ban_event: u64,
}

/// The times of a ban that are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BanTimes {
    /// When it was set.
    pub(crate) at: Option<DateTime<Utc>>,
    /// When it ends, if it has a term of its own.
    pub(crate) until: Option<DateTime<Utc>>,
}

/// The times that a rank follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) last_alive: Option<DateTime<Utc>>,
    pub(crate) last_failure: Option<DateTime<Utc>>,
    pub(crate) last_alive_outgoing: Option<DateTime<Utc>>,
}

impl Numbered for PeerId {
    fn number(self) -> usize {
        self.0.try_into().unwrap_or(usize::MAX)
    }
}

impl Entry {
    pub(crate) fn new(peer: Peer, tie: u32) -> Self {
        Self {
            is_global: is_global(peer.ip),
            peer,
            tie,
            group: GroupId::default(),
            is_proven: false,
            has_ended: false,
            is_denied: false,
            is_own: false,
            is_from_file: false,
            source: Source::Told,
            may_be_told: true,
            is_reserved: false,
            is_beside_target: false,
            has_parked: false,
            is_held: false,
            is_leased: false,
            unroutable_in_row: 0,
            last_error: None,
            failures_in_outage: 0,
            short_in_row: 0,
            local_port: None,
            paused_until: None,
            connection: None,
            rare: None,
        }
    }

    /// A peer of the peer file. No time later than the present is believed.
    pub(crate) fn loaded(record: PeerRecord, tie: u32, now: Now) -> Self {
        let mut entry = Self::new(record.peer, tie);
        entry.is_from_file = true;
        let stored = entry.stored_times();
        let believed = stored.not_after(now.utc);
        if believed != stored {
            entry.rare_mut().believed = Some(believed);
        }
        if record.knocked {
            entry.source = Source::Admitted;
        }
        if record.other.is_some() {
            entry.rare_mut().other = record.other;
        }
        if entry.peer.status == PeerStatus::Banned {
            entry.rare_mut().ban_times = BanTimes {
                at: record.banned_at,
                until: record.banned_until,
            };
        }
        entry.judge_proven(now.utc);
        entry
    }

    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn ban_times(&self) -> BanTimes {
        self.rare.as_ref().map(|rare| rare.ban_times).unwrap_or_default()
    }

    /// When its handshake times out or its ban ends.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match self.peer.status {
            PeerStatus::Banned => self.rare.as_ref()?.ban_end,
            _ => self.connection.as_ref()?.deadline,
        }
    }

    /// Whether the present dial or connection is one that we made.
    pub(crate) fn is_outgoing(&self) -> bool {
        is_outgoing(self.peer.status)
    }

    /// Nothing stands in the way of a dial but perhaps a pause.
    pub(crate) fn is_free(&self) -> bool {
        let is_excluded = self.is_own || self.is_denied;
        self.peer.status == PeerStatus::Idle && !is_excluded && !self.has_parked && !self.is_held
    }

    /// A proven peer whose last outgoing connection has ended, in this run, or that has failed since.
    pub(crate) fn is_lapsed(&self) -> bool {
        self.is_proven && (self.peer.failures_in_row > 0 || self.has_ended)
    }

    /// It is in the order of peers.
    pub(crate) fn is_listed(&self) -> bool {
        self.peer.status != PeerStatus::Banned && !self.is_own
    }

    /// Others may be told of it.
    pub(crate) fn is_advertisable(&self) -> bool {
        self.is_listed() && self.may_be_told && !self.is_denied && self.source != Source::Admitted
    }

    /// No list named it and it was never alive.
    pub(crate) fn is_stranger(&self) -> bool {
        self.source != Source::Told
    }

    /// A list names the peer.
    pub(crate) fn on_told(&mut self) {
        if !self.is_kept_as_it_was() {
            self.source = Source::Told;
        }
    }

    /// It connected to us and is admitted.
    pub(crate) fn on_admitted(&mut self) {
        if self.source == Source::Refused {
            self.source = Source::Admitted;
        }
    }

    pub(crate) fn is_unproven_idle(&self) -> bool {
        self.peer.status == PeerStatus::Idle && !self.is_proven && !self.is_own && !self.is_reserved
    }

    /// The times that its rank follows from.
    pub(crate) fn times(&self) -> Times {
        match &self.rare {
            Some(rare) => rare.believed.unwrap_or_else(|| self.stored_times()),
            None => self.stored_times(),
        }
    }

    /// The operator's record of an address that is our own stays in the file as it was.
    fn is_kept_as_it_was(&self) -> bool {
        self.is_own && self.is_from_file
    }

    /// The peer was reported alive on its present connection.
    pub(crate) fn on_alive(&mut self, now: Now) {
        let is_outgoing = self.is_outgoing();
        self.peer.status = if is_outgoing {
            PeerStatus::OutAlive
        } else {
            PeerStatus::InAlive
        };
        if let Some(connection) = &mut self.connection {
            connection.deadline = None;
            connection.alive_since.get_or_insert(now.moment());
        }
        if self.is_kept_as_it_was() {
            return;
        }
        self.source = Source::Told;
        self.peer.last_alive = Some(now.utc);
        if is_outgoing {
            self.peer.last_alive_outgoing = Some(now.utc);
            self.peer.failures_in_row = 0;
            (self.is_proven, self.has_ended) = (true, false);
        }
        if let Some(believed) = self.believed_mut() {
            believed.last_alive = Some(now.utc);
            if is_outgoing {
                believed.last_alive_outgoing = Some(now.utc);
            }
        }
    }

    pub(crate) fn on_failure(&mut self, utc: DateTime<Utc>) {
        if self.is_kept_as_it_was() {
            return;
        }
        self.peer.last_failure = Some(utc);
        if let Some(believed) = self.believed_mut() {
            believed.last_failure = Some(utc);
        }
    }

    pub(crate) fn lengthen_streak(&mut self, utc: DateTime<Utc>) {
        self.peer.failures_in_row = self.peer.failures_in_row.saturating_add(1);
        self.judge_proven(utc);
    }

    fn judge_proven(&mut self, utc: DateTime<Utc>) {
        let has_streak = self.peer.failures_in_row >= UNPROVEN_STREAK;
        let is_old = |alive: DateTime<Utc>| (utc - alive).to_std().is_ok_and(|age| age > UNPROVEN_AGE);
        let alive = self.times().last_alive_outgoing;
        self.is_proven = alive.is_some_and(|alive| !(has_streak && is_old(alive)));
    }

    fn stored_times(&self) -> Times {
        Times {
            last_alive: self.peer.last_alive,
            last_failure: self.peer.last_failure,
            last_alive_outgoing: self.peer.last_alive_outgoing,
        }
    }

    fn believed_mut(&mut self) -> Option<&mut Times> {
        self.rare.as_mut()?.believed.as_mut()
    }
}

impl Connection {
    pub(crate) fn new(number: NonZeroU64, now: Now) -> Self {
        Self {
            number,
            since: now.moment(),
            alive_since: None,
            deadline: None,
        }
    }
}

impl Times {
    fn not_after(self, utc: DateTime<Utc>) -> Self {
        let believe = |time: Option<DateTime<Utc>>| time.map(|time| time.min(utc));
        Self {
            last_alive: believe(self.last_alive),
            last_failure: believe(self.last_failure),
            last_alive_outgoing: believe(self.last_alive_outgoing),
        }
    }
}

pub(crate) fn is_outgoing(status: PeerStatus) -> bool {
    matches!(
        status,
        PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::OutAlive
    )
}
