//! The controller over the in-memory transport, polled by hand on a paused clock. Every poll checks the table's
//! invariants, and every stimulus must wake the task before it is polled.

mod regressions;
mod streams;

use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tokio_test::task;

use super::*;
use crate::memory::{IncomingProbe, MemoryHandle, MemorySocket, MemoryTransport, memory};
use crate::peer::PeerStatus;

const PORT: u16 = 4000;

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn config() -> NetworkConfig {
    let mut config = NetworkConfig::in_memory(PORT);
    config.seed = Some(1);
    config
}

/// A controller that is polled by hand.
pub(super) struct Node {
    net: task::Spawn<NetworkController<MemoryTransport>>,
    pub(super) world: MemoryHandle,
    last_port: u16,
}

type Event = NetworkControllerEvent<MemorySocket>;

impl Node {
    pub(super) async fn new(config: NetworkConfig) -> Self {
        let (transport, world) = memory();
        let net = NetworkController::with_transport(config, transport).await.unwrap();
        Self {
            net: task::spawn(net),
            world,
            last_port: 30_000,
        }
    }

    /// A node that knows these peers, polled once.
    pub(super) async fn knowing(mut config: NetworkConfig, peers: &[&str]) -> Self {
        config.initial_peers = peers.iter().map(|peer| ip(peer)).collect();
        let mut node = Self::new(config).await;
        assert!(node.poll().is_pending());
        node
    }

    pub(super) fn poll(&mut self) -> Poll<Option<Event>> {
        let event = self.net.poll_next();
        self.net.engine.table().check();
        event
    }

    /// Polls after a stimulus that must have woken the task.
    pub(super) fn poll_woken(&mut self) -> Poll<Option<Event>> {
        assert!(self.net.is_woken(), "nothing has woken the task");
        self.poll()
    }

    /// The event that a stimulus has led to.
    #[track_caller]
    pub(super) fn event(&mut self) -> (IpAddr, MemorySocket, bool) {
        match self.poll_woken() {
            Poll::Ready(Some(NetworkControllerEvent::CandidateConnection {
                ip,
                socket,
                is_outgoing,
            })) => (ip, socket, is_outgoing),
            other => panic!("no event but {other:?}"),
        }
    }

    /// A stimulus that has woken the task and led to nothing for the application.
    #[track_caller]
    pub(super) fn no_event(&mut self) {
        let poll = self.poll_woken();
        assert!(poll.is_pending(), "{poll:?}");
    }

    pub(super) fn is_woken(&self) -> bool {
        self.net.is_woken()
    }

    pub(super) fn connects(&mut self, peer: &str) -> IncomingProbe {
        self.last_port += 1;
        self.world.incoming(
            SocketAddr::new(ip(peer), self.last_port),
            SocketAddr::new(ip("203.0.113.1"), PORT),
        )
    }

    pub(super) fn status(&self, peer: &str) -> Option<PeerStatus> {
        self.net.peer(ip(peer)).map(|peer| peer.status)
    }
}

impl Deref for Node {
    type Target = NetworkController<MemoryTransport>;

    fn deref(&self) -> &Self::Target {
        &self.net
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.net
    }
}

pub(super) async fn advance(time: Duration) {
    tokio::time::advance(time).await;
}
