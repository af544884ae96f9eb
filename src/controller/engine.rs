//! The polled future: the listener, the connector pool, the dump interval and one timer, composed around the table.
//!
//! One poll does, in this order: what was reported, what is overdue, the dials that are due, the dump, and then events:
//! outcomes of dials, parked sockets whose wait is over, accepts. Local work comes before remote work, so that a slot
//! that was freed is free before a connection needs it, and dials come before accepts, so that a flood of connections
//! does not starve what we asked for ourselves. Each part has a budget per poll; when one is spent the task wakes
//! itself. It returns `Pending` only after a pass in which every part did.
//!
//! Nothing here spawns. The table decides, the parts wait, and this file carries decisions to parts.

use std::collections::HashMap;
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
use crate::connector_pool::{ConnectorPool, Outcome};
use crate::controller::clock::RunningClock;
use crate::controller::dumping::Dumping;
use crate::controller::feedback::FeedbackSink;
use crate::controller::lease::PeerLease;
use crate::controller::mailbox::Mailbox;
use crate::controller::wakers::Wakers;
use crate::controller::{NetworkControllerEvent, NetworkError};
use crate::fault::DialFault;
use crate::listener::Listener;
use crate::peer::{ConnectionId, ParkedId};
use crate::peer_file::OpenFile;
use crate::peer_table::{Now, PeerTable, Reached, Verdict};
use crate::stats::Stats;
use crate::transport::{Dialed, Incoming, Transport};

/// How many passes over all parts one poll may make.
const PASSES_PER_POLL: usize = 16;
/// How many dial outcomes without an event, and how many refusals, one pass may see.
const OUTCOMES_PER_PASS: usize = 32;

#[pin_project(PinnedDrop)]
pub(crate) struct Engine<T: Transport> {
    pub(super) transport: T,
    pub(super) table: PeerTable,
    /// `None` once closed.
    #[pin]
    pub(super) listener: Option<Listener<T::Listener>>,
    pub(super) dials: ConnectorPool<T::Dial>,
    pub(super) parked: HashMap<ParkedId, T::Incoming>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) wakers: Arc<Wakers>,
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
        table.load(clock.now(), file.records, &config.initial_peers);
        Self {
            transport,
            table,
            listener: Some(Listener::new(listener)),
            dials: ConnectorPool::new(),
            parked: HashMap::new(),
            mailbox,
            wakers,
            clock,
            timer: None,
            timer_due: None,
            dumping: Dumping::new(&config, file.lock, file.obstacle),
            phase: Phase::Open,
            has_ended: false,
            local_addr,
            dial_from: (!config.listen_ip.is_unspecified()).then_some(config.listen_ip),
            peer_port: config.peer_port.unwrap_or(local_addr.port()),
        }
    }

    pub(crate) fn table(&self) -> &PeerTable {
        &self.table
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(crate) fn feedback_sink(&self) -> FeedbackSink {
        FeedbackSink::new(Arc::clone(&self.mailbox))
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.table.stats();
        if let Some(listener) = &self.listener {
            listener.errors().describe(&mut stats.counters);
        }
        self.dumping.describe(&mut stats);
        stats
    }

    pub(crate) fn lease(&self, ip: IpAddr) -> Option<PeerLease> {
        PeerLease::take(ip, &self.mailbox)
    }

    /// To be polled for the stream, with a waker that wakes the tasks of both halves.
    pub(crate) fn poll_event(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event<T>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if self.check_open().is_err() {
            return self.poll_end(cx).map(|()| None);
        }
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
        let mut progress = Poll::Pending;
        for poll in [Self::poll_dial, Self::poll_settled, Self::poll_accept] {
            for _ in 0..OUTCOMES_PER_PASS {
                match poll(self.as_mut(), cx) {
                    Poll::Ready(Some(event)) => return Poll::Ready(Some(event)),
                    Poll::Ready(None) => progress = Poll::Ready(None),
                    Poll::Pending => break,
                }
            }
        }
        progress
    }

    fn poll_dial(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event<T>>> {
        let dials = Pin::new(self.as_mut().project().dials);
        let Some((id, outcome)) = ready!(dials.poll_next(cx)) else {
            return Poll::Pending;
        };
        let event = self.as_mut().on_dial_outcome(id, outcome);
        self.run_actions();
        Poll::Ready(event)
    }

    fn poll_settled(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Event<T>>> {
        let this = self.as_mut().project();
        let Some(id) = this.table.next_settled() else {
            return Poll::Pending;
        };
        let incoming = this.parked.remove(&id);
        Poll::Ready(incoming.and_then(|incoming| self.on_incoming(incoming)))
    }

    fn poll_accept(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event<T>>> {
        let listener = self.as_mut().project().listener.as_pin_mut();
        match listener.map(|listener| listener.poll_next(cx)) {
            Some(Poll::Ready(Some(incoming))) => Poll::Ready(self.on_incoming(incoming)),
            Some(Poll::Ready(None) | Poll::Pending) | None => Poll::Pending,
        }
    }

    fn on_dial_outcome(mut self: Pin<&mut Self>, id: ConnectionId, outcome: Outcome<T::Socket>) -> Option<Event<T>> {
        let this = self.as_mut().project();
        let now = this.clock.pass_time();
        match outcome {
            Ok(Ok(Dialed { socket, local_addr })) => match this.table.on_dialed(now, id, local_addr) {
                Reached::Peer(ip) => Some(self.hand_over(id, ip, socket, true)),
                Reached::Ourselves | Reached::Nothing => None,
            },
            Ok(Err(fault)) => {
                this.table.on_dial_failed(now, id, fault);
                None
            }
            Err(panic) => {
                this.table.on_dial_failed(now, id, DialFault::Peer);
                self.run_actions();
                resume_unwind(panic)
            }
        }
    }

    /// Decides on an inbound connection, new or no longer parked.
    fn on_incoming(mut self: Pin<&mut Self>, incoming: T::Incoming) -> Option<Event<T>> {
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
            Verdict::Admit => return self.admit(now, incoming),
        }
        None
    }

    fn admit(mut self: Pin<&mut Self>, now: Now, incoming: T::Incoming) -> Option<Event<T>> {
        let ip = incoming.remote_addr().ip().to_canonical();
        let this = self.as_mut().project();
        match incoming.admit() {
            Ok(socket) => {
                let id = this.table.on_admitted(now, ip);
                self.as_mut().run_actions();
                Some(self.hand_over(id, ip, socket, false))
            }
            Err(error) => {
                if let Some(listener) = this.listener.as_pin_mut() {
                    listener.on_admit_error(&error);
                }
                None
            }
        }
    }

    fn hand_over(&self, id: ConnectionId, ip: IpAddr, socket: T::Socket, is_outgoing: bool) -> Event<T> {
        self.mailbox.open(id, ip, is_outgoing);
        NetworkControllerEvent::CandidateConnection {
            ip,
            socket,
            is_outgoing,
        }
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
    }
}
