//! Reserved peers, and those dialed by hand, beside rotation and eviction.

use PeerStatus::{Idle, InAlive, InHandshaking, OutAlive, OutConnecting};
use Revocation::{Evicted, Rotated};

use super::*;

const FULL: Verdict = Verdict::Refuse(Refusal::IncomingFull);
const INTERVAL: Duration = Duration::from_secs(600);

fn reserving(peers: &[&str], config: NetworkConfig) -> Node {
    let reserved_peers = peers.iter().map(|peer| ip(peer)).collect();
    let mut node = Node::new(NetworkConfig {
        reserved_peers,
        ..config
    });
    node.load(Vec::new());
    node
}

/// Two outgoing connections wanted, and rotated.
fn rotating() -> NetworkConfig {
    NetworkConfig {
        target_outgoing_connections: 2,
        rotation_interval: Some(INTERVAL),
        ..config()
    }
}

/// A node without outgoing connections that refuses newcomers, as `evict_incoming` is off.
fn admitting(most: usize) -> NetworkConfig {
    NetworkConfig {
        target_outgoing_connections: 0,
        max_simultaneous_outgoing_connection_attempts: 0,
        max_incoming_connections: most,
        ..config()
    }
}

/// The dial of the peer, which is under way, is answered, and its handshake done.
fn comes_alive(node: &mut Node, peer: &str) {
    node.dial_ok(ip(peer));
    node.report(ip(peer), Report::Alive);
}

fn comes_in(node: &mut Node, peer: &str) {
    assert_eq!(node.inbound(ip(peer)), Verdict::Admit);
    node.report(ip(peer), Report::Alive);
}

fn comes_in_leased(node: &mut Node, peer: &str) -> ConnectionId {
    comes_in(node, peer);
    node.lease(ip(peer))
}

/// One more peer becomes known, and the time of a rotation comes.
fn rotation_comes(node: &mut Node, newcomer: &str) {
    node.list([ip(newcomer)]);
    node.wait(INTERVAL * 5 / 4);
    node.poll();
}

#[test]
fn a_reserved_peer_gets_in_by_eviction_whatever_evict_incoming_says() {
    let mut node = reserving(&["60.9.0.1"], admitting(1));
    comes_in_leased(&mut node, "60.1.0.1");
    assert_eq!(node.inbound(ip("60.8.0.1")), FULL);
    assert_eq!(node.inbound(ip("60.9.0.1")), Verdict::Admit);
    assert_eq!(node.revoked, [(ip("60.1.0.1"), Evicted)]);
    let statuses = ["60.1.0.1", "60.9.0.1"].map(|peer| node.status(ip(peer)));
    assert_eq!(statuses, [Some(Idle), Some(InHandshaking)]);
}

#[test]
fn it_is_refused_where_none_is_leased() {
    let mut node = reserving(&["60.9.0.1"], admitting(1));
    comes_in(&mut node, "60.1.0.1");
    assert_eq!(node.inbound(ip("60.9.0.1")), FULL);
    node.lease(ip("60.1.0.1"));
    assert_eq!(node.inbound(ip("60.9.0.1")), Verdict::Admit);
}

#[test]
fn the_connection_of_a_reserved_peer_is_not_evicted() {
    let mut node = reserving(&["60.9.0.1", "60.9.0.2"], admitting(1));
    comes_in_leased(&mut node, "60.9.0.1");
    assert_eq!(node.inbound(ip("60.9.0.2")), FULL);
    node.report(ip("60.9.0.1"), Report::Release);
    assert_eq!(node.inbound(ip("60.9.0.2")), Verdict::Admit);
    assert_eq!(node.revoked, [(ip("60.9.0.1"), Evicted)]);
}

#[test]
fn reserved_peers_get_in_at_no_pace_and_take_none_of_it() {
    let evict_incoming = true;
    let config = NetworkConfig {
        evict_incoming,
        ..admitting(4)
    };
    let mut node = reserving(&["60.9.0.1", "60.9.0.2"], config);
    let [first, second, third] = ["60.1.0.1", "60.1.0.2", "60.1.0.3"].map(|peer| comes_in_leased(&mut node, peer));
    comes_in_leased(&mut node, "60.3.0.1");
    assert_eq!(node.inbound(ip("60.9.0.1")), Verdict::Admit);
    assert_eq!(
        node.inbound(ip("60.9.0.2")),
        FULL,
        "one that was evicted may still be there"
    );
    node.drop_lease(third);
    assert_eq!(node.inbound(ip("60.9.0.2")), Verdict::Admit, "in the same second");
    node.drop_lease(second);
    assert_eq!(
        node.inbound(ip("60.9.9.9")),
        Verdict::Admit,
        "the first of its kind in this second"
    );
    let evicted = ["60.1.0.3", "60.1.0.2"].map(|peer| (ip(peer), Evicted));
    assert_eq!(node.revoked[..2], evicted);
    assert_eq!(node.revoked.len(), 3);
    node.drop_lease(first);
}

#[test]
fn the_other_caps_hold_for_reserved_peers_too() {
    let config = NetworkConfig {
        max_incoming_per_subnet: Some(1),
        ..admitting(1)
    };
    let mut node = reserving(&["60.1.0.9"], config);
    comes_in_leased(&mut node, "60.1.0.1");
    assert_eq!(node.inbound(ip("60.1.0.9")), FULL);
    assert!(node.revoked.is_empty());
}

#[test]
fn connections_beside_the_target_neither_count_for_a_rotation_nor_end() {
    let mut node = reserving(&["60.9.0.1"], rotating());
    node.poll();
    comes_alive(&mut node, "60.9.0.1");
    node.report(ip("60.8.0.1"), Report::Dial);
    node.poll();
    comes_alive(&mut node, "60.8.0.1");
    node.connect(ip("60.1.0.1"));
    for peer in ["60.9.0.1", "60.8.0.1", "60.1.0.1"] {
        node.lease(ip(peer));
    }
    rotation_comes(&mut node, "60.3.0.1");
    assert_eq!(node.table.stats().counters.rotations, 0, "the target is not met");
    comes_alive(&mut node, "60.3.0.1");
    node.list([ip("60.4.0.1")]);
    node.poll();
    assert_eq!(node.table.stats().counters.rotations, 1);
    comes_alive(&mut node, "60.4.0.1");
    assert_eq!(
        node.revoked,
        [(ip("60.1.0.1"), Rotated)],
        "it alone is leased and counts"
    );
}

#[test]
fn none_is_rotated_where_only_reserved_peers_are_leased() {
    let mut node = reserving(&["60.9.0.1"], rotating());
    node.poll();
    comes_alive(&mut node, "60.9.0.1");
    node.lease(ip("60.9.0.1"));
    node.connect(ip("60.1.0.1"));
    node.connect(ip("60.2.0.1"));
    rotation_comes(&mut node, "60.3.0.1");
    assert_eq!(node.table.stats().counters.rotations, 0);
    node.lease(ip("60.2.0.1"));
    node.poll();
    assert_eq!(node.status(ip("60.3.0.1")), Some(OutConnecting));
}

#[test]
fn the_new_one_goes_if_no_other_is_leased_but_reserved_ones() {
    let mut node = reserving(&["60.9.0.1"], rotating());
    node.poll();
    comes_alive(&mut node, "60.9.0.1");
    node.connect(ip("60.1.0.1"));
    node.connect(ip("60.2.0.1"));
    for peer in ["60.9.0.1", "60.1.0.1"] {
        node.lease(ip(peer));
    }
    rotation_comes(&mut node, "60.3.0.1");
    node.dial_ok(ip("60.3.0.1"));
    node.lease(ip("60.3.0.1"));
    node.report(ip("60.1.0.1"), Report::Closed);
    // As if it had been lowered meanwhile, so that there is still one too many.
    node.table.config.target_outgoing_connections = 1;
    node.revoked.clear();
    node.report(ip("60.3.0.1"), Report::Alive);
    assert_eq!(node.revoked, [(ip("60.3.0.1"), Rotated)]);
    assert_eq!(node.status(ip("60.9.0.1")), Some(OutAlive));
}

#[test]
fn none_ends_for_connections_beside_the_target() {
    let mut node = reserving(&["60.9.0.1"], rotating());
    node.poll();
    comes_alive(&mut node, "60.9.0.1");
    node.connect(ip("60.1.0.1"));
    node.connect(ip("60.2.0.1"));
    node.lease(ip("60.1.0.1"));
    rotation_comes(&mut node, "60.3.0.1");
    node.dial_ok(ip("60.3.0.1"));
    node.report(ip("60.2.0.1"), Report::Closed);
    node.revoked.clear();
    node.report(ip("60.3.0.1"), Report::Alive);
    assert_eq!(node.revoked, [], "two count for the target");
}

#[test]
fn a_connection_beside_the_target_does_not_call_off_the_dial_of_a_rotation() {
    let mut node = reserving(&[], rotating());
    node.connect(ip("60.1.0.1"));
    node.connect(ip("60.2.0.1"));
    node.lease(ip("60.1.0.1"));
    rotation_comes(&mut node, "60.3.0.1");
    node.report(ip("60.4.0.1"), Report::Dial);
    node.poll();
    comes_alive(&mut node, "60.4.0.1");
    assert_eq!(node.status(ip("60.3.0.1")), Some(OutConnecting));
    comes_alive(&mut node, "60.3.0.1");
    assert_eq!(node.revoked, [(ip("60.1.0.1"), Rotated)]);
}

#[test]
fn a_peer_that_was_evicted_is_not_dialed_by_hand_while_its_socket_may_be_open() {
    let mut node = reserving(&["60.9.0.1"], admitting(1));
    let lease = comes_in_leased(&mut node, "60.1.0.1");
    comes_in(&mut node, "60.9.0.1");
    let state = |node: &Node| node.table.dial_state(node.now, ip("60.1.0.1"));
    assert_eq!(state(&node), DialState::Connected);
    node.report(ip("60.1.0.1"), Report::Dial);
    assert_eq!(node.table.stats().counters.feedback_stale, 1);
    node.drop_lease(lease);
    assert_eq!(state(&node), DialState::TargetMet);
    node.report(ip("60.1.0.1"), Report::Dial);
    assert_eq!(state(&node), DialState::AttemptsFull);
    assert_eq!(node.status(ip("60.9.0.1")), Some(InAlive));
}

#[test]
fn reserving_a_peer_that_has_only_knocked_tells_of_it() {
    let mut node = reserving(&[], admitting(2));
    assert_eq!(node.inbound(ip("60.1.0.1")), Verdict::Admit);
    assert!(node.table.all_good_peer_ips().is_empty());
    node.report(ip("60.1.0.1"), Report::Reserve);
    assert_eq!(node.table.all_good_peer_ips(), [ip("60.1.0.1")]);
}

#[test]
fn the_ban_of_a_reserved_peer_is_dropped_with_its_cause() {
    let config = NetworkConfig {
        max_banned_peers: 1,
        ..admitting(1)
    };
    let mut node = reserving(&["60.9.0.1"], config);
    node.table.watch(usize::MAX);
    node.report(ip("60.9.0.1"), Report::Banned);
    node.report(ip("60.9.0.2"), Report::Banned);
    let changes = std::iter::from_fn(|| node.table.next_change());
    let lifted: Vec<_> = changes
        .filter_map(|(ip, kind)| match kind {
            ChangeKind::Status { to: Idle, cause, .. } => Some((ip, cause)),
            _ => None,
        })
        .collect();
    assert_eq!(lifted, [(ip("60.9.0.1"), Cause::BanDropped)]);
}

#[test]
fn nor_if_it_was_forgotten_meanwhile() {
    let mut node = reserving(&["60.9.0.1"], admitting(1));
    let lease = comes_in_leased(&mut node, "60.1.0.1");
    node.table.config.max_idle_peers = 0;
    comes_in(&mut node, "60.9.0.1");
    assert_eq!(node.status(ip("60.1.0.1")), None);
    node.table.config.max_idle_peers = 9;
    node.report(ip("60.1.0.1"), Report::Dial);
    assert!(!node.table.is_wanted(ip("60.1.0.1")));
    node.drop_lease(lease);
    node.report(ip("60.1.0.1"), Report::Dial);
    assert!(node.table.is_wanted(ip("60.1.0.1")));
}
