//! [`Wire`]: the state of a whole network, and what packets do when they arrive. Nothing here waits; the driver calls
//! [`Wire::deliver_due`] when it is time.

mod arrivals;
mod sockets;

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::agenda::Agenda;
use super::agreement::Agreement;
use super::connection::{Connections, End, EndId, Packet, Stage};
use super::dials::DialLog;
use super::host::Kill;
use super::trace::Trace;
use crate::peer_table::Random;

/// The first of the ports that dials leave from, and how many there are, as on Linux. They are drawn by lot, as RFC 6056
/// has it: two hosts that dial each other from equal ports take each other for themselves behind a router.
const FIRST_EPHEMERAL: u16 = 32_768;
const EPHEMERALS: u16 = 28_232;
/// How many inbound connections of a listener may wait to be accepted, unless [`Host::backlog`](super::Host::backlog)
/// says otherwise. As Tokio's listeners have it.
const BACKLOG: usize = 1024;
/// When a SYN is sent again that found a full backlog; doubled each time (RFC 6298).
const FIRST_RETRY: Duration = Duration::from_secs(1);

type Latency = Box<dyn FnMut(IpAddr, IpAddr) -> Duration + Send>;
type CanReach = Box<dyn Fn(IpAddr, IpAddr) -> bool + Send>;

pub(super) struct Wire {
    start: Instant,
    agenda: Agenda<Event>,
    /// The time that the driver waits for.
    armed: Option<Duration>,
    driver: Option<Waker>,
    pub(super) hosts: Vec<HostState>,
    by_ip: BTreeMap<IpAddr, usize>,
    pub(super) connections: Connections,
    latency: Latency,
    /// The share of dials that get no answer.
    dial_loss: f64,
    can_reach: Option<CanReach>,
    /// Packets that met a partition, in their order.
    held: Vec<Event>,
    pub(super) random: Random,
    trace: Trace,
    pub(super) dials: DialLog,
    pub(super) agreement: Agreement,
    /// To be woken once the lock is released: a woken task may use the network.
    pub(super) woken: Vec<Waker>,
    numbers: u64,
    failure: Option<Box<dyn Any + Send>>,
    failure_waker: Option<Waker>,
}

/// A machine with one address.
pub(super) struct HostState {
    pub(super) ip: IpAddr,
    /// A host that is down answers nothing.
    pub(super) is_up: bool,
    /// Rises when the host is killed: what ran on it before can do nothing any more.
    pub(super) incarnation: u32,
    pub(super) backlog: usize,
    pub(super) listeners: BTreeMap<u16, ListenerState>,
    pub(super) tasks: Vec<AbortHandle>,
}

pub(super) struct ListenerState {
    pub(super) number: u64,
    /// Connections whose handshake is not complete.
    half_open: usize,
    pub(super) queue: VecDeque<EndId>,
    pub(super) waker: Option<Waker>,
}

#[derive(Debug)]
enum Event {
    /// A packet arrives at an end.
    Arrival(EndId, Packet),
    /// See [`Agreement`].
    Check,
}

impl Wire {
    pub(super) fn new(random: Random, start: Instant) -> Self {
        Self {
            start,
            agenda: Agenda::new(),
            armed: None,
            driver: None,
            hosts: Vec::new(),
            by_ip: BTreeMap::new(),
            connections: Connections::default(),
            latency: usual_latency(random.clone()),
            dial_loss: 0.0,
            can_reach: None,
            held: Vec::new(),
            random,
            trace: Trace::new(),
            dials: DialLog::default(),
            agreement: Agreement::default(),
            woken: Vec::new(),
            numbers: 0,
            failure: None,
            failure_waker: None,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    pub(super) fn set_latency(&mut self, latency: Latency) {
        self.latency = latency;
    }

    pub(super) fn set_dial_loss(&mut self, share: f64) {
        self.dial_loss = share;
    }

    /// Keeps apart what `can_reach` says; `None` joins all. What was held before and can pass now is delivered.
    pub(super) fn set_reach(&mut self, can_reach: Option<CanReach>) {
        self.can_reach = can_reach;
        for event in std::mem::take(&mut self.held) {
            if let Event::Arrival(to, packet) = event {
                self.send(to.other(), packet);
            }
        }
    }

    pub(super) fn can_reach(&self, a: IpAddr, b: IpAddr) -> bool {
        self.can_reach.as_ref().is_none_or(|can_reach| can_reach(a, b))
    }

    /// The host with this address, made if there is none.
    pub(super) fn host(&mut self, ip: IpAddr) -> usize {
        let (hosts, new) = (&mut self.hosts, ip.to_canonical());
        *self.by_ip.entry(new).or_insert_with(|| {
            hosts.push(HostState::new(new));
            hosts.len() - 1
        })
    }

    /// Never the same twice.
    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn ephemeral_port(&mut self) -> u16 {
        let drawn = self.random.below(EPHEMERALS.into());
        FIRST_EPHEMERAL + u16::try_from(drawn).unwrap_or(0)
    }

    /// Starts a dial; answers with its end of the connection.
    pub(super) fn dial(&mut self, host: usize, from: Option<IpAddr>, to: SocketAddr) -> Result<EndId, ErrorKind> {
        let ip = self.hosts[host].ip;
        let now = self.now();
        self.dials.at(now).started += 1;
        if from.is_some_and(|from| !from.is_unspecified() && from.to_canonical() != ip) {
            self.dials.at(now).refused += 1;
            return Err(ErrorKind::AddrNotAvailable);
        }
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let known = self.by_ip.get(&to.ip()).copied();
        let local = SocketAddr::new(ip, self.ephemeral_port());
        let dialer = End::new(host, local, Stage::Dialing);
        let listener = End::new(known.unwrap_or(host), to, Stage::Unborn);
        let id = self.connections.open(dialer, listener);
        let is_lost = self.random.chance(self.dial_loss);
        if known.is_some() && !is_lost {
            self.send(id, Packet::Syn { pause: FIRST_RETRY });
        }
        Ok(id)
    }

    /// Sends a packet from this end to the other one.
    pub(super) fn send(&mut self, from: EndId, packet: Packet) {
        let now = self.now();
        let (Some(end), Some(other)) = (self.connections.get(from), self.connections.get(from.other())) else {
            return;
        };
        let latency = (self.latency)(end.addr.ip(), other.addr.ip());
        let at = end.last_arrival.max(now.saturating_add(latency));
        if let Some(end) = self.connections.get_mut(from) {
            end.last_arrival = at;
        }
        self.plan(at, Event::Arrival(from.other(), packet));
    }

    fn plan(&mut self, at: Duration, event: Event) {
        self.agenda.add(at, event);
        if self.armed.is_none_or(|armed| at < armed) {
            self.woken.extend(self.driver.take());
        }
    }

    /// Starts to look for hosts with two connections between them, unless that has begun.
    pub(super) fn plan_check(&mut self) {
        if self.agreement.start() {
            let at = self.now() + Agreement::PERIOD;
            self.plan(at, Event::Check);
        }
    }

    /// Lets everything arrive whose time has come; answers when to call again. The driver is woken if that changes.
    pub(super) fn deliver_due(&mut self, driver: &Waker) -> Option<Duration> {
        let now = self.now();
        while let Some(event) = self.agenda.pop_due(now) {
            self.happen(now, event);
        }
        self.armed = self.agenda.next_time();
        self.driver = Some(driver.clone());
        self.armed
    }

    fn happen(&mut self, now: Duration, event: Event) {
        match event {
            Event::Arrival(to, packet) => self.arrive(now, to, packet),
            Event::Check => {
                let at = now + Agreement::PERIOD;
                if self.agreement.check(now, &self.hosts, &self.connections) {
                    self.plan(at, Event::Check);
                }
            }
        }
    }

    /// Ends all that runs on a host. `Reset` tells the other ends of its connections, `Silent` takes it off the network.
    pub(super) fn kill(&mut self, host: usize, how: Kill) {
        let ends: Vec<_> = self.connections.iter().flat_map(|(id, _)| [id, id.other()]).collect();
        for id in ends {
            let Some(end) = self.connections.get_mut(id).filter(|end| end.host == host) else {
                continue;
            };
            let has_other = matches!(end.stage, Stage::HalfOpen | Stage::Ready | Stage::Held) && end.error.is_none();
            if end.stage != Stage::Unborn {
                end.stage = Stage::Closed;
                self.woken
                    .extend(end.reader.take().into_iter().chain(end.writer.take()));
            }
            if has_other && how == Kill::Reset {
                self.send(id, Packet::Rst);
            }
            self.connections.release(id);
        }
        let host = &mut self.hosts[host];
        host.listeners.clear();
        host.incarnation += 1;
        host.is_up = how == Kill::Reset;
    }

    pub(super) fn fail(&mut self, panic: Box<dyn Any + Send>) {
        self.failure.get_or_insert(panic);
        self.woken.extend(self.failure_waker.take());
    }

    /// The first panic of a task, once there is one.
    pub(super) fn failure(&mut self, waker: &Waker) -> Option<Box<dyn Any + Send>> {
        let failure = self.failure.take();
        if failure.is_none() {
            self.failure_waker = Some(waker.clone());
        }
        failure
    }
}

impl HostState {
    fn new(ip: IpAddr) -> Self {
        Self {
            ip,
            is_up: true,
            incarnation: 0,
            backlog: BACKLOG,
            listeners: BTreeMap::new(),
            tasks: Vec::new(),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("now", &self.now())
            .field("hosts", &self.hosts.len())
            .finish_non_exhaustive()
    }
}

/// From 5 to 145 ms for each pair of hosts, the same in both directions, drawn by a keyed hash: a planet. No time from
/// a host to itself.
fn usual_latency(random: Random) -> Latency {
    Box::new(move |a, b| {
        if a == b {
            return Duration::ZERO;
        }
        let sum = u64::from(random.tie(a)) + u64::from(random.tie(b));
        Duration::from_millis(5 + (sum % 0xFFFF_FFFB) * 141 / 0xFFFF_FFFB)
    })
}
