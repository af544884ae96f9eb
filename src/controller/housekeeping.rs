//! What a controller does of its own: it applies reports, keeps deadlines, starts dials, and dumps.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};

use crate::controller::engine::Engine;
use crate::controller::feedback::{LeaseReport, Question};
use crate::peer_table::{Action, Report};
use crate::transport::{Incoming, Transport};

/// How many listed addresses one pass merges.
const LISTED_PER_PASS: usize = 64;
/// How many addresses of answers one pass collects before it leaves the other questions to the next.
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

    /// Carries out what the table decided about connections.
    pub(super) fn run_actions(self: Pin<&mut Self>) {
        let this = self.project();
        while let Some(action) = this.table.next_action() {
            match action {
                Action::CallOff(id) => this.dials.call_off(id),
                Action::RefuseParked(id) => {
                    if let Some(incoming) = this.parked.remove(&id) {
                        incoming.refuse();
                    }
                }
                Action::Ended(id) => this.handed_over.end(id),
            }
        }
    }

    /// Applies everything that sinks and leases have reported of peers, and some of the rest. What was said of a peer
    /// before it was connected goes before what was said after.
    pub(super) fn poll_reports(mut self: Pin<&mut Self>) -> Poll<()> {
        let Some(urgent) = self.mailbox.look() else {
            return Poll::Pending;
        };
        for _ in 0..urgent.absent {
            self.as_mut().apply_absent();
        }
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

    /// Each report has a time of its own: a failure that follows a sign of life is later than that.
    pub(super) fn apply_present(mut self: Pin<&mut Self>) {
        if let Some((ip, reported)) = self.mailbox.next_present() {
            for report in reported.iter() {
                let this = self.as_mut().project();
                if let LeaseReport::Of(report) = report {
                    this.table.on_report(this.clock.now(), ip, report);
                }
                self.as_mut().run_actions();
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
                self.as_mut().run_actions();
            }
        }
    }

    /// Applies some of what are no reports; answers whether there is more.
    fn apply_rest(mut self: Pin<&mut Self>) -> bool {
        let this = self.as_mut().project();
        this.table.counters_mut().feedback_stale += this.mailbox.take_stale();
        let more_listed = self.as_mut().apply_listed(LISTED_PER_PASS);
        let more_questions = self.answer_questions();
        more_listed || more_questions
    }

    /// Applies what was reported of a peer while it was not connected; if it is now, only a ban has to do with it.
    pub(super) fn apply_absent(mut self: Pin<&mut Self>) {
        if let Some((ip, reported)) = self.mailbox.next_absent() {
            for report in reported.without_connection() {
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
                self.as_mut().run_actions();
            }
        }
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
            answered += 1;
            if !reply.is_closed() {
                let ips: Vec<_> = self.table.good_peer_ips().take(limit).collect();
                answered += ips.len();
                // Whoever asked may have stopped waiting.
                let _ = reply.send(ips);
            }
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
            // However much of its turn the task has spent elsewhere: a limit that is over is over.
            ready!(pin!(unconstrained(timer)).poll(cx));
        }
        *this.timer_due = None;
        let now = this.clock.pass_time();
        this.table.on_time(now);
        self.run_actions();
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
        let this = self.project();
        let mut progress = Poll::Pending;
        // Nothing to dial is no reason to ask what time it is.
        if this.table.next_dial_time().is_none() {
            return progress;
        }
        let now = this.clock.pass_time();
        for _ in 0..DIALS_PER_PASS {
            let Some((id, ip)) = this.table.next_dial(now) else {
                break;
            };
            let dial = this.transport.dial(*this.dial_from, (ip, *this.peer_port).into());
            this.dials.start(id, dial, this.table.config().connect_timeout);
            progress = Poll::Ready(());
        }
        progress
    }

    fn poll_dump(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.dumping.poll(cx, this.table, this.clock)
    }
}
