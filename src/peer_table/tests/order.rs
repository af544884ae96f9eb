//! The order of peers.

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
        records.push(PeerRecord {
            peer,
            banned_at: None,
            other: None,
        });
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
