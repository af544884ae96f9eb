//! How long a peer is left alone: after failures, after connections that were closed, and what changes nothing of it.

use super::world::{World, lone, record};
use super::*;

/// A node outside an outage; its only other peer is connected.
fn node() -> World {
    node_with(config())
}

fn node_with(mut config: NetworkConfig) -> World {
    config.dial_stagger = Duration::ZERO;
    let mut world = World::new(config, 1);
    world.end_outage_with(lone(9_999));
    world
}

fn sit_out(world: &mut World, peer: IpAddr) {
    world.wait(world.pause_left(peer).unwrap());
    assert_eq!(world.poll(), [peer], "it is dialed when its pause is over");
}

/// The peer is known and dialed.
fn dialed(world: &mut World, peer: IpAddr) {
    world.table.on_peer_list([peer]);
    assert_eq!(world.poll(), [peer]);
}

#[test]
fn the_pause_doubles_with_each_failure_in_a_row_up_to_the_maximum() {
    let failures: [fn(&mut World); 3] = [
        |world| world.dial_fails(lone(1), DialFault::Peer),
        |world| world.dial_fails(lone(1), DialFault::TimedOut),
        |world| {
            world.dial_succeeds(lone(1));
            world.wait(Duration::from_secs(6));
            world.report(lone(1), Report::Failed);
        },
    ];
    for fail in failures {
        let mut world = node();
        dialed(&mut world, lone(1));
        for (streak, pause) in (1..).zip([5, 10, 20, 40, 80, 160, 320, 600, 600, 600]) {
            fail(&mut world);
            assert_eq!(world.table.peer(lone(1)).unwrap().failures_in_row, streak);
            world.assert_pause(lone(1), pause);
            sit_out(&mut world, lone(1));
        }
    }
}

#[test]
fn alive_on_an_outgoing_connection_alone_ends_the_streak() {
    let mut world = node();
    dialed(&mut world, lone(1));
    world.dial_fails(lone(1), DialFault::Peer);
    world.visited_by(lone(1));
    assert_eq!(world.table.peer(lone(1)).unwrap().failures_in_row, 1);
    sit_out(&mut world, lone(1));
    world.comes_alive(lone(1));
    assert_eq!(world.table.peer(lone(1)).unwrap().failures_in_row, 0);
    world.wait(Duration::from_secs(60));
    world.report(lone(1), Report::Failed);
    world.assert_pause(lone(1), 5);
}

#[test]
fn an_address_without_a_way_is_set_aside_with_a_doubling_pause_and_no_streak() {
    let mut world = node();
    dialed(&mut world, lone(1));
    for pause in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
        world.dial_fails(lone(1), DialFault::Unroutable { at_once: false });
        let mut expected = Peer::new(lone(1));
        expected.last_failure = Some(world.now.utc);
        assert_eq!(world.table.peer(lone(1)).unwrap(), &expected);
        world.assert_pause(lone(1), pause);
        sit_out(&mut world, lone(1));
    }
    // A way was found: the next time counts as the first.
    world.dial_fails(lone(1), DialFault::Peer);
    sit_out(&mut world, lone(1));
    world.dial_fails(lone(1), DialFault::Unroutable { at_once: false });
    world.assert_pause(lone(1), 5);
}

#[test]
fn closed_pauses_for_retry_backoff() {
    let mut world = node();
    dialed(&mut world, lone(1));
    for _ in 0..5 {
        world.comes_alive(lone(1));
        world.wait(Duration::from_secs(5));
        world.report(lone(1), Report::Closed);
        assert_eq!(world.table.peer(lone(1)).unwrap().last_failure, None);
        world.assert_pause(lone(1), 5);
        sit_out(&mut world, lone(1));
    }
}

#[test]
fn closed_doubles_for_each_further_connection_in_a_row_that_ended_soon_after_its_start() {
    let mut world = node();
    dialed(&mut world, lone(1));
    for pause in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
        world.dial_succeeds(lone(1));
        world.wait(Duration::from_millis(4_999));
        world.report(lone(1), Report::Closed);
        world.assert_pause(lone(1), pause);
        sit_out(&mut world, lone(1));
    }
    world.dial_succeeds(lone(1));
    world.wait(Duration::from_secs(6));
    world.report(lone(1), Report::Closed);
    world.assert_pause(lone(1), 5);
    sit_out(&mut world, lone(1));
    world.visit(lone(1));
    world.assert_pause(lone(1), 5);
}

#[test]
fn failed_pauses_at_least_as_long_as_closed_would() {
    let mut world = node();
    dialed(&mut world, lone(1));
    for pause in [5, 10, 20, 40] {
        world.visit(lone(1));
        world.assert_pause(lone(1), pause);
        sit_out(&mut world, lone(1));
    }
    world.comes_alive(lone(1));
    world.report(lone(1), Report::Failed);
    assert_eq!(world.table.peer(lone(1)).unwrap().failures_in_row, 1);
    world.assert_pause(lone(1), 80);
}

#[test]
fn a_handshake_that_times_out_pauses_as_failed_does() {
    let mut world = node();
    let timeout = world.table.config.handshake_timeout.unwrap();
    dialed(&mut world, lone(1));
    for (streak, pause) in (1..).zip([5, 10, 20]) {
        world.dial_succeeds(lone(1));
        world.wait(timeout);
        world.table.on_time(world.now);
        let peer = world.table.peer(lone(1)).unwrap();
        assert_eq!((peer.status, peer.failures_in_row), (PeerStatus::Idle, streak));
        world.assert_pause(lone(1), pause);
        sit_out(&mut world, lone(1));
    }
}

/// Every way in which an inbound connection ends.
fn inbound_ends() -> [fn(&mut World, IpAddr); 5] {
    [
        |world, peer| world.report(peer, Report::Failed),
        |world, peer| world.report(peer, Report::Closed),
        |world, peer| {
            world.report(peer, Report::Alive);
            world.report(peer, Report::Failed);
        },
        |world, peer| {
            world.report(peer, Report::Alive);
            world.report(peer, Report::Closed);
        },
        |world, peer| {
            world.wait(world.table.config.handshake_timeout.unwrap());
            world.table.on_time(world.now);
            assert_eq!(world.table.peer(peer).unwrap().status, PeerStatus::Idle);
        },
    ]
}

#[test]
fn an_inbound_connection_that_ends_leaves_a_pause_as_it_stood() {
    for end in inbound_ends() {
        let mut world = node();
        dialed(&mut world, lone(1));
        for _ in 0..5 {
            world.dial_fails(lone(1), DialFault::Peer);
            let due = world.now.since_start + world.pause_left(lone(1)).unwrap();
            if due - world.now.since_start > Duration::from_secs(35) {
                world.comes_in(lone(1));
                end(&mut world, lone(1));
                assert_eq!(world.now.since_start + world.pause_left(lone(1)).unwrap(), due);
            }
            sit_out(&mut world, lone(1));
        }
    }
}

#[test]
fn a_peer_without_a_pause_is_dialed_as_soon_as_its_inbound_connection_has_ended() {
    for end in inbound_ends() {
        let mut world = node();
        world.comes_in(lone(1));
        assert!(world.poll().is_empty());
        end(&mut world, lone(1));
        assert_eq!(world.poll(), [lone(1)]);
    }
}

#[test]
fn a_pause_that_ends_during_an_inbound_connection_is_over_after_it() {
    let mut world = node();
    dialed(&mut world, lone(1));
    world.dial_fails(lone(1), DialFault::Peer);
    world.comes_in(lone(1));
    world.report(lone(1), Report::Alive);
    world.wait(Duration::from_secs(7));
    assert!(world.poll().is_empty());
    world.report(lone(1), Report::Closed);
    assert_eq!(world.poll(), [lone(1)]);
}

#[test]
fn a_dial_that_is_called_off_leaves_no_pause() {
    let mut config = config();
    config.target_outgoing_connections = 2;
    let mut world = node_with(config);
    dialed(&mut world, lone(1));
    dialed(&mut world, lone(2));
    world.dial_succeeds(lone(2));
    assert!(world.dials.is_empty(), "the target is met");
    assert_eq!(world.pause_left(lone(1)), None);
    world.report(lone(2), Report::Closed);
    assert_eq!(world.poll(), [lone(1)]);
}

#[test]
fn a_loaded_peer_with_a_streak_waits_for_the_rest_of_its_pause() {
    let loaded = |streak: u32, failed_ago: i64| {
        let mut peer = Peer::new(lone(1));
        peer.failures_in_row = streak;
        peer.last_failure = Some(start() - TimeDelta::seconds(failed_ago));
        let mut world = World::new(config(), 1);
        world.load(vec![record(peer)]);
        world.pause_left(lone(1)).map(|pause| pause.as_secs())
    };
    assert_eq!(loaded(0, 0), None, "without a streak");
    assert!((30..=50).contains(&loaded(4, 0).unwrap()));
    assert!((0..=20).contains(&loaded(4, 30).unwrap_or(0)));
    assert_eq!(loaded(4, 50), None);
    assert!((150..=450).contains(&loaded(20, 300).unwrap()));
    // A failure in the future is one of now, and the jitter does not exceed the maximum at the start.
    assert!((450..=600).contains(&loaded(20, -86_400).unwrap()));
}
