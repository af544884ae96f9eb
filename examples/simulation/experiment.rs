//! [`Population`]: the nodes of an experiment, started at their times and watched as time passes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use network::PeerRecord;
use network::sim::{self, Graph, Kill, Network, Node};
use tokio::time::sleep;

use crate::addresses::Addresses;
use crate::options::Common;
use crate::progress::Progress;
use crate::random::Random;

/// The port that all nodes listen on.
pub const PORT: u16 = 4_000;

/// How exactly the time until a node is at its target is measured.
const TICK: Duration = Duration::from_millis(100);

/// How often the share of nodes at their target is noted.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// The honest nodes of one network.
#[derive(Debug)]
pub struct Population {
    /// The network that they live in.
    pub net: Network,
    /// Where new nodes live.
    pub addresses: Addresses,
    /// For the choices of the experiment.
    pub random: Random,
    options: Common,
    progress: Progress,
    /// The end of the experiment, for the progress bar.
    end: Duration,
    bootstraps: Vec<IpAddr>,
    members: BTreeMap<IpAddr, Member>,
    /// Nodes to be started, by time; the number tells those of one moment apart.
    starts: BTreeMap<(Duration, usize), Start>,
    starts_planned: usize,
    next_tick: Duration,
    samples: Vec<(Duration, f64)>,
}

/// A node that runs.
#[derive(Debug)]
pub struct Member {
    /// The node.
    pub node: Node,
    /// When it was started.
    pub started: Duration,
    /// How long after its start it was at its target for the first time.
    pub time_to_target: Option<Duration>,
}

/// A node to be started.
#[derive(Debug)]
pub struct Start {
    /// Where it lives.
    pub ip: IpAddr,
    /// The addresses that it knows.
    pub knows: Vec<IpAddr>,
    /// What it remembers of a life before.
    pub records: Vec<PeerRecord>,
}

impl Population {
    /// Nobody yet. The experiment ends at `end`.
    #[must_use]
    pub fn new(net: &Network, options: &Common, progress: &Progress, end: Duration) -> Self {
        Self {
            net: net.clone(),
            addresses: Addresses::new(options.seed),
            random: Random::new(options.seed, "experiment"),
            options: options.clone(),
            progress: progress.clone(),
            end,
            bootstraps: Vec::new(),
            members: BTreeMap::new(),
            starts: BTreeMap::new(),
            starts_planned: 0,
            next_tick: TICK,
            samples: Vec::new(),
        }
    }

    /// Plans the start of all nodes: the first are the bootstraps, at once; the others know these and come at random
    /// moments within `spread`.
    pub fn plan(&mut self, ips: &[IpAddr], spread: Duration) {
        let (bootstraps, others) = ips.split_at(self.options.bootstraps.min(ips.len()));
        self.bootstraps = bootstraps.to_vec();
        for &ip in bootstraps {
            self.plan_newcomer(ip, Duration::ZERO);
        }
        for &ip in others {
            let at = spread.mul_f64(self.random.share());
            self.plan_newcomer(ip, at);
        }
    }

    /// Plans the start of a node that knows the bootstraps.
    pub fn plan_newcomer(&mut self, ip: IpAddr, at: Duration) {
        let knows = self.bootstraps.clone();
        let records = Vec::new();
        self.plan_start(at, Start { ip, knows, records });
    }

    /// Plans the start of any node.
    pub fn plan_start(&mut self, at: Duration, start: Start) {
        // Timers have whole milliseconds.
        let at = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        self.starts_planned += 1;
        self.starts.insert((at, self.starts_planned), start);
    }

    /// Lets time pass: starts nodes when it is time, and watches those that run.
    pub async fn run_until(&mut self, end: Duration) {
        loop {
            let start = self.starts.first_key_value().map_or(end, |(&(at, _), _)| at);
            let next = end.min(start).min(self.next_tick);
            sleep(next.saturating_sub(self.net.now())).await;
            while let Some(entry) = self.starts.first_entry().filter(|entry| entry.key().0 <= next) {
                let start = entry.remove();
                self.start(start).await;
            }
            if self.next_tick <= next {
                self.watch();
                self.next_tick += TICK;
            }
            if end <= next {
                return;
            }
        }
    }

    /// Lets time pass until `is_reached`, which is asked every second. Answers how long it took, if it was before `end`.
    pub async fn run_until_reached(
        &mut self,
        end: Duration,
        mut is_reached: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.net.now();
        while !is_reached(self) {
            if self.net.now() >= end {
                return None;
            }
            self.run_until(self.net.now() + SAMPLE_INTERVAL).await;
        }
        Some(self.net.now() - start)
    }

    async fn start(&mut self, start: Start) {
        let is_bootstrap = self.bootstraps.contains(&start.ip);
        let host = self.net.host(start.ip);
        host.start();
        let mut config = host.config(PORT);
        self.options.configure(&mut config, is_bootstrap);
        config.initial_peers = start.knows;
        config.initial_records = start.records;
        let behavior = self.options.behavior(is_bootstrap);
        let node = sim::node(&host, config, behavior)
            .await
            .expect("these settings work, and the port is free");
        let started = self.net.now();
        let time_to_target = None;
        let member = Member {
            node,
            started,
            time_to_target,
        };
        self.members.insert(start.ip, member);
    }

    fn watch(&mut self) {
        let (now, target) = (self.net.now(), self.options.target);
        let is_sampled = self.next_tick.subsec_nanos() == 0;
        let mut at_target = 0;
        for member in self.members.values_mut() {
            if is_sampled || member.time_to_target.is_none() {
                let is_at_target = member.node.stats().peers.out_alive >= target;
                at_target += usize::from(is_at_target);
                if is_at_target && member.time_to_target.is_none() {
                    member.time_to_target = Some(now - member.started);
                }
            }
        }
        if is_sampled {
            let share = at_target as f64 / self.members.len().max(1) as f64;
            self.samples.push((now, share));
            let message = format!("{:.0} % at target", share * 100.0);
            self.progress.show(now, self.end, &message);
        }
    }

    /// The nodes that run, by address.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<IpAddr, Member> {
        &self.members
    }

    /// The nodes that all others know.
    #[must_use]
    pub fn bootstraps(&self) -> &[IpAddr] {
        &self.bootstraps
    }

    /// Ends a node. Answers what it was.
    pub fn kill(&mut self, ip: IpAddr, how: Kill) -> Option<Member> {
        self.net.host(ip).kill(how);
        self.members.remove(&ip)
    }

    /// The share of nodes at their target, noted each second.
    #[must_use]
    pub fn samples(&self) -> &[(Duration, f64)] {
        &self.samples
    }

    /// The share of nodes that are at their target now.
    #[must_use]
    pub fn share_at_target(&self) -> f64 {
        let target = self.options.target;
        let members = self.members.values();
        let at_target = members
            .filter(|member| member.node.stats().peers.out_alive >= target)
            .count();
        at_target as f64 / self.members.len().max(1) as f64
    }

    /// The connections between nodes that run.
    #[must_use]
    pub fn graph(&self) -> Graph {
        Graph::new(self.members.keys().copied(), self.net.edges())
    }

    /// How many dials a node started a second, on average over the network, from then until now: the mean, and the most
    /// in one second. Attackers count, too.
    #[must_use]
    pub fn dials_since(&self, start: Duration) -> Dials {
        let seconds = self.net.dials_per_second();
        let from = usize::try_from(start.as_secs())
            .unwrap_or(usize::MAX)
            .min(seconds.len());
        let started = seconds[from..].iter().map(|second| f64::from(second.started));
        let nodes = self.members.len().max(1) as f64;
        let elapsed = (self.net.now() - start).as_secs_f64().max(1.0);
        Dials {
            per_node: started.clone().sum::<f64>() / nodes,
            per_node_minute: started.clone().sum::<f64>() / nodes / elapsed * 60.0,
            peak_per_node_second: started.fold(0.0, f64::max) / nodes,
        }
    }
}

/// How many dials the nodes of a network started in some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dials {
    /// All of them, by node.
    pub per_node: f64,
    /// The rate, by node.
    pub per_node_minute: f64,
    /// The most in one second, by node.
    pub peak_per_node_second: f64,
}

/// The value below or at which this share of the values is (the nearest rank); `None` of no values.
#[must_use]
pub fn percentile(values: &[Duration], share: f64) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (1..=sorted.len()).find(|&rank| rank as f64 >= share * sorted.len() as f64)?;
    Some(sorted[rank - 1])
}

/// The mean; 0 of nothing.
#[must_use]
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values
        .into_iter()
        .fold((0.0, 0.0_f64), |(sum, count), value| (sum + value, count + 1.0));
    sum / count.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<Duration> = (1..=10).rev().map(Duration::from_secs).collect();
        let seconds = |share| percentile(&values, share).unwrap().as_secs();
        assert_eq!([0.0, 0.5, 0.51, 0.9, 0.99, 1.0].map(seconds), [1, 5, 6, 9, 10, 10]);
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn the_mean_of_nothing_is_0() {
        assert!(mean([]).abs() < 1e-9);
        assert!((mean([1.0, 2.0]) - 1.5).abs() < 1e-9);
    }
}
