//! What carries connections: [`Transport`] and its parts, and [`TcpTransport`], the one for real use.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};

use futures::Stream;

pub use tcp::{TcpDial, TcpIncoming, TcpListening, TcpTransport};

#[cfg(any(test, feature = "sim"))]
pub mod memory;
mod tcp;

/// How connections are made and accepted. [`TcpTransport`] is the default; another one serves tests, simulations, or
/// networks that are not plain TCP.
pub trait Transport: Send + 'static {
    /// What the application receives in an event.
    type Socket: Send + 'static;
    /// An inbound connection before it is admitted or refused.
    type Incoming: Incoming<Socket = Self::Socket>;
    /// Inbound connections and accept errors. Its end ends accepting, not the controller.
    type Listener: Stream<Item = io::Result<Self::Incoming>> + Send + 'static;
    /// One attempt to connect. Dropping it calls the attempt off.
    type Dial: Future<Output = io::Result<Dialed<Self::Socket>>> + Send + 'static;

    /// Starts to listen at `at`; answers with the address that was bound, so with the real port where `at` had port 0.
    fn listen(&mut self, at: SocketAddr) -> impl Future<Output = io::Result<(Self::Listener, SocketAddr)>> + Send;

    /// Starts to connect to `to`, from the address `from` if there is one.
    ///
    /// The error of a dial says whose fault it is. The kinds `AddrInUse` (no local address or port is left to dial
    /// from) and `OutOfMemory`, and the system's "too many open files" and "no buffer space", pause all dials, and no
    /// failure is recorded; kinds such as `NetworkUnreachable` set this one peer aside; all others count as the peer's failure.
    fn dial(&mut self, from: Option<IpAddr>, to: SocketAddr) -> Self::Dial;
}

/// A dial that succeeded.
#[derive(Debug)]
pub struct Dialed<S> {
    /// The connected socket.
    pub socket: S,
    /// Our end of it: the dial as the other end sees it.
    pub local_addr: SocketAddr,
}

/// An inbound connection before the decision. Dropping it refuses it.
pub trait Incoming: Sized + Send + 'static {
    /// What it becomes when it is admitted.
    type Socket;

    /// The address of the peer that connected.
    fn remote_addr(&self) -> SocketAddr;

    /// Which of our addresses they connected to.
    ///
    /// # Errors
    ///
    /// The connection is dead already: its pending error, if it has one. It is dropped then, whatever peer it is from. A
    /// transport for which this takes time may leave it to [`check_alive`](Self::check_alive).
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Whether the connection is of any use still. Asked of one that is about to be admitted or held, so that refusing
    /// one need not take the time. By default it is what `local_addr` says; a transport around another one has to pass
    /// this on like the rest.
    ///
    /// # Errors
    ///
    /// The connection is dead: its pending error, if it has one. It is dropped then.
    fn check_alive(&self) -> io::Result<()> {
        self.local_addr().map(drop)
    }

    /// Takes the connection.
    ///
    /// # Errors
    ///
    /// It could not be taken; it is closed then. This counts as an accept error; no failure is recorded.
    fn admit(self) -> io::Result<Self::Socket>;

    /// Turns the connection away at once.
    fn refuse(self) {}
}
