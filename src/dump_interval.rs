//! [`DumpInterval`]: when to dump, and one dump in flight.
//!
//! It owns the timer, the file's lock, the file that is being written and a bounded buffer, and knows nothing of what is dumped: it asks
//! for the records, a buffer at a time, so that a list that keeps changing is neither borrowed nor copied.
//!
//! - There is no timer while nothing is to be written, and none while a dump is in flight.
//! - This buffer and that of the file hold no more than 160 KiB together, unless one record is longer than that.
//! - Nothing here spawns. Dropping it gives the dump in flight up and removes its temporary file.

use std::mem;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::task::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::peer_file::{CHUNK, Disk, FileLock, FileSystem, OVERSHOOT, PeerFileError, StagedFile};

/// The longest interval: the clock cannot express every later time.
const FAR_FUTURE: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// What a [`DumpInterval`] asks for, in this order: one `Due`, `Room` as often as needed, one `Done`.
#[derive(Debug)]
pub(crate) enum DumpEvent {
    /// A dump begins. What changes from now on may miss it.
    Due,
    /// [`room`](DumpInterval::room) takes more records. It comes again at once until the buffer holds [`CHUNK`] bytes
    /// or [`end_of_records`](DumpInterval::end_of_records) was called; while one chunk is written the next is filled. A
    /// dump can fail before its first `Room`.
    Room,
    /// The dump is over. After an error the interval is idle and the old file whole: [`arm`](DumpInterval::arm) tries
    /// again an interval later.
    Done(Result<(), PeerFileError>),
}

/// Says when to dump and carries the dump out.
///
/// [`arm`](Self::arm) it when something stored has changed. A change during a dump is not remembered here: its owner
/// compares, at [`Done`](DumpEvent::Done), the count of changes with the one noted at [`Due`](DumpEvent::Due).
pub(crate) struct DumpInterval<F: FileSystem = Disk> {
    files: F,
    path: PathBuf,
    /// Taken along when the file is replaced.
    lock: FileLock,
    interval: Duration,
    state: State<F>,
    buffer: Vec<u8>,
    is_last: bool,
    /// That of the last poll while no dump was in flight.
    waker: AtomicWaker,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send + Sync>>;

type Written<F> = Result<(StagedFile<F>, Vec<u8>), PeerFileError>;

enum State<F: FileSystem> {
    Idle,
    Armed {
        due: Instant,
        /// Made by the first poll.
        timer: Option<Pin<Box<Sleep>>>,
    },
    Begin,
    /// Opens or writes, and gives an emptied buffer back.
    Working(Work<Written<F>>),
    Filling(StagedFile<F>),
    Committing(Work<(FileLock, Result<(), PeerFileError>)>),
}

impl DumpInterval {
    /// Will dump to `path`, as it is meant in the present working directory, `interval` after something has changed. It
    /// holds the file's lock.
    pub(crate) fn new(path: PathBuf, lock: FileLock, interval: Duration) -> Self {
        Self {
            lock,
            ..Self::with_files(Disk, path, interval)
        }
    }
}

impl<F: FileSystem> DumpInterval<F> {
    /// As [`new`](DumpInterval::new), to this file system.
    pub(crate) fn with_files(files: F, path: PathBuf, interval: Duration) -> Self {
        Self {
            files,
            path: std::path::absolute(&path).unwrap_or(path),
            lock: FileLock::default(),
            interval,
            state: State::Idle,
            buffer: Vec::new(),
            is_last: false,
            waker: AtomicWaker::new(),
        }
    }

    /// Something stored has changed: a dump begins an interval from now, unless one is to begin or in flight already.
    /// Needs no runtime.
    pub(crate) fn arm(&mut self) {
        if matches!(self.state, State::Idle) {
            let due = Instant::now() + self.interval.min(FAR_FUTURE);
            self.state = State::Armed { due, timer: None };
            self.waker.wake();
        }
    }

    /// Another interval from now on. A dump that is awaited comes no later than it would after a change made now.
    pub(crate) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
        let latest = Instant::now() + interval.min(FAR_FUTURE);
        if let State::Armed { due, timer } = &mut self.state
            && *due > latest
        {
            (*due, *timer) = (latest, None);
            self.waker.wake();
        }
    }

    /// Lets a dump begin with the next poll, unless one is in flight.
    pub(crate) fn dump_now(&mut self) {
        if !self.is_dumping() {
            self.state = State::Begin;
            self.waker.wake();
        }
    }

    /// Whether a dump is in flight or about to begin: a [`Done`](DumpEvent::Done) will come.
    pub(crate) fn is_dumping(&self) -> bool {
        !matches!(self.state, State::Idle | State::Armed { .. })
    }

    /// Lets others have the file. To be called after the last dump.
    pub(crate) fn release(&mut self) {
        self.lock = FileLock::default();
    }

    /// The buffer, to append records to after a [`Room`](DumpEvent::Room): none once it holds [`CHUNK`] bytes.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        debug_assert!(matches!(self.state, State::Filling(_)), "only a Room makes room");
        &mut self.buffer
    }

    /// What the buffer holds is the last of this dump. Called after a [`Room`](DumpEvent::Room).
    pub(crate) fn end_of_records(&mut self) {
        debug_assert!(matches!(self.state, State::Filling(_)), "records end in a Room");
        self.is_last = true;
    }

    fn begin(&mut self) {
        let (files, path, lock) = (self.files.clone(), self.path.clone(), self.lock.clone());
        self.is_last = false;
        self.state = State::Working(Box::pin(async move {
            let file = StagedFile::create(files, &path, lock).await?;
            Ok((file, Vec::with_capacity(CHUNK + OVERSHOOT)))
        }));
    }

    /// Writes the whole chunks that the buffer holds, or all of it, or commits if there was nothing more to come.
    fn drain(&mut self) {
        let State::Filling(mut file) = mem::replace(&mut self.state, State::Idle) else {
            unreachable!("only a dump that is being filled is drained");
        };
        let (mut buffer, is_last) = (mem::take(&mut self.buffer), self.is_last);
        self.state = if buffer.is_empty() {
            State::Committing(Box::pin(file.commit()))
        } else {
            State::Working(Box::pin(async move {
                file.write(&mut buffer, is_last).await?;
                Ok((file, buffer))
            }))
        };
    }

    fn done(&mut self, result: Result<(), PeerFileError>) -> Poll<Option<DumpEvent>> {
        self.buffer = Vec::new();
        self.state = State::Idle;
        Poll::Ready(Some(DumpEvent::Done(result)))
    }
}

/// Never ends.
impl<F: FileSystem> Stream for DumpInterval<F> {
    type Item = DumpEvent;

    /// - `Pending`: nothing has changed, or the interval is not over, or the file system is at work;
    /// - `Ready(Some(event))`: see [`DumpEvent`]; to be polled again.
    ///
    /// # Panics
    ///
    /// While it is armed or dumps, outside of a Tokio runtime.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<DumpEvent>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Idle => {
                    this.waker.register(cx.waker());
                    return Poll::Pending;
                }
                State::Armed { due, timer } => {
                    this.waker.register(cx.waker());
                    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(*due)));
                    ready!(timer.as_mut().poll(cx));
                    this.state = State::Begin;
                }
                State::Begin => {
                    this.begin();
                    return Poll::Ready(Some(DumpEvent::Due));
                }
                State::Working(work) => match ready!(work.as_mut().poll(cx)) {
                    Ok((file, buffer)) => {
                        this.buffer = buffer;
                        this.state = State::Filling(file);
                    }
                    Err(error) => return this.done(Err(error)),
                },
                State::Filling(_) if this.buffer.len() < CHUNK && !this.is_last => {
                    return Poll::Ready(Some(DumpEvent::Room));
                }
                State::Filling(_) => this.drain(),
                State::Committing(work) => {
                    let (lock, result) = ready!(work.as_mut().poll(cx));
                    this.lock = lock;
                    return this.done(result);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
