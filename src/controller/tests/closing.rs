//! The end: what was reported counts, no failure is recorded, the last dump is made, and then it is over for ever.

use std::fs;
use std::sync::mpsc;

use PeerStatus::{Banned, Idle, InAlive, InHandshaking, OutAlive};
use futures::{SinkExt, StreamExt};
use tempfile::TempDir;

use super::dumps::{file, hold_files, other_work, with_one_file_thread};
use super::*;

#[tokio::test(start_paused = true)]
async fn leases_dropped_before_or_after_closing_record_no_failure() {
    let mut node = Node::knowing(passive(), &[]).await;
    let _sockets = [LOW, HIGH].map(|peer| node.admits(peer));
    let [before, later] = [LOW, HIGH].map(|peer| node.lease(ip(peer)).unwrap());
    drop(before);
    node.close().await.unwrap();
    drop(later);
    for peer in [LOW, HIGH] {
        assert_eq!((node.of(peer).last_failure, node.of(peer).failures_in_row), (None, 0));
    }
    assert_eq!(node.status(LOW), Some(Idle));
    assert_eq!(node.counters().feedback_stale, 0);
}

#[tokio::test(start_paused = true)]
async fn reports_made_before_closing_are_applied() {
    let mut node = Node::knowing(passive(), &[]).await;
    let _sockets = [LOW, HIGH].map(|peer| node.admits(peer));
    let [alive, failed] = [LOW, HIGH].map(|peer| node.lease(ip(peer)).unwrap());
    alive.alive();
    failed.failed();
    let sink = node.feedback_sink();
    for number in 0..2000_u16 {
        let [third, fourth] = number.to_be_bytes();
        sink.report(Feedback::Banned(IpAddr::from([61, 0, third, fourth])))
            .unwrap();
        sink.report(Feedback::PeerList(vec![IpAddr::from([62, 0, third, fourth])]))
            .unwrap();
    }
    node.close().await.unwrap();
    assert_eq!((node.status(LOW), node.of(LOW).last_alive), (Some(InAlive), node.now()));
    assert_eq!(
        (node.status(HIGH), node.of(HIGH).last_failure),
        (Some(Idle), node.now())
    );
    let peers = node.stats().peers;
    assert_eq!((peers.banned, peers.idle), (2000, 2001));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_not_polled_before_closing_records_no_failure() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), passive()).await;
    advance(seconds(31)).await;
    node.close().await.unwrap();
    assert_eq!(node.of(LOW).last_failure, None);
}

#[tokio::test(start_paused = true)]
async fn the_stream_stays_ended_after_closing() {
    let (mut node, _socket) = Node::with(LOW, Some(OutAlive), wanting(1)).await;
    node.close().await.unwrap();
    let before = node.stats();
    let closed = |result| matches!(result, Err(NetworkError::Closed));
    assert!(node.is_terminated());
    for _ in 0..3 {
        assert!(matches!(node.poll(), Poll::Ready(None)));
        assert!(closed(node.wait_event().await.map(drop)));
        assert!(closed(node.send(Feedback::Banned(ip(LOW))).await));
        drop(node.feedback_peer_banned(ip(LOW)));
        drop(node.feedback_peer_failed(ip(HIGH)));
        drop(node.feedback_peer_list([ip(HIGH)]));
        advance(seconds(3600)).await;
    }
    assert!(node.lease(ip(LOW)).is_none());
    assert_eq!(node.stats(), before, "the table is frozen");
    assert_eq!(node.status(LOW), Some(OutAlive));
}

#[tokio::test(start_paused = true)]
async fn closing_again_is_ok() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, "[]", passive()), &[]).await;
    node.ban(LOW);
    for _ in 0..3 {
        node.close().await.unwrap();
        SinkExt::close(&mut **node.task()).await.unwrap();
    }
    assert_eq!(node.dumps(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn closing_works_before_the_first_poll() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::new(file(&folder, "[]", passive())).await;
    drop(node.feedback_peer_banned(ip(LOW)));
    node.close().await.unwrap();
    assert!(matches!(node.poll(), Poll::Ready(None)));
    assert!(content(&folder).contains(LOW));
}

fn content(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("peers.json")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn closing_drops_every_socket_that_was_not_handed_over() {
    let mut node = busy().await;
    node.close().await.unwrap();
    all_is_dropped(&node.world);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_controller_drops_every_socket_that_was_not_handed_over() {
    let node = busy().await;
    let world = node.world.clone();
    drop(node);
    all_is_dropped(&world);
}

/// A node with a dial under way, one that is answered, a parked socket and one that waits to be accepted.
async fn busy() -> Node {
    let mut node = Node::knowing(wanting(2), &[HIGH, LOW]).await;
    let _parked = node.parks(HIGH);
    let _waiting = node.connects("62.1.0.1");
    node.world.dial_ok(ip(LOW));
    assert_eq!((node.world.live_sockets(), node.world.dials().len()), (3, 1));
    node
}

fn all_is_dropped(world: &MemoryHandle) {
    assert_eq!(world.live_sockets(), 0);
    assert!(!world.is_listening());
    for peer in [LOW, HIGH] {
        assert_eq!(world.fates(ip(peer)), [DialFate::CalledOff]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_change_the_file_is_not_written() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, " [ ]\n", passive()), &[]).await;
    node.close().await.unwrap();
    assert_eq!((node.dumps(), content(&folder).as_str()), ((0, 0), " [ ]\n"));
}

/// A closed node whose last dump failed, for want of the folder.
async fn failing() -> (TempDir, Node) {
    let folder = TempDir::new().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let mut config = file(&folder, "[]", passive());
    config.peers_file = Some(inner.join("peers.json"));
    fs::write(inner.join("peers.json"), "[]").unwrap();
    let mut node = Node::knowing(config, &[]).await;
    node.ban(LOW);
    fs::remove_dir_all(&inner).unwrap();
    let error = node.close().await.unwrap_err();
    let expected = inner.join("peers.json");
    assert!(matches!(&error, NetworkError::PeerFile { path, .. } if *path == expected));
    assert!(error.to_string().contains("inner"), "{error}");
    (folder, node)
}

#[tokio::test(start_paused = true)]
async fn a_failed_last_dump_can_be_retried() {
    let (folder, mut node) = failing().await;
    assert!(node.close().await.is_err(), "and fails again");
    fs::create_dir(folder.path().join("inner")).unwrap();
    node.close().await.unwrap();
    let text = fs::read_to_string(folder.path().join("inner/peers.json")).unwrap();
    assert!(text.contains(LOW));
    assert_eq!(node.dumps(), (1, 2));
    node.close().await.unwrap();
    assert_eq!(node.dumps(), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failed_last_dump_ends_everything_else() {
    let (_folder, mut node) = failing().await;
    assert!(node.is_terminated());
    assert!(matches!(node.poll(), Poll::Ready(None)));
    assert!(matches!(
        node.send(Feedback::Alive(ip(LOW))).await,
        Err(NetworkError::Closed)
    ));
    assert!(!node.world.is_listening());
}

#[test]
fn an_ended_stream_stays_ended_while_the_last_dump_is_retried() {
    with_one_file_thread(async {
        let (folder, mut node) = failing().await;
        assert!(matches!(node.poll(), Poll::Ready(None)));
        fs::create_dir(folder.path().join("inner")).unwrap();
        let gate = hold_files();
        {
            let mut again = task::spawn(node.close());
            assert!(again.poll().is_pending());
        }
        assert!(node.is_terminated());
        assert!(matches!(node.poll(), Poll::Ready(None)));
        drop(gate);
        node.close().await.unwrap();
        assert_eq!(node.dumps(), (1, 1));
    });
}

#[test]
fn the_stream_finishes_a_close_that_was_dropped() {
    with_one_file_thread(async {
        let folder = TempDir::new().unwrap();
        let mut node = Node::knowing(file(&folder, "[]", passive()), &[]).await;
        node.ban(LOW);
        let gate = hold_files();
        {
            let mut closing = task::spawn(node.close());
            assert!(closing.poll().is_pending());
        }
        assert!(!node.is_terminated());
        assert!(matches!(
            node.send(Feedback::Alive(ip(LOW))).await,
            Err(NetworkError::Closed)
        ));
        drop(gate);
        assert!(node.next().await.is_none());
        assert!(node.is_terminated());
        assert!(content(&folder).contains(LOW));
        node.close().await.unwrap();
        assert_eq!(node.dumps(), (1, 0));
    });
}

#[test]
fn another_close_finishes_a_close_that_was_dropped() {
    with_one_file_thread(async {
        let folder = TempDir::new().unwrap();
        let mut node = Node::knowing(file(&folder, "[]", passive()), &[]).await;
        node.ban(LOW);
        let gate = hold_files();
        assert!(node.close().now_or_never().is_none());
        drop(gate);
        let mut calls = 0;
        while node.close().now_or_never().is_none() {
            other_work().await;
            calls += 1;
            assert!(calls < 1000);
        }
        assert_eq!(node.dumps(), (1, 0));
    });
}

#[test]
fn a_dump_error_found_by_the_stream_is_returned_by_the_next_close() {
    with_one_file_thread(async {
        let folder = TempDir::new().unwrap();
        let config = file(&folder, "[]", passive());
        let path = config.peers_file.clone().unwrap();
        let mut node = Node::knowing(config, &[]).await;
        node.ban(LOW);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let gate = hold_files();
        assert!(task::spawn(node.close()).poll().is_pending());
        drop(gate);
        assert!(node.next().await.is_none());
        assert!(matches!(node.close().await, Err(NetworkError::PeerFile { .. })));
    });
}

/// A node with a dump in flight that began with [`LOW`] banned.
async fn dumping(folder: &TempDir) -> (Node, mpsc::Sender<()>) {
    let mut node = Node::knowing(file(folder, "[]", passive()), &[]).await;
    node.ban(LOW);
    advance(seconds(61)).await;
    let gate = hold_files();
    assert!(node.poll().is_pending());
    (node, gate)
}

#[test]
fn closing_waits_for_the_dump_in_flight_and_dumps_again_only_if_needed() {
    with_one_file_thread(async {
        let folder = TempDir::new().unwrap();
        let (mut node, gate) = dumping(&folder).await;
        assert!(node.close().now_or_never().is_none());
        drop(gate);
        node.close().await.unwrap();
        assert_eq!(node.dumps(), (1, 0));
        assert!(content(&folder).contains(LOW));
    });
}

#[test]
fn closing_dumps_what_the_dump_in_flight_missed() {
    with_one_file_thread(async {
        let folder = TempDir::new().unwrap();
        let (mut node, gate) = dumping(&folder).await;
        node.feedback_sink().report(Feedback::Banned(ip(HIGH))).unwrap();
        assert!(node.close().now_or_never().is_none());
        drop(gate);
        node.close().await.unwrap();
        assert_eq!(node.dumps(), (2, 0));
        assert!(content(&folder).contains(HIGH));
    });
}

#[test]
fn dropping_the_controller_dumps_nothing() {
    with_one_file_thread(async {
        let folder = TempDir::new().unwrap();
        let mut node = Node::knowing(file(&folder, "[]", passive()), &[]).await;
        node.ban(LOW);
        drop(node);
        assert_eq!(content(&folder), "[]");
        let (node, gate) = dumping(&folder).await;
        drop(node);
        drop(gate);
        other_work().await;
        assert_eq!(content(&folder), "[]");
    });
}

#[tokio::test(start_paused = true)]
async fn peers_can_be_queried_after_closing() {
    let mut node = Node::knowing(passive(), &[HIGH]).await;
    node.ban(LOW);
    node.close().await.unwrap();
    assert_eq!(node.get_good_peer_ips(), [ip(HIGH)]);
    assert_eq!(node.status(LOW), Some(Banned));
    assert_eq!(node.local_addr().port(), PORT);
}
