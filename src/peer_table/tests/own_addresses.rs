//! Dials that reach this node itself, its own addresses in the peer file, and clients of this host.

use super::world::record;
use super::*;

fn dialing(us: &str, listen: &str) -> (Node, IpAddr) {
    let us = ip(us);
    let mut node = Node::at(listen, config());
    node.us = us;
    node.list([us]);
    node.poll();
    (node, us)
}

fn reach(node: &mut Node, peer: IpAddr, local: SocketAddr) {
    let id = node.dial_of(peer);
    node.dials.remove(&id);
    assert_eq!(node.table.on_dialed(node.now, id, local), Reached::Ourselves);
    node.settle();
}

#[test]
fn a_dial_that_reaches_this_node_after_its_inbound_end_came_in() {
    let (mut node, us) = dialing("60.100.0.1", "0.0.0.0");
    let local = at(us, 40_001);
    assert!(matches!(node.inbound_at(local, true), Verdict::Park(_)));
    reach(&mut node, us, local);
    assert!(node.parked.is_empty());
    assert_eq!(node.status(us), None);
    node.list([us]);
    assert_eq!(node.status(us), None, "never listed again");
}

#[test]
fn a_dial_that_reaches_this_node_before_its_inbound_end_comes_in() {
    let (mut node, us) = dialing("60.100.0.1", "::");
    let local = at(us, 40_001);
    reach(&mut node, us, local);
    assert_eq!(node.inbound_at(local, true), Verdict::Refuse(Refusal::Ourselves));
    assert_eq!(node.inbound_at(at(us, 40_002), true), Verdict::Admit, "a local client");
    node.report(us, Report::Alive);
    assert_eq!(node.table.good_peer_ips().count(), 0);
    assert_eq!(node.table.stored_from(0).flatten().count(), 0);
    node.report(us, Report::Closed);
    assert_eq!(node.status(us), None, "forgotten afterwards");
}

#[test]
fn an_inbound_end_is_expected_for_the_connect_timeout() {
    let (mut node, us) = dialing("60.100.0.1", "::");
    let local = at(us, 40_001);
    reach(&mut node, us, local);
    node.wait(Duration::from_secs(6));
    assert_eq!(node.inbound_at(local, true), Verdict::Admit);
}

#[test]
fn a_loopback_address_reaches_a_node_that_listens_on_the_unspecified_one() {
    let (mut node, us) = dialing("127.0.0.9", "::");
    let local = at(ip("127.0.0.1"), 40_001);
    assert!(
        matches!(node.inbound_at(local, true), Verdict::Park(_)),
        "the kernel dials from 127.0.0.1"
    );
    assert!(
        matches!(node.inbound_at(at(ip("127.0.0.2"), 5), true), Verdict::Park(_)),
        "may be it as well"
    );
    reach(&mut node, us, local);
    node.poll();
    assert_eq!(
        node.status(ip("127.0.0.2")),
        Some(PeerStatus::InHandshaking),
        "a local client after all"
    );
    node.list([ip("127.0.0.10")]);
    assert_eq!(node.status(ip("127.0.0.10")), None, "would come out here too");
}

#[test]
fn a_dial_that_fails_admits_what_might_have_been_its_inbound_end() {
    let (mut node, us) = dialing("60.100.0.1", "::");
    node.inbound_at(at(us, 40_001), true);
    node.dial_err(us, DialFault::Peer);
    node.poll();
    assert_eq!(node.status(us), Some(PeerStatus::InHandshaking));
}

#[test]
fn the_listen_address_is_never_added() {
    let (node, us) = dialing("60.100.0.1", "60.100.0.1");
    assert_eq!(node.status(us), None);
    let mut config = config();
    config.peer_port = Some(PORT + 1);
    let mut node = Node::at("60.100.0.1", config);
    node.list([us]);
    assert_eq!(
        node.status(us),
        Some(PeerStatus::Idle),
        "another node, on the peers' port"
    );
}

/// The peer file's record of `ip`, with a history and a field of the operator's own.
fn noted(ip: IpAddr) -> PeerRecord {
    let mut peer = Peer::new(ip);
    (peer.last_alive, peer.last_failure) = (Some(start()), Some(start() - TimeDelta::days(2)));
    let other = serde_json::from_str(r#"{"note":"bob"}"#).unwrap();
    PeerRecord {
        other: Some(Box::new(other)),
        ..record(peer)
    }
}

/// Asserts that the record of our own address would be dumped as it was loaded, and that nothing else is done with it.
fn assert_kept(node: &Node, own: IpAddr) {
    let stored: Vec<_> = node
        .table
        .stored_from(0)
        .flatten()
        .filter(|it| it.peer.ip == own)
        .collect();
    assert_eq!(
        (stored.len(), stored[0].peer, stored[0].other),
        (1, &noted(own).peer, noted(own).other.as_deref())
    );
    assert!(node.table.good_peer_ips().all(|ip| ip != own));
    assert!(node.dials.values().all(|&ip| ip != own));
}

#[test]
fn a_record_of_the_listen_address_stays_in_the_file_as_it_was() {
    let own = ip("60.100.0.1");
    let mut node = Node::at("60.100.0.1", config());
    node.load(vec![noted(own)]);
    let changes = node.table.changes();
    for _ in 0..10 {
        node.poll();
        node.list([own]);
        assert_kept(&node, own);
        node.wait(Duration::from_secs(1_000));
    }
    assert_eq!((changes, node.table.changes()), (0, 0));
}

#[test]
fn a_record_whose_dial_reached_this_node_stays_in_the_file_as_it_was() {
    let own = ip("60.100.0.1");
    let mut node = Node::new(config());
    node.load(vec![noted(own), record(Peer::new(ip("60.1.0.1")))]);
    node.poll();
    reach(&mut node, own, at(own, 40_001));
    for _ in 0..10 {
        node.poll();
        node.list([own]);
        assert_kept(&node, own);
        node.wait(Duration::from_secs(100));
    }
    // A local client comes and goes.
    assert_eq!(node.inbound(own), Verdict::Admit);
    node.report(own, Report::Closed);
    node.poll();
    assert_kept(&node, own);
}

/// All of them reach a node that listens on the unspecified address.
#[test]
fn records_of_loopback_addresses_stay_in_the_file_once_one_of_them_has_reached_this_node() {
    let own = ["127.0.0.12", "127.0.0.13"].map(ip);
    let mut node = Node::new(config());
    node.load(own.map(noted).into());
    node.poll();
    let dialed = *node.dials.values().next().unwrap();
    reach(&mut node, dialed, at(ip("127.0.0.1"), 40_001));
    let other = own.into_iter().find(|&ip| ip != dialed).unwrap();
    if node.dials.values().any(|&ip| ip == other) {
        reach(&mut node, other, at(ip("127.0.0.1"), 40_002));
    }
    for _ in 0..10 {
        node.poll();
        own.into_iter().for_each(|own| assert_kept(&node, own));
        node.wait(Duration::from_secs(100));
    }
    assert_eq!(node.table.stored_from(0).flatten().count(), 2);
}
