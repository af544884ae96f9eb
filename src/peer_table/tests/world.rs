//! A table among peers that answer as a test says, in virtual time, without the full check after each step.

use super::*;

/// How long an answer to a dial takes.
const LATENCY: Duration = Duration::from_millis(50);

pub(super) struct World {
    pub(super) table: PeerTable,
    pub(super) now: Now,
    /// The dials under way, each with the time of its start.
    pub(super) dials: Vec<(ConnectionId, IpAddr, Duration)>,
    /// What comes back to dials, and when; used by [`World::run`].
    answers: Vec<(Duration, ConnectionId, IpAddr, Answer)>,
}

/// How a peer answers a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The connection comes alive and stays.
    Alive,
    /// The dial succeeds and the handshake fails.
    NoHandshake,
    /// The dial succeeds and the peer closes the connection, as a full one does.
    Full,
    Fails(DialFault),
    /// Nothing comes back.
    Silent,
}

impl Answer {
    pub(super) const REFUSES: Self = Self::Fails(DialFault::Peer);
    pub(super) const NO_WAY: Self = Self::Fails(DialFault::Unroutable { at_once: true });
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
            answers: Vec::new(),
        }
    }

    /// Lets `time` pass. Each dial is answered after [`LATENCY`], and where there is no way, in its first poll; `answer`
    /// is asked at the start of the dial. Returns the dials with the times of their start.
    pub(super) fn run(
        &mut self,
        time: Duration,
        mut answer: impl FnMut(Duration, IpAddr) -> Answer,
    ) -> Vec<(Duration, IpAddr)> {
        let end = self.now.since_start + time;
        let mut dialed = Vec::new();
        loop {
            let now = self.now.since_start;
            for peer in self.poll() {
                dialed.push((now, peer));
                self.await_answer(peer, answer(now, peer));
            }
            if self.answer_due() {
                continue;
            }
            if now == end {
                return dialed;
            }
            let next = self.next_event().map_or(end, |next| next.clamp(now, end));
            self.wait(next - now);
        }
    }

    fn await_answer(&mut self, peer: IpAddr, answer: Answer) {
        let &(id, _, at) = self.dials.iter().find(|dial| dial.1 == peer).unwrap();
        let after = if answer == Answer::NO_WAY {
            Duration::ZERO
        } else {
            LATENCY
        };
        if answer != Answer::Silent {
            self.answers.push((at + after, id, peer, answer));
        }
    }

    /// Passes on the answers that have arrived; says whether there were any.
    fn answer_due(&mut self) -> bool {
        let now = self.now.since_start;
        let due: Vec<_> = self.answers.extract_if(.., |&mut (at, ..)| at <= now).collect();
        for &(_, id, peer, answer) in &due {
            match answer {
                _ if !self.is_dialing(id) => {}
                Answer::Fails(fault) => self.dial_fails(peer, fault),
                Answer::Alive => self.comes_alive(peer),
                Answer::NoHandshake | Answer::Full => {
                    self.dial_succeeds(peer);
                    let is_full = answer == Answer::Full;
                    self.report(peer, if is_full { Report::Closed } else { Report::Failed });
                }
                Answer::Silent => {}
            }
        }
        !due.is_empty()
    }

    /// When something happens next.
    fn next_event(&self) -> Option<Duration> {
        let limit = self.table.config().connect_timeout;
        let timeouts = self.dials.iter().map(|&(.., at)| at.saturating_add(limit));
        let answers = self.answers.iter().map(|&(at, ..)| at);
        timeouts.chain(answers).chain(self.table.next_deadline()).min()
    }

    /// A dial succeeds and its connection is reported alive.
    pub(super) fn comes_alive(&mut self, peer: IpAddr) {
        self.dial_succeeds(peer);
        self.report(peer, Report::Alive);
    }

    /// Makes an outgoing connection to a peer, and waits until it has ended the outage at the start.
    pub(super) fn end_outage_with(&mut self, peer: IpAddr) {
        self.table.on_peer_list([peer]);
        assert_eq!(self.poll(), [peer]);
        self.comes_alive(peer);
        self.wait(self.table.config.retry_backoff);
        self.poll();
        assert!(!self.table.is_outage(self.now));
    }

    pub(super) fn alive(&self) -> usize {
        self.table.stats().peers.out_alive
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
        let limit = self.table.config().connect_timeout;
        let overdue = |&(_, _, at): &(ConnectionId, IpAddr, Duration)| at.saturating_add(limit) <= now.since_start;
        while let Some(index) = self.dials.iter().position(overdue) {
            let (id, ..) = self.dials.swap_remove(index);
            self.table.on_dial_failed(now, id, DialFault::TimedOut);
            self.obey();
        }
        let started: Vec<_> = std::iter::from_fn(|| self.table.next_dial(now)).collect();
        let at = now.since_start;
        self.dials.extend(started.iter().map(|&(id, ip)| (id, ip, at)));
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

    /// An inbound connection is admitted.
    pub(super) fn comes_in(&mut self, peer: IpAddr) {
        let verdict = self.table.on_inbound(self.now, at(peer, 30_000), ip("60.255.0.1"));
        assert_eq!(verdict, Verdict::Admit);
        self.table.on_admitted(self.now, peer);
        self.obey();
    }

    /// An inbound connection that ends well.
    pub(super) fn visited_by(&mut self, peer: IpAddr) {
        self.comes_in(peer);
        self.report(peer, Report::Alive);
        self.report(peer, Report::Closed);
    }

    pub(super) fn report(&mut self, peer: IpAddr, report: Report) {
        let connection = self.table.connection(peer).map(|(id, _)| id);
        self.table.on_report(self.now, peer, connection, report);
        self.obey();
    }

    pub(super) fn load(&mut self, records: Vec<PeerRecord>) {
        self.table.load(self.now, records, &[]);
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

    pub(super) fn is_proven(&self, peer: IpAddr) -> bool {
        self.table.peers.by_ip(peer).is_some_and(|entry| entry.is_proven)
    }

    pub(super) fn is_dialing(&self, id: ConnectionId) -> bool {
        self.dials.iter().any(|&(other, ..)| other == id)
    }

    /// How long the peer is not dialed from now on.
    pub(super) fn pause_left(&self, peer: IpAddr) -> Option<Duration> {
        let paused_until = self.table.peers.by_ip(peer)?.paused_until?;
        Some(paused_until.since(self.now.moment()))
    }

    /// Asserts that the peer's pause is so many seconds, times a factor of 0.75 to 1.25.
    pub(super) fn assert_pause(&self, peer: IpAddr, seconds: u32) {
        let pause = self.pause_left(peer).unwrap();
        let unit = Duration::from_secs(seconds.into());
        assert!((unit * 3 / 4..=unit * 5 / 4).contains(&pause), "{pause:?} for {unit:?}");
    }

    fn take_dial(&mut self, peer: IpAddr) -> ConnectionId {
        let place = self.dials.iter().position(|&(_, ip, _)| ip == peer);
        self.dials.swap_remove(place.expect("the peer is dialed")).0
    }

    fn obey(&mut self) {
        while let Some(action) = self.table.next_action() {
            match action {
                Action::CallOff(id) => self.dials.retain(|&(other, ..)| other != id),
                Action::RefuseParked(_) | Action::Ended(..) => {}
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

/// No target: every dial is beside it.
pub(super) fn without_target() -> NetworkConfig {
    let mut config = config();
    config.target_outgoing_connections = 0;
    config
}

/// The peers that are being dialed, in ascending order.
pub(super) fn dialed(node: &Node) -> Vec<IpAddr> {
    let mut dialed: Vec<_> = node.dials.values().copied().collect();
    dialed.sort_unstable();
    dialed
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
        banned_at: None,
        ..peer.into()
    }
}

/// The peer numbered `number` of so many in networks of their own, beginning with 60.0.0.0/16.
pub(super) fn lone(number: usize) -> IpAddr {
    let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
    IpAddr::from([60 + high, low, 0, 1])
}
