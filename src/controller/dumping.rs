//! The dump of the table into the peer file: when it is due, how far it has come, how the last one ended.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt;

use crate::config::NetworkConfig;
use crate::controller::clock::RunningClock;
use crate::dump_interval::{DumpEvent, DumpInterval};
use crate::peer_file::{self, CHUNK, FileLock, PeerFileError};
use crate::peer_table::PeerTable;
use crate::stats::Stats;

/// How many slots one pass looks at, so that a million empty ones do not hold up a poll.
const SLOTS_PER_PASS: usize = 16;
/// How many steps of the last dump one poll takes.
const STEPS_PER_POLL: usize = 16;

/// Feeds the table to a [`DumpInterval`].
#[derive(Default)]
pub(crate) struct Dumping {
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
    pub(super) fn new(config: &NetworkConfig, lock: FileLock, obstacle: Option<PeerFileError>) -> Self {
        let interval = config
            .peers_file
            .as_ref()
            .map(|path| DumpInterval::new(path.clone(), lock, config.peer_file_dump_interval));
        Self {
            interval,
            last_error: obstacle.map(|error| error.to_string()),
            ..Self::default()
        }
    }

    pub(super) fn describe(&self, stats: &mut Stats) {
        stats.counters.dumps_written = self.dumps_written;
        stats.counters.dumps_failed = self.dumps_failed;
        stats.last_dump = self.last_dump;
        stats.last_dump_error.clone_from(&self.last_error);
    }

    /// Dumps at its interval. `Ready` after any progress.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, table: &PeerTable, clock: &RunningClock) -> Poll<()> {
        if let Some(interval) = &mut self.interval
            && table.changes() != self.written_at
        {
            interval.arm();
        }
        self.poll_dump(cx, table, clock).map(drop)
    }

    /// Dumps at once if anything has changed since the last dump; `Ready` once nothing has. When the budget of a poll is
    /// spent the task wakes itself.
    pub(super) fn poll_last(
        &mut self,
        cx: &mut Context<'_>,
        table: &PeerTable,
        clock: &RunningClock,
    ) -> Poll<Result<(), PeerFileError>> {
        for _ in 0..STEPS_PER_POLL {
            let Some(interval) = &mut self.interval else {
                return Poll::Ready(Ok(()));
            };
            let was_begun_before = interval.is_dumping() && self.begun_at != table.changes();
            if !interval.is_dumping() {
                if table.changes() == self.written_at {
                    return Poll::Ready(Ok(()));
                }
                interval.dump_now();
            }
            if let Some(Err(error)) = ready!(self.poll_dump(cx, table, clock))
                && !was_begun_before
            {
                return Poll::Ready(Err(error));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// See [`DumpInterval::set_interval`].
    pub(super) fn set_interval(&mut self, interval: Duration) {
        if let Some(dumps) = &mut self.interval {
            dumps.set_interval(interval);
        }
    }

    /// Lets others have the file.
    pub(super) fn release(&mut self) {
        self.interval.iter_mut().for_each(DumpInterval::release);
    }

    /// `Ready` after any progress, with the result of a dump that is over.
    fn poll_dump(
        &mut self,
        cx: &mut Context<'_>,
        table: &PeerTable,
        clock: &RunningClock,
    ) -> Poll<Option<Result<(), PeerFileError>>> {
        let Some(interval) = &mut self.interval else {
            return Poll::Pending;
        };
        match ready!(interval.poll_next_unpin(cx)) {
            Some(DumpEvent::Due) => {
                self.begun_at = table.changes();
                self.cursor = Cursor::default();
            }
            Some(DumpEvent::Room) => {
                if self.cursor.encode(table, interval.room()) {
                    interval.end_of_records();
                }
            }
            Some(DumpEvent::Done(result)) => {
                self.note(&result, clock);
                return Poll::Ready(Some(result));
            }
            None => return Poll::Pending,
        }
        Poll::Ready(None)
    }

    fn note(&mut self, result: &Result<(), PeerFileError>, clock: &RunningClock) {
        self.last_dump = Some(clock.now().utc);
        self.last_error = result.as_ref().err().map(ToString::to_string);
        #[cfg(feature = "tracing")]
        crate::controller::traces::on_dump(result);
        if result.is_ok() {
            self.written_at = self.begun_at;
            self.dumps_written += 1;
        } else {
            self.dumps_failed += 1;
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
                peer_file::encode_record(out, !self.any_record, stored);
                self.any_record = true;
            }
        }
        false
    }
}
