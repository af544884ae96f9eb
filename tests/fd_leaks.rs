//! What a controller opens, it closes.
//!
//! An executable of its own, whose tests take turns: they count the file descriptors of the process.
#![cfg(target_os = "linux")]

#[path = "support/loopback.rs"]
mod loopback;

use std::collections::HashMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use loopback::{Block, Node, is_reset};
use network::PeerStatus;
use tokio::net::TcpStream;
use tokio::runtime::Builder;

const PARKED: u8 = 2;
const NODE: u8 = 3;
const UNREACHABLE: u8 = 4;

/// Runs a test on a runtime of its own while no other test has one: a runtime opens sockets too.
fn alone(test: impl Future<Output = ()>) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn open_sockets() -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let is_socket = |path: std::path::PathBuf| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    descriptors
        .filter(|entry| is_socket(entry.as_ref().unwrap().path()))
        .count()
}

/// A node with a listener, a dial under way, a parked socket, and a connection that its application holds.
struct Busy {
    node: Node,
    /// Everything open that is not the node's.
    _remotes: Vec<Box<dyn std::any::Any>>,
    parked: TcpStream,
    ours: TcpStream,
}

impl Busy {
    async fn new() -> Self {
        let block = Block::new();
        let remote = block.listen(PARKED);
        let mut config = block.config(NODE, &[PARKED, UNREACHABLE]);
        config.target_outgoing_connections = 2;
        let unreachable = block.black_hole(UNREACHABLE);
        let mut node = Node::new(config).await;
        let (ours, _) = node.beside(remote.accept()).await.unwrap();
        node.until(|node| node.held.len() == 1).await;
        let parked = block.connect(PARKED, NODE).await;
        node.until(|node| node.net.stats().incoming_attempts.used == 1).await;
        assert_eq!(node.count(PeerStatus::OutConnecting), 1);
        Self {
            node,
            _remotes: vec![Box::new(remote), Box::new(unreachable)],
            parked,
            ours,
        }
    }
}

#[test]
fn dropping_a_controller_closes_its_sockets() {
    alone(async {
        let mut busy = Busy::new().await;
        let before = open_sockets();
        let Node { net, held, .. } = busy.node;
        drop(net);
        assert_eq!(
            before - open_sockets(),
            3,
            "its listener, its dial and what it had parked"
        );
        assert!(loopback::soon(is_reset(&mut busy.parked)).await);
        drop(held);
        assert_eq!(before - open_sockets(), 4, "the application's is the application's");
        assert!(!loopback::soon(is_reset(&mut busy.ours)).await);
    });
}

#[test]
fn closing_a_controller_closes_its_sockets() {
    alone(async {
        let mut busy = Busy::new().await;
        let before = open_sockets();
        busy.node.net.close().await.unwrap();
        assert_eq!(before - open_sockets(), 3);
        assert!(loopback::soon(is_reset(&mut busy.parked)).await);
    });
}

#[test]
fn a_dial_that_is_called_off_leaks_no_descriptor() {
    alone(async {
        let mut busy = Busy::new().await;
        let before = open_sockets();
        let ip = busy
            .node
            .net
            .peers()
            .find(|peer| peer.status == PeerStatus::OutConnecting)
            .unwrap()
            .ip;
        busy.node.net.feedback_peer_banned(ip).await;
        assert_eq!(before - open_sockets(), 1);
    });
}

#[test]
fn a_refused_connection_leaks_no_descriptor() {
    alone(async {
        let mut busy = Busy::new().await;
        let addr = busy.node.net.local_addr();
        busy.node.net.feedback_peer_banned([127, 0, 0, 1].into()).await;
        let before = open_sockets();
        for _ in 0..10 {
            let mut client = loopback::soon(TcpStream::connect(addr)).await.unwrap();
            assert!(busy.node.beside(is_reset(&mut client)).await);
        }
        assert_eq!(open_sockets(), before);
    });
}

/// In each direction.
const CONNECTIONS: u64 = 10_000;

#[test]
fn thousands_of_inbound_connections_leak_no_descriptor() {
    alone(async {
        let block = Block::new();
        let mut node = block.node(NODE, &[]).await;
        let before = open_descriptors();
        for _ in 0..CONNECTIONS {
            let theirs = block.connect(PARKED, NODE).await;
            let ours = node.candidate().await;
            node.net.feedback_peer_closed(ours.ip).await;
            // No port is to wait for a connection that is over.
            ours.socket.set_zero_linger().unwrap();
            drop((ours, theirs));
        }
        assert_eq!(open_descriptors(), before);
        assert_eq!(node.net.stats().counters.inbound_admitted, CONNECTIONS);
        assert_eq!(node.net.stats().incoming_connections.used, 0);
    });
}

#[test]
fn thousands_of_outgoing_connections_leak_no_descriptor() {
    alone(async {
        let block = Block::new();
        let hosts: Vec<u8> = (100..150).collect();
        let remotes: HashMap<_, _> = hosts.iter().map(|&host| (block.ip(host), block.listen(host))).collect();
        let mut config = block.config(NODE, &hosts);
        config.target_outgoing_connections = hosts.len();
        config.max_simultaneous_outgoing_connection_attempts = hosts.len();
        config.retry_backoff = Duration::from_millis(1);
        // The connections end at once, which would double the pause.
        config.max_retry_backoff = config.retry_backoff;
        config.dial_stagger = Duration::ZERO;
        let before = open_descriptors();
        let mut node = Node::new(config).await;
        while node.net.stats().counters.dials_succeeded < CONNECTIONS {
            node.until(|node| !node.held.is_empty()).await;
            for ours in std::mem::take(&mut node.held) {
                let (theirs, _) = loopback::soon(remotes[&ours.ip].accept()).await.unwrap();
                theirs.set_zero_linger().unwrap();
                drop((theirs, ours.socket));
                node.net.feedback_peer_closed(ours.ip).await;
            }
        }
        assert_eq!(node.net.stats().outgoing_connections.used, 0);
        drop(node);
        assert_eq!(open_descriptors(), before);
    });
}
