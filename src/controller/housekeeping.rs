//! What a controller does of its own: it keeps deadlines, starts dials, and dumps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};

use crate::controller::engine::Engine;
use crate::peer::PeerStatus;
use crate::peer_table::Action;
use crate::transport::{Incoming, Transport};

/// How many dials one pass starts.
const DIALS_PER_PASS: usize = 32;
/// Stands for what the clock cannot express.
const FAR_FUTURE: Duration = Duration::from_secs(365 * 24 * 3600);

impl<T: Transport> Engine<T> {
    /// `Ready` after progress that may create more work.
    pub(super) fn poll_housekeeping(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.as_mut().poll_deadlines(cx);
        let dialed = self.as_mut().poll_due_dials();
        let dumped = self.poll_dump(cx);
        if [due, dialed, dumped].iter().all(Poll::is_pending) {
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
                Action::Ended(id, why) => this.mailbox.end(id, why),
            }
        }
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

    fn poll_due_dials(mut self: Pin<&mut Self>) -> Poll<()> {
        let mut progress = Poll::Pending;
        // Avoid a clock read when there is nothing to dial.
        if self.table.next_dial_time().is_none() {
            return progress;
        }
        let now = self.as_mut().project().clock.pass_time();
        for _ in 0..DIALS_PER_PASS {
            let Some((id, ip)) = self.as_mut().project().table.next_dial(now) else {
                break;
            };
            progress = Poll::Ready(());
            let has_changed = self.as_mut().apply_queued(ip);
            let status = || self.table.peer(ip).map(|peer| peer.status);
            if has_changed && status() != Some(PeerStatus::OutConnecting) {
                continue;
            }
            let this = self.as_mut().project();
            let (from, to) = (*this.dial_from, (ip, *this.peer_port).into());
            match catch_unwind(AssertUnwindSafe(|| this.transport.dial(from, to))) {
                Ok(dial) => this.dials.start(id, dial, this.table.config().connect_timeout),
                Err(panic) => self.as_mut().on_dial_panicked(id, panic),
            }
        }
        progress
    }

    fn poll_dump(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.dumping.poll(cx, this.table, this.clock)
    }
}
