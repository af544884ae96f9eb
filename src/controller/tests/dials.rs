//! Dials: when they start, from where, how they race, what calls them off, and whose fault their failures are.

use PeerStatus::{Idle, OutConnecting};

use super::*;

const PEERS: [&str; 4] = ["60.1.0.1", "60.2.0.1", "60.3.0.1", "60.4.0.1"];

#[tokio::test(start_paused = true)]
async fn the_shortage_is_dialed_at_once_and_more_are_raced_one_by_one() {
    let mut node = Node::knowing(wanting(2), &PEERS).await;
    assert_eq!(node.dialing().len(), 2);
    for dials in [3, 4] {
        advance(millis(248)).await;
        node.rests();
        advance(millis(3)).await;
        node.no_event();
        assert_eq!(node.dialing().len(), dials);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_dial_is_replaced_at_once() {
    let mut node = Node::knowing(wanting(1), &PEERS).await;
    for dials in 2..=4 {
        let peer = node.dialing()[0].to_string();
        node.dial_err(&peer, ErrorKind::ConnectionRefused);
        assert_eq!((node.dialing().len(), node.world.dials_started()), (1, dials));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_is_replaced_at_once() {
    let mut node = Node::knowing(wanting(1), &PEERS[..2]).await;
    let first = node.dialing()[0].to_string();
    let _socket = node.dial_ok(&first);
    assert!(node.dialing().is_empty());
    node.fail(&first);
    assert_eq!(node.dialing().len(), 1);
    assert_ne!(node.dialing()[0], ip(&first));
}

#[tokio::test(start_paused = true)]
async fn losers_of_the_race_are_called_off_in_the_poll_that_meets_the_target() {
    let mut node = Node::knowing(wanting(1), &PEERS).await;
    for _ in 0..3 {
        advance(millis(251)).await;
        node.no_event();
    }
    let raced = node.dialing();
    node.world.dial_ok(raced[2]);
    assert!(node.poll().is_ready());
    for loser in [raced[0], raced[1], raced[3]] {
        assert_eq!(node.world.fates(loser), [DialFate::CalledOff]);
        let peer = node.of(&loser.to_string());
        assert_eq!((peer.status, peer.last_failure, peer.failures_in_row), (Idle, None, 0));
    }
    assert_eq!(node.counters().dials_called_off, 3);
    assert_eq!(node.counters().dials_failed, 0);
}

#[tokio::test(start_paused = true)]
async fn dials_that_fail_pause_for_longer_each_time() {
    let mut node = Node::dialing_beyond_outage(config(), LOW).await;
    for streak in 1..=4 {
        node.dial_err(LOW, ErrorKind::ConnectionRefused);
        assert_eq!(node.of(LOW).failures_in_row, streak);
        node.is_dialed_after(LOW, config().retry_backoff * (1 << (streak - 1)))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_never_exceeds_its_maximum_but_by_its_jitter() {
    let mut config = config();
    config.max_retry_backoff = config.retry_backoff;
    let mut node = Node::dialing_beyond_outage(config, LOW).await;
    for streak in 1..=12 {
        node.dial_err(LOW, ErrorKind::ConnectionRefused);
        assert_eq!(node.of(LOW).failures_in_row, streak);
        node.is_dialed_after(LOW, seconds(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_this_host_records_no_failure_and_pauses_all_dials() {
    let mut node = Node::knowing(wanting(1), &PEERS[..2]).await;
    for _ in 0..2 {
        let peer = node.dialing()[0].to_string();
        node.dial_err(&peer, ErrorKind::AddrInUse);
        let peer = node.of(&peer);
        assert_eq!((peer.status, peer.last_failure, peer.failures_in_row), (Idle, None, 0));
        assert!(node.dialing().is_empty(), "none is replaced");
        advance(seconds(1)).await;
        node.no_event();
        assert_eq!(node.dialing().len(), 1);
    }
    assert_eq!(node.counters().dials_host_faults, 2);
}

#[tokio::test(start_paused = true)]
async fn pauses_after_faults_of_this_host_grow_to_ten_seconds() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    for pause in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
        node.dial_err(LOW, ErrorKind::AddrInUse);
        advance(millis(pause - 2)).await;
        node.rests();
        advance(millis(3)).await;
        node.no_event();
        assert_eq!(node.dialing(), [ip(LOW)]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unroutable_peer_is_set_aside_for_longer_each_time_and_its_streak_stays() {
    let mut node = Node::dialing_beyond_outage(config(), LOW).await;
    for pause in [5, 10, 20] {
        node.dial_err(LOW, ErrorKind::NetworkUnreachable);
        let peer = node.of(LOW);
        assert_eq!(
            (peer.status, peer.last_failure, peer.failures_in_row),
            (Idle, node.now(), 0)
        );
        node.is_dialed_after(LOW, seconds(pause)).await;
    }
    assert_eq!(node.counters().dials_unroutable, 3);
}

#[tokio::test(start_paused = true)]
async fn one_unroutable_peer_does_not_stop_the_others() {
    let mut node = Node::knowing(wanting(1), &PEERS[..2]).await;
    let unroutable = node.dialing()[0].to_string();
    node.dial_err(&unroutable, ErrorKind::HostUnreachable);
    assert_eq!(node.dialing().len(), 1);
    assert_ne!(node.dialing()[0], ip(&unroutable));
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_pauses_double_to_twelve_times_the_first_and_lengthen_no_streak() {
    for error in [ErrorKind::ConnectionRefused, ErrorKind::NetworkUnreachable] {
        let mut node = Node::knowing(wanting(1), &[LOW]).await;
        for pause in [5, 10, 20, 40, 60, 60, 60] {
            node.dial_err(LOW, error);
            assert_eq!(
                (node.of(LOW).last_failure, node.of(LOW).failures_in_row),
                (node.now(), 0)
            );
            node.is_dialed_after(LOW, seconds(pause)).await;
        }
    }
}

/// A node with an outage, the first or a later one, in which [`PEERS`] have failed often. [`HIGH`] has just come alive.
async fn about_to_end_an_outage(is_first: bool) -> Node {
    let mut node = Node::new(wanting(6)).await;
    node.settle();
    if !is_first {
        node = Node::beyond_outage(wanting(6)).await;
        node.end(WITNESS);
        node.ban(WITNESS);
    }
    node.world.auto_dial(|_| Some(Err(ErrorKind::ConnectionRefused.into())));
    node.list(&PEERS);
    for _ in 0..200 {
        advance(seconds(1)).await;
        node.settle();
    }
    assert!(node.counters().dials_failed >= 16);
    node.world.stop_auto_dial();
    node.list(&[HIGH]);
    assert!(node.dialing().contains(&ip(HIGH)));
    let _socket = node.dial_ok(HIGH);
    node.alive(HIGH);
    node
}

fn dialed_of_peers(node: &Node) -> usize {
    let peers = PEERS.iter().filter(|peer| node.status(peer) == Some(OutConnecting));
    peers.count()
}

#[tokio::test(start_paused = true)]
async fn peers_that_failed_in_an_outage_are_dialed_at_its_end() {
    let mut node = about_to_end_an_outage(false).await;
    let before = dialed_of_peers(&node);
    advance(seconds(5) - millis(1)).await;
    node.settle();
    let waiting = PEERS.len() - dialed_of_peers(&node);
    assert!(before < PEERS.len() && waiting > 0, "some pause for longer than this");
    advance(millis(2)).await;
    node.no_event();
    assert_eq!(dialed_of_peers(&node), PEERS.len());
}

#[tokio::test(start_paused = true)]
async fn peers_that_failed_in_the_outage_of_the_start_are_not_released_at_its_end() {
    let mut node = about_to_end_an_outage(true).await;
    advance(seconds(5) - millis(1)).await;
    node.settle();
    let before = dialed_of_peers(&node);
    assert!(before < PEERS.len());
    advance(millis(2)).await;
    node.no_event();
    assert_eq!(dialed_of_peers(&node), before);
}

#[tokio::test(start_paused = true)]
async fn dials_leave_from_the_address_that_is_listened_on() {
    let mut config = wanting(1);
    config.listen_ip = ip("127.0.0.2");
    let node = Node::knowing(config, &[LOW]).await;
    assert_eq!(node.world.dials()[0].from, Some(ip("127.0.0.2")));
    let node = Node::knowing(wanting(1), &[LOW]).await;
    assert_eq!(node.world.dials()[0].from, None);
}

#[tokio::test(start_paused = true)]
async fn an_ipv4_address_in_ipv6_form_is_listened_on_and_dialed_from_as_ipv4() {
    for (listen_ip, listens, dials) in [
        ("::ffff:127.0.0.2", "127.0.0.2", Some("127.0.0.2")),
        ("::ffff:0.0.0.0", "0.0.0.0", None),
    ] {
        let mut config = wanting(1);
        config.listen_ip = ip(listen_ip);
        let node = Node::knowing(config, &[LOW]).await;
        assert_eq!(node.local_addr(), SocketAddr::new(ip(listens), PORT));
        assert_eq!(node.world.dials()[0].from, dials.map(ip));
    }
}

#[tokio::test(start_paused = true)]
async fn dials_go_to_the_peer_port() {
    let mut config = wanting(1);
    config.peer_port = Some(77);
    let node = Node::knowing(config, &[LOW]).await;
    assert_eq!(node.world.dials()[0].to.port(), 77);
    let mut config = wanting(1);
    config.listen_port = 0;
    let node = Node::knowing(config, &[LOW]).await;
    assert_eq!(node.world.dials()[0].to.port(), crate::transport::memory::ANY_PORT);
    assert_eq!(node.local_addr().port(), crate::transport::memory::ANY_PORT);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_ready_when_its_limit_is_seen_has_succeeded() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    advance(seconds(60)).await;
    node.world.dial_ok(ip(LOW));
    assert!(node.event().is_outgoing);
    assert_eq!(node.counters().dials_timed_out, 0);
}

#[tokio::test(start_paused = true)]
async fn each_dial_has_its_own_limit_from_its_start() {
    let mut config = wanting(1);
    config.dial_stagger = seconds(1);
    let mut node = Node::knowing(config, &PEERS[..2]).await;
    let dialed = |node: &Node| node.stats().peers.out_connecting;
    assert_eq!(dialed(&node), 1);
    advance(seconds(1)).await;
    node.no_event();
    assert_eq!(dialed(&node), 2);
    advance(millis(3_998)).await;
    node.rests();
    advance(millis(3)).await;
    node.no_event();
    assert_eq!((dialed(&node), node.counters().dials_timed_out), (1, 1));
    advance(millis(997)).await;
    node.rests();
    advance(millis(3)).await;
    node.no_event();
    assert_eq!((dialed(&node), node.counters().dials_timed_out), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_limit_counts_once_the_runtime_has_looked_at_its_sockets_since() {
    let mut config = wanting(1);
    config.dial_stagger = seconds(1);
    let mut node = Node::knowing(config, &PEERS[..2]).await;
    let first = node.dialing()[0];
    advance(seconds(1)).await;
    node.no_event();
    advance(millis(4_001)).await;
    // The first has had its time. The clock moves on, but the runtime has yet to look at its timers and sockets.
    assert!(task::spawn(tokio::time::advance(seconds(2))).poll().is_pending());
    node.no_event();
    assert_eq!(node.counters().dials_timed_out, 1);
    let second = node.dialing()[0];
    assert_ne!(first, second);
    node.world.dial_ok(second);
    assert_eq!(node.event().ip, second);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_is_over_before_its_limit_wakes_no_task_at_it() {
    let mut config = wanting(1);
    config.connect_timeout = seconds(20);
    let (mut node, _socket) = Node::with(LOW, Some(PeerStatus::OutAlive), config).await;
    advance(seconds(6)).await;
    // The outage of the start is over.
    node.no_event();
    advance(seconds(60)).await;
    node.rests();
}

#[tokio::test(start_paused = true)]
async fn limits_hold_however_much_of_its_turn_a_task_has_spent_elsewhere() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    advance(seconds(60)).await;
    while tokio::task::coop::has_budget_remaining() {
        tokio::task::coop::consume_budget().await;
    }
    assert!(node.net.poll_next().is_pending());
    assert_eq!(node.counters().dials_timed_out, 1);
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_the_system_is_one_too() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    node.dial_err(LOW, ErrorKind::TimedOut);
    assert_eq!((node.counters().dials_timed_out, node.counters().dials_failed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn no_limit_is_too_long() {
    let mut config = wanting(1);
    config.connect_timeout = Duration::MAX;
    let mut node = Node::knowing(config, &[LOW]).await;
    advance(seconds(1_000_000)).await;
    node.rests();
    advance(seconds(370 * 24 * 60 * 60)).await;
    node.rests();
    assert_eq!(node.status(LOW), Some(OutConnecting));
    node.world.dial_ok(ip(LOW));
    assert!(node.event().is_outgoing);
}

#[tokio::test(start_paused = true)]
async fn a_tcp_dial_that_made_it_while_the_task_was_busy_has_succeeded() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = wanting(1);
    config.listen_ip = ip("127.0.0.2");
    config.listen_port = 0;
    config.peer_port = Some(listener.local_addr().unwrap().port());
    config.initial_peers = vec![ip("127.0.0.1")];
    let mut net = task::spawn(NetworkController::with_config(config).await.unwrap());
    assert!(net.poll_next().is_pending());
    assert_eq!(net.stats().peers.out_connecting, 1);

    // Moves the clock, but the runtime has yet to look at its timers and sockets.
    assert!(task::spawn(tokio::time::advance(seconds(60))).poll().is_pending());
    assert!(net.poll_next().is_pending());
    tokio::task::yield_now().await;
    assert!(net.is_woken());
    assert!(net.poll_next().is_ready());
    assert_eq!(net.stats().counters.dials_timed_out, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_comes_out_late_is_as_good_as_its_poll() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    node.world.dial_err(ip(LOW), ErrorKind::ConnectionRefused.into());
    advance(seconds(60)).await;
    node.settle();
    assert_eq!((node.counters().dials_failed, node.counters().dials_timed_out), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn dials_that_are_answered_at_once_are_seen_in_the_same_poll() {
    let mut node = Node::knowing(wanting(2), &[]).await;
    node.world.auto_dial(|_| Some(Ok(())));
    drop(node.feedback_peer_list(PEERS.map(ip)));
    let (first, second) = (node.event(), node.event());
    assert_ne!(first.ip, second.ip);
    assert_eq!(node.world.dials_started(), 2);
}

#[tokio::test(start_paused = true)]
async fn dials_that_fail_at_once_end_when_every_peer_pauses() {
    let mut node = Node::knowing(wanting(2), &[]).await;
    node.world.auto_dial(|_| Some(Err(ErrorKind::ConnectionRefused.into())));
    node.list(&PEERS);
    assert_eq!(node.world.dials_started(), 4);
    assert_eq!(node.counters().dials_failed, 4);
}

#[tokio::test(start_paused = true)]
async fn peers_of_the_same_subnet_are_dialed_when_there_are_no_others() {
    let node = Node::knowing(wanting(3), &["10.0.0.1", "10.0.0.2", "10.0.0.3"]).await;
    assert_eq!(node.dialing().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_a_stagger_all_are_raced_at_once() {
    let mut config = wanting(1);
    config.dial_stagger = Duration::ZERO;
    let node = Node::knowing(config, &PEERS).await;
    assert_eq!(node.dialing().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_finds_no_way_in_its_first_poll_gives_its_token_back() {
    let peers = (0..1_500_u16).map(|number| {
        let [high, low] = number.to_be_bytes();
        IpAddr::from([61, high, low, 1])
    });
    for (error, dials) in [
        (ErrorKind::NetworkUnreachable, 1_000 + 32),
        (ErrorKind::ConnectionRefused, 32),
        (ErrorKind::TimedOut, 32),
    ] {
        let mut node = Node::knowing(wanting(8), &[]).await;
        node.world.auto_dial(move |_| Some(Err(error.into())));
        drop(node.feedback_peer_list(peers.clone()));
        node.settle_within(200);
        assert_eq!(node.world.dials_started(), dials, "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_given_back_does_not_come_back_with_time_as_well() {
    let mut config = wanting(2);
    config.max_simultaneous_outgoing_connection_attempts = 2;
    let mut node = Node::knowing(config, &[]).await;
    node.world
        .auto_dial(|_| Some(Err(ErrorKind::NetworkUnreachable.into())));
    node.list(&[LOW]);
    advance(seconds(1)).await;
    node.settle();
    node.world.auto_dial(|_| Some(Err(ErrorKind::ConnectionRefused.into())));
    drop(node.feedback_peer_list((1..=9).map(|number| IpAddr::from([61, number, 0, 1]))));
    node.settle();
    assert_eq!(node.world.dials_started(), 1 + 4);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_finds_no_way_later_has_cost_its_token() {
    let mut config = wanting(1);
    config.dial_stagger = seconds(3600);
    config.connect_timeout = seconds(3600);
    config.max_simultaneous_outgoing_connection_attempts = 1;
    let mut node = Node::knowing(config, &PEERS).await;
    for _ in 0..2 {
        let peer = node.dialing()[0].to_string();
        node.dial_err(&peer, ErrorKind::NetworkUnreachable);
    }
    assert_eq!(
        (node.world.dials_started(), node.dialing().len()),
        (2, 0),
        "the bucket is empty"
    );
}
