//! [`HostTransport`]: the connections of one host.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use super::network::Network;
use super::socket::{Ends, Socket};
use super::wire::Wire;
use crate::transport::{Dialed, Incoming, Transport};

/// Listens and dials from a [`Host`](super::Host). Of a host that was killed meanwhile no dial gets an outcome, and no
/// connection comes in. The [module](super#a-node-of-ones-own) has an example with it.
#[derive(Debug)]
pub struct HostTransport {
    network: Network,
    host: usize,
    incarnation: u32,
}

impl HostTransport {
    pub(super) fn new(network: Network, host: usize, incarnation: u32) -> Self {
        Self {
            network,
            host,
            incarnation,
        }
    }

    /// Does something that the host cannot do once it was killed.
    fn with<R>(&self, change: impl FnOnce(&mut Wire) -> R) -> Option<R> {
        let (host, incarnation) = (self.host, self.incarnation);
        let is_alive = move |wire: &Wire| wire.hosts[host].incarnation == incarnation && wire.hosts[host].is_up;
        self.network.with(|wire| is_alive(wire).then(|| change(wire)))
    }
}

impl Transport for HostTransport {
    type Socket = Socket;
    type Incoming = Inbound;
    type Listener = Accepting;
    type Dial = Dial;

    async fn listen(&mut self, at: SocketAddr) -> io::Result<(Accepting, SocketAddr)> {
        let host = self.host;
        let listening = self.with(|wire| wire.listen(host, at));
        let (bound, number) = listening.unwrap_or_else(|| Err(ErrorKind::NetworkDown.into()))?;
        let accepting = Accepting {
            network: self.network.clone(),
            host,
            port: bound.port(),
            number,
        };
        Ok((accepting, bound))
    }

    fn dial(&mut self, from: Option<IpAddr>, to: SocketAddr) -> Dial {
        let host = self.host;
        let state = match self.with(|wire| wire.dial(host, from, to)) {
            Some(Ok(id)) => DialState::UnderWay(Ends::new(self.network.clone(), id)),
            Some(Err(error)) => DialState::Failed(error),
            None => DialState::Over,
        };
        Dial(state)
    }
}

/// Inbound connections of a listener. Dropping it resets those that were not accepted.
///
/// The [module](super#a-node-of-ones-own) has an example with its transport.
#[derive(Debug)]
pub struct Accepting {
    network: Network,
    host: usize,
    port: u16,
    number: u64,
}

impl Stream for Accepting {
    type Item = io::Result<Inbound>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = self
            .network
            .with(|wire| wire.poll_accept(self.host, self.port, self.number, cx.waker()));
        accepted.map(|id| id.map(|id| Ok(Inbound(Ends::new(self.network.clone(), id)))))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.network
            .with(|wire| wire.end_listener(self.host, self.port, self.number));
    }
}

/// An inbound connection before the decision.
///
/// The [module](super#a-node-of-ones-own) has an example with its transport.
#[derive(Debug)]
pub struct Inbound(Ends);

impl Incoming for Inbound {
    type Socket = Socket;

    fn remote_addr(&self) -> SocketAddr {
        self.0.remote()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local())
    }

    fn check_alive(&self) -> io::Result<()> {
        self.0.with(|wire, id| wire.check(id).map(drop))
    }

    fn admit(self) -> io::Result<Socket> {
        self.check_alive()?;
        self.0.with(Wire::hold);
        Ok(Socket::new(self.0))
    }
}

/// One attempt to connect. Dropping it calls the attempt off.
///
/// The [module](super#a-node-of-ones-own) has an example with its transport.
#[derive(Debug)]
pub struct Dial(DialState);

#[derive(Debug)]
enum DialState {
    UnderWay(Ends),
    Failed(ErrorKind),
    /// Done, or started on a host that was killed.
    Over,
}

impl Future for Dial {
    type Output = io::Result<Dialed<Socket>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &self.0 {
            DialState::UnderWay(ends) => ends.with(|wire, id| wire.poll_dial(id, cx.waker())),
            DialState::Failed(error) => Poll::Ready(Err((*error).into())),
            DialState::Over => Poll::Pending,
        };
        let Poll::Ready(outcome) = outcome else {
            return Poll::Pending;
        };
        match std::mem::replace(&mut self.0, DialState::Over) {
            DialState::UnderWay(ends) => Poll::Ready(outcome.map(|local_addr| Dialed {
                socket: Socket::new(ends),
                local_addr,
            })),
            DialState::Failed(_) | DialState::Over => {
                Poll::Ready(Err(outcome.err().unwrap_or(ErrorKind::Other.into())))
            }
        }
    }
}
