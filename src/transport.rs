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
///
/// A transport around another one changes what it wants to change, and passes on the rest; `examples/socks5.rs` is a whole
/// one.
///
/// ```
/// use std::io;
/// use std::net::{IpAddr, SocketAddr};
///
/// use network::{NetworkConfig, NetworkController};
/// use network::{TcpTransport, Transport};
///
/// /// Plain TCP that says whom it dials.
/// struct Talkative(TcpTransport);
///
/// impl Transport for Talkative {
///     type Socket = <TcpTransport as Transport>::Socket;
///     type Incoming = <TcpTransport as Transport>::Incoming;
///     type Listener = <TcpTransport as Transport>::Listener;
///     type Dial = <TcpTransport as Transport>::Dial;
///
///     async fn listen(
///         &mut self,
///         at: SocketAddr,
///     ) -> io::Result<(Self::Listener, SocketAddr)> {
///         self.0.listen(at).await
///     }
///
///     fn dial(&mut self, from: Option<IpAddr>, to: SocketAddr) -> Self::Dial {
///         println!("dialing {to}");
///         self.0.dial(from, to)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), network::NetworkError> {
/// let config = NetworkConfig::in_memory(0);
/// let transport = Talkative(TcpTransport::new());
/// let net = NetworkController::with_transport(config, transport).await?;
/// # drop(net);
/// # Ok(())
/// # }
/// ```
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
///
/// ```
/// use network::{Dialed, TcpTransport, Transport};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let peer = listener.local_addr()?;
///
/// let dialed = TcpTransport::new().dial(None, peer).await?;
/// let Dialed { socket, local_addr } = dialed;
/// assert_eq!(socket.local_addr()?, local_addr);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Dialed<S> {
    /// The connected socket.
    pub socket: S,
    /// Our end of it: the dial as the other end sees it.
    pub local_addr: SocketAddr,
}

/// An inbound connection before the decision. Dropping it refuses it.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
///
/// use futures::StreamExt;
/// use network::{Incoming, TcpTransport, Transport};
/// use tokio::net::TcpStream;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
/// let (mut listener, bound) = TcpTransport::new().listen(at).await?;
/// let peer = TcpStream::connect(bound).await?;
///
/// let incoming = listener.next().await.expect("it does not end")?;
/// assert_eq!(incoming.remote_addr(), peer.local_addr()?);
/// let socket = incoming.admit()?; // or `incoming.refuse()`
/// assert_eq!(socket.peer_addr()?, peer.local_addr()?);
/// # Ok(())
/// # }
/// ```
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
