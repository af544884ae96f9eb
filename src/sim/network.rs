//! [`Network`]: a whole network, as an experiment sees it.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;

use super::connection::End;
use super::dials::DialCounts;
use super::graph::{Degrees, Graph};
use super::host::Host;
use super::wire::Wire;
use crate::config::Clock;
use crate::peer_table::Random;

/// When virtual time begins.
const EPOCH: &str = "2026-01-01T00:00:00Z";

/// A network of [`Host`]s: which of them reach each other, and how fast. Made by [`run`](super::run); clones are the same network.
///
/// The [module](super#a-network-of-a-hundred-nodes) has examples.
#[derive(Clone)]
pub struct Network {
    wire: Arc<Mutex<Wire>>,
    start: Instant,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        let start = Instant::now();
        Self {
            wire: Arc::new(Mutex::new(Wire::new(Random::new(seed), start))),
            start,
        }
    }

    /// The machine with this address. It is made, up and running, if there is none yet.
    #[must_use]
    pub fn host(&self, ip: IpAddr) -> Host {
        let number = self.with(|wire| wire.host(ip));
        Host::new(self.clone(), number, ip.to_canonical())
    }

    /// Virtual time since the run began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Virtual time as a controller's clock, the same for every controller and every restart: it began at 2026-01-01.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let utc: DateTime<Utc> = EPOCH.parse().unwrap_or_default();
        Clock::Epoch {
            instant: self.start,
            utc,
        }
    }

    /// A number below `limit`, which must not be 0, from the run's seed.
    #[must_use]
    pub fn random_below(&self, limit: usize) -> usize {
        self.with(|wire| wire.random.below(limit))
    }

    /// How long a packet takes from one address to another, in whole milliseconds. By default 5 to 145 ms, the same for
    /// each pair in both directions. `latency` must not use the network itself.
    pub fn latency(&self, latency: impl FnMut(IpAddr, IpAddr) -> Duration + Send + 'static) {
        self.with(|wire| wire.set_latency(Box::new(latency)));
    }

    /// The share of new dials that get no answer, from 0 (the default) to 1.
    pub fn dial_loss(&self, share: f64) {
        self.with(|wire| wire.set_dial_loss(share));
    }

    /// Lets hosts reach only those of their own group, until [`heal`](Self::heal) or the next partition. Packets between
    /// groups are held, those under way included. `group` must not use the network itself.
    pub fn partition<G: PartialEq>(&self, group: impl Fn(IpAddr) -> G + Send + 'static) {
        self.with(|wire| wire.set_reach(Some(Box::new(move |a, b| group(a) == group(b)))));
    }

    /// Ends a partition. What was held arrives one latency later.
    pub fn heal(&self) {
        self.with(|wire| wire.set_reach(None));
    }

    /// Lets two hosts hold several connections with each other. In builds with debug assertions a run panics where they
    /// do so for 20 s, as no two controllers that follow the rules would; sockets that are used without a controller may.
    pub fn allow_parallel_connections(&self) {
        self.with(|wire| wire.agreement.set_wanted(false));
    }

    /// The hosts that are up and listen.
    #[must_use]
    pub fn nodes(&self) -> Vec<IpAddr> {
        self.with(|wire| {
            let hosts = wire.hosts.iter();
            let nodes = hosts.filter(|host| host.is_up && !host.listeners.is_empty());
            nodes.map(|host| host.ip).collect()
        })
    }

    /// The connections that are open at both ends and not cut by a partition: the address that dialed, and the one that
    /// was dialed.
    #[must_use]
    pub fn edges(&self) -> Vec<(IpAddr, IpAddr)> {
        self.with(|wire| {
            let open = wire
                .connections
                .iter()
                .filter(|(_, ends)| ends.iter().all(End::is_open));
            let edges = open.map(|(_, [dialer, listener])| (dialer.addr.ip(), listener.addr.ip()));
            edges.filter(|&(a, b)| wire.can_reach(a, b)).collect()
        })
    }

    /// [`nodes`](Self::nodes) and [`edges`](Self::edges), to be measured.
    #[must_use]
    pub fn graph(&self) -> Graph {
        Graph::new(self.nodes(), self.edges())
    }

    /// The nodes that are connected with each other, directly or not; the largest component first.
    #[must_use]
    pub fn components(&self) -> Vec<Vec<IpAddr>> {
        self.graph().components()
    }

    /// How many nodes have dialed each node and are connected with it.
    #[must_use]
    pub fn in_degrees(&self) -> Degrees {
        self.graph().in_degrees()
    }

    /// How many dials started in each second so far, and how many ended how.
    #[must_use]
    pub fn dials_per_second(&self) -> Vec<DialCounts> {
        self.with(|wire| wire.dials.seconds().to_vec())
    }

    /// A hash of every packet that arrived so far, and when: equal for runs that did the same.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.with(|wire| wire.trace_hash())
    }

    /// What was woken meanwhile wakes without the lock, as it may use the network.
    pub(super) fn with<R>(&self, change: impl FnOnce(&mut Wire) -> R) -> R {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut wire);
        let woken = std::mem::take(&mut wire.woken);
        drop(wire);
        woken.into_iter().for_each(Waker::wake);
        outcome
    }

    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.start + at
    }

    pub(super) fn deliver_due(&self, driver: &Waker) -> Option<Duration> {
        self.with(|wire| wire.deliver_due(driver))
    }

    /// Runs a task whose panic ends the run.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) -> AbortHandle {
        let network = self.clone();
        // A combinator, as an `async` block would hold the task twice.
        let task = AssertUnwindSafe(task).catch_unwind().map(move |outcome| {
            if let Err(panic) = outcome {
                network.with(|wire| wire.fail(panic));
            }
        });
        spawn_local(task).abort_handle()
    }

    /// Ready when a task has panicked.
    pub(super) fn poll_failure(&self, cx: &Context<'_>) -> Poll<Box<dyn Any + Send>> {
        match self.with(|wire| wire.failure(cx.waker())) {
            Some(panic) => Poll::Ready(panic),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}
