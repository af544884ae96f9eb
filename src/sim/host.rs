//! [`Host`]: a machine of a simulated network.

use std::fmt;
use std::net::IpAddr;

use super::network::Network;
use super::transport::HostTransport;
use crate::config::NetworkConfig;

/// A machine with one address. Clones are the same machine.
///
/// ```
/// use std::time::Duration;
///
/// use network::sim::{self, Kill, NodeOptions};
/// use tokio::time::sleep;
///
/// sim::run(1, async |net: sim::Network| {
///     let [a, b] = [[60, 1, 0, 1], [60, 2, 0, 1]].map(|ip| net.host(ip.into()));
///     let mut config = a.config(4000);
///     config.initial_peers = vec![b.ip()];
///     let node = sim::node(&a, config, NodeOptions::default()).await.unwrap();
///     sim::node(&b, b.config(4000), NodeOptions::default()).await.unwrap();
///     sleep(Duration::from_secs(10)).await;
///     assert_eq!(node.stats().peers.out_alive, 1);
///
///     b.kill(Kill::Reset);
///     sleep(Duration::from_secs(10)).await;
///     assert_eq!(node.stats().peers.out_alive, 0);
///     let mut seconds = net.dials_per_second().into_iter();
///     assert!(seconds.any(|second| second.refused > 0));
/// });
/// ```
#[derive(Clone)]
pub struct Host {
    network: Network,
    number: usize,
    ip: IpAddr,
}

/// How a host ends. [`Host`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// Power is lost: no packet tells of it, connections stay open at their other ends, dials get no answer until
    /// [`Host::start`].
    Silent,
    /// The process is killed: its connections are reset, dials are refused.
    Reset,
}

impl Host {
    pub(super) fn new(network: Network, number: usize, ip: IpAddr) -> Self {
        Self { network, number, ip }
    }

    /// Its only address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The network that it is in.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Settings for a controller on this host: no file, virtual time, a seed from the run's, and this address to listen
    /// on and dial from.
    #[must_use]
    pub fn config(&self, port: u16) -> NetworkConfig {
        let mut config = NetworkConfig::in_memory(port);
        config.listen_ip = self.ip;
        config.clock = self.network.clock();
        config.seed = Some(self.network.with(|wire| wire.random.next()));
        config
    }

    /// Listens and dials from this host, until it is killed.
    #[must_use]
    pub fn transport(&self) -> HostTransport {
        let incarnation = self.network.with(|wire| wire.hosts[self.number].incarnation);
        HostTransport::new(self.network.clone(), self.number, incarnation)
    }

    /// Runs a task on this host: it is dropped when the host is killed. If it panics, so does [`run`](super::run).
    ///
    /// # Panics
    ///
    /// Outside [`run`](super::run).
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let handle = self.network.spawn(task);
        self.network.with(|wire| {
            let tasks = &mut wire.hosts[self.number].tasks;
            if tasks.len() == tasks.capacity() {
                tasks.retain(|task| !task.is_finished());
            }
            tasks.push(handle);
        });
    }

    /// Ends everything that runs on this host. Its addresses and ports are free at once.
    pub fn kill(&self, how: Kill) {
        let tasks = self.network.with(|wire| {
            wire.kill(self.number, how);
            std::mem::take(&mut wire.hosts[self.number].tasks)
        });
        for task in tasks {
            task.abort();
        }
    }

    /// Has a host that was killed silently back, with nothing running on it.
    pub fn start(&self) {
        self.network.with(|wire| wire.hosts[self.number].is_up = true);
    }

    /// Whether packets reach it.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.network.with(|wire| wire.hosts[self.number].is_up)
    }

    /// How many inbound connections a listener of this host may have that were not accepted yet; 1024 by default.
    pub fn backlog(&self, limit: usize) {
        self.network.with(|wire| wire.hosts[self.number].backlog = limit);
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("ip", &self.ip).finish_non_exhaustive()
    }
}
