//! What must hold of a [`Trial`] after every step, and what must come of every state by itself.

use PeerStatus::{Banned, Idle, InAlive, InHandshaking, OutAlive, OutConnecting, OutHandshaking};

use super::*;

/// What a step may have changed, to be looked back at.
pub(super) struct Before {
    statuses: Vec<Option<PeerStatus>>,
    stats: Stats,
}

impl Trial {
    pub(super) fn before(&self) -> Before {
        Before {
            statuses: (0..self.peers.len()).map(|peer| self.status(peer)).collect(),
            stats: self.node.stats(),
        }
    }

    pub(super) fn check(&mut self) {
        self.check_sockets();
        if self.is_closed {
            return self.check_closed();
        }
        for peer in 0..self.peers.len() {
            self.check_status(peer);
            self.check_streak(peer);
        }
        self.check_denied();
        if self.rests() {
            self.check_rest();
        } else {
            self.node.check();
        }
    }

    /// Each socket is in just one place, and nowhere once it is turned away, called off or let go.
    fn check_sockets(&self) {
        let mut live = 0;
        for (known, name) in self.peers.iter().zip(self.names) {
            let held = known.held.as_ref();
            let holds = |id| held.is_some_and(|held| held.socket.id == id);
            for (dial, fate) in known.dials.iter().zip(self.node.world.fates(ip(name))) {
                if let Some(socket) = &dial.socket {
                    let is_open = fate == DialFate::Answered || holds(socket.id);
                    assert_eq!(socket.is_open(), is_open, "{fate:?}");
                    live += usize::from(is_open);
                }
            }
            for inbound in &known.inbound {
                let is_held = held.is_some_and(|held| held.socket.remote.port() == inbound.port);
                assert_eq!(inbound.probe.is_open(), is_held);
                live += usize::from(is_held || inbound.is_undecided());
            }
        }
        let engine = &self.node.net.engine;
        let undecided = self.inbound().filter(|inbound| inbound.is_undecided()).count();
        let waiting = self.node.world.accepts_waiting() + engine.accepted.len();
        assert_eq!(undecided, waiting + engine.parked.len());
        assert_eq!(self.node.world.live_sockets(), live);
    }

    /// The application and the table agree on the peer's connection, unless a lease has something to tell.
    fn check_status(&self, peer: usize) {
        let (known, status) = (&self.peers[peer], self.status(peer));
        let mut parked = known.inbound.iter().filter(|inbound| inbound.parked.is_some());
        let is_waiting = parked.any(Inbound::is_undecided);
        assert!(!(is_waiting && status == Some(Banned)), "parked beside a ban");
        if !known.reported.is_empty() {
            return;
        }
        let expected = known.held.as_ref().map(|held| match (held.is_outgoing, held.is_alive) {
            (true, false) => OutHandshaking,
            (true, true) => OutAlive,
            (false, false) => InHandshaking,
            (false, true) => InAlive,
        });
        let connected = status.filter(|status| status.is_connected());
        assert_eq!(connected, expected, "{}", self.names[peer]);
    }

    pub(super) fn check_turned_away(&self, before: &Before) {
        if !self.is_closed {
            (0..self.peers.len()).for_each(|peer| self.check_refusals(peer, before));
            self.check_called_off(before);
            self.check_caps(&before.stats);
        }
    }

    /// No connection is refused without a reason.
    fn check_refusals(&self, peer: usize, before: &Before) {
        let statuses = [before.statuses[peer], self.status(peer)];
        let is_full = |stats: &Stats| {
            let [all, attempts] = [stats.incoming_connections, stats.incoming_attempts];
            all.used >= all.limit || attempts.used >= attempts.limit
        };
        let may_refuse = statuses.iter().any(|&status| self.must_refuse(peer, status))
            || self.is_held(peer)
            || self.is_denied(peer)
            || is_full(&before.stats)
            || is_full(&self.node.stats());
        let mut has_other = false;
        for inbound in &self.peers[peer].inbound {
            let was_undecided = inbound.fate == IncomingFate::Pending;
            let is_refused = was_undecided && inbound.probe.is_refused();
            let has_waited = inbound
                .parked
                .is_some_and(|since| self.now() >= since + CONNECT_TIMEOUT);
            let is_ourselves = inbound.port == DIAL_PORT && self.peers[peer].own_since.is_some();
            let has_reason = inbound.is_dead || may_refuse || has_waited || has_other || is_ourselves;
            assert!(!is_refused || has_reason, "turned away for nothing");
            // Whether a parked one is dead shows only when its wait is over.
            has_other |= was_undecided && (!is_refused || inbound.parked.is_some());
        }
    }

    /// A dial is called off for a ban, for its peer that came in where that is the lower, or for a target that is met.
    fn check_called_off(&self, before: &Before) {
        let stats = self.node.stats();
        if stats.counters.dials_called_off == before.stats.counters.dials_called_off {
            return;
        }
        let out = stats.outgoing_connections;
        let is_reason = |(peer, was): (usize, &Option<PeerStatus>)| {
            let is_lower = ip(self.names[peer]) < ip(self.us);
            match self.status(peer) {
                Some(Banned) => *was != Some(Banned),
                Some(InHandshaking) => is_lower,
                // It is admitted once the event before it is taken.
                Some(Idle) if self.has_parked(peer) => is_lower,
                // Its cap was lowered since it was parked.
                _ if refused_for_room(&stats) > refused_for_room(&before.stats) => is_lower,
                _ => self.peers[peer].own_since.is_some() || self.is_denied(peer),
            }
        };
        let mut peers = before.statuses.iter().enumerate();
        assert!(out.used >= out.limit || peers.any(is_reason), "called off for nothing");
    }

    /// Whatever waits at rest waits for something that comes.
    fn check_rest(&mut self) {
        self.node.check_rest();
        assert_eq!(self.node.world.accepts_waiting(), 0);
        let table = self.node.net.engine.table();
        let now = self.now();
        assert!(table.next_deadline().is_none_or(|due| due > now), "overdue at rest");
        for (peer, known) in self.peers.iter().enumerate() {
            let status = self.status(peer);
            if known.inbound.iter().any(Inbound::is_undecided) {
                let is_lower = ip(self.names[peer]) < ip(self.us);
                let is_crossing = match status {
                    Some(OutConnecting) => true,
                    Some(OutHandshaking | OutAlive) => is_lower,
                    _ => false,
                };
                assert!(is_crossing, "parked beside {status:?}");
                let alive_since = known.connection.and_then(|connection| connection.alive_since);
                let lasted = |parked: Duration| alive_since.map(|since| parked.saturating_sub(since));
                let mut parked = known.inbound.iter().filter(|inbound| inbound.is_undecided());
                let is_old = parked.any(|it| it.parked.and_then(lasted) > Some(CONNECT_TIMEOUT));
                assert!(!is_old, "parked beside a connection that it does not cross");
            } else if status == Some(Idle) && !self.is_held(peer) && !self.is_denied(peer) {
                let stats = self.node.stats();
                let [all, attempts] = [stats.outgoing_connections, stats.outgoing_attempts];
                let may_dial = all.used < all.limit && attempts.used < attempts.limit;
                let next = table.next_dial_time();
                let is_asked_for = self.is_reserved(peer) || table.is_wanted(ip(self.names[peer]));
                let may_dial = may_dial || (is_asked_for && known.own_since.is_none());
                assert!(!may_dial || next.is_some(), "never dialed again");
                if let (true, Some(next)) = (self.has_pauses(), next) {
                    known.pauses.check_next(next);
                }
            }
        }
    }

    fn check_closed(&mut self) {
        let is_over = |fate: &DialFate| matches!(fate, DialFate::Done | DialFate::CalledOff);
        for _ in 0..2 {
            assert!(matches!(self.node.poll(), Poll::Ready(None)));
            assert!(matches!(self.node.close().now_or_never(), Some(Ok(()))));
            assert!(!self.node.world.is_listening());
            assert!(self.inbound().all(|inbound| !inbound.is_undecided()));
            assert!(
                self.peers.iter().all(|known| known.held.is_none()),
                "a lease that was not revoked"
            );
            for name in self.names {
                assert!(self.node.world.fates(ip(name)).iter().all(is_over));
            }
        }
    }
}

fn refused_for_room(stats: &Stats) -> u64 {
    stats.counters.refused_incoming_full + stats.counters.refused_attempts_full
}

/// What must come by itself.
impl Trial {
    /// Without another report or packet, whatever waits now is over in time.
    pub(super) async fn comes_to_an_end(mut self) {
        let undecided: Vec<_> = self
            .inbound()
            .filter(|inbound| inbound.is_undecided())
            .map(Inbound::watch)
            .collect();
        let dials: Vec<_> = self.peers.iter().map(|known| known.dials.len()).collect();
        let leases: Vec<_> = self.peers.iter().map(Known::shakes_since).collect();
        self.wait(CONNECT_TIMEOUT + HANDSHAKE_TIMEOUT + seconds(1)).await;
        assert!(
            undecided.iter().all(|probe| probe.fate() != IncomingFate::Pending),
            "held for ever"
        );
        for (peer, count) in dials.into_iter().enumerate() {
            let fates = self.node.world.fates(ip(self.names[peer]));
            let is_over = |fate: &DialFate| matches!(fate, DialFate::Done | DialFate::CalledOff);
            assert!(fates[..count].iter().all(is_over), "dialed for ever: {fates:?}");
        }
        for (known, before) in self.peers.iter().zip(leases) {
            let is_the_same = before.is_some() && known.shakes_since() == before;
            assert!(!is_the_same, "a handshake for ever");
        }
        self.start_anew().await;
    }

    /// Polls when woken, and lets time pass.
    async fn wait(&mut self, time: Duration) {
        let end = self.now() + time;
        let mut polls = 0;
        while !self.rests() || self.next_due().is_some_and(|due| due <= end) {
            polls += 1;
            assert!(polls < 1_000, "it never rests");
            let action = if self.rests() { Action::Pass } else { Action::Poll };
            self.act(action, false).await;
        }
    }

    /// Once every connection is over, every ban lifted, and the config as at the start, all places are free, and each peer gets one.
    async fn start_anew(mut self) {
        if self.edited.is_some() {
            self.act(Action::Reconfigure(None), true).await;
        }
        for peer in 0..self.peers.len() {
            self.act_if_possible(peer, Stimulus::Reports(Report::Closed)).await;
            self.act_if_possible(peer, Stimulus::Reports(Report::Unbanned)).await;
        }
        self.wait(Duration::ZERO).await;
        let stats = self.node.stats();
        assert_eq!(
            (stats.incoming_connections.used, stats.outgoing_connections.used),
            (0, 0)
        );
        for peer in 0..self.peers.len() {
            self.act(Action::Of(peer, Stimulus::ComesIn), true).await;
            self.wait(CONNECT_TIMEOUT + seconds(1)).await;
            assert_eq!(self.peers[peer].held.as_ref().map(|held| held.is_outgoing), Some(false));
            self.act(Action::Of(peer, Stimulus::Reports(Report::Closed)), true)
                .await;
        }
    }

    async fn act_if_possible(&mut self, peer: usize, stimulus: Stimulus) {
        if self.is_possible(peer, stimulus) {
            self.act(Action::Of(peer, stimulus), true).await;
        }
    }
}
