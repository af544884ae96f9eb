//! Every decision about peers, as a state machine without a clock, a socket or a task.
//!
//! [`PeerTable`] is told what happened (`on_…`, each with the time) and answers with what to do: some answers are
//! return values, the others wait in [`PeerTable::next_action`], [`PeerTable::next_dial`] and
//! [`PeerTable::next_settled`]. It knows connections by [`ConnectionId`]; the controller holds the sockets. Its
//! randomness comes from a seed, so that a run can be replayed.
//!
//! It stands in two stories. [`Peers`] is the store: the peers, and whatever follows from what is recorded of one, moved
//! in one place. Above it are the rules, one a file, which never touch an index:
//!
//! | rule | file |
//! |---|---|
//! | which peer is better | `rank` |
//! | when to dial, which peer, what an outcome means | `dialing` |
//! | reserved peers, and dials by hand | `reserved` |
//! | why a peer is dialed, or not | `dial_state` |
//! | how fast dials follow each other | `pacing` |
//! | how long a peer is left alone | `backoff` |
//! | times without an outgoing connection | `outage` |
//! | inbound sockets, and dials that cross | `inbound` |
//! | peers known only by connections of their own | `newcomers` |
//! | what the application reports | `feedback`, `banning` |
//! | connections ended under their leases | `leases` |
//! | an outgoing connection exchanged for a new one | `rotation` |
//! | an incoming connection that a newcomer takes the slot of | `eviction` |
//! | which peer to forget, which ban to drop | `forgetting` |
//! | peers from the file and from lists | `merging` |
//! | which addresses `denied` and `allowed` exclude | `exclusion` |
//! | this node's own addresses | `own_addresses` |
//! | which peers others are told of | `telling` |
//! | a new config for a table that has peers | `reconfiguring` |
//!
//! What the rules do to peers is recorded in `log` while it is watched.

mod backoff;
mod bag;
mod banning;
mod candidates;
mod crowds;
mod dial_state;
mod dialing;
mod entry;
mod eviction;
mod exclusion;
mod feedback;
mod forgetting;
mod groups;
mod inbound;
#[cfg(any(test, feature = "internals", feature = "sim"))]
mod invariants;
mod ip_key;
mod leases;
mod log;
mod merging;
mod newcomers;
mod outage;
mod own_addresses;
mod pacing;
mod parking;
mod peers;
mod random;
mod rank;
mod reconfiguring;
mod reserved;
mod rotation;
mod subnet;
mod tellers;
mod telling;
#[cfg(test)]
mod tests;
mod time;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

pub use self::dial_state::DialState;
pub use self::dialing::Reached;
pub use self::feedback::Report;
pub use self::inbound::Verdict;
pub(crate) use self::random::Random;
pub use self::time::Now;
pub use crate::peer::StoredPeer;

use self::candidates::Turn;
use self::entry::Entry;
use self::eviction::Eviction;
use self::exclusion::Exclusion;
use self::forgetting::TellerShare;
use self::leases::Hold;
use self::log::Log;
use self::outage::Outage;
use self::own_addresses::OwnAddresses;
use self::pacing::Pace;
use self::parking::Parking;
use self::peers::Peers;
use self::reconfiguring::{Reconfiguring, distinct};
use self::reserved::WantedDials;
use self::rotation::Rotation;
use self::tellers::Teller;
use self::time::{Moment, earlier};
use crate::change::{Cause, ChangeKind, Refusal, Reporter};
use crate::config::NetworkConfig;
use crate::peer::{ConnectionId, ParkedId, Peer, PeerId, PeerRecord, PeerStatus, Revocation};
use crate::stats::{Counters, Stats, Usage};

/// How many handshakes and bans that are over are ended in one call, so that a million of them do not stall a poll.
const DEADLINES_PER_CALL: usize = 32;

/// Something to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Drop this dial.
    CallOff(ConnectionId),
    /// Refuse this parked socket.
    RefuseParked(ParkedId),
    /// The slot of this connection is free again, and why; the holder of its socket should let go of it.
    Ended(ConnectionId, Revocation),
}

/// The known peers, and every rule about them.
#[derive(Debug)]
pub struct PeerTable {
    config: NetworkConfig,
    random: Random,
    peers: Peers,
    parking: Parking,
    exclusion: Exclusion,
    reconfiguring: Reconfiguring,
    wanted: WantedDials,
    own: OwnAddresses,
    pace: Pace,
    outage: Outage,
    teller_share: TellerShare,
    /// The kind of peers that the next dial is for.
    turn: Turn,
    rotation: Rotation,
    eviction: Eviction,
    /// The address of the connection that was rotated or evicted last.
    hold: Option<Hold>,
    /// Of the last dial or inbound socket.
    last_number: Option<NonZeroU64>,
    /// Of the last event that concerned a ban.
    last_event: u64,
    actions: VecDeque<Action>,
    counters: Counters,
    log: Log,
    /// How the application made the report that is being applied.
    reporter: Reporter,
}

impl PeerTable {
    /// An empty table of a node that listens at `listen`, for a valid `config`.
    pub fn new(mut config: NetworkConfig, listen: SocketAddr, seed: u64, now: Now) -> Self {
        config.reserved_peers = distinct(&config.reserved_peers);
        let mut random = Random::new(seed);
        Self {
            rotation: Rotation::new(&config, &mut random, now),
            eviction: Eviction::default(),
            hold: None,
            random,
            peers: Peers::default(),
            parking: Parking::default(),
            exclusion: Exclusion::new(&config),
            reconfiguring: Reconfiguring::default(),
            wanted: WantedDials::default(),
            own: OwnAddresses::new(listen, config.peer_port.unwrap_or(listen.port())),
            pace: Pace::new(&config),
            outage: Outage::new(now),
            teller_share: TellerShare::DEFAULT,
            turn: Turn::Proven,
            last_number: None,
            last_event: 0,
            actions: VecDeque::new(),
            counters: Counters::default(),
            log: Log::default(),
            reporter: Reporter::default(),
            config,
        }
    }

    /// What to do next about connections that exist.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Ends what is overdue: handshakes, bans, parked sockets, pauses, an outage. May leave some for the next call,
    /// which [`Self::next_deadline`] then wants at once.
    pub fn on_time(&mut self, now: Now) {
        self.judge_outage(now);
        for _ in 0..DEADLINES_PER_CALL {
            match self.peers.overdue(now.moment()) {
                Some(id) => self.on_deadline(now, id),
                None => break,
            }
        }
        while let Some(id) = self.parking.overdue(now.moment()) {
            self.refuse_parked(id, Refusal::Parked);
        }
        self.end_overdue_hold(now);
        self.go_on_reconfiguring(now);
        self.end_pauses(now);
        self.forget_own(now);
    }

    /// When to call [`Self::on_time`] and [`Self::next_dial`] again at the latest; in the past if at once.
    pub fn next_deadline(&self) -> Option<Duration> {
        let first = earlier(self.peers.next_deadline(), self.parking.next_deadline());
        let first = earlier(first, self.next_outage_change());
        let first = earlier(first, self.own.next_deadline());
        let first = earlier(first, self.next_hold_end());
        let first = earlier(first, self.next_reconfiguring());
        earlier(first, self.next_dial_at()).map(Moment::since_start)
    }

    /// Rises whenever the peer file would say something else than before.
    pub fn changes(&self) -> u64 {
        self.peers.changes()
    }

    /// Keeps up to so many changes for [`Self::next_change`] from now on, the newest; none at 0.
    pub fn watch(&mut self, capacity: usize) {
        self.log.set_capacity(capacity);
    }

    /// Whether [`Self::next_change`] has any.
    pub fn has_changes(&self) -> bool {
        self.log.has_any()
    }

    /// How many changes before the next one were dropped for want of room. To be asked first.
    pub fn dropped_changes(&mut self) -> u64 {
        self.log.take_dropped()
    }

    /// What happened next to which peer.
    pub fn next_change(&mut self) -> Option<(IpAddr, ChangeKind)> {
        self.log.pop()
    }

    /// What it goes by.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// Every known peer, in no particular order.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().map(|entry| &entry.peer)
    }

    /// A known peer.
    pub fn peer(&self, ip: IpAddr) -> Option<&Peer> {
        self.peers.by_ip(ip).map(|entry| &entry.peer)
    }

    /// The connection that the peer has, and whether we made it.
    #[cfg(any(test, feature = "internals"))]
    pub fn connection(&self, ip: IpAddr) -> Option<(ConnectionId, bool)> {
        let id = self.peers.id_of(ip)?;
        let entry = self.peers.get(id);
        let connection = self.connection_of(id)?;
        let is_connected = entry.peer.status.is_connected();
        is_connected.then(|| (connection, entry.is_outgoing()))
    }

    /// The slots from `cursor` on, for a dump: `None` for one that holds nothing to be stored.
    pub fn stored_from(&self, cursor: usize) -> impl Iterator<Item = Option<StoredPeer<'_>>> {
        self.peers.stored_from(cursor)
    }

    /// What the peer file would hold after it was loaded.
    pub fn records(&self) -> impl Iterator<Item = PeerRecord> {
        self.peers.stored_from(0).flatten().map(StoredPeer::to_record)
    }

    /// Counts something that the table does not see itself.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Counts, caps and counters.
    pub fn stats(&self) -> Stats {
        let peers = *self.peers.counts();
        let config = &self.config;
        let parked = self.parking.len();
        let attempts_in = peers.in_handshaking + parked;
        Stats {
            peers,
            outgoing_connections: Usage {
                used: self.outgoing_for_target(),
                limit: config.target_outgoing_connections,
            },
            outgoing_attempts: Usage {
                used: peers.out_connecting + peers.out_handshaking,
                limit: config.max_simultaneous_outgoing_connection_attempts,
            },
            incoming_connections: Usage {
                used: attempts_in + peers.in_alive,
                limit: config.max_incoming_connections,
            },
            incoming_attempts: Usage {
                used: attempts_in,
                limit: config.max_simultaneous_incoming_connection_attempts,
            },
            idle_peers: Usage {
                used: peers.idle,
                limit: config.max_idle_peers,
            },
            banned_peers: Usage {
                used: peers.banned,
                limit: config.max_banned_peers,
            },
            counters: self.counters,
            last_dump: None,
            last_dump_error: None,
        }
    }

    // What follows is shared by the rules.

    fn new_entry(&self, peer: Peer) -> Entry {
        let tie = self.random.tie(peer.ip);
        self.with_config(Entry::new(peer, tie))
    }

    /// Adds a peer that is not known, as Idle.
    fn add(&mut self, entry: Entry) -> PeerId {
        self.add_told(entry, None)
    }

    /// The same of a peer that the teller, if any, told of.
    fn add_told(&mut self, entry: Entry, teller: Option<Teller>) -> PeerId {
        self.log.record(entry.peer.ip, ChangeKind::Added);
        self.insert(entry, teller)
    }

    /// Adds a peer that is not known, with another status.
    fn add_as(&mut self, cause: Cause, entry: Entry) -> PeerId {
        let (from, to) = (None, entry.peer.status);
        self.log.record(entry.peer.ip, ChangeKind::Status { from, to, cause });
        self.insert(entry, None)
    }

    /// Changes a known peer, its status too. Every such change is made here, with what has led to it.
    fn transition<R>(&mut self, id: PeerId, cause: Cause, edit: impl FnOnce(&mut Entry) -> R) -> R {
        let from = self.peers.get(id).peer.status;
        let result = self.peers.update(id, edit);
        let &Peer { ip, status: to, .. } = &self.peers.get(id).peer;
        if from != to {
            let from = Some(from);
            self.log.record(ip, ChangeKind::Status { from, to, cause });
        }
        result
    }

    /// Removes a peer that is Idle or Banned.
    fn forget(&mut self, id: PeerId) {
        self.log.record(self.peers.get(id).peer.ip, ChangeKind::Forgotten);
        self.peers.remove(id);
    }

    fn insert(&mut self, mut entry: Entry, teller: Option<Teller>) -> PeerId {
        entry.has_parked = self.parking.has(entry.peer.ip);
        entry.is_held = self.is_held(entry.peer.ip);
        self.counters.peers_added += u64::from(!entry.is_own);
        self.peers.add(entry, teller)
    }

    /// The peer of a dial or connection that is not over.
    fn peer_of(&self, connection: ConnectionId) -> Option<PeerId> {
        let current = self.peers.find(connection.peer)?.connection?;
        (current.number == connection.number).then_some(connection.peer)
    }

    /// The peer's dial or connection.
    fn connection_of(&self, id: PeerId) -> Option<ConnectionId> {
        let connection = self.peers.get(id).connection?;
        Some(ConnectionId {
            number: connection.number,
            peer: id,
        })
    }

    /// Numbers dials, inbound connections and parked sockets.
    fn next_number(&mut self) -> NonZeroU64 {
        let number = self.last_number.map_or(NonZeroU64::MIN, |last| last.saturating_add(1));
        self.last_number = Some(number);
        number
    }

    fn on_deadline(&mut self, now: Now, id: PeerId) {
        if self.peers.get(id).peer.status == PeerStatus::Banned {
            self.counters.bans_ended += 1;
            self.lift_ban(id, Cause::BanEnded);
        } else {
            self.counters.handshakes_timed_out += 1;
            self.fail_connection(now, id, Cause::HandshakeTimedOut);
        }
    }
}
