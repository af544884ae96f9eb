//! The controller as a stream: events, wakes, and that nothing lives in the future of one `next`.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_dial_that_succeeds_is_an_event() {
    let mut node = Node::knowing(config(), &["60.1.0.1"]).await;
    assert_eq!(node.status("60.1.0.1"), Some(PeerStatus::OutConnecting));
    node.world.dial_ok(ip("60.1.0.1"));
    let (from, _socket, is_outgoing) = node.event();
    assert_eq!((from, is_outgoing), (ip("60.1.0.1"), true));
    assert_eq!(node.status("60.1.0.1"), Some(PeerStatus::OutHandshaking));
}

#[tokio::test(start_paused = true)]
async fn an_inbound_connection_is_an_event() {
    let mut node = Node::knowing(config(), &[]).await;
    let _probe = node.connects("60.1.0.1");
    let (from, _socket, is_outgoing) = node.event();
    assert_eq!((from, is_outgoing), (ip("60.1.0.1"), false));
}
