//! The controller as a stream and a sink: what wakes its task, that nothing lives in the future of one `next`, and that
//! it spawns nothing.

use futures::{SinkExt, StreamExt};

use super::*;

#[tokio::test(start_paused = true)]
async fn dropping_next_at_every_pending_loses_nothing() {
    let (transport, world) = memory();
    let mut config = wanting(1);
    config.initial_peers = vec![ip(LOW)];
    let mut net = NetworkController::with_transport(config, transport).await.unwrap();
    assert!(net.next().now_or_never().is_none());
    world.dial_ok(ip(LOW));
    let event = net.next().now_or_never().flatten().map(Candidate::from).unwrap();
    assert!(event.is_outgoing);
    assert!(net.next().now_or_never().is_none());
    world.incoming(SocketAddr::new(ip(HIGH), 9), SocketAddr::new(ip(US), PORT));
    let event = net.next().now_or_never().flatten().map(Candidate::from).unwrap();
    assert_eq!(event.ip, ip(HIGH));
}

#[tokio::test(start_paused = true)]
async fn dropping_wait_event_at_every_pending_loses_nothing() {
    let (transport, world) = memory();
    let mut net = NetworkController::with_transport(passive(), transport).await.unwrap();
    for peer in 1..=3 {
        assert!(net.wait_event().now_or_never().is_none());
        world.incoming(
            SocketAddr::new([60, peer, 0, 1].into(), 9),
            SocketAddr::new(ip(US), PORT),
        );
        let event = net.wait_event().now_or_never().unwrap().map(Candidate::from);
        assert_eq!(event.unwrap().ip, IpAddr::from([60, peer, 0, 1]));
    }
    assert_eq!(world.live_sockets(), 0, "each was handed over, and dropped here");
}

#[tokio::test(start_paused = true)]
async fn a_future_that_was_dropped_leaves_a_wake_for_the_next_one() {
    let (transport, world) = memory();
    let mut net = NetworkController::with_transport(passive(), transport).await.unwrap();
    let mut first = task::spawn(net.next());
    assert!(first.poll().is_pending());
    drop(first);
    let mut second = task::spawn(net.next());
    assert!(second.poll().is_pending());
    world.incoming(SocketAddr::new(ip(LOW), 9), SocketAddr::new(ip(US), PORT));
    assert!(second.is_woken());
    assert!(second.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn deadlines_go_on_over_futures_that_are_dropped() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    for _ in 0..10 {
        assert!(node.next().now_or_never().is_none());
        advance(millis(501)).await;
    }
    assert!(node.next().now_or_never().is_none());
    assert_eq!(node.counters().dials_timed_out, 1);
}

#[tokio::test(start_paused = true)]
async fn events_that_are_ready_together_come_one_a_poll_dials_first() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    let _probe = node.connects(HIGH);
    node.world.dial_ok(ip(LOW));
    let (first, second) = (node.event(), node.event());
    assert_eq!((first.ip, second.ip), (ip(LOW), ip(HIGH)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_before_the_first_poll() {
    let mut config = config();
    config.initial_peers = vec![ip(LOW)];
    let mut node = Node::new(config).await;
    advance(seconds(5)).await;
    assert_eq!(
        (node.world.dials_started(), node.status(LOW)),
        (0, Some(PeerStatus::Idle))
    );
    node.settle();
    assert_eq!(node.world.dials_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn with_nothing_to_do_nothing_wakes_for_ever() {
    let mut node = Node::knowing(config(), &[]).await;
    for _ in 0..5 {
        advance(seconds(1_000_000)).await;
        node.rests();
    }
}

#[tokio::test(start_paused = true)]
async fn every_feedback_method_wakes() {
    let methods: [fn(&mut Node); 6] = [
        |node| drop(node.feedback_peer_alive(ip(LOW))),
        |node| drop(node.feedback_peer_failed(ip(LOW))),
        |node| drop(node.feedback_peer_closed(ip(LOW))),
        |node| drop(node.feedback_peer_banned(ip(LOW))),
        |node| drop(node.feedback_peer_unbanned(ip(LOW))),
        |node| drop(node.feedback_peer_list([ip(LOW)])),
    ];
    for method in methods {
        let mut node = Node::knowing(passive(), &[]).await;
        method(&mut node);
        node.no_event();
    }
}

#[tokio::test(start_paused = true)]
async fn feedback_is_applied_when_it_is_called_awaited_or_not() {
    let mut node = Node::knowing(passive(), &[]).await;
    drop(node.feedback_peer_banned(ip(LOW)));
    assert_eq!(node.status(LOW), Some(PeerStatus::Banned));
    node.feedback_peer_unbanned(ip(LOW)).await;
    assert_eq!(node.status(LOW), Some(PeerStatus::Idle));
}

#[tokio::test(start_paused = true)]
async fn start_send_does_what_the_methods_do_and_wakes() {
    let (mut node, _socket) = Node::with(LOW, Some(PeerStatus::InHandshaking), passive()).await;
    let steps = [
        (Feedback::Alive(ip(LOW)), PeerStatus::InAlive),
        (Feedback::Closed(ip(LOW)), PeerStatus::Idle),
        (Feedback::Failed(ip(LOW)), PeerStatus::Idle),
        (Feedback::Banned(ip(LOW)), PeerStatus::Banned),
        (Feedback::Unbanned(ip(LOW)), PeerStatus::Idle),
    ];
    for (feedback, expected) in steps {
        node.start_send_unpin(feedback.clone()).unwrap();
        node.no_event();
        assert_eq!(node.status(LOW), Some(expected), "{feedback:?}");
    }
    assert_eq!(node.counters().feedback_stale, 0);
    node.start_send_unpin(Feedback::PeerList(vec![ip(HIGH)])).unwrap();
    node.no_event();
    assert_eq!(node.status(HIGH), Some(PeerStatus::Idle));
}

#[tokio::test(start_paused = true)]
async fn the_sink_is_always_ready_and_flushed() {
    let mut node = Node::knowing(passive(), &[]).await;
    let flushed = [
        node.task().enter(|cx, net| net.poll_ready(cx)),
        node.task().enter(|cx, net| net.poll_flush(cx)),
    ];
    assert!(flushed.iter().all(|poll| matches!(poll, Poll::Ready(Ok(())))));
}

#[tokio::test(start_paused = true)]
async fn a_peer_list_takes_no_more_than_the_idle_peers() {
    let mut config = passive();
    config.max_idle_peers = 10;
    let mut node = Node::knowing(config, &[]).await;
    let endless = (0..).map(|number: u32| IpAddr::from(std::net::Ipv4Addr::from(0x3C00_0000 + number * 65_536)));
    drop(node.feedback_peer_list(endless.inspect(|ip| assert!(*ip < IpAddr::from([60, 10, 0, 0])))));
    assert_eq!(node.peers().count(), 10);
}

#[tokio::test(start_paused = true)]
async fn the_stream_is_fused_and_open_while_it_runs() {
    let node = Node::knowing(config(), &[]).await;
    assert!(!node.is_terminated());
    assert_eq!(node.local_addr(), SocketAddr::new(ip("::"), PORT));
}

#[test]
fn the_controller_spawns_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut node = Node::knowing(config(), &[LOW, "61.1.0.1"]).await;
        let _incoming = node.admits(HIGH);
        let lease = node.lease(ip(HIGH)).unwrap();
        let mut revoked = task::spawn(lease.revoked());
        assert!(revoked.poll().is_pending());
        let sink = node.feedback_sink();
        let mut question = task::spawn(sink.good_peer_ips(3));
        assert!(question.poll().is_pending());
        advance(seconds(3)).await;
        node.settle();
        let alive_tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(alive_tasks(), 0);
        node.close().await.unwrap();
        assert_eq!(alive_tasks(), 0);
    });
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_taken_is_an_error() {
    let (transport, world) = memory();
    world.fail_listen(ErrorKind::AddrInUse.into());
    let error = NetworkController::with_transport(config(), transport)
        .await
        .unwrap_err();
    assert!(matches!(error, NetworkError::Listen { addr, .. } if addr.port() == PORT));
}

#[tokio::test(start_paused = true)]
async fn a_config_that_cannot_work_starts_nothing() {
    let (transport, world) = memory();
    let mut config = config();
    config.max_simultaneous_outgoing_connection_attempts = 0;
    let error = NetworkController::with_transport(config, transport).await.unwrap_err();
    assert!(matches!(error, NetworkError::Config(_)));
    assert!(!world.is_listening());
}
