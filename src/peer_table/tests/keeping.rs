//! Who is kept and who is forgotten; bans, loading and what counts as a change.

use super::world::record;
use super::*;

#[test]
fn one_subnet_cannot_flush_the_list() {
    let mut config = config();
    config.max_idle_peers = 20;
    config.target_outgoing_connections = 0;
    let mut node = Node::new(config);
    node.list((1..=10).map(|net| IpAddr::from([60, net, 0, 1])));
    node.list((0..200).map(|host| IpAddr::from([61, 1, 0, host])));
    assert_eq!(node.table.stats().peers.idle, 20);
    for net in 1..=10 {
        assert!(node.table.peer(IpAddr::from([60, net, 0, 1])).is_some());
    }
}

#[test]
fn a_newcomer_that_would_go_first_is_no_change() {
    let mut config = config();
    config.max_idle_peers = 2;
    config.target_outgoing_connections = 0;
    let mut node = Node::new(config);
    node.list([ip("61.1.0.1"), ip("61.1.0.2")]);
    let (changes, stats) = (node.table.changes(), node.table.stats());
    let mut refused = 0;
    for host in 3..100 {
        let before = node.table.changes();
        node.list([IpAddr::from([61, 1, 0, host])]);
        refused += usize::from(node.table.changes() == before);
    }
    assert!(refused > 60, "{refused}");
    assert!(node.table.changes() > changes && node.table.stats().peers == stats.peers);
}

#[test]
fn private_addresses_are_refused_from_lists_where_peers_are_global() {
    let listed = [
        "60.1.0.1",
        "10.0.0.1",
        "::ffff:192.168.0.1",
        "127.0.0.1",
        "fe80::1",
        "fd00::1",
        "2001:db8::1",
    ];
    for is_global in [false, true] {
        let mut config = config();
        config.global_peers_only = is_global;
        let mut node = Node::new(config);
        node.list(listed.map(ip));
        node.list(["224.0.0.1", "0.0.0.0", "255.255.255.255"].map(ip));
        let stats = node.table.stats();
        assert_eq!(stats.peers.total(), if is_global { 2 } else { 7 });
        assert_eq!(stats.counters.addresses_refused, if is_global { 8 } else { 3 });
        // Whoever connects is there, wherever from.
        assert_eq!(node.inbound(ip("10.0.0.7")), Verdict::Admit);
    }
}

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
fn a_ban_that_is_tested_counts_as_recent() {
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
fn loading_keeps_the_bounds_and_is_no_change() {
    let mut config = config();
    config.max_idle_peers = 3;
    config.max_banned_peers = 2;
    let mut node = Node::new(config);
    let mut records = Vec::new();
    for host in 1..=9 {
        let mut peer = Peer::new(IpAddr::from([61, 1, 0, host]));
        if host > 4 {
            peer.status = PeerStatus::Banned;
            peer.last_failure = Some(start() - TimeDelta::hours(i64::from(host)));
        }
        records.push(PeerRecord {
            peer,
            banned_at: None,
            other: None,
        });
    }
    node.load(records);
    node.settle();
    assert_eq!(node.table.stats().peers.idle, 3);
    assert_eq!(node.table.changes(), 0);
    assert!(
        node.status(ip("61.1.0.5")).is_some() && node.status(ip("61.1.0.6")).is_some(),
        "the latest bans"
    );
}

#[test]
fn times_in_the_future_are_kept_and_not_believed() {
    let mut node = Node::new(config());
    let record = |text: &str, alive: DateTime<Utc>| {
        let mut peer = Peer::new(ip(text));
        (peer.last_alive, peer.last_alive_outgoing) = (Some(alive), Some(alive));
        PeerRecord {
            peer,
            banned_at: None,
            other: None,
        }
    };
    let year = TimeDelta::days(365);
    let future = start() + year;
    node.load(vec![record("60.1.0.1", future), record("60.2.0.1", start() - year)]);
    node.settle();
    assert_eq!(node.table.peer(ip("60.1.0.1")).unwrap().last_alive, Some(future));
    node.connect(ip("60.2.0.1"));
    node.wait(Duration::from_secs(1));
    node.report(ip("60.2.0.1"), Report::Alive);
    node.report(ip("60.2.0.1"), Report::Closed);
    assert_eq!(
        node.table.good_peer_ips().next(),
        Some(ip("60.2.0.1")),
        "alive later than the start"
    );
}

#[test]
fn what_only_passes_through_is_no_change() {
    let peer = ip("60.2.0.1");
    let mut node = Node::new(config());
    node.list([peer]);
    let changes = node.table.changes();
    node.poll();
    node.dial_ok(peer);
    node.report(peer, Report::Closed);
    assert_eq!(node.table.changes(), changes);
    node.wait(Duration::from_secs(9));
    node.poll();
    node.dial_ok(peer);
    node.report(peer, Report::Alive);
    assert!(node.table.changes() > changes);
    let changes = node.table.changes();
    node.report(peer, Report::Closed);
    assert!(node.table.changes() > changes, "from alive to idle is one");
}

/// One peer a network each: none is more crowded, so the worst of all goes.
#[test]
fn whoever_failed_goes_before_a_newcomer() {
    let mut config = config();
    config.max_idle_peers = 2;
    config.target_outgoing_connections = 0;
    let mut node = Node::new(config);
    node.list([ip("60.1.0.1"), ip("60.2.0.1")]);
    node.report(ip("60.1.0.1"), Report::Failed);
    node.list([ip("60.3.0.1")]);
    assert_eq!(node.status(ip("60.1.0.1")), None);
    assert_eq!(node.status(ip("60.3.0.1")), Some(PeerStatus::Idle));
}

/// What was believed instead until then counts no more, though nothing else is stored now.
#[test]
fn a_time_from_the_future_may_come_true() {
    let mut node = Node::new(config());
    let failed_at = |number: u8, seconds| {
        let mut peer = Peer::new(IpAddr::from([60, number, 0, 1]));
        peer.last_failure = Some(start() + TimeDelta::seconds(seconds));
        record(peer)
    };
    node.load(vec![failed_at(1, 10), failed_at(2, 0)]);
    node.wait(Duration::from_secs(5));
    node.report(ip("60.2.0.1"), Report::Failed);
    let order = |node: &Node| node.table.good_peer_ips().collect::<Vec<_>>();
    assert_eq!(order(&node), [ip("60.1.0.1"), ip("60.2.0.1")]);
    node.wait(Duration::from_secs(5));
    let changes = node.table.changes();
    node.report(ip("60.1.0.1"), Report::Failed);
    assert_eq!(
        (node.table.changes(), order(&node)),
        (changes, vec![ip("60.2.0.1"), ip("60.1.0.1")])
    );
}
