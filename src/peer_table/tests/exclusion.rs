//! `denied` and `allowed`: never dialed, admitted, taken from lists or told of.

use super::world::{proven, record};
use super::*;

const DENIED: [&str; 2] = ["60.1.0.0/16", "2001:db8::/32"];

fn denying(denied: &[&str]) -> NetworkConfig {
    let mut config = config();
    config.denied = denied.iter().map(|prefix| prefix.parse().unwrap()).collect();
    config
}

#[test]
fn a_denied_address_is_not_taken_from_lists() {
    let mut node = Node::new(denying(&DENIED));
    let ips = [
        "60.0.255.255",
        "60.1.0.0",
        "::ffff:60.1.255.255",
        "60.2.0.0",
        "2001:db8::1",
        "2001:db9::1",
    ]
    .map(ip);
    node.list(ips);
    let known = ips.map(|ip| node.status(ip.to_canonical()).is_some());
    assert_eq!(known, [true, false, false, true, false, true]);
    assert_eq!(node.table.stats().counters.addresses_refused, 3);
}

#[test]
fn a_denied_address_is_not_among_the_initial_peers() {
    let mut node = Node::new(denying(&DENIED));
    node.table.load(node.now, Vec::new(), &[ip("60.1.0.1"), ip("60.2.0.1")]);
    node.settle();
    assert_eq!(node.table.peers().count(), 1);
}

#[test]
fn an_inbound_socket_of_a_denied_address_is_refused_and_not_remembered() {
    let mut node = Node::new(denying(&DENIED));
    assert_eq!(node.inbound(ip("60.1.0.1")), Verdict::Refuse(Refusal::Denied));
    assert_eq!(node.inbound(ip("60.2.0.1")), Verdict::Admit);
    assert_eq!(node.status(ip("60.1.0.1")), None);
    assert_eq!(node.table.stats().counters.refused_denied, 1);
}

#[test]
fn a_ban_is_checked_before_denial_and_denial_before_the_caps() {
    let mut config = denying(&DENIED);
    config.max_incoming_connections = 0;
    let mut node = Node::new(config);
    node.report(ip("60.1.0.1"), Report::Banned);
    assert_eq!(node.inbound(ip("60.1.0.1")), Verdict::Refuse(Refusal::Banned));
    assert_eq!(node.inbound(ip("60.1.0.2")), Verdict::Refuse(Refusal::Denied));
    assert_eq!(node.inbound(ip("60.2.0.1")), Verdict::Refuse(Refusal::IncomingFull));
}

#[test]
fn a_denied_peer_of_the_file_is_stored_and_neither_dialed_nor_told_of() {
    let mut node = Node::new(denying(&DENIED));
    node.load(vec![
        proven(ip("60.1.0.1")),
        record(Peer::new(ip("60.1.0.2"))),
        proven(ip("60.2.0.1")),
    ]);
    node.poll();
    assert_eq!(node.dials.values().copied().collect::<Vec<_>>(), [ip("60.2.0.1")]);
    assert_eq!(node.table.all_good_peer_ips(), [ip("60.2.0.1")]);
    assert_eq!(node.table.stored_from(0).flatten().count(), 3);
    assert_eq!(node.table.next_deadline(), None, "there is no peer to dial");
}

#[test]
fn denied_peers_are_the_first_to_be_forgotten() {
    let mut config = denying(&DENIED);
    config.max_idle_peers = 2;
    config.target_outgoing_connections = 0;
    for denied in [proven(ip("60.1.0.1")), record(Peer::new(ip("60.1.0.1")))] {
        let mut node = Node::new(config.clone());
        node.load(vec![denied.clone(), proven(ip("60.2.0.1")), proven(ip("60.3.0.1"))]);
        assert_eq!(node.status(ip("60.1.0.1")), None, "beyond the room at the start");
        let mut node = Node::new(config.clone());
        node.load(vec![denied, proven(ip("60.2.0.1"))]);
        node.inbound(ip("60.3.0.1"));
        node.report(ip("60.3.0.1"), Report::Alive);
        node.report(ip("60.3.0.1"), Report::Closed);
        // An unproven newcomer goes before a proven peer, whatever that is.
        let is_proven = node.status(ip("60.1.0.1")).is_some();
        assert_eq!(is_proven, node.status(ip("60.3.0.1")).is_none());
        assert!(node.status(ip("60.2.0.1")).is_some());
    }
}

#[test]
fn a_ban_of_a_denied_address_counts_and_after_it_the_address_is_still_denied() {
    let mut node = Node::new(denying(&DENIED));
    let peer = ip("60.1.0.1");
    node.report(peer, Report::Banned);
    node.report(peer, Report::Unbanned);
    node.poll();
    assert_eq!(node.status(peer), Some(PeerStatus::Idle));
    assert!(node.dials.is_empty() && node.table.all_good_peer_ips().is_empty());
}

#[test]
fn with_allowed_prefixes_all_others_are_denied() {
    let mut config = denying(&["60.1.1.0/24"]);
    config.allowed = vec!["60.1.0.0/16".parse().unwrap()];
    let mut node = Node::new(config);
    node.list(["60.1.0.1", "60.1.1.1", "60.2.0.1", "2001:db8::1"].map(ip));
    assert_eq!(
        node.table.peers().map(|peer| peer.ip).collect::<Vec<_>>(),
        [ip("60.1.0.1")]
    );
    assert_eq!(node.inbound(ip("60.2.0.1")), Verdict::Refuse(Refusal::Denied));
}

#[test]
fn a_sample_has_none_of_what_is_denied() {
    let mut node = Node::new(denying(&DENIED));
    node.load(["60.1.0.1", "60.2.0.1"].map(|peer| record(Peer::new(ip(peer)))).into());
    assert_eq!(node.table.sample_peer_ips(2), [ip("60.2.0.1")]);
    assert_eq!(node.table.all_good_peer_ips(), [ip("60.2.0.1")]);
}
