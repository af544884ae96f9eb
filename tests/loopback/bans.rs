//! Banned peers are neither admitted nor dialed.

use network::PeerStatus;

use crate::loopback::{Block, Node, is_reset};
use crate::{NODE, REMOTE, SHORT};

#[tokio::test]
async fn a_banned_peer_is_reset_and_each_attempt_updates_last_failure() {
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
async fn a_ban_for_a_time_ends_by_itself() {
    let block = Block::new();
    let remote_ip = block.ip(REMOTE);
    let mut config = block.config(NODE, &[]);
    config.target_outgoing_connections = 0;
    let mut node = Node::new(config).await;
    let _first = block.connect(REMOTE, NODE).await;
    node.candidate().await;
    node.net.lease(remote_ip).unwrap().banned_for(SHORT);
    node.until(|node| node.status(remote_ip) == Some(PeerStatus::Banned))
        .await;
    node.until(|node| node.status(remote_ip) == Some(PeerStatus::Idle))
        .await;
    assert_eq!(node.net.stats().counters.bans_ended, 1);
    let _again = block.connect(REMOTE, NODE).await;
    assert_eq!(node.candidate().await.ip, remote_ip);
}

#[tokio::test]
async fn a_denied_peer_is_reset_and_neither_dialed_nor_told_of() {
    let block = Block::new();
    let (denied, other) = (block.listen(REMOTE), block.listen(REMOTE + 1));
    let mut config = block.config(NODE, &[REMOTE, REMOTE + 1]);
    config.denied = vec![block.ip(REMOTE).into()];
    let mut node = Node::new(config).await;
    assert_eq!(node.candidate().await.ip, block.ip(REMOTE + 1));
    let mut inbound = block.connect(REMOTE, NODE).await;
    assert!(node.beside(is_reset(&mut inbound)).await);
    node.net.feedback_peer_list([block.ip(REMOTE)]).await;
    assert_eq!(node.net.get_good_peer_ips(), [block.ip(REMOTE + 1)]);
    let counters = node.net.stats().counters;
    assert_eq!((counters.refused_denied, counters.dials_started), (1, 1));
    drop((denied, other));
}
