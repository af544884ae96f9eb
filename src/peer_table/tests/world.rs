//! A table among peers that answer as a test says, in virtual time, without the full check after each step.

use super::*;

pub(super) struct World {
    pub(super) table: PeerTable,
    pub(super) now: Now,
    pub(super) dials: Vec<(ConnectionId, IpAddr)>,
}

impl World {
    pub(super) fn new(config: NetworkConfig, seed: u64) -> Self {
        config.validate().unwrap();
        let now = Now {
            utc: start(),
            since_start: Duration::ZERO,
        };
        Self {
            table: PeerTable::new(config, at(ip("::"), PORT), seed, now),
            now,
            dials: Vec::new(),
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now.since_start += time;
        self.now.utc += TimeDelta::from_std(time).unwrap();
    }

    /// Does what is due; returns the dials that start.
    pub(super) fn poll(&mut self) -> Vec<IpAddr> {
        self.table.on_time(self.now);
        self.obey();
        let now = self.now;
        let started: Vec<_> = std::iter::from_fn(|| self.table.next_dial(now)).collect();
        self.dials.extend(&started);
        started.into_iter().map(|(_, ip)| ip).collect()
    }

    pub(super) fn dial_succeeds(&mut self, peer: IpAddr) {
        let id = self.take_dial(peer);
        let us = at(ip("60.255.0.1"), 50_000);
        assert_eq!(self.table.on_dialed(self.now, id, us), Reached::Peer(peer));
        self.obey();
    }

    pub(super) fn dial_fails(&mut self, peer: IpAddr, failure: DialFault) {
        let id = self.take_dial(peer);
        self.table.on_dial_failed(self.now, id, failure);
        self.obey();
    }

    /// An outgoing connection that ends well.
    pub(super) fn visit(&mut self, peer: IpAddr) {
        self.dial_succeeds(peer);
        self.report(peer, Report::Alive);
        self.report(peer, Report::Closed);
    }

    /// An inbound connection that ends well.
    pub(super) fn visited_by(&mut self, peer: IpAddr) {
        let verdict = self.table.on_inbound(self.now, at(peer, 30_000), ip("60.255.0.1"));
        assert_eq!(verdict, Verdict::Admit);
        self.table.on_admitted(self.now, peer);
        self.report(peer, Report::Alive);
        self.report(peer, Report::Closed);
    }

    pub(super) fn report(&mut self, peer: IpAddr, report: Report) {
        let connection = self.table.connection(peer).map(|(id, _)| id);
        self.table.on_report(self.now, peer, connection, report);
        self.obey();
    }

    /// The next `count` dials, each of which leaves no trace: they fail for this host's own fault.
    pub(super) fn fruitless_dials(&mut self, count: usize) -> Vec<IpAddr> {
        let mut dialed = Vec::with_capacity(count);
        while dialed.len() < count {
            for peer in self.poll() {
                dialed.push(peer);
                self.dial_fails(peer, DialFault::Host);
            }
            self.wait(Duration::from_secs(10));
        }
        dialed
    }

    pub(super) fn knows(&self, peer: IpAddr) -> bool {
        self.table.peer(peer).is_some()
    }

    fn take_dial(&mut self, peer: IpAddr) -> ConnectionId {
        let place = self.dials.iter().position(|&(_, ip)| ip == peer);
        self.dials.swap_remove(place.expect("the peer is dialed")).0
    }

    fn obey(&mut self) {
        while let Some(action) = self.table.next_action() {
            match action {
                Action::CallOff(id) => self.dials.retain(|&(other, _)| other != id),
                Action::RefuseParked(_) | Action::Ended(_) => {}
            }
        }
    }
}

/// One dial at a time.
pub(super) fn one_by_one() -> NetworkConfig {
    let mut config = config();
    config.target_outgoing_connections = 1;
    config.max_simultaneous_outgoing_connection_attempts = 1;
    config
}

/// A peer that was alive on a dial of ours an hour before the start.
pub(super) fn proven(ip: IpAddr) -> PeerRecord {
    let mut peer = Peer::new(ip);
    peer.last_alive = Some(start() - TimeDelta::hours(1));
    peer.last_alive_outgoing = peer.last_alive;
    record(peer)
}

pub(super) fn unproven(ip: IpAddr) -> PeerRecord {
    record(Peer::new(ip))
}

pub(super) fn record(peer: Peer) -> PeerRecord {
    PeerRecord {
        peer,
        banned_at: None,
        other: None,
    }
}

/// The peer numbered `number` of so many in networks of their own, beginning with 60.0.0.0/16.
pub(super) fn lone(number: usize) -> IpAddr {
    let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
    IpAddr::from([60 + high, low, 0, 1])
}
