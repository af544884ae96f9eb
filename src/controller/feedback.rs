//! What the application says of its peers: [`Feedback`], [`FeedbackSink`], and the mailbox through which sinks and
//! leases reach the controller.
//!
//! Nobody waits here: a sink that waited would deadlock the task that forwards the controller's own stream into it.
//! So reports are merged instead of queued one by one, per peer or per connection, and memory stays bounded: by the
//! caps for peers that are connected, by the number of peers the table may know for all others, and by `max_idle_peers`
//! for the addresses of peer lists.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::Sink;
use tokio::sync::oneshot;

use crate::config::NetworkConfig;
use crate::controller::NetworkError;
use crate::controller::wakers::Wakers;
use crate::peer::ConnectionId;
use crate::peer_table::Report;

/// What the application says of a peer. An address speaks of the peer's present connection.
///
/// Feedback is never an error and never a panic: what makes no sense for a peer's status is ignored, and counted as
/// [`feedback_stale`](crate::Counters::feedback_stale).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// The peer gave a sign of life: the handshake is done, or a message came. Updates `last_alive`.
    Alive(IpAddr),
    /// The handshake failed, or the connection ended unexpectedly. Updates `last_failure`; the peer becomes Idle.
    Failed(IpAddr),
    /// The peer misbehaved: it is neither dialed nor admitted any more. Its connection's slot is freed and its lease
    /// revoked; the socket is the application's to close. Updates `last_failure`.
    Banned(IpAddr),
    /// We have closed the connection cleanly. The peer becomes Idle, blamed for nothing.
    Closed(IpAddr),
    /// Peers that somebody told us of. Those that are not known are added, the others left as they are.
    PeerList(Vec<IpAddr>),
    /// The peer is banned no more.
    Unbanned(IpAddr),
}

/// Reports to a controller from elsewhere: from other tasks, from `Drop`, or from the stream that the controller itself
/// feeds, as in `net.map(..).forward(net.feedback_sink())`.
///
/// It never waits. What it is told is merged per peer (a sign of life, then one end of the connection, then the last of
/// ban and unban; a ban that was lifted again has ended the connection all the same), and peer lists are cut to
/// `max_idle_peers` addresses in all. Flushed means queued: the controller is woken and applies it in its next poll.
/// Closing or dropping a sink ends nothing.
#[derive(Clone)]
pub struct FeedbackSink {
    mailbox: Arc<Mailbox>,
}

impl FeedbackSink {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox }
    }

    /// Reports without waiting, for `Drop` and for tasks that do not await.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`] once the controller is closed or dropped.
    pub fn report(&self, feedback: Feedback) -> Result<(), NetworkError> {
        let mut state = self.mailbox.open_state()?;
        match feedback {
            Feedback::Alive(ip) => state.report(ip, Report::Alive),
            Feedback::Failed(ip) => state.report(ip, Report::Failed),
            Feedback::Banned(ip) => state.report(ip, Report::Banned),
            Feedback::Closed(ip) => state.report(ip, Report::Closed),
            Feedback::Unbanned(ip) => state.report(ip, Report::Unbanned),
            Feedback::PeerList(ips) => state.list(ips),
        }
        self.mailbox.announce(state);
        Ok(())
    }

    /// The best `limit` of the peers that [`NetworkController::get_good_peer_ips`] would name, as of the controller's
    /// next poll: it waits until the controller is polled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the question and nothing else.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`] once the controller is closed or dropped.
    ///
    /// [`NetworkController::get_good_peer_ips`]: crate::NetworkController::get_good_peer_ips
    pub async fn good_peer_ips(&self, limit: usize) -> Result<Vec<IpAddr>, NetworkError> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.ask(Question { limit, reply })?;
        answer.await.map_err(|_| NetworkError::Closed)
    }
}

impl fmt::Debug for FeedbackSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedbackSink")
            .field("is_closed", &self.mailbox.open_state().is_err())
            .finish_non_exhaustive()
    }
}

impl Sink<Feedback> for FeedbackSink {
    type Error = NetworkError;

    /// Always ready, until the controller is closed or dropped.
    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        Poll::Ready(self.mailbox.open_state().map(drop))
    }

    fn start_send(self: Pin<&mut Self>, feedback: Feedback) -> Result<(), NetworkError> {
        self.report(feedback)
    }

    /// Always ready: what was sent is queued.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        Poll::Ready(Ok(()))
    }

    /// Always ready: this ends nothing, not even this sink.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        Poll::Ready(Ok(()))
    }
}

/// How a lease says that its connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseReport {
    Of(Report),
    /// The lease was dropped unspent: a failure, unless the controller is being closed.
    Dropped,
}

/// What sinks and leases have said and the controller has not seen yet.
#[derive(Debug)]
pub(crate) struct Mailbox {
    wakers: Arc<Wakers>,
    /// There is something in the state; looked at without the lock.
    is_dirty: AtomicBool,
    /// There are sinks, or were. Set and asked for by the owner of the controller alone.
    has_sinks: AtomicBool,
    state: Mutex<MailboxState>,
}

/// How many reports there are, which go before any deadline, dial or accept. The config bounds them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Urgent {
    pub(crate) absent: usize,
    pub(crate) present: usize,
    pub(crate) leases: usize,
}

#[derive(Debug)]
struct MailboxState {
    is_closed: bool,
    /// Who is connected; not kept until the first sink is made.
    connected: Option<HashSet<IpAddr>>,
    /// Reports about peers that are connected, …
    present: Reports<IpAddr>,
    /// … about those that are not, …
    absent: Reports<IpAddr>,
    /// … and about connections.
    leases: Reports<(ConnectionId, IpAddr)>,
    listed: VecDeque<IpAddr>,
    questions: VecDeque<Question>,
    max_absent: usize,
    max_listed: usize,
    /// Reports that changed nothing, not yet counted by the table.
    stale: u64,
}

#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) limit: usize,
    pub(crate) reply: oneshot::Sender<Vec<IpAddr>>,
}

impl Mailbox {
    pub(crate) fn new(config: &NetworkConfig, wakers: Arc<Wakers>) -> Self {
        let caps = [
            config.max_idle_peers,
            config.max_banned_peers,
            config.target_outgoing_connections,
            config.max_simultaneous_outgoing_connection_attempts,
            config.max_incoming_connections,
        ];
        Self {
            wakers,
            is_dirty: AtomicBool::new(false),
            has_sinks: AtomicBool::new(false),
            state: Mutex::new(MailboxState {
                is_closed: false,
                connected: None,
                present: Reports::new(),
                absent: Reports::new(),
                leases: Reports::new(),
                listed: VecDeque::new(),
                questions: VecDeque::new(),
                max_absent: caps.into_iter().fold(0, usize::saturating_add),
                max_listed: config.max_idle_peers,
                stale: 0,
            }),
        }
    }

    /// How much is urgent, if there is anything to see at all. Whoever takes less than there is says so by
    /// [`Self::leave`].
    pub(crate) fn look(&self) -> Option<Urgent> {
        // Most polls find nothing; to look at what nobody writes to costs nothing.
        if !self.is_dirty.load(Ordering::Relaxed) || !self.is_dirty.swap(false, Ordering::Acquire) {
            return None;
        }
        let state = self.state();
        Some(Urgent {
            absent: state.absent.len(),
            present: state.present.len(),
            leases: state.leases.len(),
        })
    }

    /// There is more to see; to be looked at in the next poll.
    pub(crate) fn leave(&self) {
        self.is_dirty.store(true, Ordering::Release);
    }

    /// The next report by address about a peer that is connected.
    pub(crate) fn next_present(&self) -> Option<(IpAddr, Reported)> {
        self.state().present.pop()
    }

    pub(crate) fn next_lease(&self) -> Option<((ConnectionId, IpAddr), Reported)> {
        self.state().leases.pop()
    }

    /// The next report about a peer that was not connected when it was made.
    pub(crate) fn next_absent(&self) -> Option<(IpAddr, Reported)> {
        self.state().absent.pop()
    }

    pub(crate) fn next_listed(&self) -> Option<IpAddr> {
        self.state().listed.pop_front()
    }

    pub(crate) fn next_question(&self) -> Option<Question> {
        self.state().questions.pop_front()
    }

    /// How many reports were found to be stale before they reached the table.
    pub(crate) fn take_stale(&self) -> u64 {
        self.state().take_stale()
    }

    /// A sink is made while these are connected.
    pub(crate) fn route(&self, connected: impl Iterator<Item = IpAddr>) {
        let mut state = self.state();
        if state.connected.is_none() {
            state.connected = Some(connected.collect());
            self.has_sinks.store(true, Ordering::Relaxed);
        }
    }

    /// A connection with the peer is handed over: what was said before cannot have been about it.
    pub(crate) fn connect(&self, ip: IpAddr) {
        if self.has_sinks.load(Ordering::Relaxed) {
            let mut state = self.state();
            state.stale += state.present.forget_connection(ip);
            state.connected.get_or_insert_default().insert(ip);
        }
    }

    pub(crate) fn disconnect(&self, ip: IpAddr) {
        if self.has_sinks.load(Ordering::Relaxed)
            && let Some(connected) = &mut self.state().connected
        {
            connected.remove(&ip);
        }
    }

    pub(crate) fn report_lease(&self, connection: ConnectionId, ip: IpAddr, report: LeaseReport) {
        if let Ok(mut state) = self.open_state() {
            state.leases.add((connection, ip), report);
            self.announce(state);
        }
    }

    /// How many peers are connected, if there are sinks.
    #[cfg(test)]
    pub(crate) fn connected(&self) -> Option<usize> {
        self.state().connected.as_ref().map(HashSet::len)
    }

    /// How many reports, addresses and questions are kept.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        let state = self.state();
        let reports = state.present.len() + state.absent.len() + state.leases.len();
        reports + state.listed.len() + state.questions.len()
    }

    fn ask(&self, question: Question) -> Result<(), NetworkError> {
        let mut state = self.open_state()?;
        state.ask(question);
        self.announce(state);
        Ok(())
    }

    /// From now on nothing is taken in; what was is still there.
    pub(crate) fn seal(&self) {
        self.state().is_closed = true;
    }

    /// Nothing is taken in and nothing is there any more; who waits for an answer is told so.
    pub(crate) fn close(&self) {
        self.seal();
        let mut state = self.state();
        let questions = std::mem::take(&mut state.questions);
        state.listed = VecDeque::new();
        state.connected = None;
        (state.present, state.absent, state.leases) = (Reports::new(), Reports::new(), Reports::new());
        drop(state);
        // This wakes tasks, which may come back here.
        drop(questions);
    }

    fn state(&self) -> MutexGuard<'_, MailboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_state(&self) -> Result<MutexGuard<'_, MailboxState>, NetworkError> {
        let state = self.state();
        if state.is_closed {
            Err(NetworkError::Closed)
        } else {
            Ok(state)
        }
    }

    fn announce(&self, state: MutexGuard<'_, MailboxState>) {
        self.is_dirty.store(true, Ordering::Release);
        drop(state);
        self.wakers.wake_stream();
    }
}

impl MailboxState {
    fn take_stale(&mut self) -> u64 {
        let merged = self.present.take_stale() + self.absent.take_stale() + self.leases.take_stale();
        merged + std::mem::take(&mut self.stale)
    }

    fn report(&mut self, ip: IpAddr, report: Report) {
        let ip = ip.to_canonical();
        if self.connected.as_ref().is_some_and(|connected| connected.contains(&ip)) {
            self.present.add(ip, LeaseReport::Of(report));
            return;
        }
        let is_full = self.absent.len() >= self.max_absent && !self.absent.has(ip);
        let is_about_a_ban = matches!(report, Report::Banned | Report::Unbanned);
        if is_full && is_about_a_ban {
            self.stale += u64::from(self.absent.pop().is_some());
        }
        if is_full && !is_about_a_ban {
            self.stale += 1;
        } else {
            self.absent.add(ip, LeaseReport::Of(report));
        }
    }

    fn list(&mut self, ips: Vec<IpAddr>) {
        let room = self.max_listed.saturating_sub(self.listed.len());
        self.listed.extend(ips.into_iter().take(room));
    }

    /// Questions that nobody waits for any more make way, so that there are about as many as there are waiters.
    fn ask(&mut self, question: Question) {
        if self.questions.len() == self.questions.capacity() {
            self.questions.retain(|question| !question.reply.is_closed());
        }
        self.questions.push_back(question);
    }
}

/// All that was said of one peer or connection since the controller last looked, in the order in which it counts: a
/// sign of life, one end, then the last of ban and unban.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    is_alive: bool,
    end: Option<LeaseReport>,
    is_banned: bool,
    is_unbanned: bool,
}

impl Reported {
    pub(crate) fn iter(self) -> impl Iterator<Item = LeaseReport> {
        let alive = self.is_alive.then_some(LeaseReport::Of(Report::Alive));
        let banned = self.is_banned.then_some(LeaseReport::Of(Report::Banned));
        let unbanned = self.is_unbanned.then_some(LeaseReport::Of(Report::Unbanned));
        [alive, self.end, banned, unbanned].into_iter().flatten()
    }

    /// The same for a peer without a connection: there a ban that was lifted again has left nothing.
    pub(crate) fn without_connection(self) -> impl Iterator<Item = LeaseReport> {
        Self {
            is_banned: self.is_banned && !self.is_unbanned,
            ..self
        }
        .iter()
    }

    /// Answers whether the report adds anything: nothing is said of a connection after its end.
    fn add(&mut self, report: LeaseReport) -> bool {
        let is_over = self.end.is_some() || self.is_banned;
        match report {
            LeaseReport::Of(Report::Alive) if !is_over => self.is_alive = true,
            LeaseReport::Of(Report::Failed | Report::Closed) | LeaseReport::Dropped if !is_over => {
                self.end = Some(report);
            }
            LeaseReport::Of(Report::Alive | Report::Failed | Report::Closed) | LeaseReport::Dropped => return false,
            LeaseReport::Of(Report::Banned) => (self.is_banned, self.is_unbanned) = (true, false),
            LeaseReport::Of(Report::Unbanned) => self.is_unbanned = true,
        }
        true
    }
}

/// Merged reports, in the order in which their peers or connections were first spoken of.
#[derive(Debug)]
struct Reports<K> {
    queue: VecDeque<(K, Reported)>,
    /// How many have left the queue, so that places in it can be named once and for all.
    popped: usize,
    places: HashMap<K, usize>,
    stale: u64,
}

impl<K: Copy + Eq + Hash> Reports<K> {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            popped: 0,
            places: HashMap::new(),
            stale: 0,
        }
    }

    fn len(&self) -> usize {
        self.queue.len()
    }

    fn has(&self, key: K) -> bool {
        self.places.contains_key(&key)
    }

    /// Takes back what was said of a connection; answers how much that was.
    fn forget_connection(&mut self, key: K) -> u64 {
        let Some(place) = self.places.get(&key) else {
            return 0;
        };
        let (_, reported) = &mut self.queue[place.wrapping_sub(self.popped)];
        let alive = std::mem::take(&mut reported.is_alive);
        u64::from(alive) + u64::from(reported.end.take().is_some())
    }

    fn add(&mut self, key: K, report: LeaseReport) {
        let end = self.popped.wrapping_add(self.queue.len());
        let place = *self.places.entry(key).or_insert(end);
        if place == end {
            self.queue.push_back((key, Reported::default()));
        }
        let (_, reported) = &mut self.queue[place.wrapping_sub(self.popped)];
        self.stale += u64::from(!reported.add(report));
    }

    fn pop(&mut self) -> Option<(K, Reported)> {
        let (key, reported) = self.queue.pop_front()?;
        self.places.remove(&key);
        self.popped = self.popped.wrapping_add(1);
        Some((key, reported))
    }

    fn take_stale(&mut self) -> u64 {
        std::mem::take(&mut self.stale)
    }
}
