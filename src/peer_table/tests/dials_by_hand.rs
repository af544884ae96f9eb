//! Dials by hand.

use super::world::{dialed, lone, one_by_one, without_target};
use super::*;

#[test]
fn a_dial_by_hand_needs_no_target_no_pause_and_no_record() {
    let mut node = Node::new(without_target());
    node.report(lone(1), Report::Dial);
    node.poll();
    assert_eq!(dialed(&node), [lone(1)]);
    node.dial_err(lone(1), DialFault::Peer);
    node.poll();
    assert!(node.dials.is_empty(), "once");
    node.report(lone(1), Report::Dial);
    node.poll();
    assert_eq!(dialed(&node), [lone(1)], "whatever its pause");
    node.dial_ok(lone(1));
    node.report(lone(1), Report::Alive);
    assert_eq!(node.table.stats().outgoing_connections.used, 0);
    assert_eq!(node.table.stats().counters.feedback_stale, 0);
}

#[test]
fn dials_by_hand_go_first_and_wait_for_an_attempt() {
    let mut config = one_by_one();
    config.reserved_peers = vec![lone(1)];
    let mut node = Node::new(config);
    node.load(Vec::new());
    node.list([lone(2)]);
    node.report(lone(3), Report::Dial);
    node.report(lone(4), Report::Dial);
    for expected in [lone(3), lone(4), lone(1), lone(2)] {
        node.poll();
        assert_eq!(dialed(&node), [expected]);
        node.dial_err(expected, DialFault::Peer);
    }
}

#[test]
fn a_dial_by_hand_that_makes_no_sense_is_stale() {
    let mut config = without_target();
    config.denied = vec![lone(1).into()];
    let mut node = Node::new(config);
    node.report(lone(2), Report::Banned);
    node.report(lone(3), Report::Ourselves);
    node.inbound(lone(4));
    node.report(lone(5), Report::Dial);
    node.poll();
    let senseless = [
        lone(1),
        lone(2),
        lone(3),
        lone(4),
        lone(5),
        ip("0.0.0.0"),
        ip("255.255.255.255"),
    ];
    for (stale, peer) in (1..).zip(senseless) {
        node.report(peer, Report::Dial);
        assert_eq!(node.table.stats().counters.feedback_stale, stale, "{peer}");
    }
    node.poll();
    assert_eq!(dialed(&node), [lone(5)]);
}

#[test]
fn a_wanted_dial_that_has_lost_its_sense_is_dropped() {
    let mut config = without_target();
    config.max_simultaneous_outgoing_connection_attempts = 1;
    let mut node = Node::new(config);
    (1..=4).for_each(|number| node.report(lone(number), Report::Dial));
    node.report(lone(2), Report::Dial);
    assert_eq!(node.table.stats().counters.feedback_stale, 1, "it is wanted already");
    node.poll();
    node.report(lone(2), Report::Banned);
    node.inbound(lone(3));
    node.dial_err(lone(1), DialFault::Peer);
    node.poll();
    assert_eq!(dialed(&node), [lone(4)]);
    assert_eq!(node.table.stats().counters.feedback_stale, 3);
}

#[test]
fn no_more_dials_are_wanted_than_there_is_room_for() {
    let mut config = without_target();
    (
        config.max_idle_peers,
        config.max_simultaneous_outgoing_connection_attempts,
    ) = (3, 2);
    let mut node = Node::new(config);
    (1..=4).for_each(|number| node.report(lone(number), Report::Dial));
    assert_eq!(node.table.stats().counters.feedback_stale, 1);
    node.poll();
    node.report(lone(4), Report::Dial);
    assert_eq!(node.table.stats().counters.feedback_stale, 1);
}
