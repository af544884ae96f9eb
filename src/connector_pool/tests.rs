use std::cell::Cell;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use futures::future::{BoxFuture, poll_fn, ready};
use futures::{FutureExt, StreamExt};
use network::{TcpDial, TcpTransport, Transport};
use static_assertions::assert_impl_all;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task};

use super::*;
use crate::memory::{DialFate, memory};

assert_impl_all!(ConnectorPool<TcpDial>: Send, Sync);

const TIMEOUT: Duration = Duration::from_secs(5);
const MS: Duration = Duration::from_millis(1);

type Answer = oneshot::Sender<io::Result<Dialed<u64>>>;
type Pool<D = BoxFuture<'static, io::Result<Dialed<u64>>>> = task::Spawn<Pin<Box<ConnectorPool<D>>>>;

fn pool<D>(limit: usize) -> Pool<D> {
    task::spawn(Box::pin(ConnectorPool::new(limit, TIMEOUT)))
}

fn dialed(socket: u64) -> io::Result<Dialed<u64>> {
    Ok(Dialed {
        socket,
        local_addr: SocketAddr::from(([127, 0, 0, 1], 1)),
    })
}

/// Starts a dial that waits for its answer. The answer's end sees when the dial is dropped.
fn start(pool: &mut Pool, id: u64) -> Answer {
    let (answer, outcome) = oneshot::channel();
    pool.as_mut()
        .start(ConnectionId(id), async move { outcome.await.unwrap() }.boxed());
    answer
}

/// The id and the result of the outcome that is there.
#[track_caller]
fn outcome<D>(pool: &mut Pool<D>) -> (u64, Result<u64, DialError>)
where
    D: Future<Output = io::Result<Dialed<u64>>>,
{
    let (id, result) = assert_ready!(pool.poll_next()).expect("a pool never ends");
    (id.0, result.map(|dialed| dialed.socket))
}

#[track_caller]
fn assert_succeeded(pool: &mut Pool, id: u64) {
    let (outcome_of, result) = outcome(pool);
    assert_eq!((outcome_of, result.unwrap()), (id, id));
}

#[track_caller]
fn assert_timed_out(pool: &mut Pool, id: u64) {
    let (outcome_of, result) = outcome(pool);
    assert_eq!(outcome_of, id);
    assert!(matches!(result, Err(DialError::TimedOut)), "{result:?}");
}

/// Polls until the pool is pending without having been woken meanwhile.
#[track_caller]
fn assert_at_rest(pool: &mut Pool) {
    assert_pending!(pool.poll_next());
    assert!(!pool.is_woken(), "busy with nothing");
}

#[tokio::test(start_paused = true)]
async fn an_empty_pool_is_pending_and_a_start_wakes_it() {
    let mut pool = pool(2);
    assert!(pool.is_empty());
    assert_at_rest(&mut pool);

    let answer = start(&mut pool, 1);
    assert!(pool.is_woken());
    assert_eq!(pool.len(), 1);
    assert_at_rest(&mut pool);

    answer.send(dialed(1)).unwrap();
    assert!(pool.is_woken());
    assert_succeeded(&mut pool, 1);
    assert!(pool.is_empty());
    assert_at_rest(&mut pool);
}

#[tokio::test(start_paused = true)]
async fn a_start_polls_nothing() {
    let polls = Rc::new(Cell::new(0));
    let mut pool = pool(1);
    let counted = Rc::clone(&polls);
    let dial = poll_fn(move |_| {
        counted.set(counted.get() + 1);
        Poll::<io::Result<Dialed<u64>>>::Pending
    });
    pool.as_mut().start(ConnectionId(1), dial);
    assert_eq!(polls.get(), 0);
    assert_pending!(pool.poll_next());
    assert_pending!(pool.poll_next());
    assert_eq!(polls.get(), 1, "polled without having been woken");
}

#[tokio::test(start_paused = true)]
async fn outcomes_come_one_a_poll_in_the_order_of_waking() {
    let mut pool = pool(3);
    let mut answers: Vec<_> = (1..=3).map(|id| start(&mut pool, id)).collect();
    assert_at_rest(&mut pool);

    let third = answers.pop().unwrap();
    third.send(dialed(3)).unwrap();
    answers
        .remove(0)
        .send(Err(ErrorKind::ConnectionRefused.into()))
        .unwrap();
    assert!(pool.is_woken());
    assert_succeeded(&mut pool, 3);
    let (id, result) = outcome(&mut pool);
    assert_eq!(id, 1);
    let error = result.unwrap_err();
    assert!(matches!(&error, DialError::Failed(error) if error.kind() == ErrorKind::ConnectionRefused));
    assert_eq!(error.fault(), DialFault::Peer);
    assert_at_rest(&mut pool);
    assert_eq!(pool.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_called_off_is_dropped_on_the_spot_and_has_no_outcome() {
    let mut pool = pool(2);
    let never_polled = start(&mut pool, 1);
    assert!(pool.as_mut().call_off(ConnectionId(1)));
    assert!(never_polled.is_closed());
    assert_at_rest(&mut pool);

    let answered = start(&mut pool, 2);
    let kept = start(&mut pool, 3);
    assert_at_rest(&mut pool);
    assert!(pool.as_mut().call_off(ConnectionId(2)));
    assert!(answered.is_closed());
    assert_eq!(pool.len(), 1);
    assert!(!pool.as_mut().call_off(ConnectionId(2)), "called off twice");
    assert!(
        !pool.as_mut().call_off(ConnectionId(9)),
        "called off one that never was"
    );
    assert_at_rest(&mut pool);

    kept.send(dialed(3)).unwrap();
    assert!(
        pool.as_mut().call_off(ConnectionId(3)),
        "called off after it was answered"
    );
    assert_at_rest(&mut pool);
    advance(2 * TIMEOUT).await;
    assert_at_rest(&mut pool);
}

#[tokio::test(start_paused = true)]
async fn calling_off_makes_room_for_another() {
    let mut pool = pool(1);
    for id in 1..100 {
        let answer = start(&mut pool, id);
        assert!(pool.as_mut().call_off(ConnectionId(id)));
        assert!(answer.is_closed());
    }
    let answer = start(&mut pool, 100);
    answer.send(dialed(100)).unwrap();
    assert_succeeded(&mut pool, 100);
    assert_at_rest(&mut pool);
}

#[cfg(debug_assertions)]
#[tokio::test(start_paused = true)]
#[should_panic(expected = "beyond the limit")]
async fn a_dial_beyond_the_limit_is_a_mistake() {
    let mut pool = pool(2);
    let _answers = [1, 2, 3].map(|id| start(&mut pool, id));
}

#[tokio::test(start_paused = true)]
async fn clear_drops_all() {
    let mut pool = pool(3);
    let answers = [1, 2, 3].map(|id| start(&mut pool, id));
    assert_at_rest(&mut pool);
    pool.as_mut().clear();
    assert!(pool.is_empty());
    assert!(answers.iter().all(oneshot::Sender::is_closed));
    advance(2 * TIMEOUT).await;
    assert_at_rest(&mut pool);
}

#[tokio::test(start_paused = true)]
async fn each_dial_has_its_own_limit() {
    let mut pool = pool(3);
    let first = start(&mut pool, 1);
    assert_at_rest(&mut pool);
    advance(1000 * MS).await;
    let _second = start(&mut pool, 2);
    let _third = start(&mut pool, 3);
    assert_at_rest(&mut pool);

    advance(3999 * MS).await;
    assert!(!pool.is_woken());
    assert_at_rest(&mut pool);
    advance(MS).await;
    assert!(pool.is_woken(), "no wake at the limit");
    assert_timed_out(&mut pool, 1);
    assert!(first.is_closed());
    assert_eq!(pool.len(), 2);
    assert_at_rest(&mut pool);

    advance(999 * MS).await;
    assert!(!pool.is_woken());
    advance(MS).await;
    assert!(pool.is_woken(), "no wake at the limit of the next");
    assert_timed_out(&mut pool, 2);
    assert_timed_out(&mut pool, 3);
    assert_at_rest(&mut pool);
}

#[tokio::test(start_paused = true)]
async fn the_limit_counts_from_the_start_not_from_the_first_poll() {
    let mut pool = pool(1);
    let _answer = start(&mut pool, 1);
    advance(TIMEOUT).await;
    assert_timed_out(&mut pool, 1);
}

#[tokio::test(start_paused = true)]
async fn calling_off_the_next_to_time_out_moves_the_timer() {
    let mut pool = pool(2);
    let _first = start(&mut pool, 1);
    assert_at_rest(&mut pool);
    advance(1000 * MS).await;
    let _second = start(&mut pool, 2);
    pool.as_mut().call_off(ConnectionId(1));
    assert_at_rest(&mut pool);
    advance(4999 * MS).await;
    assert!(!pool.is_woken());
    advance(MS).await;
    assert!(pool.is_woken());
    assert_timed_out(&mut pool, 2);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_is_ready_when_its_limit_is_seen_has_succeeded() {
    let mut pool = pool(2);
    let woken = start(&mut pool, 1);
    assert_at_rest(&mut pool);
    advance(2 * TIMEOUT).await;
    woken.send(dialed(1)).unwrap();
    assert_succeeded(&mut pool, 1);

    let polled_late = start(&mut pool, 2);
    polled_late.send(dialed(2)).unwrap();
    advance(2 * TIMEOUT).await;
    assert_succeeded(&mut pool, 2);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_woke_nobody_is_polled_once_more_at_its_limit() {
    let mut pool = pool(1);
    let is_ready = Rc::new(Cell::new(false));
    let ready = Rc::clone(&is_ready);
    pool.as_mut().start(
        ConnectionId(1),
        poll_fn(move |_| {
            if ready.get() {
                Poll::Ready(dialed(1))
            } else {
                Poll::Pending
            }
        }),
    );
    assert_pending!(pool.poll_next());
    is_ready.set(true);
    assert_pending!(pool.poll_next());
    advance(TIMEOUT).await;
    assert_eq!(outcome(&mut pool).1.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn dials_that_fail_at_once_do_not_keep_others_from_timing_out() {
    let mut pool = pool(2);
    let _stuck = start(&mut pool, 1);
    assert_at_rest(&mut pool);
    advance(TIMEOUT).await;
    pool.as_mut()
        .start(ConnectionId(2), ready(Err(ErrorKind::Other.into())).boxed());
    assert_timed_out(&mut pool, 1);
}

#[tokio::test(start_paused = true)]
async fn no_limit_is_too_long() {
    let mut pool: Pool = task::spawn(Box::pin(ConnectorPool::new(1, Duration::MAX)));
    let answer = start(&mut pool, 1);
    assert_at_rest(&mut pool);
    advance(Duration::from_secs(1_000_000)).await;
    assert_at_rest(&mut pool);
    answer.send(dialed(1)).unwrap();
    assert_succeeded(&mut pool, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_wakes_itself_is_polled_once_a_poll() {
    let mut pool = pool(1);
    let mut polls = 0;
    let dial = poll_fn(move |cx| {
        polls += 1;
        cx.waker().wake_by_ref();
        if polls == 3 {
            Poll::Ready(dialed(1))
        } else {
            Poll::Pending
        }
    });
    pool.as_mut().start(ConnectionId(1), dial);
    for _ in 0..2 {
        assert_pending!(pool.poll_next());
        assert!(pool.is_woken());
    }
    assert_eq!(outcome(&mut pool).1.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_woken_many_times_is_polled_once() {
    let polls = Rc::new(Cell::new(0));
    let waker = Rc::new(Cell::new(None));
    let mut pool = pool(1);
    let (counted, given) = (Rc::clone(&polls), Rc::clone(&waker));
    let dial = poll_fn(move |cx| {
        counted.set(counted.get() + 1);
        given.set(Some(cx.waker().clone()));
        Poll::<io::Result<Dialed<u64>>>::Pending
    });
    pool.as_mut().start(ConnectionId(1), dial);
    assert_pending!(pool.poll_next());
    let waker = waker.take().unwrap();
    (0..10).for_each(|_| waker.wake_by_ref());
    assert!(pool.is_woken());
    assert_pending!(pool.poll_next());
    assert_eq!(polls.get(), 2);

    pool.as_mut().clear();
    waker.wake();
    assert_pending!(pool.poll_next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wakes_from_other_threads_are_not_lost() {
    const DIALS: u64 = 5000;
    let mut pool = Box::pin(ConnectorPool::new(50, Duration::MAX));
    let (answers, to_answer) = std::sync::mpsc::channel::<(u64, Answer)>();
    let answering = std::thread::spawn(move || {
        for (id, answer) in to_answer {
            answer.send(dialed(id)).unwrap();
        }
    });
    let mut started = 0;
    for _ in 0..DIALS {
        while pool.len() < 50 && started < DIALS {
            let (answer, outcome) = oneshot::channel::<io::Result<Dialed<u64>>>();
            pool.as_mut()
                .start(ConnectionId(started), async move { outcome.await.unwrap() });
            answers.send((started, answer)).unwrap();
            started += 1;
        }
        let (id, result) = pool.next().await.unwrap();
        assert_eq!(result.unwrap().socket, id.0);
    }
    assert!(pool.is_empty());
    drop(answers);
    answering.join().unwrap();
}

/// Tokio lets a task make so many steps a poll and no more; dials that are ready must not wait for the next turn.
#[tokio::test]
async fn the_cooperative_budget_starves_no_dial() {
    const DIALS: u64 = 500;
    let mut pool = pool(500);
    let answers: Vec<_> = (0..DIALS).map(|id| start(&mut pool, id)).collect();
    assert_pending!(pool.poll_next());
    for (id, answer) in (0..).zip(answers) {
        answer.send(dialed(id)).unwrap();
    }
    for id in 0..DIALS {
        assert_succeeded(&mut pool, id);
    }
}

#[tokio::test]
async fn what_is_called_off_or_cleared_the_transport_sees_at_once() {
    let (mut transport, handle) = memory();
    let mut pool = pool(3);
    let peers = [1, 2, 3].map(|last| IpAddr::from([192, 0, 2, last]));
    for (id, peer) in (1..).zip(peers) {
        pool.as_mut()
            .start(ConnectionId(id), transport.dial(None, SocketAddr::new(peer, 1)));
    }
    assert_pending!(pool.poll_next());
    pool.as_mut().call_off(ConnectionId(1));
    assert_eq!(handle.fates(peers[0]), [DialFate::CalledOff]);

    handle.dial_ok(peers[1]);
    assert!(pool.is_woken());
    let (id, result) = assert_ready!(pool.poll_next()).unwrap();
    assert_eq!((id, result.unwrap().socket.remote.ip()), (ConnectionId(2), peers[1]));

    let answered = handle.dial_ok(peers[2]);
    pool.as_mut().clear();
    assert_eq!(handle.fates(peers[2]), [DialFate::CalledOff]);
    assert!(!answered.is_open());
}

#[tokio::test]
async fn a_tcp_dial_comes_out_and_one_called_off_resets_the_other_end() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut transport = TcpTransport::new();
    let mut pool = Box::pin(ConnectorPool::new(2, TIMEOUT));
    let to = listener.local_addr().unwrap();

    pool.as_mut().start(ConnectionId(1), transport.dial(None, to));
    let (id, dialed) = pool.next().await.unwrap();
    assert_eq!(id, ConnectionId(1));
    assert_eq!(dialed.unwrap().local_addr, listener.accept().unwrap().1);

    pool.as_mut().start(ConnectionId(2), transport.dial(None, to));
    assert!(futures::poll!(pool.next()).is_pending());
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    pool.as_mut().call_off(ConnectionId(2));
    assert_eq!(accepted.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_tcp_dial_that_made_it_while_the_task_was_busy_has_succeeded() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dial = TcpTransport::new().dial(None, listener.local_addr().unwrap());
    let mut pool = task::spawn(Box::pin(ConnectorPool::new(1, TIMEOUT)));
    pool.as_mut().start(ConnectionId(1), dial);
    assert_pending!(pool.poll_next());

    // Moves the clock, but the runtime has yet to look at its timers and sockets.
    assert_pending!(task::spawn(advance(2 * TIMEOUT)).poll());
    assert_pending!(pool.poll_next());
    yield_now().await;
    assert!(pool.is_woken());
    let (_, dialed) = assert_ready!(pool.poll_next()).unwrap();
    assert_eq!(dialed.unwrap().local_addr, listener.accept().unwrap().1);
}
