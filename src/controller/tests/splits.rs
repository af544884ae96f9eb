//! The two halves of a controller in two tasks, and the stream of events with leases.

use std::sync::mpsc;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tempfile::TempDir;

use super::dumps::{ROUNDS, file, hold_files, other_work, with_one_file_thread};
use super::*;

type Net = NetworkController<MemoryTransport>;

struct Halves {
    sink: task::Spawn<SplitSink<Net, Feedback>>,
    stream: task::Spawn<SplitStream<Net>>,
    world: MemoryHandle,
}

impl Halves {
    async fn new(config: NetworkConfig) -> Self {
        let (transport, world) = memory();
        let (sink, stream) = Net::with_transport(config, transport).await.unwrap().split();
        let mut halves = Self {
            sink: task::spawn(sink),
            stream: task::spawn(stream),
            world,
        };
        halves.rest();
        halves
    }

    /// Polls the stream while it is woken, to no event.
    fn rest(&mut self) {
        for _ in 0..POLLS_TO_SETTLE {
            assert!(self.stream.poll_next().is_pending());
            if !self.stream.is_woken() {
                return;
            }
        }
        panic!("the task keeps waking itself");
    }

    fn send(&mut self, feedback: Feedback) {
        assert!(!self.stream.is_woken());
        assert!(matches!(
            self.sink.enter(|cx, sink| sink.poll_ready(cx)),
            Poll::Ready(Ok(()))
        ));
        self.sink.start_send_unpin(feedback).unwrap();
        assert!(matches!(
            self.sink.enter(|cx, sink| sink.poll_flush(cx)),
            Poll::Ready(Ok(()))
        ));
        assert!(self.stream.is_woken());
    }

    fn close(&mut self) -> Poll<Result<(), NetworkError>> {
        self.sink.enter(|cx, sink| sink.poll_close(cx))
    }
}

#[tokio::test(start_paused = true)]
async fn feedback_to_one_half_wakes_the_other() {
    let mut halves = Halves::new(wanting(1)).await;
    halves.send(Feedback::PeerList(vec![ip(LOW)]));
    halves.rest();
    assert_eq!(halves.world.dials().len(), 1);
    halves.send(Feedback::Banned(ip(LOW)));
    assert_eq!(halves.world.fates(ip(LOW)), [DialFate::CalledOff]);
    halves.rest();
}

#[tokio::test(start_paused = true)]
async fn an_event_wakes_the_stream_after_the_sink_was_polled() {
    let mut halves = Halves::new(passive()).await;
    halves.send(Feedback::PeerList(vec![ip(LOW)]));
    halves.rest();
    halves
        .world
        .incoming("60.9.0.1:9".parse().unwrap(), "203.0.113.1:4000".parse().unwrap());
    assert!(halves.stream.is_woken());
    assert!(halves.stream.poll_next().is_ready());
}

#[tokio::test(start_paused = true)]
async fn closing_the_one_half_wakes_and_ends_the_other() {
    let mut halves = Halves::new(wanting(1)).await;
    assert!(matches!(halves.close(), Poll::Ready(Ok(()))));
    assert!(halves.stream.is_woken());
    assert!(matches!(halves.stream.poll_next(), Poll::Ready(None)));
    assert!(matches!(halves.stream.poll_next(), Poll::Ready(None)));
    let sent = halves.sink.send(Feedback::Alive(ip(LOW))).now_or_never();
    assert!(matches!(sent, Some(Err(NetworkError::Closed))));
}

/// Two halves with a last dump under way, begun by the sink.
async fn closing(folder: &TempDir) -> (Halves, mpsc::Sender<()>) {
    let mut halves = Halves::new(file(folder, "[]", wanting(1))).await;
    halves.send(Feedback::PeerList(vec![ip(LOW)]));
    halves.rest();
    let gate = hold_files();
    assert!(halves.close().is_pending());
    assert!(halves.stream.is_woken(), "the other half is to help, or to end");
    (halves, gate)
}

#[test]
fn the_stream_alone_drives_the_last_dump_and_wakes_the_sink() {
    with_one_file_thread(async {
        let folder = TempDir::new().unwrap();
        let (mut halves, gate) = closing(&folder).await;
        drop(gate);
        while halves.stream.poll_next().is_pending() {
            until_woken(|| halves.stream.is_woken()).await;
        }
        assert!(halves.sink.is_woken());
        assert!(matches!(halves.close(), Poll::Ready(Ok(()))));
    });
}

#[test]
fn the_sink_alone_drives_the_last_dump_and_wakes_the_stream() {
    with_one_file_thread(async {
        let folder = TempDir::new().unwrap();
        let (mut halves, gate) = closing(&folder).await;
        assert!(halves.stream.poll_next().is_pending());
        drop(gate);
        while halves.close().map(Result::unwrap).is_pending() {
            until_woken(|| halves.sink.is_woken()).await;
        }
        assert!(halves.stream.is_woken());
        assert!(matches!(halves.stream.poll_next(), Poll::Ready(None)));
    });
}

async fn until_woken(is_woken: impl Fn() -> bool) {
    for _ in 0..ROUNDS {
        if is_woken() {
            return;
        }
        other_work().await;
    }
    panic!("nothing has woken the task");
}

#[tokio::test(start_paused = true)]
async fn reunited_halves_are_the_controller() {
    let halves = Halves::new(passive()).await;
    let (sink, stream) = (halves.sink.into_inner(), halves.stream.into_inner());
    let mut net = stream.reunite(sink).unwrap();
    net.close().await.unwrap();
}

async fn leased() -> (task::Spawn<Leased<MemoryTransport>>, MemoryHandle) {
    let (transport, world) = memory();
    let net = Net::with_transport(passive(), transport).await.unwrap();
    (task::spawn(net.leased()), world)
}

fn comes_in(world: &MemoryHandle, peer: &str) -> IncomingProbe {
    world.incoming(SocketAddr::new(ip(peer), 9), SocketAddr::new(ip(US), PORT))
}

#[tokio::test(start_paused = true)]
async fn leased_pairs_each_event_with_its_lease() {
    let (mut leased, world) = leased().await;
    assert!(leased.poll_next().is_pending());
    let _probes = [LOW, HIGH].map(|peer| comes_in(&world, peer));
    assert!(leased.is_woken());
    for peer in [LOW, HIGH] {
        let Poll::Ready(Some((event, lease))) = leased.poll_next() else {
            panic!("no event");
        };
        assert_eq!((Candidate::from(event).ip, lease.ip()), (ip(peer), ip(peer)));
        assert!(leased.get_mut().lease(ip(peer)).is_none(), "it is the only one");
        lease.alive();
        lease.closed();
    }
    assert!(leased.is_woken() && leased.poll_next().is_pending());
    assert_eq!(leased.get_ref().stats().counters.handshakes_succeeded, 2);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_ignored_frees_its_slot() {
    let (mut leased, world) = leased().await;
    let _probe = comes_in(&world, LOW);
    drop(leased.poll_next());
    assert!(leased.poll_next().is_pending());
    let peer = leased.get_ref().peer(ip(LOW)).unwrap();
    assert_eq!(peer.status, PeerStatus::Idle);
    assert!(peer.last_failure.is_some());
    assert_eq!(world.live_sockets(), 0);
}

#[tokio::test(start_paused = true)]
async fn leased_is_a_sink_of_the_same_feedback() {
    let (mut leased, world) = leased().await;
    let _probe = comes_in(&world, LOW);
    let event = leased.poll_next();
    leased.send(Feedback::Alive(ip(LOW))).await.unwrap();
    assert_eq!(leased.get_ref().peer(ip(LOW)).unwrap().status, PeerStatus::InAlive);
    assert!(!leased.is_terminated());
    leased.close().await.unwrap();
    assert!(leased.is_terminated());
    assert!(matches!(leased.poll_next(), Poll::Ready(None)));
    assert!(matches!(
        leased.send(Feedback::Alive(ip(LOW))).await,
        Err(NetworkError::Closed)
    ));
    drop(event);
}

#[tokio::test(start_paused = true)]
async fn into_inner_keeps_the_leases_good() {
    let (mut leased, world) = leased().await;
    let _probe = comes_in(&world, LOW);
    let Poll::Ready(Some((_event, lease))) = leased.poll_next() else {
        panic!("no event");
    };
    let mut net = task::spawn(leased.into_inner().into_inner());
    assert!(net.poll_next().is_pending());
    lease.alive();
    assert!(net.is_woken());
    assert!(net.poll_next().is_pending());
    assert_eq!(net.peer(ip(LOW)).unwrap().status, PeerStatus::InAlive);
}
