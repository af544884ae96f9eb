//! How a controller applies what the application reports: at once where its own methods are called, with the next poll
//! where sinks and leases were told.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::Context;

use crate::change::Reporter;
use crate::config::{ConfigError, NetworkConfig};
use crate::controller::engine::Engine;
use crate::controller::mailbox::{Listed, QueuedReports};
use crate::controller::questions::Answers;
use crate::peer::ConnectionId;
use crate::peer_table::{DialState, PeerTable, Report};
use crate::stats::Stats;
use crate::transport::Transport;

/// How many absent addresses with reports one poll takes.
const ABSENT_PER_POLL: usize = 1_000;
/// How many addresses of lists and of answers one poll deals with; half of them may be of lists.
const LISTED_PER_POLL: usize = 1_000;

impl<T: Transport> Engine<T> {
    /// Feedback by address, applied at once, after what sinks have reported of that address before.
    pub(crate) fn report(mut self: Pin<&mut Self>, ip: IpAddr, report: Report) {
        if self.check_open().is_err() {
            return;
        }
        let ip = ip.to_canonical();
        self.as_mut().apply_queued(ip);
        let connection = self.mailbox.connection(ip);
        self.as_mut().apply(Reporter::Feedback, ip, connection, report);
        self.as_mut().tell_changes();
        self.wakers.wake_stream();
    }

    pub(crate) fn merge_list(mut self: Pin<&mut Self>, teller: Option<IpAddr>, ips: impl IntoIterator<Item = IpAddr>) {
        if self.check_open().is_ok() {
            self.as_mut().project().table.on_peer_list_from(teller, ips);
            self.as_mut().tell_changes();
            self.wakers.wake_stream();
        }
    }

    pub(crate) fn sample_peer_ips(mut self: Pin<&mut Self>, limit: usize) -> Vec<IpAddr> {
        let this = self.as_mut().project();
        let changes = this.table.changes();
        let ips = this.table.sample_peer_ips(limit);
        if this.table.changes() != changes {
            // Own addresses were forgotten, which is to be dumped.
            this.wakers.wake_stream();
        }
        self.tell_changes();
        ips
    }

    /// Applies all that was reported of connections, and so much of the rest that a flood of it makes no poll long.
    pub(super) fn apply_reports(mut self: Pin<&mut Self>, cx: &Context<'_>) {
        if !self.as_mut().apply_batch(ABSENT_PER_POLL, Report::Failed) {
            return;
        }
        let listed = self.as_mut().merge_listed(LISTED_PER_POLL / 2);
        self.as_mut().answer_questions(LISTED_PER_POLL - listed);
        if self.mailbox.has_more() {
            cx.waker().wake_by_ref();
        }
    }

    /// Applies everything, as far as the mailbox bounds it. A lease that is not seen to be dropped before counts as
    /// closed.
    pub(super) fn apply_everything(mut self: Pin<&mut Self>) {
        self.as_mut().apply_batch(usize::MAX, Report::Closed);
        self.merge_listed(usize::MAX);
    }

    /// Applies what is queued of an address that is about to be dialed or admitted; answers whether there was anything.
    pub(super) fn apply_queued(mut self: Pin<&mut Self>, ip: IpAddr) -> bool {
        let queued = self.mailbox.take_of(ip);
        for reports in &queued {
            self.as_mut().apply_merged(reports, Report::Failed);
        }
        !queued.is_empty()
    }

    /// `dropped` is what a lease reports that was dropped unspent. False if there was nothing, not even of lists and
    /// questions.
    fn apply_batch(mut self: Pin<&mut Self>, max_absent: usize, dropped: Report) -> bool {
        let Some((batch, stale)) = self.mailbox.take(max_absent) else {
            return false;
        };
        for reports in &batch {
            self.as_mut().apply_merged(reports, dropped);
        }
        self.project().table.counters_mut().feedback_stale += stale;
        true
    }

    fn apply_merged(mut self: Pin<&mut Self>, queued: &QueuedReports, dropped: Report) {
        let reporter = queued.reporter();
        for report in queued.reports.iter(queued.connection.is_some(), dropped) {
            self.as_mut().apply(reporter, queued.ip, queued.connection, report);
        }
        if let (true, Some(connection)) = (queued.reports.is_lease_gone(), queued.connection) {
            self.project().table.on_lease_dropped(connection);
        }
    }

    /// Each report has a time of its own: a failure that follows a sign of life is later than that.
    fn apply(
        mut self: Pin<&mut Self>,
        reporter: Reporter,
        ip: IpAddr,
        connection: Option<ConnectionId>,
        report: Report,
    ) {
        let this = self.as_mut().project();
        let now = this.clock.now();
        this.table.on_report_by(reporter, now, ip, connection, report);
        self.run_actions();
    }

    /// Answers how many addresses there were.
    fn merge_listed(self: Pin<&mut Self>, at_most: usize) -> usize {
        let this = self.project();
        let listed = this.mailbox.take_listed(at_most);
        for &Listed { ip, teller } in &listed {
            this.table.on_listed(teller, ip);
        }
        listed.len()
    }

    /// Answers questions until their answers have so many items, or there are none left.
    fn answer_questions(mut self: Pin<&mut Self>, items: usize) {
        let mut answered = 0;
        while answered < items {
            let Some(question) = self.mailbox.next_question() else {
                return;
            };
            answered += question.answer(&mut self);
        }
    }
}

impl<T: Transport> Answers for Pin<&mut Engine<T>> {
    fn table(&self) -> &PeerTable {
        &self.table
    }

    fn sample_peer_ips(&mut self, limit: usize) -> Vec<IpAddr> {
        self.as_mut().project().table.sample_peer_ips(limit)
    }

    fn reconfigure(&mut self, config: NetworkConfig) -> Result<(), ConfigError> {
        Engine::reconfigure(self.as_mut(), config)
    }

    fn stats(&self) -> Stats {
        Engine::stats(self)
    }

    fn dial_state(&self, ip: IpAddr) -> DialState {
        Engine::dial_state(self, ip)
    }
}
