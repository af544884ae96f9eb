//! Controllers on real sockets, with each other and with remotes that a test plays.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::loopback::{Block, Candidate, Node, are_one, is_reset, soon, until_both};
use crate::peer_files::PeerFile;
use futures::{SinkExt, StreamExt, stream};
use network::{Feedback, NetworkController, NetworkError, Peer, PeerStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

const SHORT: Duration = Duration::from_millis(100);
/// The node and remotes of most tests; the lower address is the node's.
const NODE: u8 = 2;
const REMOTE: u8 = 3;

#[tokio::test]
async fn two_nodes_find_each_other_over_one_connection() {
    let block = Block::new();
    let mut dialing = Node::trusting(block.config(NODE, &[REMOTE])).await;
    let mut dialed = Node::trusting(block.config(REMOTE, &[])).await;
    until_both(&mut dialing, &mut dialed, |dialing, dialed| {
        dialing.count(PeerStatus::OutAlive) == 1 && dialed.count(PeerStatus::InAlive) == 1
    })
    .await;

    let (out, incoming) = (&dialing.held[0], &dialed.held[0]);
    assert!(out.is_outgoing && out.ip == block.ip(REMOTE));
    assert!(!incoming.is_outgoing && incoming.ip == block.ip(NODE));
    assert!(are_one(&out.socket, &incoming.socket));
    assert_eq!((dialing.held.len(), dialed.held.len()), (1, 1));
    assert_eq!(dialing.net.stats().counters.dials_started, 1);
    assert_eq!(
        dialed.net.stats().counters.dials_started,
        0,
        "a connected peer is not dialed"
    );
}

#[tokio::test]
async fn sockets_that_are_handed_over_are_plain_ones() {
    let block = Block::new();
    let mut dialing = Node::trusting(block.config(NODE, &[REMOTE])).await;
    let mut dialed = Node::trusting(block.config(REMOTE, &[])).await;
    until_both(&mut dialing, &mut dialed, |a, b| a.held.len() + b.held.len() == 2).await;

    let (mut out, mut incoming) = (dialing.held.remove(0).socket, dialed.held.remove(0).socket);
    for socket in [&out, &incoming] {
        assert_eq!(socket2::SockRef::from(socket).linger().unwrap(), None);
    }
    soon(async { tokio::join!(exchange(&mut out), exchange(&mut incoming)) }).await;

    drop(out);
    assert!(
        !soon(is_reset(&mut incoming)).await,
        "a connection of the application closes in the ordinary way"
    );
}

/// Sends and receives more than the buffers of two sockets take, at one time.
async fn exchange(socket: &mut TcpStream) {
    let sent = vec![7; 8 << 20];
    let mut received = vec![0; sent.len()];
    let (mut read, mut write) = socket.split();
    let (read, written) = tokio::join!(read.read_exact(&mut received), write.write_all(&sent));
    written.unwrap();
    assert_eq!(read.unwrap(), sent.len());
    assert!(received == sent);
}

#[tokio::test]
async fn a_second_inbound_connection_of_a_peer_is_reset() {
    let block = Block::new();
    let mut node = block.node(NODE, &[]).await;
    let mut first = block.connect(REMOTE, NODE).await;
    let mut kept = node.candidate().await;
    for is_alive in [false, true] {
        let mut second = block.connect(REMOTE, NODE).await;
        assert!(node.beside(is_reset(&mut second)).await);
        if !is_alive {
            node.net.feedback_peer_alive(kept.ip).await;
        }
    }
    assert!(node.held.is_empty());
    assert_eq!(node.net.stats().counters.refused_connected, 2);
    assert_eq!(node.status(block.ip(REMOTE)), Some(PeerStatus::InAlive));

    kept.socket.write_all(b"!").await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'!');
}

#[tokio::test]
async fn other_hosts_are_not_hindered_by_a_connected_one() {
    let block = Block::new();
    let mut node = block.node(NODE, &[]).await;
    let _first = block.connect(REMOTE, NODE).await;
    let _second = block.connect(REMOTE + 1, NODE).await;
    node.until(|node| node.count(PeerStatus::InHandshaking) == 2).await;
    assert!(node.held.iter().all(|candidate| !candidate.is_outgoing));
}

#[tokio::test]
async fn the_lower_address_refuses_the_peer_that_it_is_connected_to() {
    let block = Block::new();
    let remote = block.listen(REMOTE);
    let mut node = Node::trusting(block.config(NODE, &[REMOTE])).await;
    let (_ours, _) = node.beside(remote.accept()).await.unwrap();
    node.until(|node| node.count(PeerStatus::OutAlive) == 1).await;

    let mut theirs = block.connect(REMOTE, NODE).await;
    assert!(node.beside(is_reset(&mut theirs)).await);
    assert_eq!(node.held.len(), 1);
    assert_eq!(node.net.stats().counters.inbound_parked, 0);
}

#[tokio::test]
async fn the_higher_address_parks_the_peer_that_it_is_connected_to_for_a_while() {
    let block = Block::new();
    let (node_host, remote_host) = (REMOTE, NODE);
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
async fn a_parked_connection_takes_the_place_of_ours_when_that_ends() {
    let block = Block::new();
    let (node_host, remote_host) = (REMOTE, NODE);
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
async fn a_parked_connection_that_died_meanwhile_is_not_handed_over() {
    let block = Block::new();
    let (node_host, remote_host) = (REMOTE, NODE);
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
async fn the_higher_address_calls_its_dial_off_for_the_peer_that_comes_in() {
    let block = Block::new();
    let (node_host, remote_host) = (REMOTE, NODE);
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
async fn the_lower_address_waits_for_its_dial_before_it_admits_the_peer_that_comes_in() {
    let block = Block::new();
    let _unreachable = block.black_hole(REMOTE);
    let mut config = block.config(NODE, &[REMOTE]);
    config.connect_timeout = SHORT;
    let mut node = Node::new(config).await;
    node.until(|node| node.count(PeerStatus::OutConnecting) == 1).await;

    let theirs = block.connect(REMOTE, NODE).await;
    let candidate = node.candidate().await;
    assert!(!candidate.is_outgoing && are_one(&candidate.socket, &theirs));
    let counters = node.net.stats().counters;
    assert_eq!((counters.inbound_parked, counters.dials_timed_out), (1, 1));
    assert!(node.peer(block.ip(REMOTE)).last_failure.is_some());
}

#[tokio::test]
async fn the_target_is_kept_when_remotes_die() {
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
async fn handshakes_under_way_count_for_the_target() {
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
async fn a_banned_peer_is_reset_and_its_attempts_move_its_last_failure() {
    let block = Block::new();
    let remote_ip = block.ip(REMOTE);
    let mut node = block.node(NODE, &[]).await;
    let _first = block.connect(REMOTE, NODE).await;
    node.candidate().await;
    node.net.feedback_peer_alive(remote_ip).await;
    node.net.feedback_peer_banned(remote_ip).await;
    assert!(node.net.get_good_peer_ips().is_empty());

    for attempt in 1..=2 {
        let before = node.peer(remote_ip).clone();
        let mut again = block.connect(REMOTE, NODE).await;
        assert!(node.beside(is_reset(&mut again)).await);
        let after = node.peer(remote_ip);
        assert_eq!((before.status, after.status), (PeerStatus::Banned, PeerStatus::Banned));
        assert!(after.last_failure > before.last_failure && before.last_failure.is_some());
        assert_eq!(node.net.stats().counters.refused_banned, attempt);
    }
    assert!(node.held.is_empty());

    node.net.feedback_peer_unbanned(remote_ip).await;
    let _back = block.connect(REMOTE, NODE).await;
    assert_eq!(node.candidate().await.ip, remote_ip);
}

#[tokio::test]
async fn a_banned_peer_is_not_dialed() {
    let block = Block::new();
    let (banned, other) = (block.listen(REMOTE), block.listen(REMOTE + 1));
    let mut node = block.node(NODE, &[REMOTE]).await;
    node.net.feedback_peer_banned(block.ip(REMOTE)).await;
    node.net.feedback_peer_list([block.ip(REMOTE + 1)]).await;
    let candidate = node.candidate().await;
    assert_eq!(candidate.ip, block.ip(REMOTE + 1));
    assert_eq!(node.net.stats().counters.dials_started, 1);
    drop((banned, other));
}

#[tokio::test]
async fn a_candidate_without_feedback_counts_as_failed() {
    let block = Block::new();
    let (dialed_ip, came_ip) = (block.ip(REMOTE), block.ip(REMOTE + 1));
    let remote = block.listen(REMOTE);
    let mut config = block.config(NODE, &[REMOTE]);
    config.handshake_timeout = Some(SHORT);
    let mut node = Node::new(config).await;
    let (_dialed, _) = node.beside(remote.accept()).await.unwrap();
    let _came = block.connect(REMOTE + 1, NODE).await;
    node.until(|node| node.held.len() == 2 && node.count(PeerStatus::Idle) == 2)
        .await;

    assert_eq!(node.net.stats().counters.handshakes_timed_out, 2);
    assert!(
        [dialed_ip, came_ip]
            .iter()
            .all(|&ip| node.peer(ip).last_failure.is_some())
    );
    assert_eq!(node.peer(dialed_ip).failures_in_row, 1);
    assert_eq!(node.peer(came_ip).failures_in_row, 0);

    let _again = block.connect(REMOTE + 1, NODE).await;
    assert_eq!(node.candidate().await.ip, came_ip, "its place is free again");
}

#[tokio::test]
async fn a_dial_that_leads_nowhere_times_out() {
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
async fn a_node_comes_back_with_what_it_knew() {
    let block = Block::new();
    let [came, dialed, banned, listed, failed] = [3, 4, 5, 6, 7];
    let remote = block.listen(dialed);
    let file = PeerFile::holding(format!(r#"[{{ "ip": "{}" }}]"#, block.ip(dialed)));
    let mut config = block.config(NODE, &[]);
    config.peers_file = Some(file.path.clone());
    config.target_outgoing_connections = 1;
    let mut node = Node::new(config.clone()).await;

    let (_out, _) = node.beside(remote.accept()).await.unwrap();
    let _in = block.connect(came, NODE).await;
    let _other = block.connect(failed, NODE).await;
    node.until(|node| node.held.len() == 3).await;
    node.net.feedback_peer_alive(block.ip(dialed)).await;
    node.net.feedback_peer_alive(block.ip(came)).await;
    node.net.feedback_peer_failed(block.ip(failed)).await;
    node.net.feedback_peer_banned(block.ip(banned)).await;
    node.net.feedback_peer_list([block.ip(listed)]).await;

    let good = node.net.get_good_peer_ips();
    assert_eq!(good, [dialed, came, listed, failed].map(|host| block.ip(host)));
    let before = remembered(&node.net);
    node.net.close().await.unwrap();
    let after = Node::new(config).await;
    assert_eq!(remembered(&after.net), before);
    assert_eq!(after.net.get_good_peer_ips(), good);
}

/// What a file keeps of the peers, in the order of their addresses.
fn remembered(net: &NetworkController) -> Vec<Peer> {
    let mut peers: Vec<_> = net.peers().cloned().collect();
    for peer in &mut peers {
        if peer.status != PeerStatus::Banned {
            peer.status = PeerStatus::Idle;
        }
    }
    peers.sort_by_key(|peer| peer.ip);
    peers
}

#[tokio::test]
async fn a_running_node_dumps_at_its_interval() {
    let block = Block::new();
    let file = PeerFile::holding("[]");
    let mut config = block.config(NODE, &[]);
    config.peers_file = Some(file.path.clone());
    config.peer_file_dump_interval = SHORT;
    let mut node = Node::trusting(config).await;

    let _remote = block.connect(REMOTE, NODE).await;
    node.until(|node| node.net.stats().counters.dumps_written == 1).await;
    assert_eq!(file.record(block.ip(REMOTE))["status"], "InAlive");
    node.net.feedback_peer_banned(block.ip(REMOTE)).await;
    node.until(|node| node.net.stats().counters.dumps_written == 2).await;
    assert_eq!(file.record(block.ip(REMOTE))["status"], "Banned");
    assert_eq!(node.net.stats().last_dump_error, None);
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let block = Block::new();
    let _taken = block.listen(NODE);
    let error = NetworkController::with_config(block.config(NODE, &[]))
        .await
        .unwrap_err();
    let text = error.to_string();
    let NetworkError::Listen { addr, source } = error else {
        panic!("{text}");
    };
    assert_eq!((addr, source.kind()), (block.addr(NODE), ErrorKind::AddrInUse));
    assert!(text.contains(&addr.to_string()) && text.contains("in use"), "{text}");
}

#[tokio::test]
async fn a_closed_node_frees_its_port_and_leaves_the_sockets_of_the_application() {
    let block = Block::new();
    let mut node = block.node(NODE, &[]).await;
    let mut remote = block.connect(REMOTE, NODE).await;
    let mut kept = node.candidate().await;
    let mut unseen = block.connect(REMOTE + 1, NODE).await;

    node.net.close().await.unwrap();
    assert!(soon(is_reset(&mut unseen)).await);
    kept.socket.write_all(b"!").await.unwrap();
    assert_eq!(remote.read_u8().await.unwrap(), b'!');
    assert!(node.net.next().await.is_none());
    assert!(matches!(node.net.wait_event().await, Err(NetworkError::Closed)));

    let mut successor = block.node(NODE, &[]).await;
    let _again = block.connect(REMOTE, NODE).await;
    assert_eq!(successor.candidate().await.ip, block.ip(REMOTE));
}

#[tokio::test]
async fn a_dropped_node_frees_its_port() {
    let block = Block::new();
    drop(block.node(NODE, &[REMOTE]).await);
    block.node(NODE, &[]).await;
}

#[tokio::test]
async fn a_controller_spawns_no_task() {
    live_without_tasks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_spawns_no_task_where_there_are_threads_for_it() {
    live_without_tasks().await;
}

/// A node that dials, shakes hands, holds connections, dumps and closes.
async fn live_without_tasks() {
    let block = Block::new();
    let remote = block.listen(REMOTE);
    let _unreachable = block.black_hole(REMOTE + 1);
    let file = PeerFile::holding("[]");
    let mut config = block.config(NODE, &[REMOTE, REMOTE + 1]);
    config.peers_file = Some(file.path.clone());
    config.peer_file_dump_interval = SHORT;
    let mut node = Node::trusting(config).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();

    let (_dialed, _) = node.beside(remote.accept()).await.unwrap();
    let _came = block.connect(REMOTE + 2, NODE).await;
    node.until(|node| {
        assert_eq!(tasks(), 0);
        let peers = node.net.stats().peers;
        let is_busy = (peers.out_connecting, peers.out_alive, peers.in_alive) == (1, 1, 1);
        is_busy && node.net.stats().counters.dumps_written > 0
    })
    .await;
    node.net.feedback_peer_banned(block.ip(REMOTE)).await;
    node.net.close().await.unwrap();
    assert_eq!(tasks(), 0);
    drop(node);
    assert_eq!(tasks(), 0);
}

/// A connection's task: alive, then silent until its connection ends or its slot does.
async fn serve(mut socket: TcpStream, lease: network::PeerLease) {
    lease.alive();
    tokio::select! {
        () = lease.revoked() => lease.closed(),
        _ = socket.read_u8() => lease.failed(),
    }
}

#[tokio::test]
async fn closing_beside_the_loop_blames_nobody() {
    let block = Block::new();
    let file = PeerFile::holding(format!(r#"[{{ "ip": "{}" }}]"#, block.ip(REMOTE)));
    let remote = block.listen(REMOTE);
    let mut config = block.config(NODE, &[]);
    config.peers_file = Some(file.path.clone());
    let mut net = NetworkController::with_config(config).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    let peers = async {
        let (dialed, _) = remote.accept().await.unwrap();
        (dialed, block.connect(REMOTE + 1, NODE).await)
    };
    let mut peers = std::pin::pin!(peers);
    let (stop, mut stopped) = tokio::sync::mpsc::channel::<()>(1);
    let mut held = None;
    loop {
        tokio::select! {
            event = net.wait_event() => {
                let Candidate { ip, socket, .. } = Candidate::of(event.unwrap());
                let lease = net.lease(ip).unwrap();
                tasks.spawn(serve(socket, lease));
                if tasks.len() == 2 {
                    stop.send(()).await.unwrap();
                }
            }
            both = &mut peers, if held.is_none() => held = Some(both),
            _ = stopped.recv() => break,
        }
    }
    net.close().await.unwrap();
    while let Some(ended) = soon(tasks.join_next()).await {
        ended.expect("a revoked lease ends its task");
    }

    for ip in [block.ip(REMOTE), block.ip(REMOTE + 1)] {
        let record = file.record(ip);
        assert!(
            record["last_failure"].is_null() && record.get("failures_in_row").is_none(),
            "{record}"
        );
    }
}

#[tokio::test]
async fn leases_that_are_dropped_before_the_close_blame_nobody_either() {
    let block = Block::new();
    let file = PeerFile::holding("[]");
    let mut config = block.config(NODE, &[]);
    config.peers_file = Some(file.path.clone());
    let mut net = NetworkController::with_config(config).await.unwrap();
    let _remote = block.connect(REMOTE, NODE).await;
    let Candidate { ip, socket, .. } = Candidate::of(soon(net.wait_event()).await.unwrap());
    let lease = net.lease(ip).unwrap();
    lease.alive();
    drop((lease, socket));
    net.close().await.unwrap();
    let record = file.record(ip);
    assert!(
        record["last_failure"].is_null() && record["last_alive"].is_string(),
        "{record}"
    );
}

#[tokio::test]
async fn a_node_listens_for_both_families_by_default() {
    let block = Block::new();
    let mut config = block.config(NODE, &[]);
    config.listen_ip = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    config.listen_port = 0;
    let mut node = Node::new(config).await;
    let port = node.net.local_addr().port();
    let to = |ip: IpAddr| SocketAddr::new(ip, port);

    let over_ipv4 = block.connect_to(REMOTE, to(Ipv4Addr::LOCALHOST.into())).await;
    let candidate = node.candidate().await;
    assert_eq!(candidate.ip, block.ip(REMOTE), "in canonical form");
    assert_eq!(over_ipv4.peer_addr().unwrap().ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));

    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("SKIPPED: this host has no IPv6, so only half of this was tried");
        return;
    }
    let _over_ipv6 = soon(TcpStream::connect(to(Ipv6Addr::LOCALHOST.into()))).await.unwrap();
    assert_eq!(node.candidate().await.ip, IpAddr::V6(Ipv6Addr::LOCALHOST));
}

#[tokio::test]
async fn dials_leave_from_the_address_that_a_node_listens_on() {
    let block = Block::new();
    let remote = block.listen(REMOTE);
    let mut node = block.node(NODE, &[REMOTE]).await;
    let (_socket, from) = node.beside(remote.accept()).await.unwrap();
    assert_eq!(from.ip(), block.ip(NODE));
    assert_ne!(from.port(), block.addr(NODE).port());
}

#[tokio::test]
async fn a_node_that_is_told_of_itself_does_not_dial_itself() {
    let block = Block::new();
    let remote = block.listen(REMOTE);
    let mut node = block.node(NODE, &[NODE, REMOTE]).await;
    node.net.feedback_peer_list([block.ip(NODE)]).await;
    node.beside(remote.accept()).await.unwrap();
    assert_eq!(node.net.stats().counters.dials_started, 1);
    assert_eq!(node.net.get_good_peer_ips(), [block.ip(REMOTE)]);
}

#[tokio::test]
async fn a_dial_that_comes_out_at_ourselves_ends_without_a_trace() {
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
async fn a_stream_that_is_forwarded_into_its_own_sink_does_not_stall() {
    let block = Block::new();
    let mut node = block.node(NODE, &[]).await;
    let (hosts, mut held, sink) = (11..=20, Vec::new(), node.net.feedback_sink());
    let remotes = futures::future::join_all(hosts.clone().map(|host| block.connect(host, NODE)));
    let asked = sink.clone();
    // Several for an event: a sink that waited for the first to be applied would keep the stream from being polled.
    let feedback = (&mut node.net).flat_map(|event| {
        let Candidate { ip, socket, .. } = Candidate::of(event);
        held.push(socket);
        stream::iter([Feedback::Alive(ip), Feedback::PeerList(vec![ip]), Feedback::Alive(ip)].map(Ok))
    });
    let all_known = async {
        let _remotes = remotes.await;
        while asked.good_peer_ips(100).await.unwrap().len() < hosts.len() {}
    };
    tokio::select! {
        ended = feedback.forward(sink) => panic!("{ended:?}"),
        () = soon(all_known) => {}
    }
    node.until(|node| node.count(PeerStatus::InAlive) == 10).await;
    assert_eq!(held.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_split_into_two_tasks_loses_no_wake_up() {
    let block = Block::new();
    let hosts = 11..=20;
    let listeners: Vec<_> = hosts.clone().map(|host| block.listen(host)).collect();
    let mut config = block.config(NODE, &[]);
    config.target_outgoing_connections = listeners.len();
    let (mut sink, mut stream) = NetworkController::with_config(config).await.unwrap().split();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let events = tokio::spawn(async move {
        while let Some(event) = stream.next().await {
            tell.send(Candidate::of(event)).unwrap();
        }
        stream
    });
    // Each of these finds the stream's task asleep, and only a wake-up makes it dial.
    let mut held = Vec::new();
    for (host, listener) in hosts.zip(&listeners) {
        sink.send(Feedback::PeerList(vec![block.ip(host)])).await.unwrap();
        held.push(soon(listener.accept()).await.unwrap().0);
        let candidate = soon(told.recv()).await.unwrap();
        sink.send(Feedback::Alive(candidate.ip)).await.unwrap();
        held.push(candidate.socket);
    }
    soon(sink.close()).await.unwrap();
    let stream = soon(events).await.unwrap();
    let net = stream.reunite(sink).unwrap();
    assert_eq!(net.stats().peers.out_alive, listeners.len());
    assert_eq!(net.stats().counters.dials_started, 10);
}
