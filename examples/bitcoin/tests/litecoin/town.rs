//! The example node of the Bitcoin protocol among full nodes of the Litecoin network.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use network::PeerStatus;
use network_lab::topology::{self, Lab};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::light_node::{self, LightNode, Record};
use crate::litecoind::{Litecoind, PORT, Peer};

/// Where our node is, if there is nothing to say against it.
pub(crate) const OURS: u8 = 1;

/// Between two looks.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Our node and the full nodes.
#[derive(Debug)]
pub(crate) struct Town {
    // Before the lab that they live in.
    light_node: Option<LightNode>,
    litecoinds: BTreeMap<u8, Litecoind>,
    pub(crate) lab: Lab,
    folder: TempDir,
    /// The host of our node.
    ours: u8,
    /// How far the clocks of the full nodes are ahead, in seconds.
    ahead: i64,
}

impl Town {
    /// That many full nodes, of which none knows another, and a host for ours before them.
    pub(crate) fn new(full_nodes: u8) -> Self {
        Self::in_lab(Lab::new(OURS + full_nodes), OURS, OURS + 1..=OURS + full_nodes)
    }

    /// Ours and full nodes on these hosts of a lab, which may have more.
    pub(crate) fn in_lab(lab: Lab, ours: u8, full_nodes: RangeInclusive<u8>) -> Self {
        let mut town = Self {
            light_node: None,
            litecoinds: BTreeMap::new(),
            lab,
            folder: TempDir::new().unwrap(),
            ours,
            ahead: 0,
        };
        full_nodes.for_each(|number| town.start(number));
        town
    }

    /// The address of our node.
    pub(crate) fn us(&self) -> IpAddr {
        topology::ip(self.ours)
    }

    /// Starts a full node, or starts it again.
    pub(crate) fn start(&mut self, number: u8) {
        let home = self.folder.path().join(number.to_string());
        let node = Litecoind::start(self.lab.host(number), &home);
        self.litecoinds.insert(number, node);
    }

    /// Kills a full node, as the system would kill it.
    pub(crate) fn kill(&mut self, number: u8) {
        drop(self.litecoinds.remove(&number).expect("it runs"));
    }

    /// Starts our node, which knows these hosts.
    pub(crate) fn join(&mut self, known: &[u8], options: &[&str]) {
        let records = known.iter().map(|&number| json!({ "ip": topology::ip(number) }));
        self.write_peers(&records.collect());
        self.join_again(options);
    }

    /// Starts our node with the peers file as it is.
    pub(crate) fn join_again(&mut self, options: &[&str]) {
        let node = LightNode::start(self.lab.host(self.ours), &self.peers_file(), options);
        self.light_node = Some(node);
    }

    pub(crate) fn write_peers(&self, peers: &Value) {
        fs::write(self.peers_file(), peers.to_string()).unwrap();
    }

    /// Stops our node as its user would.
    pub(crate) fn leave(&mut self) {
        self.light_node.take().expect("it has joined").interrupt();
    }

    /// What the peers file says of each peer; at most a second old while our node runs.
    pub(crate) fn records(&self) -> HashMap<IpAddr, Record> {
        light_node::records(&self.peers_file())
    }

    pub(crate) fn record(&self, number: u8) -> Record {
        let record = self.records().remove(&topology::ip(number));
        record.unwrap_or_else(|| panic!("host {number} is not in the file"))
    }

    /// The hosts whose peers are of this status.
    pub(crate) fn with_status(&self, status: PeerStatus) -> BTreeSet<u8> {
        let records = self.records().into_iter();
        let of_status = records.filter(|(_, record)| record.status == Some(status));
        of_status.map(|(ip, _)| topology::host_of(ip)).collect()
    }

    /// How often our node has said this of a host.
    pub(crate) fn said(&mut self, number: u8, what: &str) -> usize {
        let node = self.light_node.as_mut().expect("it has joined");
        node.said_of(topology::ip(number), what)
    }

    /// Has a full node dial an address, "onetry" once or "add" again and again.
    pub(crate) fn dial(&self, number: u8, ip: IpAddr, how: &str) {
        self.call(number, "addnode", &[&format!("{ip}:{PORT}"), how]);
    }

    /// What a full node answers to a call of this procedure.
    pub(crate) fn call(&self, number: u8, method: &str, arguments: &[&str]) -> Value {
        self.litecoinds[&number].call(&self.lab, method, arguments)
    }

    /// The connections with our node that a full node tells of.
    pub(crate) fn connections(&self, number: u8) -> Vec<Peer> {
        self.connections_with(self.ours, number)
    }

    /// The connections with a host that a full node tells of.
    pub(crate) fn connections_with(&self, host: u8, number: u8) -> Vec<Peer> {
        self.litecoinds[&number].peers_at(&self.lab, topology::ip(host))
    }

    /// When a full node wrote a line of our node's address in which this stands.
    pub(crate) fn logged(&self, number: u8, what: &str) -> Vec<DateTime<Utc>> {
        let us = format!("{}:", self.us());
        let log = self.litecoinds[&number].log();
        let lines = log.lines().filter(|line| line.contains(&us) && line.contains(what));
        let time = |line: &str| line.split(' ').next().and_then(|time| time.parse().ok());
        lines
            .map(|line| time(line).expect("a line begins with its time"))
            .collect()
    }

    fn peers_file(&self) -> PathBuf {
        self.folder.path().join("peers.json")
    }

    /// Lets each full node know all others, and many that are long gone. A node tells a stranger of 23 % of the addresses
    /// that it has, and leaves out those that nobody has seen for a month.
    pub(crate) fn acquaint(&self) {
        const HALF_A_YEAR: i64 = 180 * 24 * 60 * 60;
        let now = Utc::now().timestamp();
        for node in self.litecoinds.values() {
            node.set_clock(&self.lab, now - HALF_A_YEAR);
            let learn = |number| node.learn(&self.lab, topology::ip(number));
            (100..120).for_each(learn);
            node.set_clock(&self.lab, now);
            let others = self.litecoinds.keys().copied();
            others.filter(|other| topology::ip(*other) != node.ip()).for_each(learn);
        }
    }

    /// Lets minutes pass for the full nodes: they gather what they tell of addresses for half a minute and more.
    pub(crate) fn speed_up(&mut self) {
        self.ahead += 300;
        for node in self.litecoinds.values() {
            node.set_clock(&self.lab, Utc::now().timestamp() + self.ahead);
        }
    }

    /// Waits until our node has outgoing connections with just these hosts, and both sides tell of the same ones.
    pub(crate) fn settle(&mut self, hosts: &[u8]) {
        self.until(Duration::from_secs(30), "all of them are connected", |town| {
            let alive = town.with_status(PeerStatus::OutAlive);
            require(alive == hosts.iter().copied().collect(), || {
                format!("{alive:?} are alive, not {hosts:?}")
            })
        });
        self.agree();
    }

    /// Waits until both sides tell of the same connections, one with each peer at most.
    pub(crate) fn agree(&mut self) {
        self.until(Duration::from_secs(20), "both sides see the same", |town| {
            town.litecoinds.keys().try_for_each(|&number| {
                let theirs = town.connections(number);
                let theirs: Vec<(SocketAddr, SocketAddr)> =
                    theirs.iter().map(|peer| (peer.addr, peer.addrbind)).collect();
                let ours = light_node::sockets_with(town.lab.host(town.ours), topology::ip(number));
                require(theirs == ours && theirs.len() <= 1, || {
                    format!("host {number} has {theirs:?}, we have {ours:?}")
                })
            })
        });
    }

    /// Sees that the connections with these hosts are the same ones until this has been so.
    pub(crate) fn undisturbed(&mut self, hosts: &[u8], until: impl FnOnce(&mut Self)) {
        let connections =
            |town: &Self| -> Vec<Vec<Peer>> { hosts.iter().map(|&number| town.connections(number)).collect() };
        let before = connections(self);
        assert!(before.iter().all(|one| one.len() == 1), "{before:?}");
        until(self);
        assert_eq!(connections(self), before);
    }

    pub(crate) fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> Result<(), String>,
    ) {
        let start = Instant::now();
        while let Err(complaint) = holds(self) {
            if start.elapsed() >= limit {
                let said = self.light_node.as_mut().map(|node| node.said().join("\n"));
                panic!(
                    "waited in vain: {what}; {complaint}; our node said\n{}",
                    said.unwrap_or_default()
                );
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }
}

pub(crate) fn require(holds: bool, complaint: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(complaint()) }
}
