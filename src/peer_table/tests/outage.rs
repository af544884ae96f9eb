//! Times without an outgoing connection: what failures mean in them, when they are over, and what happens then.

use super::world::{Answer, World, lone, record, unproven};
use super::*;

const BACKOFF: Duration = Duration::from_secs(5);

fn with_target(target: usize) -> World {
    let mut config = config();
    config.target_outgoing_connections = target;
    World::new(config, 1)
}

/// A node that has been without an outgoing connection for no time, after it had one: `peers` are known and free.
fn in_an_outage_with(peers: impl IntoIterator<Item = IpAddr>) -> World {
    let mut world = with_target(8);
    world.end_outage_with(lone(9_999));
    world.table.on_peer_list(peers);
    world.report(lone(9_999), Report::Banned);
    assert!(world.table.is_outage(world.now));
    world
}

fn streak(world: &World, peer: IpAddr) -> u32 {
    world.table.peer(peer).unwrap().failures_in_row
}

fn last_failure(world: &World, peer: IpAddr) -> Option<DateTime<Utc>> {
    world.table.peer(peer).unwrap().last_failure
}

fn sit_out(world: &mut World, peer: IpAddr) {
    world.wait(world.pause_left(peer).unwrap());
    // The pace of dials is not what this is about.
    world.wait(Duration::from_secs(6));
}

/// Every way in which an outgoing attempt fails.
fn failures() -> [fn(&mut World, IpAddr); 5] {
    [
        |world, peer| world.dial_fails(peer, DialFault::Peer),
        |world, peer| world.dial_fails(peer, DialFault::TimedOut),
        |world, peer| world.dial_fails(peer, DialFault::Unroutable { at_once: false }),
        |world, peer| world.dial_fails(peer, DialFault::Unroutable { at_once: true }),
        |world, peer| {
            world.dial_succeeds(peer);
            world.report(peer, Report::Failed);
        },
    ]
}

#[test]
fn a_failure_adds_nothing_to_the_streak_and_the_pause_doubles_up_to_12_times_retry_backoff() {
    for fail in failures() {
        let mut world = in_an_outage_with([lone(1)]);
        for pause in [5, 10, 20, 40, 60, 60, 60] {
            assert_eq!(world.poll(), [lone(1)]);
            fail(&mut world, lone(1));
            assert_eq!(streak(&world, lone(1)), 0);
            assert_eq!(last_failure(&world, lone(1)), Some(world.now.utc));
            world.assert_pause(lone(1), pause);
            sit_out(&mut world, lone(1));
        }
    }
}

#[test]
fn a_failure_in_an_outage_pauses_no_longer_than_max_retry_backoff() {
    let mut config = config();
    config.max_retry_backoff = Duration::from_secs(15);
    let mut world = World::new(config, 1);
    world.table.on_peer_list([lone(1)]);
    for pause in [5, 10, 15, 15] {
        assert_eq!(world.poll(), [lone(1)]);
        world.dial_fails(lone(1), DialFault::TimedOut);
        world.assert_pause(lone(1), pause);
        sit_out(&mut world, lone(1));
    }
}

#[test]
fn a_long_streak_of_before_does_not_lengthen_a_pause_in_an_outage() {
    let mut world = with_target(8);
    let mut peer = Peer::new(lone(1));
    (peer.last_failure, peer.failures_in_row) = (Some(start() - TimeDelta::days(1)), 9);
    world.load(vec![record(peer)]);
    assert_eq!(world.poll(), [lone(1)]);
    world.dial_fails(lone(1), DialFault::Peer);
    assert_eq!(streak(&world, lone(1)), 9);
    world.assert_pause(lone(1), 5);
}

#[test]
fn closed_pauses_in_an_outage_as_ever() {
    let mut world = in_an_outage_with([lone(1)]);
    for pause in [5, 10, 20, 40, 80, 160] {
        assert_eq!(world.poll(), [lone(1)]);
        world.visit(lone(1));
        world.assert_pause(lone(1), pause);
        sit_out(&mut world, lone(1));
    }
}

#[test]
fn the_time_from_the_start_to_the_first_connection_is_an_outage() {
    let mut world = with_target(8);
    world.load(vec![unproven(lone(1))]);
    world.poll();
    world.dial_fails(lone(1), DialFault::Peer);
    assert_eq!(
        (streak(&world, lone(1)), last_failure(&world, lone(1))),
        (0, Some(start()))
    );
}

#[test]
fn an_outage_is_over_when_a_connection_has_been_alive_for_retry_backoff() {
    for (alive, expected) in [(BACKOFF - Duration::from_nanos(1), 0), (BACKOFF, 1)] {
        let mut world = in_an_outage_with([lone(1)]);
        world.poll();
        world.comes_alive(lone(1));
        assert_eq!(world.table.next_deadline(), Some(world.now.since_start + BACKOFF));
        world.wait(alive);
        world.table.on_peer_list([lone(2)]);
        world.poll();
        world.dial_fails(lone(2), DialFault::Peer);
        assert_eq!(streak(&world, lone(2)), expected);
    }
}

/// A report may be the first thing that happens after the outage has come to its end.
#[test]
fn an_outage_is_over_in_time_whatever_happens_first() {
    let mut world = in_an_outage_with([lone(1), lone(2)]);
    world.poll();
    world.comes_alive(lone(1));
    world.dial_succeeds(lone(2));
    world.wait(BACKOFF);
    world.report(lone(2), Report::Failed);
    assert_eq!(streak(&world, lone(2)), 1);
    let mut world = in_an_outage_with([lone(1), lone(2)]);
    world.poll();
    world.comes_alive(lone(1));
    world.wait(BACKOFF);
    world.dial_fails(lone(2), DialFault::Peer);
    assert_eq!(streak(&world, lone(2)), 1);
}

#[test]
fn a_connection_that_is_not_alive_yet_does_not_end_an_outage() {
    let mut world = in_an_outage_with([lone(1)]);
    world.poll();
    world.dial_succeeds(lone(1));
    world.wait(3 * BACKOFF);
    world.poll();
    assert!(world.table.is_outage(world.now));
}

#[test]
fn a_peer_that_flaps_does_not_end_an_outage() {
    let mut world = in_an_outage_with([lone(1), lone(2)]);
    for _ in 0..20 {
        while world.table.peer(lone(1)).unwrap().status == PeerStatus::Idle {
            world.wait(Duration::from_secs(1));
            world.poll();
            if world.dials.iter().any(|dial| dial.1 == lone(2)) {
                world.dial_fails(lone(2), DialFault::Peer);
            }
        }
        world.comes_alive(lone(1));
        world.wait(BACKOFF - Duration::from_millis(1));
        world.poll();
        world.report(lone(1), Report::Closed);
        assert!(world.table.is_outage(world.now));
        assert_eq!(streak(&world, lone(2)), 0);
    }
    // It is dialed at the slowest rate still.
    world.table.on_peer_list((10..500).map(lone));
    let dials = world.run(Duration::from_secs(300), |_, _| Answer::REFUSES);
    assert!(dials.len() <= 60 + 32, "{}", dials.len());
}

/// Peers that failed in an outage, each with a pause of a minute, and a connection that is about to end the outage.
fn about_to_end(failed: usize) -> World {
    let mut world = in_an_outage_with((0..failed).map(lone));
    world.table.config.dial_stagger = Duration::ZERO;
    world.run(Duration::from_secs(400), |_, _| Answer::REFUSES);
    world.table.on_peer_list([lone(5_000)]);
    while world.alive() == 0 {
        world.run(Duration::from_millis(100), |_, peer| {
            if peer == lone(5_000) {
                Answer::Alive
            } else {
                Answer::REFUSES
            }
        });
    }
    world
}

fn paused(world: &World) -> usize {
    world
        .table
        .peers
        .iter()
        .filter(|entry| entry.paused_until.is_some())
        .count()
}

#[test]
fn peers_that_failed_in_an_outage_are_candidates_when_it_is_over() {
    let mut world = about_to_end(20);
    world.wait(BACKOFF - Duration::from_secs(1));
    world.table.on_time(world.now);
    assert!(paused(&world) > 0, "it is not over");
    world.wait(Duration::from_secs(1));
    world.table.on_time(world.now);
    assert_eq!(paused(&world), 0);
    world.table.check();
}

#[test]
fn a_pause_after_closed_stands_when_an_outage_is_over() {
    let mut world = in_an_outage_with([lone(1)]);
    world.poll();
    world.dial_fails(lone(1), DialFault::Peer);
    for pause in [5, 10, 20] {
        sit_out(&mut world, lone(1));
        assert_eq!(world.poll(), [lone(1)]);
        world.dial_succeeds(lone(1));
        world.report(lone(1), Report::Closed);
        world.assert_pause(lone(1), pause);
    }
    let due = world.now.since_start + world.pause_left(lone(1)).unwrap();
    world.end_outage_with(lone(2));
    assert_eq!(world.now.since_start + world.pause_left(lone(1)).unwrap(), due);
}

#[test]
fn they_become_candidates_in_budgeted_steps() {
    let mut world = about_to_end(1_000);
    world.wait(BACKOFF);
    let (mut steps, mut left) = (0, paused(&world));
    assert!(left > 700, "{left}");
    while left > 0 {
        assert!(steps < 80, "{left} are left");
        world.table.on_time(world.now);
        let due = world.table.next_deadline().unwrap();
        assert!(due <= world.now.since_start, "the rest is due at once");
        let now_left = paused(&world);
        assert!(left - now_left <= 512, "{} in one step", left - now_left);
        (steps, left) = (steps + 1, now_left);
    }
    assert!(steps >= 3, "{steps}");
}

#[test]
fn the_outage_at_the_start_releases_nothing_at_its_end() {
    let mut world = with_target(1);
    world.load(vec![unproven(lone(1))]);
    for _ in 0..6 {
        world.poll();
        world.dial_fails(lone(1), DialFault::Peer);
        sit_out(&mut world, lone(1));
    }
    world.poll();
    world.dial_fails(lone(1), DialFault::Peer);
    world.assert_pause(lone(1), 60);
    world.end_outage_with(lone(2));
    assert!(world.pause_left(lone(1)).unwrap() > Duration::from_secs(30));
}

#[test]
fn failures_are_counted_from_the_beginning_of_each_outage() {
    let mut at_the_start = with_target(8);
    at_the_start.load(vec![unproven(lone(1))]);
    for mut world in [at_the_start, in_an_outage_with([lone(1)])] {
        for _ in 0..5 {
            world.poll();
            world.dial_fails(lone(1), DialFault::Peer);
            sit_out(&mut world, lone(1));
        }
        world.poll();
        world.dial_fails(lone(1), DialFault::Peer);
        // One outage ends and the next one begins.
        world.table.on_peer_list([lone(2)]);
        assert_eq!(world.poll(), [lone(2)]);
        world.comes_alive(lone(2));
        world.wait(BACKOFF);
        world.table.on_time(world.now);
        assert!(!world.table.is_outage(world.now));
        world.report(lone(2), Report::Banned);
        world.wait(Duration::from_secs(80));
        assert_eq!(world.poll(), [lone(1)]);
        world.dial_fails(lone(1), DialFault::Peer);
        world.assert_pause(lone(1), 5);
    }
}

#[test]
fn a_dial_that_was_under_way_at_the_end_and_times_out_is_not_counted() {
    for (fault, expected) in [(DialFault::TimedOut, 0), (DialFault::Peer, 1)] {
        let mut config = config();
        config.connect_timeout = Duration::from_secs(60);
        let mut world = World::new(config, 1);
        world.table.on_peer_list([lone(1), lone(2)]);
        world.poll();
        world.comes_alive(lone(1));
        world.wait(BACKOFF);
        world.poll();
        assert!(!world.table.is_outage(world.now));
        world.dial_fails(lone(2), fault);
        assert_eq!(streak(&world, lone(2)), expected, "{fault:?}");
        assert_eq!(last_failure(&world, lone(2)), Some(world.now.utc));
        world.assert_pause(lone(2), 5);
        // The next one is counted.
        sit_out(&mut world, lone(2));
        world.poll();
        world.dial_fails(lone(2), DialFault::TimedOut);
        assert_eq!(streak(&world, lone(2)), expected + 1);
    }
}
