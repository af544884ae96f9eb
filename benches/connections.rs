//! What connections cost at the front door: admitted, and refused, beside bare loops over the same kernel.
//!
//! ```text
//! cargo bench --bench connections [-- admit|refuse|dial|idle]
//! ```
//!
//! A round fills a listener's backlog with connections from as many hosts of 127.0.0.0/8, and then has one contender
//! drain it. The kernel does most of the work, so what counts is processor time, that of the thread which drains; and
//! connections a second. Contenders take turns, and a ratio is the median of
//! the rounds' ratios.
//!
//! Without `--bench`, as `cargo test --all-targets` starts it, one small round shows that it still works.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::Pending;
use futures::stream::FuturesUnordered;
use network::{NetworkConfig, NetworkController, NetworkControllerEvent};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::Sleep;

/// As much as our listener's.
const BACKLOG: u32 = 1_024;
/// What that takes, with room.
const CONNECTIONS: usize = 900;
const ROUNDS: usize = 31;
const ADMIT_GOAL: f64 = 1.20;
const REFUSE_GOAL: f64 = 0.80;
const RATE_GOAL: f64 = 1.4;
const IDLE_GOAL: f64 = 1.0;
/// Of this machine.
const DIALS_LEAVE_FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
const DIAL_GOAL: f64 = 1.08;
const READY_GOAL: Duration = Duration::from_millis(5);
const UNDER_WAY: [usize; 5] = [1, 4, 16, 64, 256];
/// Dials a round.
const DIALS: usize = 256;
const POLLS: u32 = 100_000;
const FAR: Duration = Duration::from_secs(24 * 3_600);

fn main() {
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let (rounds, connections) = if is_bench { (ROUNDS, CONNECTIONS) } else { (1, 50) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let bench = Bench {
        runtime: runtime.expect("a runtime starts"),
        rounds,
        connections,
    };
    let names: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    if is_asked("admit") || is_asked("refuse") {
        println!("| work | connections | ours | tokio | blocking | ratio | goal | met | rate | its goal | met |");
        println!("|---|--:|--:|--:|--:|--:|---|---|--:|---|---|");
    }
    if is_asked("admit") {
        bench.admit();
    }
    if is_asked("refuse") {
        bench.refuse("refuse: banned", Setting::Banned);
        bench.refuse("refuse: connected already", Setting::Connected);
        bench.refuse("refuse: over a cap", Setting::Full);
    }
    if is_asked("dial") {
        println!("\n| work | ours | tokio | ratio | goal | met |\n|---|--:|--:|--:|---|---|");
        let under_way = if is_bench { &UNDER_WAY[..] } else { &UNDER_WAY[1..2] };
        under_way.iter().for_each(|&under_way| bench.dial(under_way));
        bench.dials_that_are_ready();
    }
    if is_asked("idle") {
        println!("\n| work | ours | bare composition | ratio | goal | met |\n|---|--:|--:|--:|---|---|");
        bench.idle(if is_bench { POLLS } else { 10 });
    }
}

struct Bench {
    runtime: Runtime,
    rounds: usize,
    connections: usize,
}

/// Why our node refuses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    Banned,
    Connected,
    Full,
}

/// What a round took.
#[derive(Clone, Copy)]
struct Cost {
    processor: Duration,
    elapsed: Duration,
}

impl Bench {
    fn admit(&self) {
        let mut ours = self.runtime.block_on(Node::new(None, self.connections));
        let tokio = self.runtime.block_on(async { bare_listener() });
        let std = blocking_listener();
        let mut costs = [(); 3].map(|()| Vec::new());
        for round in 0..=self.rounds {
            let results = [
                self.round(ours.addr(), |count| self.runtime.block_on(ours.admit(count))),
                self.round(address(&tokio), |count| self.runtime.block_on(hold(&tokio, count))),
                self.round(std.local_addr().expect("it is bound"), |count| {
                    hold_blocking(&std, count)
                }),
            ];
            ours.forget_all(&self.runtime);
            note(&mut costs, results, round);
        }
        print("admit and hand over", self.connections, &costs, (ADMIT_GOAL, None));
    }

    /// A number of dials, so many of them under way at any time.
    fn dial(&self, under_way: usize) {
        let remotes = Remotes::new();
        let mut costs = [Vec::new(), Vec::new()];
        for round in 0..=self.rounds {
            let mut ours = self.runtime.block_on(dialer(remotes.port(), under_way));
            // The contender that dials second finds the kernel's memory warm, so they take turns.
            for contender in [round % 2, 1 - round % 2] {
                let cost = match contender {
                    0 => self.measure(|| self.runtime.block_on(dial_all(&mut ours, DIALS))),
                    _ => self.measure(|| self.runtime.block_on(dial_bare(remotes.port(), under_way))),
                };
                if round > 0 {
                    costs[contender].push(cost);
                }
            }
            remotes.reset_all(2 * DIALS);
        }
        let each = |cost: &Cost| cost.processor.as_secs_f64() * 1e6 / DIALS as f64;
        let ratios = costs[0].iter().zip(&costs[1]);
        let ratio = median(ratios.map(|(ours, bare)| each(ours) / each(bare)).collect());
        let [ours, bare] = costs.map(|costs| median(costs.iter().map(each).collect()));
        let met = if ratio <= DIAL_GOAL { "yes" } else { "**no**" };
        println!(
            "| dial, {under_way} under way | {ours:.1} µs | {bare:.1} µs | {ratio:.2} | {DIAL_GOAL:.2} × tokio | {met} |"
        );
    }

    /// All dials are ready before the node is polled again: how long the last of them waits.
    fn dials_that_are_ready(&self) {
        let remotes = Remotes::new();
        let mut times = Vec::new();
        for round in 0..=self.rounds {
            let mut ours = self.runtime.block_on(async {
                let mut ours = dialer(remotes.port(), DIALS).await;
                assert!(
                    futures::poll!(ours.net.next()).is_pending(),
                    "dials take a turn of the runtime"
                );
                ours
            });
            std::thread::sleep(Duration::from_millis(5));
            let cost = self.measure(|| self.runtime.block_on(dial_all(&mut ours, DIALS)));
            remotes.reset_all(DIALS);
            if round > 0 {
                times.push(cost.elapsed.as_secs_f64() * 1e3);
            }
        }
        let worst = times.iter().copied().fold(0.0, f64::max);
        let time = median(times);
        let goal = READY_GOAL.as_secs_f64() * 1e3;
        let met = if time <= goal { "yes" } else { "**no**" };
        println!(
            "| the slowest of {DIALS} dials that are ready | {time:.1} ms (at worst {worst:.1}) | | | {goal:.0} ms | {met} |"
        );
    }

    fn measure<R>(&self, work: impl FnOnce() -> R) -> Cost {
        let (before, start) = (processor_time(), Instant::now());
        let held = work();
        let cost = Cost {
            processor: processor_time() - before,
            elapsed: start.elapsed(),
        };
        drop(held);
        cost
    }

    /// Polls in which nothing is due and nothing has come.
    fn idle(&self, polls: u32) {
        let (mut ours, mut parts) = self
            .runtime
            .block_on(async { (Node::new(None, 10).await, Parts::new()) });
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..=self.rounds {
            times[0].push(self.time_polls(polls, |cx| ours.net.poll_next_unpin(cx).is_pending()));
            times[1].push(self.time_polls(polls, |cx| parts.poll(cx).is_pending()));
        }
        let ratio = median(times[0].iter().zip(&times[1]).map(|(ours, bare)| ours / bare).collect());
        let [ours, bare] = times.map(median);
        let met = if ratio <= IDLE_GOAL { "yes" } else { "**no**" };
        println!(
            "| a poll with nothing to do | {ours:.0} ns | {bare:.0} ns | {ratio:.2} | {IDLE_GOAL} × bare | {met} |"
        );
    }

    /// Nanoseconds a poll.
    fn time_polls(&self, polls: u32, mut is_pending: impl FnMut(&mut Context<'_>) -> bool) -> f64 {
        self.runtime.block_on(std::future::poll_fn(|cx| {
            assert!(is_pending(cx), "nothing is to be done");
            let start = Instant::now();
            for _ in 0..polls {
                black_box(is_pending(cx));
            }
            Poll::Ready(start.elapsed().as_secs_f64() * 1e9 / f64::from(polls))
        }))
    }

    fn refuse(&self, work: &str, setting: Setting) {
        let mut ours = self.runtime.block_on(Node::new(Some(setting), self.connections));
        let tokio = self.runtime.block_on(async { bare_listener() });
        let std = blocking_listener();
        let mut costs = [(); 3].map(|()| Vec::new());
        for round in 0..=self.rounds {
            let results = [
                self.round(ours.addr(), |count| self.runtime.block_on(ours.refuse(count))),
                self.round(address(&tokio), |count| self.runtime.block_on(drop_all(&tokio, count))),
                self.round(std.local_addr().expect("it is bound"), |count| reset_all(&std, count)),
            ];
            note(&mut costs, results, round);
        }
        print(work, self.connections, &costs, (REFUSE_GOAL, Some(RATE_GOAL)));
    }

    /// Has a backlog filled, and measures what it takes to drain it.
    fn round<R>(&self, to: SocketAddr, drain: impl FnOnce(usize) -> R) -> Cost {
        let clients = connect_all(to, self.connections);
        let cost = self.measure(|| drain(self.connections));
        drop(clients);
        cost
    }
}

/// The first round warms up.
fn note(costs: &mut [Vec<Cost>; 3], results: [Cost; 3], round: usize) {
    if round > 0 {
        costs.iter_mut().zip(results).for_each(|(costs, cost)| costs.push(cost));
    }
}

/// Hosts that accept connections on one port; each is an address of this machine.
struct Remotes(StdListener);

impl Remotes {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        socket.bind(&at.into()).expect("a free port");
        socket.listen(1_024).expect("it is bound");
        Self(socket.into())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("it is bound").port()
    }

    fn reset_all(&self, count: usize) {
        reset_all(&self.0, count);
    }
}

/// A node that is to dial them all, and has not begun.
async fn dialer(port: u16, under_way: usize) -> Node {
    let mut config = NetworkConfig::in_memory(0);
    config.listen_ip = DIALS_LEAVE_FROM.into();
    config.peer_port = Some(port);
    // As fast as they can be made.
    config.dial_stagger = Duration::ZERO;
    config.target_outgoing_connections = DIALS;
    config.max_simultaneous_outgoing_connection_attempts = under_way;
    config.initial_peers = (0..DIALS).map(source).collect();
    Node {
        net: NetworkController::with_config(config).await.expect("a free port"),
        held: Vec::with_capacity(DIALS),
        _friends: Vec::new(),
    }
}

async fn dial_all(node: &mut Node, count: usize) {
    for _ in 0..count {
        let event = node.net.next().await.expect("it is not closed");
        let NetworkControllerEvent::CandidateConnection { ip, socket, .. } = event;
        node.net.feedback_peer_alive(ip).await;
        node.held.push((ip, socket));
    }
}

async fn dial_bare(port: u16, under_way: usize) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(DIALS);
    let mut peers = (0..DIALS).map(|number| SocketAddr::new(source(number), port));
    let mut dials: FuturesUnordered<_> = peers.by_ref().take(under_way).map(dial_one).collect();
    while let Some(socket) = dials.next().await {
        held.push(socket);
        dials.extend(peers.next().map(dial_one));
    }
    held
}

async fn dial_one(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind((DIALS_LEAVE_FROM, 0).into())
        .expect("an address of this host");
    socket.connect(to).await.expect("a listener with room")
}

/// The parts of a controller, put together by hand: dials, a listener and a timer.
struct Parts {
    dials: FuturesUnordered<Pending<()>>,
    listener: TcpListener,
    timer: Pin<Box<Sleep>>,
}

impl Parts {
    fn new() -> Self {
        Self {
            dials: FuturesUnordered::new(),
            listener: bare_listener(),
            timer: Box::pin(tokio::time::sleep(FAR)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // Without dials it has ended for now.
        if let Poll::Ready(Some(())) = self.dials.poll_next_unpin(cx) {
            return Poll::Ready(());
        }
        self.listener.poll_accept(cx).map(drop)
    }
}

/// A controller and the sockets that it handed over.
struct Node {
    net: NetworkController,
    held: Vec<(IpAddr, TcpStream)>,
    /// Those with which it is connected from the start.
    _friends: Vec<StdStream>,
}

impl Node {
    async fn new(setting: Option<Setting>, connections: usize) -> Self {
        let mut config = NetworkConfig::in_memory(0);
        config.listen_ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        config.target_outgoing_connections = 0;
        config.max_incoming_connections = if setting == Some(Setting::Full) { 0 } else { connections };
        config.max_simultaneous_incoming_connection_attempts = connections;
        config.handshake_timeout = None;
        let mut net = NetworkController::with_config(config).await.expect("a free port");
        let mut friends = Vec::new();
        if setting == Some(Setting::Banned) {
            for number in 0..connections {
                net.feedback_peer_banned(source(number)).await;
            }
        }
        if setting == Some(Setting::Connected) {
            friends = connect_all(net.local_addr(), connections);
        }
        let mut node = Self {
            net,
            held: Vec::new(),
            _friends: friends,
        };
        if setting == Some(Setting::Connected) {
            node.admit(connections).await;
        }
        node
    }

    fn addr(&self) -> SocketAddr {
        self.net.local_addr()
    }

    async fn admit(&mut self, count: usize) {
        for _ in 0..count {
            let event = self.net.next().await.expect("it is not closed");
            let NetworkControllerEvent::CandidateConnection { ip, socket, .. } = event;
            self.held.push((ip, socket));
        }
    }

    async fn refuse(&mut self, count: usize) {
        let refused = |net: &NetworkController| {
            let counters = net.stats().counters;
            counters.refused_banned + counters.refused_connected + counters.refused_incoming_full
        };
        let until = refused(&self.net) + u64::try_from(count).expect("few");
        let net = &mut self.net;
        let all = std::future::poll_fn(|cx| {
            let event = net.poll_next_unpin(cx);
            assert!(event.is_pending(), "nobody is admitted");
            if refused(net) >= until {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        all.await;
    }

    /// Closes all, and has the controller know it.
    fn forget_all(&mut self, runtime: &Runtime) {
        for (ip, socket) in self.held.drain(..) {
            SockRef::from(&socket).set_linger(Some(Duration::ZERO)).ok();
            runtime.block_on(self.net.feedback_peer_closed(ip));
        }
    }
}

fn bare_listener() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    let at = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 3), 0));
    socket.bind(at).expect("a free port");
    socket.listen(BACKLOG).expect("it is bound")
}

fn blocking_listener() -> StdListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let at = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 4), 0));
    socket.bind(&at.into()).expect("a free port");
    socket.listen(1_024).expect("it is bound");
    socket.into()
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("it is bound")
}

async fn hold(listener: &TcpListener, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        held.push(listener.accept().await.expect("a connection waits").0);
    }
    held
}

fn hold_blocking(listener: &StdListener, count: usize) -> Vec<StdStream> {
    let accepted = || listener.accept().expect("a connection waits").0;
    std::iter::repeat_with(accepted).take(count).collect()
}

async fn drop_all(listener: &TcpListener, count: usize) {
    for _ in 0..count {
        black_box(listener.accept().await.expect("a connection waits"));
    }
}

fn reset_all(listener: &StdListener, count: usize) {
    for _ in 0..count {
        let (stream, _) = listener.accept().expect("a connection waits");
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .expect("it is open");
    }
}

/// Connections from as many hosts, each complete as far as the kernel is concerned.
fn connect_all(to: SocketAddr, count: usize) -> Vec<StdStream> {
    (0..count).map(|number| connect(source(number), to)).collect()
}

fn connect(from: IpAddr, to: SocketAddr) -> StdStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // Or the next round's could not use this one's port again.
    socket.set_linger(Some(Duration::ZERO)).expect("it is open");
    socket
        .bind(&SocketAddr::new(from, 0).into())
        .expect("an address of this host");
    socket.connect(&to.into()).expect("a listener with room");
    socket.into()
}

/// Hosts of this machine, each of a /16 of its own as far as there are as many.
fn source(number: usize) -> IpAddr {
    let [.., high, low] = u32::try_from(number).expect("few").to_be_bytes();
    IpAddr::from([127, 16 + low % 200, 1 + high, 1 + low / 200])
}

/// What this thread has spent on a processor, in the kernel too.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it is not before its start")
}

fn print(work: &str, connections: usize, costs: &[Vec<Cost>; 3], (goal, rate_goal): (f64, Option<f64>)) {
    let each = |cost: Duration| cost.as_secs_f64() * 1e6 / f64::from(u32::try_from(connections).expect("few"));
    let times = costs
        .each_ref()
        .map(|costs| median(costs.iter().map(|cost| each(cost.processor)).collect()));
    let pairs = || costs[0].iter().zip(&costs[1]);
    let ratio = median(
        pairs()
            .map(|(ours, bare)| ours.processor.as_secs_f64() / bare.processor.as_secs_f64())
            .collect(),
    );
    let rate = median(
        pairs()
            .map(|(ours, bare)| bare.elapsed.as_secs_f64() / ours.elapsed.as_secs_f64())
            .collect(),
    );
    let [ours, tokio, blocking] = times;
    let met = |is_met: bool| if is_met { "yes" } else { "**no**" };
    let of_rate = rate_goal.map_or_else(
        || "| |".to_owned(),
        |goal| format!("{goal:.1} × tokio | {} |", met(rate >= goal)),
    );
    println!(
        "| {work} | {connections} | {ours:.1} µs | {tokio:.1} µs | {blocking:.1} µs | {ratio:.2} | {goal:.2} × tokio | {} | \
         {rate:.2} | {of_rate}",
        met(ratio <= goal)
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
