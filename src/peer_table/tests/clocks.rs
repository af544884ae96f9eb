//! Clocks that jump, and times without end.

use super::world::{World, lone, one_by_one, proven, record, unproven};
use super::*;

const YEAR: TimeDelta = TimeDelta::days(365);

/// The dials of an hour in which no peer answers, with a clock that jumps by `jump` each minute.
fn dials_of_an_hour(jump: impl Fn(u64) -> TimeDelta) -> Vec<(Duration, IpAddr)> {
    let mut world = World::new(one_by_one(), 9);
    let records = (0..30).map(|number| unproven(lone(number)));
    world.load(records.collect());
    let mut dials = Vec::new();
    for second in 0..3_600 {
        if second % 60 == 0 {
            world.now.utc += jump(second / 60);
        }
        for ip in world.poll() {
            dials.push((world.now.since_start, ip));
            world.dial_fails(ip, DialFault::TimedOut);
        }
        world.wait(Duration::from_secs(1));
    }
    world.table.check();
    dials
}

#[test]
fn a_clock_that_jumps_changes_no_dial() {
    let steady = dials_of_an_hour(|_| TimeDelta::zero());
    assert!(steady.len() > 100, "{}", steady.len());
    assert_eq!(dials_of_an_hour(|_| YEAR), steady);
    assert_eq!(dials_of_an_hour(|_| -YEAR), steady);
    assert_eq!(
        dials_of_an_hour(|minute| if minute % 2 == 0 { YEAR } else { -YEAR }),
        steady
    );
}

#[test]
fn proven_peers_are_dialed_on_after_a_jump() {
    for jump in [YEAR, -YEAR] {
        let mut world = World::new(one_by_one(), 3);
        world.load(vec![proven(lone(1)), proven(lone(2))]);
        for _ in 0..20 {
            let dialed = world.poll();
            assert_eq!(dialed.len(), 1, "{jump}");
            world.comes_alive(dialed[0]);
            world.now.utc += jump;
            world.wait(Duration::from_secs(6));
            world.report(dialed[0], Report::Closed);
            world.wait(Duration::from_secs(7));
        }
        world.table.check();
    }
}

fn banned_for_an_hour() -> World {
    let mut config = config();
    config.ban_duration = Some(Duration::from_secs(3_600));
    let mut world = World::new(config, 3);
    world.report(lone(1), Report::Banned);
    world
}

fn is_banned(world: &World) -> bool {
    world
        .table
        .peer(lone(1))
        .is_some_and(|peer| peer.status == PeerStatus::Banned)
}

#[test]
fn a_clock_that_jumps_neither_ends_a_ban_early_nor_late() {
    for jump in [YEAR, -YEAR] {
        let mut world = banned_for_an_hour();
        for _ in 0..59 {
            world.now.utc += jump;
            world.wait(Duration::from_secs(60));
            world.poll();
            assert!(is_banned(&world));
        }
        world.wait(Duration::from_secs(60));
        world.poll();
        assert!(!is_banned(&world));
    }
}

#[test]
fn a_restart_after_a_jump_frees_a_ban_by_no_more_than_the_jump() {
    let after_restart = |jump: TimeDelta, waited: u64| {
        let before = banned_for_an_hour();
        let stored = before.table.stored_from(0).flatten().next().unwrap();
        let records = vec![PeerRecord {
            banned_at: stored.banned_at,
            banned_until: stored.banned_until,
            ..record(stored.peer.clone())
        }];
        let mut world = World::new(before.table.config.clone(), 4);
        world.now.utc = before.now.utc + jump;
        world.load(records);
        world.wait(Duration::from_secs(waited));
        world.poll();
        is_banned(&world)
    };
    let half_an_hour = TimeDelta::minutes(30);
    assert!(after_restart(half_an_hour, 1_799) && !after_restart(half_an_hour, 1_800));
    assert!(after_restart(-YEAR, 3_599) && !after_restart(-YEAR, 3_600));
    assert!(!after_restart(YEAR, 0));
}

#[test]
fn the_ends_of_the_calendar_are_times_like_others() {
    let mut world = World::new(config(), 3);
    let ends = [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC];
    let mut records = Vec::new();
    for (number, (alive, failure)) in ends
        .into_iter()
        .flat_map(|one| ends.map(|other| (one, other)))
        .enumerate()
    {
        let mut peer = Peer::new(lone(number));
        (peer.last_alive, peer.last_alive_outgoing) = (Some(alive), Some(alive));
        (peer.last_failure, peer.failures_in_row) = (Some(failure), 12);
        records.push(record(peer));
    }
    for end in ends {
        world.now.utc = end;
        world.load(records.clone());
        for number in 0..4 {
            world.report(lone(number), Report::Banned);
            world.report(lone(number), Report::Unbanned);
        }
        world.poll();
        world.dials.clone().into_iter().for_each(|(_, ip, _)| world.visit(ip));
        world.table.check();
    }
}

#[test]
fn times_without_end_never_panic() {
    for seed in 0..4 {
        let mut config = config();
        config.target_outgoing_connections = 3;
        config.max_idle_peers = 12;
        config.max_banned_peers = 4;
        config.peer_file_dump_interval = Duration::MAX;
        config.connect_timeout = Duration::MAX;
        config.dial_stagger = Duration::MAX;
        config.handshake_timeout = Some(Duration::MAX);
        config.retry_backoff = Duration::MAX;
        config.max_retry_backoff = Duration::MAX;
        config.ban_duration = Some(Duration::MAX);
        let node = run(config.clone(), "::", seed, 400);
        assert!(node.table.stats().counters.dials_started > 0);
        let mut peer = Peer::new(lone(1));
        (peer.last_failure, peer.failures_in_row) = (Some(start()), 12);
        let mut world = World::new(config, seed);
        world.load(vec![record(peer)]);
        world.wait(Duration::from_secs(1_000_000));
        assert!(world.poll().is_empty(), "it pauses for ever");
    }
}
