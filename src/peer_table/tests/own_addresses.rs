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

/// Our public address, by which a router sends our dials back to us, from the port that they left from.
const PUBLIC_BELOW: [u8; 4] = BELOW;
const PUBLIC_ABOVE: [u8; 4] = ABOVE;

/// A node at 60.100.0.1 that dials what is, unknown to it, its own public address.
fn dialing_public(public: [u8; 4]) -> (Node, IpAddr) {
    let public = IpAddr::from(public);
    let mut node = Node::new(config());
    node.list([public]);
    node.poll();
    (node, public)
}

fn left_from(node: &Node, port: u16) -> SocketAddr {
    at(node.us, port)
}

#[test]
fn a_dial_that_a_router_sends_back_is_recognised_by_its_port() {
    for public in [PUBLIC_BELOW, PUBLIC_ABOVE] {
        let (mut node, public) = dialing_public(public);
        assert!(matches!(node.inbound_at(at(public, 40_001), true), Verdict::Park(_)));
        let local = left_from(&node, 40_001);
        reach(&mut node, public, local);
        assert!(node.parked.is_empty() && node.connections.is_empty());
        assert_eq!(node.status(public), None);
        node.list([public]);
        assert_eq!(node.status(public), None, "never listed again");
        let counters = node.table.stats().counters;
        assert_eq!((counters.dials_to_self, counters.refused_self), (1, 1));
    }
}

#[test]
fn a_dial_that_a_router_sends_back_late_is_recognised_by_its_port() {
    for public in [PUBLIC_BELOW, PUBLIC_ABOVE] {
        for is_alive in [false, true] {
            let (mut node, public) = dialing_public(public);
            node.dial_ok(public);
            if is_alive {
                node.report(public, Report::Alive);
            }
            let verdict = node.inbound_at(at(public, 50_000), true);
            assert_eq!(verdict, Verdict::Refuse(Refusal::Ourselves));
            assert!(node.connections.is_empty(), "its slot is free");
            assert_eq!(node.status(public), None);
            let counters = node.table.stats().counters;
            assert_eq!((counters.dials_to_self, counters.refused_self), (1, 1));
        }
    }
}

#[test]
fn another_port_or_a_late_comer_is_not_the_other_end() {
    let limit = config().connect_timeout;
    for (port, waits, is_own) in [
        (50_001, Duration::ZERO, false),
        (50_000, limit, true),
        (50_000, limit + Duration::from_nanos(1), false),
    ] {
        let (mut node, public) = dialing_public(PUBLIC_ABOVE);
        node.dial_ok(public);
        node.report(public, Report::Alive);
        node.wait(waits);
        node.inbound_at(at(public, port), true);
        assert_eq!(node.status(public).is_none(), is_own, "{port} after {waits:?}");
    }
}

/// A router may map another port to ours.
#[test]
fn a_dial_of_another_port_that_a_router_sends_back_is_recognised() {
    let mut config = config();
    config.peer_port = Some(PORT + 1);
    let public = IpAddr::from(PUBLIC_BELOW);
    let mut node = Node::new(config);
    node.list([public]);
    node.poll();
    node.inbound_at(at(public, 40_001), true);
    let local = left_from(&node, 40_001);
    reach(&mut node, public, local);
    node.list([public]);
    assert_eq!(node.status(public), None);
}

#[test]
fn what_was_learnt_by_a_dial_is_forgotten_after_an_hour() {
    let (mut node, us) = dialing("60.100.0.1", "::");
    reach(&mut node, us, at(us, 40_001));
    node.wait(Duration::from_secs(3600) - Duration::from_nanos(1));
    node.poll();
    node.list([us]);
    node.report(us, Report::Banned);
    assert_eq!(node.status(us), None);
    node.wait(Duration::from_nanos(1));
    node.poll();
    node.list([us]);
    node.poll();
    assert_eq!(node.dials.values().copied().collect::<Vec<_>>(), [us], "dialed again");
    node.report(us, Report::Banned);
    assert_eq!(node.status(us), Some(PeerStatus::Banned));
}

#[test]
fn a_record_of_an_own_address_is_dialed_again_after_an_hour() {
    let own = ip("60.100.0.1");
    let mut node = Node::new(config());
    node.load(vec![noted(own)]);
    node.poll();
    reach(&mut node, own, at(own, 40_001));
    assert_eq!(node.table.next_deadline(), Some(Duration::from_secs(3600)));
    node.wait(Duration::from_secs(3600));
    node.poll();
    assert_eq!(node.status(own), Some(PeerStatus::OutConnecting));
    reach(&mut node, own, at(own, 40_002));
    assert_kept(&node, own);
}

#[test]
fn an_own_address_is_forgotten_when_a_host_comes_in_from_it_to_another_address_of_ours() {
    let (mut node, old) = dialing("60.100.0.1", "::");
    reach(&mut node, old, at(old, 40_001));
    assert_eq!(node.inbound(old), Verdict::Admit, "a local client");
    node.report(old, Report::Closed);
    assert_eq!(node.status(old), None);

    node.us = ip("60.101.0.1");
    assert_eq!(node.inbound(old), Verdict::Admit);
    node.report(old, Report::Alive);
    assert_eq!(node.table.good_peer_ips().collect::<Vec<_>>(), [old]);
    node.report(old, Report::Banned);
    assert_eq!(node.status(old), Some(PeerStatus::Banned));
    assert_eq!(node.inbound(old), Verdict::Refuse(Refusal::Banned));
}

#[test]
fn a_public_address_is_forgotten_when_a_host_comes_in_from_it_to_another_address_of_ours() {
    let (mut node, public) = dialing_public(PUBLIC_BELOW);
    node.dial_ok(public);
    node.inbound_at(at(public, 50_000), true);
    assert_eq!(node.inbound(public), Verdict::Admit, "a host behind the same router");
    node.report(public, Report::Closed);
    assert_eq!(node.status(public), None);
    node.us = ip("60.101.0.1");
    node.inbound(public);
    node.report(public, Report::Closed);
    assert_eq!(node.status(public), Some(PeerStatus::Idle));
}

/// It dials us from the port that our dial of it left from.
#[test]
fn a_peer_that_feigns_to_be_us_can_be_banned() {
    let (mut node, liar) = dialing_public(PUBLIC_BELOW);
    node.dial_ok(liar);
    node.inbound_at(at(liar, 50_000), true);
    let stale = |node: &Node| node.table.stats().counters.feedback_stale;
    node.inbound(liar);
    node.report(liar, Report::Banned);
    assert_eq!((node.status(liar), stale(&node)), (None, 1), "its connection is over");
    assert_eq!(node.inbound(liar), Verdict::Admit);
    node.report(liar, Report::Banned);
    assert_eq!((node.status(liar), stale(&node)), (Some(PeerStatus::Banned), 1));
}

#[test]
fn the_application_says_that_an_address_is_our_own() {
    let own = IpAddr::from(BELOW);
    let before: [fn(&mut Node, IpAddr); 6] = [
        |_, _| {},
        |node, own| node.list([own]),
        |node, own| {
            node.list([own]);
            node.poll();
        },
        |node, own| node.connect(own),
        |node, own| assert_eq!(node.inbound(own), Verdict::Admit),
        |node, own| node.report(own, Report::Banned),
    ];
    for prepare in before {
        let mut node = Node::new(config());
        prepare(&mut node, own);
        node.report(own, Report::Ourselves);
        assert!(node.dials.is_empty() && node.connections.is_empty());
        assert_eq!(node.status(own), None);
        node.list([own]);
        node.report(own, Report::Banned);
        node.poll();
        assert_eq!(node.status(own), None);
        assert_eq!(node.table.stats().counters.feedback_stale, 1);
        node.wait(Duration::from_secs(3600));
        node.poll();
        node.list([own]);
        assert_eq!(node.status(own), Some(PeerStatus::Idle));
    }
}

#[test]
fn an_address_that_no_peer_has_is_not_ourselves_either() {
    let mut node = Node::new(config());
    node.report(ip("0.0.0.0"), Report::Ourselves);
    assert_eq!(node.table.stats().counters.feedback_stale, 1);
    assert_eq!(node.table.next_deadline(), None);
}

#[test]
fn no_more_own_addresses_are_kept_than_a_host_may_have() {
    let mut node = Node::new(config());
    let all: Vec<_> = (0..=1024_u32)
        .map(|host| IpAddr::from((0x3c01_0000 + host).to_be_bytes()))
        .collect();
    all.iter().for_each(|&own| node.report(own, Report::Ourselves));
    node.list(all.iter().copied());
    assert_eq!(node.table.peers().map(|peer| peer.ip).collect::<Vec<_>>(), [all[0]]);
}

/// However a local client fares.
#[test]
fn a_record_of_an_own_address_stays_as_it_was_beside_a_local_client() {
    let own = ip("60.100.0.1");
    let mut node = Node::at("60.100.0.1", config());
    node.load(vec![noted(own)]);
    for end in [Report::Failed, Report::Closed, Report::Banned] {
        node.inbound(own);
        node.report(own, Report::Alive);
        node.report(own, end);
        node.report(own, Report::Failed);
        assert_kept(&node, own);
    }
}
