//! Plain TCP: [`TcpTransport`] and the listener, inbound connections and dials that it makes.
//!
//! Owns sockets until they are handed over, and promises three things of them. Nothing is ever read from or written
//! to one. One that is refused or called off closes with linger 0, so that the other end sees a reset at once. One
//! that is handed over is as plain as if the application had made it, but for `SO_REUSEADDR` (see [`TcpTransport`]).
//!
//! A flood of connections that are refused is what an attacker sends, so refusing is the cheap path: an inbound socket
//! becomes one of the runtime's only when it is admitted.

use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::Either;
use futures::stream::{self, Select, Stream, StreamExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use self::accepting::Accepting;
use super::{Dialed, Incoming, Transport};
use crate::fault::is_address_missing;

mod accepting;

/// How many connections may wait to be accepted; beyond that the system lets them try again. The system may allow fewer,
/// Linux by its `net.core.somaxconn`.
const BACKLOG: u32 = 1_024;

/// Plain TCP, the default [`Transport`].
///
/// Asked to listen at the unspecified IPv6 address `::`, it listens for both families: through one socket where the
/// system lets that serve both, through a second one at `0.0.0.0` and the same port where it does not, and for IPv4
/// alone where the host has no IPv6. Where a second socket is needed and another program holds that port for IPv4,
/// only IPv6 is served: the two cases cannot be told apart.
///
/// A dial that is to leave from a specific address takes a local port of its own, which one that leaves from any address
/// need not. When none is left, Linux lets dials of different peers share one; so on Linux such sockets have
/// `SO_REUSEADDR` set.
///
/// [`Transport`] and [`Dialed`] have examples with it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpTransport {
    /// Of the last dial that left from a specific address; 0 before the first.
    last_port: u16,
}

impl TcpTransport {
    /// The transport, before its first dial.
    #[must_use]
    pub const fn new() -> Self {
        Self { last_port: 0 }
    }

    /// A socket for a dial, bound if the dial is to leave from a specific address.
    fn dialing_socket(&mut self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpSocket> {
        let socket = new_socket(to)?;
        if let Some(from) = from {
            self.bind_to_some_port(&socket, from).map_err(no_local_address)?;
        }
        Ok(socket)
    }

    /// The kernel chooses a port that nothing else has; it cannot know yet that the remote addresses will differ. When
    /// none is left, Linux shares one among sockets that all reuse addresses, if it is asked for by its number.
    fn bind_to_some_port(&mut self, socket: &TcpSocket, from: IpAddr) -> io::Result<()> {
        if cfg!(target_os = "linux") {
            socket.set_reuseaddr(true)?;
        }
        match socket.bind((from, 0).into()) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => socket.bind((from, self.last_port).into()),
            Err(error) => Err(error),
            Ok(()) => {
                self.last_port = socket.local_addr()?.port();
                Ok(())
            }
        }
    }
}

impl Transport for TcpTransport {
    type Socket = TcpStream;
    type Incoming = TcpIncoming;
    type Listener = TcpListening;
    type Dial = TcpDial;

    async fn listen(&mut self, at: SocketAddr) -> io::Result<(TcpListening, SocketAddr)> {
        let listeners = bind(at)?;
        let bound = listeners.first.local_addr()?;
        Ok((TcpListening::new(listeners)?, bound))
    }

    fn dial(&mut self, from: Option<IpAddr>, to: SocketAddr) -> TcpDial {
        TcpDial(Box::pin(connect(self.dialing_socket(from, to), to)))
    }
}

/// The inbound connections and accept errors of a [`TcpTransport`], from the one or two sockets that it listens on.
/// It never ends. [`Incoming`] has an example.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct TcpListening(Either<Accepting, Select<Accepting, Accepting>>);

impl TcpListening {
    fn new(listeners: Listeners) -> io::Result<Self> {
        let first = Accepting::new(listeners.first)?;
        Ok(Self(match listeners.ipv4 {
            Some(ipv4) => Either::Right(stream::select(first, Accepting::new(ipv4)?)),
            None => Either::Left(first),
        }))
    }
}

impl Stream for TcpListening {
    type Item = io::Result<TcpIncoming>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

/// An inbound connection of a [`TcpTransport`]. Unless it is admitted, it is reset when it is dropped.
///
/// [`Incoming`] has an example.
#[derive(Debug)]
pub struct TcpIncoming {
    /// There until it is admitted. The runtime does not know it yet.
    stream: Option<net::TcpStream>,
    remote_addr: SocketAddr,
    /// Where it was connected to, if only one address listens.
    local_addr: Option<SocketAddr>,
}

impl TcpIncoming {
    fn new(stream: net::TcpStream, remote_addr: SocketAddr, local_addr: Option<SocketAddr>) -> Self {
        Self {
            stream: Some(stream),
            remote_addr: canonical(remote_addr),
            local_addr,
        }
    }

    fn stream(&self) -> io::Result<&net::TcpStream> {
        Ok(self.stream.as_ref().ok_or(ErrorKind::NotConnected)?)
    }
}

impl Incoming for TcpIncoming {
    type Socket = TcpStream;

    fn remote_addr(&self) -> SocketAddr {
        self.remote_addr
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let local_addr = self.local_addr.map_or_else(|| self.stream()?.local_addr(), Ok);
        local_addr.map(canonical)
    }

    fn check_alive(&self) -> io::Result<()> {
        let stream = self.stream()?;
        match stream.peer_addr() {
            Ok(_) => Ok(()),
            // The system tells the reason once, and for ever that the connection is gone.
            Err(gone) => Err(stream.take_error()?.unwrap_or(gone)),
        }
    }

    fn admit(mut self) -> io::Result<TcpStream> {
        let stream = self.stream.take().ok_or(ErrorKind::NotConnected)?;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }
}

impl Drop for TcpIncoming {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            // A socket that cannot be set to reset is dead already, or closes in the ordinary way.
            TcpSocket::from_std_stream(stream).set_zero_linger().ok();
        }
    }
}

/// A dial of a [`TcpTransport`]. Dropped before it is ready, it resets whatever connection has come of it.
///
/// [`Dialed`] has an example.
#[must_use = "futures do nothing unless polled"]
pub struct TcpDial(Pin<Box<dyn Future<Output = io::Result<Dialed<TcpStream>>> + Send + Sync>>);

impl Future for TcpDial {
    type Output = io::Result<Dialed<TcpStream>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for TcpDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpDial").finish_non_exhaustive()
    }
}

/// What it takes to listen at one address.
#[derive(Debug)]
struct Listeners {
    /// The socket at that address.
    first: TcpListener,
    /// The one beside it, where the first is for both families but serves IPv6 alone.
    ipv4: Option<TcpListener>,
}

fn bind(at: SocketAddr) -> io::Result<Listeners> {
    let first = listen_at(at);
    if at.ip() == Ipv6Addr::UNSPECIFIED {
        return bind_both_families(first, at.port());
    }
    Ok(Listeners {
        first: first?,
        ipv4: None,
    })
}

/// Listens for both families at `port`, given what binding `[::]:port` came to.
fn bind_both_families(ipv6: io::Result<TcpListener>, port: u16) -> io::Result<Listeners> {
    let first = match ipv6 {
        Err(error) if is_address_missing(&error) => {
            let first = listen_at((Ipv4Addr::UNSPECIFIED, port).into())?;
            return Ok(Listeners { first, ipv4: None });
        }
        ipv6 => ipv6?,
    };
    let port = first.local_addr()?.port();
    match listen_at((Ipv4Addr::UNSPECIFIED, port).into()) {
        Ok(ipv4) => Ok(Listeners {
            first,
            ipv4: Some(ipv4),
        }),
        // In use: by the first socket, which serves both then.
        Err(error) if error.kind() == ErrorKind::AddrInUse || is_address_missing(&error) => {
            Ok(Listeners { first, ipv4: None })
        }
        Err(error) => Err(error),
    }
}

fn listen_at(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(at)?;
    // A port whose last connections are waiting for their end can be listened on again, as everywhere but on Windows,
    // where this would let others listen on it too.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

fn new_socket(addr: SocketAddr) -> io::Result<TcpSocket> {
    if addr.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
}

async fn connect(socket: io::Result<TcpSocket>, to: SocketAddr) -> io::Result<Dialed<TcpStream>> {
    let socket = socket?;
    // Until `connect` is done the socket is out of reach, and the kernel may complete a connection any time before that
    // is seen: only what was set before makes sure that a dial which is dropped meanwhile resets it.
    socket.set_zero_linger()?;
    let socket = socket.connect(to).await?;
    // Where this fails, the other end has closed the connection already.
    established(socket).map_err(|error| io::Error::new(ErrorKind::ConnectionReset, error))
}

/// Tells a local address that is missing from the same error of `connect`, which is about the remote address.
fn no_local_address(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::AddrNotAvailable => io::Error::new(ErrorKind::AddrInUse, error),
        _ => error,
    }
}

/// Makes a plain socket of one that was to be reset when dropped.
fn established(socket: TcpStream) -> io::Result<Dialed<TcpStream>> {
    #[expect(
        deprecated,
        reason = "deprecated for the time that it blocks on drop; `None` blocks for none"
    )]
    socket.set_linger(None)?;
    let local_addr = canonical(socket.local_addr()?);
    Ok(Dialed { socket, local_addr })
}

/// An IPv4 address that came through an IPv6 socket, as the IPv4 address that it is.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests;
