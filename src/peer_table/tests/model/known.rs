//! A peer as the model knows it, and the order of peers as the design tells it.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::peer::{ConnectionId, Peer, PeerRecord, PeerStatus};
use crate::peer_table::subnet::is_global;

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) ip: IpAddr,
    /// The table's own keyed hash, which breaks ties.
    pub(super) tie: u32,
    pub(super) status: PeerStatus,
    pub(super) alive: Option<When>,
    pub(super) failure: Option<When>,
    pub(super) alive_outgoing: Option<When>,
    pub(super) streak: u32,
    pub(super) proven: bool,
    /// Our last connection with it has ended without a failure.
    pub(super) ended: bool,
    pub(super) own: bool,
    pub(super) denied: bool,
    pub(super) reserved: bool,
    /// Its dial or outgoing connection is none of the target.
    pub(super) beside: bool,
    /// It was in the peer file.
    pub(super) from_file: bool,
    /// It was admitted, or refused for want of room; neither named by a list nor alive.
    pub(super) knocked: bool,
    pub(super) refused: bool,
    /// The peer that told of it, until it is tried.
    pub(super) teller: Option<IpAddr>,
    /// Failures in the present outage.
    pub(super) outage_failures: u32,
    /// Outgoing connections in a row that ended soon.
    pub(super) short_in_row: u32,
    /// When its connection was established, and when that was first reported alive.
    pub(super) since: Duration,
    pub(super) alive_since: Option<Duration>,
    /// The earliest and the latest end of the pause, as its jitter may have it.
    pub(super) pause: Option<(Duration, Duration)>,
    pub(super) unroutable: u32,
    pub(super) banned_at: Option<DateTime<Utc>>,
    /// The end of a ban with a term of its own.
    pub(super) banned_until: Option<DateTime<Utc>>,
    /// The last event that concerned the ban.
    pub(super) ban_event: u64,
    pub(super) deadline: Option<Duration>,
    pub(super) connection: Option<ConnectionId>,
    pub(super) is_leased: bool,
    /// That our connection left from.
    pub(super) local_port: Option<u16>,
}

/// A time as it is stored, and as the order goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When {
    pub(super) stored: DateTime<Utc>,
    believed: DateTime<Utc>,
}

impl When {
    pub(super) fn now(utc: DateTime<Utc>) -> Option<Self> {
        Some(Self {
            stored: utc,
            believed: utc,
        })
    }

    fn loaded(stored: Option<DateTime<Utc>>, utc: DateTime<Utc>) -> Option<Self> {
        stored.map(|stored| Self {
            stored,
            believed: stored.min(utc),
        })
    }
}

/// The smaller, the better: the class, then what orders peers within each.
pub(super) type Key = (u8, Reverse<Option<DateTime<Utc>>>, u32, Option<DateTime<Utc>>, u32);

/// What the peer file says of a peer.
pub(super) type Stored = (IpAddr, PeerStatus, [Option<DateTime<Utc>>; 5], u32, bool);

impl Known {
    pub(super) fn new(ip: IpAddr, tie: u32) -> Self {
        Self {
            ip,
            tie,
            status: PeerStatus::Idle,
            alive: None,
            failure: None,
            alive_outgoing: None,
            streak: 0,
            proven: false,
            ended: false,
            own: false,
            denied: false,
            reserved: false,
            beside: false,
            from_file: false,
            knocked: false,
            refused: false,
            teller: None,
            outage_failures: 0,
            short_in_row: 0,
            since: Duration::ZERO,
            alive_since: None,
            pause: None,
            unroutable: 0,
            banned_at: None,
            banned_until: None,
            ban_event: 0,
            deadline: None,
            connection: None,
            is_leased: false,
            local_port: None,
        }
    }

    pub(super) fn loaded(record: &PeerRecord, tie: u32, utc: DateTime<Utc>) -> Self {
        let peer = &record.peer;
        let mut known = Self {
            status: peer.status,
            alive: When::loaded(peer.last_alive, utc),
            failure: When::loaded(peer.last_failure, utc),
            alive_outgoing: When::loaded(peer.last_alive_outgoing, utc),
            streak: peer.failures_in_row,
            banned_at: record.banned_at,
            banned_until: record.banned_until,
            from_file: true,
            knocked: record.knocked,
            ..Self::new(peer.ip, tie)
        };
        known.judge(utc);
        known
    }

    /// Proven, and not lapsed.
    pub(super) fn is_sound(&self) -> bool {
        self.proven && self.streak == 0 && !self.ended
    }

    /// The least goes first on a proven turn.
    pub(super) fn dial_key(&self) -> impl Ord + use<> {
        (!self.is_sound(), self.key())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.status == PeerStatus::Idle
    }

    /// Idle, and nothing was ever tried with it.
    pub(super) fn is_untried(&self) -> bool {
        self.is_idle() && !self.own && !self.reserved && self.key().0 == 5
    }

    /// Whether it is dialed, or connected by a dial.
    pub(super) fn is_outgoing(&self) -> bool {
        use PeerStatus::{OutAlive, OutConnecting, OutHandshaking};
        [OutConnecting, OutHandshaking, OutAlive].contains(&self.status)
    }

    pub(super) fn is_inbound(&self) -> bool {
        [PeerStatus::InHandshaking, PeerStatus::InAlive].contains(&self.status)
    }

    /// The operator's record of an own address stays as it was.
    pub(super) fn fails(&mut self, utc: DateTime<Utc>) {
        if !(self.own && self.from_file) {
            self.failure = When::now(utc);
        }
    }

    pub(super) fn pauses(&self, now: Duration) -> bool {
        self.pause.is_some_and(|(_, end)| end > now)
    }

    pub(super) fn believed_failure(&self) -> Option<DateTime<Utc>> {
        self.failure.map(|when| when.believed)
    }

    /// Proven until ten of our attempts failed in a row and the last good one is over a week old; looked at when an
    /// attempt fails and when the peer is loaded.
    pub(super) fn judge(&mut self, utc: DateTime<Utc>) {
        let is_old = |when: When| utc - when.believed > TimeDelta::days(7);
        self.proven = self
            .alive_outgoing
            .is_some_and(|when| self.streak < 10 || !is_old(when));
    }

    pub(super) fn key(&self) -> Key {
        let believed = |when: Option<When>| when.map(|when| when.believed);
        let (alive, failure) = (believed(self.alive), believed(self.failure));
        let ever = alive.is_some() || failure.is_some() || self.streak > 0;
        let by_newest = |class, time| (class, Reverse(time), 0, None, self.tie);
        match self.status {
            _ if self.denied => by_newest(7, None),
            PeerStatus::OutAlive => by_newest(1, None),
            PeerStatus::InAlive => by_newest(2, None),
            _ if self.proven && self.streak == 0 => by_newest(3, believed(self.alive_outgoing)),
            _ if !self.proven && alive.is_some() && failure <= alive => by_newest(4, alive),
            _ if !ever => by_newest(5, None),
            _ => (6, Reverse(None), self.streak, failure, self.tie),
        }
    }

    /// Its position but for the tie.
    pub(super) fn rank(&self) -> Key {
        let mut key = self.key();
        key.4 = 0;
        key
    }

    pub(super) fn shown(&self) -> Peer {
        let stored = |when: Option<When>| when.map(|when| when.stored);
        Peer {
            status: self.status,
            last_alive: stored(self.alive),
            last_failure: stored(self.failure),
            last_alive_outgoing: stored(self.alive_outgoing),
            failures_in_row: self.streak,
            ..Peer::new(self.ip)
        }
    }

    pub(super) fn stored(&self) -> Option<Stored> {
        let shown = self.shown();
        let status = match self.status {
            PeerStatus::OutAlive | PeerStatus::InAlive | PeerStatus::Banned => self.status,
            _ => PeerStatus::Idle,
        };
        let times = [
            shown.last_alive,
            shown.last_failure,
            shown.last_alive_outgoing,
            self.banned_at,
            self.banned_until,
        ];
        (!self.own || self.from_file).then_some((self.ip, status, times, self.streak, self.knocked))
    }
}

/// What an outgoing connection takes: a /16, for IPv6 a /32.
pub(super) fn network(ip: IpAddr) -> (bool, u16, u16) {
    match ip {
        IpAddr::V4(ip) => (true, u16::from_be_bytes([ip.octets()[0], ip.octets()[1]]), 0),
        IpAddr::V6(ip) => (false, ip.segments()[0], ip.segments()[1]),
    }
}

/// What counts as one teller: a network, or an address that is not globally reachable.
pub(super) fn teller(ip: IpAddr) -> ((bool, u16, u16), Option<IpAddr>) {
    (network(ip), (!is_global(ip)).then_some(ip))
}

/// What `max_incoming_per_subnet` counts by: a /24, for IPv6 a /48.
pub(super) fn inbound_network(ip: IpAddr) -> ((bool, u16, u16), u16) {
    let next = match ip {
        IpAddr::V4(ip) => u16::from(ip.octets()[2]),
        IpAddr::V6(ip) => ip.segments()[2],
    };
    (network(ip), next)
}
