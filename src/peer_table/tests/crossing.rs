//! Dials that cross: both ends keep the same one of two connections.

use super::*;

fn dialing(peer: IpAddr) -> Node {
    let mut node = Node::new(config());
    node.list([peer]);
    node.poll();
    assert_eq!(node.status(peer), Some(PeerStatus::OutConnecting));
    node
}

#[test]
fn the_lower_end_parks_while_it_dials_and_refuses_when_its_dial_succeeds() {
    let peer = IpAddr::from(ABOVE);
    let mut node = dialing(peer);
    assert!(matches!(node.inbound(peer), Verdict::Park(_)));
    assert_eq!(node.inbound(peer), Verdict::Refuse(Refusal::Connected), "a second one");
    node.dial_ok(peer);
    assert!(node.parked.is_empty());
    assert_eq!(node.status(peer), Some(PeerStatus::OutHandshaking));
    assert_eq!(node.inbound(peer), Verdict::Refuse(Refusal::Connected));
}

#[test]
fn the_lower_end_admits_the_parked_one_when_its_dial_fails() {
    let peer = IpAddr::from(ABOVE);
    let mut node = dialing(peer);
    node.inbound(peer);
    node.dial_err(peer, DialFault::Peer);
    assert_eq!(node.status(peer), Some(PeerStatus::Idle));
    node.poll();
    assert_eq!(node.status(peer), Some(PeerStatus::InHandshaking));
}

#[test]
fn a_late_poll_does_not_refuse_the_parked_one_before_the_dial_has_timed_out() {
    let peer = IpAddr::from(ABOVE);
    let mut node = dialing(peer);
    node.inbound(peer);
    node.wait(Duration::from_secs(60));
    node.table.on_time(node.now);
    assert_eq!(node.parked.len(), 1);
    node.poll();
    assert_eq!(node.table.stats().counters.dials_timed_out, 1);
    assert_eq!(node.status(peer), Some(PeerStatus::InHandshaking));
}

#[test]
fn the_lower_end_admits_the_parked_one_when_its_target_is_met_meanwhile() {
    let (peer, other) = (IpAddr::from(ABOVE), ip("60.3.0.1"));
    let mut config = config();
    config.target_outgoing_connections = 1;
    let mut node = Node::new(config);
    node.list([peer, other]);
    node.poll();
    node.wait(Duration::from_secs(1));
    node.poll();
    node.inbound(peer);
    node.dial_ok(other);
    assert!(node.dials.is_empty(), "called off");
    node.poll();
    assert_eq!(node.status(peer), Some(PeerStatus::InHandshaking));
}

/// What came in may be the other end of the dial, which only its port will tell.
#[test]
fn the_higher_end_drops_its_dial_for_the_parked_one_however_that_comes_out() {
    let outcomes: [fn(&mut Node, IpAddr); 3] = [
        Node::dial_ok,
        |node, peer| node.dial_err(peer, DialFault::Peer),
        |node, peer| node.dial_err(peer, DialFault::TimedOut),
    ];
    for outcome in outcomes {
        let peer = IpAddr::from(BELOW);
        let mut node = dialing(peer);
        let dial = node.dial_of(peer);
        assert_eq!(node.inbound(peer), Verdict::Park(Some(dial)));
        outcome(&mut node, peer);
        assert_eq!(node.status(peer), Some(PeerStatus::Idle), "until the next poll");
        node.poll();
        assert_eq!(node.status(peer), Some(PeerStatus::InHandshaking));
        let peer = node.table.peer(peer).unwrap();
        assert_eq!((peer.last_failure, peer.failures_in_row), (None, 0));
        let counters = node.table.stats().counters;
        assert_eq!((counters.dials_called_off, counters.dials_succeeded), (1, 0));
    }
}

#[test]
fn the_higher_end_keeps_its_dial_beside_a_parked_one_that_died() {
    let peer = IpAddr::from(BELOW);
    let mut node = dialing(peer);
    node.inbound(peer);
    let rival = node.table.rival_of(node.dial_of(peer)).unwrap();
    node.table.on_parked_died(rival);
    node.parked.remove(&rival);
    node.dial_ok(peer);
    assert_eq!(node.status(peer), Some(PeerStatus::OutHandshaking));
}

#[test]
fn the_higher_end_parks_beside_its_connection_and_records_no_failure_when_that_ends() {
    let peer = IpAddr::from(BELOW);
    let mut node = dialing(peer);
    node.dial_ok(peer);
    assert!(matches!(node.inbound(peer), Verdict::Park(_)));
    node.report(peer, Report::Failed);
    assert_eq!(node.streak(peer), 0);
    node.poll();
    assert_eq!(node.status(peer), Some(PeerStatus::InHandshaking));
    node.report(peer, Report::Alive);
    assert_eq!(node.status(peer), Some(PeerStatus::InAlive));
}

#[test]
fn a_parked_socket_is_dropped_after_the_connect_timeout() {
    let peer = IpAddr::from(BELOW);
    let mut node = Node::new(config());
    node.connect(peer);
    node.inbound(peer);
    node.wait(Duration::from_millis(4_999));
    node.poll();
    assert_eq!(node.parked.len(), 1);
    node.wait(Duration::from_millis(1));
    node.poll();
    assert!(node.parked.is_empty());
    assert_eq!(node.status(peer), Some(PeerStatus::OutAlive));
}

#[test]
fn a_ban_refuses_the_parked_one() {
    for peer in [IpAddr::from(ABOVE), IpAddr::from(BELOW)] {
        let mut node = dialing(peer);
        if peer == IpAddr::from(BELOW) {
            node.dial_ok(peer);
        }
        node.inbound(peer);
        assert_eq!(node.parked.len(), 1);
        node.report(peer, Report::Banned);
        assert!(node.parked.is_empty() && node.dials.is_empty() && node.connections.is_empty());
        node.poll();
        assert_eq!(node.status(peer), Some(PeerStatus::Banned));
    }
}

#[test]
fn a_cap_leaves_our_dial_alone() {
    let (peer, other) = (IpAddr::from(BELOW), ip("60.3.0.1"));
    let mut config = config();
    config.max_incoming_connections = 1;
    let mut node = Node::new(config);
    node.inbound(other);
    node.list([peer]);
    node.poll();
    assert_eq!(node.inbound(peer), Verdict::Refuse(Refusal::IncomingFull));
    assert_eq!(node.status(peer), Some(PeerStatus::OutConnecting));
}

#[test]
fn the_higher_end_refuses_a_second_connection_beside_one_that_has_been_alive_for_long() {
    let limit = config().connect_timeout;
    let peer = IpAddr::from(BELOW);
    for (alive, expected) in [
        (limit, Verdict::Park(None)),
        (limit + Duration::from_nanos(1), Verdict::Refuse(Refusal::Connected)),
    ] {
        let mut node = Node::new(config());
        node.connect(peer);
        node.wait(alive);
        node.report(peer, Report::Alive);
        assert_eq!(node.inbound(peer), expected, "alive for {alive:?}");
        assert_eq!(
            node.table.stats().incoming_attempts.used,
            usize::from(expected == Verdict::Park(None))
        );
    }
}

#[test]
fn the_lower_end_refuses_whatever_comes_beside_its_connection() {
    let peer = IpAddr::from(ABOVE);
    let mut node = Node::new(config());
    node.connect(peer);
    for _ in 0..3 {
        assert_eq!(node.inbound(peer), Verdict::Refuse(Refusal::Connected));
        node.wait(Duration::from_secs(60));
    }
}
