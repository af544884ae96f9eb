//! Dials: how many, from where, and those that time out or reach this node itself.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use futures::SinkExt;
use network::{Feedback, PeerStatus};

use crate::loopback::{Block, Node, is_reset};
use crate::{NODE, REMOTE, SHORT};

#[tokio::test]
async fn lost_outgoing_connections_are_replaced() {
    let block = Block::new();
    let hosts = [11, 12, 13, 14, 15, 16, 17];
    let mut remotes = Vec::new();
    for host in hosts {
        remotes.push(Remote::new(block, host));
    }
    let mut config = block.config(NODE, &hosts);
    config.target_outgoing_connections = 3;
    let mut node = Node::trusting(config).await;
    for alive in [7, 5, 3] {
        node.until(|node| node.count(PeerStatus::OutAlive) == 3).await;
        assert_eq!(remotes.len(), alive);
        let victims: Vec<_> = node.held.iter().take(2).map(|candidate| candidate.ip).collect();
        if alive > 3 {
            lose(&mut node, &mut remotes, &victims).await;
        }
    }
    let alive = |ip| remotes.iter().any(|remote| remote.ip == ip);
    assert!(
        node.held
            .iter()
            .all(|candidate| candidate.is_outgoing && alive(candidate.ip))
    );
    assert_eq!(node.held.len(), 3);
}

#[tokio::test]
async fn outgoing_handshakes_count_towards_the_target() {
    let block = Block::new();
    let known = [11, 12, 13, 14, 15];
    let _remotes = known.map(|host| block.listen(host));
    let mut config = block.config(NODE, &known);
    config.target_outgoing_connections = 2;
    config.dial_stagger = Duration::ZERO;
    let mut node = Node::new(config).await;
    node.until(|node| node.held.len() == 2).await;
    for host in 16..=20 {
        let _visitor = block.connect(host, NODE).await;
        assert!(!node.candidate().await.is_outgoing);
    }
    assert_eq!(node.count(PeerStatus::OutHandshaking), 2);
    assert_eq!(node.count(PeerStatus::OutConnecting), 0);
    assert_eq!(node.held.len(), 2);
}

/// A remote that takes every connection and holds it until it dies.
struct Remote {
    ip: IpAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Remote {
    fn new(block: Block, host: u8) -> Self {
        let listener = block.listen(host);
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok(accepted) = listener.accept().await {
                held.push(accepted);
            }
        });
        let ip = block.ip(host);
        Self { ip, task }
    }

    async fn die(self) {
        self.task.abort();
        assert!(self.task.await.is_err());
    }
}

async fn lose(node: &mut Node, remotes: &mut Vec<Remote>, victims: &[IpAddr]) {
    for &ip in victims {
        let remote = remotes.remove(remotes.iter().position(|remote| remote.ip == ip).unwrap());
        remote.die().await;
        let place = node.held.iter().position(|candidate| candidate.ip == ip).unwrap();
        let mut lost = node.held.remove(place);
        node.beside(is_reset(&mut lost.socket)).await;
        node.net.feedback_peer_failed(ip).await;
    }
}

#[tokio::test]
async fn an_unanswered_dial_times_out() {
    let block = Block::new();
    let _unreachable = block.black_hole(REMOTE);
    let mut config = block.config(NODE, &[REMOTE]);
    config.connect_timeout = SHORT;
    let mut node = Node::new(config).await;
    node.until(|node| node.net.stats().counters.dials_timed_out == 1).await;
    assert_eq!(node.status(block.ip(REMOTE)), Some(PeerStatus::Idle));
    assert!(node.peer(block.ip(REMOTE)).last_failure.is_some());
}

#[tokio::test]
async fn dials_leave_from_the_listen_address() {
    let block = Block::new();
    let remote = block.listen(REMOTE);
    let mut node = block.node(NODE, &[REMOTE]).await;
    let (_socket, from) = node.beside(remote.accept()).await.unwrap();
    assert_eq!(from.ip(), block.ip(NODE));
    assert_ne!(from.port(), block.addr(NODE).port());
}

/// In a network namespace, where dials have eight local ports to leave from.
#[cfg(target_os = "linux")]
#[test]
fn dials_from_the_listen_address_share_local_ports_when_there_are_too_few() {
    use crate::child;

    const TEST: &str = "dialing::dials_from_the_listen_address_share_local_ports_when_there_are_too_few";
    const FEW_PORTS: &str = "ip link set lo up && echo 40000 40007 >/proc/sys/net/ipv4/ip_local_port_range";
    let script = format!("{FEW_PORTS} && exec \"$@\"");
    let launcher = [
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    if child::role().is_some() {
        child::block_on(dial_from_few_ports());
    } else if child::can(&launcher) {
        child::assert_passed(&child::child(TEST, &launcher, "node").output().unwrap());
    }
}

#[cfg(target_os = "linux")]
async fn dial_from_few_ports() {
    use std::net::TcpListener as StdListener;

    use network::NetworkConfig;

    const PORT: u16 = 31_244;
    let peers: Vec<_> = (1..=30).map(|host| IpAddr::from([127, 0, 1, host])).collect();
    let listeners: Vec<_> = peers.iter().map(|&ip| StdListener::bind((ip, PORT)).unwrap()).collect();
    let mut config = NetworkConfig::in_memory(PORT);
    config.listen_ip = [127, 0, 0, 2].into();
    config.initial_peers.clone_from(&peers);
    config.target_outgoing_connections = peers.len();
    config.max_simultaneous_outgoing_connection_attempts = peers.len();
    let mut node = Node::trusting(config).await;
    node.until(|node| node.count(PeerStatus::OutAlive) == peers.len()).await;
    let counters = node.net.stats().counters;
    assert_eq!((counters.dials_started, counters.dials_host_faults), (30, 0));
    drop(listeners);
}

#[tokio::test]
async fn a_node_does_not_dial_its_own_listen_address() {
    let block = Block::new();
    let remote = block.listen(REMOTE);
    let mut node = block.node(NODE, &[NODE, REMOTE]).await;
    node.net.feedback_peer_list([block.ip(NODE)]).await;
    node.beside(remote.accept()).await.unwrap();
    assert_eq!(node.net.stats().counters.dials_started, 1);
    assert_eq!(node.net.get_good_peer_ips(), [block.ip(REMOTE)]);
}

#[tokio::test]
async fn a_dial_that_reaches_ourselves_leaves_no_peer() {
    let block = Block::new();
    let mut config = block.config(NODE, &[NODE]);
    config.listen_ip = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    config.listen_port = 0;
    let mut node = Node::new(config).await;
    node.until(|node| {
        let counters = node.net.stats().counters;
        (counters.dials_to_self, counters.refused_self) == (1, 1)
    })
    .await;
    assert!(node.held.is_empty());
    assert_eq!(
        (node.net.peers().count(), node.net.get_good_peer_ips()),
        (0, Vec::new())
    );
    assert_eq!(node.net.stats().incoming_connections.used, 0);
}

#[tokio::test]
async fn reserved_peers_are_connected_beside_the_target() {
    let block = Block::new();
    let listeners = [REMOTE, REMOTE + 1].map(|host| block.listen(host));
    let mut config = block.config(NODE, &[]);
    config.target_outgoing_connections = 0;
    config.reserved_peers = vec![block.ip(REMOTE)];
    config.retry_backoff = SHORT;
    let mut node = Node::trusting(config).await;
    node.until(|node| node.count(PeerStatus::OutAlive) == 1).await;
    let _ = node.net.start_send_unpin(Feedback::Reserve(block.ip(REMOTE + 1)));
    node.until(|node| node.count(PeerStatus::OutAlive) == 2).await;
    assert_eq!(node.net.stats().outgoing_connections.used, 0);

    // It comes back by itself.
    node.held.retain(|candidate| candidate.ip != block.ip(REMOTE));
    node.net.feedback_peer_closed(block.ip(REMOTE)).await;
    node.until(|node| node.count(PeerStatus::OutAlive) == 2).await;
    drop(listeners);
}

#[tokio::test]
async fn a_peer_that_nobody_knows_is_dialed_by_hand() {
    let block = Block::new();
    let listener = block.listen(REMOTE);
    let mut config = block.config(NODE, &[]);
    config.target_outgoing_connections = 0;
    let mut node = Node::new(config).await;
    node.net
        .feedback_sink()
        .report(Feedback::Dial(block.ip(REMOTE)))
        .unwrap();
    let candidate = node.candidate().await;
    assert_eq!((candidate.ip, candidate.is_outgoing), (block.ip(REMOTE), true));
    drop(listener);
}
