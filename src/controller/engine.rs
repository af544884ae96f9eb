//! The polled future: the listener, the connector pool, the dump interval and one timer, composed around the table.
//!
//! One poll does, in this order: what was reported, what is overdue, the dials that are due, the dump, and then events:
//! outcomes of dials, and parked sockets whose wait is over and accepts. Local work comes before remote work, so that a
//! slot that was freed is free before a connection needs it. Dials go first, but for the poll after one that returned a
//! dial, so that neither kind starves the other. Before a dial that has succeeded is handed over, what has come in is
//! looked at, so that a crossing that can be seen is settled before the application shakes hands. Each part has a budget
//! per poll; when one is spent the task wakes itself. It returns `Pending` only after a pass in which every part did.
//!
//! Nothing here spawns. The table decides, the parts wait, and this file carries decisions to parts.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use pin_project::{pin_project, pinned_drop};
use tokio::time::Sleep;

use crate::config::NetworkConfig;
use crate::connector_pool::ConnectorPool;
use crate::controller::changes::{Changes, Watchers};
use crate::controller::clock::RunningClock;
use crate::controller::dumping::Dumping;
use crate::controller::handle::NetworkHandle;
use crate::controller::lease::PeerLease;
use crate::controller::mailbox::Mailbox;
#[cfg(feature = "metrics")]
use crate::controller::recorder::Recorder;
use crate::controller::wakers::Wakers;
use crate::controller::{NetworkControllerEvent, NetworkError};
use crate::fault::{DialError, DialFault};
use crate::listener::Listener;
use crate::peer::{ConnectionId, ParkedId};
use crate::peer_file::{self, OpenFile};
use crate::peer_table::{DialState, PeerTable, Reached, Verdict};
use crate::stats::Stats;
use crate::transport::{Dialed, Incoming, Transport};

/// How many passes over all parts one poll may make.
const PASSES_PER_POLL: usize = 16;
/// How many dial outcomes without an event, and how many refusals, one pass may see.
const OUTCOMES_PER_PASS: usize = 32;
/// How many accepted connections may wait for their events while dials are handed over.
const MAX_ACCEPTED: usize = 32;

#[pin_project(PinnedDrop)]
pub(crate) struct Engine<T: Transport> {
    pub(super) transport: T,
    pub(super) table: PeerTable,
    /// `None` once closed.
    #[pin]
    pub(super) listener: Option<Listener<T::Listener>>,
    pub(super) dials: ConnectorPool<T::Dial>,
    /// The outcome of a dial, while what has come in is looked at. There between polls only if something panicked.
    pub(super) dialed: Option<(ConnectionId, Answer<T>)>,
    /// The event that this poll returns. There between polls only if something panicked.
    pub(super) event: Option<Event<T>>,
    /// Connections that were looked at for a dial, and are to be admitted when it is their turn.
    pub(super) accepted: VecDeque<T::Incoming>,
    /// The last event was a dial, so that accepts go first.
    pub(super) is_turn_of_accepts: bool,
    pub(super) parked: HashMap<ParkedId, T::Incoming>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) wakers: Arc<Wakers>,
    pub(super) watchers: Watchers,
    #[cfg(feature = "metrics")]
    pub(super) recorder: Recorder,
    pub(super) clock: RunningClock,
    /// For every deadline of the table.
    #[pin]
    pub(super) timer: Option<Sleep>,
    /// What the timer is set to; `None` while nothing has a deadline.
    pub(super) timer_due: Option<Duration>,
    pub(super) dumping: Dumping,
    pub(super) phase: Phase,
    /// The stream has yielded its end, or is to: for ever, even while a failed last dump is tried again.
    pub(super) has_ended: bool,
    pub(super) local_addr: SocketAddr,
    pub(super) dial_from: Option<IpAddr>,
    pub(super) peer_port: u16,
}

/// How far a controller is on its way to its end.
#[derive(Debug)]
pub(super) enum Phase {
    Open,
    /// Everything is ended but the last dump.
    Dumping,
    /// As in `Dumping`, but the last dump failed and may be tried again. The error is there until it was returned.
    Failed(Option<NetworkError>),
    Closed,
}

type Answer<T> = Result<Dialed<<T as Transport>::Socket>, DialError>;
type Event<T> = NetworkControllerEvent<<T as Transport>::Socket>;

impl<T: Transport> Engine<T> {
    pub(crate) fn new(
        config: NetworkConfig,
        transport: T,
        (listener, local_addr): (T::Listener, SocketAddr),
        seed: u64,
        file: OpenFile,
        wakers: Arc<Wakers>,
    ) -> Self {
        let clock = RunningClock::start(config.clock);
        let mailbox = Arc::new(Mailbox::new(&config, Arc::clone(&wakers)));
        let mut table = PeerTable::new(config.clone(), local_addr, seed, clock.now());
        let mut records = file.records;
        if !config.initial_records.is_empty() {
            records.extend_from_slice(&config.initial_records);
            peer_file::merge_duplicates(&mut records);
        }
        table.load(clock.now(), records, &config.initial_peers);
        let watchers = Watchers::new(&mut table);
        Self {
            transport,
            table,
            listener: Some(Listener::new(listener)),
            dials: ConnectorPool::new(),
            dialed: None,
            event: None,
            accepted: VecDeque::new(),
            is_turn_of_accepts: false,
            parked: HashMap::new(),
            mailbox,
            wakers,
            watchers,
            #[cfg(feature = "metrics")]
            recorder: Recorder::new(local_addr),
            clock,
            timer: None,
            timer_due: None,
            dumping: Dumping::new(&config, file.lock, file.obstacle),
            phase: Phase::Open,
            has_ended: false,
            local_addr,
            dial_from: Some(config.listen_ip.to_canonical()).filter(|ip| !ip.is_unspecified()),
            peer_port: config.peer_port.unwrap_or(local_addr.port()),
        }
    }

    pub(crate) fn table(&self) -> &PeerTable {
        &self.table
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(crate) fn handle(&self) -> NetworkHandle {
        NetworkHandle::new(Arc::clone(&self.mailbox))
    }

    /// A stream of what happens from now on; it has ended if the controller has.
    pub(crate) fn changes(mut self: Pin<&mut Self>, capacity: usize) -> Changes {
        // What has happened before is for the others.
        self.as_mut().tell_changes();
        let is_closed = self.check_open().is_err();
        let this = self.project();
        let changes = this.watchers.subscribe(capacity, this.table);
        if is_closed {
            this.watchers.end();
        }
        changes
    }

    /// At the end of each poll and call.
    pub(super) fn tell_changes(self: Pin<&mut Self>) {
        #[cfg(feature = "metrics")]
        let stats = self.stats();
        let this = self.project();
        #[cfg(feature = "metrics")]
        this.recorder.record(stats);
        this.watchers.tell(this.table, this.clock);
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.table.stats();
        if let Some(listener) = &self.listener {
            listener.errors().describe(&mut stats.counters);
        }
        self.dumping.describe(&mut stats);
        stats
    }

    pub(crate) fn dial_state(&self, ip: IpAddr) -> DialState {
        self.table.dial_state(self.clock.now(), ip)
    }

    pub(crate) fn lease(self: Pin<&mut Self>, ip: IpAddr) -> Option<PeerLease> {
        let this = self.project();
        let lease = PeerLease::take(ip, this.mailbox)?;
        let dial_at = this.table.next_dial_time();
        this.table.on_leased(lease.connection());
        // A rotation may have waited for a lease.
        if this.table.next_dial_time() != dial_at {
            this.wakers.wake_stream();
        }
        Some(lease)
    }

    /// To be polled for the stream, with a waker that wakes the tasks of both halves.
    pub(crate) fn poll_event(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event<T>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if self.mailbox.is_close_wanted() && self.check_open().is_ok() {
            self.as_mut().begin_or_retry();
        }
        if self.check_open().is_err() {
            return self.poll_end(cx).map(|()| None);
        }
        let event = self.as_mut().poll_open(cx);
        self.tell_changes();
        event
    }

    fn poll_open(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event<T>>> {
        // Left where a transport has panicked.
        self.as_mut().run_actions();
        self.as_mut().apply_reports(cx);
        for _ in 0..PASSES_PER_POLL {
            self.as_mut().project().clock.begin_pass();
            let housekeeping = self.as_mut().poll_housekeeping(cx);
            match self.as_mut().poll_connections(cx) {
                Poll::Ready(Some(event)) => return Poll::Ready(Some(event)),
                Poll::Pending if housekeeping.is_pending() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// `Ready(None)` is progress without an event.
    fn poll_connections(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event<T>>> {
        let progress = self.as_mut().poll_parts(cx);
        let this = self.project();
        let Some(event) = this.event.take() else {
            return progress.map(|()| None);
        };
        let NetworkControllerEvent::CandidateConnection { is_outgoing, .. } = event;
        *this.is_turn_of_accepts = is_outgoing;
        Poll::Ready(Some(event))
    }

    /// Goes on until there is an event.
    fn poll_parts(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut progress = Poll::Pending;
        let mut polls = [Self::poll_dial, Self::poll_settled, Self::poll_accept];
        if self.is_turn_of_accepts {
            polls.rotate_left(1);
        }
        for poll in polls {
            for _ in 0..OUTCOMES_PER_PASS {
                if self.event.is_some() {
                    return Poll::Ready(());
                }
                match poll(self.as_mut(), cx) {
                    Poll::Ready(()) => progress = Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
        }
        progress
    }

    fn poll_dial(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.dialed.is_none() {
            let this = self.as_mut().project();
            match ready!(Pin::new(this.dials).poll_next(cx)) {
                Some((id, Ok(answer))) => {
                    let has_succeeded = answer.is_ok();
                    *this.dialed = Some((id, answer));
                    if has_succeeded {
                        self.as_mut().settle_accepts(cx);
                    }
                    self.as_mut().drop_dead_rival(id);
                }
                Some((id, Err(panic))) => self.as_mut().on_dial_panicked(id, panic),
                None => return Poll::Pending,
            }
        }
        match self.as_mut().project().dialed.take() {
            Some((id, Ok(dialed))) => self.on_dialed(id, dialed),
            Some((id, Err(error))) => self.on_dial_failed(id, error),
            None => {}
        }
        Poll::Ready(())
    }

    /// Before a dial that has succeeded is handed over: what has come in is refused, parked, or waits for its turn to be
    /// admitted.
    fn settle_accepts(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        while self.accepted.len() < MAX_ACCEPTED
            && let Poll::Ready(incoming) = self.as_mut().poll_listener(cx)
        {
            self.as_mut().project().accepted.push_back(incoming);
        }
        for _ in 0..self.accepted.len() {
            let incoming = self.as_mut().project().accepted.pop_front();
            if let Some(incoming) = incoming.and_then(|incoming| self.as_mut().judge(incoming)) {
                self.as_mut().project().accepted.push_back(incoming);
            }
        }
    }

    fn poll_settled(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        let Some(id) = this.table.next_settled() else {
            return Poll::Pending;
        };
        if let Some(incoming) = this.parked.remove(&id) {
            self.on_incoming(incoming);
        }
        Poll::Ready(())
    }

    fn poll_accept(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let incoming = match self.as_mut().project().accepted.pop_front() {
            Some(incoming) => incoming,
            None => ready!(self.as_mut().poll_listener(cx)),
        };
        self.on_incoming(incoming);
        Poll::Ready(())
    }

    fn poll_listener(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Incoming> {
        let listener = self.project().listener.as_pin_mut();
        match listener.map(|listener| listener.poll_next(cx)) {
            Some(Poll::Ready(Some(incoming))) => Poll::Ready(incoming),
            Some(Poll::Ready(None) | Poll::Pending) | None => Poll::Pending,
        }
    }

    fn on_dialed(mut self: Pin<&mut Self>, id: ConnectionId, dialed: Dialed<T::Socket>) {
        let this = self.as_mut().project();
        let now = this.clock.pass_time();
        match this.table.on_dialed(now, id, dialed.local_addr) {
            Reached::Peer(ip) => self.as_mut().hand_over(id, ip, dialed.socket, true),
            Reached::Ourselves | Reached::Nothing => {}
        }
        self.run_actions();
    }

    fn on_dial_failed(mut self: Pin<&mut Self>, id: ConnectionId, error: DialError) {
        let this = self.as_mut().project();
        this.table.on_dial_failed(this.clock.pass_time(), id, error);
        self.run_actions();
    }

    /// The parked socket that is to take the dial's slot does so only if it is alive.
    fn drop_dead_rival(self: Pin<&mut Self>, dial: ConnectionId) {
        let this = self.project();
        let rival = this.table.rival_of(dial);
        let is_dead = |id: &ParkedId| {
            this.parked
                .get(id)
                .is_some_and(|incoming| incoming.check_alive().is_err())
        };
        if let Some(rival) = rival.filter(is_dead) {
            this.parked.remove(&rival);
            this.table.on_parked_died(rival);
        }
    }

    /// Frees the dial's slot before the panic goes on.
    pub(super) fn on_dial_panicked(mut self: Pin<&mut Self>, id: ConnectionId, panic: Box<dyn Any + Send>) {
        self.as_mut().drop_dead_rival(id);
        self.on_dial_failed(id, DialFault::Peer.into());
        resume_unwind(panic)
    }

    /// Decides on an inbound connection, new or no longer parked.
    fn on_incoming(mut self: Pin<&mut Self>, incoming: T::Incoming) {
        if let Some(incoming) = self.as_mut().judge(incoming) {
            self.admit(incoming);
        }
    }

    /// Refuses or parks an inbound connection; answers with one that is to be admitted.
    fn judge(mut self: Pin<&mut Self>, incoming: T::Incoming) -> Option<T::Incoming> {
        let remote = incoming.remote_addr();
        self.as_mut().apply_queued(remote.ip().to_canonical());
        let this = self.as_mut().project();
        let now = this.clock.pass_time();
        let Ok(local) = incoming.local_addr() else {
            this.table.counters_mut().inbound_dead += 1;
            return None;
        };
        match this.table.on_inbound(now, remote, local.ip()) {
            Verdict::Refuse(_) => incoming.refuse(),
            // A refusal needs no liveness check.
            Verdict::Admit | Verdict::Park(_) if incoming.check_alive().is_err() => {
                this.table.counters_mut().inbound_dead += 1;
            }
            Verdict::Park(dial) => {
                let id = this.table.on_parked(now, remote, dial);
                this.parked.insert(id, incoming);
            }
            Verdict::Admit => return Some(incoming),
        }
        self.run_actions();
        None
    }

    fn admit(mut self: Pin<&mut Self>, incoming: T::Incoming) {
        let ip = incoming.remote_addr().ip().to_canonical();
        let this = self.as_mut().project();
        let now = this.clock.pass_time();
        match incoming.admit() {
            Ok(socket) => {
                let id = this.table.on_admitted(now, ip);
                self.as_mut().hand_over(id, ip, socket, false);
                self.run_actions();
            }
            Err(error) => {
                if let Some(listener) = this.listener.as_pin_mut() {
                    listener.on_admit_error(&error);
                }
            }
        }
    }

    fn hand_over(self: Pin<&mut Self>, id: ConnectionId, ip: IpAddr, socket: T::Socket, is_outgoing: bool) {
        let this = self.project();
        this.mailbox.open(id, ip, is_outgoing);
        *this.event = Some(NetworkControllerEvent::CandidateConnection {
            ip,
            socket,
            is_outgoing,
        });
    }

    pub(crate) fn check_open(&self) -> Result<(), NetworkError> {
        if matches!(self.phase, Phase::Open) {
            Ok(())
        } else {
            Err(NetworkError::Closed)
        }
    }
}

#[pinned_drop]
impl<T: Transport> PinnedDrop for Engine<T> {
    fn drop(self: Pin<&mut Self>) {
        self.mailbox.close();
        if !matches!(self.phase, Phase::Closed | Phase::Failed(_)) {
            self.mailbox.on_ended(|| Err(NetworkError::Closed));
        }
    }
}
