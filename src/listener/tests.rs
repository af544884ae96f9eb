use std::collections::VecDeque;
use std::io::ErrorKind;

use crate::transport::TcpListening;
use static_assertions::assert_impl_all;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_eq, task};

use super::*;

assert_impl_all!(Listener<TcpListening>: Send, Sync);

const MS: Duration = Duration::from_millis(1);

type Listening = task::Spawn<Pin<Box<Listener<Script>>>>;

/// What an inner stream does, poll by poll; pending when the script is over.
#[derive(Default)]
struct Script {
    steps: VecDeque<Poll<Option<io::Result<u32>>>>,
    polls: usize,
}

impl Stream for Script {
    type Item = io::Result<u32>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.polls += 1;
        self.steps.pop_front().unwrap_or(Poll::Pending)
    }
}

fn accept(id: u32) -> Poll<Option<io::Result<u32>>> {
    Poll::Ready(Some(Ok(id)))
}

fn fail(kind: ErrorKind) -> Poll<Option<io::Result<u32>>> {
    Poll::Ready(Some(Err(kind.into())))
}

fn listen(steps: impl IntoIterator<Item = Poll<Option<io::Result<u32>>>>) -> Listening {
    task::spawn(Box::pin(Listener::new(Script {
        steps: steps.into_iter().collect(),
        polls: 0,
    })))
}

fn inner_polls(listener: &Listening) -> usize {
    listener.inner.as_ref().unwrap().polls
}

/// Asserts that a pause of just `length` is on, lets it pass, and that its end wakes the task.
async fn pass_pause(listener: &mut Listening, length: Duration) {
    let polls = inner_polls(listener);
    advance(length - MS).await;
    assert!(!listener.is_woken());
    assert_pending!(listener.poll_next());
    assert_eq!(inner_polls(listener), polls, "polled during a pause");
    advance(MS).await;
    assert!(listener.is_woken(), "not woken at the end of a pause of {length:?}");
}

#[tokio::test(start_paused = true)]
async fn connections_pass_in_order() {
    let mut listener = listen([accept(1), accept(2), Poll::Pending, accept(3)]);
    assert_ready_eq!(listener.poll_next(), Some(1));
    assert_ready_eq!(listener.poll_next(), Some(2));
    assert_pending!(listener.poll_next());
    assert_ready_eq!(listener.poll_next(), Some(3));
    assert_eq!(listener.errors(), AcceptErrors::default());
}

#[tokio::test(start_paused = true)]
async fn dead_connections_are_skipped_without_a_pause() {
    let mut listener = listen([
        fail(ErrorKind::ConnectionAborted),
        fail(ErrorKind::ConnectionReset),
        accept(1),
    ]);
    assert_ready_eq!(listener.poll_next(), Some(1));
    assert_eq!(
        listener.errors(),
        AcceptErrors {
            aborted: 2,
            ..AcceptErrors::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn thirty_one_dead_connections_are_skipped_at_once_and_thirty_two_are_not() {
    let dead = |count| {
        std::iter::repeat_with(|| fail(ErrorKind::ConnectionAborted))
            .take(count)
            .chain([accept(1)])
    };
    let mut listener = listen(dead(SKIPS_IN_A_ROW - 1));
    assert_ready_eq!(listener.poll_next(), Some(1));

    let mut listener = listen(dead(SKIPS_IN_A_ROW));
    assert_pending!(listener.poll_next());
    pass_pause(&mut listener, FIRST_PAUSE).await;
    assert_ready_eq!(listener.poll_next(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn dead_connections_do_not_make_pauses_longer() {
    let mut listener = listen(std::iter::repeat_with(|| fail(ErrorKind::ConnectionAborted)).take(200));
    for _ in 0..4 {
        assert_pending!(listener.poll_next());
        pass_pause(&mut listener, FIRST_PAUSE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn endless_errors_neither_spin_nor_end() {
    for kind in [ErrorKind::ConnectionAborted, ErrorKind::OutOfMemory, ErrorKind::Other] {
        let mut listener = listen(std::iter::repeat_with(|| fail(kind)).take(10_000));
        for _ in 0..20 {
            let polls = inner_polls(&listener);
            assert_pending!(listener.poll_next());
            assert!(inner_polls(&listener) - polls <= SKIPS_IN_A_ROW);
            assert!(!listener.is_woken(), "spins on {kind:?}");
            advance(LONGEST_PAUSE).await;
            assert!(listener.is_woken(), "sleeps for ever on {kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_a_second_and_a_connection_ends_the_series() {
    let mut steps: Vec<_> = std::iter::repeat_with(|| fail(ErrorKind::Other)).take(10).collect();
    steps.extend([accept(1), fail(ErrorKind::Other), accept(2)]);
    let mut listener = listen(steps);

    for length in [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
        assert_pending!(listener.poll_next());
        pass_pause(&mut listener, length * MS).await;
    }
    assert_ready_eq!(listener.poll_next(), Some(1));
    assert_pending!(listener.poll_next());
    pass_pause(&mut listener, FIRST_PAUSE).await;
    assert_ready_eq!(listener.poll_next(), Some(2));
    assert_eq!(
        listener.errors(),
        AcceptErrors {
            other: 11,
            ..AcceptErrors::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn errors_are_counted_by_reason() {
    let mut listener = listen([
        fail(ErrorKind::ConnectionAborted),
        fail(ErrorKind::OutOfMemory),
        accept(1),
    ]);
    assert_pending!(listener.poll_next());
    advance(FIRST_PAUSE).await;
    assert_ready_eq!(listener.poll_next(), Some(1));
    // EMFILE, or what has its number elsewhere.
    listener
        .as_mut()
        .on_admit_error(&io::Error::from_raw_os_error(if cfg!(windows) { 10024 } else { 24 }));
    listener.as_mut().on_admit_error(&ErrorKind::Other.into());
    assert_eq!(
        listener.errors(),
        AcceptErrors {
            aborted: 1,
            out_of_files: 1,
            out_of_memory: 1,
            other: 1
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_be_admitted_pauses_longer_each_time() {
    let mut listener = listen((1..=4).map(accept));
    for (id, length) in [(1, 5), (2, 10), (3, 20)] {
        assert_ready_eq!(listener.poll_next(), Some(id));
        listener.as_mut().on_admit_error(&ErrorKind::Other.into());
        listener.as_mut().on_admit_error(&ErrorKind::Other.into());
        assert_pending!(listener.poll_next());
        pass_pause(&mut listener, length * MS).await;
    }
    assert_ready_eq!(listener.poll_next(), Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_died_before_it_was_admitted_does_not_pause() {
    let mut listener = listen([accept(1), accept(2)]);
    assert_ready_eq!(listener.poll_next(), Some(1));
    listener.as_mut().on_admit_error(&ErrorKind::ConnectionReset.into());
    assert_ready_eq!(listener.poll_next(), Some(2));
    assert_eq!(listener.errors().aborted, 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_lasts_and_lets_go_of_the_inner_stream() {
    let mut listener = listen([accept(1), Poll::Ready(None), accept(2)]);
    assert_ready_eq!(listener.poll_next(), Some(1));
    assert!(!listener.is_terminated());
    for _ in 0..3 {
        assert_ready_eq!(listener.poll_next(), None);
        assert!(listener.is_terminated());
        assert!(listener.inner.is_none());
    }
}
