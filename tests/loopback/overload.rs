//! More connections than there are slots, connections that say nothing, and peers that are gone.

use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use network::{Feedback, PeerStatus};
use tokio::io::AsyncWriteExt;

use crate::loopback::{self, Block, LIMIT, Node, is_reset};
use crate::peer_files::PeerFile;
use crate::{NODE, REMOTE, SHORT};

/// Whether the connection is greeted, rather than reset.
fn is_greeted(from: SocketAddr, to: SocketAddr) -> bool {
    let greeting = loopback::connect_from(from, to).and_then(|mut stream| {
        stream.set_read_timeout(Some(LIMIT))?;
        stream.read_exact(&mut [0])
    });
    match greeting {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
            false
        }
    }
}

#[tokio::test]
async fn simultaneous_dialers_are_admitted_up_to_the_cap() {
    const DIALERS: u8 = 50;
    const PLACES: usize = 5;
    let block = Block::new();
    let mut config = block.config(NODE, &[]);
    config.max_simultaneous_incoming_connection_attempts = PLACES;
    // Those that are refused are remembered, and would be dialed.
    config.target_outgoing_connections = 0;
    let mut node = Node::new(config).await;
    let (barrier, to) = (Arc::new(Barrier::new(DIALERS.into())), block.addr(NODE));
    let dialers: Vec<JoinHandle<bool>> = (0..DIALERS)
        .map(|number| {
            let (barrier, from) = (Arc::clone(&barrier), block.any_port(100 + number));
            thread::spawn(move || {
                barrier.wait();
                is_greeted(from, to)
            })
        })
        .collect();

    node.until(|node| node.net.stats().counters.refused_attempts_full == 45)
        .await;
    let stats = node.net.stats();
    assert_eq!((stats.peers.in_handshaking, stats.peers.idle), (PLACES, 45));
    assert_eq!(stats.counters.inbound_admitted, 5);
    let admitted: HashSet<_> = node.held.iter().map(|candidate| candidate.ip).collect();
    assert_eq!(admitted.len(), PLACES);
    for candidate in &mut node.held {
        candidate.socket.write_all(b"!").await.unwrap();
    }
    let greeted = dialers.into_iter().map(|dialer| dialer.join().unwrap());
    assert_eq!(greeted.filter(|greeted| *greeted).count(), PLACES);
}

#[tokio::test]
async fn silent_connections_hold_their_slots_until_the_handshake_timeout() {
    let block = Block::new();
    let mut config = block.config(NODE, &[]);
    config.max_simultaneous_incoming_connection_attempts = 8;
    config.handshake_timeout = Some(Duration::from_millis(500));
    // They would be dialed once they are Idle.
    config.target_outgoing_connections = 0;
    let mut node = Node::new(config).await;
    for round in 1..=2 {
        let mut silent = Vec::new();
        for host in 30..38 {
            silent.push(block.connect(host, NODE).await);
        }
        node.until(|node| node.count(PeerStatus::InHandshaking) == 8).await;
        let mut late = block.connect(REMOTE, NODE).await;
        assert!(node.beside(is_reset(&mut late)).await);
        assert_eq!(node.net.stats().counters.refused_attempts_full, round);

        node.until(|node| node.net.stats().incoming_attempts.used == 0).await;
        assert_eq!(node.net.stats().counters.handshakes_timed_out, 8 * round);
        for host in 30..38 {
            let peer = node.peer(block.ip(host));
            assert!(peer.status == PeerStatus::Idle && peer.last_failure.is_some());
        }
        node.held.clear();
    }
}

#[tokio::test]
async fn dead_peers_are_dialed_in_parallel() {
    const DEAD: std::ops::Range<u8> = 40..76;
    const ALIVE: [u8; 4] = [10, 11, 12, 13];
    const SLOTS: usize = 12;
    let timeout = Duration::from_millis(500);
    let block = Block::new();
    let _gone: Vec<_> = DEAD.map(|host| block.black_hole(host)).collect();
    let _alive = ALIVE.map(|host| block.listen(host));
    let mut config = block.config(NODE, &DEAD.chain(ALIVE).collect::<Vec<_>>());
    config.target_outgoing_connections = ALIVE.len();
    config.max_simultaneous_outgoing_connection_attempts = SLOTS;
    config.connect_timeout = timeout;
    config.dial_stagger = Duration::from_millis(10);
    let mut node = Node::trusting(config).await;
    let (begin, mut most_at_once) = (Instant::now(), 0);
    node.until(|node| {
        most_at_once = most_at_once.max(node.count(PeerStatus::OutConnecting));
        node.count(PeerStatus::OutAlive) == ALIVE.len()
    })
    .await;

    let (counters, dead) = (node.net.stats().counters, u64::try_from(DEAD.len()).unwrap());
    assert!(most_at_once > SLOTS - ALIVE.len(), "{most_at_once}");
    assert!(counters.dials_timed_out <= dead, "none is tried twice meanwhile");
    assert_eq!(counters.dials_succeeded, 4);
    // Three or four of them, where one for each of the dead would be 36.
    assert!(begin.elapsed() < timeout * 12, "{:?}", begin.elapsed());
}

/// Threads that connect and let go, one time after the other, until it is dropped.
struct Flood {
    goes_on: Arc<AtomicBool>,
    connected: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    fn new(from: SocketAddr, to: SocketAddr) -> Self {
        let (goes_on, connected) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let threads = (0..3).map(|_| {
            let (goes_on, connected) = (Arc::clone(&goes_on), Arc::clone(&connected));
            thread::spawn(move || {
                while goes_on.load(Ordering::Relaxed) {
                    if loopback::connect_from(from, to).is_ok() {
                        connected.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        Self {
            threads: threads.collect(),
            goes_on,
            connected,
        }
    }

    fn stop(self) -> u64 {
        self.goes_on.store(false, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.connected.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_flood_of_refused_connections_delays_neither_dials_nor_feedback_nor_dumps() {
    let block = Block::new();
    let file = PeerFile::holding("[]");
    let remote = block.listen(REMOTE);
    let mut config = block.config(NODE, &[]);
    config.peers_file = Some(file.path.clone());
    config.peer_file_dump_interval = SHORT;
    let mut node = Node::trusting(config).await;
    let (flooding, sink) = (block.ip(REMOTE + 1), node.net.feedback_sink());
    node.net.feedback_peer_banned(flooding).await;
    let flood = Flood::new(SocketAddr::new(flooding, 0), block.addr(NODE));
    let refused = |node: &Node| node.net.stats().counters.refused_banned;

    node.until(|node| refused(node) > 1_000).await;
    let dumps = node.net.stats().counters.dumps_written;
    sink.report(Feedback::PeerList(vec![block.ip(REMOTE)])).unwrap();
    let (_dialed, from) = node.beside(remote.accept()).await.unwrap();
    assert_eq!(from.ip(), block.ip(NODE));
    node.until(|node| node.count(PeerStatus::OutAlive) == 1).await;
    node.until(|node| node.net.stats().counters.dumps_written > dumps + 1)
        .await;
    let then = refused(&node);
    node.until(|node| refused(node) > (then + 1_000).max(3_000)).await;

    let connected = node.beside(tokio::task::spawn_blocking(|| flood.stop())).await.unwrap();
    assert!(connected >= 3_000);
    assert!(node.held.len() == 1 && node.held[0].is_outgoing);
    assert_eq!(file.record(flooding)["status"], "Banned");
    assert_eq!(file.record(block.ip(REMOTE))["status"], "OutAlive");
}
