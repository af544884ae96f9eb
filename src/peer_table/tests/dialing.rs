//! When a dial is due, whom it is for, and what its failure means.

use super::*;

fn racing(peers: u8) -> Node {
    let mut config = config();
    config.target_outgoing_connections = 2;
    config.max_simultaneous_outgoing_connection_attempts = 4;
    let mut node = Node::new(config);
    node.list((1..=peers).map(|net| IpAddr::from([60, net, 0, 1])));
    node.poll();
    node
}

fn some_dialed(node: &Node) -> IpAddr {
    *node.dials.values().next().unwrap()
}

#[test]
fn the_shortage_is_dialed_at_once_and_more_are_raced_one_by_one() {
    let mut node = racing(20);
    assert_eq!(node.dials.len(), 2);
    node.wait(Duration::from_millis(249));
    node.poll();
    assert_eq!(node.dials.len(), 2);
    assert_eq!(node.table.next_deadline(), Some(Duration::from_millis(250)));
    for raced in [3, 4, 4] {
        node.wait(Duration::from_millis(250));
        node.poll();
        assert_eq!(node.dials.len(), raced);
    }
}

#[test]
fn a_failed_dial_is_replaced_at_once() {
    let mut node = racing(20);
    node.wait(Duration::from_millis(250));
    node.poll();
    assert_eq!(node.dials.len(), 3);
    let failed = some_dialed(&node);
    node.dial_err(failed, DialFault::Peer);
    node.poll();
    assert_eq!(node.dials.len(), 3);
    assert_eq!(node.status(failed), Some(PeerStatus::Idle));
}

#[test]
fn the_rest_is_called_off_without_blame_when_the_target_is_met() {
    let mut node = racing(20);
    for _ in 0..2 {
        node.wait(Duration::from_millis(250));
        node.poll();
    }
    let dialed: Vec<_> = node.dials.values().copied().collect();
    node.dial_ok(dialed[0]);
    assert_eq!(node.dials.len(), 3);
    node.dial_ok(dialed[1]);
    assert!(node.dials.is_empty());
    for peer in &dialed[2..] {
        assert_eq!(node.table.peer(*peer).unwrap(), &Peer::new(*peer));
    }
    assert_eq!(node.table.next_dial(node.now), None);
}

#[test]
fn a_failed_dial_blames_the_peer_only_while_another_is_alive() {
    let (peer, witness) = (ip("60.2.0.1"), ip("60.9.0.1"));
    let mut node = Node::new(config());
    node.list([peer]);
    node.poll();
    node.dial_err(peer, DialFault::TimedOut);
    assert_eq!(
        (node.streak(peer), node.table.peer(peer).unwrap().last_failure),
        (0, Some(start()))
    );
    node.connect(witness);
    for streak in 1..=4 {
        node.wait(Duration::from_secs(700));
        node.poll();
        node.dial_err(peer, DialFault::Peer);
        assert_eq!(node.streak(peer), streak);
    }
    let pause = node.table.next_deadline().unwrap() - node.now.since_start;
    assert!(
        (Duration::from_secs(40)..Duration::from_secs(50)).contains(&pause),
        "{pause:?}"
    );
}

#[test]
fn an_unroutable_peer_is_set_aside_and_not_blamed() {
    let (peer, witness) = (ip("60.2.0.1"), ip("60.9.0.1"));
    let mut node = Node::new(config());
    node.connect(witness);
    node.list([peer]);
    for doubling in 0..4_u32 {
        node.poll();
        node.dial_err(peer, DialFault::Unroutable { at_once: false });
        assert_eq!(node.table.peer(peer).unwrap(), &Peer::new(peer));
        let pause = node.table.next_deadline().unwrap() - node.now.since_start;
        let least = Duration::from_secs(5) * 2_u32.pow(doubling);
        assert!((least..=least * 5 / 4).contains(&pause), "{pause:?}");
        node.wait(pause);
    }
}

#[test]
fn a_fault_of_this_host_pauses_all_dialing_and_blames_nobody() {
    let mut node = racing(20);
    let failed = some_dialed(&node);
    node.dial_err(failed, DialFault::Host);
    assert_eq!(node.table.peer(failed).unwrap(), &Peer::new(failed));
    node.poll();
    assert_eq!(node.dials.len(), 1);
    node.wait(Duration::from_millis(100));
    node.poll();
    assert_eq!(node.dials.len(), 2);
    let failed = some_dialed(&node);
    node.dial_err(failed, DialFault::Host);
    node.wait(Duration::from_millis(100));
    node.poll();
    assert_eq!(node.dials.len(), 1, "the pause has doubled");
    node.wait(Duration::from_millis(100));
    node.poll();
    assert_eq!(node.dials.len(), 2);
}

#[test]
fn in_an_outage_the_best_is_tried_at_the_first_failure_pace() {
    let (best, other) = (ip("60.2.0.1"), ip("60.9.0.1"));
    let mut config = config();
    config.target_outgoing_connections = 2;
    let mut node = Node::new(config);
    for peer in [other, best] {
        node.wait(Duration::from_secs(60));
        node.connect(peer);
    }
    node.report(best, Report::Failed);
    for _ in 0..6 {
        node.wait(Duration::from_secs(700));
        node.poll();
        node.dial_err(best, DialFault::Peer);
    }
    node.report(other, Report::Failed);
    assert!(node.streak(best) >= 6);
    node.poll();
    assert!(node.dials.is_empty());
    let wait = node.table.next_deadline().unwrap() - node.now.since_start;
    assert!(wait <= Duration::from_millis(6_250), "{wait:?}");
    node.wait(wait);
    node.poll();
    assert_eq!(
        node.dials.values().collect::<Vec<_>>(),
        [&best],
        "who has rested for longer comes first"
    );
    node.dial_err(best, DialFault::Peer);
    node.wait(Duration::from_secs(6));
    node.poll();
    assert!(node.dials.values().any(|&peer| peer == other), "and then the next");
}

#[test]
fn turns_alternate_and_subnets_are_spread() {
    let mut config = config();
    config.target_outgoing_connections = 4;
    config.max_simultaneous_outgoing_connection_attempts = 4;
    let mut node = Node::new(config);
    let record = |ip: IpAddr, proven: bool| {
        let mut peer = Peer::new(ip);
        peer.last_alive = proven.then(start);
        peer.last_alive_outgoing = peer.last_alive;
        PeerRecord {
            peer,
            banned_at: None,
            other: None,
        }
    };
    let proven = (1..=9).map(|host| record(IpAddr::from([60, 1, 0, host]), true));
    let unproven = (2..=20).map(|net| record(IpAddr::from([60, net, 0, 1]), false));
    node.table.load(node.now, proven.chain(unproven).collect());
    node.poll();
    let subnets: BTreeSet<_> = node.dials.values().map(|&ip| Subnet::of(ip)).collect();
    assert_eq!(subnets.len(), 4, "{:?}", node.dials);
    let first = *node.dials.values().next().unwrap();
    assert_eq!(Subnet::of(first), Subnet::of(ip("60.1.0.1")), "proven peers come first");
}

use crate::peer_table::subnet::Subnet;
