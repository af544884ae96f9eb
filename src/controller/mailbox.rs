//! What sinks and leases have reported and the controller has yet to apply.
//!
//! Nothing waits here: a sink that waited would deadlock the task that forwards the controller's own stream into it. So
//! reports are merged instead of queued one by one, per address or per lease, and memory stays bounded: by the caps for
//! peers that are connected, by the number of peers that the table may know for all others, and by `max_idle_peers` for
//! the addresses of peer lists. Questions alone wait for room, in the task that asks.
//!
//! A report by address is tagged, when it is made, with the connection that it speaks of, so the mailbox knows which
//! connections are open. What was reported of an address is applied in the order in which it was reported.
//!
//! One lock guards all of it, for a report or a batch; no task is woken under it.

mod ending;
mod merged;
mod queue;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub(crate) use self::merged::MergedReports;

use self::ending::{ClosingResult, Ending};
use self::queue::Queue;
use crate::change::Reporter;
use crate::config::NetworkConfig;
use crate::controller::NetworkError;
use crate::controller::open_connections::{LeaseState, OpenConnections};
use crate::controller::questions::{MAX_WAITING, Question};
use crate::controller::wakers::Wakers;
use crate::peer::{ConnectionId, Revocation};
use crate::peer_table::Report;

#[derive(Debug)]
pub(crate) struct Mailbox {
    wakers: Arc<Wakers>,
    /// There may be something to take; looked at without the lock.
    is_dirty: AtomicBool,
    /// Looked at without the lock.
    is_close_wanted: AtomicBool,
    /// One for each question that may still come in.
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    open: OpenConnections,
    /// Reports about addresses that had an open connection when the last of these was made, …
    connected: Queue<IpAddr, Tagged>,
    /// … about addresses that have had none since, …
    absent: Queue<IpAddr, Tagged>,
    /// … and of leases.
    leases: Queue<ConnectionId, QueuedReports>,
    listed: VecDeque<Listed>,
    questions: VecDeque<Box<dyn Question>>,
    ending: Ending,
    max_absent: usize,
    max_listed: usize,
    /// Reports that change nothing, not yet counted by the table.
    stale: u64,
}

/// What was reported of one address, in this order: all that speaks of one connection, or of none, is merged.
type Tagged = Vec<QueuedReports>;

/// What was reported of one connection, or of a peer while it had none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuedReports {
    pub(crate) ip: IpAddr,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) reports: MergedReports,
    /// They are those of a lease.
    pub(crate) is_of_lease: bool,
}

/// An address of a peer list, and the peer that told of it, if it was named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    pub(crate) ip: IpAddr,
    pub(crate) teller: Option<IpAddr>,
}

impl QueuedReports {
    fn new(ip: IpAddr, connection: Option<ConnectionId>, is_of_lease: bool) -> Self {
        Self {
            is_of_lease,
            ip,
            connection,
            reports: MergedReports::default(),
        }
    }

    /// How the application made the reports.
    pub(crate) fn reporter(&self) -> Reporter {
        match (self.is_of_lease, self.reports.ends_by_drop()) {
            (false, _) => Reporter::Feedback,
            (true, false) => Reporter::Lease,
            (true, true) => Reporter::DroppedLease,
        }
    }
}

/// For handles and leases.
impl Mailbox {
    pub(crate) fn report(&self, ip: IpAddr, report: Report) -> Result<(), NetworkError> {
        self.push(|state| state.report(ip.to_canonical(), report))
    }

    pub(crate) fn list(
        &self,
        teller: Option<IpAddr>,
        ips: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), NetworkError> {
        let room = self.state().room_for_listed();
        // Without the lock: the iterator may be anything.
        let ips: Vec<_> = ips.into_iter().take(room).collect();
        self.push(|state| state.list(teller, ips))
    }

    /// Waits for a place among the questions that wait.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, NetworkError> {
        // Spends nothing of the task's turn where there is room.
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let place = Arc::clone(&self.places).acquire_owned();
        place.await.map_err(|_| NetworkError::Closed)
    }

    pub(crate) fn ask(&self, question: Box<dyn Question>) -> Result<(), NetworkError> {
        self.push(|state| state.ask(question))
    }

    /// Has the controller closed; how that ends comes later, unless it has ended already.
    pub(crate) fn close_wanted(&self) -> Result<oneshot::Receiver<ClosingResult>, ClosingResult> {
        let ended = self.state().ending.wait()?;
        self.is_close_wanted.store(true, Ordering::Release);
        self.wakers.wake_stream();
        Ok(ended)
    }

    pub(crate) fn report_lease(&self, ip: IpAddr, connection: ConnectionId, report: Report) {
        // After the close a lease changes nothing.
        let _ = self.push(|state| {
            let is_new = state.lease(ip, connection).add(report);
            state.stale += u64::from(!is_new);
        });
    }

    /// The lease is dropped: by this end that it reports, or with nothing to say of a connection that is over.
    pub(crate) fn end_lease(&self, ip: IpAddr, connection: ConnectionId, report: Option<Report>) {
        let _ = self.push(|state| {
            let lease = state.lease(ip, connection);
            lease.end_lease();
            let is_new = report.is_none_or(|report| lease.add(report));
            state.stale += u64::from(!is_new);
        });
    }

    /// The lease is dropped unspent.
    pub(crate) fn drop_lease(&self, ip: IpAddr, connection: ConnectionId) {
        let _ = self.push(|state| state.lease(ip, connection).drop_lease());
    }

    pub(crate) fn check_open(&self) -> Result<(), NetworkError> {
        if self.state().is_closed {
            Err(NetworkError::Closed)
        } else {
            Ok(())
        }
    }

    fn push(&self, push: impl FnOnce(&mut State)) -> Result<(), NetworkError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(NetworkError::Closed);
        }
        push(&mut state);
        self.is_dirty.store(true, Ordering::Release);
        drop(state);
        self.wakers.wake_stream();
        Ok(())
    }
}

/// For the controller.
impl Mailbox {
    pub(crate) fn new(config: &NetworkConfig, wakers: Arc<Wakers>) -> Self {
        let mut state = State::default();
        state.set_bounds(config);
        Self {
            wakers,
            is_dirty: AtomicBool::new(false),
            is_close_wanted: AtomicBool::new(false),
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            state: Mutex::new(state),
        }
    }

    /// What is there beyond a bound that was lowered stays until it is taken.
    pub(crate) fn set_bounds(&self, config: &NetworkConfig) {
        self.state().set_bounds(config);
    }

    /// A connection is handed over. What was reported of its address before goes before what is reported from now on.
    pub(crate) fn open(&self, id: ConnectionId, ip: IpAddr, is_outgoing: bool) {
        let mut state = self.state();
        if let Some(earlier) = state.absent.remove(ip) {
            state.connected.entry(ip, Vec::new).extend(earlier);
        }
        state.open.insert(id, ip, is_outgoing);
    }

    /// A connection is over, and its lease revoked. (One that ended the connection itself is spent: no task holds it.)
    pub(crate) fn end(&self, id: ConnectionId, why: Revocation) {
        let lease = self.state().open.remove(id);
        if let Some(lease) = lease {
            lease.revoke(why);
        }
    }

    /// The connection of which a report by address speaks.
    pub(crate) fn connection(&self, ip: IpAddr) -> Option<ConnectionId> {
        self.state().open.of(ip)
    }

    /// See [`OpenConnections::lease`].
    pub(crate) fn lease(&self, ip: IpAddr) -> Option<(ConnectionId, bool, Arc<LeaseState>)> {
        self.state().open.lease(ip)
    }

    /// All reports about connections and of leases, and those about so many absent addresses, in the order in which they
    /// count; and how many others were found to change nothing. `None` if there is nothing to take, not even of lists
    /// and questions. To be followed by [`Self::has_more`].
    pub(crate) fn take(&self, max_absent: usize) -> Option<(Vec<QueuedReports>, u64)> {
        // Most polls find nothing, and a load costs less than a swap.
        if !self.is_dirty.load(Ordering::Relaxed) || !self.is_dirty.swap(false, Ordering::Acquire) {
            return None;
        }
        let mut state = self.state();
        Some((state.take(max_absent), std::mem::take(&mut state.stale)))
    }

    /// Everything that was reported of one address.
    pub(crate) fn take_of(&self, ip: IpAddr) -> Vec<QueuedReports> {
        if !self.is_dirty.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.state().take_of(ip)
    }

    pub(crate) fn take_listed(&self, at_most: usize) -> Vec<Listed> {
        let listed = &mut self.state().listed;
        let count = listed.len().min(at_most);
        listed.drain(..count).collect()
    }

    pub(crate) fn next_question(&self) -> Option<Box<dyn Question>> {
        self.state().questions.pop_front()
    }

    /// Whether anything is left for the next poll.
    pub(crate) fn has_more(&self) -> bool {
        let state = self.state();
        let has_more = state.absent.len() > 0 || !state.listed.is_empty() || !state.questions.is_empty();
        if has_more {
            self.is_dirty.store(true, Ordering::Release);
        }
        has_more
    }

    pub(crate) fn is_close_wanted(&self) -> bool {
        self.is_close_wanted.load(Ordering::Acquire)
    }

    /// The controller has closed, well or not; one that is dropped before has not.
    pub(crate) fn on_ended(&self, result: impl Fn() -> ClosingResult) {
        let waiting = self.state().ending.end(result().is_ok());
        for task in waiting {
            // It may have stopped waiting.
            let _ = task.send(result());
        }
    }

    /// From now on nothing is taken in; what was is still there.
    pub(crate) fn seal(&self) {
        self.state().is_closed = true;
    }

    /// Nothing is taken in and nothing is there any more; every connection is over, and no question is answered. Only
    /// tasks that wait for the end of the controller still do.
    pub(crate) fn close(&self) {
        let ended = self.state().close();
        // Without the lock: this wakes tasks, which may come back here.
        ended
            .open
            .into_leases()
            .for_each(|lease| lease.revoke(Revocation::Closed));
    }

    #[cfg(test)]
    pub(crate) fn open_connections(&self) -> usize {
        self.state().open.len()
    }

    /// How many addresses and leases with reports, listed addresses and questions are kept.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        let state = self.state();
        let reports = state.connected.len() + state.absent.len() + state.leases.len();
        reports + state.listed.len() + state.questions.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set_bounds(&mut self, config: &NetworkConfig) {
        let caps = [
            config.max_idle_peers,
            config.max_banned_peers,
            config.target_outgoing_connections,
            config.max_simultaneous_outgoing_connection_attempts,
            config.max_incoming_connections,
        ];
        self.max_absent = caps.into_iter().fold(0, usize::saturating_add);
        self.max_listed = config.max_idle_peers;
    }

    /// Answers with what was there.
    fn close(&mut self) -> Self {
        let closed = Self {
            is_closed: true,
            ending: std::mem::take(&mut self.ending),
            ..Self::default()
        };
        std::mem::replace(self, closed)
    }

    fn report(&mut self, ip: IpAddr, report: Report) {
        let connection = self.open.of(ip);
        let queue = if connection.is_some() {
            &mut self.connected
        } else if self.make_room(ip, report) {
            &mut self.absent
        } else {
            self.stale += 1;
            return;
        };
        let tagged = queue.entry(ip, Vec::new);
        if tagged.last().is_none_or(|last| last.connection != connection) {
            tagged.push(QueuedReports::new(ip, connection, false));
        }
        let is_new = tagged.last_mut().is_some_and(|last| last.reports.add(report));
        self.stale += u64::from(!is_new);
    }

    /// Whether a report about an absent address can be taken in. What concerns a ban, or a reserved peer, pushes out the
    /// oldest.
    fn make_room(&mut self, ip: IpAddr, report: Report) -> bool {
        if self.absent.len() < self.max_absent || self.absent.contains(ip) {
            return true;
        }
        let goes_first = match report {
            Report::Banned | Report::BannedFor(_) | Report::Unbanned | Report::Reserve | Report::Release => true,
            Report::Alive | Report::Failed | Report::Closed | Report::Ourselves | Report::Dial => false,
        };
        if goes_first {
            self.stale += u64::from(self.absent.pop_first().is_some());
        }
        goes_first
    }

    fn lease(&mut self, ip: IpAddr, connection: ConnectionId) -> &mut MergedReports {
        let new = || QueuedReports::new(ip, Some(connection), true);
        &mut self.leases.entry(connection, new).reports
    }

    fn list(&mut self, teller: Option<IpAddr>, ips: Vec<IpAddr>) {
        let room = self.room_for_listed();
        let listed = ips.into_iter().map(|ip| Listed { ip, teller });
        self.listed.extend(listed.take(room));
    }

    fn room_for_listed(&self) -> usize {
        self.max_listed.saturating_sub(self.listed.len())
    }

    /// Questions without a waiting task are dropped first, so that there are about as many as there are waiting tasks.
    fn ask(&mut self, question: Box<dyn Question>) {
        if self.questions.len() == self.questions.capacity() {
            self.questions.retain(|question| !question.is_withdrawn());
        }
        self.questions.push_back(question);
    }

    fn take(&mut self, max_absent: usize) -> Vec<QueuedReports> {
        let mut reports = Vec::new();
        while let Some((_, tagged)) = self.connected.pop_first() {
            reports.extend(tagged);
        }
        while let Some((_, lease)) = self.leases.pop_first() {
            // What was reported of an address goes before what its leases report.
            reports.extend(self.take_of(lease.ip));
            reports.push(lease);
        }
        let absent = std::iter::from_fn(|| self.absent.pop_first());
        reports.extend(absent.take(max_absent).flat_map(|(_, tagged)| tagged));
        reports
    }

    fn take_of(&mut self, ip: IpAddr) -> Vec<QueuedReports> {
        let mut reports = self.connected.remove(ip).unwrap_or_default();
        reports.extend(self.absent.remove(ip).unwrap_or_default());
        reports
    }
}
