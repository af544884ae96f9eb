//! A transport in memory: a script decides which peers connect and how dials come out, and sees what becomes of them.
//!
//! For tests of a node of one's own, without sockets and without waiting. [`memory`] makes the [`MemoryTransport`] that
//! goes into the controller and the [`MemoryHandle`] that scripts it. What the handle does takes effect at once and
//! wakes the task that waits for it; nothing here knows time, opens a socket or draws a random number. A
//! [`MemorySocket`] carries no bytes, so a test decides what the handshake over it would have led to.
//!
//! With Tokio's clock paused, and the controller on that clock by [`Clock::Tokio`](crate::Clock::Tokio), time passes as
//! soon as every task waits for it:
//!
//! ```
//! use std::io::ErrorKind;
//! use std::net::{IpAddr, SocketAddr};
//! use std::time::Duration;
//!
//! use futures::{FutureExt, StreamExt};
//! use network::sim::memory::{DialFate, DialRequest, IncomingFate, memory};
//! use network::{Clock, NetworkConfig, NetworkController, NetworkControllerEvent};
//! use tokio::time::Instant;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] // in a test: #[tokio::test(start_paused = true)]
//! # async fn main() -> Result<(), network::NetworkError> {
//! let peer = IpAddr::from([203, 0, 113, 7]);
//! let mut config = NetworkConfig::in_memory(4000);
//! config.clock = Clock::Tokio { start: "2026-01-01T00:00:00Z".parse().unwrap() };
//! config.initial_peers = vec![peer];
//! let (transport, script) = memory();
//! let mut net = NetworkController::with_transport(config, transport).await?;
//!
//! // The peer refuses two dials and takes the third, which comes after two
//! // pauses: 5 and 10 seconds, and a jitter.
//! let mut refusals = 2;
//! script.auto_dial(move |_: &DialRequest| {
//!     let is_refused = refusals > 0;
//!     refusals -= i32::from(is_refused);
//!     Some(if is_refused { Err(ErrorKind::ConnectionRefused.into()) } else { Ok(()) })
//! });
//! let begin = Instant::now();
//! let NetworkControllerEvent::CandidateConnection { ip, socket, is_outgoing } =
//!     net.wait_event().await?;
//! assert!(ip == peer && is_outgoing);
//! assert_eq!(script.fates(peer), [DialFate::Done; 3]);
//! assert!(begin.elapsed() > Duration::from_secs(10)); // and no real second has passed
//!
//! let probe = socket.probe();
//! drop(socket);
//! assert!(!probe.is_open());
//!
//! // Once it is banned, it is refused.
//! net.feedback_peer_banned(peer).await;
//! let remote = SocketAddr::new(peer, 50_000);
//! let incoming = script.incoming(remote, "198.51.100.1:4000".parse().unwrap());
//! assert!(net.next().now_or_never().is_none());
//! assert_eq!(incoming.fate(), IncomingFate::Refused);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};

use super::{Dialed, Incoming, Transport};

/// The port that is bound where port 0 is asked for. The [module](self) has an example.
pub const ANY_PORT: u16 = 40_000;

/// A transport and the handle that scripts it. The [module](self) has an example.
pub fn memory() -> (MemoryTransport, MemoryHandle) {
    let handle = MemoryHandle(Arc::default());
    (MemoryTransport(handle.clone()), handle)
}

/// Carries connections that exist only in memory, as its [`MemoryHandle`] says. The [module](self) has an example.
#[derive(Debug)]
pub struct MemoryTransport(MemoryHandle);

/// Scripts a [`MemoryTransport`] and looks at what the controller does with it. The [module](self) has an example.
#[derive(Clone)]
pub struct MemoryHandle(Arc<Mutex<Shared>>);

/// Answers a dial when it starts; `None` leaves it under way.
type AutoDial = Box<dyn FnMut(&DialRequest) -> Option<io::Result<()>> + Send>;

#[derive(Default)]
struct Shared {
    listen_error: Option<io::Error>,
    /// Where there is a listener that has not been told to end.
    accepts: Option<UnboundedSender<io::Result<MemoryIncoming>>>,
    /// Every dial that was ever started, in order.
    dials: Vec<DialState>,
    auto_dial: Option<AutoDial>,
    /// Every socket that was ever made; a socket's id is its index.
    sockets: Vec<Weak<()>>,
}

/// A dial as the controller asked for it. The [module](self) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialRequest {
    /// The local address that the dial is to leave from, if any.
    pub from: Option<IpAddr>,
    /// The address that is dialed.
    pub to: SocketAddr,
}

/// What has become of a dial. The [module](self) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFate {
    /// Neither answered nor called off.
    UnderWay,
    /// Answered, but the controller has not polled the answer yet.
    Answered,
    /// The controller has the answer.
    Done,
    /// Dropped before the answer was polled.
    CalledOff,
}

struct DialState {
    request: DialRequest,
    fate: DialFate,
    answer: Option<io::Result<Dialed<MemorySocket>>>,
    waker: Option<Waker>,
}

impl MemoryHandle {
    /// Lets the next `listen` fail.
    pub fn fail_listen(&self, error: io::Error) {
        self.lock().listen_error = Some(error);
    }

    /// Whether connections can come in: there is a listener, and it has not ended.
    pub fn is_listening(&self) -> bool {
        let shared = self.lock();
        shared.accepts.as_ref().is_some_and(|accepts| !accepts.is_closed())
    }

    /// A connection from `remote` to `local` comes in. It is dropped at once where there is no listener.
    pub fn incoming(&self, remote: SocketAddr, local: SocketAddr) -> IncomingProbe {
        let socket = self.socket(remote, local);
        let probe = IncomingProbe(Arc::new(Mutex::new(IncomingState {
            fate: IncomingFate::Pending,
            pending_error: None,
            addr_error: None,
            admit_error: None,
            socket: socket.probe(),
        })));
        let incoming = MemoryIncoming {
            socket,
            probe: probe.clone(),
        };
        self.push_accept(Ok(incoming));
        probe
    }

    /// Accepting fails once.
    pub fn accept_error(&self, error: io::Error) {
        self.push_accept(Err(error));
    }

    /// The listener ends: no connection comes in any more.
    pub fn end_accepting(&self) {
        let ended = self.lock().accepts.take();
        drop(ended);
    }

    /// How many connections and accept errors the controller has yet to poll.
    pub fn accepts_waiting(&self) -> usize {
        self.lock().accepts.as_ref().map_or(0, UnboundedSender::len)
    }

    /// The dials that are neither answered nor called off, in the order of their start.
    pub fn dials(&self) -> Vec<DialRequest> {
        let shared = self.lock();
        let under_way = shared.dials.iter().filter(|dial| dial.fate == DialFate::UnderWay);
        under_way.map(|dial| dial.request).collect()
    }

    /// How many dials were ever started.
    pub fn dials_started(&self) -> usize {
        self.lock().dials.len()
    }

    /// What has become of every dial that was ever started to `to`, in the order of their start.
    pub fn fates(&self, to: IpAddr) -> Vec<DialFate> {
        let shared = self.lock();
        let dials = shared.dials.iter().filter(|dial| dial.request.to.ip() == to);
        dials.map(|dial| dial.fate).collect()
    }

    /// The dial to `to` succeeds. It left from the address that it was to leave from or, where there is none, from
    /// 203.0.113.1 or 2001:db8::1. Panics if no dial to `to` is under way.
    #[track_caller]
    pub fn dial_ok(&self, to: IpAddr) -> SocketProbe {
        let (dial, request) = self.under_way(to);
        self.succeed(dial, request.to, request.usual_local_addr())
    }

    /// The dial to `to` succeeds. It left from `local`. Panics if no dial to `to` is under way.
    #[track_caller]
    pub fn dial_ok_from(&self, to: IpAddr, local: SocketAddr) -> SocketProbe {
        let (dial, request) = self.under_way(to);
        self.succeed(dial, request.to, local)
    }

    /// The dial to `to` fails. Panics if no dial to `to` is under way.
    #[track_caller]
    pub fn dial_err(&self, to: IpAddr, error: io::Error) {
        self.answer(self.under_way(to).0, Err(error));
    }

    /// Lets `auto` answer each dial from now on when it starts; one for which it returns `None` stays under way.
    pub fn auto_dial(&self, auto: impl FnMut(&DialRequest) -> Option<io::Result<()>> + Send + 'static) {
        self.lock().auto_dial = Some(Box::new(auto));
    }

    /// Leaves new dials under way again.
    pub fn stop_auto_dial(&self) {
        self.lock().auto_dial = None;
    }

    /// How many sockets are open, wherever they are held: handed over, waiting to be, or not yet accepted.
    pub fn live_sockets(&self) -> usize {
        let shared = self.lock();
        shared.sockets.iter().filter(|alive| alive.strong_count() > 0).count()
    }

    #[track_caller]
    fn under_way(&self, to: IpAddr) -> (usize, DialRequest) {
        let shared = self.lock();
        let mut dials = shared.dials.iter().enumerate();
        let dial = dials.find(|(_, dial)| dial.fate == DialFate::UnderWay && dial.request.to.ip() == to);
        let (number, dial) = dial.unwrap_or_else(|| panic!("no dial to {to} is under way"));
        (number, dial.request)
    }

    fn start_dial(&self, request: DialRequest) -> usize {
        let mut shared = self.lock();
        let dial = shared.dials.len();
        shared.dials.push(DialState {
            request,
            fate: DialFate::UnderWay,
            answer: None,
            waker: None,
        });
        let auto = shared.auto_dial.take();
        drop(shared);
        if let Some(mut auto) = auto {
            // Called without the lock, so that it may use a handle.
            let answer = auto(&request);
            self.lock().auto_dial.get_or_insert(auto);
            match answer {
                None => {}
                Some(Err(error)) => self.answer(dial, Err(error)),
                Some(Ok(())) => drop(self.succeed(dial, request.to, request.usual_local_addr())),
            }
        }
        dial
    }

    fn succeed(&self, dial: usize, remote: SocketAddr, local_addr: SocketAddr) -> SocketProbe {
        let socket = self.socket(remote, local_addr);
        let probe = socket.probe();
        self.answer(dial, Ok(Dialed { socket, local_addr }));
        probe
    }

    fn answer(&self, dial: usize, answer: io::Result<Dialed<MemorySocket>>) {
        let mut shared = self.lock();
        let dial = &mut shared.dials[dial];
        dial.fate = DialFate::Answered;
        dial.answer = Some(answer);
        let waker = dial.waker.take();
        drop(shared);
        // Without the lock, as is everything that wakes: the woken task may use a handle.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn push_accept(&self, accept: io::Result<MemoryIncoming>) {
        let accepts = self.lock().accepts.clone();
        if let Some(accepts) = accepts {
            drop(accepts.unbounded_send(accept));
        }
    }

    fn socket(&self, remote: SocketAddr, local: SocketAddr) -> MemorySocket {
        let mut shared = self.lock();
        let (id, alive) = (shared.sockets.len(), Arc::new(()));
        shared.sockets.push(Arc::downgrade(&alive));
        MemorySocket {
            id,
            remote,
            local,
            alive,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryHandle")
            .field("dials", &self.dials())
            .finish_non_exhaustive()
    }
}

impl DialRequest {
    fn usual_local_addr(&self) -> SocketAddr {
        let stand_in: IpAddr = match self.to {
            SocketAddr::V4(_) => Ipv4Addr::new(203, 0, 113, 1).into(),
            SocketAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        };
        SocketAddr::new(self.from.unwrap_or(stand_in), 50_000)
    }
}

impl Transport for MemoryTransport {
    type Socket = MemorySocket;
    type Incoming = MemoryIncoming;
    type Listener = UnboundedReceiver<io::Result<MemoryIncoming>>;
    type Dial = MemoryDial;

    async fn listen(&mut self, mut at: SocketAddr) -> io::Result<(Self::Listener, SocketAddr)> {
        let mut shared = self.0.lock();
        if let Some(error) = shared.listen_error.take() {
            return Err(error);
        }
        if at.port() == 0 {
            at.set_port(ANY_PORT);
        }
        let (sender, listener) = unbounded();
        shared.accepts = Some(sender);
        Ok((listener, at))
    }

    fn dial(&mut self, from: Option<IpAddr>, to: SocketAddr) -> MemoryDial {
        MemoryDial {
            number: self.0.start_dial(DialRequest { from, to }),
            handle: self.0.clone(),
        }
    }
}

/// A connected socket; all that it can do is to be dropped. The [module](self) has an example.
#[derive(Debug)]
pub struct MemorySocket {
    /// No other socket of the same transport has it.
    pub id: usize,
    /// The other end.
    pub remote: SocketAddr,
    /// The controller's end.
    pub local: SocketAddr,
    alive: Arc<()>,
}

impl MemorySocket {
    /// Looks at this socket from outside.
    pub fn probe(&self) -> SocketProbe {
        SocketProbe {
            id: self.id,
            alive: Arc::downgrade(&self.alive),
        }
    }
}

/// Looks at a [`MemorySocket`] from outside, without keeping it open. The [module](self) has an example.
#[derive(Clone, Debug)]
pub struct SocketProbe {
    /// That of the socket.
    pub id: usize,
    alive: Weak<()>,
}

impl SocketProbe {
    /// Whether the socket has yet to be dropped.
    pub fn is_open(&self) -> bool {
        self.alive.strong_count() > 0
    }
}

/// What has become of an inbound connection. The [module](self) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncomingFate {
    /// Not decided yet.
    Pending,
    /// Handed over, or about to be.
    Admitted,
    /// To be admitted, but that failed.
    AdmitFailed,
    /// Refused.
    Refused,
    /// Dropped, which refuses it as well.
    Dropped,
}

/// Looks at an inbound connection from outside, and lets it fail. The [module](self) has an example.
#[derive(Clone, Debug)]
pub struct IncomingProbe(Arc<Mutex<IncomingState>>);

#[derive(Debug)]
struct IncomingState {
    fate: IncomingFate,
    pending_error: Option<ErrorKind>,
    addr_error: Option<ErrorKind>,
    admit_error: Option<io::Error>,
    socket: SocketProbe,
}

impl IncomingProbe {
    /// What has become of it.
    pub fn fate(&self) -> IncomingFate {
        let state = self.lock();
        match state.fate {
            IncomingFate::Pending if !state.socket.is_open() => IncomingFate::Dropped,
            fate => fate,
        }
    }

    /// Whether it was turned away, by `refuse` or by being dropped.
    pub fn is_refused(&self) -> bool {
        matches!(self.fate(), IncomingFate::Refused | IncomingFate::Dropped)
    }

    /// Whether it was admitted and its socket is open still.
    pub fn is_open(&self) -> bool {
        let state = self.lock();
        state.fate == IncomingFate::Admitted && state.socket.is_open()
    }

    /// The other end is gone: `error` is the socket's pending error from now on, which only `check_alive` looks at.
    pub fn kill(&self, error: ErrorKind) {
        self.lock().pending_error = Some(error);
    }

    /// Lets `local_addr` fail.
    pub fn lose_addr(&self, error: ErrorKind) {
        self.lock().addr_error = Some(error);
    }

    /// Lets `admit` fail by a fault of this host.
    pub fn fail_admit(&self, error: io::Error) {
        self.lock().admit_error = Some(error);
    }

    fn lock(&self) -> MutexGuard<'_, IncomingState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An inbound connection of a [`MemoryTransport`], before the decision. The [module](self) has an example.
#[derive(Debug)]
pub struct MemoryIncoming {
    socket: MemorySocket,
    probe: IncomingProbe,
}

impl Incoming for MemoryIncoming {
    type Socket = MemorySocket;

    fn remote_addr(&self) -> SocketAddr {
        self.socket.remote
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let error = self.probe.lock().addr_error;
        error.map_or(Ok(self.socket.local), |error| Err(error.into()))
    }

    fn check_alive(&self) -> io::Result<()> {
        let error = self.probe.lock().pending_error;
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    fn admit(self) -> io::Result<MemorySocket> {
        let mut state = self.probe.lock();
        if let Some(error) = state.admit_error.take() {
            state.fate = IncomingFate::AdmitFailed;
            return Err(error);
        }
        state.fate = IncomingFate::Admitted;
        drop(state);
        Ok(self.socket)
    }

    fn refuse(self) {
        self.probe.lock().fate = IncomingFate::Refused;
    }
}

/// A dial of a [`MemoryTransport`]. The [module](self) has an example.
#[derive(Debug)]
pub struct MemoryDial {
    number: usize,
    handle: MemoryHandle,
}

impl Future for MemoryDial {
    type Output = io::Result<Dialed<MemorySocket>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut shared = self.handle.lock();
        let dial = &mut shared.dials[self.number];
        assert_ne!(dial.fate, DialFate::Done, "polled after it was ready");
        match dial.answer.take() {
            Some(answer) => {
                dial.fate = DialFate::Done;
                Poll::Ready(answer)
            }
            None => {
                dial.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for MemoryDial {
    fn drop(&mut self) {
        let mut shared = self.handle.lock();
        let dial = &mut shared.dials[self.number];
        if dial.fate != DialFate::Done {
            dial.fate = DialFate::CalledOff;
        }
        let left = (dial.answer.take(), dial.waker.take());
        drop(shared);
        // A waker may be the last that holds its task, and so another dial.
        drop(left);
    }
}
