//! How fast dials may follow each other: the bucket of tokens, its rate in an outage, and refunds.

use super::world::{Answer, World, lone, proven, unproven};
use super::*;

const STAGGER: Duration = Duration::from_millis(250);
const ATTEMPTS: usize = 4;
const BUCKET: usize = 2 * ATTEMPTS;

/// A node with a bucket of [`BUCKET`] tokens that knows so many peers, each in a subnet of its own.
fn among(peers: usize) -> World {
    among_with(peers, STAGGER)
}

fn among_with(peers: usize, dial_stagger: Duration) -> World {
    let mut config = config();
    config.target_outgoing_connections = ATTEMPTS;
    config.max_simultaneous_outgoing_connection_attempts = ATTEMPTS;
    config.dial_stagger = dial_stagger;
    let mut world = World::new(config, 1);
    world.load((0..peers).map(|number| unproven(lone(number))).collect());
    world
}

/// Lets each dial that can start now fail at once; returns how many there were.
fn dials_now(world: &mut World, fault: DialFault) -> usize {
    let mut dials = 0;
    loop {
        let dialed = world.poll();
        if dialed.is_empty() {
            return dials;
        }
        dials += dialed.len();
        dialed.into_iter().for_each(|ip| world.dial_fails(ip, fault));
    }
}

/// How many of the dials started from `from` to `to`, in seconds.
fn between(dials: &[(Duration, IpAddr)], from: u64, to: u64) -> usize {
    let range = Duration::from_secs(from)..Duration::from_secs(to);
    dials.iter().filter(|(at, _)| range.contains(at)).count()
}

#[test]
fn the_bucket_is_full_at_the_start_and_one_token_comes_back_each_stagger() {
    let mut world = among(100);
    assert_eq!(dials_now(&mut world, DialFault::Peer), BUCKET);
    world.wait(STAGGER - Duration::from_nanos(1));
    assert_eq!(dials_now(&mut world, DialFault::Peer), 0);
    assert_eq!(
        world.table.next_deadline(),
        Some(world.now.since_start + Duration::from_nanos(1))
    );
    world.wait(Duration::from_nanos(1));
    assert_eq!(dials_now(&mut world, DialFault::Peer), 1);
    world.wait(3 * STAGGER);
    assert_eq!(dials_now(&mut world, DialFault::Peer), 3);
}

#[test]
fn the_bucket_holds_twice_the_attempts_however_long_it_fills() {
    let mut world = among(100);
    dials_now(&mut world, DialFault::Peer);
    world.wait(20 * STAGGER);
    assert_eq!(dials_now(&mut world, DialFault::Peer), BUCKET);
}

#[test]
fn a_refund_does_not_overfill_the_bucket() {
    let mut world = among(100);
    for ip in world.poll() {
        world.dial_fails(ip, DialFault::Unroutable { at_once: true });
    }
    world.wait(20 * STAGGER);
    assert_eq!(dials_now(&mut world, DialFault::Peer), BUCKET);
}

#[test]
fn a_stagger_of_0_sets_no_pace() {
    let mut world = among_with(1_000, Duration::ZERO);
    assert_eq!(dials_now(&mut world, DialFault::Peer), 1_000);
    world.wait(Duration::from_secs(700));
    assert_eq!(dials_now(&mut world, DialFault::Peer), 1_000);
}

#[test]
fn outside_an_outage_refusing_peers_are_dialed_at_the_full_rate() {
    let mut world = among(0);
    world.end_outage_with(lone(9_999));
    world.table.on_peer_list((0..2_000).map(lone));
    let dials = world.run(Duration::from_secs(60), |_, _| Answer::REFUSES);
    assert_eq!(dials.len(), BUCKET + 60 * 4);
}

#[test]
fn each_30_s_of_an_outage_halve_the_rate_down_to_one_dial_per_retry_backoff() {
    let mut world = among(2_000);
    let dials = world.run(Duration::from_secs(600), |_, _| Answer::REFUSES);
    assert_eq!(between(&dials, 0, 30), BUCKET + 119);
    for (number, expected) in [60, 30, 15].into_iter().enumerate() {
        let from = 30 * u64::try_from(number + 1).unwrap();
        let dials = between(&dials, from, from + 30);
        assert!(dials.abs_diff(expected) <= 1, "{dials} from {from} s on");
    }
    assert!((7..=8).contains(&between(&dials, 120, 150)));
    assert!((89..=90).contains(&between(&dials, 150, 600)), "one each 5 s");
}

#[test]
fn the_rate_recovers_once_a_connection_has_been_alive_for_retry_backoff() {
    let friend = lone(5_000);
    let mut world = among(2_000);
    world.load(vec![proven(friend)]);
    let up = Duration::from_secs(600);
    let mut alive_at = None;
    let dials = world.run(Duration::from_secs(700), |now, peer| {
        if peer != friend || now < up {
            return Answer::REFUSES;
        }
        alive_at.get_or_insert(now + Duration::from_millis(50));
        Answer::Alive
    });
    let count = |from: Duration, to: Duration| dials.iter().filter(|(at, _)| (from..to).contains(at)).count();
    let alive_at = alive_at.unwrap();
    let over = alive_at + Duration::from_secs(5);
    assert!(count(alive_at, over) <= 1, "the outage goes on");
    assert!(count(over, over + Duration::from_secs(10)) >= 39);
}

#[test]
fn a_dial_that_finds_no_way_in_its_first_poll_gives_its_token_back() {
    let mut world = among(500);
    assert_eq!(dials_now(&mut world, DialFault::Unroutable { at_once: true }), 500);
    let mut world = among(500);
    assert_eq!(dials_now(&mut world, DialFault::Unroutable { at_once: false }), BUCKET);
}

#[test]
fn at_most_1_000_tokens_a_second_are_given_back() {
    let mut world = among(5_000);
    let dials = world.run(Duration::from_millis(2_900), |_, _| Answer::NO_WAY);
    assert_eq!(between(&dials, 0, 1), 1_000 + BUCKET + 3);
    assert!(between(&dials, 1, 2).abs_diff(1_004) <= 4, "{}", between(&dials, 1, 2));
    assert!(between(&dials, 2, 3).abs_diff(1_004) <= 4, "{}", between(&dials, 2, 3));
}
