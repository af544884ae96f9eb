//! Feedback that makes no sense for a peer's status: it is ignored, and counted.

use PeerStatus::{Banned, Idle, OutConnecting};

use futures::SinkExt;

use super::*;

/// Sends one piece of feedback of `LOW`, by every way there is, to a peer of this status. Each must be stale.
async fn is_stale(status: Option<PeerStatus>, feedback: fn(IpAddr) -> Feedback) {
    let (mut node, _socket) = Node::with(LOW, status, wanting(1)).await;
    let (before, counters) = (node.peer(ip(LOW)).cloned(), node.counters());
    advance(millis(1)).await;
    node.start_send_unpin(feedback(ip(LOW))).unwrap();
    node.no_event();
    node.feedback_sink().report(feedback(ip(LOW))).unwrap();
    node.no_event();
    let what = (status, feedback(ip(LOW)));
    assert_eq!(node.peer(ip(LOW)).cloned(), before, "{what:?}");
    let expected = Counters {
        feedback_stale: counters.feedback_stale + 2,
        ..counters
    };
    assert_eq!(node.counters(), expected, "{what:?}");
}

#[tokio::test(start_paused = true)]
async fn alive_of_a_peer_without_a_connection() {
    for status in [None, Some(Idle), Some(OutConnecting), Some(Banned)] {
        is_stale(status, Feedback::Alive).await;
    }
}

#[tokio::test(start_paused = true)]
async fn failed_of_a_peer_that_is_absent_dialed_or_banned() {
    for status in [None, Some(OutConnecting), Some(Banned)] {
        is_stale(status, Feedback::Failed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn closed_of_a_peer_without_a_connection() {
    for status in [None, Some(Idle), Some(OutConnecting), Some(Banned)] {
        is_stale(status, Feedback::Closed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unbanned_of_a_peer_that_is_not_banned() {
    let unbanned = |status: &PeerStatus| *status != Banned;
    is_stale(None, Feedback::Unbanned).await;
    for status in PeerStatus::ALL.into_iter().filter(unbanned) {
        is_stale(Some(status), Feedback::Unbanned).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_ban_of_an_address_that_no_peer_has() {
    let mut node = Node::knowing(config(), &[]).await;
    for odd in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255"] {
        node.ban(odd);
        assert_eq!(node.status(odd), None);
    }
    assert_eq!((node.counters().feedback_stale, node.counters().bans_set), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_second_ban_moves_last_failure() {
    let (mut node, _) = Node::with(LOW, Some(Banned), config()).await;
    advance(seconds(4)).await;
    node.ban(LOW);
    assert_eq!(node.of(LOW).last_failure, after(seconds(4)));
    assert_eq!(node.counters().feedback_stale, 0);
}

#[tokio::test(start_paused = true)]
async fn a_list_leaves_a_known_peer_as_it_is() {
    for status in PeerStatus::ALL {
        let (mut node, _socket) = Node::with(LOW, Some(status), wanting(1)).await;
        let before = node.of(LOW).clone();
        node.list(&[LOW, "::ffff:60.1.0.1"]);
        assert_eq!((node.of(LOW), node.peers().count()), (&before, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_adds_no_address_that_no_peer_can_have() {
    let mut node = Node::knowing(passive(), &[]).await;
    node.list(&["0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255"]);
    assert_eq!(node.peers().count(), 0);
    assert_eq!(node.counters().addresses_refused, 4);
}

#[tokio::test(start_paused = true)]
async fn global_peers_only_refuses_private_addresses_from_lists_alone() {
    let mut config = passive();
    config.global_peers_only = true;
    let mut node = Node::knowing(config, &[]).await;
    node.list(&["10.0.0.1", "127.0.0.1", "fe80::1", LOW]);
    assert_eq!(node.get_good_peer_ips(), [ip(LOW)]);
    assert_eq!(node.counters().addresses_refused, 3);
    let _socket = node.admits("10.0.0.1");
}
