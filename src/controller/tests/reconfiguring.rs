//! Another configuration for a controller that runs, by its method and by a handle.

use PeerStatus::{Idle, InHandshaking, OutConnecting};
use tempfile::TempDir;

use super::dumps::{file, other_work};
use super::*;

fn changed(node: &Node, change: impl FnOnce(&mut NetworkConfig)) -> NetworkConfig {
    let mut config = node.config().clone();
    change(&mut config);
    config
}

fn reconfigure(node: &mut Node, change: impl FnOnce(&mut NetworkConfig)) {
    let config = changed(node, change);
    node.net.reconfigure(config).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_for_the_start_cannot_change_and_nothing_is_changed_then() {
    let mut node = Node::knowing(passive(), &[LOW]).await;
    type Edit = fn(&mut NetworkConfig);
    let edits: [(&str, Edit); 8] = [
        ("peers_file", |config| config.peers_file = Some("peers.json".into())),
        ("listen_ip", |config| config.listen_ip = ip("127.0.0.2")),
        ("listen_port", |config| config.listen_port += 1),
        ("peer_port", |config| config.peer_port = Some(PORT + 1)),
        ("clock", |config| config.clock = Clock::System),
        ("seed", |config| config.seed = None),
        ("initial_peers", |config| config.initial_peers.push(ip(HIGH))),
        ("initial_records", |config| {
            config.initial_records.push(Peer::new(ip(HIGH)).into());
        }),
    ];
    let before = node.config().clone();
    for (field, edit) in edits {
        let config = changed(&node, |config| {
            config.max_idle_peers = 7;
            edit(config);
        });
        let error = node.net.reconfigure(config).unwrap_err();
        assert_eq!(error.field(), field);
        assert_eq!(node.config(), &before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_config_that_cannot_work_changes_nothing() {
    let mut node = Node::knowing(passive(), &[LOW]).await;
    let before = node.config().clone();
    let config = changed(&node, |config| config.connect_timeout = Duration::ZERO);
    let error = node.net.reconfigure(config).unwrap_err();
    assert_eq!((error.field(), node.config()), ("connect_timeout", &before));
}

#[tokio::test(start_paused = true)]
async fn a_raised_target_wakes_the_stream_and_is_dialed_for() {
    let mut node = Node::knowing(passive(), &[LOW]).await;
    reconfigure(&mut node, |config| config.target_outgoing_connections = 1);
    node.no_event();
    assert_eq!(node.stats().peers.out_connecting, 1);
    reconfigure(&mut node, |config| config.target_outgoing_connections = 0);
    node.no_event();
    assert_eq!(node.stats().peers.out_connecting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dial_has_the_time_that_was_allowed_at_its_start() {
    let mut config = wanting(2);
    config.connect_timeout = seconds(5);
    let mut node = Node::knowing(config, &[LOW]).await;
    reconfigure(&mut node, |config| config.connect_timeout = seconds(2));
    node.net.feedback_peer_list([ip(HIGH)]).await;
    node.no_event();
    let mut dialing = Vec::new();
    for time in [1_999, 2, 2_998, 2].map(millis) {
        advance(time).await;
        if node.net.is_woken() {
            node.settle();
        }
        dialing.push([LOW, HIGH].map(|peer| node.status(peer) == Some(OutConnecting)));
    }
    assert_eq!(dialing, [[true, true], [true, false], [true, false], [false, false]]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_still_dials_reserved_peers_unless_no_attempt_is_allowed() {
    for attempts in [0, 1] {
        let mut node = Node::knowing(wanting(1), &[]).await;
        reconfigure(&mut node, |config| {
            config.target_outgoing_connections = 0;
            config.max_incoming_connections = 0;
            config.max_simultaneous_outgoing_connection_attempts = attempts;
            config.reserved_peers = vec![ip(LOW)];
        });
        node.no_event();
        assert_eq!(node.stats().peers.out_connecting, attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_reconfigures_with_the_next_poll_and_says_what_cannot_be() {
    let mut node = Node::knowing(passive(), &[LOW]).await;
    let handle = node.handle();
    let config = changed(&node, |config| config.max_incoming_connections = 1);
    let mut change = task::spawn(Box::pin(handle.reconfigure(config.clone())));
    assert!(change.poll().is_pending(), "until the next poll");
    node.no_event();
    assert!(matches!(change.poll(), Poll::Ready(Ok(()))));
    assert_eq!(node.config(), &config);

    let other = changed(&node, |config| config.seed = Some(99));
    let mut change = task::spawn(Box::pin(handle.reconfigure(other)));
    assert!(change.poll().is_pending());
    node.no_event();
    let Poll::Ready(Err(NetworkError::Config(error))) = change.poll() else {
        panic!("a seed was changed")
    };
    assert_eq!((error.field(), node.config()), ("seed", &config));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_change_changes_nothing() {
    let mut node = Node::knowing(passive(), &[LOW]).await;
    let handle = node.handle();
    let before = node.config().clone();
    let config = changed(&node, |config| config.max_incoming_connections = 1);
    let mut change = task::spawn(Box::pin(handle.reconfigure(config)));
    assert!(change.poll().is_pending());
    drop(change);
    node.no_event();
    assert_eq!(node.config(), &before);
}

#[tokio::test(start_paused = true)]
async fn after_the_close_it_changes_nothing() {
    let mut node = Node::knowing(passive(), &[LOW]).await;
    let handle = node.handle();
    let before = node.config().clone();
    node.net.close().await.unwrap();
    reconfigure(&mut node, |config| config.max_incoming_connections = 1);
    assert_eq!(node.config(), &before);
    let wrong = changed(&node, |config| config.seed = None);
    assert_eq!(node.net.reconfigure(wrong).unwrap_err().field(), "seed");
    let result = handle.reconfigure(before).await;
    assert!(matches!(result, Err(NetworkError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_denied_peers_lease_is_revoked_and_a_connection_without_one_stays() {
    let mut node = Node::knowing(passive(), &[]).await;
    let _sockets = [node.admits(LOW), node.admits(HIGH)];
    let lease = node.net.lease(ip(LOW)).unwrap();
    reconfigure(&mut node, |config| {
        config.denied = vec!["60.0.0.0/8".parse().unwrap(), "220.0.0.0/8".parse().unwrap()];
    });
    node.no_event();
    assert_eq!(lease.revoked().now_or_never(), Some(Revocation::Denied));
    assert_eq!(node.status(LOW), Some(Idle));
    assert_eq!(node.status(HIGH), Some(InHandshaking));
    assert!(node.get_good_peer_ips().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_gone_through_without_a_long_poll() {
    let mut node = Node::knowing(passive(), &[]).await;
    let peers = (0..5_000_u32).map(|number| IpAddr::from((0x3c01_0000 + number).to_be_bytes()));
    node.net.feedback_peer_list(peers).await;
    node.no_event();
    reconfigure(&mut node, |config| {
        config.denied = vec!["60.1.0.0/20".parse().unwrap()];
        config.max_idle_peers = 4_500;
    });
    assert_eq!(node.get_good_peer_ips().len(), 5_000 - 4_096);
    node.no_event();
    assert_eq!(node.stats().peers.idle, 4_500);
    assert_eq!(node.engine.table().next_deadline(), None, "nothing is left to do");
}

#[tokio::test(start_paused = true)]
async fn the_mailbox_takes_as_many_listed_addresses_as_may_be_idle() {
    let mut node = Node::knowing(passive(), &[]).await;
    let sink = node.feedback_sink();
    let list = || (0..100_u32).map(|number| IpAddr::from((0x3c01_0000 + number).to_be_bytes()));
    let held = |node: &Node| node.engine.mailbox.held();
    for (idle, taken) in [(10, 10), (20, 20), (5, 5)] {
        reconfigure(&mut node, |config| config.max_idle_peers = idle);
        node.no_event();
        sink.report(Feedback::PeerList(list().collect())).unwrap();
        assert_eq!(held(&node), taken);
        node.no_event();
    }
}

#[tokio::test(start_paused = true)]
async fn a_shorter_dump_interval_brings_the_next_dump_forward() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::new(file(&folder, "[]", passive())).await;
    node.settle();
    node.net.feedback_peer_list([ip(LOW)]).await;
    node.no_event();
    reconfigure(&mut node, |config| config.peer_file_dump_interval = seconds(10));
    node.no_event();
    advance(seconds(9)).await;
    for _ in 0..50 {
        node.until(|_| true).await;
        other_work().await;
    }
    assert_eq!(node.dumps(), (0, 0));
    advance(seconds(1)).await;
    node.until(|node| node.dumps() == (1, 0)).await;
}
