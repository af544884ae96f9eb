//! The dump of the table into the peer file: when it is due, how far it has come, how the last one ended.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use chrono::{DateTime, Utc};
use futures::Stream;
use pin_project::pin_project;

use crate::config::NetworkConfig;
use crate::controller::clock::RunningClock;
use crate::dump_interval::{DumpEvent, DumpInterval};
use crate::peer_file::{self, CHUNK, PeerFileError};
use crate::peer_table::PeerTable;
use crate::stats::Stats;

/// How many slots one pass looks at: also where a million of them are empty, nobody waits long.
const SLOTS_PER_PASS: usize = 16;
/// How many steps of the last dump one poll takes.
const STEPS_PER_POLL: usize = 16;

/// Feeds the table to a [`DumpInterval`].
#[pin_project]
pub(crate) struct Dumping {
    #[pin]
    interval: Option<DumpInterval>,
    pub(super) cursor: Cursor,
    /// The table's changes when the dump in flight began, and when the last one that was written did.
    begun_at: u64,
    written_at: u64,
    dumps_written: u64,
    dumps_failed: u64,
    last_dump: Option<DateTime<Utc>>,
    last_error: Option<String>,
}

/// How far a dump has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    pub(super) slot: usize,
    any_record: bool,
    has_head: bool,
}

impl Dumping {
    pub(super) fn new(config: &NetworkConfig) -> Self {
        let interval = config
            .peers_file
            .as_ref()
            .map(|path| DumpInterval::new(path.clone(), config.peer_file_dump_interval));
        Self {
            interval,
            cursor: Cursor::default(),
            begun_at: 0,
            written_at: 0,
            dumps_written: 0,
            dumps_failed: 0,
            last_dump: None,
            last_error: None,
        }
    }

    pub(super) fn describe(&self, stats: &mut Stats) {
        stats.counters.dumps_written = self.dumps_written;
        stats.counters.dumps_failed = self.dumps_failed;
        stats.last_dump = self.last_dump;
        stats.last_dump_error.clone_from(&self.last_error);
    }

    /// Dumps at its interval. `Ready` after any progress.
    pub(super) fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        table: &PeerTable,
        clock: &RunningClock,
    ) -> Poll<()> {
        let mut this = self.as_mut().project();
        let Some(mut interval) = this.interval.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        if table.changes() != *this.written_at {
            interval.as_mut().arm();
        }
        self.poll_dump(cx, table, clock).map(drop)
    }

    /// Dumps at once if anything has changed since the last dump; `Ready` once nothing has. When the budget of a poll is
    /// spent the task wakes itself.
    pub(super) fn poll_last(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        table: &PeerTable,
        clock: &RunningClock,
    ) -> Poll<Result<(), PeerFileError>> {
        for _ in 0..STEPS_PER_POLL {
            let mut this = self.as_mut().project();
            let Some(mut interval) = this.interval.as_mut().as_pin_mut() else {
                return Poll::Ready(Ok(()));
            };
            let was_begun_before = interval.is_dumping() && *this.begun_at != table.changes();
            if !interval.is_dumping() {
                if table.changes() == *this.written_at {
                    return Poll::Ready(Ok(()));
                }
                interval.as_mut().dump_now();
            }
            if let Some(Err(error)) = ready!(self.as_mut().poll_dump(cx, table, clock))
                && !was_begun_before
            {
                return Poll::Ready(Err(error));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// `Ready` after any progress, with the result of a dump that is over.
    fn poll_dump(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        table: &PeerTable,
        clock: &RunningClock,
    ) -> Poll<Option<Result<(), PeerFileError>>> {
        let mut this = self.project();
        let Some(mut interval) = this.interval.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        match ready!(interval.as_mut().poll_next(cx)) {
            Some(DumpEvent::Due) => {
                *this.begun_at = table.changes();
                *this.cursor = Cursor::default();
                Poll::Ready(None)
            }
            Some(DumpEvent::Room) => {
                let is_last = this.cursor.encode(table, interval.as_mut().room());
                if is_last {
                    interval.end_of_records();
                }
                Poll::Ready(None)
            }
            Some(DumpEvent::Done(result)) => {
                *this.last_dump = Some(clock.now().utc);
                *this.last_error = result.as_ref().err().map(ToString::to_string);
                if result.is_ok() {
                    *this.written_at = *this.begun_at;
                    *this.dumps_written += 1;
                } else {
                    *this.dumps_failed += 1;
                }
                Poll::Ready(Some(result))
            }
            None => Poll::Pending,
        }
    }
}

impl Cursor {
    /// Encodes the next records, as many as a pass may and the buffer takes; answers whether these were the last.
    pub(crate) fn encode(&mut self, table: &PeerTable, out: &mut Vec<u8>) -> bool {
        if !self.has_head {
            peer_file::encode_head(out);
            self.has_head = true;
        }
        let mut slots = table.stored_from(self.slot);
        for _ in 0..SLOTS_PER_PASS {
            if out.len() >= CHUNK {
                return false;
            }
            let Some(slot) = slots.next() else {
                peer_file::encode_tail(out, self.any_record);
                return true;
            };
            self.slot += 1;
            if let Some(stored) = slot {
                peer_file::encode_record(out, !self.any_record, stored.peer, stored.banned_at, stored.other);
                self.any_record = true;
            }
        }
        false
    }
}
