//! Two nodes that dial each other: both ends must keep the same one of the two connections, the lower address's. This is
//! about one end at a time; both are in `interleavings`.

use PeerStatus::{Banned, Idle, InAlive, InHandshaking, OutAlive, OutConnecting, OutHandshaking};

use super::*;

const OTHER: &str = "61.1.0.1";

/// We are the lower end and dial, the other end's dial is parked.
async fn lower_parking() -> (Node, IncomingProbe) {
    let mut node = Node::knowing(wanting(1), &[HIGH]).await;
    let probe = node.parks(HIGH);
    assert_eq!(node.status(HIGH), Some(OutConnecting));
    (node, probe)
}

/// We are the higher end and connected, the other end's dial is parked.
async fn higher_parking(status: PeerStatus) -> (Node, IncomingProbe) {
    let (mut node, _socket) = Node::with(LOW, Some(status), wanting(1)).await;
    let probe = node.parks(LOW);
    assert_eq!(node.status(LOW), Some(status));
    (node, probe)
}

#[tokio::test(start_paused = true)]
async fn the_lower_end_refuses_the_parked_one_when_its_dial_succeeds() {
    let (mut node, probe) = lower_parking().await;
    let _socket = node.dial_ok(HIGH);
    assert_eq!(probe.fate(), IncomingFate::Refused);
    assert_eq!(node.status(HIGH), Some(OutHandshaking));
    assert_eq!((node.counters().inbound_parked, node.counters().refused_parked), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_lower_end_admits_the_parked_one_when_its_dial_fails() {
    for error in [
        ErrorKind::ConnectionReset,
        ErrorKind::NetworkUnreachable,
        ErrorKind::AddrInUse,
    ] {
        let (mut node, probe) = lower_parking().await;
        node.world.dial_err(ip(HIGH), error.into());
        let candidate = node.event();
        assert_eq!((candidate.ip, candidate.is_outgoing), (ip(HIGH), false));
        assert_eq!(probe.fate(), IncomingFate::Admitted);
        assert_eq!(node.status(HIGH), Some(InHandshaking));
    }
}

#[tokio::test(start_paused = true)]
async fn the_lower_end_admits_the_parked_one_when_its_target_is_met() {
    let mut node = Node::knowing(wanting(1), &[HIGH, OTHER]).await;
    advance(millis(251)).await;
    node.no_event();
    let probe = node.parks(HIGH);
    node.world.dial_ok(ip(OTHER));
    let (first, second) = (node.event(), node.event());
    assert_eq!((first.ip, second.ip), (ip(OTHER), ip(HIGH)));
    assert_eq!(probe.fate(), IncomingFate::Admitted);
    assert_eq!(node.world.fates(ip(HIGH)), [DialFate::CalledOff]);
}

#[tokio::test(start_paused = true)]
async fn the_lower_end_refuses_beside_a_connection_of_its_own() {
    for status in [OutHandshaking, OutAlive] {
        let (mut node, _socket) = Node::with(HIGH, Some(status), wanting(1)).await;
        node.refuses(HIGH);
        assert_eq!(node.counters().refused_connected, 1);
    }
}

/// Until its dial has settled, what came in may be the other end of that.
#[tokio::test(start_paused = true)]
async fn the_higher_end_drops_its_dial_once_it_has_settled() {
    for outcome in [None, Some(ErrorKind::ConnectionReset)] {
        let mut node = Node::knowing(wanting(1), &[LOW]).await;
        let probe = node.parks(LOW);
        assert_eq!(node.status(LOW), Some(OutConnecting));
        match outcome {
            None => drop(node.world.dial_ok(ip(LOW))),
            Some(error) => node.world.dial_err(ip(LOW), error.into()),
        }
        let candidate = node.poll().map(|event| event.map(Candidate::from));
        assert!(matches!(
            candidate,
            Poll::Ready(Some(Candidate { is_outgoing: false, .. }))
        ));
        assert_eq!(probe.fate(), IncomingFate::Admitted);
        assert_eq!(node.status(LOW), Some(InHandshaking));
        assert_eq!((node.of(LOW).last_failure, node.counters().dials_called_off), (None, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_higher_end_admits_the_parked_one_when_its_dial_times_out() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    let probe = node.parks(LOW);
    advance(seconds(5) + millis(1)).await;
    assert!(!node.event().is_outgoing);
    assert_eq!(probe.fate(), IncomingFate::Admitted);
    assert_eq!(node.of(LOW).last_failure, None);
}

#[tokio::test(start_paused = true)]
async fn the_higher_end_keeps_its_dial_where_the_parked_one_has_died() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    let probe = node.parks(LOW);
    probe.kill(ErrorKind::ConnectionReset);
    let _socket = node.dial_ok(LOW);
    assert_eq!(probe.fate(), IncomingFate::Dropped);
    assert_eq!(
        (node.status(LOW), node.counters().inbound_dead),
        (Some(OutHandshaking), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn the_higher_end_admits_what_came_in_before_its_dial_is_handed_over() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    let dialed = node.world.dial_ok(ip(LOW));
    let probe = node.connects_from(SocketAddr::new(ip(LOW), 9), US);
    let candidate = node.event();
    assert_eq!((candidate.ip, candidate.is_outgoing), (ip(LOW), false));
    assert_eq!(probe.fate(), IncomingFate::Admitted);
    assert!(!dialed.is_open());
    assert_eq!(
        (node.status(LOW), node.of(LOW).last_failure),
        (Some(InHandshaking), None)
    );
    assert_eq!(node.counters().dials_called_off, 1);
    assert!(node.events.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_lower_end_refuses_what_came_in_before_its_dial_is_handed_over() {
    let mut node = Node::knowing(wanting(1), &[HIGH]).await;
    node.world.dial_ok(ip(HIGH));
    let probe = node.connects_from(SocketAddr::new(ip(HIGH), 9), US);
    let candidate = node.poll().map(|event| event.map(Candidate::from));
    assert!(matches!(
        candidate,
        Poll::Ready(Some(Candidate { is_outgoing: true, .. }))
    ));
    assert_eq!(probe.fate(), IncomingFate::Refused);
}

#[tokio::test(start_paused = true)]
async fn a_dial_goes_before_what_came_in_first_which_is_refused_at_once_or_admitted_in_its_turn() {
    let mut config = wanting(1);
    config.max_incoming_connections = 2;
    let mut node = Node::knowing(config, &[LOW]).await;
    node.ban("90.9.0.1");
    let _first = node.admits("90.1.0.1");
    node.world.dial_ok(ip(LOW));
    let [banned, admitted, banned_meanwhile, beyond] = ["90.9.0.1", "90.2.0.1", "90.3.0.1", "90.4.0.1"]
        .map(|peer| node.connects_from(SocketAddr::new(ip(peer), 9), US));
    let candidate = node.poll().map(|event| event.map(Candidate::from));
    assert!(matches!(
        candidate,
        Poll::Ready(Some(Candidate { is_outgoing: true, .. }))
    ));
    assert_eq!(banned.fate(), IncomingFate::Refused);
    assert_eq!(
        node.stats().incoming_connections.used,
        1,
        "nothing is admitted before its event"
    );
    drop(node.feedback_peer_banned(ip("90.3.0.1")));
    assert_eq!(node.event().ip, ip("90.2.0.1"));
    assert_eq!(admitted.fate(), IncomingFate::Admitted);
    assert_eq!(banned_meanwhile.fate(), IncomingFate::Refused);
    assert_eq!(beyond.fate(), IncomingFate::Refused);
    assert_eq!(node.counters().refused_incoming_full, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_looks_at_so_many_that_came_in_and_closing_refuses_them() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    node.world.dial_ok(ip(LOW));
    let probes: Vec<_> = (1..=40)
        .map(|number| node.connects_from(SocketAddr::new(IpAddr::from([90, number, 0, 1]), 9), US))
        .collect();
    assert!(node.poll().is_ready());
    assert_eq!((node.engine.accepted.len(), node.world.accepts_waiting()), (32, 8));
    node.close().await.unwrap();
    assert!(probes.iter().all(IncomingProbe::is_refused));
}

#[tokio::test(start_paused = true)]
async fn the_higher_end_admits_the_parked_one_when_its_own_connection_ends() {
    for status in [OutHandshaking, OutAlive] {
        let ends: [fn(&mut Node); 2] = [
            |node| drop(node.feedback_peer_failed(ip(LOW))),
            |node| drop(node.feedback_peer_closed(ip(LOW))),
        ];
        for end in ends {
            let (mut node, probe) = higher_parking(status).await;
            end(&mut node);
            assert_eq!(node.status(LOW), Some(Idle), "until the next poll");
            let candidate = node.event();
            assert_eq!((candidate.ip, candidate.is_outgoing), (ip(LOW), false));
            assert_eq!(probe.fate(), IncomingFate::Admitted);
            assert_eq!(node.status(LOW), Some(InHandshaking));
            assert_eq!(node.of(LOW).failures_in_row, 0, "the other end just kept its own");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_higher_end_admits_the_parked_one_when_its_handshake_times_out() {
    let (mut node, _socket) = Node::with(LOW, Some(OutHandshaking), wanting(1)).await;
    advance(seconds(8)).await;
    let probe = node.parks(LOW);
    advance(seconds(3)).await;
    assert!(!node.event().is_outgoing);
    assert_eq!(probe.fate(), IncomingFate::Admitted);
    assert_eq!(node.of(LOW).failures_in_row, 0);
}

#[tokio::test(start_paused = true)]
async fn the_losing_connection_can_be_ended_by_its_lease() {
    let (mut node, _socket) = Node::with(LOW, Some(OutAlive), wanting(1)).await;
    let lease = node.lease(ip(LOW)).unwrap();
    let _probe = node.parks(LOW);
    drop(lease);
    assert!(!node.event().is_outgoing);
    let lease = node.lease(ip(LOW)).unwrap();
    lease.alive();
    node.no_event();
    assert_eq!(node.status(LOW), Some(InAlive));
}

#[tokio::test(start_paused = true)]
async fn a_parked_socket_that_died_is_dropped_and_not_promoted() {
    let (mut lower, probe) = lower_parking().await;
    probe.kill(ErrorKind::ConnectionReset);
    lower.dial_err(HIGH, ErrorKind::ConnectionRefused);
    assert_eq!(probe.fate(), IncomingFate::Dropped);
    assert_eq!((lower.status(HIGH), lower.counters().inbound_dead), (Some(Idle), 1));

    let (mut higher, probe) = higher_parking(OutAlive).await;
    probe.kill(ErrorKind::ConnectionReset);
    higher.end(LOW);
    assert_eq!(probe.fate(), IncomingFate::Dropped);
    assert_eq!((higher.status(LOW), higher.counters().inbound_dead), (Some(Idle), 1));
}

#[tokio::test(start_paused = true)]
async fn a_parked_socket_that_cannot_be_admitted_is_an_accept_error() {
    let (mut node, probe) = higher_parking(OutAlive).await;
    probe.fail_admit(ErrorKind::OutOfMemory.into());
    node.end(LOW);
    assert_eq!(probe.fate(), IncomingFate::AdmitFailed);
    assert_eq!(node.status(LOW), Some(Idle));
    assert_eq!(node.counters().accepts_out_of_memory, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_socket_decides_no_crossing() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    let probe = node.connects(LOW);
    probe.kill(ErrorKind::ConnectionReset);
    node.no_event();
    assert_eq!(node.world.fates(ip(LOW)), [DialFate::UnderWay]);
    assert_eq!(node.status(LOW), Some(OutConnecting));
}

#[tokio::test(start_paused = true)]
async fn a_second_socket_beside_a_parked_one_is_refused() {
    let (mut node, first) = lower_parking().await;
    node.refuses(HIGH);
    assert_eq!(first.fate(), IncomingFate::Pending);
    let (mut node, first) = higher_parking(OutAlive).await;
    node.refuses(LOW);
    assert_eq!(first.fate(), IncomingFate::Pending);
}

#[tokio::test(start_paused = true)]
async fn a_parked_socket_is_refused_after_the_connect_timeout() {
    let (mut node, probe) = higher_parking(OutAlive).await;
    advance(seconds(5) - millis(1)).await;
    node.rests();
    assert_eq!(probe.fate(), IncomingFate::Pending);
    advance(millis(2)).await;
    node.no_event();
    assert_eq!(probe.fate(), IncomingFate::Refused);
    assert_eq!(node.status(LOW), Some(OutAlive));
    assert_eq!(node.world.live_sockets(), 0, "ours was dropped by the test");
}

#[tokio::test(start_paused = true)]
async fn the_higher_end_refuses_beside_a_connection_that_is_alive_for_longer_than_the_connect_timeout() {
    for (alive_for, is_parked) in [(5_000, true), (5_001, false)] {
        // The handshake takes its time, and only what follows it counts.
        let (mut node, _socket) = Node::with(LOW, Some(OutHandshaking), wanting(1)).await;
        advance(seconds(8)).await;
        node.settle();
        node.alive(LOW);
        advance(millis(alive_for)).await;
        node.settle();
        if is_parked {
            node.parks(LOW);
        } else {
            node.refuses(LOW);
            assert_eq!(node.counters().refused_connected, 1);
        }
        assert_eq!(node.status(LOW), Some(OutAlive));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ban_refuses_the_parked_one_and_calls_our_dial_off_at_once() {
    let (mut node, probe) = lower_parking().await;
    drop(node.feedback_peer_banned(ip(HIGH)));
    assert_eq!(probe.fate(), IncomingFate::Refused, "before any poll");
    node.no_event();
    assert_eq!(node.world.fates(ip(HIGH)), [DialFate::CalledOff]);
}

#[tokio::test(start_paused = true)]
async fn a_ban_refuses_the_parked_one_of_a_connected_peer() {
    for status in [OutHandshaking, OutAlive] {
        let (mut node, probe) = higher_parking(status).await;
        node.ban(LOW);
        assert_eq!(probe.fate(), IncomingFate::Refused);
        assert_eq!(node.status(LOW), Some(Banned));
        assert_eq!(node.stats().incoming_attempts.used, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_drops_the_parked_one() {
    let (mut node, probe) = lower_parking().await;
    node.close().await.unwrap();
    assert!(probe.is_refused());
    assert_eq!(node.world.fates(ip(HIGH)), [DialFate::CalledOff]);
    let (mut node, probe) = higher_parking(OutAlive).await;
    node.close().await.unwrap();
    assert!(probe.is_refused());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_kept_alive_outlasts_the_parked_one() {
    let (mut node, probe) = higher_parking(OutHandshaking).await;
    node.alive(LOW);
    assert_eq!(probe.fate(), IncomingFate::Pending);
    advance(seconds(6)).await;
    node.no_event();
    assert_eq!(probe.fate(), IncomingFate::Refused);
    assert_eq!(node.status(LOW), Some(OutAlive));
}

/// A foreign node that keeps a second connection and tries it again and again.
#[tokio::test(start_paused = true)]
async fn a_second_connection_beside_one_that_is_long_alive_takes_no_slot() {
    for peer in [LOW, HIGH] {
        let (mut node, _socket) = Node::with(peer, Some(OutAlive), wanting(1)).await;
        for round in 1..=100 {
            advance(seconds(6)).await;
            node.settle();
            node.refuses(peer);
            assert_eq!(node.counters().refused_connected, round);
        }
        assert_eq!((node.counters().inbound_parked, node.status(peer)), (0, Some(OutAlive)));
    }
}
