//! The order of peers.

use super::world::record;
use super::*;

#[test]
fn peers_stand_as_the_design_says() {
    let mut node = Node::new(config());
    let time = |hours: i64| Some(start() - TimeDelta::hours(hours));
    let mut records = Vec::new();
    let mut add = |text: &str, out, alive, failure, streak| {
        let mut peer = Peer::new(ip(text));
        (peer.last_alive_outgoing, peer.last_alive, peer.last_failure) = (out, alive, failure);
        peer.failures_in_row = streak;
        records.push(record(peer));
    };
    add("60.14.0.1", None, None, time(1), 2);
    add("60.13.0.1", None, None, time(2), 2);
    add("60.12.0.1", time(5), time(5), time(3), 1);
    add("60.11.0.1", None, None, None, 0);
    add("60.10.0.1", None, time(9), None, 0);
    add("60.9.0.1", None, time(1), time(2), 0);
    add("60.8.0.1", time(8), time(1), None, 0);
    add("60.7.0.1", time(7), time(7), time(1), 0);
    add("60.15.0.1", time(400), time(400), time(0), 10);
    node.load(records);
    node.inbound(ip("60.6.0.1"));
    node.report(ip("60.6.0.1"), Report::Alive);
    let nets: Vec<_> = node.table.good_peer_ips().map(|ip| ip.to_string()).collect();
    let expected = [6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map(|net| format!("60.{net}.0.1"));
    assert_eq!(nets, expected);
}

#[test]
fn times_in_the_future_are_kept_and_not_believed() {
    let mut node = Node::new(config());
    let met = |text: &str, alive: DateTime<Utc>| {
        let mut peer = Peer::new(ip(text));
        (peer.last_alive, peer.last_alive_outgoing) = (Some(alive), Some(alive));
        record(peer)
    };
    let year = TimeDelta::days(365);
    let future = start() + year;
    node.load(vec![met("60.1.0.1", future), met("60.2.0.1", start() - year)]);
    node.settle();
    assert_eq!(node.table.peer(ip("60.1.0.1")).unwrap().last_alive, Some(future));
    node.connect(ip("60.2.0.1"));
    node.wait(Duration::from_secs(1));
    node.report(ip("60.2.0.1"), Report::Alive);
    node.report(ip("60.2.0.1"), Report::Closed);
    assert_eq!(
        node.table.good_peer_ips().next(),
        Some(ip("60.2.0.1")),
        "alive later than the start"
    );
}

/// What was believed instead until then counts no more, though nothing else is stored now.
#[test]
fn a_time_from_the_future_may_come_true() {
    let mut node = Node::new(config());
    let failed_at = |number: u8, seconds| {
        let mut peer = Peer::new(IpAddr::from([60, number, 0, 1]));
        peer.last_failure = Some(start() + TimeDelta::seconds(seconds));
        record(peer)
    };
    node.load(vec![failed_at(1, 10), failed_at(2, 0)]);
    node.wait(Duration::from_secs(5));
    node.report(ip("60.2.0.1"), Report::Failed);
    let order = |node: &Node| node.table.good_peer_ips().collect::<Vec<_>>();
    assert_eq!(order(&node), [ip("60.1.0.1"), ip("60.2.0.1")]);
    node.wait(Duration::from_secs(5));
    let changes = node.table.changes();
    node.report(ip("60.1.0.1"), Report::Failed);
    assert_eq!(
        (node.table.changes(), order(&node)),
        (changes, vec![ip("60.2.0.1"), ip("60.1.0.1")])
    );
}
