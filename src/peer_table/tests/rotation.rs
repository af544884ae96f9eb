//! Rotation: when one more peer is dialed, which, and which connection ends for it.

use PeerStatus::{Idle, OutAlive, OutConnecting};
use Revocation::Rotated;

use super::*;
use crate::peer_table::rotation::Rotation;

const INTERVAL: Duration = Duration::from_secs(600);

fn rotating(target: usize) -> NetworkConfig {
    NetworkConfig {
        target_outgoing_connections: target,
        rotation_interval: Some(INTERVAL),
        ..config()
    }
}

/// In a subnet of its own.
fn peer(number: u8) -> IpAddr {
    IpAddr::from([80, number, 0, 1])
}

/// A node with these outgoing connections, which are its target, and no others; `leased` of them are.
fn at_target(connected: u8, leased: u8) -> Node {
    at_target_with(rotating(connected.into()), connected, leased)
}

fn at_target_with(config: NetworkConfig, connected: u8, leased: u8) -> Node {
    let mut node = Node::new(config);
    (0..connected).for_each(|number| node.connect(peer(number)));
    (0..leased).for_each(|number| _ = node.lease(peer(number)));
    node
}

/// One more peer becomes known and is dialed by the next rotation.
fn rotates(node: &mut Node, newcomer: IpAddr) {
    node.list([newcomer]);
    node.wait(INTERVAL * 5 / 4);
    node.poll();
    assert_eq!(node.status(newcomer), Some(OutConnecting));
}

/// It answers, and its handshake is done.
fn comes_alive(node: &mut Node, newcomer: IpAddr, is_leased: bool) {
    node.dial_ok(newcomer);
    if is_leased {
        node.lease(newcomer);
    }
    node.report(newcomer, Report::Alive);
}

fn counted(node: &Node) -> (u64, u64) {
    let counters = node.table.stats().counters;
    (counters.rotations, counters.rotated_out)
}

#[test]
fn a_new_connection_takes_the_place_of_an_old_one() {
    let mut node = at_target(2, 2);
    rotates(&mut node, peer(9));
    assert_eq!(node.revoked, [], "first the new, then the old");
    comes_alive(&mut node, peer(9), true);
    let [(gone, Rotated)] = node.revoked[..] else {
        panic!("{:?}", node.revoked)
    };
    assert!([peer(0), peer(1)].contains(&gone));
    assert_eq!((node.status(gone), node.status(peer(9))), (Some(Idle), Some(OutAlive)));
    assert_eq!(node.table.stats().outgoing_connections.used, 2);
    assert_eq!(counted(&node), (1, 1));
    assert_eq!(
        node.table.peer(gone).unwrap().last_failure,
        None,
        "no failure is recorded"
    );
}

#[test]
fn an_application_without_leases_is_never_rotated() {
    let mut node = at_target(2, 0);
    node.list([peer(9)]);
    for _ in 0..20 {
        node.wait(INTERVAL);
        node.poll();
    }
    assert_eq!((node.status(peer(9)), counted(&node)), (Some(Idle), (0, 0)));
    assert_eq!(node.revoked, []);
    node.lease(peer(1));
    node.poll();
    assert_eq!(node.status(peer(9)), Some(OutConnecting));
}

#[test]
fn it_waits_until_the_target_is_met() {
    let mut config = rotating(3);
    config.handshake_timeout = None;
    let mut node = at_target_with(config, 2, 2);
    node.connect(peer(2));
    node.report(peer(2), Report::Closed);
    node.list([peer(8)]);
    node.poll();
    node.dial_ok(peer(8));
    node.list([peer(9)]);
    node.wait(INTERVAL);
    node.poll();
    assert_eq!(counted(&node), (0, 0), "a handshake is under way");
    node.report(peer(8), Report::Alive);
    node.poll();
    assert_eq!(counted(&node), (1, 0));
}

#[test]
fn none_is_due_without_an_interval() {
    let mut config = rotating(1);
    config.rotation_interval = None;
    let mut node = at_target_with(config, 1, 1);
    node.list([peer(9)]);
    node.wait(Duration::from_secs(1_000_000));
    node.poll();
    assert_eq!(counted(&node), (0, 0));
}

#[test]
fn the_first_is_due_after_a_random_part_of_the_interval() {
    let now = Now {
        utc: start(),
        since_start: Duration::from_secs(5),
    };
    let first = |seed| Rotation::new(&rotating(1), &mut Random::new(seed), now).due.unwrap();
    let waits: Vec<_> = (0..200).map(|seed| first(seed).since(now.moment())).collect();
    let seconds = Duration::from_secs;
    assert!(waits.iter().all(|wait| *wait < seconds(75)), "about a minute at most");
    assert!(waits.iter().any(|wait| *wait < seconds(30)) && waits.iter().any(|wait| *wait > seconds(70)));
}

#[test]
fn the_first_of_a_short_interval_is_due_within_it() {
    let mut config = rotating(1);
    config.rotation_interval = Some(Duration::from_secs(4));
    let now = Node::new(rotating(1)).now;
    let first = |seed| Rotation::new(&config, &mut Random::new(seed), now).due.unwrap();
    let waits: Vec<_> = (0..200).map(|seed| first(seed).since(now.moment())).collect();
    let seconds = Duration::from_secs;
    assert!(waits.iter().all(|wait| *wait < seconds(4)));
    assert!(waits.iter().any(|wait| *wait < seconds(1)) && waits.iter().any(|wait| *wait > seconds(3)));
}

/// Of a node that is that old, which wants so many connections: the wait until the next but one rotation.
fn wait_at(age: Duration, target: u8) -> Duration {
    let mut node = at_target(target, target);
    node.list([peer(99)]);
    node.wait(age);
    node.poll();
    assert_eq!(counted(&node).0, 1);
    node.table.rotation.due.unwrap().since(node.now.moment())
}

#[test]
fn a_young_node_rotates_more_often_by_its_age_and_target() {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    // Two thirds of the age by the target, but at least 10 s and at most the interval, times 0.75 to 1.25.
    for (age, target, wait) in [
        (minutes(2), 1, Duration::from_secs(80)),
        (minutes(2), 4, Duration::from_secs(20)),
        (minutes(2), 20, Duration::from_secs(10)),
        (minutes(12), 4, minutes(2)),
        (minutes(58), 4, Duration::from_secs(580)),
        (minutes(62), 4, INTERVAL),
        (minutes(600), 20, INTERVAL),
    ] {
        let seen = wait_at(age, target);
        let (least, most) = (wait * 3 / 4, wait * 5 / 4);
        assert!((least..=most).contains(&seen), "{seen:?} at {age:?} for {target}");
    }
}

#[test]
fn the_next_is_due_after_the_interval_with_its_jitter() {
    let mut node = at_target(2, 2);
    let mut waits = Vec::new();
    node.wait(INTERVAL * 4);
    for number in 10..40 {
        rotates(&mut node, peer(number));
        let due = node.table.rotation.due.unwrap();
        waits.push(due.since(node.now.moment()));
        node.dial_err(peer(number), DialFault::Peer);
        node.report(peer(number), Report::Banned);
    }
    let (least, most) = (INTERVAL * 3 / 4, INTERVAL * 5 / 4);
    assert!(waits.iter().all(|wait| (least..=most).contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait < INTERVAL) && waits.iter().any(|wait| *wait > INTERVAL));
}

#[test]
fn nothing_is_dialed_before_it_is_due() {
    let mut node = at_target(1, 1);
    node.list([peer(9)]);
    node.wait(Duration::from_secs(5));
    node.poll();
    let due = node.table.rotation.due.unwrap().since_start();
    assert_eq!(node.table.next_deadline(), Some(due));
    node.wait(due - node.now.since_start - Duration::from_nanos(1));
    node.poll();
    assert_eq!(node.status(peer(9)), Some(Idle));
    node.wait(Duration::from_nanos(1));
    node.poll();
    assert_eq!(node.status(peer(9)), Some(OutConnecting));
}

#[test]
fn a_peer_that_does_not_come_alive_was_tried_and_that_is_all() {
    let ends: [fn(&mut Node); 3] = [
        |node| node.dial_err(peer(9), DialFault::Peer),
        |node| {
            node.dial_ok(peer(9));
            node.report(peer(9), Report::Failed);
        },
        |node| {
            node.dial_ok(peer(9));
            node.wait(Duration::from_secs(11));
            node.poll();
        },
    ];
    for end in ends {
        let mut node = at_target(2, 2);
        rotates(&mut node, peer(9));
        end(&mut node);
        node.poll();
        let statuses = [0, 1, 9].map(|number| node.status(peer(number)));
        assert_eq!(statuses, [Some(OutAlive), Some(OutAlive), Some(Idle)]);
        assert_eq!(counted(&node), (1, 0));
    }
}

#[test]
fn none_ends_if_one_has_ended_meanwhile() {
    let mut node = at_target(2, 2);
    rotates(&mut node, peer(9));
    node.dial_ok(peer(9));
    node.report(peer(0), Report::Closed);
    node.report(peer(9), Report::Alive);
    assert_eq!(counted(&node), (1, 0));
    assert_eq!(node.table.stats().outgoing_connections.used, 2);
}

#[test]
fn the_new_one_goes_if_no_other_is_leased_and_stays_if_it_is_not_either() {
    for is_leased in [true, false] {
        let mut node = at_target(2, 1);
        rotates(&mut node, peer(9));
        node.dial_ok(peer(9));
        node.report(peer(0), Report::Closed);
        // As if it had been lowered meanwhile, so that there is still one too many.
        node.table.config.target_outgoing_connections = 1;
        if is_leased {
            node.lease(peer(9));
        }
        node.report(peer(9), Report::Alive);
        let stays = node.status(peer(9)) == Some(OutAlive);
        assert_eq!((stays, counted(&node).1), (!is_leased, u64::from(is_leased)));
        assert_eq!(node.status(peer(1)), Some(OutAlive));
    }
}

#[test]
fn the_next_waits_while_there_is_one_too_many() {
    let mut node = at_target(2, 1);
    rotates(&mut node, peer(9));
    node.dial_ok(peer(9));
    node.report(peer(0), Report::Closed);
    node.table.config.target_outgoing_connections = 1;
    node.report(peer(9), Report::Alive);
    node.lease(peer(1));
    node.list([peer(10)]);
    node.wait(INTERVAL * 2);
    node.poll();
    assert_eq!(counted(&node).0, 1);
    node.report(peer(9), Report::Closed);
    node.poll();
    assert_eq!(counted(&node).0, 2);
}

#[test]
fn the_connection_that_ends_is_drawn_by_lot() {
    let mut node = at_target(3, 3);
    let mut held: Vec<_> = (0..3).map(peer).collect();
    let mut places = [0; 3];
    for number in 10..70 {
        rotates(&mut node, peer(number));
        comes_alive(&mut node, peer(number), true);
        let (gone, _) = node.revoked.pop().expect("one goes");
        let place = held.iter().position(|&ip| ip == gone).expect("not the new one");
        places[place] += 1;
        held.remove(place);
        held.push(peer(number));
        node.report(gone, Report::Banned);
        node.wait(Duration::from_secs(10));
        node.poll();
    }
    assert!(places.iter().all(|&count| count > 8), "{places:?}");
}

/// Peers that were alive on outgoing connections before the start.
fn proven(count: u8) -> Vec<PeerRecord> {
    let alive = start() - TimeDelta::hours(1);
    let records = (1..=count).map(|number| {
        let mut record = PeerRecord::new(peer(number));
        (record.peer.last_alive, record.peer.last_alive_outgoing) = (Some(alive), Some(alive));
        record
    });
    records.collect()
}

/// Which peers 200 rotations dial; none of them comes alive.
fn dialed_by_rotations(node: &mut Node) -> Vec<IpAddr> {
    let mut tried = Vec::new();
    for _ in 0..200 {
        node.wait(INTERVAL * 5 / 4);
        node.poll();
        let dialed: Vec<_> = node.dials.values().copied().collect();
        assert_eq!(dialed.len(), 1);
        node.dial_err(dialed[0], DialFault::Host);
        tried.extend(dialed);
    }
    tried
}

#[test]
fn a_rotation_draws_from_proven_lapsed_and_untried_peers_alike() {
    let mut node = Node::new(rotating(1));
    node.load(proven(3));
    node.poll();
    // The first connection ends, so that its peer has lapsed; the second one lasts.
    let dialed = |node: &Node| node.dials.values().copied().next().unwrap();
    let lapsed = dialed(&node);
    node.dial_ok(lapsed);
    node.report(lapsed, Report::Alive);
    node.report(lapsed, Report::Closed);
    node.poll();
    let connected = dialed(&node);
    node.dial_ok(connected);
    node.lease(connected);
    node.report(connected, Report::Alive);
    node.list([peer(9)]);
    let tried = dialed_by_rotations(&mut node);
    let count = |ip: IpAddr| tried.iter().filter(|&&other| other == ip).count();
    let left = (1..=3).map(peer).find(|ip| ![lapsed, connected].contains(ip)).unwrap();
    let counts = [lapsed, left, peer(9)].map(count);
    assert_eq!(counts.iter().sum::<usize>(), tried.len());
    assert!(counts.iter().all(|&count| count > 40), "{counts:?}");
}

/// How many of 100 rotations dial a peer of the subnet that so many are known of, beside 4 peers alone in theirs.
fn dialed_of_crowd(known: u8) -> usize {
    let mut node = at_target(1, 1);
    let crowd: Vec<_> = (1..=known).map(|host| IpAddr::from([90, 1, 1, host])).collect();
    let alone = (10..14).map(peer);
    node.list(crowd.iter().copied().chain(alone));
    let mut count = 0;
    for _ in 0..100 {
        node.wait(INTERVAL * 5 / 4);
        node.poll();
        let dialed: Vec<_> = node.dials.values().copied().collect();
        assert_eq!(dialed.len(), 1);
        count += usize::from(crowd.contains(&dialed[0]));
        node.dial_err(dialed[0], DialFault::Peer);
        // As never tried.
        node.report(dialed[0], Report::Banned);
        node.report(dialed[0], Report::Unbanned);
        node.poll();
    }
    count
}

#[test]
fn a_large_subnet_weighs_more_than_a_small_one_but_not_without_end() {
    assert!((5..40).contains(&dialed_of_crowd(1)));
    assert!((50..90).contains(&dialed_of_crowd(8)));
    // It weighs 8 to 4, not 200 to 4.
    assert!((50..90).contains(&dialed_of_crowd(200)));
}

#[test]
fn the_address_is_held_until_the_lease_is_dropped() {
    let mut node = at_target(1, 1);
    let (lease, _) = node.table.connection(peer(0)).unwrap();
    rotates(&mut node, peer(9));
    comes_alive(&mut node, peer(9), true);
    assert_eq!(node.revoked, [(peer(0), Rotated)]);
    node.report(peer(9), Report::Closed);
    node.wait(Duration::from_secs(7));
    node.poll();
    assert_eq!(
        node.status(peer(0)),
        Some(Idle),
        "its pause is over, and it is not dialed"
    );
    assert_eq!(node.inbound(peer(0)), Verdict::Refuse(Refusal::Connected));
    node.drop_lease(a_connection(99));
    assert_eq!(node.inbound(peer(0)), Verdict::Refuse(Refusal::Connected));
    node.drop_lease(lease);
    assert_eq!(node.inbound(peer(0)), Verdict::Admit);
}

#[test]
fn the_address_is_held_for_the_handshake_timeout_at_most() {
    for (timeout, held) in [(Some(3), 3), (None, 10)] {
        let mut config = rotating(1);
        config.handshake_timeout = timeout.map(Duration::from_secs);
        config.retry_backoff = Duration::from_millis(1);
        let mut node = at_target_with(config, 1, 1);
        rotates(&mut node, peer(9));
        comes_alive(&mut node, peer(9), true);
        node.report(peer(9), Report::Banned);
        node.wait(Duration::from_secs(held) - Duration::from_nanos(1));
        node.poll();
        assert_eq!(node.status(peer(0)), Some(Idle));
        node.wait(Duration::from_nanos(1));
        node.poll();
        assert_eq!(node.status(peer(0)), Some(OutConnecting));
    }
}

#[test]
fn an_address_that_is_forgotten_and_told_again_is_still_held() {
    let mut config = rotating(1);
    config.max_idle_peers = 5;
    let mut node = at_target_with(config, 1, 1);
    rotates(&mut node, peer(9));
    node.table.config.max_idle_peers = 0;
    comes_alive(&mut node, peer(9), true);
    assert_eq!(node.status(peer(0)), None);
    node.table.config.max_idle_peers = 5;
    node.list([peer(0)]);
    assert_eq!(node.inbound(peer(0)), Verdict::Refuse(Refusal::Connected));
}

#[test]
fn no_rotation_begins_while_an_address_is_held() {
    let mut config = rotating(1);
    config.handshake_timeout = Some(INTERVAL * 10);
    let mut node = at_target_with(config, 1, 1);
    let (lease, _) = node.table.connection(peer(0)).unwrap();
    rotates(&mut node, peer(9));
    comes_alive(&mut node, peer(9), true);
    node.list([peer(10)]);
    node.wait(INTERVAL * 2);
    node.poll();
    assert_eq!(counted(&node).0, 1);
    node.drop_lease(lease);
    node.poll();
    assert_eq!(counted(&node).0, 2);
}
