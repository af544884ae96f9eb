//! Connections from both ends: what each end sees, second ones, handshakes without feedback, and where a node listens.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use network::{NetworkController, NetworkError, PeerStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::child::skip::skip;
use crate::loopback::{Block, Node, are_one, is_reset, soon, until_both};
use crate::{NODE, REMOTE, SHORT};

#[tokio::test]
async fn two_nodes_connect_over_one_connection() {
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
async fn handed_over_sockets_have_default_options_and_close_normally() {
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
async fn a_connected_peer_does_not_block_other_hosts() {
    let block = Block::new();
    let mut node = block.node(NODE, &[]).await;
    let _first = block.connect(REMOTE, NODE).await;
    let _second = block.connect(REMOTE + 1, NODE).await;
    node.until(|node| node.count(PeerStatus::InHandshaking) == 2).await;
    assert!(node.held.iter().all(|candidate| !candidate.is_outgoing));
}

#[tokio::test]
async fn a_candidate_without_feedback_fails_at_the_handshake_timeout() {
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
    // No outgoing connection was alive, so it may have been our own network's fault.
    assert_eq!(node.peer(dialed_ip).failures_in_row, 0);
    assert_eq!(node.peer(came_ip).failures_in_row, 0);

    let _again = block.connect(REMOTE + 1, NODE).await;
    assert_eq!(node.candidate().await.ip, came_ip, "its place is free again");
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
    let words = [&addr.to_string(), "in use", "`listen_port`", "`listen_ip`"];
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[tokio::test]
async fn a_node_listens_on_ipv4_and_ipv6_by_default() {
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
        return skip("this host has no IPv6, so only half of this was tried");
    }
    let _over_ipv6 = soon(TcpStream::connect(to(Ipv6Addr::LOCALHOST.into()))).await.unwrap();
    assert_eq!(node.candidate().await.ip, IpAddr::V6(Ipv6Addr::LOCALHOST));
}
