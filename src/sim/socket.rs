//! [`Socket`]: one end of a connection in memory.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Chunk, EndId};
use super::network::Network;
use super::wire::Wire;

/// One end of a connection in memory: a stream of bytes or, with less work, of whole messages. A connection carries
/// the one or the other.
///
/// Dropping it closes the connection as a kernel would: by a FIN, or by a reset if something is left to be read.
///
/// The [module](super#a-node-of-ones-own) has an example with bytes.
#[derive(Debug)]
pub struct Socket(Ends);

/// Closes its end of a connection when it is dropped.
pub(super) struct Ends {
    network: Network,
    id: EndId,
    local: SocketAddr,
    remote: SocketAddr,
    resets: bool,
}

impl Ends {
    pub(super) fn new(network: Network, id: EndId) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let addr = |id| network.with(|wire| wire.connections.get(id).map_or(nowhere, |end| end.addr));
        let (local, remote) = (addr(id), addr(id.other()));
        Self {
            network,
            id,
            local,
            remote,
            resets: false,
        }
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(super) fn with<R>(&self, change: impl FnOnce(&mut Wire, EndId) -> R) -> R {
        self.network.with(|wire| change(wire, self.id))
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.network.with(|wire| wire.close(self.id, self.resets));
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.local, self.remote)
    }
}

impl Socket {
    pub(super) fn new(ends: Ends) -> Self {
        Self(ends)
    }

    /// This end's address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local
    }

    /// The other end's address.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.remote
    }

    /// Closes the connection by a reset, as linger 0 does.
    pub fn reset(mut self) {
        self.0.resets = true;
    }

    /// Sends a message whole. It counts as 1 KiB of the 64 that may be under way or unread; waits for room.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready sends nothing.
    ///
    /// # Errors
    ///
    /// The connection was reset, this end was shut down, or its host was killed.
    pub async fn send<M: Any + Send>(&mut self, message: M) -> io::Result<()> {
        poll_fn(|cx| self.0.with(|wire, id| wire.poll_room(id, cx.waker()))).await?;
        let chunk = Chunk::Message(Box::new(message));
        self.0.with(|wire, id| wire.send_chunk(id, chunk));
        Ok(())
    }

    /// Receives the next message; `None` once the other end has closed the connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// The connection was reset, its host was killed, or what comes is no `M` (`InvalidData`).
    pub async fn receive<M: Any + Send>(&mut self) -> io::Result<Option<M>> {
        let message = poll_fn(|cx| self.0.with(|wire, id| wire.poll_receive(id, cx.waker()))).await?;
        let Some(message) = message else { return Ok(None) };
        match message.downcast() {
            Ok(message) => Ok(Some(*message)),
            Err(_) => Err(io::Error::new(
                ErrorKind::InvalidData,
                "the other end sent a message of another type",
            )),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.with(|wire, id| wire.poll_read(id, cx.waker(), buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let room = ready!(self.0.with(|wire, id| wire.poll_room(id, cx.waker())))?;
        let len = room.min(buf.len());
        let chunk = Chunk::Bytes(buf[..len].to_vec());
        if len > 0 {
            self.0.with(|wire, id| wire.send_chunk(id, chunk));
        }
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.with(Wire::shut_down))
    }
}
