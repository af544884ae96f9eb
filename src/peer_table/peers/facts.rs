//! What the store derives from the record of one peer: where the peer belongs in each index.

use crate::peer::{Peer, PeerId, PeerStatus};
use crate::peer_table::entry::{BanTimes, Entry, Source, is_outgoing};
use crate::peer_table::groups::Membership;
use crate::peer_table::rank::{Rank, Ranked};
use crate::peer_table::subnet::Subnet;
use crate::peer_table::time::Moment;

/// What follows from the record of a peer. By default, of one that is not known.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) status: Option<PeerStatus>,
    /// Its position in the order, unless it is banned or its address is our own.
    pub(super) ranked: Option<Ranked>,
    pub(super) is_advertisable: bool,
    /// It is Idle, and nothing was ever tried with it.
    pub(super) is_untried: bool,
    pub(super) membership: Membership,
    pub(super) is_beside_target: bool,
    pub(super) proven_idle: Option<Ranked>,
    pub(super) is_own_idle: bool,
    /// It is reserved and may be dialed.
    pub(super) reserved: Option<Ranked>,
    pub(super) pause: Option<Moment>,
    pub(super) reserved_pause: Option<Moment>,
    pub(super) deadline: Option<Moment>,
    pub(super) out_alive_since: Option<Moment>,
    pub(super) has_failed_in_outage: bool,
    pub(super) is_stranger: bool,
    /// Where no other newcomer that is refused is remembered.
    pub(super) refused_in: Option<Subnet>,
    /// Rotation or eviction may end its connection, once that is alive.
    pub(super) is_expendable: bool,
    /// What the peer file says of it.
    pub(super) stored: Option<(Peer, BanTimes, bool)>,
}

impl Facts {
    pub(super) fn of(entry: &Entry, id: PeerId) -> Self {
        let status = entry.peer.status;
        let ranked = entry.is_listed().then(|| Ranked::of(entry, id));
        let pause = entry.paused_until.filter(|_| entry.is_free());
        let may_be_dialed = entry.is_free() && pause.is_none();
        let is_forgettable = status == PeerStatus::Idle && !entry.is_reserved;
        Self {
            status: Some(status),
            ranked,
            is_untried: is_forgettable && ranked.is_some_and(|ranked| ranked.rank == Rank::NeverTried),
            is_advertisable: entry.is_advertisable(),
            membership: membership(entry, ranked),
            is_beside_target: entry.is_beside_target,
            proven_idle: ranked.filter(|_| is_forgettable && entry.is_proven),
            is_own_idle: is_forgettable && entry.is_own,
            reserved: ranked.filter(|_| entry.is_reserved && may_be_dialed),
            pause,
            reserved_pause: pause.filter(|_| entry.is_reserved),
            deadline: entry.deadline(),
            out_alive_since: (entry.connection.as_ref())
                .filter(|_| status == PeerStatus::OutAlive)
                .and_then(|connection| connection.alive_since),
            has_failed_in_outage: entry.failures_in_outage > 0,
            is_stranger: entry.is_stranger(),
            refused_in: (entry.source == Source::Refused && entry.is_global).then(|| Subnet::of_inbound(entry.peer.ip)),
            is_expendable: entry.is_leased && !entry.is_reserved && !entry.is_beside_target,
            stored: is_stored(entry).then(|| (as_stored(&entry.peer), entry.ban_times(), has_knocked(entry))),
        }
    }

    pub(super) fn is(&self, status: PeerStatus) -> bool {
        self.status == Some(status)
    }

    /// A dial under way that counts for the target.
    pub(super) fn is_ordinary_dial(&self) -> bool {
        self.is(PeerStatus::OutConnecting) && !self.is_beside_target
    }

    pub(super) fn is_inbound(&self) -> bool {
        self.is(PeerStatus::InHandshaking) || self.is(PeerStatus::InAlive)
    }
}

fn membership(entry: &Entry, ranked: Option<Ranked>) -> Membership {
    let status = entry.peer.status;
    let may_be_dialed = entry.is_free() && entry.paused_until.is_none();
    match status {
        PeerStatus::Banned => Membership::Banned(entry.rare.as_ref().map_or(0, |rare| rare.ban_event)),
        PeerStatus::Idle if entry.is_own || entry.is_reserved => Membership::None,
        PeerStatus::Idle => match (entry.is_proven, may_be_dialed, ranked) {
            (true, true, Some(ranked)) if entry.is_lapsed() => Membership::Lapsed(ranked),
            (true, true, Some(ranked)) => Membership::Proven(ranked),
            (true, ..) => Membership::None,
            (false, true, _) => Membership::Ready,
            (false, false, _) => Membership::Waiting,
        },
        _ if is_outgoing(status) => Membership::Outgoing {
            takes_subnet: entry.is_global,
        },
        _ => Membership::None,
    }
}

/// An own address is stored only where the peer file named it.
pub(super) fn is_stored(entry: &Entry) -> bool {
    !entry.is_own || entry.is_from_file
}

pub(super) fn has_knocked(entry: &Entry) -> bool {
    entry.source == Source::Admitted
}

/// A status that only passes through is not worth a dump.
fn as_stored(peer: &Peer) -> Peer {
    let status = match peer.status {
        PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::InHandshaking => PeerStatus::Idle,
        status => status,
    };
    Peer { status, ..peer.clone() }
}
