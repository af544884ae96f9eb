//! Feedback sinks: they never wait, what they say is merged and bounded, and the controller applies it in its next poll.

use PeerStatus::{Banned, Idle, InAlive, InHandshaking};
use futures::{SinkExt, StreamExt};

use super::*;

const FOREVER: usize = usize::MAX;

/// What becomes of a live inbound peer of which all this is said before the next poll.
async fn told(feedback: &[fn(IpAddr) -> Feedback]) -> Node {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), passive()).await;
    advance(seconds(1)).await;
    let sink = node.feedback_sink();
    for feedback in feedback {
        sink.report(feedback(ip(LOW))).unwrap();
    }
    assert_eq!(node.status(LOW), Some(InHandshaking), "until the next poll");
    node.no_event();
    node
}

#[tokio::test(start_paused = true)]
async fn every_report_wakes_and_does_what_the_method_does() {
    let mut node = told(&[Feedback::Alive]).await;
    assert_eq!((node.status(LOW), node.of(LOW).last_alive), (Some(InAlive), node.now()));
    let sink = node.feedback_sink();
    let steps = [
        (Feedback::Closed(ip(LOW)), Idle),
        (Feedback::Failed(ip(LOW)), Idle),
        (Feedback::Banned(ip(LOW)), Banned),
        (Feedback::Unbanned(ip(LOW)), Idle),
    ];
    for (feedback, status) in steps {
        sink.report(feedback.clone()).unwrap();
        node.no_event();
        assert_eq!(node.status(LOW), Some(status), "{feedback:?}");
    }
    sink.report(Feedback::PeerList(vec![ip(HIGH)])).unwrap();
    node.no_event();
    assert_eq!(node.status(HIGH), Some(Idle));
    assert_eq!(node.counters().feedback_stale, 0);
}

#[tokio::test(start_paused = true)]
async fn as_a_sink_it_is_ready_and_flushed_at_once_and_wakes() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), passive()).await;
    let mut sink = node.feedback_sink();
    sink.send(Feedback::Alive(ip(LOW))).now_or_never().unwrap().unwrap();
    node.no_event();
    assert_eq!(node.status(LOW), Some(InAlive));
}

#[tokio::test]
async fn a_failure_that_follows_a_sign_of_life_is_later() {
    let mut config = passive();
    config.clock = Clock::System;
    let mut node = Node::knowing(config, &[]).await;
    node.list(&[HIGH]);
    let _socket = node.admits(LOW);
    let sink = node.feedback_sink();
    sink.report(Feedback::Alive(ip(LOW))).unwrap();
    sink.report(Feedback::Failed(ip(LOW))).unwrap();
    node.no_event();
    let ranked = node.get_good_peer_ips();
    assert_eq!(
        ranked,
        [ip(HIGH), ip(LOW)],
        "a peer that has failed since is worse than an unknown one"
    );
}

#[tokio::test(start_paused = true)]
async fn alive_comes_before_the_end() {
    let node = told(&[Feedback::Alive, Feedback::Failed]).await;
    let peer = node.of(LOW);
    assert_eq!(
        (peer.status, peer.last_alive, peer.last_failure),
        (Idle, node.now(), node.now())
    );
    assert_eq!(node.counters().feedback_stale, 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_end_is_the_end() {
    let node = told(&[Feedback::Closed, Feedback::Failed, Feedback::Alive]).await;
    let peer = node.of(LOW);
    assert_eq!((peer.status, peer.last_alive, peer.last_failure), (Idle, None, None));
    assert_eq!(node.counters().feedback_stale, 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_of_ban_and_unban_counts() {
    let node = told(&[Feedback::Unbanned, Feedback::Banned]).await;
    assert_eq!(node.status(LOW), Some(Banned));
    let node = told(&[Feedback::Banned, Feedback::Unbanned]).await;
    assert_eq!(node.status(LOW), Some(Idle), "the connection is over all the same");
}

/// Of an address that is absent, Idle or connected, by whichever way it was said.
#[tokio::test(start_paused = true)]
async fn what_is_said_last_counts_last_whether_to_a_sink_or_by_a_method() {
    for status in [None, Some(Idle), Some(InAlive), Some(Banned)] {
        let (mut node, _socket) = Node::with(LOW, status, passive()).await;
        let sink = node.feedback_sink();
        sink.report(Feedback::Unbanned(ip(LOW))).unwrap();
        node.ban(LOW);
        assert_eq!(node.status(LOW), Some(Banned), "{status:?}: by the method");

        sink.report(Feedback::Banned(ip(LOW))).unwrap();
        node.unban(LOW);
        assert_eq!(node.status(LOW), Some(Idle), "{status:?}: by the method");

        drop(node.feedback_peer_banned(ip(LOW)));
        sink.report(Feedback::Unbanned(ip(LOW))).unwrap();
        node.no_event();
        assert_eq!(node.status(LOW), Some(Idle), "{status:?}: by the sink");

        drop(node.feedback_peer_unbanned(ip(LOW)));
        sink.report(Feedback::Banned(ip(LOW))).unwrap();
        node.no_event();
        assert_eq!(node.status(LOW), Some(Banned), "{status:?}: by the sink");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ban_comes_after_the_end_whenever_it_was_said() {
    let node = told(&[Feedback::Banned, Feedback::Failed, Feedback::Alive]).await;
    assert_eq!((node.status(LOW), node.of(LOW).last_alive), (Some(Banned), None));
    let node = told(&[Feedback::Banned, Feedback::Alive]).await;
    assert_eq!((node.status(LOW), node.of(LOW).last_alive), (Some(Banned), None));
    assert_eq!(node.counters().feedback_stale, 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_said_often_counts_once_and_takes_one_place() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), passive()).await;
    let sink = node.feedback_sink();
    for _ in 0..10_000 {
        sink.report(Feedback::Alive(ip(LOW))).unwrap();
        sink.report(Feedback::Alive(ip("::ffff:60.1.0.1"))).unwrap();
    }
    assert_eq!(node.engine.mailbox.held(), 1);
    node.no_event();
    assert_eq!(node.counters().feedback_stale, 0);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_was_made_before_the_connection_spares_it() {
    let mut node = Node::knowing(wanting(1), &[]).await;
    let sink = node.feedback_sink();
    node.world.auto_dial(move |dial| {
        sink.report(Feedback::Failed(dial.to.ip())).unwrap();
        Some(Ok(()))
    });
    drop(node.feedback_peer_list([ip(LOW)]));
    assert!(node.event().is_outgoing);
    assert_eq!(node.status(LOW), Some(PeerStatus::OutHandshaking));
    assert_eq!((node.of(LOW).last_failure, node.counters().feedback_stale), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_said_before_the_connection_goes_before_what_was_said_after() {
    let mut node = Node::knowing(wanting(1), &[]).await;
    let sink = node.feedback_sink();
    let before = sink.clone();
    node.world.auto_dial(move |dial| {
        before.report(Feedback::Banned(dial.to.ip())).unwrap();
        Some(Ok(()))
    });
    drop(node.feedback_peer_list([ip(LOW)]));
    assert!(node.poll().is_ready());
    node.world.stop_auto_dial();
    sink.report(Feedback::Unbanned(ip(LOW))).unwrap();
    node.no_event();
    assert_eq!(
        node.status(LOW),
        Some(PeerStatus::OutConnecting),
        "free to be dialed again"
    );
    assert_eq!((node.counters().bans_set, node.counters().feedback_stale), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_ban_of_a_stranger_that_is_lifted_at_once_leaves_nothing() {
    let mut node = Node::knowing(passive(), &[]).await;
    let sink = node.feedback_sink();
    sink.report(Feedback::Banned(ip(LOW))).unwrap();
    sink.report(Feedback::Unbanned(ip(LOW))).unwrap();
    node.no_event();
    assert_eq!((node.status(LOW), node.counters().bans_set), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_other_reports_pushes_no_ban_out() {
    let mut config = passive();
    (config.max_idle_peers, config.max_banned_peers) = (1, 1);
    let bound = 2 + config.max_incoming_connections + config.max_simultaneous_outgoing_connection_attempts;
    let mut node = Node::knowing(config, &[]).await;
    let sink = node.feedback_sink();
    sink.report(Feedback::Banned(ip(LOW))).unwrap();
    for address in 0..10_000_u32 {
        let stranger = IpAddr::from((0x3D00_0000 + address).to_be_bytes());
        sink.report(Feedback::Failed(stranger)).unwrap();
    }
    assert_eq!(node.engine.mailbox.held(), bound);
    node.no_event();
    assert_eq!(node.status(LOW), Some(Banned));
}

#[tokio::test(start_paused = true)]
async fn lists_are_cut_to_the_idle_peers() {
    let mut config = passive();
    config.max_idle_peers = 5;
    let mut node = Node::knowing(config, &[]).await;
    let sink = node.feedback_sink();
    for third in 0..100 {
        let ips = (1..=100).map(|last| IpAddr::from([60, third, 0, last]));
        sink.report(Feedback::PeerList(ips.collect())).unwrap();
    }
    assert_eq!(node.engine.mailbox.held(), 5);
    node.no_event();
    assert_eq!(node.peers().count(), 5);
    sink.report(Feedback::PeerList(vec![ip(HIGH)])).unwrap();
    assert_eq!(node.engine.mailbox.held(), 1, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_million_addresses_take_bounded_memory() {
    let mut config = passive();
    config.max_idle_peers = 100;
    config.max_banned_peers = 50;
    let mut node = Node::knowing(config.clone(), &[]).await;
    let sink = node.feedback_sink();
    for address in 0..1_000_000_u32 {
        sink.report(Feedback::Banned(IpAddr::from((0x3C00_0000 + address).to_be_bytes())))
            .unwrap();
    }
    let bound = 150 + config.max_incoming_connections + config.max_simultaneous_outgoing_connection_attempts;
    assert_eq!(node.engine.mailbox.held(), bound);
    node.no_event();
    assert_eq!(node.stats().banned_peers.used, 50);
    let newest = IpAddr::from((0x3C00_0000_u32 + 999_999).to_be_bytes());
    assert_eq!(node.peer(newest).map(|peer| peer.status), Some(Banned));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_strangers_loses_nothing_about_a_connection() {
    let mut config = passive();
    (config.max_idle_peers, config.max_banned_peers) = (1, 1);
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), config).await;
    let sink = node.feedback_sink();
    sink.report(Feedback::Alive(ip(LOW))).unwrap();
    for address in 0..10_000_u32 {
        sink.report(Feedback::Failed(IpAddr::from((0x3D00_0000 + address).to_be_bytes())))
            .unwrap();
    }
    sink.report(Feedback::Closed(ip(LOW))).unwrap();
    node.no_event();
    let peer = node.of(LOW);
    assert_eq!(
        (peer.status, peer.last_alive, peer.last_failure),
        (Idle, node.now(), None)
    );
    assert_eq!(node.counters().feedback_stale, 10_000);
}

#[tokio::test(start_paused = true)]
async fn good_peers_are_answered_by_the_next_poll() {
    let mut node = Node::knowing(passive(), &["60.1.0.1", "60.2.0.1", "60.3.0.1"]).await;
    let _socket = node.admits(HIGH);
    node.alive(HIGH);
    node.ban("60.2.0.1");
    for limit in [0, 1, 2, 3, FOREVER] {
        let sink = node.feedback_sink();
        let mut question = task::spawn(sink.good_peer_ips(limit));
        assert!(question.poll().is_pending());
        node.no_event();
        assert!(question.is_woken());
        let Poll::Ready(Ok(answer)) = question.poll() else {
            panic!("no answer");
        };
        assert!(answer.into_iter().eq(node.good_peer_ips().take(limit)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sample_is_answered_by_the_next_poll() {
    let mut node = roomy_with_100().await;
    let sink = node.feedback_sink();
    let mut samples = Vec::new();
    for limit in [0, 5, 5, 100, FOREVER] {
        let mut question = task::spawn(sink.sample_peer_ips(limit));
        assert!(question.poll().is_pending());
        node.no_event();
        assert!(question.is_woken());
        let Poll::Ready(Ok(answer)) = question.poll() else {
            panic!("no answer");
        };
        assert_eq!(answer.len(), limit.min(100));
        assert!(answer.iter().all(|&ip| node.peer(ip).is_some()));
        samples.push(answer);
    }
    assert_ne!(samples[1], samples[2]);
    assert_ne!(samples[3], node.get_good_peer_ips(), "in random order");
}

async fn roomy_with_100() -> Node {
    let mut node = Node::knowing(passive(), &[]).await;
    let ips = (0..100).map(|last| IpAddr::from([60, 1, 0, last]));
    node.feedback_peer_list(ips).await;
    node
}

#[tokio::test(start_paused = true)]
async fn questions_that_are_dropped_take_bounded_memory() {
    let mut node = Node::knowing(passive(), &[LOW]).await;
    let sink = node.feedback_sink();
    let mut waiting = task::spawn(sink.good_peer_ips(1));
    assert!(waiting.poll().is_pending());
    for _ in 0..10_000 {
        assert!(sink.good_peer_ips(1).now_or_never().is_none());
    }
    assert!(node.engine.mailbox.held() <= 8, "{}", node.engine.mailbox.held());
    node.no_event();
    assert!(waiting.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn closing_or_dropping_one_ends_nothing() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), passive()).await;
    let mut sink = node.feedback_sink();
    drop(node.feedback_sink());
    sink.close().now_or_never().unwrap().unwrap();
    node.rests();
    assert!(!node.is_terminated());
    sink.report(Feedback::Alive(ip(LOW))).unwrap();
    node.no_event();
    assert_eq!(node.status(LOW), Some(InAlive));
}

async fn is_closed(mut sink: FeedbackSink) {
    let closed = |result| matches!(result, Err(NetworkError::Closed));
    assert!(closed(sink.report(Feedback::Alive(ip(LOW)))));
    assert!(closed(sink.report(Feedback::PeerList(Vec::new()))));
    assert!(closed(sink.send(Feedback::Alive(ip(LOW))).await));
    assert!(closed(sink.good_peer_ips(1).await.map(drop)));
    assert!(closed(sink.sample_peer_ips(1).await.map(drop)));
    assert!(sink.close().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn it_is_closed_after_the_close() {
    let mut node = Node::knowing(passive(), &[]).await;
    let sink = node.feedback_sink();
    node.close().await.unwrap();
    is_closed(node.feedback_sink()).await;
    is_closed(sink).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_closed_after_the_drop() {
    let node = Node::knowing(passive(), &[]).await;
    let sink = node.feedback_sink();
    drop(node);
    is_closed(sink).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_an_answer_is_told_of_the_end() {
    let mut node = Node::knowing(passive(), &[]).await;
    let sink = node.feedback_sink();
    let mut question = task::spawn(sink.good_peer_ips(1));
    assert!(question.poll().is_pending());
    node.close().await.unwrap();
    assert!(question.is_woken());
    assert!(matches!(question.poll(), Poll::Ready(Err(NetworkError::Closed))));
}

#[tokio::test(start_paused = true)]
async fn reports_from_another_thread_wake() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), passive()).await;
    let sink = node.feedback_sink();
    std::thread::spawn(move || sink.report(Feedback::Alive(ip(LOW))))
        .join()
        .unwrap()
        .unwrap();
    node.no_event();
    assert_eq!(node.status(LOW), Some(InAlive));
}

#[tokio::test(start_paused = true)]
async fn the_stream_can_be_forwarded_into_its_own_sink() {
    let (transport, world) = memory();
    let mut config = passive();
    config.max_simultaneous_incoming_connection_attempts = 1;
    let net = NetworkController::with_transport(config, transport).await.unwrap();
    let sink = net.feedback_sink();
    let alive = |event| Ok(Feedback::Alive(Candidate::from(event).ip));
    let mut forwarding = task::spawn(net.map(alive).forward(sink));
    assert!(forwarding.poll().is_pending());
    for peer in 1..=20 {
        let probe = world.incoming(
            SocketAddr::new([60, peer, 0, 1].into(), 9),
            SocketAddr::new(ip(US), PORT),
        );
        for _ in 0..4 {
            if forwarding.is_woken() {
                assert!(forwarding.poll().is_pending());
            }
        }
        assert!(!forwarding.is_woken());
        assert_eq!(
            probe.fate(),
            IncomingFate::Admitted,
            "the one before was reported alive"
        );
    }
}
