//! Leases: each speaks of one connection, loses nothing, and learns when that is over for another reason.

use PeerStatus::{Banned, Idle, InAlive, InHandshaking, OutAlive, OutHandshaking};
use futures::SinkExt;

use super::*;

/// Where the connection is an inbound one, the peer is not dialed when it has ended.
async fn leased(status: PeerStatus) -> (Node, PeerLease) {
    let is_inbound = matches!(status, InHandshaking | InAlive);
    let config = if is_inbound { passive() } else { wanting(1) };
    let (mut node, _socket) = Node::with(LOW, Some(status), config).await;
    let lease = node.lease(ip(LOW)).expect("a connection has its lease");
    (node, lease)
}

fn is_revoked(lease: &PeerLease) -> bool {
    lease.revoked().now_or_never().is_some()
}

#[tokio::test(start_paused = true)]
async fn there_is_one_lease_a_connection() {
    for status in [OutHandshaking, OutAlive, InHandshaking, InAlive] {
        let (mut node, lease) = leased(status).await;
        assert!(node.lease(ip(LOW)).is_none());
        let is_outgoing = matches!(status, OutHandshaking | OutAlive);
        assert_eq!((lease.ip(), lease.is_outgoing()), (ip(LOW), is_outgoing));
        lease.closed();
        node.no_event();
        assert!(node.lease(ip(LOW)).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_none_without_a_connection() {
    for status in [None, Some(Idle), Some(PeerStatus::OutConnecting), Some(Banned)] {
        let (mut node, _) = Node::with(LOW, status, wanting(1)).await;
        assert!(node.lease(ip(LOW)).is_none(), "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_none_before_the_event_was_returned() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    node.world.dial_ok(ip(LOW));
    let _inbound = node.connects_from("220.1.0.1:9".parse().unwrap(), US);
    assert!(node.lease(ip(LOW)).is_none());
    assert!(node.poll().is_ready());
    assert!(node.lease(ip(LOW)).is_some());
    assert!(node.lease(ip(HIGH)).is_none(), "its event is still to come");
    assert!(node.poll().is_ready());
    assert!(node.lease(ip(HIGH)).is_some());
}

/// So many addresses, each of a network of its own.
fn strangers(first: u8, count: usize) -> impl Iterator<Item = IpAddr> {
    (0..=255)
        .map(move |second| IpAddr::from([first, second, 0, 1]))
        .take(count)
}

#[tokio::test(start_paused = true)]
async fn a_peer_list_of_a_lease_has_the_share_of_its_peer() {
    let tells: [fn(&mut Node, &PeerLease); 3] = [
        |_, lease| lease.peer_list(strangers(62, 200)),
        |node, _| {
            let list = Feedback::PeerListFrom(ip(LOW), strangers(62, 200).collect());
            node.feedback_sink().report(list).unwrap();
        },
        |node, _| {
            let list = Feedback::PeerListFrom(ip(LOW), strangers(62, 200).collect());
            node.start_send_unpin(list).unwrap();
        },
    ];
    for tell in tells {
        let mut config = passive();
        config.max_idle_peers = 200;
        let (mut node, _socket) = Node::with(LOW, Some(InAlive), config).await;
        node.feedback_peer_list(strangers(61, 200)).await;
        let lease = node.lease(ip(LOW)).unwrap();
        tell(&mut node, &lease);
        node.no_event();
        assert_eq!(strangers(62, 200).filter(|&ip| node.peer(ip).is_some()).count(), 16);
        assert_eq!(strangers(61, 200).filter(|&ip| node.peer(ip).is_some()).count(), 184);
        lease.closed();
    }
}

#[tokio::test(start_paused = true)]
async fn peer_lists_of_a_lease_take_bounded_memory() {
    let mut config = passive();
    config.max_idle_peers = 50;
    let (mut node, _socket) = Node::with(LOW, Some(InAlive), config).await;
    let lease = node.lease(ip(LOW)).unwrap();
    for _ in 0..100 {
        lease.peer_list(std::iter::repeat_with(|| strangers(62, 200)).flatten());
    }
    assert_eq!(node.engine.mailbox.held(), 50);
    node.no_event();
    assert_eq!((node.peers().count(), node.engine.mailbox.held()), (51, 0));
    lease.closed();
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_connection_is_over_adds_no_peer() {
    let (mut node, lease) = leased(InAlive).await;
    node.ban(LOW);
    lease.peer_list([ip(HIGH)]);
    assert_eq!(node.engine.mailbox.held(), 0);
    let (mut node, lease) = leased(InAlive).await;
    node.close().await.unwrap();
    lease.peer_list([ip(HIGH)]);
    assert_eq!(node.engine.mailbox.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_mapped_address_names_the_same_connection() {
    let (mut node, _socket) = Node::with(LOW, Some(InAlive), passive()).await;
    assert_eq!(node.lease(ip("::ffff:60.1.0.1")).unwrap().ip(), ip(LOW));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_dropped_unspent_has_failed() {
    for status in [OutHandshaking, OutAlive, InHandshaking, InAlive] {
        let (mut node, lease) = leased(status).await;
        drop(lease);
        assert_eq!(node.status(LOW), Some(status), "until the next poll");
        node.no_event();
        let peer = node.of(LOW);
        assert_eq!((peer.status, peer.last_failure), (Idle, node.now()));
        assert_eq!(peer.failures_in_row, 0, "in an outage");
    }
    let mut node = Node::dialing_beyond_outage(config(), LOW).await;
    let _socket = node.dial_ok(LOW);
    drop(node.lease(ip(LOW)));
    node.no_event();
    assert_eq!((node.status(LOW), node.of(LOW).failures_in_row), (Some(Idle), 1));
}

#[tokio::test(start_paused = true)]
async fn each_end_of_a_lease_does_what_its_feedback_does() {
    let ends: [fn(PeerLease); 3] = [PeerLease::closed, PeerLease::failed, PeerLease::banned];
    for (end, (status, is_blamed)) in ends.into_iter().zip([(Idle, false), (Idle, true), (Banned, true)]) {
        let (mut node, lease) = leased(InAlive).await;
        end(lease);
        node.no_event();
        assert_eq!(node.status(LOW), Some(status));
        assert_eq!(node.of(LOW).last_failure.is_some(), is_blamed);
        assert_eq!(node.counters().feedback_stale, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn alive_counts_before_the_end_that_follows_it() {
    let ends: [fn(PeerLease); 4] = [PeerLease::closed, PeerLease::failed, PeerLease::banned, drop];
    for end in ends {
        let (mut node, lease) = leased(OutHandshaking).await;
        advance(seconds(1)).await;
        lease.alive();
        end(lease);
        node.no_event();
        let peer = node.of(LOW);
        assert_eq!((peer.last_alive, peer.last_alive_outgoing), (node.now(), node.now()));
        assert!(!peer.status.is_connected());
        assert_eq!(node.counters().handshakes_succeeded, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_alive_as_often_as_it_says_in_no_more_memory() {
    let (mut node, lease) = leased(InHandshaking).await;
    let empty = node.engine.mailbox.held();
    for _ in 0..100_000 {
        lease.alive();
    }
    assert_eq!(node.engine.mailbox.held(), empty + 1);
    node.no_event();
    assert_eq!(node.status(LOW), Some(InAlive));
    assert_eq!(node.engine.mailbox.held(), empty);
}

#[tokio::test(start_paused = true)]
async fn connections_that_come_and_go_leave_nothing_behind() {
    let mut node = Node::knowing(passive(), &[]).await;
    for _ in 0..200 {
        let _socket = node.admits(LOW);
        let lease = node.lease(ip(LOW)).unwrap();
        lease.alive();
        lease.closed();
        node.no_event();
    }
    assert_eq!(
        (node.engine.mailbox.held(), node.engine.mailbox.open_connections()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_stale_lease_changes_nothing_but_a_ban() {
    let (mut node, old) = leased(InAlive).await;
    node.end(LOW);
    let _socket = node.admits(LOW);
    let new = node.lease(ip(LOW)).unwrap();
    let before = node.of(LOW).clone();
    advance(seconds(1)).await;
    old.alive();
    drop(old);
    node.settle();
    assert_eq!(node.of(LOW), &before);
    assert!(!is_revoked(&new));
}

#[tokio::test(start_paused = true)]
async fn a_stale_lease_that_is_spent_changes_nothing_either() {
    for end in [PeerLease::closed as fn(PeerLease), PeerLease::failed] {
        let (mut node, old) = leased(InAlive).await;
        node.end(LOW);
        let _socket = node.admits(LOW);
        let before = node.of(LOW).clone();
        end(old);
        node.settle();
        assert_eq!(node.of(LOW), &before);
    }
}

#[tokio::test]
async fn a_lease_that_fails_after_a_sign_of_life_fails_later() {
    let mut config = passive();
    config.clock = Clock::System;
    let mut node = Node::knowing(config, &[]).await;
    node.list(&[HIGH]);
    let _socket = node.admits(LOW);
    let lease = node.lease(ip(LOW)).unwrap();
    lease.alive();
    drop(lease);
    node.no_event();
    let ranked = node.get_good_peer_ips();
    assert_eq!(
        ranked,
        [ip(HIGH), ip(LOW)],
        "a peer that has failed since is worse than an unknown one"
    );
}

#[tokio::test(start_paused = true)]
async fn the_ban_of_a_stale_lease_ends_the_connection_that_followed() {
    let (mut node, old) = leased(InAlive).await;
    node.end(LOW);
    let _socket = node.admits(LOW);
    let new = node.lease(ip(LOW)).unwrap();
    old.banned();
    node.no_event();
    assert_eq!(node.status(LOW), Some(Banned));
    assert!(is_revoked(&new));
}

#[tokio::test(start_paused = true)]
async fn a_lease_report_of_an_old_connection_spares_the_new_one() {
    let (mut node, old) = leased(InAlive).await;
    old.failed();
    drop(node.feedback_peer_closed(ip(LOW)));
    let _probe = node.connects_from("60.1.0.1:9".parse().unwrap(), US);
    assert_eq!(node.event().ip, ip(LOW));
    assert_eq!(node.status(LOW), Some(InHandshaking));
    assert_eq!(
        node.of(LOW).last_failure,
        None,
        "feedback by address goes first and wins"
    );
    assert_eq!(node.counters().feedback_stale, 1);
}

#[tokio::test(start_paused = true)]
async fn feedback_by_address_wins_over_a_lease_report_that_was_queued_before_it() {
    let (mut node, lease) = leased(InAlive).await;
    lease.failed();
    node.feedback_sink().report(Feedback::Closed(ip(LOW))).unwrap();
    node.no_event();
    let peer = node.of(LOW);
    assert_eq!((peer.status, peer.last_failure), (Idle, None));
    assert_eq!(node.counters().feedback_stale, 1);
}

#[tokio::test(start_paused = true)]
async fn it_is_revoked_by_every_end_but_its_own() {
    type End = fn(&mut Node);
    let ends: [(End, Revocation); 4] = [
        (|node| node.ban(LOW), Revocation::Banned),
        (|node| node.fail(LOW), Revocation::Feedback),
        (|node| node.end(LOW), Revocation::Feedback),
        (
            |node| {
                node.feedback_sink().report(Feedback::Failed(ip(LOW))).unwrap();
                node.no_event();
            },
            Revocation::Feedback,
        ),
    ];
    for (end, why) in ends {
        let (mut node, lease) = leased(InAlive).await;
        let mut revoked = task::spawn(lease.revoked());
        assert!(revoked.poll().is_pending());
        node.alive(LOW);
        assert!(!revoked.is_woken());
        end(&mut node);
        assert!(revoked.is_woken());
        assert_eq!(revoked.poll(), Poll::Ready(why));
        assert_eq!(lease.revoked().now_or_never(), Some(why), "and from then on always");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_revoked_by_a_deadline() {
    let (mut node, lease) = leased(InHandshaking).await;
    let mut revoked = task::spawn(lease.revoked());
    assert!(revoked.poll().is_pending());
    advance(seconds(31)).await;
    node.no_event();
    assert!(revoked.is_woken());
    assert_eq!(revoked.poll(), Poll::Ready(Revocation::HandshakeTimeout));
}

#[tokio::test(start_paused = true)]
async fn it_is_revoked_by_the_close_and_by_the_drop() {
    let (mut node, lease) = leased(InAlive).await;
    let mut revoked = task::spawn(lease.revoked());
    assert!(revoked.poll().is_pending());
    node.close().await.unwrap();
    assert!(revoked.is_woken());
    assert_eq!(revoked.poll(), Poll::Ready(Revocation::Closed));

    let (node, lease) = leased(InAlive).await;
    let mut revoked = task::spawn(lease.revoked());
    assert!(revoked.poll().is_pending());
    drop(node);
    assert!(revoked.is_woken());
    assert_eq!(revoked.poll(), Poll::Ready(Revocation::Closed));
}

#[tokio::test(start_paused = true)]
async fn several_may_wait_for_one_revocation_also_before_they_are_polled() {
    let (mut node, lease) = leased(InAlive).await;
    let mut waiting = [(); 3].map(|()| task::spawn(lease.revoked()));
    assert!(waiting.iter_mut().all(|revoked| revoked.poll().is_pending()));
    let mut unpolled = task::spawn(lease.revoked());
    node.ban(LOW);
    assert!(
        waiting
            .iter_mut()
            .all(|revoked| revoked.is_woken() && revoked.poll().is_ready())
    );
    assert!(unpolled.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn dropping_revoked_loses_nothing() {
    let (mut node, lease) = leased(InAlive).await;
    assert!(!is_revoked(&lease));
    assert!(!is_revoked(&lease));
    node.fail(LOW);
    assert!(is_revoked(&lease));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_lease_that_is_dropped_says_nothing() {
    let (mut node, lease) = leased(InAlive).await;
    node.end(LOW);
    drop(lease);
    node.rests();
    assert_eq!((node.of(LOW).last_failure, node.counters().feedback_stale), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn an_untaken_lease_does_not_revoke_the_next_one() {
    let (mut node, _socket) = Node::with(LOW, Some(InAlive), passive()).await;
    node.end(LOW);
    let _socket = node.admits(LOW);
    let lease = node.lease(ip(LOW)).unwrap();
    assert!(!is_revoked(&lease));
}

#[tokio::test(start_paused = true)]
async fn everything_a_lease_says_wakes() {
    let says: [fn(PeerLease) -> Option<PeerLease>; 5] = [
        |lease| {
            lease.alive();
            Some(lease)
        },
        |lease| {
            lease.closed();
            None
        },
        |lease| {
            lease.failed();
            None
        },
        |lease| {
            lease.banned();
            None
        },
        |lease| {
            drop(lease);
            None
        },
    ];
    for say in says {
        let (mut node, lease) = leased(InAlive).await;
        let _kept = say(lease);
        node.no_event();
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_frees_its_slot() {
    let (mut node, lease) = leased(InAlive).await;
    let task = tokio::spawn(async move {
        let _lease = lease;
        std::panic::resume_unwind(Box::new("as a bug would"));
    });
    assert!(task.await.unwrap_err().is_panic());
    node.no_event();
    assert_eq!(node.status(LOW), Some(Idle));
}
