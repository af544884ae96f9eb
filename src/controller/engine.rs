//! The polled future: the listener, the connector pool, the dump interval and one timer, composed around the table.
//!
//! One poll does, in this order: what was reported, what is overdue, the dials that are due, the dump, and then events:
//! outcomes of dials, parked sockets whose wait is over, accepts. Local work comes before remote work, so that a slot
//! that was freed is free before somebody asks for it, and dials come before accepts, so that a flood of connections
//! does not starve what we asked for ourselves. Each part has a budget per poll; when one is spent the task wakes
//! itself. It returns `Pending` only after a pass in which every part did.
//!
//! Nothing here spawns. The table decides, the parts wait, and this file carries decisions to parts.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use pin_project::pin_project;
use tokio::time::Sleep;

use crate::config::NetworkConfig;
use crate::connector_pool::{ConnectorPool, DialError};
use crate::controller::clock::RunningClock;
use crate::controller::dumping::Dumping;
use crate::controller::feedback::{FeedbackSink, Mailbox};
use crate::controller::lease::{HandedOver, PeerLease};
use crate::controller::wakers::Wakers;
use crate::controller::{NetworkControllerEvent, NetworkError};
use crate::fault::DialFault;
use crate::listener::Listener;
use crate::peer::{ByConnection, ConnectionId, PeerRecord};
use crate::peer_table::{DialFailure, Now, PeerTable, Reached, Report, Verdict};
use crate::stats::Stats;
use crate::transport::{Dialed, Incoming, Transport};

/// How many passes over all parts one poll may make.
const PASSES_PER_POLL: usize = 16;
/// How many dial outcomes without an event, and how many refusals, one pass may see.
const OUTCOMES_PER_PASS: usize = 32;

#[pin_project]
pub(crate) struct Engine<T: Transport> {
    pub(super) transport: T,
    pub(super) table: PeerTable,
    /// `None` once closed.
    #[pin]
    pub(super) listener: Option<Listener<T::Listener>>,
    pub(super) dials: ConnectorPool<T::Dial>,
    pub(super) parked: ByConnection<T::Incoming>,
    pub(super) handed_over: HandedOver,
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
    /// So it is here, and the last dump failed; the error is there until somebody was told. To be tried again.
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
        records: Vec<PeerRecord>,
        wakers: Arc<Wakers>,
    ) -> Self {
        let clock = RunningClock::start(config.clock);
        let mailbox = Arc::new(Mailbox::new(&config, Arc::clone(&wakers)));
        let max_dials = config.max_simultaneous_outgoing_connection_attempts;
        let mut table = PeerTable::new(config.clone(), local_addr, seed, clock.now());
        table.load(clock.now(), records);
        table.on_peer_list(config.initial_peers.iter().copied());
        Self {
            transport,
            table,
            listener: Some(Listener::new(listener)),
            dials: ConnectorPool::new(max_dials),
            parked: ByConnection::default(),
            handed_over: HandedOver::new(Arc::clone(&mailbox)),
            mailbox,
            wakers,
            clock,
            timer: None,
            timer_due: None,
            dumping: Dumping::new(&config),
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
        self.handed_over.feedback_sink()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.table.stats();
        if let Some(listener) = &self.listener {
            listener.errors().describe(&mut stats.counters);
        }
        self.dumping.describe(&mut stats);
        stats
    }

    /// Feedback by address, applied at once.
    pub(crate) fn report(mut self: Pin<&mut Self>, ip: IpAddr, report: Report) {
        if self.check_open().is_err() {
            return;
        }
        let this = self.as_mut().project();
        this.table.on_report(this.clock.now(), ip, report);
        self.as_mut().run_actions();
        self.wakers.wake_stream();
    }

    pub(crate) fn merge_list(self: Pin<&mut Self>, ips: impl IntoIterator<Item = IpAddr>) {
        if self.check_open().is_ok() {
            let this = self.project();
            this.table.on_peer_list(ips);
            this.wakers.wake_stream();
        }
    }

    pub(crate) fn lease(self: Pin<&mut Self>, ip: IpAddr) -> Option<PeerLease> {
        let this = self.project();
        let (id, is_outgoing) = this.table.connection(ip)?;
        this.handed_over.lease(id, is_outgoing)
    }

    /// To be polled by whoever polls the stream, with a waker that wakes whoever polls either half.
    pub(crate) fn poll_event(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event<T>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if self.check_open().is_err() {
            return self.poll_end(cx).map(|()| None);
        }
        for _ in 0..PASSES_PER_POLL {
            self.as_mut().project().clock.begin_pass();
            let kept_house = self.as_mut().poll_housekeeping(cx);
            match self.as_mut().poll_connections(cx) {
                Poll::Ready(Some(event)) => return Poll::Ready(Some(event)),
                Poll::Pending if kept_house.is_pending() => return Poll::Pending,
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
        let this = self.as_mut().project();
        match Pin::new(this.dials).poll_next(cx) {
            Poll::Ready(Some((id, outcome))) => {
                let event = self.as_mut().on_dial_outcome(id, outcome);
                self.run_actions();
                Poll::Ready(event)
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
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
        let this = self.as_mut().project();
        match this.listener.as_pin_mut().map(|listener| listener.poll_next(cx)) {
            Some(Poll::Ready(Some(incoming))) => Poll::Ready(self.on_incoming(incoming)),
            Some(Poll::Ready(None) | Poll::Pending) | None => Poll::Pending,
        }
    }

    fn on_dial_outcome(
        mut self: Pin<&mut Self>,
        id: ConnectionId,
        outcome: Result<Dialed<T::Socket>, DialError>,
    ) -> Option<Event<T>> {
        let this = self.as_mut().project();
        let now = this.clock.pass_time();
        match outcome {
            Ok(Dialed { socket, local_addr }) => match this.table.on_dialed(now, id, local_addr) {
                Reached::Peer(ip) => {
                    this.handed_over.insert(id, ip);
                    Some(NetworkControllerEvent::CandidateConnection {
                        ip,
                        socket,
                        is_outgoing: true,
                    })
                }
                Reached::Ourselves | Reached::Nobody => None,
            },
            Err(error) => {
                this.table.on_dial_failed(now, id, failure(&error));
                None
            }
        }
    }

    /// Decides on an inbound connection, new or no longer parked.
    fn on_incoming(mut self: Pin<&mut Self>, incoming: T::Incoming) -> Option<Event<T>> {
        let this = self.as_mut().project();
        let now = this.clock.pass_time();
        let remote = incoming.remote_addr();
        let Ok(local) = incoming.local_addr() else {
            this.table.counters_mut().inbound_dead += 1;
            return None;
        };
        match this.table.on_inbound(now, remote, local.ip()) {
            Verdict::Refuse(_) => incoming.refuse(),
            // Whoever is turned away need not be asked.
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
                this.handed_over.insert(id, ip);
                self.run_actions();
                Some(NetworkControllerEvent::CandidateConnection {
                    ip,
                    socket,
                    is_outgoing: false,
                })
            }
            Err(error) => {
                if let Some(listener) = this.listener.as_pin_mut() {
                    listener.on_admit_error(&error);
                }
                None
            }
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

fn failure(error: &DialError) -> DialFailure {
    match error {
        DialError::TimedOut => DialFailure::TimedOut,
        // The system has limits of its own.
        DialError::Failed(error) if error.kind() == ErrorKind::TimedOut => DialFailure::TimedOut,
        DialError::Failed(_) => match error.fault() {
            DialFault::Host => DialFailure::Host,
            DialFault::Unroutable => DialFailure::Unroutable,
            DialFault::Peer => DialFailure::Peer,
        },
    }
}
