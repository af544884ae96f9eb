//! How often a controller is woken: never while nothing is due, and hardly more than once for what is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use PeerStatus::{Banned, Idle, InAlive, InHandshaking, OutAlive, OutConnecting};
use tempfile::TempDir;

use super::dumps::{file, other_work};
use super::*;

/// Time passes in steps of this length.
const STEP: Duration = millis(10);

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls a node when it is woken and at no other time, and counts how often it is.
struct Runtime {
    node: Node,
    count: Arc<Count>,
    seen: usize,
}

impl Runtime {
    /// The node has been polled and has nothing to do.
    fn new(node: Node) -> Self {
        let mut runtime = Self {
            node,
            count: Arc::default(),
            seen: 0,
        };
        assert!(runtime.poll().is_pending());
        assert_eq!(runtime.wakes(), 0, "it was not at rest");
        runtime
    }

    fn wakes(&self) -> usize {
        self.count.0.load(Ordering::Relaxed)
    }

    fn poll(&mut self) -> Poll<Option<Event>> {
        let waker = Arc::clone(&self.count).into();
        let mut cx = Context::from_waker(&waker);
        let poll = async { Pin::new(&mut *self.node.net).poll_next(&mut cx) };
        unconstrained(poll).now_or_never().expect("there is no await in it")
    }

    fn run(&mut self) {
        while self.wakes() > self.seen {
            self.seen = self.wakes();
            assert!(self.poll().is_pending());
        }
    }

    /// How often it is woken in this time.
    async fn wakes_within(&mut self, time: Duration) -> usize {
        let before = self.wakes();
        for _ in 0..time.as_millis() / STEP.as_millis() {
            advance(STEP).await;
            self.run();
        }
        self.node.check();
        self.wakes() - before
    }
}

/// Whether something that is due within `time` wakes once, or once more at the most, and leads to `status`.
async fn wakes_once(node: Node, time: Duration, status: PeerStatus) -> bool {
    let mut runtime = Runtime::new(node);
    let wakes = runtime.wakes_within(time).await;
    assert_eq!(runtime.node.status(HIGH), Some(status));
    (1..=2).contains(&wakes)
}

#[tokio::test(start_paused = true)]
async fn with_connected_peers_and_a_file_an_idle_minute_wakes_no_task() {
    let folder = TempDir::new().unwrap();
    let mut config = file(&folder, "[]", wanting(1));
    config.ban_duration = Some(seconds(3_600));
    let (mut node, _ours) = Node::dialed(config, HIGH).await;
    node.alive(HIGH);
    let _theirs = node.admits(LOW);
    node.alive(LOW);
    node.ban("90.1.0.1");
    node.list(&["91.1.0.1"]);
    advance(seconds(61)).await;
    node.until(|node| node.dumps() == (1, 0)).await;

    let mut runtime = Runtime::new(node);
    assert_eq!(runtime.wakes_within(seconds(60)).await, 0);
    assert_eq!(
        (runtime.node.status(HIGH), runtime.node.status(LOW)),
        (Some(OutAlive), Some(InAlive))
    );
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_times_out_wakes_once() {
    let (node, _socket) = Node::with(HIGH, Some(InHandshaking), passive()).await;
    assert!(wakes_once(node, seconds(31), Idle).await);
}

#[tokio::test(start_paused = true)]
async fn a_ban_that_ends_wakes_once() {
    let config = NetworkConfig {
        ban_duration: Some(seconds(10)),
        ..passive()
    };
    let (node, _) = Node::with(HIGH, Some(Banned), config).await;
    assert!(wakes_once(node, seconds(11), Idle).await);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_times_out_wakes_once() {
    let node = Node::knowing(wanting(1), &[HIGH]).await;
    assert!(wakes_once(node, millis(5_010), Idle).await);
}

#[tokio::test(start_paused = true)]
async fn a_retry_wakes_once() {
    let mut node = Node::knowing(wanting(1), &[HIGH]).await;
    node.dial_err(HIGH, ErrorKind::ConnectionRefused);
    assert!(wakes_once(node, seconds(7), OutConnecting).await);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_is_raced_wakes_once() {
    let mut runtime = Runtime::new(Node::knowing(wanting(1), &[HIGH, LOW]).await);
    assert_eq!(runtime.node.world.dials_started(), 1);
    let wakes = runtime.wakes_within(millis(300)).await;
    assert_eq!(runtime.node.world.dials_started(), 2);
    assert!((1..=2).contains(&wakes), "{wakes}");
}

#[tokio::test(start_paused = true)]
async fn a_parked_connection_that_has_waited_long_enough_wakes_once() {
    let (mut node, _socket) = Node::with(LOW, Some(OutAlive), wanting(1)).await;
    let probe = node.parks(LOW);
    let mut runtime = Runtime::new(node);
    let wakes = runtime.wakes_within(seconds(6)).await;
    assert_eq!(probe.fate(), IncomingFate::Refused);
    assert!((1..=2).contains(&wakes), "{wakes}");
}

/// And once for each piece of work with the file, which is done elsewhere.
#[tokio::test(start_paused = true)]
async fn a_dump_that_is_due_wakes_once() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, "[]", passive()), &[]).await;
    node.ban(LOW);
    let mut runtime = Runtime::new(node);
    advance(seconds(60) - STEP).await;
    runtime.run();
    assert_eq!(runtime.wakes(), 0);
    advance(STEP + STEP).await;
    let due = runtime.wakes();
    for _ in 0..1_000 {
        runtime.run();
        if runtime.node.dumps() == (1, 0) {
            break;
        }
        other_work().await;
    }
    assert_eq!((due, runtime.node.dumps()), (1, (1, 0)));
    assert!(runtime.wakes() <= 16, "{}", runtime.wakes());
    assert_eq!(runtime.wakes_within(seconds(600)).await, 0);
}
