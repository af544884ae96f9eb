//! Both sides of each cap: one below it admits, at it refuses, a release admits again.

use super::*;

fn peer(number: usize) -> String {
    format!("60.{}.0.1", number + 1)
}

fn peers(count: usize) -> Vec<String> {
    (0..count).map(peer).collect()
}

/// Knows as many peers, each in a subnet of its own.
async fn knowing(config: NetworkConfig, count: usize) -> Node {
    let peers = peers(count);
    let peers: Vec<_> = peers.iter().map(String::as_str).collect();
    Node::knowing(config, &peers).await
}

#[tokio::test(start_paused = true)]
async fn max_incoming_connections() {
    let mut config = passive();
    config.max_incoming_connections = 3;
    let mut node = Node::knowing(config, &[]).await;
    let sockets = [0, 1, 2].map(|number| node.admits(&peer(number)));
    node.alive(&peer(0));
    node.refuses(&peer(3));
    assert_eq!(node.counters().refused_incoming_full, 1);
    assert_eq!(node.status(&peer(3)), Some(PeerStatus::Idle), "it is remembered");
    node.end(&peer(0));
    let _socket = node.admits(&peer(3));
    node.refuses(&peer(4));
    drop(sockets);
}

#[tokio::test(start_paused = true)]
async fn every_end_of_an_incoming_connection_gives_its_slot_back() {
    let ends: [fn(&mut Node); 4] = [
        |node| node.fail(LOW),
        |node| node.end(LOW),
        |node| node.ban(LOW),
        |node| {
            node.lease(ip(LOW)).unwrap().failed();
            node.no_event();
        },
    ];
    for end in ends {
        for limit in [true, false] {
            let mut config = passive();
            config.max_incoming_connections = if limit { 1 } else { 2 };
            config.max_simultaneous_incoming_connection_attempts = 1;
            let (mut node, _socket) = Node::with(LOW, Some(PeerStatus::InHandshaking), config).await;
            node.refuses(HIGH);
            end(&mut node);
            let _socket = node.admits(HIGH);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn max_simultaneous_incoming_connection_attempts() {
    let mut config = passive();
    config.max_simultaneous_incoming_connection_attempts = 2;
    let mut node = Node::knowing(config, &[]).await;
    let sockets = [0, 1].map(|number| node.admits(&peer(number)));
    node.refuses(&peer(2));
    assert_eq!(node.counters().refused_attempts_full, 1);
    node.alive(&peer(0));
    let _socket = node.admits(&peer(2));
    node.refuses(&peer(3));
    advance(seconds(31)).await;
    node.no_event();
    let _socket = node.admits(&peer(3));
    drop(sockets);
}

#[tokio::test(start_paused = true)]
async fn a_parked_socket_takes_an_incoming_slot() {
    for (connections, attempts) in [(1, 9), (9, 1)] {
        let mut config = wanting(1);
        config.max_incoming_connections = connections;
        config.max_simultaneous_incoming_connection_attempts = attempts;
        let mut node = Node::knowing(config, &[HIGH]).await;
        let _probe = node.parks(HIGH);
        assert_eq!(node.stats().incoming_attempts.used, 1);
        node.refuses(LOW);
        let _ours = node.dial_ok(HIGH);
        let _socket = node.admits(LOW);
    }
}

#[tokio::test(start_paused = true)]
async fn a_socket_is_not_parked_beyond_a_cap() {
    let mut config = wanting(1);
    config.max_incoming_connections = 1;
    let mut node = Node::knowing(config, &[HIGH]).await;
    let _socket = node.admits(LOW);
    node.refuses(HIGH);
    assert_eq!(node.counters().refused_incoming_full, 1);
    assert_eq!(node.world.fates(ip(HIGH)), [DialFate::UnderWay]);
}

#[tokio::test(start_paused = true)]
async fn max_incoming_per_subnet() {
    let mut config = passive();
    config.max_incoming_per_subnet = Some(2);
    let mut node = Node::knowing(config, &[]).await;
    let sockets = ["60.1.0.1", "60.1.0.2"].map(|peer| node.admits(peer));
    node.alive("60.1.0.1");
    node.refuses("60.1.0.3");
    assert_eq!(node.counters().refused_subnet_full, 1);
    let _elsewhere = node.admits("60.1.1.3");
    node.fail("60.1.0.2");
    let _socket = node.admits("60.1.0.3");
    node.refuses("60.1.0.4");
    drop(sockets);
}

#[tokio::test(start_paused = true)]
async fn target_outgoing_connections() {
    let mut node = knowing(wanting(2), 4).await;
    assert_eq!(node.dialing().len(), 2);
    let first = node.dialing()[0].to_string();
    let _first = node.dial_ok(&first);
    node.alive(&first);
    let second = node.dialing()[0].to_string();
    let _second = node.dial_ok(&second);
    advance(seconds(9)).await;
    node.settle();
    assert!(node.dialing().is_empty(), "the target is met");
    assert_eq!(node.stats().outgoing_connections.used, 2);
    node.fail(&first);
    assert_eq!(node.dialing().len(), 1, "a lost one is replaced");
    node.end(&second);
    assert_eq!(node.dialing().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_target_is_never_overshot_by_dials_that_succeed_together() {
    let mut node = knowing(wanting(2), 6).await;
    for _ in 0..4 {
        advance(millis(251)).await;
        node.no_event();
    }
    let raced = node.dialing();
    assert_eq!(raced.len(), 6);
    for ip in &raced {
        node.world.dial_ok(*ip);
    }
    let (_first, _second) = (node.event(), node.event());
    assert!(node.events.is_empty());
    assert_eq!(node.stats().outgoing_connections.used, 2);
    assert_eq!(node.world.live_sockets(), 2, "the others are closed");
}

#[tokio::test(start_paused = true)]
async fn max_simultaneous_outgoing_connection_attempts() {
    let mut config = wanting(8);
    config.max_simultaneous_outgoing_connection_attempts = 3;
    let mut node = knowing(config, 8).await;
    advance(seconds(1)).await;
    node.settle();
    assert_eq!(node.dialing().len(), 3);
    let first = node.dialing()[0].to_string();
    let _first = node.dial_ok(&first);
    assert_eq!(node.dialing().len(), 2, "a handshake is an attempt still");
    node.alive(&first);
    assert_eq!(node.dialing().len(), 3);
    let second = node.dialing()[0].to_string();
    node.dial_err(&second, ErrorKind::ConnectionRefused);
    assert_eq!(node.dialing().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn max_idle_peers() {
    let mut config = passive();
    config.max_idle_peers = 3;
    let mut node = Node::knowing(config, &[]).await;
    node.list(&["60.1.0.1", "60.2.0.1"]);
    node.list(&["60.3.0.1"]);
    assert_eq!((node.stats().idle_peers.used, node.counters().peers_forgotten), (3, 0));
    node.list(&["60.4.0.1"]);
    assert_eq!(node.stats().idle_peers.used, 3);
    let forgotten = node.counters().peers_forgotten;
    let _socket = node.admits("61.1.0.1");
    assert_eq!(node.peers().count(), 4, "only the idle are bounded by it");
    node.fail("61.1.0.1");
    assert_eq!(node.peers().count(), 3);
    assert_eq!(node.status("61.1.0.1"), None, "the worst of all goes");
    assert_eq!(node.counters().peers_forgotten, forgotten + 1);
}

#[tokio::test(start_paused = true)]
async fn no_idle_peers_at_all() {
    let mut config = passive();
    config.max_idle_peers = 0;
    let mut node = Node::knowing(config, &[LOW]).await;
    assert_eq!(node.peers().count(), 0);
    let _socket = node.admits(LOW);
    node.alive(LOW);
    assert_eq!(node.status(LOW), Some(PeerStatus::InAlive));
    node.end(LOW);
    assert_eq!(node.status(LOW), None);
}

#[tokio::test(start_paused = true)]
async fn max_banned_peers() {
    let mut config = passive();
    config.max_banned_peers = 2;
    let mut node = Node::knowing(config, &[]).await;
    node.ban(&peer(0));
    node.ban(&peer(1));
    assert_eq!(node.stats().banned_peers.used, 2);
    node.ban(&peer(2));
    assert_eq!(node.status(&peer(0)), None, "the longest quiet makes way");
    assert_eq!(node.stats().banned_peers.used, 2);
    node.unban(&peer(1));
    node.ban(&peer(3));
    assert_eq!(node.status(&peer(2)), Some(PeerStatus::Banned), "a place was free");
}

#[tokio::test(start_paused = true)]
async fn no_bans_at_all() {
    let mut config = passive();
    config.max_banned_peers = 0;
    let (mut node, _socket) = Node::with(LOW, Some(PeerStatus::InAlive), config).await;
    let lease = node.lease(ip(LOW)).unwrap();
    node.ban(LOW);
    assert_eq!(node.status(LOW), None);
    assert!(lease.revoked().now_or_never().is_some());
}
