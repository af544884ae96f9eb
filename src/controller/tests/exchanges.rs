//! Rotation and eviction, as the application sees them: by its leases.

use PeerStatus::{Idle, InAlive, OutAlive, OutConnecting};

use super::*;

/// Longer than it takes until a rotation is due.
const LONG: Duration = seconds(601);

/// A node at its target of one, by a live connection with [`WITNESS`], and its lease.
async fn at_target() -> (Node, PeerLease) {
    let mut node = Node::beyond_outage(wanting(1)).await;
    let lease = node.lease(ip(WITNESS)).unwrap();
    node.settle();
    (node, lease)
}

/// A rotation dials `peer`, which answers; its handshake is under way.
async fn rotates(node: &mut Node, peer: &str) -> PeerLease {
    node.list(&[peer]);
    advance(LONG).await;
    node.no_event();
    assert_eq!(node.status(peer), Some(OutConnecting));
    let _socket = node.dial_ok(peer);
    node.lease(ip(peer)).unwrap()
}

async fn rotated() -> (Node, PeerLease, PeerLease) {
    let (mut node, old) = at_target().await;
    let new = rotates(&mut node, HIGH).await;
    let mut revoked = task::spawn(old.revoked());
    assert!(revoked.poll().is_pending());
    new.alive();
    node.no_event();
    assert!(revoked.is_woken());
    assert_eq!(revoked.poll(), Poll::Ready(Revocation::Rotated));
    drop(revoked);
    assert_eq!(
        [WITNESS, HIGH].map(|peer| node.status(peer)),
        [Some(Idle), Some(OutAlive)]
    );
    (node, old, new)
}

#[tokio::test(start_paused = true)]
async fn the_address_of_a_rotated_connection_is_free_when_its_lease_is_dropped() {
    let ends: [fn(PeerLease); 3] = [drop, PeerLease::closed, PeerLease::failed];
    for end in ends {
        let (mut node, old, _new) = rotated().await;
        node.refuses(WITNESS);
        let before = node.stats();
        end(old);
        node.no_event();
        assert_eq!(node.stats(), before, "it says nothing else");
        assert_eq!(node.of(WITNESS).last_failure, None);
        node.admits(WITNESS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotated_lease_still_bans() {
    let (mut node, old, _new) = rotated().await;
    old.banned();
    node.no_event();
    node.unban(WITNESS);
    node.admits(WITNESS);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ends_as_it_is_rotated_holds_nothing() {
    let ends: [fn(PeerLease); 3] = [drop, PeerLease::closed, PeerLease::failed];
    for end in ends {
        let (mut node, old) = at_target().await;
        let _new = rotates(&mut node, HIGH).await;
        // The end is queued and not yet applied when the rotation ends the connection.
        end(old);
        drop(node.feedback_peer_alive(ip(HIGH)));
        assert_eq!(node.counters().rotated_out, 1);
        node.no_event();
        node.admits(WITNESS);
    }
}

#[tokio::test(start_paused = true)]
async fn feedback_by_address_ends_no_hold() {
    let (mut node, _old, _new) = rotated().await;
    node.end(WITNESS);
    node.fail(WITNESS);
    node.refuses(WITNESS);
}

#[tokio::test(start_paused = true)]
async fn without_leases_no_peer_is_dialed_at_the_target() {
    let mut node = Node::beyond_outage(wanting(1)).await;
    node.list(&[HIGH]);
    for _ in 0..20 {
        advance(LONG).await;
        node.rests();
    }
    assert_eq!(node.counters().rotations, 0);
    assert_eq!(node.status(WITNESS), Some(OutAlive));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_a_rotation_has_waited_for_wakes_the_task() {
    let mut node = Node::beyond_outage(wanting(1)).await;
    node.list(&[HIGH]);
    advance(LONG).await;
    node.rests();
    let _lease = node.lease(ip(WITNESS)).unwrap();
    node.no_event();
    assert_eq!(node.status(HIGH), Some(OutConnecting));
}

/// A node with its one incoming place taken by [`LOW`], and the lease.
async fn full() -> (Node, PeerLease) {
    let mut config = passive();
    (config.max_incoming_connections, config.evict_incoming) = (1, true);
    let mut node = Node::knowing(config, &[]).await;
    node.admits(LOW);
    let lease = node.lease(ip(LOW)).unwrap();
    lease.alive();
    node.no_event();
    (node, lease)
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_evicts_a_leased_connection() {
    let (mut node, old) = full().await;
    let mut revoked = task::spawn(old.revoked());
    assert!(revoked.poll().is_pending());
    node.admits(HIGH);
    assert_eq!(revoked.poll(), Poll::Ready(Revocation::Evicted));
    drop(revoked);
    assert_eq!(node.status(LOW), Some(Idle));
    node.alive(HIGH);
    node.refuses(LOW);
    let _lease = node.lease(ip(HIGH)).unwrap();
    old.closed();
    advance(seconds(1)).await;
    node.settle();
    node.admits(LOW);
    assert_eq!(node.counters().evicted, 2);
}

#[tokio::test(start_paused = true)]
async fn a_dead_newcomer_evicts_no_connection() {
    let (mut node, _old) = full().await;
    let probe = node.connects(HIGH);
    probe.kill(ErrorKind::ConnectionReset);
    node.no_event();
    assert_eq!((node.status(LOW), node.counters().evicted), (Some(InAlive), 0));
    assert_eq!(node.counters().inbound_dead, 1);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_that_cannot_be_admitted_evicts_no_connection() {
    let (mut node, _old) = full().await;
    let probe = node.connects(HIGH);
    probe.fail_admit(ErrorKind::NotConnected.into());
    node.no_event();
    assert_eq!((node.status(LOW), node.counters().evicted), (Some(InAlive), 0));
}
