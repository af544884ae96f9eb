//! Banned peers are neither admitted nor dialed.

use network::PeerStatus;

use crate::loopback::{Block, is_reset};
use crate::{NODE, REMOTE};

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
