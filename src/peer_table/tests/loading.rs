//! The start: what is taken from the peer file and of the initial peers.

use super::world::{lone, proven, record, unproven};
use super::*;

#[test]
fn loading_keeps_the_bounds_and_is_no_change() {
    let mut config = config();
    config.max_idle_peers = 3;
    config.max_banned_peers = 2;
    let mut node = Node::new(config);
    let mut records = Vec::new();
    for host in 1..=9 {
        let mut peer = Peer::new(IpAddr::from([61, 1, 0, host]));
        if host > 4 {
            peer.status = PeerStatus::Banned;
            peer.last_failure = Some(start() - TimeDelta::hours(i64::from(host)));
        }
        records.push(record(peer));
    }
    node.load(records);
    node.settle();
    assert_eq!(node.table.stats().peers.idle, 3);
    let counters = node.table.stats().counters;
    assert_eq!(
        (counters.records_dropped, counters.peers_forgotten),
        (4, 0),
        "a peer and three bans"
    );
    assert_eq!(node.table.changes(), 0);
    assert!(
        node.status(ip("61.1.0.5")).is_some() && node.status(ip("61.1.0.6")).is_some(),
        "the latest bans"
    );
}

fn keeping(idle: usize) -> Node {
    let mut config = config();
    config.max_idle_peers = idle;
    config.target_outgoing_connections = 0;
    Node::new(config)
}

fn load(node: &mut Node, records: Vec<PeerRecord>, initial: &[IpAddr]) {
    node.table.load(node.now, records, initial);
    node.settle();
}

#[test]
fn of_too_many_records_the_best_are_loaded() {
    let proven = (0..5).map(|number| proven(lone(number)));
    let failed = (5..100).map(|number| {
        let mut peer = Peer::new(lone(number));
        (peer.failures_in_row, peer.last_failure) = (u32::try_from(number).unwrap(), Some(start()));
        record(peer)
    });
    let never_tried = (100..105).map(|number| unproven(lone(number)));
    let mut node = keeping(12);
    load(&mut node, failed.chain(never_tried).chain(proven).collect(), &[]);
    let kept: Vec<_> = (0..105).filter(|&number| node.status(lone(number)).is_some()).collect();
    assert_eq!(kept, [0, 1, 2, 3, 4, 5, 6, 100, 101, 102, 103, 104]);
    assert_eq!(node.table.stats().counters.records_dropped, 93);
    assert_eq!(node.table.changes(), 0);
}

#[test]
fn as_many_records_as_there_is_room_for_are_loaded() {
    let mut node = keeping(12);
    load(&mut node, (0..12).map(|number| unproven(lone(number))).collect(), &[]);
    assert_eq!(
        (
            node.table.stats().peers.idle,
            node.table.stats().counters.records_dropped
        ),
        (12, 0)
    );
}

#[test]
fn initial_peers_always_get_in() {
    let initial: Vec<_> = (500..510).map(lone).collect();
    let mut failed = Peer::new(lone(500));
    (failed.failures_in_row, failed.last_failure) = (20, Some(start()));
    // Each record is of a subnet of its own, and better than an initial peer that the file calls a failure.
    let records = || {
        (0..100)
            .map(|number| proven(lone(number)))
            .chain([record(failed.clone())])
    };
    let mut node = keeping(50);
    load(&mut node, records().collect(), &initial);
    assert!(initial.iter().all(|&ip| node.status(ip).is_some()));
    assert_eq!(node.table.stats().peers.idle, 50);
    assert_eq!(node.streak(lone(500)), 20, "the record of the file counts");
    assert_eq!(node.table.changes(), 9, "what the file does not say yet");
    // As many as there is room for, where that is too little.
    let mut node = keeping(4);
    load(&mut node, records().collect(), &initial);
    let kept = initial.iter().filter(|&&ip| node.status(ip).is_some()).count();
    assert_eq!((kept, node.table.stats().peers.idle), (4, 4));
}

#[test]
fn initial_peers_are_taken_once_each_and_if_they_are_peers() {
    let mut config = config();
    config.target_outgoing_connections = 0;
    let mut node = Node::at("60.100.0.1", config);
    let initial = [
        "60.1.0.1",
        "::ffff:60.1.0.1",
        "60.1.0.1",
        "60.100.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "10.0.0.1",
    ];
    load(&mut node, Vec::new(), &initial.map(ip));
    assert_eq!(node.table.stats().peers.idle, 2);
    assert!(node.status(ip("60.1.0.1")).is_some() && node.status(ip("10.0.0.1")).is_some());
}

#[test]
fn a_ban_of_the_file_keeps_an_initial_peer_banned() {
    let mut node = keeping(10);
    let mut banned = Peer::new(lone(1));
    (banned.status, banned.last_failure) = (PeerStatus::Banned, Some(start()));
    load(&mut node, vec![record(banned)], &[lone(1)]);
    assert_eq!(node.status(lone(1)), Some(PeerStatus::Banned));
}
