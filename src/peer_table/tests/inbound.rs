//! Inbound sockets: which are refused, in which order, and what that changes.

use super::*;

#[test]
fn a_socket_from_an_address_that_no_peer_has_is_refused() {
    let mut node = Node::new(config());
    let addresses = [
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "ff02::1",
        "::ffff:224.0.0.1",
    ];
    for (refused, address) in (1..).zip(addresses) {
        assert_eq!(
            node.inbound(ip(address)),
            Verdict::Refuse(Refusal::NotAPeer),
            "{address}"
        );
        assert_eq!(node.table.stats().counters.refused_address, refused);
    }
    assert_eq!(node.table.stats().peers.total(), 0);
    assert_eq!(node.table.stored_from(0).flatten().count(), 0);
}

#[test]
fn an_address_that_no_peer_has_cannot_be_banned() {
    let mut node = Node::new(config());
    for address in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"] {
        node.report(ip(address), Report::Banned);
    }
    assert_eq!(node.table.stats().peers.total(), 0);
    assert_eq!(node.table.stats().counters.feedback_stale, 5);
}

#[test]
fn an_admitted_socket_adds_an_absent_peer() {
    let mut node = Node::new(config());
    let peer = ip("60.1.0.1");
    assert_eq!(node.inbound_at(at(peer, 9), false), Verdict::Admit);
    assert_eq!(node.status(peer), None, "its admission failed");
    node.inbound(peer);
    assert_eq!(node.status(peer), Some(PeerStatus::InHandshaking));
    assert_eq!(node.inbound(peer), Verdict::Refuse(Refusal::Connected));
    node.report(peer, Report::Alive);
    assert_eq!(node.inbound(peer), Verdict::Refuse(Refusal::Connected));
}

#[test]
fn each_cap_admits_up_to_its_number_and_again_after_an_end() {
    let peers = [1, 2, 3].map(|host| IpAddr::from([60, 1, 0, host]));
    type SetCap = fn(&mut NetworkConfig);
    let caps: [(SetCap, Refusal); 3] = [
        (|config| config.max_incoming_connections = 2, Refusal::IncomingFull),
        (
            |config| config.max_simultaneous_incoming_connection_attempts = 2,
            Refusal::AttemptsFull,
        ),
        (|config| config.max_incoming_per_subnet = Some(2), Refusal::SubnetFull),
    ];
    for (set, refusal) in caps {
        let mut config = config();
        config.target_outgoing_connections = 0;
        set(&mut config);
        let mut node = Node::new(config);
        assert_eq!([node.inbound(peers[0]), node.inbound(peers[1])], [Verdict::Admit; 2]);
        assert_eq!(node.inbound(peers[2]), Verdict::Refuse(refusal));
        node.report(peers[0], Report::Closed);
        assert_eq!(node.inbound(peers[2]), Verdict::Admit);
    }
}

#[test]
fn a_banned_peer_is_refused_and_its_attempt_noted() {
    let mut node = Node::new(config());
    let peer = ip("60.1.0.1");
    node.report(peer, Report::Banned);
    node.wait(Duration::from_secs(9));
    assert_eq!(node.inbound(peer), Verdict::Refuse(Refusal::Banned));
    let banned = node.table.peer(peer).unwrap();
    assert_eq!(
        (banned.status, banned.last_failure),
        (PeerStatus::Banned, Some(node.now.utc))
    );
}
