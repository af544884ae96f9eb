//! Dials that come out at ourselves, and clients of this host.

use super::*;

fn dialing(us: &str, listen: &str) -> (Node, IpAddr) {
    let us = ip(us);
    let mut node = Node::at(listen, config());
    node.us = us;
    node.list([us]);
    node.poll();
    (node, us)
}

fn reach(node: &mut Node, peer: IpAddr, leg: SocketAddr) {
    let id = node.dial_of(peer);
    node.dials.remove(&id);
    assert_eq!(node.table.on_dialed(node.now, id, leg), Reached::Ourselves);
    node.settle();
}

#[test]
fn the_inbound_leg_first() {
    let (mut node, us) = dialing("60.100.0.1", "0.0.0.0");
    let leg = at(us, 40_001);
    assert!(matches!(node.inbound_at(leg, true), Verdict::Park(_)));
    reach(&mut node, us, leg);
    assert!(node.parked.is_empty());
    assert_eq!(node.status(us), None);
    node.list([us]);
    assert_eq!(node.status(us), None, "never listed again");
}

#[test]
fn the_dial_first() {
    let (mut node, us) = dialing("60.100.0.1", "::");
    let leg = at(us, 40_001);
    reach(&mut node, us, leg);
    assert_eq!(node.inbound_at(leg, true), Verdict::Refuse(Refusal::Ourselves));
    assert_eq!(node.inbound_at(at(us, 40_002), true), Verdict::Admit, "a local client");
    node.report(us, Report::Alive);
    assert_eq!(node.table.good_peer_ips().count(), 0);
    assert_eq!(node.table.stored_from(0).flatten().count(), 0);
    node.report(us, Report::Closed);
    assert_eq!(node.status(us), None, "forgotten afterwards");
}

#[test]
fn a_leg_that_never_comes_is_not_expected_for_ever() {
    let (mut node, us) = dialing("60.100.0.1", "::");
    let leg = at(us, 40_001);
    reach(&mut node, us, leg);
    node.wait(Duration::from_secs(6));
    assert_eq!(node.inbound_at(leg, true), Verdict::Admit);
}

#[test]
fn loopback_through_an_unspecified_address() {
    let (mut node, us) = dialing("127.0.0.9", "::");
    let leg = at(ip("127.0.0.1"), 40_001);
    assert!(
        matches!(node.inbound_at(leg, true), Verdict::Park(_)),
        "the kernel dials from 127.0.0.1"
    );
    assert!(
        matches!(node.inbound_at(at(ip("127.0.0.2"), 5), true), Verdict::Park(_)),
        "may be it as well"
    );
    reach(&mut node, us, leg);
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
fn a_dial_that_fails_lets_the_suspect_in() {
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
