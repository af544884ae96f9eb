//! Why a peer is dialed, or not: each reason, and both sides of it.

use std::io::ErrorKind;

use super::world::{lone, one_by_one, proven};
use super::*;
use crate::fault::DialError;

const SECOND: Duration = Duration::from_secs(1);

fn state(node: &Node, peer: IpAddr) -> DialState {
    node.table.dial_state(node.now, peer)
}

fn says(node: &Node, peer: IpAddr) -> String {
    state(node, peer).to_string()
}

#[test]
fn an_unknown_peer_is_said_to_be_so() {
    let node = Node::new(config());
    assert_eq!(state(&node, lone(1)), DialState::Unknown);
    assert_eq!(state(&node, ip("224.0.0.1")), DialState::Unknown);
    assert_eq!(says(&node, lone(1)), "it is not known");
}

#[test]
fn it_is_our_own() {
    let mut node = Node::at("60.100.0.1", config());
    assert_eq!(state(&node, ip("60.100.0.1")), DialState::Own);
    node.connect(lone(1));
    node.report(lone(1), Report::Ourselves);
    assert_eq!(state(&node, lone(1)), DialState::Own);
    assert_eq!(state(&node, ip("::ffff:60.1.0.1")), DialState::Own);
    assert!(says(&node, lone(1)).contains("own"));
}

#[test]
fn it_is_denied_or_banned() {
    let mut config = config();
    config.denied = vec![lone(1).into()];
    config.reserved_peers = vec![lone(3)];
    let mut node = Node::new(config);
    node.load(vec![proven(lone(1))]);
    assert_eq!(
        [lone(1), ip("::ffff:60.1.0.1")].map(|peer| state(&node, peer)),
        [const { DialState::Denied }; 2]
    );
    assert!(says(&node, lone(1)).contains("`denied`"));

    node.report(lone(2), Report::Banned);
    let since = Some(node.now.utc);
    let banned = |until, is_reserved| DialState::Banned {
        until,
        since,
        is_reserved,
    };
    assert_eq!(state(&node, lone(2)), banned(None, false));
    assert_eq!(
        says(&node, lone(2)),
        "it is not dialed: it is banned until the ban is lifted"
    );
    node.report(lone(3), Report::BannedFor(60 * SECOND));
    let until = node.now.utc + 60 * SECOND;
    node.wait(59 * SECOND);
    assert_eq!(state(&node, lone(3)), banned(Some(until), true));
    let text = says(&node, lone(3));
    assert!(
        text.starts_with("it is not dialed: it is reserved, and it is banned until 20"),
        "{text}"
    );
}

#[test]
fn it_is_dialed_and_connected() {
    let mut node = Node::new(config());
    node.list([lone(1)]);
    assert_eq!(state(&node, lone(1)), DialState::Due);
    node.poll();
    let since = node.now.utc;
    node.wait(SECOND);
    let dialing = DialState::Dialing {
        since,
        is_reserved: false,
    };
    assert_eq!(state(&node, lone(1)), dialing);
    node.dial_ok(lone(1));
    assert_eq!(state(&node, lone(1)), DialState::Connected);
    node.inbound(lone(2));
    assert_eq!(state(&node, lone(2)), DialState::Connected);
}

#[test]
fn it_pauses_after_failures_and_says_how_it_failed() {
    let mut node = Node::new(config());
    node.list([lone(1)]);
    node.poll();
    let id = node.dial_of(lone(1));
    node.dials.clear();
    let error = std::io::Error::from(ErrorKind::ConnectionRefused);
    node.table.on_dial_failed(node.now, id, DialError::of(&error, false));
    node.settle();
    let DialState::Paused {
        until,
        failures_in_row,
        last_failure,
        last_error,
        is_reserved,
    } = state(&node, lone(1))
    else {
        panic!("{:?}", state(&node, lone(1)));
    };
    let left = until - node.now.utc;
    assert!(left > TimeDelta::seconds(3) && left < TimeDelta::seconds(7), "{left}");
    assert_eq!(
        (failures_in_row, last_failure),
        (1, Some(node.now.utc)),
        "in an outage, too"
    );
    assert_eq!((last_error, is_reserved), (Some(ErrorKind::ConnectionRefused), false));
    let text = says(&node, lone(1));
    assert!(text.ends_with(" after 1 failure (connection refused)"), "{text}");

    node.report(lone(1), Report::Reserve);
    assert!(says(&node, lone(1)).starts_with("it is reserved, and it is left alone until 20"));
    node.wait(7 * SECOND);
    assert_eq!(
        state(&node, lone(1)),
        DialState::Due,
        "also before the next poll ends the pause"
    );
}

#[test]
fn it_pauses_after_a_connection_that_was_closed() {
    let mut node = Node::new(config());
    node.connect(lone(1));
    node.report(lone(1), Report::Closed);
    let text = says(&node, lone(1));
    assert!(
        text.starts_with("it is left alone until 20") && text.ends_with('Z'),
        "{text}"
    );
}

#[test]
fn it_is_set_aside_where_there_is_no_way() {
    let mut node = Node::new(config());
    node.list([lone(1)]);
    for failures in 1..=2 {
        node.poll();
        node.dial_err(lone(1), DialFault::Unroutable { at_once: true });
        let is_set_aside =
            matches!(state(&node, lone(1)), DialState::SetAside { failures_in_row, .. } if failures_in_row == failures);
        assert!(is_set_aside);
        node.wait(60 * SECOND);
    }
}

#[test]
fn the_target_is_met() {
    let mut node = Node::new(one_by_one());
    node.connect(lone(1));
    node.list([lone(2)]);
    assert_eq!(state(&node, lone(2)), DialState::TargetMet);
    node.report(lone(1), Report::Closed);
    assert_eq!(state(&node, lone(2)), DialState::Due);
    node.report(lone(3), Report::Reserve);
    assert_eq!(state(&node, lone(3)), DialState::Due);
}

#[test]
fn its_subnet_is_taken() {
    let mut node = Node::new(config());
    let [taker, second, third] = [1, 2, 3].map(|host| IpAddr::from([60, 1, 0, host]));
    node.connect(taker);
    node.list([second, lone(7)]);
    let taken = DialState::SubnetTaken { by: taker };
    assert_eq!(state(&node, second), taken, "the other subnet goes first");
    assert_eq!(state(&node, lone(7)), DialState::Due);
    node.poll();
    assert_eq!(
        state(&node, second),
        DialState::Dialing {
            since: node.now.utc,
            is_reserved: false
        }
    );
    node.list([third]);
    assert_eq!(state(&node, third), taken, "10 s between dials to taken subnets");
    node.dial_err(second, DialFault::Peer);
    node.wait(10 * SECOND);
    assert_eq!(state(&node, third), DialState::Due);
    assert!(taken.to_string().contains("60.1.0.1"));
}

#[test]
fn attempts_are_full() {
    let mut config = one_by_one();
    config.target_outgoing_connections = 2;
    let mut node = Node::new(config);
    node.list([lone(1)]);
    node.poll();
    node.list([lone(2)]);
    node.report(lone(3), Report::Reserve);
    node.report(lone(4), Report::Dial);
    assert_eq!(
        [2, 3, 4].map(|number| state(&node, lone(number))),
        [const { DialState::AttemptsFull }; 3]
    );
    node.dial_err(lone(1), DialFault::Peer);
    assert_eq!(
        [2, 3, 4].map(|number| state(&node, lone(number))),
        [const { DialState::Due }; 3]
    );
}

#[test]
fn dials_are_paced() {
    let mut config = config();
    config.target_outgoing_connections = 1;
    let mut node = Node::new(config);
    node.list([lone(1)]);
    node.poll();
    node.list([lone(2)]);
    let until = node.now.utc + Duration::from_millis(250);
    assert_eq!(state(&node, lone(2)), DialState::Paced { until });
    node.report(lone(3), Report::Dial);
    assert_eq!(state(&node, lone(3)), DialState::Due, "dials by hand are not");
    node.wait(Duration::from_millis(250));
    assert_eq!(state(&node, lone(2)), DialState::Due);
}

#[test]
fn this_host_pauses() {
    let mut node = Node::new(config());
    node.list([lone(1)]);
    node.poll();
    node.dial_err(lone(1), DialFault::Host);
    let until = node.now.utc + Duration::from_millis(100);
    assert_eq!(state(&node, lone(1)), DialState::HostPaused { until });
    node.report(lone(2), Report::Dial);
    assert_eq!(state(&node, lone(2)), DialState::HostPaused { until });
    node.wait(Duration::from_millis(100));
    assert_eq!(state(&node, lone(1)), DialState::Due);
}
