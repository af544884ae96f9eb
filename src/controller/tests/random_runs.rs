//! Seeded runs of everything that can happen to a controller. It is polled when its task is woken and at no other time;
//! the fixture then finds that one poll more has nothing to do, so no wake-up was lost.

use super::watching::Follower;
use super::*;

const SEEDS: u64 = 24;
const STEPS: usize = 400;

/// xorshift64* (Vigna, 2016).
struct Lots(u64);

impl Lots {
    fn draw<T: Copy>(&mut self, of: &[T]) -> T {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        let len = u64::try_from(of.len()).unwrap();
        of[usize::try_from(drawn % len).unwrap()]
    }
}

const PEERS: [&str; 12] = [
    "60.1.0.1",
    "60.1.0.2",
    "60.2.0.1",
    "60.3.0.1",
    "61.1.0.1",
    "220.1.0.1",
    "220.2.0.1",
    "220.2.0.2",
    "2001:db8::1",
    "127.0.0.1",
    US,
    "10.0.0.1",
];

const ERRORS: [ErrorKind; 6] = [
    ErrorKind::ConnectionRefused,
    ErrorKind::ConnectionReset,
    ErrorKind::NetworkUnreachable,
    ErrorKind::AddrNotAvailable,
    ErrorKind::OutOfMemory,
    ErrorKind::TimedOut,
];

/// What a run keeps of the node's events, and what it saw.
struct Run {
    node: Node,
    follower: Follower,
    lots: Lots,
    probes: Vec<IncomingProbe>,
    leases: Vec<PeerLease>,
    sockets: Vec<MemorySocket>,
    seen: Vec<(IpAddr, bool)>,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let mut config = wanting(3);
        config.seed = Some(seed);
        config.max_incoming_connections = 4;
        config.max_simultaneous_incoming_connection_attempts = 3;
        config.max_simultaneous_outgoing_connection_attempts = 4;
        config.max_incoming_per_subnet = Some(2);
        config.max_idle_peers = 6;
        config.max_banned_peers = 2;
        config.ban_duration = Some(seconds(40));
        let mut node = Node::knowing(config, &[]).await;
        Self {
            follower: Follower::of(&mut node),
            node,
            lots: Lots(seed * 7919 + 1),
            probes: Vec::new(),
            leases: Vec::new(),
            sockets: Vec::new(),
            seen: Vec::new(),
        }
    }

    async fn step(&mut self) {
        let peer = self.lots.draw(&PEERS);
        match self.lots.draw(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]) {
            0 | 1 => self.comes_in(peer),
            2 => self.answer_a_dial(true),
            3 => self.answer_a_dial(false),
            4 => self.node.world.accept_error(self.lots.draw(&ERRORS).into()),
            5 | 6 => self.use_a_lease(),
            7 => drop(self.node.feedback_peer_list([ip(peer)])),
            8 => self.report(peer),
            9 => self.meddle(),
            _ => advance(self.lots.draw(&[millis(5), millis(300), seconds(3), seconds(31)])).await,
        }
    }

    fn comes_in(&mut self, peer: &str) {
        let port = self.lots.draw(&[50_000, 777]);
        let probe = self.node.connects_from(SocketAddr::new(ip(peer), port), US);
        self.probes.push(probe);
    }

    fn answer_a_dial(&mut self, is_ok: bool) {
        let dials = self.node.dialing();
        if dials.is_empty() {
            return;
        }
        let to = self.lots.draw(&dials);
        if is_ok {
            self.node.world.dial_ok_from(to, SocketAddr::new(ip(US), 50_000));
        } else {
            self.node.world.dial_err(to, self.lots.draw(&ERRORS).into());
        }
    }

    fn use_a_lease(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let lease = self.leases.swap_remove(0);
        match self.lots.draw(&[0, 1, 2, 3, 4, 5, 6, 7]) {
            0 => lease.closed(),
            1 => lease.failed(),
            2 => lease.banned(),
            3 => drop(lease),
            _ => {
                lease.alive();
                self.leases.push(lease);
            }
        }
    }

    fn report(&mut self, peer: &str) {
        let feedback: [fn(IpAddr) -> Feedback; 9] = [
            Feedback::Alive,
            Feedback::Failed,
            Feedback::Closed,
            Feedback::Banned,
            Feedback::Unbanned,
            |ip| Feedback::BannedFor(ip, seconds(4)),
            Feedback::Reserve,
            Feedback::Release,
            Feedback::Dial,
        ];
        let feedback = self.lots.draw(&feedback)(ip(peer));
        self.node.feedback_sink().report(feedback).unwrap();
    }

    fn meddle(&mut self) {
        if let Some(probe) = self.probes.pop() {
            probe.kill(ErrorKind::ConnectionReset);
        }
    }

    /// Lets the task run as long as it is woken, and looks at what is left.
    fn settle(&mut self) {
        if !self.node.task().is_woken() {
            return self.node.check_rest();
        }
        self.node.settle();
        for candidate in std::mem::take(&mut self.node.events) {
            self.seen.push((candidate.ip, candidate.is_outgoing));
            self.leases.extend(self.node.lease(candidate.ip));
            self.sockets.push(candidate.socket);
        }
        self.revocations_are_right();
    }

    /// A lease of a slot that is free is revoked, one of the present connection is not.
    fn revocations_are_right(&self) {
        for lease in &self.leases {
            let status = self.node.peer(lease.ip()).map(|peer| peer.status);
            let is_connected = status.is_some_and(PeerStatus::is_connected);
            let is_revoked = lease.revoked().now_or_never().is_some();
            assert!(is_connected || is_revoked, "{} is {status:?}", lease.ip());
        }
        let good = self
            .leases
            .iter()
            .filter(|lease| lease.revoked().now_or_never().is_none());
        let mut ips: Vec<_> = good.map(PeerLease::ip).collect();
        ips.sort();
        assert!(ips.is_sorted_by(|a, b| a < b), "two good leases of one peer");
    }
}

async fn run(seed: u64) -> (Vec<(IpAddr, bool)>, Stats) {
    let mut run = Run::new(seed).await;
    for _ in 0..STEPS {
        run.step().await;
        run.settle();
        run.follower.follow(&run.node);
    }
    let open = run.sockets.len();
    run.node.close().await.unwrap();
    run.follower.follow(&run.node);
    assert_eq!(
        run.node.world.live_sockets(),
        open,
        "those that were handed over, and no other"
    );
    (run.seen, run.node.stats())
}

#[tokio::test(start_paused = true)]
async fn no_wake_up_is_lost_whatever_happens() {
    let mut together = Counters::default();
    for seed in 1..=SEEDS {
        let (_, stats) = run(seed).await;
        together.dials_succeeded += stats.counters.dials_succeeded;
        together.inbound_admitted += stats.counters.inbound_admitted;
        together.inbound_parked += stats.counters.inbound_parked;
        together.dials_to_self += stats.counters.dials_to_self;
        together.handshakes_timed_out += stats.counters.handshakes_timed_out;
        together.bans_ended += stats.counters.bans_ended;
        together.accepts_out_of_memory += stats.counters.accepts_out_of_memory;
    }
    let seen = [
        together.dials_succeeded,
        together.inbound_admitted,
        together.inbound_parked,
        together.dials_to_self,
        together.handshakes_timed_out,
        together.bans_ended,
        together.accepts_out_of_memory,
    ];
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_can_be_replayed() {
    assert_eq!(run(5).await, run(5).await);
    assert_ne!(run(5).await.0, run(6).await.0);
}
