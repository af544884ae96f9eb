//! [`node()`]: a ready node, for networks of nodes whose protocol does not matter.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, select};
use tokio::time::{Instant, sleep_until, timeout};

use super::host::Host;
use super::socket::Socket;
use super::transport::HostTransport;
use crate::config::NetworkConfig;
use crate::controller::{NetworkController, NetworkControllerEvent, NetworkError, PeerLease};
use crate::peer::PeerRecord;
use crate::stats::Stats;

/// How a [`node()`] behaves towards others.
///
/// ```
/// use std::time::Duration;
///
/// let mut options = network::sim::NodeOptions::default();
/// options.sample = 8; // tells of fewer peers at a time
/// options.close_incoming_after = Some(Duration::from_secs(5)); // as a seed does
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeOptions {
    /// How many addresses it tells another node of at a time, drawn at random. The default is 32.
    pub sample: usize,
    /// How often it does so on each connection, after once at once. The default is 30 s.
    pub exchange_interval: Duration,
    /// How long a handshake may take. The default is 5 s.
    pub handshake_timeout: Duration,
    /// How long a peer may say nothing before its connection counts as failed. The default is 90 s, three exchanges.
    pub silence_limit: Duration,
    /// Closes incoming connections this long after they came alive, as a seed node does so that its slots stay free.
    /// `None`, the default, keeps them.
    pub close_incoming_after: Option<Duration>,
    /// Tells others of random ones of these instead of its own peers: an attacker. `None` by default.
    pub tells: Option<Arc<[IpAddr]>>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            sample: 32,
            exchange_interval: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(5),
            silence_limit: Duration::from_secs(90),
            close_incoming_after: None,
            tells: None,
        }
    }
}

/// A running node. Clones are the same node; dropping them ends nothing, [`Host::kill`] does. [`Host`] has an example.
#[derive(Clone)]
pub struct Node {
    host: Host,
    options: Rc<NodeOptions>,
    controller: Rc<RefCell<NetworkController<HostTransport>>>,
}

/// What nodes say to each other.
enum Message {
    Hello,
    Peers(Vec<IpAddr>),
}

/// Starts a node on `host`: it shakes hands by one message in each direction, exchanges addresses, and ends a connection
/// that is revoked, or whose peer says nothing. [`Host`] has an example.
///
/// # Errors
///
/// As [`NetworkController::with_transport`].
pub async fn node(host: &Host, config: NetworkConfig, options: NodeOptions) -> Result<Node, NetworkError> {
    let controller = NetworkController::with_transport(config, host.transport()).await?;
    let node = Node {
        host: host.clone(),
        options: Rc::new(options),
        controller: Rc::new(RefCell::new(controller)),
    };
    host.spawn(node.clone().run());
    Ok(node)
}

impl Node {
    /// The machine that it runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its controller's statistics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.controller.borrow().stats()
    }

    /// What it knows, for [`NetworkConfig::initial_records`] of a node that is to have its memory.
    #[must_use]
    pub fn records(&self) -> Vec<PeerRecord> {
        self.controller.borrow().records().collect()
    }

    /// Does something with its controller.
    pub fn with<R>(&self, act: impl FnOnce(&mut NetworkController<HostTransport>) -> R) -> R {
        act(&mut self.controller.borrow_mut())
    }

    async fn run(self) {
        while let Some((socket, lease)) = self.next().await {
            self.host.spawn(self.clone().serve(socket, lease));
        }
    }

    async fn next(&self) -> Option<(Socket, PeerLease)> {
        loop {
            let event = poll_fn(|cx| self.controller.borrow_mut().poll_next_unpin(cx)).await?;
            let NetworkControllerEvent::CandidateConnection { ip, socket, .. } = event;
            if let Some(lease) = self.controller.borrow_mut().lease(ip) {
                return Some((socket, lease));
            }
        }
    }

    /// Holds a connection until it ends.
    async fn serve(self, mut socket: Socket, lease: PeerLease) {
        let is_over = {
            let revoked = pin!(lease.revoked());
            let talk = pin!(self.talk(&mut socket, &lease));
            match select(revoked, talk).await {
                Either::Left(_) => None,
                Either::Right((end, _)) => Some(end),
            }
        };
        match is_over {
            Some(Ok(())) => lease.closed(),
            Some(Err(_)) => lease.failed(),
            // The slot is free already.
            None => drop(lease),
        }
    }

    /// Talks until one end closes the connection.
    async fn talk(&self, socket: &mut Socket, lease: &PeerLease) -> io::Result<()> {
        timeout(self.options.handshake_timeout, shake_hands(socket)).await??;
        lease.alive();
        let start = Instant::now();
        let is_closed_at = |limit: Duration| (!lease.is_outgoing()).then_some(start + limit);
        let end = self.options.close_incoming_after.and_then(is_closed_at);
        let (mut next_exchange, mut silent) = (start, start + self.options.silence_limit);
        let mut timer = pin!(sleep_until(start));
        loop {
            let next = end.map_or(next_exchange, |end| end.min(next_exchange)).min(silent);
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            let received = match select(pin!(socket.receive()), timer.as_mut()).await {
                Either::Left((received, _)) => Some(received?),
                Either::Right(_) => None,
            };
            match received {
                Some(Some(Message::Peers(ips))) => {
                    lease.alive();
                    silent = Instant::now() + self.options.silence_limit;
                    lease.peer_list(ips);
                }
                Some(Some(Message::Hello)) => return Err(io::ErrorKind::InvalidData.into()),
                Some(None) => return Ok(()),
                None if next == silent => return Err(io::ErrorKind::TimedOut.into()),
                None if end == Some(next) => return Ok(()),
                None => {
                    let sample = self.sample();
                    socket.send(Message::Peers(sample)).await?;
                    next_exchange += self.options.exchange_interval;
                }
            }
        }
    }

    fn sample(&self) -> Vec<IpAddr> {
        let limit = self.options.sample;
        match &self.options.tells {
            Some(ips) => {
                let draws = limit.min(ips.len());
                let network = self.host.network();
                (0..draws).map(|_| ips[network.random_below(ips.len())]).collect()
            }
            None => self.controller.borrow_mut().sample_peer_ips(limit),
        }
    }
}

async fn shake_hands(socket: &mut Socket) -> io::Result<()> {
    socket.send(Message::Hello).await?;
    match socket.receive().await? {
        Some(Message::Hello) => Ok(()),
        Some(Message::Peers(_)) => Err(io::ErrorKind::InvalidData.into()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("host", &self.host).finish_non_exhaustive()
    }
}
