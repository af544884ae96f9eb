//! Rotation: one outgoing connection at a time is exchanged for a new one.
//!
//! A node at its target dials no peer, so two halves of a network that were parted would never join again, and islands
//! would stay islands. So once per `rotation_interval`, jittered, one more peer is dialed; when it is alive, one of the
//! other outgoing connections that leases hold is ended, by lot. If the new peer does not come alive, an address has
//! been tried.
//!
//! A young node rotates more often: it has chosen its connections when it knew few peers, and of few subnets. The wait
//! grows with its age, so a connection lives about two thirds as long as the node is old, until `rotation_interval` is
//! reached. `docs/policies.md` has what this changes, and its price.
//!
//! A rotation that is due waits until all that it needs is there: the target is met by connections that are alive, one
//! of them is held by a lease, no dial or outgoing handshake is under way, and no address is held. Connections beside the
//! target, with reserved peers or dialed by hand, neither count nor end.

use std::time::Duration;

use crate::change::Cause;
use crate::config::NetworkConfig;
use crate::peer::{ConnectionId, PeerId, PeerStatus};
use crate::peer_table::PeerTable;
use crate::peer_table::random::Random;
use crate::peer_table::time::{Moment, Now};

/// The first rotation comes no later than after this, jittered …
const FIRST: Duration = Duration::from_secs(60);
/// … and then no two follow each other faster than this, jittered.
const LEAST: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Rotation {
    /// When the next one may begin; `None` for never.
    pub(super) due: Option<Moment>,
    /// The dial of the last one, until its peer is alive.
    dial: Option<ConnectionId>,
}

impl Rotation {
    /// The first one is due after a random part of the interval, or nodes that started together would rotate in step.
    pub(crate) fn new(config: &NetworkConfig, random: &mut Random, now: Now) -> Self {
        let mut rotation = Self { due: None, dial: None };
        rotation.begin(config, random, now);
        rotation
    }

    pub(crate) fn begin(&mut self, config: &NetworkConfig, random: &mut Random, now: Now) {
        let first = |interval| random.part_of(interval).min(random.jittered(FIRST));
        self.due = config.rotation_interval.map(first).map(|wait| now.after(wait));
    }

    fn begin_next(&mut self, config: &NetworkConfig, random: &mut Random, now: Now) {
        let young = wait_at(now.moment().since_start(), config.target_outgoing_connections);
        let wait = config
            .rotation_interval
            .map(|interval| random.jittered(interval.min(young)));
        self.due = wait.map(|wait| now.after(wait));
    }
}

/// How long a node of this age waits: each of its connections is exchanged about once while it doubles its age.
fn wait_at(age: Duration, target: usize) -> Duration {
    let exchanges = u32::try_from(target.saturating_mul(3)).unwrap_or(u32::MAX).max(1);
    (age.saturating_mul(2) / exchanges).max(LEAST)
}

impl PeerTable {
    /// From when on the dial of a rotation may start; `None` while it cannot.
    pub(super) fn rotation_gate(&self) -> Option<Moment> {
        let due = self.rotation.due?;
        self.can_rotate().then(|| due.max(self.pace.next_dial(true)))
    }

    /// A dial starts while none is missing to the target: it is a rotation's.
    pub(super) fn on_rotation(&mut self, now: Now, dial: ConnectionId) {
        self.counters.rotations += 1;
        self.rotation.dial = Some(dial);
        self.rotation.begin_next(&self.config, &mut self.random, now);
    }

    /// The dial of a rotation, or the handshake after it, is under way.
    pub(super) fn is_rotating(&self) -> bool {
        let dialed = self.rotation.dial.and_then(|dial| self.peer_of(dial));
        let status = dialed.map(|id| self.peers.get(id).peer.status);
        matches!(status, Some(PeerStatus::OutConnecting | PeerStatus::OutHandshaking))
    }

    /// The peer of an outgoing connection has come alive. If that is a rotation's, and one more than the target, another
    /// one makes room for it; where no other is leased, it goes itself, and if it is not leased, it stays.
    pub(super) fn finish_rotation(&mut self, now: Now, id: PeerId) {
        if self.rotation.dial.is_none() || self.rotation.dial != self.connection_of(id) {
            return;
        }
        self.rotation.dial = None;
        if self.outgoing_for_target() <= self.config.target_outgoing_connections {
            return;
        }
        let leased = self.peers.leased_outgoing();
        let (new, others): (Vec<_>, Vec<_>) = leased.partition(|&other| other == id);
        let drawn = (!others.is_empty()).then(|| others[self.random.below(others.len())]);
        if let Some(victim) = drawn.or(new.first().copied()) {
            self.counters.rotated_out += 1;
            self.end_leased(now, victim, Cause::Rotated);
        }
    }

    /// When the next rotation is due, and whether one is under way.
    #[cfg(test)]
    pub(crate) fn next_rotation(&self) -> (Option<Duration>, bool) {
        (self.rotation.due.map(Moment::since_start), self.is_rotating())
    }

    fn can_rotate(&self) -> bool {
        let counts = self.peers.counts();
        let alive = self.peers.count_for_target(PeerStatus::OutAlive);
        let is_met = alive == self.config.target_outgoing_connections;
        let is_quiet = counts.out_connecting == 0 && counts.out_handshaking == 0;
        let is_any_leased = self.peers.leased_outgoing().next().is_some();
        is_met && is_quiet && is_any_leased && self.hold.is_none()
    }
}
