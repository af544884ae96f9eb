//! Dials that come out at this very node, and local clients, which are something else.

use futures::SinkExt as _;

use super::*;

/// Listens on every address and dials its own one, unknowingly.
async fn dialing_ourselves(own: &str) -> Node {
    Node::knowing(wanting(1), &[own]).await
}

fn leg(own: &str) -> SocketAddr {
    SocketAddr::new(ip(own), 50_000)
}

#[tokio::test(start_paused = true)]
async fn the_other_end_of_a_self_dial_is_refused_after_the_dial() {
    let mut node = dialing_ourselves(US).await;
    node.world.dial_ok_from(ip(US), leg(US));
    node.no_event();
    assert_eq!(node.status(US), None);
    let probe = node.connects_from(leg(US), US);
    node.no_event();
    assert_eq!(probe.fate(), IncomingFate::Refused);
    assert_eq!((node.counters().dials_to_self, node.counters().refused_self), (1, 1));
    assert_eq!(node.world.live_sockets(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_other_end_of_a_self_dial_is_parked_until_the_dial_settles() {
    let mut node = dialing_ourselves(US).await;
    let probe = node.connects_from(leg(US), US);
    node.no_event();
    assert_eq!(probe.fate(), IncomingFate::Pending);
    node.world.dial_ok_from(ip(US), leg(US));
    node.no_event();
    assert_eq!(probe.fate(), IncomingFate::Refused);
    assert_eq!((node.counters().dials_to_self, node.counters().refused_self), (1, 1));
    assert_eq!(node.world.live_sockets(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_own_address_is_never_dialed_listed_or_stored_again() {
    let mut node = dialing_ourselves(US).await;
    node.world.dial_ok_from(ip(US), leg(US));
    node.no_event();
    node.list(&[US]);
    node.ban(US);
    assert_eq!(node.peers().count(), 0);
    assert!(node.get_good_peer_ips().is_empty());
    advance(seconds(3600)).await;
    node.settle();
    assert_eq!(node.counters().dials_started, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_reached_ourselves_is_replaced_at_once() {
    let mut node = dialing_ourselves(US).await;
    node.list(&[LOW]);
    node.world.dial_ok_from(ip(US), leg(US));
    node.no_event();
    assert_eq!(node.dialing(), [ip(LOW)]);
}

#[tokio::test(start_paused = true)]
async fn a_local_client_is_admitted_and_forgotten_afterwards() {
    let mut node = dialing_ourselves(US).await;
    node.world.dial_ok_from(ip(US), leg(US));
    node.no_event();
    let _probe = node.connects_from(SocketAddr::new(ip(US), 777), US);
    assert_eq!(node.event().ip, ip(US));
    node.alive(US);
    assert_eq!(node.status(US), Some(PeerStatus::InAlive));
    assert!(node.get_good_peer_ips().is_empty(), "not to be told of");
    node.end(US);
    assert_eq!(node.status(US), None);
}

#[tokio::test(start_paused = true)]
async fn a_local_client_beside_a_dial_of_ourselves_is_admitted_when_that_has_settled() {
    let mut node = dialing_ourselves(US).await;
    let client = node.connects_from(SocketAddr::new(ip(US), 777), US);
    node.no_event();
    node.world.dial_ok_from(ip(US), leg(US));
    assert_eq!(node.event().socket.remote.port(), 777);
    assert_eq!(client.fate(), IncomingFate::Admitted);
    let other_end = node.connects_from(leg(US), US);
    node.no_event();
    assert_eq!(other_end.fate(), IncomingFate::Refused);
}

#[tokio::test(start_paused = true)]
async fn a_parked_possible_self_connection_is_admitted_when_the_dial_fails() {
    let mut node = dialing_ourselves(US).await;
    let client = node.connects_from(SocketAddr::new(ip(US), 777), US);
    node.no_event();
    node.world.dial_err(ip(US), ErrorKind::ConnectionRefused.into());
    assert!(!node.event().is_outgoing);
    assert_eq!(client.fate(), IncomingFate::Admitted);
}

#[tokio::test(start_paused = true)]
async fn loopback_is_ourselves_while_we_listen_everywhere() {
    let mut node = dialing_ourselves("127.0.0.1").await;
    node.world
        .dial_ok_from(ip("127.0.0.1"), "127.0.0.1:50000".parse().unwrap());
    node.no_event();
    node.list(&["127.0.0.5"]);
    assert_eq!(node.peers().count(), 0, "so is the whole of it");
    assert_eq!(node.counters().dials_to_self, 1);
}

#[tokio::test(start_paused = true)]
async fn loopback_is_not_ourselves_where_we_listen_on_a_part_of_it() {
    let mut config = wanting(1);
    config.listen_ip = ip("127.0.0.2");
    let mut node = Node::knowing(config, &["127.0.0.2", "127.0.0.3"]).await;
    assert_eq!(node.status("127.0.0.2"), None, "an own address from the start");
    let _socket = node.dial_ok("127.0.0.3");
    assert_eq!(node.counters().dials_to_self, 0);
}

#[tokio::test(start_paused = true)]
async fn another_port_is_not_ourselves() {
    let mut config = wanting(1);
    config.peer_port = Some(PORT + 1);
    let mut node = Node::knowing(config, &[US]).await;
    node.world.dial_ok_from(ip(US), leg(US));
    assert_eq!(node.event().socket.remote, SocketAddr::new(ip(US), PORT + 1));
    assert_eq!(node.counters().dials_to_self, 0);
}

/// A router between us and our own public address sends our dial back to us. Both ends come to us in either order, and
/// polls come between them or do not.
#[tokio::test(start_paused = true)]
async fn our_public_address_is_recognised_behind_a_router() {
    for public in [LOW, HIGH] {
        for (comes_in_first, polls_between) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut node = dialing_ourselves(public).await;
            let port = 50_000;
            let comes_in = |node: &mut Node| node.connects_from(SocketAddr::new(ip(public), port), US);
            let comes_out = |node: &mut Node| drop(node.world.dial_ok_from(ip(public), SocketAddr::new(ip(US), port)));
            let pause = |node: &mut Node| {
                if polls_between {
                    node.settle_woken();
                }
            };
            let probe = if comes_in_first {
                let probe = comes_in(&mut node);
                pause(&mut node);
                comes_out(&mut node);
                probe
            } else {
                comes_out(&mut node);
                pause(&mut node);
                comes_in(&mut node)
            };
            node.settle_woken();
            assert_eq!(probe.fate(), IncomingFate::Refused);
            assert_eq!((node.counters().dials_to_self, node.counters().refused_self), (1, 1));
            assert_eq!(node.status(public), None);
            // What the application was handed before the other end was seen has lost its slot.
            let handed: Vec<_> = node.events.drain(..).collect();
            assert!(handed.is_empty() || !(comes_in_first && polls_between));
            drop(handed);
            assert_eq!(node.world.live_sockets(), 0);
            assert!(node.lease(ip(public)).is_none());
            node.list(&[public]);
            assert_eq!(node.peers().count(), 0);
            advance(seconds(600)).await;
            node.settle();
            assert_eq!(node.counters().dials_started, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_reached_ourselves_behind_a_router_revokes_its_lease() {
    let (mut node, _socket) = Node::dialed(wanting(1), LOW).await;
    let lease = node.lease(ip(LOW)).unwrap();
    let probe = node.connects_from(SocketAddr::new(ip(LOW), 50_000), US);
    node.no_event();
    assert_eq!(probe.fate(), IncomingFate::Refused);
    assert_eq!(lease.revoked().now_or_never(), Some(Revocation::Ourselves));
    lease.failed();
    node.settle();
    assert_eq!(node.status(LOW), None);
}

#[tokio::test(start_paused = true)]
async fn the_application_says_so_by_every_way() {
    let ways: [fn(&mut Node); 3] = [
        |node| drop(node.feedback_ourselves(ip(LOW))),
        |node| node.feedback_sink().report(Feedback::Ourselves(ip(LOW))).unwrap(),
        |node| node.net.start_send_unpin(Feedback::Ourselves(ip(LOW))).unwrap(),
    ];
    for say in ways {
        let (mut node, _socket) = Node::dialed(wanting(1), LOW).await;
        let lease = node.lease(ip(LOW)).unwrap();
        say(&mut node);
        node.no_event();
        assert_eq!(node.status(LOW), None);
        assert_eq!(lease.revoked().now_or_never(), Some(Revocation::Ourselves));
        node.list(&[LOW]);
        assert_eq!(node.peers().count(), 0);
    }
}

/// The operator's records stay in the operator's file, whatever the node finds out.
#[tokio::test]
async fn records_of_own_addresses_stay_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers.json");
    std::fs::write(
        &path,
        r#"[{"ip":"127.0.0.12","note":"bob"},{"ip":"127.0.0.13"},{"ip":"60.1.0.1"}]"#,
    )
    .unwrap();
    let mut config = wanting(3);
    config.peers_file = Some(path.clone());
    config.clock = Clock::System;
    let mut node = Node::new(config).await;
    node.settle();
    assert_eq!(node.dialing().len(), 3);
    for own in ["127.0.0.12", "127.0.0.13"] {
        node.world.dial_ok_from(ip(own), "127.0.0.1:50000".parse().unwrap());
        node.no_event();
    }
    assert_eq!(node.get_good_peer_ips(), [ip(LOW)]);
    // Something to dump.
    drop(node.feedback_peer_banned(ip(HIGH)));
    node.close().await.unwrap();
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let records = file.as_array().unwrap();
    let of = |ip: &str| records.iter().find(|record| record["ip"] == ip).unwrap();
    assert_eq!(records.len(), 4);
    assert_eq!(of("127.0.0.12")["note"], "bob");
    for own in ["127.0.0.12", "127.0.0.13"] {
        assert_eq!(
            (&of(own)["status"], &of(own)["last_failure"]),
            (&"Idle".into(), &serde_json::Value::Null)
        );
    }
}
