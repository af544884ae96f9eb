//! Two nodes that dial each other at the same moment keep one connection, the same one at both ends, and need no retry.

use std::net::IpAddr;
use std::time::Duration;

use crate::loopback::{self, Block, Candidate, are_one, soon};
use futures::future::{join, join_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use network::{NetworkController, PeerStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

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
async fn the_same_connection_survives_with_handshakes_beside_the_stream() {
    cross_often(|_| [Style::Beside; 2]).await;
}

/// The ends run on two threads, so that they meet in every order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_connection_survives_where_the_ends_run_at_one_time() {
    cross_often(|_| [Style::Beside; 2]).await;
}

#[tokio::test]
async fn the_same_connection_survives_with_handshakes_in_the_loop() {
    let [short, long] = [50, 5_000].map(|ms| Style::Inline {
        patience: Duration::from_millis(ms),
    });
    cross_often(|number| if number % 2 == 0 { [short, long] } else { [long, short] }).await;
}

#[tokio::test]
async fn the_same_connection_survives_with_a_handshake_in_the_loop_of_one_end() {
    let inline = Style::Inline {
        patience: Duration::from_millis(50),
    };
    cross_often(|number| match number % 2 {
        0 => [inline, Style::Beside],
        _ => [Style::Beside, inline],
    })
    .await;
}
