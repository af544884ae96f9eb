use std::cell::Cell;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::transport::{TcpDial, TcpTransport, Transport};
use futures::future::{BoxFuture, poll_fn, ready};
use futures::{FutureExt, StreamExt};
use static_assertions::assert_impl_all;
use tokio::sync::oneshot;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task};

use super::*;
use crate::transport::memory::{DialFate, memory};

assert_impl_all!(ConnectorPool<TcpDial>: Send, Sync);

type Answer = oneshot::Sender<io::Result<Dialed<u64>>>;
type Pool<D = BoxFuture<'static, io::Result<Dialed<u64>>>> = task::Spawn<Pin<Box<ConnectorPool<D>>>>;

const LIMIT: Duration = Duration::from_secs(5);

fn pool<D>() -> Pool<D> {
    task::spawn(Box::pin(ConnectorPool::new()))
}

fn dialed(socket: u64) -> io::Result<Dialed<u64>> {
    Ok(Dialed {
        socket,
        local_addr: SocketAddr::from(([127, 0, 0, 1], 1)),
    })
}

/// Starts a dial that waits for its answer. The answer's end sees when the dial is dropped.
fn start(pool: &mut Pool, id: u64) -> Answer {
    start_within(pool, id, LIMIT)
}

fn start_within(pool: &mut Pool, id: u64, limit: Duration) -> Answer {
    let (answer, outcome) = oneshot::channel();
    let dial = async move { outcome.await.unwrap() }.boxed();
    pool.as_mut().start(ConnectionId::numbered(id), dial, limit);
    answer
}

/// The id and the result of the outcome that is there.
#[track_caller]
fn outcome<D>(pool: &mut Pool<D>) -> (u64, Result<u64, DialFault>)
where
    D: Future<Output = io::Result<Dialed<u64>>>,
{
    let (id, outcome) = assert_ready!(pool.poll_next()).expect("a pool never ends");
    let result = outcome.expect("no dial has panicked");
    let result = result.map(|dialed| dialed.socket);
    (id.number.get(), result.map_err(|error| error.fault))
}

#[track_caller]
fn assert_succeeded(pool: &mut Pool, id: u64) {
    assert_eq!(outcome(pool), (id, Ok(id)));
}

/// Polls until the pool is pending without having been woken meanwhile: the set yields once after a poll of all dials.
#[track_caller]
fn assert_at_rest(pool: &mut Pool) {
    assert_pending!(pool.poll_next());
    if pool.is_woken() {
        assert_pending!(pool.poll_next());
    }
    assert!(!pool.is_woken(), "busy with nothing");
}

#[tokio::test]
async fn an_empty_pool_is_pending_and_a_start_fills_it() {
    let mut pool = pool();
    assert_eq!(pool.len(), 0);
    assert_at_rest(&mut pool);

    let answer = start(&mut pool, 1);
    assert_eq!(pool.len(), 1);
    assert_at_rest(&mut pool);

    answer.send(dialed(1)).unwrap();
    assert!(pool.is_woken());
    assert_succeeded(&mut pool, 1);
    assert_eq!(pool.len(), 0);
    assert_at_rest(&mut pool);
}

#[tokio::test]
async fn a_start_polls_nothing() {
    let polls = Rc::new(Cell::new(0));
    let mut pool = pool();
    let counted = Rc::clone(&polls);
    let dial = poll_fn(move |_| {
        counted.set(counted.get() + 1);
        Poll::<io::Result<Dialed<u64>>>::Pending
    });
    pool.as_mut().start(ConnectionId::numbered(1), dial, LIMIT);
    assert_eq!(polls.get(), 0);
    assert_pending!(pool.poll_next());
    assert_pending!(pool.poll_next());
    assert_eq!(polls.get(), 1, "polled without having been woken");
}

#[tokio::test]
async fn outcomes_come_one_a_poll_in_the_order_of_waking() {
    let mut pool = pool();
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
    assert_eq!(result, Err(DialFault::Peer));
    assert_at_rest(&mut pool);
    assert_eq!(pool.len(), 1);
}

#[tokio::test]
async fn a_dial_called_off_is_dropped_on_the_spot_and_has_no_outcome() {
    let mut pool = pool();
    let never_polled = start(&mut pool, 1);
    pool.as_mut().call_off(ConnectionId::numbered(1));
    assert!(never_polled.is_closed());
    assert_at_rest(&mut pool);

    let answered = start(&mut pool, 2);
    let kept = start(&mut pool, 3);
    assert_at_rest(&mut pool);
    pool.as_mut().call_off(ConnectionId::numbered(2));
    assert!(answered.is_closed());
    assert_eq!(pool.len(), 1);
    pool.as_mut().call_off(ConnectionId::numbered(2));
    pool.as_mut().call_off(ConnectionId::numbered(9));
    assert_at_rest(&mut pool);

    kept.send(dialed(3)).unwrap();
    pool.as_mut().call_off(ConnectionId::numbered(3));
    assert_at_rest(&mut pool);
    assert!(pool.dials.is_empty(), "an entry has stayed");
}

#[tokio::test]
async fn a_dial_called_off_leaves_the_set_beside_others() {
    let mut pool = pool();
    let _kept = start(&mut pool, 1);
    for id in 2..100 {
        let answer = start(&mut pool, id);
        assert_at_rest(&mut pool);
        pool.as_mut().call_off(ConnectionId::numbered(id));
        assert!(answer.is_closed());
        assert!(pool.is_woken());
        assert_at_rest(&mut pool);
        assert_eq!(pool.dials.len(), 1);
    }
}

#[tokio::test]
async fn a_dial_that_panics_is_over_and_says_which_it_was() {
    let mut pool = pool();
    let kept = start(&mut pool, 1);
    pool.as_mut()
        .start(ConnectionId::numbered(2), async { panic!("a mistake") }.boxed(), LIMIT);
    let (id, outcome) = assert_ready!(pool.poll_next()).unwrap();
    assert_eq!(id, ConnectionId::numbered(2));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"a mistake"));
    assert_at_rest(&mut pool);
    kept.send(dialed(1)).unwrap();
    assert_succeeded(&mut pool, 1);
}

#[tokio::test]
async fn clear_drops_all() {
    let mut pool = pool();
    let answers = [1, 2, 3].map(|id| start(&mut pool, id));
    assert_at_rest(&mut pool);
    pool.as_mut().clear();
    assert_eq!(pool.len(), 0);
    assert!(answers.iter().all(oneshot::Sender::is_closed));
    assert_at_rest(&mut pool);
}

#[tokio::test(start_paused = true)]
async fn each_dial_times_out_at_its_own_limit() {
    let mut pool = pool();
    let answers = [3, 1, 2].map(|id| start_within(&mut pool, id, Duration::from_secs(id)));
    assert_at_rest(&mut pool);
    for id in 1..=3 {
        advance(Duration::from_millis(990)).await;
        assert!(!pool.is_woken());
        advance(Duration::from_millis(11)).await;
        assert!(pool.is_woken());
        assert_eq!(outcome(&mut pool), (id, Err(DialFault::TimedOut)));
        assert_at_rest(&mut pool);
    }
    assert!(answers.iter().all(oneshot::Sender::is_closed));
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_is_ready_when_its_limit_is_seen_has_succeeded() {
    let mut pool = pool();
    let answer = start(&mut pool, 1);
    assert_at_rest(&mut pool);
    advance(2 * LIMIT).await;
    answer.send(dialed(1)).unwrap();
    assert_succeeded(&mut pool, 1);

    let never_polled = start(&mut pool, 2);
    advance(2 * LIMIT).await;
    never_polled.send(dialed(2)).unwrap();
    assert_succeeded(&mut pool, 2);
    assert_at_rest(&mut pool);
}

#[tokio::test(start_paused = true)]
async fn the_cooperative_budget_delays_no_timeout() {
    let mut pool = pool();
    let _stuck = start(&mut pool, 1);
    assert_at_rest(&mut pool);
    advance(LIMIT).await;
    while tokio::task::coop::has_budget_remaining() {
        tokio::task::coop::consume_budget().await;
    }
    assert_eq!(outcome(&mut pool), (1, Err(DialFault::TimedOut)));
}

#[tokio::test(start_paused = true)]
async fn dials_that_fail_at_once_do_not_keep_others_from_timing_out() {
    let mut pool = pool();
    let _stuck = start(&mut pool, 1);
    assert_at_rest(&mut pool);
    advance(LIMIT).await;
    for id in 2..4 {
        let failing = ready(Err(ErrorKind::Other.into())).boxed();
        pool.as_mut().start(ConnectionId::numbered(id), failing, LIMIT);
    }
    let outcomes = [(); 3].map(|()| outcome(&mut pool));
    assert!(outcomes.contains(&(1, Err(DialFault::TimedOut))), "{outcomes:?}");
}

#[tokio::test]
async fn only_a_failure_in_the_first_poll_is_one_at_once() {
    let mut pool = pool();
    let unroutable = || Err(ErrorKind::NetworkUnreachable.into());
    pool.as_mut()
        .start(ConnectionId::numbered(1), ready(unroutable()).boxed(), LIMIT);
    assert_eq!(outcome(&mut pool), (1, Err(DialFault::Unroutable { at_once: true })));
    let answer = start(&mut pool, 2);
    assert_at_rest(&mut pool);
    answer.send(unroutable()).unwrap();
    assert_eq!(outcome(&mut pool), (2, Err(DialFault::Unroutable { at_once: false })));
}

#[tokio::test]
async fn a_dial_that_wakes_itself_is_polled_once_a_poll() {
    let mut pool = pool();
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
    pool.as_mut().start(ConnectionId::numbered(1), dial, LIMIT);
    for _ in 0..2 {
        assert_pending!(pool.poll_next());
        assert!(pool.is_woken());
    }
    assert_eq!(outcome(&mut pool).1.unwrap(), 1);
}

#[tokio::test]
async fn a_dial_woken_many_times_is_polled_once() {
    let polls = Rc::new(Cell::new(0));
    let waker = Rc::new(Cell::new(None));
    let mut pool = pool();
    let (counted, given) = (Rc::clone(&polls), Rc::clone(&waker));
    let dial = poll_fn(move |cx| {
        counted.set(counted.get() + 1);
        given.set(Some(cx.waker().clone()));
        Poll::<io::Result<Dialed<u64>>>::Pending
    });
    pool.as_mut().start(ConnectionId::numbered(1), dial, LIMIT);
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
    let mut pool = Box::pin(ConnectorPool::new());
    let (answers, to_answer) = std::sync::mpsc::channel::<(u64, Answer)>();
    let answering = thread::spawn(move || {
        for (id, answer) in to_answer {
            answer.send(dialed(id)).unwrap();
        }
    });
    let mut started = 0;
    for _ in 0..DIALS {
        while pool.len() < 50 && started < DIALS {
            started += 1;
            let (answer, outcome) = oneshot::channel::<io::Result<Dialed<u64>>>();
            pool.as_mut().start(
                ConnectionId::numbered(started),
                async move { outcome.await.unwrap() },
                LIMIT,
            );
            answers.send((started, answer)).unwrap();
        }
        let (id, result) = pool.next().await.unwrap();
        assert_eq!(result.unwrap().unwrap().socket, id.number.get());
    }
    assert_eq!(pool.len(), 0);
    drop(answers);
    answering.join().unwrap();
}

/// Tokio lets a task make so many steps a poll and no more; dials that are ready must not wait for the next turn.
#[tokio::test]
async fn the_cooperative_budget_starves_no_dial() {
    const DIALS: u64 = 500;
    let mut pool = pool();
    let answers: Vec<_> = (1..=DIALS).map(|id| start(&mut pool, id)).collect();
    assert_pending!(pool.poll_next());
    for (id, answer) in (1..).zip(answers) {
        answer.send(dialed(id)).unwrap();
    }
    for id in 1..=DIALS {
        assert_succeeded(&mut pool, id);
    }
}

#[tokio::test]
async fn what_is_called_off_or_cleared_the_transport_sees_at_once() {
    let (mut transport, handle) = memory();
    let mut pool = pool();
    let peers = [1, 2, 3].map(|last| IpAddr::from([192, 0, 2, last]));
    for (id, peer) in (1..).zip(peers) {
        pool.as_mut().start(
            ConnectionId::numbered(id),
            transport.dial(None, SocketAddr::new(peer, 1)),
            LIMIT,
        );
    }
    assert_pending!(pool.poll_next());
    pool.as_mut().call_off(ConnectionId::numbered(1));
    assert_eq!(handle.fates(peers[0]), [DialFate::CalledOff]);

    handle.dial_ok(peers[1]);
    assert!(pool.is_woken());
    let (id, result) = assert_ready!(pool.poll_next()).unwrap();
    let dialed = result.unwrap().unwrap();
    assert_eq!((id, dialed.socket.remote.ip()), (ConnectionId::numbered(2), peers[1]));

    let answered = handle.dial_ok(peers[2]);
    pool.as_mut().clear();
    assert_eq!(handle.fates(peers[2]), [DialFate::CalledOff]);
    assert!(!answered.is_open());
}

#[tokio::test]
async fn a_tcp_dial_comes_out_and_one_called_off_resets_the_other_end() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut transport = TcpTransport::new();
    let mut pool = Box::pin(ConnectorPool::new());
    let to = listener.local_addr().unwrap();

    pool.as_mut()
        .start(ConnectionId::numbered(1), transport.dial(None, to), LIMIT);
    let (id, dialed) = pool.next().await.unwrap();
    assert_eq!(id, ConnectionId::numbered(1));
    assert_eq!(dialed.unwrap().unwrap().local_addr, listener.accept().unwrap().1);

    pool.as_mut()
        .start(ConnectionId::numbered(2), transport.dial(None, to), LIMIT);
    assert!(futures::poll!(pool.next()).is_pending());
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    pool.as_mut().call_off(ConnectionId::numbered(2));
    assert_eq!(accepted.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}
