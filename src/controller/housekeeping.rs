//! What a controller does of its own: it applies reports, keeps deadlines, starts dials, and dumps.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{Stream, ready};
use pin_project::pin_project;
use tokio::time::{Instant, sleep_until};

use crate::config::NetworkConfig;
use crate::controller::engine::Engine;
use crate::controller::feedback::{LeaseReport, Question};
use crate::dump_interval::{CHUNK, DumpEvent, DumpInterval};
use crate::peer::ConnectionId;
use crate::peer_file::{self, PeerFileError};
use crate::peer_table::{Action, PeerTable, Report};
use crate::stats::Stats;
use crate::transport::{Incoming, Transport};

/// How many reports about peers that are not connected, and how many listed addresses, one poll applies.
const REPORTS_PER_PASS: usize = 64;
/// How many addresses of answers one poll collects before it leaves the other questions to the next.
const ANSWERS_PER_PASS: usize = 1024;
/// How many dials one pass starts.
const DIALS_PER_PASS: usize = 32;
/// Stands for what the clock cannot express.
const FAR_FUTURE: Duration = Duration::from_secs(365 * 24 * 3600);

impl<T: Transport> Engine<T> {
    /// `Ready` if anything was done that may have something else to do follow.
    pub(super) fn poll_housekeeping(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let reported = self.as_mut().poll_reports();
        let due = self.as_mut().poll_deadlines(cx);
        let dialed = self.as_mut().poll_due_dials();
        let dumped = self.poll_dump(cx);
        let is_done = |part: &Poll<()>| part.is_pending();
        if [reported, due, dialed, dumped].iter().all(is_done) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Carries out what the table decided about connections. `by_lease` names the lease that it was done for.
    pub(super) fn run_actions(self: Pin<&mut Self>, by_lease: Option<ConnectionId>) {
        let mut this = self.project();
        while let Some(action) = this.table.next_action() {
            match action {
                Action::CallOff(id) => {
                    this.dials.as_mut().call_off(id);
                }
                Action::RefuseParked(id) => {
                    if let Some(incoming) = this.parked.remove(&id) {
                        incoming.refuse();
                    }
                }
                Action::Ended(id) => this.handed_over.end(id, by_lease),
            }
        }
    }

    /// Applies everything that sinks and leases have reported about connections, and some of the rest.
    pub(super) fn poll_reports(mut self: Pin<&mut Self>) -> Poll<()> {
        let Some(urgent) = self.mailbox.look() else {
            return Poll::Pending;
        };
        for _ in 0..urgent.present {
            self.as_mut().apply_present();
        }
        for _ in 0..urgent.leases {
            self.as_mut().apply_lease(Report::Failed);
        }
        if self.as_mut().apply_rest() {
            self.mailbox.leave();
        }
        Poll::Ready(())
    }

    pub(super) fn apply_present(mut self: Pin<&mut Self>) {
        if let Some((ip, reported)) = self.mailbox.next_present() {
            for report in reported.iter() {
                let this = self.as_mut().project();
                if let LeaseReport::Of(report) = report {
                    this.table.on_report(this.clock.now(), ip, report);
                }
                self.as_mut().run_actions(None);
            }
        }
    }

    /// Applies what one lease has reported; `dropped` is what a lease means that was dropped unspent.
    pub(super) fn apply_lease(mut self: Pin<&mut Self>, dropped: Report) {
        if let Some(((connection, ip), reported)) = self.mailbox.next_lease() {
            for report in reported.iter() {
                let this = self.as_mut().project();
                let report = match report {
                    LeaseReport::Of(report) => report,
                    LeaseReport::Dropped => dropped,
                };
                this.table.on_lease_report(this.clock.now(), ip, connection, report);
                self.as_mut().run_actions(Some(connection));
            }
        }
    }

    /// Applies some of what is not about connections; answers whether there is more.
    fn apply_rest(mut self: Pin<&mut Self>) -> bool {
        let more_reports = self.as_mut().apply_absent(REPORTS_PER_PASS);
        let this = self.as_mut().project();
        this.table.counters_mut().feedback_stale += this.mailbox.take_stale();
        let more_listed = self.as_mut().apply_listed(REPORTS_PER_PASS);
        let more_questions = self.answer_questions();
        more_reports || more_listed || more_questions
    }

    /// Applies reports about peers that were not connected when they were made; those that are now have nothing to do
    /// with them but a ban.
    pub(super) fn apply_absent(mut self: Pin<&mut Self>, at_most: usize) -> bool {
        for _ in 0..at_most {
            let Some((ip, reported)) = self.mailbox.next_absent() else {
                return false;
            };
            for report in reported.iter() {
                let this = self.as_mut().project();
                match report {
                    LeaseReport::Of(report @ (Report::Banned | Report::Unbanned)) => {
                        this.table.on_report(this.clock.now(), ip, report);
                    }
                    LeaseReport::Of(report) if this.table.connection(ip).is_none() => {
                        this.table.on_report(this.clock.now(), ip, report);
                    }
                    LeaseReport::Of(_) | LeaseReport::Dropped => this.table.counters_mut().feedback_stale += 1,
                }
                self.as_mut().run_actions(None);
            }
        }
        true
    }

    pub(super) fn apply_listed(self: Pin<&mut Self>, at_most: usize) -> bool {
        let this = self.project();
        for _ in 0..at_most {
            let Some(ip) = this.mailbox.next_listed() else {
                return false;
            };
            this.table.on_listed(ip);
        }
        true
    }

    fn answer_questions(self: Pin<&mut Self>) -> bool {
        let mut answered = 0;
        while answered < ANSWERS_PER_PASS {
            let Some(Question { limit, reply }) = self.mailbox.next_question() else {
                return false;
            };
            let ips: Vec<_> = self.table.good_peer_ips().take(limit).collect();
            answered += ips.len().max(1);
            // Whoever asked may have stopped waiting.
            let _ = reply.send(ips);
        }
        true
    }

    /// Ends what is overdue and sets the timer for the next deadline.
    fn poll_deadlines(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.table.next_deadline();
        self.as_mut().set_timer(due);
        let mut this = self.as_mut().project();
        if due.is_none() {
            return Poll::Pending;
        }
        if let Some(timer) = this.timer.as_mut().as_pin_mut() {
            ready!(timer.poll(cx));
        }
        *this.timer_due = None;
        this.table.on_time(this.clock.now());
        self.run_actions(None);
        Poll::Ready(())
    }

    fn set_timer(self: Pin<&mut Self>, due: Option<Duration>) {
        let mut this = self.project();
        if *this.timer_due == due {
            return;
        }
        *this.timer_due = due;
        let Some(due) = due else {
            return this.timer.set(None);
        };
        let instant = this.clock.instant(due).unwrap_or_else(|| Instant::now() + FAR_FUTURE);
        match this.timer.as_mut().as_pin_mut() {
            Some(timer) => timer.reset(instant),
            None => this.timer.set(Some(sleep_until(instant))),
        }
    }

    fn poll_due_dials(self: Pin<&mut Self>) -> Poll<()> {
        let mut this = self.project();
        let mut progress = Poll::Pending;
        for _ in 0..DIALS_PER_PASS {
            let Some((id, ip)) = this.table.next_dial(this.clock.now()) else {
                break;
            };
            let dial = this.transport.dial(*this.dial_from, (ip, *this.peer_port).into());
            this.dials.as_mut().start(id, dial);
            progress = Poll::Ready(());
        }
        progress
    }

    fn poll_dump(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.dumping.poll(cx, this.table, this.clock.now().utc)
    }
}

/// The dump of the table into the peer file.
#[pin_project]
pub(crate) struct Dumping {
    #[pin]
    interval: Option<DumpInterval>,
    cursor: Cursor,
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
struct Cursor {
    slot: usize,
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
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, table: &PeerTable, utc: DateTime<Utc>) -> Poll<()> {
        let mut this = self.as_mut().project();
        let Some(mut interval) = this.interval.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        if table.changes() != *this.written_at {
            interval.as_mut().arm();
        }
        self.poll_dump(cx, table, utc).map(drop)
    }

    /// Dumps at once if anything has changed since the last dump; `Ready` once nothing has.
    pub(super) fn poll_last(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        table: &PeerTable,
        utc: DateTime<Utc>,
    ) -> Poll<Result<(), PeerFileError>> {
        loop {
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
            if let Some(Err(error)) = ready!(self.as_mut().poll_dump(cx, table, utc))
                && !was_begun_before
            {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// `Ready` after any progress, with the result of a dump that is over.
    fn poll_dump(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        table: &PeerTable,
        utc: DateTime<Utc>,
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
                *this.last_dump = Some(utc);
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
    /// Encodes the next records until the buffer is full; answers whether these were the last.
    fn encode(&mut self, table: &PeerTable, out: &mut Vec<u8>) -> bool {
        if !self.has_head {
            peer_file::encode_head(out);
            self.has_head = true;
        }
        for stored in table.stored_from(self.slot) {
            if out.len() >= CHUNK {
                return false;
            }
            self.slot += 1;
            if let Some(stored) = stored {
                peer_file::encode_record(out, !self.any_record, stored.peer, stored.banned_at, stored.other);
                self.any_record = true;
            }
        }
        peer_file::encode_tail(out, self.any_record);
        true
    }
}
