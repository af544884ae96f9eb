//! Peers known only by connections of their own: which are remembered, and which others are told of.

use super::world::record;
use super::*;

const NEWCOMER: [u8; 4] = [60, 1, 0, 1];

/// No inbound connection is admitted, and none is dialed.
fn full() -> NetworkConfig {
    let mut config = config();
    config.max_incoming_connections = 0;
    config.target_outgoing_connections = 0;
    config
}

/// Asserts that the newcomer is refused; says whether it is remembered and told of.
fn remembers(node: &mut Node, newcomer: IpAddr) -> bool {
    assert!(matches!(node.inbound(newcomer), Verdict::Refuse(_)));
    assert_eq!(is_told(node, newcomer), node.status(newcomer).is_some());
    is_told(node, newcomer)
}

fn is_told(node: &Node, peer: IpAddr) -> bool {
    node.table.good_peer_ips().any(|ip| ip == peer)
}

#[test]
fn a_newcomer_beyond_any_cap_is_remembered_as_never_tried() {
    let caps: [fn(&mut NetworkConfig); 3] = [
        |config| config.max_incoming_connections = 1,
        |config| config.max_simultaneous_incoming_connection_attempts = 1,
        |config| config.max_incoming_per_subnet = Some(1),
    ];
    for cap in caps {
        let mut config = config();
        cap(&mut config);
        let mut node = Node::new(config);
        assert_eq!(node.inbound(ip("60.1.0.9")), Verdict::Admit);
        let changes = node.table.changes();
        assert!(remembers(&mut node, NEWCOMER.into()));
        assert!(node.table.changes() > changes, "it is stored");
        assert_eq!(node.table.peer(NEWCOMER.into()), Some(&Peer::new(NEWCOMER.into())));
        node.poll();
        assert_eq!(node.status(NEWCOMER.into()), Some(PeerStatus::OutConnecting));
    }
}

#[test]
fn a_newcomer_that_is_refused_takes_no_other_peers_room() {
    for (idle, is_remembered) in [(3, true), (2, false)] {
        let mut config = full();
        config.max_idle_peers = idle;
        let mut node = Node::new(config);
        node.list([ip("60.2.0.1"), ip("60.3.0.1")]);
        assert_eq!(remembers(&mut node, NEWCOMER.into()), is_remembered);
        assert!(is_told(&node, ip("60.2.0.1")) && is_told(&node, ip("60.3.0.1")));
    }
}

#[test]
fn of_a_globally_reachable_subnet_one_newcomer_is_remembered() {
    let lift: [fn(&mut Node); 3] = [
        |node| node.list([NEWCOMER.into()]),
        |node| {
            node.table.config.max_incoming_connections = 1;
            assert_eq!(node.inbound(NEWCOMER.into()), Verdict::Admit);
            node.report(NEWCOMER.into(), Report::Alive);
        },
        |node| {
            node.report(NEWCOMER.into(), Report::Ourselves);
            assert_eq!(node.status(NEWCOMER.into()), None);
        },
    ];
    for lift in lift {
        let mut node = Node::new(full());
        assert!(remembers(&mut node, NEWCOMER.into()));
        assert!(!remembers(&mut node, ip("60.1.0.255")));
        assert!(remembers(&mut node, ip("60.1.1.0")), "another /24");
        assert!(remembers(&mut node, ip("2a00:1:2::1")));
        assert!(!remembers(&mut node, ip("2a00:1:2:ffff::1")));
        assert!(remembers(&mut node, ip("2a00:1:3::1")), "another /48");
        assert!(remembers(&mut node, ip("10.0.0.1")));
        assert!(remembers(&mut node, ip("10.0.0.2")), "a LAN is not one place");
        // It failed: that makes no room for the next one of its network.
        node.report(NEWCOMER.into(), Report::Failed);
        assert!(!remembers(&mut node, ip("60.1.0.255")));
        lift(&mut node);
        assert!(remembers(&mut node, ip("60.1.0.255")));
    }
}

#[test]
fn an_own_address_is_not_remembered() {
    let mut node = Node::new(full());
    let us = node.us;
    assert!(!remembers(&mut node, us));
    node.report(NEWCOMER.into(), Report::Ourselves);
    assert!(!remembers(&mut node, NEWCOMER.into()));
    assert!(remembers(&mut node, ip("127.0.0.9")), "another node of this host");
    let mut node = Node::at("60.100.0.1", full());
    let us = node.us;
    assert!(!remembers(&mut node, us));
}

#[test]
fn a_peer_refused_for_another_reason_is_not_remembered() {
    let mut node = Node::new(full());
    assert!(matches!(
        node.inbound(ip("224.0.0.1")),
        Verdict::Refuse(Refusal::NotAPeer)
    ));
    node.report(NEWCOMER.into(), Report::Banned);
    assert_eq!(node.inbound(NEWCOMER.into()), Verdict::Refuse(Refusal::Banned));
    assert_eq!(node.status(NEWCOMER.into()), Some(PeerStatus::Banned));
    assert_eq!(node.table.peers().count(), 1);
}

/// A node to which the newcomer has connected, and of which nothing was heard since.
fn knocked() -> Node {
    let mut config = config();
    config.target_outgoing_connections = 0;
    let mut node = Node::new(config);
    assert_eq!(node.inbound(NEWCOMER.into()), Verdict::Admit);
    assert!(!is_told(&node, NEWCOMER.into()));
    assert!(node.table.sample_peer_ips(1).is_empty());
    node
}

#[test]
fn a_stranger_that_was_admitted_is_told_of_once_it_is_alive() {
    for end in [Report::Failed, Report::Closed] {
        let mut node = knocked();
        node.report(NEWCOMER.into(), end);
        assert!(!is_told(&node, NEWCOMER.into()));
        assert_eq!(node.inbound(NEWCOMER.into()), Verdict::Admit);
        node.report(NEWCOMER.into(), Report::Alive);
        assert!(is_told(&node, NEWCOMER.into()));
        node.report(NEWCOMER.into(), Report::Failed);
        assert!(is_told(&node, NEWCOMER.into()));
    }
}

#[test]
fn a_stranger_that_was_admitted_is_told_of_once_a_list_names_it() {
    for end in [None, Some(Report::Failed), Some(Report::Closed)] {
        let mut node = knocked();
        if let Some(end) = end {
            node.report(NEWCOMER.into(), end);
        }
        let before = (node.table.peer(NEWCOMER.into()).cloned(), node.table.changes());
        node.list([NEWCOMER.into()]);
        assert!(is_told(&node, NEWCOMER.into()));
        assert_eq!(node.table.peer(NEWCOMER.into()).cloned(), before.0, "nothing else");
        assert_eq!(node.table.changes(), before.1 + 1, "it is stored");
        node.list([NEWCOMER.into()]);
        assert_eq!(node.table.changes(), before.1 + 1, "once");
        // From now on it is a known peer, however it comes in.
        assert!(end.is_none() || node.inbound(NEWCOMER.into()) == Verdict::Admit);
        assert!(is_told(&node, NEWCOMER.into()));
    }
}

#[test]
fn a_ban_does_not_make_a_stranger_known() {
    let mut node = knocked();
    node.report(NEWCOMER.into(), Report::Banned);
    node.report(NEWCOMER.into(), Report::Unbanned);
    assert!(!is_told(&node, NEWCOMER.into()));
}

#[test]
fn a_peer_refused_and_then_admitted_has_knocked() {
    let mut node = Node::new(full());
    assert!(remembers(&mut node, NEWCOMER.into()));
    node.table.config.max_incoming_connections = 1;
    assert_eq!(node.inbound(NEWCOMER.into()), Verdict::Admit);
    assert!(!is_told(&node, NEWCOMER.into()));
}

#[test]
fn what_has_knocked_is_kept_over_a_restart() {
    let mut node = knocked();
    assert!(remembers_as_knocked(&node));
    node.report(NEWCOMER.into(), Report::Alive);
    assert!(!remembers_as_knocked(&node));
    for (initial, is_initial) in [(vec![], false), (vec![NEWCOMER.into()], true)] {
        let mut node = Node::new(config());
        let mut knocked = record(Peer::new(NEWCOMER.into()));
        knocked.knocked = true;
        node.table.load(node.now, vec![knocked], &initial);
        assert_eq!(is_told(&node, NEWCOMER.into()), is_initial);
        assert_eq!(node.table.changes(), 0, "loading is no change");
    }
}

fn remembers_as_knocked(node: &Node) -> bool {
    let mut stored = node.table.stored_from(0).flatten();
    stored.any(|stored| stored.peer.ip == IpAddr::from(NEWCOMER) && stored.knocked)
}
