//! Streams of changes: what they say, that they hold up nothing, and how they end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use PeerStatus::{Banned, Idle, InAlive, InHandshaking, OutConnecting, OutHandshaking};
use futures::StreamExt;

use super::*;
use crate::change::{Cause, Change, ChangeKind, Refusal, Reporter};

/// A reader that knows nothing but what it knew when it began and the changes since.
pub(super) struct Follower {
    changes: Changes,
    peers: BTreeMap<IpAddr, PeerStatus>,
}

impl Follower {
    pub(super) fn of(net: &mut NetworkController<MemoryTransport>) -> Self {
        Self {
            changes: net.changes(1_000),
            peers: statuses(net),
        }
    }

    /// Follows what has changed, and compares.
    pub(super) fn follow(&mut self, net: &NetworkController<MemoryTransport>) {
        for change in drain(&mut self.changes) {
            match change.kind {
                ChangeKind::Status { from, to, .. } => assert_eq!(self.peers.insert(change.ip, to), from, "{change}"),
                ChangeKind::Added => assert_eq!(self.peers.insert(change.ip, Idle), None, "{change}"),
                ChangeKind::Forgotten => assert!(self.peers.remove(&change.ip).is_some(), "{change}"),
                ChangeKind::Refused(_) => {}
                ChangeKind::Lagged(_) => panic!("{change}"),
            }
        }
        assert_eq!(self.peers, statuses(net));
        assert_eq!(self.changes.is_terminated(), net.engine.check_open().is_err());
    }
}

fn statuses(net: &NetworkController<MemoryTransport>) -> BTreeMap<IpAddr, PeerStatus> {
    net.peers().map(|peer| (peer.ip, peer.status)).collect()
}

fn drain(changes: &mut Changes) -> Vec<Change> {
    std::iter::from_fn(|| changes.next().now_or_never().flatten()).collect()
}

fn kinds(changes: &mut Changes) -> Vec<ChangeKind> {
    drain(changes).into_iter().map(|change| change.kind).collect()
}

fn status(from: impl Into<Option<PeerStatus>>, to: PeerStatus, cause: Cause) -> ChangeKind {
    let from = from.into();
    ChangeKind::Status { from, to, cause }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_told_of_from_its_start_to_its_end() {
    let mut node = Node::knowing(passive(), &[]).await;
    let mut changes = node.changes(100);
    advance(seconds(5)).await;
    let _socket = node.admits(LOW);
    node.refuses(LOW);
    let lease = node.lease(ip(LOW)).unwrap();
    lease.alive();
    node.no_event();
    lease.closed();
    node.no_event();
    let told = drain(&mut changes);
    assert!(told.iter().all(|change| change.ip == ip(LOW)));
    assert!(told.iter().all(|change| Some(change.at) == node.now()));
    let kinds: Vec<_> = told.into_iter().map(|change| change.kind).collect();
    assert_eq!(
        kinds,
        [
            status(None, InHandshaking, Cause::Admitted),
            ChangeKind::Refused(Refusal::Connected),
            status(InHandshaking, InAlive, Cause::Alive),
            status(InAlive, Idle, Cause::Closed(Reporter::Lease)),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_reporter_is_told() {
    let mut node = Node::knowing(passive(), &[]).await;
    let mut changes = node.changes(100);
    let failed = |reporter| status(InHandshaking, Idle, Cause::Failed(reporter));
    let _first = node.admits(LOW);
    node.fail(LOW);
    let _second = node.admits(LOW);
    node.handle().report(Feedback::Failed(ip(LOW))).unwrap();
    node.no_event();
    let _third = node.admits(LOW);
    node.lease(ip(LOW)).unwrap().failed();
    node.no_event();
    let _fourth = node.admits(LOW);
    drop(node.lease(ip(LOW)));
    node.no_event();
    let _fifth = node.admits(LOW);
    node.lease(ip(LOW)).unwrap().banned();
    node.no_event();
    let ends = kinds(&mut changes)
        .into_iter()
        .filter(|kind| matches!(kind, ChangeKind::Status { to: Idle | Banned, .. }));
    assert_eq!(
        ends.collect::<Vec<_>>(),
        [
            failed(Reporter::Feedback),
            failed(Reporter::Feedback),
            failed(Reporter::Lease),
            failed(Reporter::DroppedLease),
            status(InHandshaking, Banned, Cause::Banned(Reporter::Lease)),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_dial_is_told_with_its_error() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    let mut changes = node.changes(100);
    node.dial_err(LOW, ErrorKind::ConnectionReset);
    let cause = Cause::DialFailed(ErrorKind::ConnectionReset);
    assert_eq!(kinds(&mut changes), [status(OutConnecting, Idle, cause)]);
}

#[tokio::test(start_paused = true)]
async fn timeouts_are_told() {
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    let mut changes = node.changes(100);
    let config = node.config().clone();
    advance(config.connect_timeout).await;
    node.no_event();
    let cause = Cause::DialFailed(ErrorKind::TimedOut);
    assert_eq!(kinds(&mut changes), [status(OutConnecting, Idle, cause)]);
    let _socket = node.admits(HIGH);
    advance(config.handshake_timeout.unwrap()).await;
    node.settle();
    let told = kinds(&mut changes);
    assert!(
        told.contains(&status(InHandshaking, Idle, Cause::HandshakeTimedOut)),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_woken_and_sees_a_change_as_soon_as_the_call_returns() {
    let mut node = Node::knowing(passive(), &[]).await;
    let mut changes = task::spawn(node.changes(100));
    assert!(changes.poll_next().is_pending());
    drop(node.feedback_peer_list([ip(LOW)]));
    assert!(changes.is_woken());
    let Poll::Ready(Some(change)) = changes.poll_next() else {
        panic!("no change")
    };
    assert_eq!((change.ip, change.kind), (ip(LOW), ChangeKind::Added));
    assert!(changes.poll_next().is_pending());
    drop(node.feedback_peer_banned(ip(LOW)));
    assert!(changes.is_woken());
    assert!(changes.poll_next().is_ready());
}

fn peers(count: u8) -> Vec<IpAddr> {
    (1..=count).map(|second| IpAddr::from([61, second, 0, 1])).collect()
}

#[tokio::test(start_paused = true)]
async fn one_that_lags_loses_the_oldest_and_learns_how_many() {
    for (capacity, listed, missing) in [(5, 5, 0), (5, 6, 1), (1, 9, 8), (0, 9, 8)] {
        let mut node = Node::knowing(passive(), &[]).await;
        let mut changes = node.changes(capacity);
        let peers = peers(listed);
        for &peer in &peers {
            drop(node.feedback_peer_list([peer]));
        }
        let mut told = drain(&mut changes);
        if missing > 0 {
            let lagged = told.remove(0);
            assert_eq!(lagged.kind, ChangeKind::Lagged(missing), "{capacity}, {listed}");
            assert!(lagged.ip.is_unspecified());
        }
        let told: Vec<_> = told.into_iter().map(|change| change.ip).collect();
        assert_eq!(told, peers[usize::try_from(missing).unwrap()..]);
    }
}

/// Within one call the table itself drops them.
#[tokio::test(start_paused = true)]
async fn several_readers_lose_each_what_they_have_no_room_for() {
    let mut node = Node::knowing(passive(), &[]).await;
    let mut small = node.changes(2);
    drop(node.feedback_peer_list(peers(1)));
    let mut large = node.changes(4);
    drop(node.feedback_peer_list(peers(10)));
    let told = drain(&mut small);
    assert_eq!(told[0].kind, ChangeKind::Lagged(8));
    assert_eq!(told.len(), 3);
    let told = drain(&mut large);
    assert_eq!(told[0].kind, ChangeKind::Lagged(5), "not what was before its time");
    assert_eq!(told.len(), 5);
    drop(node.feedback_peer_list([ip(LOW)]));
    assert_eq!(kinds(&mut small), [ChangeKind::Added]);
    assert_eq!(kinds(&mut large), [ChangeKind::Added]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_dropped_is_forgotten_with_the_next_change() {
    let mut node = Node::knowing(passive(), &[]).await;
    let (changes, mut other) = (node.changes(10), node.changes(10));
    drop(changes);
    assert_eq!(node.engine.watchers.len(), 2);
    drop(node.feedback_peer_list([ip(LOW)]));
    assert_eq!(node.engine.watchers.len(), 1);
    assert_eq!(drain(&mut other).len(), 1);
    drop(other);
    drop(node.feedback_peer_list([ip(HIGH)]));
    assert_eq!(node.engine.watchers.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn they_end_with_the_close_after_the_last_change() {
    let mut node = Node::knowing(passive(), &[]).await;
    let _socket = node.admits(LOW);
    let mut changes = task::spawn(node.changes(10));
    assert!(changes.poll_next().is_pending());
    drop(node.lease(ip(LOW)));
    node.close().await.unwrap();
    assert!(changes.is_woken());
    let closed = status(InHandshaking, Idle, Cause::Closed(Reporter::DroppedLease));
    assert!(!changes.is_terminated());
    assert!(matches!(changes.poll_next(), Poll::Ready(Some(change)) if change.kind == closed));
    assert!(matches!(changes.poll_next(), Poll::Ready(None)));
    assert!(changes.is_terminated());
    assert!(node.changes(10).next().await.is_none(), "one made after it has ended");
}

#[tokio::test(start_paused = true)]
async fn they_end_with_the_drop() {
    let mut node = Node::knowing(passive(), &[]).await;
    let mut changes = task::spawn(node.changes(10));
    assert!(changes.poll_next().is_pending());
    drop(node);
    assert!(changes.is_woken());
    assert!(matches!(changes.poll_next(), Poll::Ready(None)));
}

/// Its waker may come back to the stream, as a runtime that polls at once does.
#[tokio::test(start_paused = true)]
async fn a_reader_may_be_polled_by_its_waker() {
    struct Reader(AtomicUsize, std::sync::Mutex<Option<Changes>>);
    impl std::task::Wake for Reader {
        fn wake(self: Arc<Self>) {
            let mut changes = self.1.try_lock().expect("the stream is not being polled");
            let next = changes.as_mut().unwrap().next().now_or_never();
            self.0.fetch_add(usize::from(next.is_some()), Ordering::Relaxed);
        }
    }
    let mut node = Node::knowing(passive(), &[]).await;
    let mut changes = node.changes(10);
    let reader = Arc::new(Reader(AtomicUsize::new(0), std::sync::Mutex::new(None)));
    let waker = Waker::from(Arc::clone(&reader));
    assert!(changes.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
    *reader.1.lock().unwrap() = Some(changes);
    drop(node.feedback_peer_list([ip(LOW)]));
    assert_eq!(reader.0.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_they_say_adds_up_to_the_stats() {
    let mut node = Node::knowing(wanting(2), &[LOW, HIGH]).await;
    let before = node.stats().peers;
    let mut changes = node.changes(100);
    let _low = node.dial_ok(LOW);
    node.dial_err(HIGH, ErrorKind::ConnectionRefused);
    node.ban(HIGH);
    let _in = node.admits("61.1.0.1");
    node.list(&["61.2.0.1"]);
    let mut peers = before;
    for kind in kinds(&mut changes) {
        match kind {
            ChangeKind::Status { from, to, .. } => {
                from.into_iter().for_each(|from| *peers.get_mut(from) -= 1);
                *peers.get_mut(to) += 1;
            }
            ChangeKind::Added => peers.idle += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(peers, node.stats().peers);
    assert_eq!(peers.get(OutHandshaking), 1);
}
