//! Every decision about peers, as a state machine without a clock, a socket or a task.
//!
//! [`PeerTable`] is told what happened (`on_…`, each with the time) and answers with what to do: some answers are
//! return values, the others wait in [`PeerTable::next_action`], [`PeerTable::next_dial`] and
//! [`PeerTable::next_settled`]. It knows connections by [`ConnectionId`]; the sockets are somebody else's. Its
//! randomness comes from a seed, so that a run can be replayed.
//!
//! Every status change goes through [`PeerTable::change`], which moves the peer in all indexes and notes whether the
//! peer file would say something else now. Slots of caps are counted from statuses and never held in a second place.

mod dialing;
mod entry;
mod eviction;
mod groups;
mod growth;
mod inbound;
mod index;
mod indexes;
#[cfg(any(test, feature = "internals"))]
mod invariants;
mod ladder;
mod loading;
mod members;
mod order;
mod own;
mod parking;
mod place;
mod random;
mod rank;
mod rares;
mod reports;
mod resting;
mod seats;
mod shelves;
mod slots;
mod subnet;
mod tally;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chrono::{DateTime, Utc};

pub(crate) use self::dialing::Reached;
pub(crate) use self::inbound::Verdict;
pub(crate) use self::reports::Report;
pub(crate) use self::slots::PeerId;

use self::dialing::Pace;
use self::entry::{EntryMut, Moment, lasting};
use self::indexes::Indexes;
use self::order::Walk;
use self::own::OwnAddresses;
use self::parking::Parking;
use self::place::Place;
use self::random::Random;
use self::slots::Slots;
use self::subnet::Subnet;
use crate::config::NetworkConfig;
use crate::peer::{ByConnection, ConnectionId, OtherFields, Peer, PeerStatus};
use crate::stats::{Counters, Stats, Usage};

/// How many pauses or deadlines that are over are dealt with in one call, so that a million of them stall nobody.
const DUE_PER_CALL: usize = 256;

/// No more Idle and no more banned peers than this, whatever the config says: they would take 12 GiB, and there are
/// twice as many ids for both together and the connected ones.
const MOST: usize = 1 << (PeerId::BITS - 2);

/// Which of two waits, if any, ends first.
fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A moment, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// What is stored. May jump.
    pub(crate) utc: DateTime<Utc>,
    /// What is waited for: time since the start. Never goes back.
    pub(crate) since_start: Duration,
}

impl Now {
    fn after(self, wait: Duration) -> Duration {
        self.since_start.saturating_add(wait)
    }

    fn moment(self) -> Moment {
        Moment::of(self.since_start)
    }
}

/// Something to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Drop this dial.
    CallOff(ConnectionId),
    /// Refuse this parked socket.
    RefuseParked(ConnectionId),
    /// The slot of this connection is free again; whoever holds its socket should let go of it.
    Ended(ConnectionId),
}

/// A stored peer, as the peer file wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredPeer<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) banned_at: Option<DateTime<Utc>>,
    pub(crate) other: Option<&'a OtherFields>,
}

/// See [`PeerTable::good_peer_ips`].
#[derive(Debug)]
pub(crate) struct GoodPeerIps<'a> {
    walk: Walk<'a>,
    slots: &'a Slots,
    /// At most so many are left.
    left: usize,
    /// An address may turn out to be our own long after it was added.
    own: Option<&'a OwnAddresses>,
}

#[derive(Debug)]
pub(crate) struct PeerTable {
    config: NetworkConfig,
    random: Random,
    slots: Slots,
    indexes: Indexes,
    parking: Parking,
    own: OwnAddresses,
    pace: Pace,
    /// The peers of dials and of connections, by the id of the dial or connection.
    connections: ByConnection<PeerId>,
    last_connection: u64,
    /// Numbers the events that concern bans.
    last_event: u64,
    actions: VecDeque<Action>,
    counters: Counters,
    changes: u64,
}

impl Iterator for GoodPeerIps<'_> {
    type Item = IpAddr;

    // An address takes 17 bytes: it is best copied once, from the peer to wherever the caller wants it.
    #[inline]
    fn next(&mut self) -> Option<IpAddr> {
        loop {
            let peer = self.slots.peer(self.walk.next()?);
            self.left -= 1;
            match self.own {
                Some(own) if own.contains(peer.ip) => {}
                _ => return Some(peer.ip),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let least = if self.own.is_none() { self.left } else { 0 };
        (least, Some(self.left))
    }
}

impl PeerTable {
    /// An empty table of a node that listens at `listen`, for a valid `config`.
    pub(crate) fn new(config: NetworkConfig, listen: SocketAddr, seed: u64, now: Now) -> Self {
        let mut random = Random::new(seed);
        let peer_port = config.peer_port.unwrap_or(listen.port());
        let outage_wait = random.jittered(config.retry_backoff);
        Self {
            slots: Slots::default(),
            indexes: Indexes::new(config.max_incoming_per_subnet.is_some()),
            parking: Parking::default(),
            own: OwnAddresses::new(listen, peer_port),
            pace: Pace::new(now, outage_wait),
            connections: ByConnection::default(),
            last_connection: 0,
            last_event: 0,
            actions: VecDeque::new(),
            counters: Counters::default(),
            changes: 0,
            config,
            random,
        }
    }

    /// What to do next about connections that exist.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Ends what is overdue: handshakes, bans, parked sockets, pauses. May leave some for the next call, which
    /// [`Self::next_deadline`] then wants at once.
    pub(crate) fn on_time(&mut self, now: Now) {
        if self.indexes.deadlines.is_due(now.moment()) {
            self.end_due(now);
        }
        while let Some(id) = self.parking.next_overdue(now.since_start) {
            self.refuse_parked(id);
        }
        self.end_pauses(now);
    }

    #[cold]
    fn end_due(&mut self, now: Now) {
        for _ in 0..DUE_PER_CALL {
            match self.indexes.deadlines.first() {
                Some((due, id)) if due <= now.moment() => self.on_deadline(now, id),
                _ => break,
            }
        }
    }

    /// When to call [`Self::on_time`] and [`Self::next_dial`] again at the latest; in the past if at once.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let handshakes_and_bans = self.indexes.deadlines.first().map(|(due, _)| due.since_start());
        let waits = earlier(handshakes_and_bans, self.parking.next_deadline());
        earlier(waits, self.next_dial_time())
    }

    /// Rises whenever the peer file would say something else than before.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn config(&self) -> &NetworkConfig {
        &self.config
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.slots.peers()
    }

    pub(crate) fn peer(&self, ip: IpAddr) -> Option<&Peer> {
        self.id_of(ip).map(|id| self.slots.peer(id))
    }

    /// Best to worst, without banned peers and own addresses.
    pub(crate) fn good_peer_ips(&self) -> GoodPeerIps<'_> {
        GoodPeerIps {
            walk: self.indexes.order.iter(&self.slots),
            slots: &self.slots,
            left: self.indexes.listed,
            own: Some(&self.own).filter(|own| own.may_be_peers()),
        }
    }

    /// All that [`Self::good_peer_ips`] yields.
    pub(crate) fn all_good_peer_ips(&self) -> Vec<IpAddr> {
        let ips = self.good_peer_ips();
        let mut all = Vec::with_capacity(ips.left);
        all.extend(ips);
        all
    }

    /// The connection that the peer has, and whether we made it.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn connection(&self, ip: IpAddr) -> Option<(ConnectionId, bool)> {
        let entry = self.slots.get(self.id_of(ip)?);
        let id = entry.connection().filter(|_| entry.peer.status.is_connected())?;
        Some((id, entry.is_outgoing()))
    }

    /// The slots from `cursor` on, for a dump: `None` for one that holds nothing to be stored.
    pub(crate) fn stored_from(&self, cursor: usize) -> impl Iterator<Item = Option<StoredPeer<'_>>> {
        self.slots.from(cursor).map(|entry| {
            entry
                .filter(|entry| !entry.peer.is_own() && !self.own.contains(entry.peer.ip))
                .map(|entry| StoredPeer {
                    peer: entry.peer,
                    banned_at: entry.rare().banned_at,
                    other: entry.rare().other.as_deref(),
                })
        })
    }

    /// Counts something that the table does not see itself.
    pub(crate) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    pub(crate) fn stats(&self) -> Stats {
        let peers = self.indexes.counts;
        let config = &self.config;
        let parked = self.parking.len();
        let attempts_in = peers.in_handshaking + parked;
        Stats {
            peers,
            outgoing_connections: Usage {
                used: peers.out_handshaking + peers.out_alive,
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

    // What follows is shared by the modules below.

    /// The one place where a peer changes, but for what moves nothing: the attempts of banned peers, and their events.
    fn change<R>(&mut self, id: PeerId, edit: impl FnOnce(&mut EntryMut<'_>) -> R) -> R {
        let mut entry = self.slots.get_mut(id);
        let (before, was_own) = (Place::of(entry.shown()), entry.peer().is_own());
        let rank = before.rank(entry.shown());
        let result = edit(&mut entry);
        entry.tidy();
        let (edited, after) = (entry.edited(), Place::of(entry.shown()));
        debug_assert_eq!(
            entry.shown().connection().is_some(),
            !matches!(after.status, PeerStatus::Idle | PeerStatus::Banned),
            "a peer has a connection id just while it has a dial or connection"
        );
        let has_other_status = lasting(before.status) != lasting(after.status);
        if !was_own && (edited.stored || has_other_status || entry.peer().is_own()) {
            self.changes += 1;
        }
        let has_new_rank = edited.history || has_other_status;
        self.indexes
            .shift(&mut self.slots, id, (&before, rank), (&after, has_new_rank));
        result
    }

    /// Adds a peer that is not known, in whatever state `edit` puts it.
    fn add(&mut self, peer: Peer, edit: impl FnOnce(&mut EntryMut<'_>)) -> PeerId {
        let ip = peer.ip;
        let id = self.slots.insert(peer, self.random.tie(ip));
        let mut entry = self.slots.get_mut(id);
        edit(&mut entry);
        if self.parking.has(ip) {
            entry.rare_mut().has_parked = true;
        }
        if !entry.peer().is_own() {
            self.changes += 1;
            self.counters.peers_added += 1;
        }
        entry.marks.group = self.indexes.groups.join(Subnet::of(ip));
        self.indexes.add(&mut self.slots, id);
        id
    }

    fn forget(&mut self, id: PeerId) {
        let peer = self.slots.peer(id);
        let (subnet, group) = (Subnet::of(peer.ip), self.slots.marks(id).group);
        if !peer.is_own() {
            self.changes += 1;
        }
        self.indexes.remove(&mut self.slots, id);
        self.indexes.groups.leave(subnet, group);
        self.pace.forget(id);
        self.slots.remove(id);
    }

    fn status(&self, ip: IpAddr) -> Option<PeerStatus> {
        self.id_of(ip).map(|id| self.slots.peer(id).status)
    }

    fn id_of(&self, ip: IpAddr) -> Option<PeerId> {
        self.slots.find(ip, self.random.tie(ip))
    }

    fn new_connection(&mut self, id: PeerId) -> ConnectionId {
        let connection = self.new_connection_id();
        self.connections.insert(connection, id);
        connection
    }

    fn new_connection_id(&mut self) -> ConnectionId {
        self.last_connection += 1;
        ConnectionId(self.last_connection)
    }

    /// The peer's dial or connection is over: it becomes Idle or Banned as `edit` leaves it, and what waited for the
    /// outcome is settled.
    fn end_connection(&mut self, id: PeerId, edit: impl FnOnce(&mut EntryMut<'_>)) {
        let (connection, was) = self.change(id, |entry| {
            let ended = (entry.rare().connection, entry.peer().status);
            if ended.0.is_some() {
                let rare = entry.rare_mut();
                (rare.connection, rare.deadline) = (None, None);
            }
            entry.set_status(PeerStatus::Idle);
            edit(entry);
            ended
        });
        if let Some(connection) = connection {
            self.connections.remove(&connection);
            if was.is_connected() {
                self.actions.push_back(Action::Ended(connection));
            } else {
                self.settle_suspects(connection);
            }
        }
        self.settle_crossing(id);
        self.keep_bounds(id);
    }

    /// Forgets what became too many by the last change of `id`.
    fn keep_bounds(&mut self, id: PeerId) {
        let peer = self.slots.peer(id);
        let is_idle = peer.status == PeerStatus::Idle;
        if is_idle && (peer.is_own() || (self.own.may_be_peers() && self.own.contains(peer.ip))) {
            self.forget(id);
        }
        while self.indexes.counts.idle > self.config.max_idle_peers.min(MOST) {
            let unproven = self.indexes.groups.worst_of_most_crowded(&self.slots);
            let Some(victim) = unproven.or_else(|| self.worst_idle()) else {
                break;
            };
            self.counters.peers_forgotten += 1;
            self.forget(victim);
        }
        while self.indexes.counts.banned > self.config.max_banned_peers.min(MOST) {
            let Some(victim) = self.indexes.bans.victim(&mut self.slots) else {
                break;
            };
            self.counters.peers_forgotten += 1;
            self.forget(victim);
        }
    }

    /// Asked for only when all Idle peers are proven, so those that it passes by are as few as connections may be.
    fn worst_idle(&mut self) -> Option<PeerId> {
        self.indexes.end_loading(&mut self.slots);
        // Who is idle and proven was tried.
        let mut from_worst = self.indexes.order.tried_from_worst();
        from_worst.find(|&id| self.slots.peer(id).status == PeerStatus::Idle)
    }

    fn on_deadline(&mut self, now: Now, id: PeerId) {
        if self.slots.peer(id).status == PeerStatus::Banned {
            self.counters.bans_ended += 1;
            self.lift_ban(id);
        } else {
            self.counters.handshakes_timed_out += 1;
            self.fail_connection(now, id);
        }
    }

    /// The pause after `streak` failures in a row: `retry_backoff`, doubled for each after the first, with a jitter of
    /// up to a quarter, at most `max_retry_backoff`.
    fn backoff(&mut self, streak: u32) -> Duration {
        let doublings = streak.saturating_sub(1).min(31);
        let longest = self.config.max_retry_backoff;
        let pause = self.config.retry_backoff.saturating_mul(1 << doublings).min(longest);
        self.random.jittered(pause).min(longest)
    }
}
