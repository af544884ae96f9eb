//! The connections of one listening socket, as sockets of the system that no runtime knows.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use tokio::net::TcpListener;

use super::TcpIncoming;

#[derive(Debug)]
pub(super) struct Accepting {
    listener: system::Listener,
    /// Where all of them come to, unless this listens at any address.
    local_addr: Option<SocketAddr>,
}

impl Accepting {
    pub(super) fn new(listener: TcpListener) -> io::Result<Self> {
        let bound = listener.local_addr()?;
        Ok(Self {
            listener: system::Listener::new(listener)?,
            local_addr: Some(bound).filter(|bound| !bound.ip().is_unspecified()),
        })
    }
}

impl Stream for Accepting {
    type Item = io::Result<TcpIncoming>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = ready!(self.listener.poll_accept(cx));
        let incoming = accepted.map(|(stream, remote)| TcpIncoming::new(stream, remote, self.local_addr));
        Poll::Ready(Some(incoming))
    }
}

/// Tokio's own listener has the runtime watch each connection from the start, which is a good part of what it takes to
/// refuse one. So only the listening socket is watched.
#[cfg(unix)]
mod system {
    use std::io;
    use std::net::{self, SocketAddr};
    use std::task::{Context, Poll, ready};

    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::net::TcpListener;

    #[derive(Debug)]
    pub(super) struct Listener(AsyncFd<net::TcpListener>);

    impl Listener {
        #[expect(
            deprecated,
            reason = "deprecated for what other types may do: this one keeps its descriptor as long as it lives"
        )]
        pub(super) fn new(listener: TcpListener) -> io::Result<Self> {
            let listener = listener.into_std()?;
            AsyncFd::with_interest(listener, Interest::READABLE).map(Self)
        }

        pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(net::TcpStream, SocketAddr)>> {
            loop {
                let mut ready = ready!(self.0.poll_read_ready(cx))?;
                // Otherwise there was nothing to accept after all.
                if let Ok(accepted) = ready.try_io(|listener| listener.get_ref().accept()) {
                    return Poll::Ready(accepted);
                }
            }
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;
    use std::net::{self, SocketAddr};
    use std::task::{Context, Poll, ready};

    use tokio::net::TcpListener;

    #[derive(Debug)]
    pub(super) struct Listener(TcpListener);

    impl Listener {
        pub(super) fn new(listener: TcpListener) -> io::Result<Self> {
            Ok(Self(listener))
        }

        pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(net::TcpStream, SocketAddr)>> {
            let (stream, remote) = ready!(self.0.poll_accept(cx))?;
            Poll::Ready(stream.into_std().map(|stream| (stream, remote)))
        }
    }
}
