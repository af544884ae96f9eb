//! The controller over the in-memory transport, polled by hand on a paused clock.
//!
//! Every poll checks the table's invariants and that the parts hold what the table says they hold. Every stimulus must
//! wake the task before it is polled, and once the task is no longer woken one more poll must find nothing to do.

mod caps;
mod closing;
mod crossing;
mod dials;
mod dumps;
mod errors;
mod exchanges;
mod fairness;
mod handles;
mod interleavings;
mod leases;
mod listening;
mod long_dumps;
mod mailbox;
mod ourselves;
mod panics;
mod random_runs;
mod reconfiguring;
#[cfg(feature = "metrics")]
mod recorder;
mod records;
mod reentrant_wakes;
mod regressions;
mod sinks;
mod splits;
mod stale_feedback;
mod streams;
#[cfg(feature = "tracing")]
mod traces;
mod transitions;
mod unroutable;
mod wakes;
mod watching;

use std::collections::VecDeque;
use std::io;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use tokio::task::coop::unconstrained;
use tokio_test::task;

use super::*;
use crate::config::Clock;
use crate::peer::{PeerStatus, Revocation};
use crate::stats::Counters;
use crate::tests::{ip, start};
use crate::transport::memory::{
    DialFate, IncomingFate, IncomingProbe, MemoryHandle, MemorySocket, MemoryTransport, memory,
};

const PORT: u16 = 4000;
/// The address by which others know the node; higher than [`LOW`], lower than [`HIGH`].
const US: &str = "203.0.113.1";
const LOW: &str = "60.1.0.1";
const HIGH: &str = "220.1.0.1";
/// A live outgoing connection with it is there beside what a test is about, where that must be no outage.
const WITNESS: &str = "61.9.0.1";
/// The most polls that a task may take to come to rest, where no test floods it.
const POLLS_TO_SETTLE: usize = 16;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn config() -> NetworkConfig {
    let mut config = NetworkConfig::in_memory(PORT);
    config.seed = Some(1);
    config.clock = Clock::Tokio { start: start() };
    config
}

/// A config by which no peer is dialed.
fn passive() -> NetworkConfig {
    NetworkConfig {
        target_outgoing_connections: 0,
        ..config()
    }
}

/// A config by which one outgoing connection is wanted.
fn wanting(target: usize) -> NetworkConfig {
    NetworkConfig {
        target_outgoing_connections: target,
        ..config()
    }
}

async fn advance(time: Duration) {
    tokio::time::advance(time).await;
}

type Event = NetworkControllerEvent<MemorySocket>;

/// What an event says.
#[derive(Debug)]
struct Candidate {
    ip: IpAddr,
    socket: MemorySocket,
    is_outgoing: bool,
}

impl From<Event> for Candidate {
    fn from(event: Event) -> Self {
        let NetworkControllerEvent::CandidateConnection {
            ip,
            socket,
            is_outgoing,
        } = event;
        Self {
            ip,
            socket,
            is_outgoing,
        }
    }
}

/// A controller that is polled by hand.
struct Node {
    net: task::Spawn<NetworkController<MemoryTransport>>,
    world: MemoryHandle,
    last_port: u16,
    /// Events that came while the task came to rest, not yet asked for.
    events: VecDeque<Candidate>,
}

impl Node {
    async fn new(config: NetworkConfig) -> Self {
        let (transport, world) = memory();
        let net = NetworkController::with_transport(config, transport).await.unwrap();
        Self {
            net: task::spawn(net),
            world,
            last_port: 30_000,
            events: VecDeque::new(),
        }
    }

    /// A node that knows these peers and has come to rest.
    async fn knowing(mut config: NetworkConfig, peers: &[&str]) -> Self {
        config.initial_peers = peers.iter().map(|peer| ip(peer)).collect();
        let mut node = Self::new(config).await;
        node.settle();
        assert!(node.events.is_empty());
        node
    }

    /// A node with a candidate that we dialed.
    async fn dialed(config: NetworkConfig, peer: &str) -> (Self, MemorySocket) {
        let mut node = Self::knowing(config, &[peer]).await;
        let socket = node.dial_ok(peer);
        (node, socket)
    }

    /// A node whose outage of the start is over: it is connected with [`WITNESS`].
    async fn beyond_outage(config: NetworkConfig) -> Self {
        let settled = config.retry_backoff + millis(1);
        let (mut node, _socket) = Self::with(WITNESS, Some(PeerStatus::OutAlive), config).await;
        advance(settled).await;
        node.no_event();
        node
    }

    /// A node with a dial of `peer` under way, beside the live connection with [`WITNESS`].
    async fn dialing_beyond_outage(config: NetworkConfig, peer: &str) -> Self {
        let mut node = Self::beyond_outage(config).await;
        node.list(&[peer]);
        assert_eq!(node.status(peer), Some(PeerStatus::OutConnecting));
        node
    }

    /// A node with a peer of this status; an absent one where there is none.
    async fn with(peer: &str, status: Option<PeerStatus>, config: NetworkConfig) -> (Self, Option<MemorySocket>) {
        match status {
            None => (Self::knowing(config, &[]).await, None),
            Some(PeerStatus::Idle) => {
                let mut node = Self::knowing(config, &[]).await;
                node.world
                    .auto_dial(|_| Some(Err(ErrorKind::NetworkUnreachable.into())));
                drop(node.feedback_peer_list([ip(peer)]));
                node.no_event();
                node.world.stop_auto_dial();
                (node, None)
            }
            Some(PeerStatus::OutConnecting) => (Self::knowing(config, &[peer]).await, None),
            Some(PeerStatus::OutHandshaking) => {
                let (node, socket) = Self::dialed(config, peer).await;
                (node, Some(socket))
            }
            Some(PeerStatus::OutAlive) => {
                let (mut node, socket) = Self::dialed(config, peer).await;
                node.alive(peer);
                (node, Some(socket))
            }
            Some(PeerStatus::InHandshaking) => {
                let mut node = Self::knowing(config, &[]).await;
                let socket = node.admits(peer);
                (node, Some(socket))
            }
            Some(PeerStatus::InAlive) => {
                let mut node = Self::knowing(config, &[]).await;
                let socket = node.admits(peer);
                node.alive(peer);
                (node, Some(socket))
            }
            Some(PeerStatus::Banned) => {
                let mut node = Self::knowing(config, &[]).await;
                node.ban(peer);
                (node, None)
            }
        }
    }

    /// One poll, with all that must hold after it.
    fn poll(&mut self) -> Poll<Option<Event>> {
        let poll = async { self.net.poll_next() };
        let event = unconstrained(poll).now_or_never().expect("there is no await in it");
        self.check();
        event
    }

    fn check(&self) {
        let engine = &self.net.engine;
        engine.table().check();
        if engine.check_open().is_ok() {
            let stats = self.stats();
            let connected = stats.peers.iter().filter(|(status, _)| status.is_connected());
            let connected: usize = connected.map(|(_, count)| count).sum();
            assert_eq!(engine.dials.len(), stats.peers.out_connecting);
            assert_eq!(
                engine.parked.len(),
                stats.incoming_attempts.used - stats.peers.in_handshaking
            );
            assert_eq!(engine.mailbox.open_connections(), connected);
        }
    }

    /// Polls until the task is no longer woken, as a runtime would. One poll more must find nothing to do.
    #[track_caller]
    fn settle(&mut self) {
        self.settle_within(POLLS_TO_SETTLE);
    }

    #[track_caller]
    fn settle_within(&mut self, polls: usize) {
        for _ in 0..polls {
            match self.poll() {
                Poll::Ready(Some(event)) => self.events.push_back(event.into()),
                Poll::Ready(None) => return,
                Poll::Pending if self.net.is_woken() => {}
                Poll::Pending => return self.check_rest(),
            }
        }
        panic!("the task keeps waking itself");
    }

    #[track_caller]
    fn check_rest(&mut self) {
        let (stats, dials) = (self.stats(), self.world.dials_started());
        assert!(self.poll().is_pending(), "an event that woke no task");
        assert_eq!(self.stats(), stats, "work that woke no task");
        assert_eq!(self.world.dials_started(), dials, "a dial that woke no task");
        assert!(!self.net.is_woken(), "a poll with nothing to do wakes its own task");
    }

    #[track_caller]
    fn settle_woken(&mut self) {
        assert!(self.net.is_woken(), "nothing has woken the task");
        self.settle();
    }

    /// The event that a stimulus has led to.
    #[track_caller]
    fn event(&mut self) -> Candidate {
        if self.events.is_empty() {
            self.settle_woken();
        }
        self.events.pop_front().expect("no event has come")
    }

    /// A stimulus that has woken the task and led to nothing for the application.
    #[track_caller]
    fn no_event(&mut self) {
        self.settle_woken();
        assert!(self.events.is_empty(), "{:?}", self.events);
    }

    /// Nothing has woken the task, and rightly so.
    #[track_caller]
    fn rests(&mut self) {
        assert!(!self.net.is_woken(), "woken for nothing");
        self.check_rest();
    }

    /// A connection of `peer` comes in. The task is woken and yet to be polled.
    #[track_caller]
    fn connects(&mut self, peer: &str) -> IncomingProbe {
        assert!(!self.net.is_woken(), "woken before the stimulus");
        self.last_port += 1;
        self.connects_from(SocketAddr::new(ip(peer), self.last_port), US)
    }

    fn connects_from(&mut self, remote: SocketAddr, local: &str) -> IncomingProbe {
        self.world.incoming(remote, SocketAddr::new(ip(local), PORT))
    }

    /// A connection of `peer` comes in and becomes a candidate.
    #[track_caller]
    fn admits(&mut self, peer: &str) -> MemorySocket {
        let probe = self.connects(peer);
        let candidate = self.event();
        assert_eq!(probe.fate(), IncomingFate::Admitted);
        assert_eq!((candidate.ip, candidate.is_outgoing), (ip(peer), false));
        candidate.socket
    }

    /// A connection of `peer` comes in and is refused.
    #[track_caller]
    fn refuses(&mut self, peer: &str) {
        let probe = self.connects(peer);
        self.no_event();
        assert_eq!(probe.fate(), IncomingFate::Refused);
    }

    /// A connection of `peer` comes in and is held.
    #[track_caller]
    fn parks(&mut self, peer: &str) -> IncomingProbe {
        let probe = self.connects(peer);
        self.no_event();
        assert_eq!(probe.fate(), IncomingFate::Pending);
        probe
    }

    /// The dial of `peer` succeeds and becomes a candidate.
    #[track_caller]
    fn dial_ok(&mut self, peer: &str) -> MemorySocket {
        assert!(!self.net.is_woken(), "woken before the stimulus");
        self.world.dial_ok(ip(peer));
        let candidate = self.event();
        assert_eq!((candidate.ip, candidate.is_outgoing), (ip(peer), true));
        candidate.socket
    }

    /// The dial of `peer` fails, and nothing comes of it for the application.
    #[track_caller]
    fn dial_err(&mut self, peer: &str, error: impl Into<io::Error>) {
        assert!(!self.net.is_woken(), "woken before the stimulus");
        self.world.dial_err(ip(peer), error.into());
        self.no_event();
    }

    #[track_caller]
    fn alive(&mut self, peer: &str) {
        drop(self.feedback_peer_alive(ip(peer)));
        self.no_event();
    }

    #[track_caller]
    fn fail(&mut self, peer: &str) {
        drop(self.feedback_peer_failed(ip(peer)));
        self.no_event();
    }

    #[track_caller]
    fn end(&mut self, peer: &str) {
        drop(self.feedback_peer_closed(ip(peer)));
        self.no_event();
    }

    #[track_caller]
    fn ban(&mut self, peer: &str) {
        drop(self.feedback_peer_banned(ip(peer)));
        self.no_event();
    }

    #[track_caller]
    fn unban(&mut self, peer: &str) {
        drop(self.feedback_peer_unbanned(ip(peer)));
        self.no_event();
    }

    #[track_caller]
    fn list(&mut self, peers: &[&str]) {
        drop(self.feedback_peer_list(peers.iter().map(|peer| ip(peer))));
        self.no_event();
    }

    /// The peer is left alone for `pause`, with its jitter, and then dialed.
    async fn is_dialed_after(&mut self, peer: &str, pause: Duration) {
        let earliest = pause * 3 / 4 - millis(2);
        advance(earliest).await;
        self.settle();
        assert_eq!(self.status(peer), Some(PeerStatus::Idle), "before {pause:?}");
        advance(pause * 5 / 4 + millis(2) - earliest).await;
        self.settle();
        assert_eq!(self.status(peer), Some(PeerStatus::OutConnecting), "after {pause:?}");
    }

    fn status(&self, peer: &str) -> Option<PeerStatus> {
        self.net.peer(ip(peer)).map(|peer| peer.status)
    }

    /// What is known of a peer that is.
    #[track_caller]
    fn of(&self, peer: &str) -> &Peer {
        self.net.peer(ip(peer)).expect("the peer is known")
    }

    fn counters(&self) -> Counters {
        self.stats().counters
    }

    /// What the controller's clock says.
    fn now(&self) -> Option<DateTime<Utc>> {
        Some(self.net.engine.clock.now().utc)
    }

    /// The peers that we are dialing, in the order of the dials.
    fn dialing(&self) -> Vec<IpAddr> {
        self.world.dials().iter().map(|dial| dial.to.ip()).collect()
    }

    fn task(&mut self) -> &mut task::Spawn<NetworkController<MemoryTransport>> {
        &mut self.net
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

/// A date a while after the start.
fn after(time: Duration) -> Option<DateTime<Utc>> {
    Some(start() + TimeDelta::from_std(time).unwrap())
}
