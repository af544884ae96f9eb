//! Eviction: which newcomer takes the slot of an incoming connection, and of which.

use PeerStatus::{Idle, InAlive, InHandshaking};
use Revocation::Evicted;

use super::*;
use crate::peer_table::eviction::{Eviction, MAX_SUBNETS, choose};
use crate::peer_table::subnet::Subnet;

const FULL: Verdict = Verdict::Refuse(Refusal::IncomingFull);

fn evicting(places: usize) -> NetworkConfig {
    NetworkConfig {
        target_outgoing_connections: 0,
        max_incoming_connections: places,
        evict_incoming: true,
        ..config()
    }
}

/// A full node with these incoming connections, all leased and alive.
fn full(peers: &[&str]) -> Node {
    full_with(evicting(peers.len()), peers)
}

fn full_with(config: NetworkConfig, peers: &[&str]) -> Node {
    let mut node = Node::new(config);
    for peer in peers {
        comes_in(&mut node, peer);
        node.lease(ip(peer));
    }
    node
}

fn comes_in(node: &mut Node, peer: &str) {
    assert_eq!(node.inbound(ip(peer)), Verdict::Admit);
    node.report(ip(peer), Report::Alive);
}

fn pass(node: &mut Node, time: Duration) {
    node.wait(time);
    node.poll();
}

#[test]
fn a_newcomer_takes_the_slot_of_the_youngest_of_the_largest_subnet() {
    let mut node = full(&[
        "60.2.0.1", "60.1.0.1", "60.1.7.2", "60.3.0.1", "60.3.0.2", "60.1.9.3", "60.4.0.1",
    ]);
    let lease = node.table.connection(ip("60.1.9.3")).unwrap().0;
    assert_eq!(node.inbound(ip("60.9.0.1")), Verdict::Admit);
    assert_eq!(node.revoked, [(ip("60.1.9.3"), Evicted)]);
    let statuses = ["60.1.9.3", "60.9.0.1"].map(|peer| node.status(ip(peer)));
    assert_eq!(statuses, [Some(Idle), Some(InHandshaking)]);
    assert_eq!(node.table.stats().incoming_connections.used, 7);
    assert_eq!(node.table.stats().counters.evicted, 1);
    node.drop_lease(lease);
    pass(&mut node, Duration::from_secs(1));
    // Now two subnets hold two.
    assert_eq!(node.inbound(ip("60.8.0.1")), Verdict::Admit);
    assert_eq!(node.revoked[1], (ip("60.3.0.2"), Evicted));
}

#[test]
fn the_choice_is_of_most_and_then_of_the_youngest() {
    let number = |number| NonZeroU64::new(number).unwrap();
    let one = |peer: &str, born: u64| (Subnet::of(ip(peer)), number(born), PeerId(u32::try_from(born).unwrap()));
    type Incoming = &'static [(&'static str, u64)];
    let cases: [(Incoming, Option<u32>); 4] = [
        (&[], None),
        (&[("60.1.0.1", 1), ("60.2.0.1", 2)], Some(2)),
        (&[("60.1.0.1", 1), ("60.2.0.1", 3), ("60.1.9.1", 2)], Some(2)),
        (
            &[("60.1.0.1", 4), ("60.2.0.1", 3), ("60.1.0.2", 1), ("60.2.0.2", 2)],
            Some(4),
        ),
    ];
    for (incoming, expected) in cases {
        let incoming = incoming.iter().map(|&(peer, born)| one(peer, born));
        assert_eq!(choose(incoming), expected.map(PeerId));
    }
}

#[test]
fn a_newcomer_is_refused_unless_the_config_says_otherwise() {
    let mut config = evicting(1);
    config.evict_incoming = false;
    let mut node = full_with(config, &["60.1.0.1"]);
    assert_eq!(node.inbound(ip("60.9.0.1")), FULL);
}

#[test]
fn only_live_and_leased_connections_are_ended() {
    let mut node = Node::new(evicting(2));
    comes_in(&mut node, "60.1.0.1");
    assert_eq!(node.inbound(ip("60.1.0.2")), Verdict::Admit);
    node.lease(ip("60.1.0.2"));
    assert_eq!(
        node.inbound(ip("60.9.0.1")),
        FULL,
        "one has no lease, one is shaking hands"
    );
    node.report(ip("60.1.0.2"), Report::Alive);
    assert_eq!(node.inbound(ip("60.9.0.1")), Verdict::Admit);
    assert_eq!(node.revoked, [(ip("60.1.0.2"), Evicted)]);
}

#[test]
fn one_a_second_at_most() {
    let mut node = full(&["60.1.0.1", "60.2.0.1", "60.3.0.1"]);
    let lease = node.table.connection(ip("60.3.0.1")).unwrap().0;
    assert_eq!(node.inbound(ip("60.9.0.1")), Verdict::Admit);
    node.drop_lease(lease);
    pass(&mut node, Duration::from_secs(1) - Duration::from_nanos(1));
    assert_eq!(node.inbound(ip("60.8.0.1")), FULL);
    pass(&mut node, Duration::from_nanos(1));
    assert_eq!(node.inbound(ip("60.8.0.1")), Verdict::Admit);
}

#[test]
fn one_per_subnet_and_longest_backoff() {
    // Of the last, which is not globally reachable, a second one may come in.
    for (first, second, must_wait) in [
        ("60.9.0.1", "60.9.0.2", true),
        ("60.9.0.1", "60.9.1.1", false),
        ("2600:1:2:3::1", "2600:1:2:4::1", true),
        ("2600:1:2:3::1", "2600:1:3:3::1", false),
        ("10.9.0.1", "10.9.0.2", false),
    ] {
        let mut node = full(&["60.1.0.1", "60.1.0.2", "60.1.0.3"]);
        assert_eq!(node.inbound(ip(first)), Verdict::Admit);
        node.report(ip(first), Report::Failed);
        comes_in(&mut node, "60.5.0.1");
        pass(&mut node, Duration::from_secs(600) - Duration::from_nanos(1));
        let verdict = node.inbound(ip(second));
        assert_eq!(verdict == FULL, must_wait, "{second} after {first}: {verdict:?}");
        if must_wait {
            pass(&mut node, Duration::from_nanos(1));
            assert_eq!(node.inbound(ip(second)), Verdict::Admit);
        }
    }
}

#[test]
fn what_is_remembered_of_subnets_is_bounded_and_ends() {
    let mut eviction = Eviction::default();
    let mut now = Now {
        utc: start(),
        since_start: Duration::ZERO,
    };
    let from = |number: usize| {
        IpAddr::from([
            60,
            u8::try_from(number / 256).unwrap(),
            u8::try_from(number % 256).unwrap(),
            1,
        ])
    };
    for number in 0..2 * MAX_SUBNETS {
        assert!(eviction.may_gain(now, from(number)));
        eviction.on_gain(now, from(number), Duration::MAX);
        now.since_start += Duration::from_secs(1);
        assert!(!eviction.may_gain(now, from(number)));
    }
    assert_eq!(eviction.remembered(), MAX_SUBNETS);
    assert!(eviction.may_gain(now, from(MAX_SUBNETS - 1)) && !eviction.may_gain(now, from(MAX_SUBNETS)));

    let mut eviction = Eviction::default();
    for number in 0..50 {
        eviction.on_gain(now, from(number), Duration::from_secs(10));
        now.since_start += Duration::from_secs(1);
    }
    assert_eq!(eviction.remembered(), 10);
}

#[test]
fn other_caps_hold() {
    let mut config = evicting(4);
    config.max_simultaneous_incoming_connection_attempts = 2;
    config.max_incoming_per_subnet = Some(1);
    let mut node = full_with(config, &["60.1.0.1", "60.2.0.1"]);
    assert_eq!(node.inbound(ip("60.3.0.1")), Verdict::Admit);
    assert_eq!(node.inbound(ip("60.4.0.1")), Verdict::Admit);
    assert_eq!(node.inbound(ip("60.9.0.1")), FULL, "two are shaking hands");
    node.report(ip("60.4.0.1"), Report::Alive);
    assert_eq!(node.inbound(ip("60.1.0.7")), FULL, "its subnet has one");
    assert_eq!(node.inbound(ip("60.9.0.1")), Verdict::Admit);
}

#[test]
fn the_pause_of_a_subnet_ends_when_it_was_to_beside_longer_and_shorter_ones() {
    let (mut eviction, mut now) = (Eviction::default(), Node::new(config()).now);
    let [long, short, last] = ["60.1.0.1", "60.2.0.1", "60.3.0.1"].map(ip);
    let mut gains = |at: u64, peer: IpAddr, pause: u64| {
        now.since_start = Duration::from_secs(at);
        let may_gain = eviction.may_gain(now, peer);
        if may_gain {
            eviction.on_gain(now, peer, Duration::from_secs(pause));
        }
        may_gain
    };
    assert!(gains(0, long, 100));
    assert!(gains(1, short, 10));
    assert!(!gains(10, short, 10));
    assert!(gains(12, short, 100));
    assert!(!gains(99, long, 10));
    assert!(gains(101, last, 10));
    assert!(!gains(111, short, 10), "it has gained one 99 s ago");
    assert!(gains(112, short, 10));
}

#[test]
fn a_peer_that_has_a_connection_takes_no_slot() {
    let mut node = full(&["60.1.0.1", "60.2.0.1"]);
    assert_eq!(node.inbound(ip("60.1.0.1")), Verdict::Refuse(Refusal::Connected));
    node.report(ip("60.9.0.1"), Report::Banned);
    assert_eq!(node.inbound(ip("60.9.0.1")), Verdict::Refuse(Refusal::Banned));
    assert_eq!(node.revoked, []);
}

#[test]
fn no_connection_is_evicted_while_an_address_is_held() {
    let mut node = full(&["60.1.0.1", "60.2.0.1", "60.3.0.1"]);
    let lease = node.table.connection(ip("60.3.0.1")).unwrap().0;
    assert_eq!(node.inbound(ip("60.9.0.1")), Verdict::Admit);
    pass(&mut node, Duration::from_secs(9));
    assert_eq!(node.inbound(ip("60.8.0.1")), FULL);
    assert_eq!(node.inbound(ip("60.3.0.1")), Verdict::Refuse(Refusal::Connected));
    node.drop_lease(lease);
    assert_eq!(node.inbound(ip("60.8.0.1")), Verdict::Admit);
}

#[test]
fn no_connection_is_evicted_while_a_rotation_is_under_way() {
    let mut config = evicting(1);
    config.target_outgoing_connections = 1;
    config.rotation_interval = Some(Duration::from_secs(60));
    let mut node = full_with(config, &["60.1.0.1"]);
    node.connect(ip("60.2.0.1"));
    node.lease(ip("60.2.0.1"));
    node.list([ip("60.3.0.1")]);
    pass(&mut node, Duration::from_secs(60));
    assert_eq!(node.status(ip("60.3.0.1")), Some(PeerStatus::OutConnecting));
    assert_eq!(node.inbound(ip("60.9.0.1")), FULL);
    node.dial_ok(ip("60.3.0.1"));
    assert_eq!(node.inbound(ip("60.9.0.1")), FULL);
    node.report(ip("60.3.0.1"), Report::Failed);
    assert_eq!(node.inbound(ip("60.9.0.1")), Verdict::Admit);
}

#[test]
fn the_newcomer_is_not_forgotten_for_the_evicted_peer() {
    let mut config = evicting(1);
    config.max_idle_peers = 1;
    let mut node = full_with(config, &["60.1.0.1"]);
    node.list([ip("60.9.0.1")]);
    node.report(ip("60.9.0.1"), Report::Failed);
    assert_eq!(node.inbound(ip("60.9.0.1")), Verdict::Admit);
    let kept = node.table.peer(ip("60.9.0.1")).unwrap();
    assert!(kept.last_failure.is_some());
    assert_eq!(node.status(ip("60.1.0.1")), Some(Idle));
}

#[test]
fn an_evicted_peer_may_come_again() {
    let mut node = full(&["60.1.0.1", "60.2.0.1"]);
    let lease = node.table.connection(ip("60.2.0.1")).unwrap().0;
    comes_in(&mut node, "60.9.0.1");
    node.drop_lease(lease);
    node.lease(ip("60.9.0.1"));
    pass(&mut node, Duration::from_secs(1));
    comes_in(&mut node, "60.2.0.1");
    assert_eq!(node.status(ip("60.2.0.1")), Some(InAlive));
}
