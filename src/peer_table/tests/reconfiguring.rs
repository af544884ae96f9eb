//! A table that goes on with another config.

use super::world::{lone, proven, unproven};
use super::*;

fn changed(node: &Node, change: impl FnOnce(&mut NetworkConfig)) -> NetworkConfig {
    let mut config = node.table.config().clone();
    change(&mut config);
    config
}

/// Does not poll.
pub(super) fn reconfigure(node: &mut Node, change: impl FnOnce(&mut NetworkConfig)) {
    let config = changed(node, change);
    node.table.reconfigure(node.now, config.clone()).unwrap();
    assert_eq!(node.table.config(), &config);
    node.settle();
}

/// Lets the table do all that is left to do.
fn finish(node: &mut Node) {
    while node.table.next_reconfiguring().is_some() {
        node.table.on_time(node.now);
        node.settle();
    }
}

fn prefixes(texts: &[&str]) -> Vec<crate::IpPrefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// As many peers as wanted are alive, each in a network of its own.
fn connected(target: usize) -> Node {
    let mut config = config();
    config.target_outgoing_connections = target;
    config.max_simultaneous_outgoing_connection_attempts = 8;
    config.rotation_interval = None;
    let mut node = Node::new(config);
    (0..target).for_each(|number| node.connect(lone(number)));
    node
}

fn used_incoming(node: &Node) -> usize {
    node.table.stats().incoming_connections.used
}

#[test]
fn a_raised_target_is_dialed_for_up_to_it() {
    let mut node = connected(2);
    node.list((2..9).map(lone));
    node.poll();
    assert_eq!(node.dials.len(), 0);
    reconfigure(&mut node, |config| config.target_outgoing_connections = 4);
    node.poll();
    assert_eq!(node.dials.len(), 2);
}

#[test]
fn a_lowered_target_closes_nothing_and_is_not_dialed_for_until_one_is_missing() {
    let mut node = connected(4);
    node.list((4..9).map(lone));
    reconfigure(&mut node, |config| config.target_outgoing_connections = 2);
    let end = |node: &mut Node, number| {
        node.report(lone(number), Report::Failed);
        node.poll();
        node.dials.len()
    };
    node.poll();
    assert_eq!(node.table.stats().peers.out_alive, 4);
    assert!(node.revoked.is_empty());
    assert_eq!([end(&mut node, 0), end(&mut node, 1), end(&mut node, 2)], [0, 0, 1]);
}

#[test]
fn dials_that_a_lowered_target_does_not_want_are_called_off() {
    let mut node = connected(1);
    reconfigure(&mut node, |config| config.target_outgoing_connections = 3);
    node.list((1..9).map(lone));
    node.poll();
    assert_eq!(node.dials.len(), 2);
    reconfigure(&mut node, |config| config.target_outgoing_connections = 2);
    assert_eq!(node.dials.len(), 2, "one is missing still");
    reconfigure(&mut node, |config| config.target_outgoing_connections = 1);
    assert_eq!(node.dials.len(), 0);
    assert_eq!(node.table.stats().counters.dials_called_off, 2);
}

#[test]
fn attempts_follow_their_cap_either_way() {
    let mut node = connected(0);
    node.list((0..9).map(lone));
    reconfigure(&mut node, |config| {
        config.target_outgoing_connections = 6;
        config.max_simultaneous_outgoing_connection_attempts = 2;
    });
    node.poll();
    assert_eq!(node.dials.len(), 2);
    reconfigure(&mut node, |config| {
        config.max_simultaneous_outgoing_connection_attempts = 3;
    });
    node.poll();
    assert_eq!(node.dials.len(), 3);
    reconfigure(&mut node, |config| {
        config.max_simultaneous_outgoing_connection_attempts = 1;
    });
    node.poll();
    assert_eq!(node.dials.len(), 3, "none is called off");
    for left in [2, 1, 1] {
        let (_, &peer) = node.dials.iter().next().unwrap();
        node.dial_err(peer, DialFault::Peer);
        node.poll();
        assert_eq!(node.dials.len(), left);
    }
}

#[test]
fn incoming_connections_follow_their_cap_either_way() {
    let mut node = connected(0);
    reconfigure(&mut node, |config| config.max_incoming_connections = 2);
    let full = Verdict::Refuse(Refusal::IncomingFull);
    let come = |node: &mut Node, number| node.inbound(lone(number));
    assert_eq!(
        [0, 1, 2].map(|number| come(&mut node, number)),
        [Verdict::Admit, Verdict::Admit, full]
    );
    reconfigure(&mut node, |config| config.max_incoming_connections = 3);
    assert_eq!([3, 4].map(|number| come(&mut node, number)), [Verdict::Admit, full]);
    reconfigure(&mut node, |config| config.max_incoming_connections = 1);
    assert_eq!(used_incoming(&node), 3, "none is closed");
    for (ends, verdict) in [(0, full), (1, full), (3, Verdict::Admit)] {
        assert_eq!(come(&mut node, 9), full);
        node.report(lone(ends), Report::Closed);
        assert_eq!(come(&mut node, 8), verdict);
    }
}

#[test]
fn incoming_attempts_follow_their_cap_either_way() {
    let mut node = connected(0);
    let full = Verdict::Refuse(Refusal::AttemptsFull);
    reconfigure(&mut node, |config| {
        config.max_simultaneous_incoming_connection_attempts = 1;
    });
    assert_eq!([0, 1].map(|number| node.inbound(lone(number))), [Verdict::Admit, full]);
    reconfigure(&mut node, |config| {
        config.max_simultaneous_incoming_connection_attempts = 2;
    });
    assert_eq!([2, 3].map(|number| node.inbound(lone(number))), [Verdict::Admit, full]);
    reconfigure(&mut node, |config| {
        config.max_simultaneous_incoming_connection_attempts = 1;
    });
    node.report(lone(0), Report::Alive);
    assert_eq!(node.inbound(lone(4)), full);
    node.report(lone(2), Report::Alive);
    assert_eq!(node.inbound(lone(4)), Verdict::Admit);
}

#[test]
fn a_subnets_connections_follow_their_cap_either_way() {
    let mut node = connected(0);
    let peer = |host| IpAddr::from([60, 1, 1, host]);
    let full = Verdict::Refuse(Refusal::SubnetFull);
    assert_eq!([1, 2].map(|host| node.inbound(peer(host))), [Verdict::Admit; 2]);
    reconfigure(&mut node, |config| config.max_incoming_per_subnet = Some(1));
    assert_eq!(node.inbound(peer(3)), full);
    node.report(peer(1), Report::Closed);
    assert_eq!(node.inbound(peer(3)), full);
    reconfigure(&mut node, |config| config.max_incoming_per_subnet = Some(2));
    assert_eq!([3, 4].map(|host| node.inbound(peer(host))), [Verdict::Admit, full]);
    reconfigure(&mut node, |config| config.max_incoming_per_subnet = None);
    assert_eq!(node.inbound(peer(4)), Verdict::Admit);
}

#[test]
fn idle_peers_beyond_a_lowered_cap_are_forgotten_in_steps_and_the_proven_kept() {
    let mut node = connected(0);
    let records = (0..200).map(|number| {
        if number < 10 {
            proven(lone(number))
        } else {
            unproven(lone(number))
        }
    });
    node.load(records.collect());
    reconfigure(&mut node, |config| config.max_idle_peers = 10);
    assert_eq!(node.table.peers().count(), 200, "not at once");
    let mut known = vec![200];
    while node
        .table
        .next_deadline()
        .is_some_and(|due| due <= node.now.since_start)
    {
        node.table.on_time(node.now);
        node.settle();
        known.push(node.table.peers().count());
    }
    assert!(known.windows(2).all(|pair| pair[0] - pair[1] <= 32), "{known:?}");
    assert_eq!(known.last(), Some(&10));
    assert!((0..10).all(|number| node.status(lone(number)).is_some()));
    assert_eq!(node.table.stats().counters.peers_forgotten, 190);
    reconfigure(&mut node, |config| config.max_idle_peers = 11);
    node.list([lone(250)]);
    assert_eq!(node.table.peers().count(), 11);
}

#[test]
fn while_too_many_are_idle_lists_add_no_peer_and_one_event_forgets_few() {
    let mut node = connected(0);
    node.load((0..200).map(|number| unproven(lone(number))).collect());
    assert_eq!(node.inbound(lone(201)), Verdict::Admit);
    reconfigure(&mut node, |config| config.max_idle_peers = 10);
    let (changes, forgotten) = (node.table.changes(), node.table.stats().counters.peers_forgotten);
    node.list([lone(202)]);
    assert_eq!(node.status(lone(202)), None);
    assert_eq!(
        (node.table.changes(), node.table.stats().counters.peers_forgotten),
        (changes, forgotten)
    );
    node.report(lone(201), Report::Closed);
    assert_eq!(node.table.peers().count(), 201 - 32);
}

#[test]
fn bans_beyond_a_lowered_cap_are_dropped_in_steps() {
    let mut node = connected(0);
    (0..100).for_each(|number| node.report(lone(number), Report::Banned));
    reconfigure(&mut node, |config| config.max_banned_peers = 3);
    assert_eq!(node.table.stats().peers.banned, 100);
    node.table.on_time(node.now);
    assert_eq!(node.table.stats().peers.banned, 68);
    finish(&mut node);
    assert_eq!(node.table.stats().peers.banned, 3);
    reconfigure(&mut node, |config| config.max_banned_peers = 4);
    node.report(lone(101), Report::Banned);
    assert_eq!(node.table.stats().peers.banned, 4);
}

#[test]
fn the_bans_of_many_reserved_peers_are_dropped_without_recursion() {
    let mut node = connected(0);
    reconfigure(&mut node, |config| config.reserved_peers = (0..100).map(lone).collect());
    (0..100).for_each(|number| node.report(lone(number), Report::Banned));
    reconfigure(&mut node, |config| config.max_banned_peers = 0);
    node.table.on_time(node.now);
    assert_eq!(node.table.stats().peers.banned, 68);
    finish(&mut node);
    assert_eq!(node.table.stats().peers.idle, 100);
}

#[test]
fn the_bucket_follows_the_cap_on_attempts() {
    let mut node = connected(0);
    node.list((0..200).map(lone));
    reconfigure(&mut node, |config| {
        config.target_outgoing_connections = 50;
        config.max_simultaneous_outgoing_connection_attempts = 100;
        config.dial_stagger = Duration::from_secs(3_600);
    });
    let burst = |node: &mut Node| {
        let mut dials = 0;
        loop {
            node.poll();
            let Some((_, &peer)) = node.dials.iter().next() else {
                return dials;
            };
            node.dial_err(peer, DialFault::Peer);
            dials += 1;
        }
    };
    reconfigure(&mut node, |config| {
        config.max_simultaneous_outgoing_connection_attempts = 3;
    });
    assert_eq!(burst(&mut node), 6);
    reconfigure(&mut node, |config| {
        config.max_simultaneous_outgoing_connection_attempts = 5;
    });
    assert_eq!(burst(&mut node), 4, "what it holds more");
    reconfigure(&mut node, |config| config.dial_stagger = Duration::from_millis(100));
    node.wait(Duration::from_millis(99));
    assert_eq!(burst(&mut node), 0);
    node.wait(Duration::from_millis(1));
    assert_eq!(burst(&mut node), 1, "the long wait is over");
}

#[test]
fn denied_peers_leave_candidates_and_lists_at_once_and_by_and_by() {
    let mut node = connected(0);
    node.load((0..200).map(|number| unproven(lone(number))).collect());
    reconfigure(&mut node, |config| {
        config.denied = prefixes(&["60.0.0.0/8"]);
        config.target_outgoing_connections = 1;
    });
    let is_allowed = |ip: IpAddr| !ip.to_string().starts_with("60.");
    let told: Vec<_> = node.table.good_peer_ips().collect();
    assert!(told.is_empty(), "all are of 60.0.0.0/8");
    assert!(node.table.sample_peer_ips(9).into_iter().all(is_allowed));
    assert_eq!(node.table.dial_state(node.now, lone(7)), DialState::Denied);
    assert_eq!(node.table.next_dial(node.now), None);
    assert_eq!(node.inbound(lone(7)), Verdict::Refuse(Refusal::Denied));
    let mut calls = 0;
    while node.table.next_reconfiguring().is_some() {
        node.table.on_time(node.now);
        node.settle();
        calls += 1;
    }
    assert_eq!(calls, 201_usize.div_ceil(64), "64 slots a call");
    assert_eq!(node.table.peers().count(), 200, "they stay known");
    reconfigure(&mut node, |config| config.denied = Vec::new());
    finish(&mut node);
    assert_eq!(node.table.good_peer_ips().count(), 200);
    node.poll();
    assert_eq!(node.dials.len(), 1);
}

#[test]
fn denied_peers_are_forgotten_before_others() {
    let mut node = connected(0);
    node.list((1..=20).map(|host| IpAddr::from([60, 1, 0, host])));
    reconfigure(&mut node, |config| {
        config.denied = prefixes(&["60.1.0.0/28"]);
        config.max_idle_peers = 5;
    });
    finish(&mut node);
    let known: BTreeSet<_> = node.table.peers().map(|peer| peer.ip).collect();
    assert_eq!(known, (16..=20).map(|host| IpAddr::from([60, 1, 0, host])).collect());
}

#[test]
fn what_is_not_allowed_any_more_is_denied() {
    let mut node = connected(0);
    node.list([ip("60.1.0.1"), ip("70.1.0.1")]);
    reconfigure(&mut node, |config| config.allowed = prefixes(&["70.0.0.0/8"]));
    assert!(node.table.good_peer_ips().eq([ip("70.1.0.1")]));
    finish(&mut node);
    assert!(node.table.good_peer_ips().eq([ip("70.1.0.1")]));
    assert_eq!(node.table.sample_peer_ips(9), [ip("70.1.0.1")]);
}

#[test]
fn leases_of_denied_peers_are_revoked_and_other_connections_stay() {
    let mut node = connected(3);
    assert_eq!(node.inbound(lone(9)), Verdict::Admit);
    for number in [0, 2, 9] {
        node.lease(lone(number));
    }
    reconfigure(&mut node, |config| {
        config.denied = prefixes(&["60.0.0.0/16", "60.1.0.0/16", "60.9.0.0/16"]);
    });
    assert!(node.revoked.is_empty());
    finish(&mut node);
    let mut revoked = node.revoked.clone();
    revoked.sort_by_key(|&(ip, _)| ip);
    assert_eq!(revoked, [(lone(0), Revocation::Denied), (lone(9), Revocation::Denied)]);
    let statuses = [0, 1, 2, 9].map(|number| node.status(lone(number)).unwrap());
    let (idle, alive) = (PeerStatus::Idle, PeerStatus::OutAlive);
    assert_eq!(statuses, [idle, alive, alive, idle]);
    assert_eq!(node.streak(lone(0)), 0, "no failure is recorded");
}

#[test]
fn dials_to_denied_peers_are_called_off() {
    let mut node = connected(0);
    node.list([lone(1), lone(2)]);
    reconfigure(&mut node, |config| config.target_outgoing_connections = 2);
    node.poll();
    reconfigure(&mut node, |config| config.denied = prefixes(&["60.1.0.0/16"]));
    finish(&mut node);
    assert!(node.dials.values().eq(&[lone(2)]));
    assert_eq!(node.status(lone(1)), Some(PeerStatus::Idle));
}

#[test]
fn a_dial_that_succeeds_before_its_peer_is_found_denied_is_no_candidate() {
    let mut node = connected(0);
    node.list([lone(1)]);
    reconfigure(&mut node, |config| config.target_outgoing_connections = 2);
    node.poll();
    reconfigure(&mut node, |config| config.denied = prefixes(&["60.1.0.0/16"]));
    node.dial_ok(lone(1));
    assert!(node.connections.is_empty());
    assert_eq!(node.status(lone(1)), Some(PeerStatus::Idle));
}

#[test]
fn global_peers_only_hides_local_peers_and_shows_them_again() {
    let mut node = connected(0);
    node.list([ip("10.0.0.1"), ip("60.1.0.1")]);
    reconfigure(&mut node, |config| config.global_peers_only = true);
    assert!(node.table.good_peer_ips().eq([ip("60.1.0.1")]));
    assert_eq!(node.table.sample_peer_ips(9), [ip("60.1.0.1")]);
    finish(&mut node);
    assert!(node.table.good_peer_ips().eq([ip("60.1.0.1")]));
    reconfigure(&mut node, |config| config.global_peers_only = false);
    finish(&mut node);
    assert_eq!(node.table.good_peer_ips().count(), 2);
}

#[test]
fn a_peer_that_is_allowed_again_can_be_dialed_by_hand_at_once() {
    let mut node = connected(0);
    node.list([lone(1)]);
    reconfigure(&mut node, |config| config.denied = prefixes(&["60.1.0.0/16"]));
    finish(&mut node);
    node.report(lone(1), Report::Dial);
    assert_eq!(node.table.stats().counters.feedback_stale, 1);
    reconfigure(&mut node, |config| config.denied = Vec::new());
    node.report(lone(1), Report::Dial);
    assert_eq!(node.table.stats().counters.feedback_stale, 1);
    node.poll();
    assert!(node.dials.values().eq(&[lone(1)]));
}

#[test]
fn reserved_peers_change_as_reserve_and_release_change_them() {
    let mut node = connected(0);
    reconfigure(&mut node, |config| config.reserved_peers = vec![lone(1), lone(2)]);
    node.poll();
    let dialed: BTreeSet<_> = node.dials.values().copied().collect();
    assert_eq!(dialed, [lone(1), lone(2)].into());
    node.dial_ok(lone(1));
    reconfigure(&mut node, |config| config.reserved_peers = vec![lone(2), lone(3)]);
    assert_eq!(
        node.status(lone(1)),
        Some(PeerStatus::OutHandshaking),
        "its connection stays"
    );
    assert!(node.table.is_beside_target(lone(1)));
    node.report(lone(2), Report::Release);
    assert_eq!(node.table.config().reserved_peers, [lone(3)]);
    assert_eq!(node.table.stats().counters.feedback_stale, 0);
    let mapped = changed(&node, |config| {
        config.reserved_peers = vec![ip("::ffff:60.3.0.1"), lone(3)];
    });
    node.table.reconfigure(node.now, mapped).unwrap();
    assert_eq!(node.table.config().reserved_peers, [lone(3)]);
}

#[test]
fn half_of_the_idle_peers_may_be_reserved_by_the_new_cap() {
    let mut node = connected(0);
    let reserving = |node: &Node, idle| {
        changed(node, |config| {
            config.max_idle_peers = idle;
            config.reserved_peers = vec![lone(1), lone(2)];
        })
    };
    let (few, enough) = (reserving(&node, 3), reserving(&node, 4));
    let before = node.table.config().clone();
    assert_eq!(
        node.table.reconfigure(node.now, few).unwrap_err().field(),
        "reserved_peers"
    );
    assert_eq!(node.table.config(), &before);
    node.table.reconfigure(node.now, enough).unwrap();
    node.settle();
}
