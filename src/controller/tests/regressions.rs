//! Faults that were found once.

use futures::stream::FusedStream;

use super::*;

fn one_dial_at_a_time() -> NetworkConfig {
    let mut config = config();
    config.target_outgoing_connections = 1;
    config.max_simultaneous_outgoing_connection_attempts = 1;
    config
}

#[tokio::test(start_paused = true)]
async fn the_only_peer_is_left_alone_after_a_clean_close() {
    let peer = "60.1.0.1";
    let mut node = Node::knowing(one_dial_at_a_time(), &[peer]).await;
    node.world.dial_ok(ip(peer));
    let _event = node.event();
    drop(node.feedback_peer_alive(ip(peer)));
    node.no_event();
    advance(Duration::from_secs(60)).await;
    drop(node.feedback_peer_closed(ip(peer)));
    node.no_event();
    assert_eq!(node.status(peer), Some(PeerStatus::Idle));
    advance(Duration::from_millis(6_251)).await;
    node.no_event();
    assert_eq!(node.status(peer), Some(PeerStatus::OutConnecting));
}

#[tokio::test(start_paused = true)]
async fn the_only_peer_is_left_alone_after_a_long_handshake_that_failed() {
    let peer = "60.1.0.1";
    let mut node = Node::knowing(one_dial_at_a_time(), &[peer]).await;
    node.world.dial_ok(ip(peer));
    let _event = node.event();
    advance(Duration::from_secs(10)).await;
    drop(node.feedback_peer_failed(ip(peer)));
    node.no_event();
    assert_eq!(node.status(peer), Some(PeerStatus::Idle));
}

#[tokio::test(start_paused = true)]
async fn every_ban_that_was_reported_counts_before_the_next_accept() {
    let mut node = Node::knowing(config(), &[]).await;
    let sink = node.feedback_sink();
    for net in 0..200 {
        sink.report(Feedback::Banned(IpAddr::from([60, net, 0, 1]))).unwrap();
    }
    let probe = node.connects_from("60.199.0.1:9".parse().unwrap(), US);
    node.no_event();
    assert!(probe.is_refused());
}

#[tokio::test(start_paused = true)]
async fn a_parked_socket_outlives_the_dial_that_it_waits_for() {
    for late in [0, 1, 3_000] {
        let mut node = Node::knowing(config(), &["60.9.0.1"]).await;
        let _probe = node
            .world
            .incoming("60.9.0.1:3333".parse().unwrap(), "60.0.0.1:4000".parse().unwrap());
        node.no_event();
        assert_eq!(node.stats().counters.inbound_parked, 1);
        advance(Duration::from_millis(5_000 + late)).await;
        let candidate = node.event();
        assert_eq!((candidate.ip, candidate.is_outgoing), (ip("60.9.0.1"), false));
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_that_turn_out_to_be_our_own_are_not_told_of() {
    for seed in 0..8 {
        let mut config = one_dial_at_a_time();
        config.seed = Some(seed);
        let mut node = Node::knowing(config, &["127.0.0.1", "127.0.0.2", "127.0.0.3"]).await;
        let first = node.world.dials()[0].to.ip();
        node.world.dial_ok_from(first, "127.0.0.1:5555".parse().unwrap());
        node.no_event();
        assert_eq!(node.stats().counters.dials_to_self, 1);
        assert!(node.get_good_peer_ips().is_empty());
        assert!(node.world.dials().is_empty(), "nor dialed");
    }
}

#[tokio::test]
async fn a_stream_that_has_ended_stays_so_while_the_last_dump_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("peers.json"), "[]").unwrap();
    let mut config = NetworkConfig::new(inner.join("peers.json"), PORT);
    config.initial_peers = vec![ip("60.1.0.1")];
    let mut node = Node::new(config).await;
    node.world.accept_error(io::Error::from_raw_os_error(24));
    assert!(node.poll().is_pending());
    std::fs::remove_dir_all(&inner).unwrap();
    assert!(matches!(node.close().await, Err(NetworkError::PeerFile { .. })));
    assert_eq!(
        node.stats().counters.accepts_out_of_files,
        1,
        "what was counted stays so"
    );
    assert!(matches!(node.poll(), Poll::Ready(None)));
    std::fs::create_dir(&inner).unwrap();
    drop(node.close().now_or_never());
    assert!(node.is_terminated() && matches!(node.poll(), Poll::Ready(None)));
    node.close().await.unwrap();
    assert!(inner.join("peers.json").exists());
}
