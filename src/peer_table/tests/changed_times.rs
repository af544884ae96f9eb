//! Times that change while a table runs: what waits keeps its time, what begins goes by the new one.

use PeerStatus::{Banned, Idle, InHandshaking, OutAlive, OutConnecting};

use super::reconfiguring::reconfigure;
use super::world::{World, lone};
use super::*;

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn a_handshake_and_a_ban_that_have_begun_end_when_they_were_to() {
    let mut config = config();
    config.target_outgoing_connections = 0;
    let mut node = Node::new(config);
    let limits = [Some(10), Some(2), Some(20), None];
    for (number, limit) in limits.into_iter().enumerate() {
        reconfigure(&mut node, |config| {
            (config.handshake_timeout, config.ban_duration) = (limit.map(seconds), limit.map(seconds));
        });
        assert_eq!(node.inbound(lone(number)), Verdict::Admit);
        node.report(lone(100 + number), Report::Banned);
    }
    let (on, over) = ([InHandshaking, Banned], [Idle, Idle]);
    let mut expected = [on; 4];
    for (number, limit) in [(1, 2), (0, 10), (2, 20)] {
        let statuses = |node: &mut Node, at: Duration| {
            node.wait(at - node.now.since_start);
            node.poll();
            [0, 1, 2, 3].map(|number| [number, 100 + number].map(|number| node.status(lone(number)).unwrap()))
        };
        let due = seconds(limit);
        assert_eq!(statuses(&mut node, due - Duration::from_millis(1)), expected);
        expected[number] = over;
        assert_eq!(statuses(&mut node, due), expected);
    }
}

/// Outside an outage, with these pauses after failures.
fn with_backoff(first: u64, longest: u64) -> World {
    let mut config = config();
    config.dial_stagger = Duration::ZERO;
    (config.retry_backoff, config.max_retry_backoff) = (seconds(first), seconds(longest));
    let mut world = World::new(config, 1);
    world.end_outage_with(lone(9_999));
    world
}

fn change_backoff(world: &mut World, first: u64, longest: u64) {
    let mut config = world.table.config().clone();
    (config.retry_backoff, config.max_retry_backoff) = (seconds(first), seconds(longest));
    world.table.reconfigure(world.now, config).unwrap();
}

/// Its dials fail so often in a row.
fn fails(world: &mut World, peer: IpAddr, times: u32) {
    world.table.on_peer_list([peer]);
    for _ in 0..times {
        world.wait(world.pause_left(peer).unwrap_or_default());
        assert!(world.poll().contains(&peer));
        world.dial_fails(peer, DialFault::Peer);
    }
}

#[test]
fn a_pause_that_has_begun_lasts_as_long_as_it_was_to_and_the_next_goes_by_the_new_backoff() {
    let mut world = with_backoff(100, 400);
    fails(&mut world, lone(1), 4);
    world.assert_pause(lone(1), 400);
    let left = world.pause_left(lone(1));
    change_backoff(&mut world, 1, 3);
    assert_eq!(world.pause_left(lone(1)), left, "a shorter one");
    fails(&mut world, lone(2), 2);
    world.assert_pause(lone(2), 2);
    fails(&mut world, lone(2), 1);
    world.assert_pause(lone(2), 3);
    fails(&mut world, lone(1), 1);
    world.assert_pause(lone(1), 3);

    let left = world.pause_left(lone(1));
    change_backoff(&mut world, 1_000, 3_000);
    assert_eq!(world.pause_left(lone(1)), left, "a longer one");
    fails(&mut world, lone(3), 1);
    world.assert_pause(lone(3), 1_000);
    fails(&mut world, lone(1), 1);
    world.assert_pause(lone(1), 3_000);
}

#[test]
fn an_outage_ends_by_the_backoff_of_now() {
    for (backoff, ends_at) in [(2, 3), (30, 30)] {
        let mut world = with_backoff(5, 600);
        world.report(lone(9_999), Report::Banned);
        world.table.on_peer_list([lone(1)]);
        world.poll();
        world.comes_alive(lone(1));
        world.wait(seconds(3));
        change_backoff(&mut world, backoff, 600);
        let wait = seconds(ends_at - 3);
        if !wait.is_zero() {
            world.wait(wait - Duration::from_millis(1));
            assert!(world.table.is_outage(world.now));
            world.wait(Duration::from_millis(1));
        }
        assert!(!world.table.is_outage(world.now), "after {ends_at} s");
    }
}

#[test]
fn the_next_rotation_is_planned_anew_only_if_the_interval_differs() {
    let mut node = Node::new(config());
    let due = |node: &Node| node.table.next_rotation().0;
    let before = due(&node);
    reconfigure(&mut node, |config| config.max_idle_peers = 9);
    assert_eq!(due(&node), before);
    node.wait(Duration::from_secs(9_000));
    let interval = Duration::from_secs(7);
    reconfigure(&mut node, |config| config.rotation_interval = Some(interval));
    let now = node.now.since_start;
    assert!((now..=now + interval).contains(&due(&node).unwrap()));
    reconfigure(&mut node, |config| config.rotation_interval = None);
    assert_eq!(due(&node), None);
}

#[test]
fn a_rotation_under_way_goes_on_without_another_one_to_come() {
    let mut config = config();
    config.target_outgoing_connections = 1;
    let interval = config.rotation_interval.unwrap();
    let mut node = Node::new(config);
    node.connect(lone(1));
    node.lease(lone(1));
    node.list([lone(2)]);
    node.wait(interval);
    node.poll();
    assert_eq!(node.status(lone(2)), Some(OutConnecting));
    reconfigure(&mut node, |config| config.rotation_interval = None);
    node.poll();
    node.dial_ok(lone(2));
    node.lease(lone(2));
    node.report(lone(2), Report::Alive);
    assert_eq!(node.revoked, [(lone(1), Revocation::Rotated)]);
    assert_eq!(node.status(lone(2)), Some(OutAlive));
    assert_eq!(node.table.next_rotation(), (None, false));
}
