//! Dials that cross: what each end does with the second connection, and that both ends keep the same one.

use std::net::IpAddr;
use std::time::Duration;

use futures::future::{join, join_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use network::{NetworkController, PeerStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::SHORT;
use crate::loopback::{self, Block, Candidate, Node, are_one, is_reset, soon};

const CROSSINGS: usize = 50;
/// So many go on side by side, in networks of their own.
const AT_ONCE: usize = 10;
const LOWER: u8 = 2;
const HIGHER: u8 = 3;

/// How an application shakes hands.
#[derive(Clone, Copy)]
enum Style {
    /// Beside the stream, so that the controller is polled meanwhile.
    Beside,
    /// In the loop, so that it is not. Whoever waits for a connection that the other end drops has to give up first,
    /// and the two ends must not do so at one moment.
    Inline { patience: Duration },
}

/// Answers with the socket over which the other end greeted.
async fn greet(mut candidate: Candidate, patience: Duration) -> Result<Candidate, IpAddr> {
    let ip = candidate.ip;
    let greeting = async {
        candidate.socket.write_u8(b'!').await?;
        candidate.socket.read_u8().await
    };
    match timeout(patience, greeting).await {
        Ok(Ok(_)) => Ok(candidate),
        Ok(Err(_)) | Err(_) => Err(ip),
    }
}

/// One end of a crossing.
struct End {
    net: NetworkController,
    style: Style,
    alive: Vec<Candidate>,
    settled: watch::Sender<bool>,
}

impl End {
    async fn new(block: Block, host: u8, other: u8, style: Style) -> Self {
        let mut config = block.config(host, &[other]);
        config.target_outgoing_connections = 1;
        Self {
            net: NetworkController::with_config(config).await.unwrap(),
            style,
            alive: Vec::new(),
            settled: watch::Sender::new(false),
        }
    }

    /// Runs until both ends have a connection that is alive and nothing is left to settle.
    async fn run(mut self, mut other: watch::Receiver<bool>) -> Self {
        let mut handshakes = FuturesUnordered::new();
        loop {
            let is_settled = self.is_settled() && handshakes.is_empty();
            self.settled.send_replace(is_settled);
            if is_settled && *other.borrow_and_update() {
                return self;
            }
            tokio::select! {
                event = self.net.wait_event() => {
                    let candidate = Candidate::of(event.unwrap());
                    match self.style {
                        Style::Beside => handshakes.push(greet(candidate, loopback::LIMIT)),
                        Style::Inline { patience } => {
                            let greeted = greet(candidate, patience).await;
                            self.on_greeted(greeted);
                        }
                    }
                }
                Some(greeted) = handshakes.next() => self.on_greeted(greeted),
                changed = other.changed() => changed.unwrap(),
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.alive.len() == 1
    }

    fn on_greeted(&mut self, greeted: Result<Candidate, IpAddr>) {
        let feedback = match greeted {
            Ok(candidate) => {
                let feedback = self.net.feedback_peer_alive(candidate.ip);
                self.alive.push(candidate);
                feedback
            }
            Err(ip) => self.net.feedback_peer_failed(ip),
        };
        feedback.now_or_never().expect("feedback does not wait");
    }
}

/// Lets two nodes dial each other, and looks at what they keep.
async fn cross([lower, higher]: [Style; 2]) {
    let block = Block::new();
    let lower = End::new(block, LOWER, HIGHER, lower).await;
    let higher = End::new(block, HIGHER, LOWER, higher).await;
    let (hear_lower, hear_higher) = (lower.settled.subscribe(), higher.settled.subscribe());
    let ends = [
        tokio::spawn(lower.run(hear_higher)),
        tokio::spawn(higher.run(hear_lower)),
    ];
    let [lower, higher] = ends.map(|end| end.map(Result::unwrap));
    let (mut lower, mut higher) = soon(join(lower, higher)).await;

    for end in [&lower, &higher] {
        let stats = end.net.stats();
        assert_eq!(stats.counters.dials_started, 1, "no retry is needed");
        assert_eq!(stats.peers.out_alive + stats.peers.in_alive, 1);
        let candidate = &end.alive[0];
        let is_outgoing = end.net.peer(candidate.ip).unwrap().status == PeerStatus::OutAlive;
        assert_eq!(candidate.is_outgoing, is_outgoing);
    }
    let (lower, higher) = (&mut lower.alive[0], &mut higher.alive[0]);
    assert!(are_one(&lower.socket, &higher.socket));
    assert_ne!(lower.is_outgoing, higher.is_outgoing);
    assert!(soon(talk(&mut lower.socket, &mut higher.socket)).await);
}

async fn talk(a: &mut TcpStream, b: &mut TcpStream) -> bool {
    a.write_u8(b'a').await.unwrap();
    b.write_u8(b'b').await.unwrap();
    (a.read_u8().await.unwrap(), b.read_u8().await.unwrap()) == (b'b', b'a')
}

async fn cross_often(styles: impl Fn(usize) -> [Style; 2]) {
    for batch in 0..CROSSINGS / AT_ONCE {
        join_all((0..AT_ONCE).map(|number| cross(styles(batch + number)))).await;
    }
}

#[tokio::test]
async fn both_ends_keep_the_same_connection_with_handshakes_beside_the_stream() {
    cross_often(|_| [Style::Beside; 2]).await;
}

/// The ends run on two threads, so that they meet in every order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_keep_the_same_connection_on_two_threads() {
    cross_often(|_| [Style::Beside; 2]).await;
}

#[tokio::test]
async fn both_ends_keep_the_same_connection_with_handshakes_in_the_loop() {
    let [short, long] = [50, 5_000].map(|ms| Style::Inline {
        patience: Duration::from_millis(ms),
    });
    cross_often(|number| if number % 2 == 0 { [short, long] } else { [long, short] }).await;
}

#[tokio::test]
async fn both_ends_keep_the_same_connection_with_a_handshake_in_the_loop_of_one_end() {
    let inline = Style::Inline {
        patience: Duration::from_millis(50),
    };
    cross_often(|number| match number % 2 {
        0 => [inline, Style::Beside],
        _ => [Style::Beside, inline],
    })
    .await;
}

/// Neither end gives up, so one that waited for a connection that the other end does not serve would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_shake_hands_in_the_loop_without_a_limit_do_not_freeze() {
    let inline = Style::Inline {
        patience: Duration::MAX,
    };
    cross_often(|_| [inline; 2]).await;
}

/// Each dials the next one and waits for it, until its limit.
#[tokio::test]
async fn a_ring_of_three_nodes_that_shake_hands_in_the_loop_goes_on_by_their_limits() {
    const RING: [u8; 3] = [2, 3, 4];
    let block = Block::new();
    let connected = watch::Sender::new([0; RING.len()]);
    let nodes = (0..RING.len()).map(|number| {
        let mut config = block.config(RING[number], &[RING[(number + 1) % RING.len()]]);
        config.target_outgoing_connections = 1;
        (config.retry_backoff, config.max_retry_backoff) = (SHORT, SHORT);
        NetworkController::with_config(config)
    });
    let nodes = join_all(nodes).await.into_iter().enumerate();
    let nodes = nodes.map(|(number, net)| shake_hands_inline(net.unwrap(), connected.clone(), number));
    let mut all_connected = connected.subscribe();
    // Two may both reach the third: then each has what it wants, or knows nobody else to dial.
    let meet =
        all_connected.wait_for(|counts| counts.iter().all(|&count| count > 0) && counts.iter().sum::<usize>() >= 4);
    tokio::select! {
        _ = join_all(nodes) => {}
        met = soon(meet) => drop(met.unwrap()),
    }
}

/// A node that shakes hands in its loop, and tells how many connections are alive.
async fn shake_hands_inline<const N: usize>(
    mut net: NetworkController,
    connected: watch::Sender<[usize; N]>,
    number: usize,
) {
    let mut alive = FuturesUnordered::new();
    loop {
        tokio::select! {
            event = net.wait_event() => match greet(Candidate::of(event.unwrap()), SHORT).await {
                Ok(mut candidate) => {
                    net.feedback_peer_alive(candidate.ip).await;
                    alive.push(async move {
                        drop(candidate.socket.read_u8().await);
                        candidate.ip
                    });
                }
                Err(ip) => net.feedback_peer_failed(ip).await,
            },
            Some(ended) = alive.next() => net.feedback_peer_failed(ended).await,
        }
        connected.send_modify(|counts| counts[number] = alive.len());
    }
}

#[tokio::test]
async fn the_lower_address_refuses_an_inbound_connection_of_its_outgoing_peer() {
    let block = Block::new();
    let remote = block.listen(HIGHER);
    let mut node = Node::trusting(block.config(LOWER, &[HIGHER])).await;
    let (_ours, _) = node.beside(remote.accept()).await.unwrap();
    node.until(|node| node.count(PeerStatus::OutAlive) == 1).await;

    let mut theirs = block.connect(HIGHER, LOWER).await;
    assert!(node.beside(is_reset(&mut theirs)).await);
    assert_eq!(node.held.len(), 1);
    assert_eq!(node.net.stats().counters.inbound_parked, 0);
}

#[tokio::test]
async fn the_higher_address_parks_an_inbound_connection_of_its_outgoing_peer_until_a_timeout() {
    let block = Block::new();
    let (node_host, remote_host) = (HIGHER, LOWER);
    let remote = block.listen(remote_host);
    let mut config = block.config(node_host, &[remote_host]);
    config.connect_timeout = SHORT;
    let mut node = Node::trusting(config).await;
    let (_ours, _) = node.beside(remote.accept()).await.unwrap();
    node.until(|node| node.count(PeerStatus::OutAlive) == 1).await;

    let mut theirs = block.connect(remote_host, node_host).await;
    node.until(|node| node.net.stats().incoming_attempts.used == 1).await;
    assert!(node.beside(is_reset(&mut theirs)).await);
    assert_eq!(node.held.len(), 1);
    assert_eq!(node.net.stats().counters.refused_parked, 1);
    assert_eq!(node.status(block.ip(remote_host)), Some(PeerStatus::OutAlive));
}

#[tokio::test]
async fn a_parked_connection_is_admitted_when_ours_ends() {
    let block = Block::new();
    let (node_host, remote_host) = (HIGHER, LOWER);
    let remote = block.listen(remote_host);
    let mut node = block.node(node_host, &[remote_host]).await;
    let (ours, _) = node.beside(remote.accept()).await.unwrap();
    node.until(|node| node.count(PeerStatus::OutHandshaking) == 1).await;
    let theirs = block.connect(remote_host, node_host).await;
    node.until(|node| node.net.stats().incoming_attempts.used == 1).await;

    drop(ours);
    node.net.feedback_peer_failed(block.ip(remote_host)).await;
    let promoted = node.candidate().await;
    assert!(!promoted.is_outgoing && are_one(&promoted.socket, &theirs));
    assert_eq!(node.peer(block.ip(remote_host)).failures_in_row, 0);
}

#[tokio::test]
async fn a_parked_connection_that_died_is_not_admitted() {
    let block = Block::new();
    let (node_host, remote_host) = (HIGHER, LOWER);
    let remote = block.listen(remote_host);
    let mut node = block.node(node_host, &[remote_host]).await;
    let (_ours, _) = node.beside(remote.accept()).await.unwrap();
    node.until(|node| node.count(PeerStatus::OutHandshaking) == 1).await;
    let theirs = block.connect(remote_host, node_host).await;
    node.until(|node| node.net.stats().incoming_attempts.used == 1).await;

    socket2::SockRef::from(&theirs)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(theirs);
    node.net.feedback_peer_closed(block.ip(remote_host)).await;
    node.until(|node| node.net.stats().incoming_attempts.used == 0).await;
    assert_eq!(node.held.len(), 1);
    assert_eq!(node.status(block.ip(remote_host)), Some(PeerStatus::Idle));
    assert_eq!(node.net.stats().counters.inbound_dead, 1);
}

#[tokio::test]
async fn the_higher_address_calls_off_its_dial_for_an_inbound_connection() {
    let block = Block::new();
    let (node_host, remote_host) = (HIGHER, LOWER);
    let _unreachable = block.black_hole(remote_host);
    let mut node = block.node(node_host, &[remote_host]).await;
    node.until(|node| node.count(PeerStatus::OutConnecting) == 1).await;

    let theirs = block.connect(remote_host, node_host).await;
    let candidate = node.candidate().await;
    assert!(!candidate.is_outgoing && are_one(&candidate.socket, &theirs));
    assert_eq!(node.net.stats().counters.dials_called_off, 1);
    assert_eq!(node.peer(block.ip(remote_host)).last_failure, None);
}

#[tokio::test]
async fn the_lower_address_admits_a_parked_connection_when_its_dial_times_out() {
    let block = Block::new();
    let _unreachable = block.black_hole(HIGHER);
    let mut config = block.config(LOWER, &[HIGHER]);
    config.connect_timeout = SHORT;
    let mut node = Node::new(config).await;
    node.until(|node| node.count(PeerStatus::OutConnecting) == 1).await;

    let theirs = block.connect(HIGHER, LOWER).await;
    let candidate = node.candidate().await;
    assert!(!candidate.is_outgoing && are_one(&candidate.socket, &theirs));
    let counters = node.net.stats().counters;
    assert_eq!((counters.inbound_parked, counters.dials_timed_out), (1, 1));
    assert!(node.peer(block.ip(HIGHER)).last_failure.is_some());
}

/// Sends what dials the node's public address back to the node, from that address and the very port that it came from,
/// as a router with a forwarded port does.
async fn route_back(listener: TcpListener, block: Block, public: u8, host: u8) {
    loop {
        let (mut inside, from) = listener.accept().await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((block.ip(public), from.port()).into()).unwrap();
        let mut back = socket.connect(block.addr(host)).await.unwrap();
        // Until one end lets go.
        drop(copy_bidirectional(&mut inside, &mut back).await);
        drop(inside.set_zero_linger());
        drop(back.set_zero_linger());
    }
}

#[tokio::test]
async fn a_node_that_dials_its_own_public_address_recognises_itself() {
    for (public, host) in [(LOWER, HIGHER), (HIGHER, LOWER)] {
        let block = Block::new();
        let router = tokio::spawn(route_back(block.listen(public), block, public, host));
        let mut node = block.node(host, &[public]).await;
        node.until(|node| node.net.stats().counters.dials_to_self == 1).await;
        let counters = node.net.stats().counters;
        assert_eq!((counters.dials_started, counters.refused_self), (1, 1));
        assert_eq!(node.net.peers().count(), 0);
        drop(node.net.feedback_peer_list([block.ip(public)]));
        assert_eq!(node.net.peers().count(), 0);
        router.abort();
    }
}
