//! Accept errors pause the listener and nothing else, and its end does not end the stream.

use super::*;

/// EMFILE on Linux and elsewhere.
fn out_of_files() -> io::Error {
    io::Error::from_raw_os_error(24)
}

#[tokio::test(start_paused = true)]
async fn an_accept_error_pauses_the_listener_and_its_end_wakes() {
    let mut node = Node::knowing(passive(), &[]).await;
    node.world.accept_error(out_of_files());
    node.no_event();
    let probe = node.connects(LOW);
    node.rests();
    assert_eq!(probe.fate(), IncomingFate::Pending);
    advance(millis(6)).await;
    assert_eq!(node.event().ip, ip(LOW));
    assert_eq!(node.counters().accepts_out_of_files, 1);
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_and_a_connection_makes_them_short_again() {
    let mut node = Node::knowing(passive(), &[]).await;
    for pause in [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
        node.world.accept_error(ErrorKind::Other.into());
        node.no_event();
        node.world.accept_error(ErrorKind::ConnectionAborted.into());
        advance(millis(pause - 2)).await;
        node.rests();
        advance(millis(3)).await;
        node.no_event();
        assert_eq!(node.world.accepts_waiting(), 0);
    }
    let _socket = node.admits(LOW);
    node.world.accept_error(ErrorKind::Other.into());
    node.no_event();
    let _probe = node.connects(HIGH);
    advance(millis(6)).await;
    assert_eq!(node.event().ip, ip(HIGH));
    assert_eq!(
        (node.counters().accepts_failed, node.counters().accepts_aborted),
        (11, 10)
    );
}

#[tokio::test(start_paused = true)]
async fn dials_and_feedback_go_on_while_the_listener_pauses() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    node.world.accept_error(ErrorKind::OutOfMemory.into());
    node.no_event();
    let _socket = node.dial_ok(LOW);
    node.alive(LOW);
    node.feedback_sink().report(Feedback::Banned(ip(LOW))).unwrap();
    node.no_event();
    assert_eq!(node.status(LOW), Some(PeerStatus::Banned));
    assert_eq!(node.counters().accepts_out_of_memory, 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_connection_is_skipped_in_the_same_poll() {
    let mut node = Node::knowing(passive(), &[]).await;
    node.world.accept_error(ErrorKind::ConnectionAborted.into());
    node.world.accept_error(ErrorKind::ConnectionReset.into());
    let _socket = {
        let _probe = node.connects_from("60.1.0.1:9".parse().unwrap(), US);
        node.event().socket
    };
    assert_eq!(node.counters().accepts_aborted, 2);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_listener_does_not_end_the_stream() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    node.world.end_accepting();
    node.no_event();
    assert!(!node.is_terminated());
    let _socket = node.dial_ok(LOW);
    node.alive(LOW);
    assert_eq!(node.status(LOW), Some(PeerStatus::OutAlive));
}

#[tokio::test(start_paused = true)]
async fn a_failing_admission_is_an_accept_error_and_adds_no_peer() {
    let mut node = Node::knowing(passive(), &[]).await;
    let probe = node.connects(LOW);
    probe.fail_admit(out_of_files());
    node.no_event();
    assert_eq!(probe.fate(), IncomingFate::AdmitFailed);
    assert_eq!(node.status(LOW), None);
    assert_eq!(
        (node.counters().accepts_out_of_files, node.counters().inbound_admitted),
        (1, 0)
    );
    let probe = node.connects(LOW);
    node.rests();
    assert_eq!(probe.fate(), IncomingFate::Pending, "it pauses the listener");
    advance(millis(6)).await;
    assert_eq!(node.event().ip, ip(LOW));
}

#[tokio::test(start_paused = true)]
async fn a_failing_admission_leaves_an_idle_peer_idle() {
    let mut node = Node::knowing(passive(), &[LOW]).await;
    node.connects(LOW).fail_admit(ErrorKind::ConnectionReset.into());
    node.no_event();
    let peer = node.of(LOW);
    assert_eq!((peer.status, peer.last_failure), (PeerStatus::Idle, None));
    assert_eq!(node.counters().accepts_aborted, 1);
}

#[tokio::test(start_paused = true)]
async fn accept_errors_are_still_counted_after_the_close() {
    let mut node = Node::knowing(passive(), &[]).await;
    node.world.accept_error(out_of_files());
    node.no_event();
    node.close().await.unwrap();
    assert_eq!(node.counters().accepts_out_of_files, 1);
}

/// The file must be one that can be loaded again.
#[tokio::test]
async fn addresses_that_no_peer_has_are_refused_and_not_dumped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers.json");
    std::fs::write(&path, "[]").unwrap();
    let mut config = passive();
    config.peers_file = Some(path);
    config.clock = Clock::System;
    let mut node = Node::new(config.clone()).await;
    node.settle();
    for from in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "ff02::1"] {
        node.refuses(from);
    }
    let _socket = node.admits(LOW);
    node.close().await.unwrap();
    assert_eq!(node.counters().refused_address, 4);
    let node = Node::new(config).await;
    assert_eq!(node.peers().map(|peer| peer.ip).collect::<Vec<_>>(), [ip(LOW)]);
}
