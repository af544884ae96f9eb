//! Bans: how long they last, which is dropped when there are too many, and what the peer file says of them.

use super::world::{World, lone, record};
use super::*;

#[test]
fn one_subnet_cannot_flush_the_bans() {
    let mut config = config();
    config.max_banned_peers = 6;
    let mut node = Node::new(config);
    let others = [ip("60.1.0.1"), ip("60.2.0.1")];
    others.into_iter().for_each(|peer| node.report(peer, Report::Banned));
    for host in 0..100 {
        node.report(IpAddr::from([61, 1, 0, host]), Report::Banned);
    }
    assert!(
        others
            .into_iter()
            .all(|peer| node.status(peer) == Some(PeerStatus::Banned))
    );
    assert_eq!(node.status(ip("61.1.0.99")), Some(PeerStatus::Banned));
    assert_eq!(node.status(ip("61.1.0.95")), None);
}

#[test]
fn a_ban_whose_peer_tries_to_connect_counts_as_recent() {
    let mut config = config();
    config.max_banned_peers = 2;
    let mut node = Node::new(config);
    let [a, b, c] = [ip("61.1.0.1"), ip("61.1.0.2"), ip("61.1.0.3")];
    node.report(a, Report::Banned);
    node.report(b, Report::Banned);
    assert_eq!(node.inbound(a), Verdict::Refuse(Refusal::Banned));
    node.report(c, Report::Banned);
    assert_eq!([a, b, c].map(|peer| node.status(peer).is_some()), [true, false, true]);
}

#[test]
fn a_ban_ends_after_its_duration_counted_from_when_it_was_set() {
    let mut config = config();
    config.ban_duration = Some(Duration::from_secs(100));
    let mut node = Node::new(config);
    let peer = ip("61.1.0.1");
    node.report(peer, Report::Banned);
    node.wait(Duration::from_secs(99));
    node.inbound(peer);
    assert_eq!(node.table.peer(peer).unwrap().last_failure, Some(node.now.utc));
    node.poll();
    assert_eq!(node.status(peer), Some(PeerStatus::Banned));
    node.wait(Duration::from_secs(1));
    node.table.on_time(node.now);
    node.settle();
    assert_eq!(node.status(peer), Some(PeerStatus::Idle));
}

#[test]
fn the_last_ban_replaces_the_term_of_the_one_before() {
    let mut config = config();
    config.ban_duration = Some(Duration::from_secs(100));
    let mut node = Node::new(config);
    let peer = ip("61.1.0.1");
    node.report(peer, Report::Banned);
    node.wait(Duration::from_secs(60));
    node.report(peer, Report::Banned);
    node.wait(Duration::from_secs(60));
    node.poll();
    assert_eq!(node.status(peer), Some(PeerStatus::Banned));
    node.wait(Duration::from_secs(40));
    node.poll();
    assert_ne!(node.status(peer), Some(PeerStatus::Banned));
}

#[test]
fn a_ban_without_a_duration_lasts_until_it_is_lifted() {
    let mut node = Node::new(config());
    let peer = ip("61.1.0.1");
    node.report(peer, Report::Banned);
    node.wait(Duration::from_secs(1_000_000_000));
    node.poll();
    assert_eq!(node.status(peer), Some(PeerStatus::Banned));
    node.report(peer, Report::Unbanned);
    assert_eq!(node.status(peer), Some(PeerStatus::Idle));
    node.poll();
    assert_eq!(node.status(peer), Some(PeerStatus::OutConnecting));
}

#[test]
fn a_ban_with_a_term_of_its_own_ends_after_it() {
    let secs = Duration::from_secs;
    for ban_duration in [None, Some(secs(50)), Some(secs(500))] {
        let mut config = config();
        (config.ban_duration, config.target_outgoing_connections) = (ban_duration, 0);
        let mut node = Node::new(config);
        let peer = ip("61.1.0.1");
        node.report(peer, Report::BannedFor(secs(100)));
        node.wait(secs(100) - Duration::from_nanos(1));
        node.poll();
        assert_eq!(node.status(peer), Some(PeerStatus::Banned));
        node.wait(Duration::from_nanos(1));
        node.poll();
        assert_eq!(node.status(peer), Some(PeerStatus::Idle));
        assert_eq!(node.table.stats().counters.bans_ended, 1);
    }
}

#[test]
fn the_last_ban_says_how_long_it_lasts() {
    let secs = Duration::from_secs;
    let (plain, short, long) = (
        Report::Banned,
        Report::BannedFor(secs(10)),
        Report::BannedFor(secs(1_000)),
    );
    for (bans, lasts) in [
        ([plain, short], 10),
        ([short, plain], 100),
        ([long, short], 10),
        ([short, long], 1_000),
    ] {
        let mut config = config();
        (config.ban_duration, config.target_outgoing_connections) = (Some(secs(100)), 0);
        let mut node = Node::new(config);
        bans.into_iter().for_each(|ban| node.report(ip("61.1.0.1"), ban));
        assert_eq!(node.table.next_deadline(), Some(secs(lasts)), "{bans:?}");
    }
}

#[test]
fn the_longest_term_is_stored_and_ends_late() {
    let mut node = Node::new(config());
    node.report(ip("61.1.0.1"), Report::BannedFor(Duration::MAX));
    let stored = node.table.stored_from(0).flatten().next().unwrap().banned_until;
    assert_eq!(stored, Some(DateTime::<Utc>::MAX_UTC));
    node.wait(Duration::from_secs(1_000_000_000));
    node.poll();
    assert_eq!(node.status(ip("61.1.0.1")), Some(PeerStatus::Banned));
}

#[test]
fn a_ban_without_any_term_ends_at_once_and_so_does_the_connection() {
    let mut node = Node::new(config());
    node.inbound(ip("61.1.0.1"));
    node.report(ip("61.1.0.1"), Report::BannedFor(Duration::ZERO));
    assert_eq!(
        (node.status(ip("61.1.0.1")), node.ended.len()),
        (Some(PeerStatus::Banned), 1)
    );
    node.table.on_time(node.now);
    assert_eq!(node.status(ip("61.1.0.1")), Some(PeerStatus::Idle));
}

#[test]
fn a_loaded_ban_with_a_term_of_its_own_ends_then() {
    for (until, left_now) in [(90, 90), (5_000, 5_000), (-1, 0)] {
        let mut world = loaded(Some(600), None);
        let mut peer = record(Peer::new(lone(2)));
        peer.peer.status = PeerStatus::Banned;
        peer.banned_at = Some(start() - TimeDelta::seconds(600));
        peer.banned_until = Some(start() + TimeDelta::seconds(until));
        world.load(vec![peer]);
        assert_eq!(world.table.changes(), 0);
        let entry = world.table.peers.by_ip(lone(2)).unwrap();
        assert_eq!(entry.deadline().unwrap().since_start(), Duration::from_secs(left_now));
        assert_eq!(entry.ban_times().until, Some(start() + TimeDelta::seconds(until)));
    }
}

#[test]
fn a_ban_that_ends_leaves_no_term_for_the_next_one() {
    let mut config = config();
    config.target_outgoing_connections = 0;
    let mut node = Node::new(config);
    let peer = ip("61.1.0.1");
    node.report(peer, Report::BannedFor(Duration::from_secs(10)));
    node.report(peer, Report::Unbanned);
    assert_eq!(node.table.stored_from(0).flatten().next().unwrap().banned_until, None);
    node.report(peer, Report::Banned);
    assert_eq!(node.table.next_deadline(), None);
}

const TERM: Duration = Duration::from_secs(3_600);

/// A node with a ban in its file, set and last tested so many seconds ago.
fn loaded(banned_ago: Option<i64>, failed_ago: Option<i64>) -> World {
    let ago = |seconds: i64| start() - TimeDelta::seconds(seconds);
    let mut peer = Peer::new(lone(1));
    (peer.status, peer.last_failure) = (PeerStatus::Banned, failed_ago.map(ago));
    let mut config = config();
    config.target_outgoing_connections = 0;
    config.ban_duration = Some(TERM);
    let mut world = World::new(config, 1);
    world.load(vec![PeerRecord {
        banned_at: banned_ago.map(ago),
        ..record(peer)
    }]);
    world
}

/// The seconds until the ban ends.
fn left(world: &mut World) -> u64 {
    let end = world.table.next_deadline().unwrap();
    world.wait(end - world.now.since_start - Duration::from_nanos(1));
    world.poll();
    assert_eq!(world.table.stats().peers.banned, 1);
    world.wait(Duration::from_nanos(1));
    world.poll();
    assert_eq!(world.table.stats().peers.banned, 0);
    end.as_secs()
}

fn stored_banned_at(world: &World) -> Option<DateTime<Utc>> {
    world.table.stored_from(0).flatten().next().unwrap().banned_at
}

#[test]
fn a_loaded_ban_ends_as_long_after_it_was_set_as_any() {
    assert_eq!(left(&mut loaded(Some(600), None)), 3_000);
    assert_eq!(
        left(&mut loaded(Some(600), Some(10))),
        3_000,
        "its attempts do not prolong it"
    );
    assert_eq!(
        left(&mut loaded(None, Some(600))),
        3_000,
        "by its last failure where there is nothing better"
    );
    let mut over = loaded(Some(4_000), None);
    over.poll();
    assert_eq!(over.table.stats().peers.banned, 0);
}

#[test]
fn the_beginning_of_a_loaded_ban_is_stored_again_and_no_change() {
    for (banned, failed) in [(Some(600), Some(10)), (None, Some(600))] {
        let mut world = loaded(banned, failed);
        assert_eq!(world.table.changes(), 0);
        let begun = start() - TimeDelta::seconds(600);
        // An attempt moves the last failure, which would be taken for the beginning otherwise.
        world.table.on_inbound(world.now, at(lone(1), 9), ip("60.255.0.1"));
        assert_eq!(stored_banned_at(&world), Some(begun));
    }
}

#[test]
fn a_ban_without_a_beginning_or_with_one_in_the_future_begins_now_and_that_is_a_change() {
    for (banned, failed) in [
        (None, None),
        (Some(-600), None),
        (None, Some(-600)),
        (Some(-600), Some(-600)),
    ] {
        let mut world = loaded(banned, failed);
        assert_eq!(world.table.changes(), 1, "{banned:?} {failed:?}");
        assert_eq!(stored_banned_at(&world), Some(start()));
        assert_eq!(left(&mut world), 3_600);
    }
}
