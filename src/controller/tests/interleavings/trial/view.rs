//! What decides what can follow on a [`Trial`]: two states of one view are taken for the same.

use std::mem::{Discriminant, discriminant};

use super::pauses::PausesView;
use super::*;

/// What decides what can follow.
#[derive(PartialEq, Eq, Hash)]
pub(in super::super) struct View {
    is_closed: bool,
    is_woken: bool,
    unpolled: usize,
    is_rotating: bool,
    edited: Option<usize>,
    is_reconfiguring: bool,
    peers: Vec<PeerView>,
    /// What is due, in the order of time.
    due: Vec<(Due, usize, bool)>,
}

#[derive(PartialEq, Eq, Hash)]
struct PeerView {
    status: Option<PeerStatus>,
    streak: u32,
    pauses: PausesView,
    /// Whether its connection is old enough to end an outage, and too old to be crossed.
    is_old: [bool; 2],
    is_held: bool,
    dial: Option<Option<Answer>>,
    /// Of each undecided connection: whether it is parked, whether it is dead, and whether it comes from ourselves.
    undecided: Vec<(bool, bool, bool)>,
    has_come_back: bool,
    holds: Option<bool>,
    is_alive: bool,
    has_stale_lease: bool,
    reported: Vec<Option<Discriminant<Report>>>,
    is_reserved: bool,
    is_wanted: bool,
    counts_beside: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Due {
    Connect,
    Handshake,
    Parked,
    Ban,
    /// An outage is over.
    Outage,
    /// A connection is too old to be crossed.
    Crossing,
    /// An own address is forgotten.
    Own,
    /// An address is held no longer.
    Held,
    Rotation,
    /// A pause, a race.
    Dial,
}

impl View {
    pub(super) fn of(trial: &Trial) -> Self {
        let peers = trial.peers.iter().enumerate();
        Self {
            is_closed: trial.is_closed,
            is_woken: !trial.rests(),
            unpolled: trial.unpolled.min(trial.most_unpolled),
            edited: trial.edited,
            is_reconfiguring: trial.node.net.engine.table().next_reconfiguring().is_some(),
            is_rotating: trial.node.net.engine.table().next_rotation().1,
            peers: peers.map(|(peer, known)| trial.view_of(peer, known)).collect(),
            due: trial.due(),
        }
    }
}

impl Trial {
    fn view_of(&self, peer: usize, known: &Known) -> PeerView {
        let undecided = known.inbound.iter().filter(|inbound| inbound.is_undecided());
        let fates = self.node.world.fates(ip(self.names[peer]));
        let is_alive = known
            .connection
            .is_some_and(|connection| connection.alive_since.is_some());
        let is_open = fates
            .last()
            .is_some_and(|fate| matches!(fate, DialFate::UnderWay | DialFate::Answered));
        PeerView {
            status: self.status(peer),
            streak: self
                .node
                .peer(ip(self.names[peer]))
                .map_or(0, |peer| peer.failures_in_row.min(2)),
            pauses: known.pauses.view(),
            is_old: self.ages(peer).map(|end| is_alive && end.is_none()),
            is_held: self.is_held(peer),
            dial: known.dials.last().filter(|_| is_open).map(|dial| dial.answer),
            undecided: undecided
                .map(|inbound| (inbound.parked.is_some(), inbound.is_dead, inbound.port == DIAL_PORT))
                .collect(),
            has_come_back: known.inbound.iter().any(|inbound| inbound.port == DIAL_PORT),
            holds: known.held.as_ref().map(|held| held.is_outgoing),
            is_alive: known.held.as_ref().is_some_and(|held| held.is_alive),
            has_stale_lease: known.stale.is_some(),
            reported: known
                .reported
                .iter()
                .map(|report| report.as_ref().map(discriminant))
                .collect(),
            is_reserved: self.is_reserved(peer),
            is_wanted: self.node.engine.table().is_wanted(ip(self.names[peer])),
            counts_beside: self.node.engine.table().is_beside_target(ip(self.names[peer])),
        }
    }

    fn due(&self) -> Vec<(Due, usize, bool)> {
        let mut due = Vec::new();
        for (peer, known) in self.peers.iter().enumerate() {
            let connect = self
                .dial_under_way(peer)
                .map(|dial| known.dials[dial].started + CONNECT_TIMEOUT);
            let handshake = known.shakes_since().map(|since| since + HANDSHAKE_TIMEOUT);
            let parked = known.inbound.iter().filter(|inbound| inbound.is_undecided());
            due.extend(connect.map(|at| (at, Due::Connect, peer)));
            due.extend(handshake.map(|at| (at, Due::Handshake, peer)));
            due.extend(parked.filter_map(|inbound| Some((inbound.parked? + CONNECT_TIMEOUT, Due::Parked, peer))));
            due.extend(known.banned_at.map(|at| (at + BAN_DURATION, Due::Ban, peer)));
            due.extend(known.own_since.map(|at| (at + OWN_FOR, Due::Own, peer)));
            let [settled, old] = self.ages(peer);
            due.extend(settled.map(|at| (at, Due::Outage, peer)));
            due.extend(old.map(|at| (at, Due::Crossing, peer)));
        }
        let table = self.node.net.engine.table();
        due.extend(table.held().map(|(_, until)| (until, Due::Held, 0)));
        // Where there are peers to choose from.
        let rotation = table.next_rotation().0.filter(|_| self.names.len() > 1);
        due.extend(rotation.map(|at| (at, Due::Rotation, 0)));
        let dial = table.next_dial_time();
        due.extend(dial.map(|at| (at, Due::Dial, 0)));
        due.sort_unstable();
        let now = self.now();
        due.into_iter()
            .map(|(at, what, peer)| (what, peer, at <= now))
            .collect()
    }
}
