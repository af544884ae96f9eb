//! A transport in memory: a test scripts who connects, how dials come out and what fails, and sees what became of it.
//!
//! [`memory`] makes a [`MemoryTransport`], which goes into the controller, and the [`MemoryHandle`] that the test keeps.
//! Nothing here knows time, opens a socket or draws a random number; whatever the handle does wakes whoever waits for
//! it, once and at once.
//!
//! Used by the integration tests and, by `#[path]`, by the tests inside the crate, where `extern crate self as network`
//! gives it the same names.

#![allow(dead_code, reason = "no test needs all of it")]

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use network::{Dialed, Incoming, Transport};

/// The port that is bound where port 0 is asked for.
pub(crate) const ANY_PORT: u16 = 40_000;

/// A transport and the handle that scripts it.
pub(crate) fn memory() -> (MemoryTransport, MemoryHandle) {
    let handle = MemoryHandle { shared: Arc::default() };
    (MemoryTransport(handle.clone()), handle)
}

/// Implements [`Transport`]; see [`MemoryHandle`].
#[derive(Debug)]
pub(crate) struct MemoryTransport(MemoryHandle);

/// What a test holds of a [`MemoryTransport`].
#[derive(Clone)]
pub(crate) struct MemoryHandle {
    shared: Arc<Mutex<Shared>>,
}

/// Answers a dial at once; `None` leaves it under way.
type AutoDial = Box<dyn FnMut(&DialRequest) -> Option<io::Result<()>> + Send>;

#[derive(Default)]
struct Shared {
    listen_error: Option<io::Error>,
    bound: Option<SocketAddr>,
    is_listening: bool,
    accepts: VecDeque<Option<io::Result<MemoryIncoming>>>,
    accept_waker: Option<Waker>,
    dials: BTreeMap<u64, DialState>,
    dials_started: u64,
    auto_dial: Option<AutoDial>,
    sockets_made: u64,
    /// Its clones are the sockets that live.
    sockets: Arc<()>,
}

/// A dial as the transport was asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DialRequest {
    /// Counts from 0 in the order of the dials.
    pub(crate) number: u64,
    pub(crate) from: Option<IpAddr>,
    pub(crate) to: SocketAddr,
}

/// What has become of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialFate {
    /// Neither answered nor called off.
    UnderWay,
    /// Answered, and the answer waits to be polled.
    Answered,
    /// The answer was polled.
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
    /// Has the next `listen` fail.
    pub(crate) fn fail_listen(&self, error: io::Error) {
        self.lock().listen_error = Some(error);
    }

    /// The address that was bound.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        self.lock().bound
    }

    /// Whether the listener lives.
    pub(crate) fn is_listening(&self) -> bool {
        self.lock().is_listening
    }

    /// A connection from `remote` to `local` comes in.
    pub(crate) fn incoming(&self, remote: SocketAddr, local: SocketAddr) -> IncomingProbe {
        let probe = IncomingProbe::default();
        let socket = self.lock().socket(remote, local);
        self.push_accept(Some(Ok(MemoryIncoming {
            socket: Some(socket),
            remote,
            local,
            probe: probe.clone(),
        })));
        probe
    }

    /// Accepting fails once.
    pub(crate) fn accept_error(&self, error: io::Error) {
        self.push_accept(Some(Err(error)));
    }

    /// The listener ends.
    pub(crate) fn end_accepting(&self) {
        self.push_accept(None);
    }

    /// How many connections and accept errors wait to be polled.
    pub(crate) fn accepts_waiting(&self) -> usize {
        self.lock().accepts.len()
    }

    /// The dials that are neither answered nor called off, in the order of their start.
    pub(crate) fn dials(&self) -> Vec<DialRequest> {
        let shared = self.lock();
        let under_way = shared.dials.values().filter(|dial| dial.fate == DialFate::UnderWay);
        under_way.map(|dial| dial.request).collect()
    }

    /// How many dials were ever started.
    pub(crate) fn dials_started(&self) -> u64 {
        self.lock().dials_started
    }

    /// Every dial that was ever started to `to`, in the order of their start.
    pub(crate) fn fates(&self, to: IpAddr) -> Vec<DialFate> {
        let shared = self.lock();
        shared
            .dials
            .values()
            .filter(|dial| dial.request.to.ip() == to)
            .map(|dial| dial.fate)
            .collect()
    }

    /// The dial to `to` succeeds, from the address that it was to leave from or, where there is none, from one that no
    /// test uses otherwise.
    ///
    /// # Panics
    ///
    /// No dial to `to` is under way. So do the other two.
    #[track_caller]
    pub(crate) fn dial_ok(&self, to: IpAddr) -> SocketProbe {
        let request = self.under_way(to);
        self.dial_ok_from(to, usual_local_addr(&request))
    }

    /// The dial to `to` succeeds, and its socket has the local address `local`.
    #[track_caller]
    pub(crate) fn dial_ok_from(&self, to: IpAddr, local: SocketAddr) -> SocketProbe {
        let request = self.under_way(to);
        let socket = self.lock().socket(request.to, local);
        let probe = socket.probe();
        self.answer(
            request.number,
            Ok(Dialed {
                socket,
                local_addr: local,
            }),
        );
        probe
    }

    /// The dial to `to` fails.
    #[track_caller]
    pub(crate) fn dial_err(&self, to: IpAddr, error: io::Error) {
        self.answer(self.under_way(to).number, Err(error));
    }

    /// Has each dial from now on answered by `auto`, at once; those for which it returns `None` stay under way.
    pub(crate) fn auto_dial(&self, auto: impl FnMut(&DialRequest) -> Option<io::Result<()>> + Send + 'static) {
        self.lock().auto_dial = Some(Box::new(auto));
    }

    /// Leaves new dials under way again.
    pub(crate) fn stop_auto_dial(&self) {
        let auto = self.lock().auto_dial.take();
        drop(auto);
    }

    /// How many sockets live, whoever holds them: handed over, waiting to be, or not yet accepted.
    pub(crate) fn live_sockets(&self) -> usize {
        Arc::strong_count(&self.lock().sockets) - 1
    }

    #[track_caller]
    fn under_way(&self, to: IpAddr) -> DialRequest {
        let dial = self.dials().into_iter().find(|dial| dial.to.ip() == to);
        dial.unwrap_or_else(|| panic!("no dial to {to} is under way, but {:?}", self.dials()))
    }

    fn push_accept(&self, accept: Option<io::Result<MemoryIncoming>>) {
        let mut shared = self.lock();
        shared.accepts.push_back(accept);
        let waker = shared.accept_waker.take();
        drop(shared);
        wake(waker);
    }

    fn start_dial(&self, from: Option<IpAddr>, to: SocketAddr) -> u64 {
        let mut shared = self.lock();
        let request = DialRequest {
            number: shared.dials_started,
            from,
            to,
        };
        shared.dials_started += 1;
        let state = DialState {
            request,
            fate: DialFate::UnderWay,
            answer: None,
            waker: None,
        };
        shared.dials.insert(request.number, state);
        let auto = shared.auto_dial.take();
        drop(shared);
        if let Some(auto) = auto {
            self.answer_by(auto, request);
        }
        request.number
    }

    /// The closure is called without the lock, so that it may use a handle.
    fn answer_by(&self, mut auto: AutoDial, request: DialRequest) {
        let answer = auto(&request);
        self.lock().auto_dial.get_or_insert(auto);
        let local = usual_local_addr(&request);
        match answer {
            None => {}
            Some(Err(error)) => self.answer(request.number, Err(error)),
            Some(Ok(())) => {
                let socket = self.lock().socket(request.to, local);
                self.answer(
                    request.number,
                    Ok(Dialed {
                        socket,
                        local_addr: local,
                    }),
                );
            }
        }
    }

    fn answer(&self, number: u64, answer: io::Result<Dialed<MemorySocket>>) {
        let mut shared = self.lock();
        let dial = shared.dials.get_mut(&number).expect("dials are kept");
        dial.fate = DialFate::Answered;
        dial.answer = Some(answer);
        let waker = dial.waker.take();
        drop(shared);
        wake(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryHandle")
            .field("dials", &self.dials())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn socket(&mut self, remote: SocketAddr, local: SocketAddr) -> MemorySocket {
        let id = self.sockets_made;
        self.sockets_made += 1;
        MemorySocket {
            id,
            remote,
            local,
            alive: Arc::new(Alive {
                _counted: Arc::clone(&self.sockets),
            }),
        }
    }
}

fn usual_local_addr(dial: &DialRequest) -> SocketAddr {
    let stand_in = if dial.to.is_ipv4() {
        IpAddr::from([203, 0, 113, 1])
    } else {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])
    };
    SocketAddr::new(dial.from.unwrap_or(stand_in), 50_000)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Transport for MemoryTransport {
    type Socket = MemorySocket;
    type Incoming = MemoryIncoming;
    type Listener = MemoryListener;
    type Dial = MemoryDial;

    async fn listen(&mut self, at: SocketAddr) -> io::Result<(MemoryListener, SocketAddr)> {
        let mut shared = self.0.lock();
        if let Some(error) = shared.listen_error.take() {
            return Err(error);
        }
        let bound = SocketAddr::new(at.ip(), if at.port() == 0 { ANY_PORT } else { at.port() });
        shared.bound = Some(bound);
        shared.is_listening = true;
        Ok((MemoryListener(self.0.clone()), bound))
    }

    fn dial(&mut self, from: Option<IpAddr>, to: SocketAddr) -> MemoryDial {
        MemoryDial {
            number: self.0.start_dial(from, to),
            handle: self.0.clone(),
        }
    }
}

/// A connected socket; all that it can do is to be dropped.
#[derive(Debug)]
pub(crate) struct MemorySocket {
    /// Tells it from every other socket of its transport.
    pub(crate) id: u64,
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
    alive: Arc<Alive>,
}

/// There as long as a socket is; `_counted` is one of the clones by which the living ones are counted.
#[derive(Debug)]
struct Alive {
    _counted: Arc<()>,
}

impl MemorySocket {
    /// Sees from outside when it is dropped.
    pub(crate) fn probe(&self) -> SocketProbe {
        SocketProbe {
            id: self.id,
            alive: Arc::downgrade(&self.alive),
        }
    }
}

/// Looks at a [`MemorySocket`] from outside.
#[derive(Clone, Debug)]
pub(crate) struct SocketProbe {
    pub(crate) id: u64,
    alive: Weak<Alive>,
}

impl SocketProbe {
    /// Whether the socket lives.
    pub(crate) fn is_open(&self) -> bool {
        self.alive.strong_count() > 0
    }
}

/// The inbound connections of a [`MemoryTransport`].
#[derive(Debug)]
pub(crate) struct MemoryListener(MemoryHandle);

impl Stream for MemoryListener {
    type Item = io::Result<MemoryIncoming>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = self.0.lock();
        match shared.accepts.pop_front() {
            Some(accept) => Poll::Ready(accept),
            None => {
                shared.accept_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        shared.is_listening = false;
        let waiting = std::mem::take(&mut shared.accepts);
        drop(shared);
        drop(waiting);
    }
}

/// What has become of an inbound connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IncomingFate {
    /// Undecided.
    #[default]
    Pending,
    Admitted,
    /// To be admitted, but that failed.
    AdmitFailed,
    Refused,
    /// Dropped without a word, which refuses it as well.
    Dropped,
}

/// Looks at an inbound connection from outside, and meddles with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct IncomingProbe(Arc<Mutex<IncomingState>>);

#[derive(Debug, Default)]
struct IncomingState {
    fate: IncomingFate,
    pending_error: Option<ErrorKind>,
    addr_error: Option<ErrorKind>,
    admit_error: Option<io::Error>,
    socket: Option<SocketProbe>,
}

impl IncomingProbe {
    pub(crate) fn fate(&self) -> IncomingFate {
        self.lock().fate
    }

    /// Whether it has been turned away, by a word or without one.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.fate(), IncomingFate::Refused | IncomingFate::Dropped)
    }

    /// Whether it was admitted and its socket lives.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().socket.as_ref().is_some_and(SocketProbe::is_open)
    }

    /// The other end is gone: from now on this is the socket's pending error. Like a socket of TCP, it tells who asks
    /// for it, and nobody else.
    pub(crate) fn kill(&self, error: ErrorKind) {
        self.lock().pending_error = Some(error);
    }

    /// The socket does not even say any more where it came to.
    pub(crate) fn lose_addr(&self, error: ErrorKind) {
        self.lock().addr_error = Some(error);
    }

    /// Has `admit` fail by a fault of this host.
    pub(crate) fn fail_admit(&self, error: io::Error) {
        self.lock().admit_error = Some(error);
    }

    fn lock(&self) -> MutexGuard<'_, IncomingState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An inbound connection of a [`MemoryTransport`].
#[derive(Debug)]
pub(crate) struct MemoryIncoming {
    socket: Option<MemorySocket>,
    remote: SocketAddr,
    local: SocketAddr,
    probe: IncomingProbe,
}

impl Incoming for MemoryIncoming {
    type Socket = MemorySocket;

    fn remote_addr(&self) -> SocketAddr {
        self.remote
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let error = self.probe.lock().addr_error;
        error.map_or(Ok(self.local), |error| Err(error.into()))
    }

    fn check_alive(&self) -> io::Result<()> {
        let error = self.probe.lock().pending_error;
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    fn admit(mut self) -> io::Result<MemorySocket> {
        let socket = self.socket.take().expect("taken by `admit` alone");
        let mut state = self.probe.lock();
        if let Some(error) = state.admit_error.take() {
            state.fate = IncomingFate::AdmitFailed;
            return Err(error);
        }
        state.fate = IncomingFate::Admitted;
        state.socket = Some(socket.probe());
        drop(state);
        Ok(socket)
    }

    fn refuse(self) {
        self.probe.lock().fate = IncomingFate::Refused;
    }
}

impl Drop for MemoryIncoming {
    fn drop(&mut self) {
        let mut state = self.probe.lock();
        if state.fate == IncomingFate::Pending {
            state.fate = IncomingFate::Dropped;
        }
    }
}

/// A dial of a [`MemoryTransport`].
#[derive(Debug)]
pub(crate) struct MemoryDial {
    number: u64,
    handle: MemoryHandle,
}

impl Future for MemoryDial {
    type Output = io::Result<Dialed<MemorySocket>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut shared = self.handle.lock();
        let dial = shared.dials.get_mut(&self.number).expect("dials are kept");
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
        let dial = shared.dials.get_mut(&self.number).expect("dials are kept");
        if dial.fate != DialFate::Done {
            dial.fate = DialFate::CalledOff;
        }
        let left = (dial.answer.take(), dial.waker.take());
        drop(shared);
        drop(left);
    }
}
