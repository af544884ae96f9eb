//! A lab with a node on each host, and what has to be so of all of them together.

#![allow(dead_code, reason = "no test needs all of it")]

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use network::PeerStatus;
use network_lab::topology::{self, Host, Lab};

use super::node::{Connection, Node, Settings, View};

/// Far more than anything takes that is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// All hosts there are, as a group of them.
pub(crate) const EVERYBODY: &[u8] = &[];

/// A lab with a node on each host.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Before the lab that they live in.
    nodes: Vec<Node>,
    pub(crate) lab: Lab,
}

impl Cluster {
    /// Each node listens at the address of its host.
    pub(crate) fn new(lab: Lab, settings: &Settings) -> Self {
        let on = |host: &Host| {
            let mut settings = settings.clone();
            settings.config.listen_ip = host.ip();
            Node::spawn(host, &settings)
        };
        let nodes = lab.hosts().iter().map(on).collect();
        Self { nodes, lab }
    }

    /// Each node listens as its settings say, by default at every address of its host.
    pub(crate) fn of_open_nodes(lab: Lab, settings: &Settings) -> Self {
        let nodes = lab.hosts().iter().map(|host| Node::spawn(host, settings)).collect();
        Self { nodes, lab }
    }

    /// Tells everyone of everyone, once all of them listen.
    pub(crate) fn introduce_all(&mut self) {
        self.views();
        let ips: Vec<IpAddr> = self.nodes.iter().map(|node| node.ip).collect();
        self.nodes.iter_mut().for_each(|node| node.introduce(&ips));
    }

    /// Tells one node of peers.
    pub(crate) fn introduce(&mut self, number: u8, peers: &[IpAddr]) {
        self.nodes[usize::from(number) - 1].introduce(peers);
    }

    /// The smallest of these figures that `ss` has of any connection.
    pub(crate) fn least(&self, field: &str) -> Option<f64> {
        let hosts = self.lab.hosts().iter();
        let sockets: String = hosts
            .map(|host| host.ask("ss", &["-Htin", "state", "established"]))
            .collect();
        let found = sockets.split_whitespace().filter_map(|word| word.strip_prefix(field));
        found.map(|figure| figure.parse().unwrap()).reduce(f64::min)
    }

    /// How many packets had to be sent again.
    pub(crate) fn retransmissions(&self) -> u64 {
        let of = |host: &Host| {
            let table = host.ask("cat", &["/proc/net/snmp"]);
            let mut rows = table
                .lines()
                .filter(|line| line.starts_with("Tcp:"))
                .map(str::split_whitespace);
            let (names, figures) = (rows.next().unwrap(), rows.next().unwrap());
            let mut fields = names.zip(figures);
            let (_, figure) = fields.find(|(name, _)| *name == "RetransSegs").unwrap();
            figure.parse::<u64>().unwrap()
        };
        self.lab.hosts().iter().map(of).sum()
    }

    pub(crate) fn view(&mut self, number: u8) -> View {
        self.nodes[usize::from(number) - 1].view()
    }

    pub(crate) fn views(&mut self) -> HashMap<IpAddr, View> {
        self.nodes.iter_mut().map(|node| (node.ip, node.view())).collect()
    }

    /// Waits until all is well in each of these groups, with no connection between them.
    pub(crate) fn settle(&mut self, groups: &[&[u8]]) {
        self.until("all is well", |cluster| {
            let views = cluster.views();
            let everybody: HashSet<IpAddr> = views.keys().copied().collect();
            for &group in groups {
                let group = match group {
                    [] => everybody.clone(),
                    some => some.iter().map(|&number| topology::ip(number)).collect(),
                };
                group.iter().try_for_each(|ip| {
                    let complaint = complaint(*ip, &group, &views).map_or(Ok(()), Err);
                    complaint.map_err(|complaint| format!("{ip} {complaint}"))
                })?;
            }
            Ok(())
        });
    }

    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> Result<(), String>) {
        let start = Instant::now();
        while let Err(complaint) = holds(self) {
            assert!(start.elapsed() < LIMIT, "waited in vain: {what}; {complaint}");
            thread::sleep(LOOK_INTERVAL);
        }
    }
}

/// What is wrong with a node that can reach this group.
fn complaint(ip: IpAddr, group: &HashSet<IpAddr>, views: &HashMap<IpAddr, View>) -> Option<String> {
    let view = &views[&ip];
    let (out, connected) = (view.alive(true).len(), view.connected());
    let is_content = out == view.target || connected.len() + 1 == group.len();
    if view.known().len() + 1 != views.len() {
        Some(format!("knows only {:?}", view.known()))
    } else if view.peers.iter().any(|peer| peer.status == PeerStatus::Banned) {
        Some("has banned somebody".to_owned())
    } else if !connected.is_subset(group) {
        Some(format!("still believes in {connected:?}"))
    } else if !is_content {
        Some(format!(
            "has {out} of {} connections, is connected to {connected:?}",
            view.target
        ))
    } else {
        connected.iter().find_map(|peer| complaint_of_pair(ip, *peer, views))
    }
}

/// What keeps the connection of two nodes from being one.
fn complaint_of_pair(ip: IpAddr, peer: IpAddr, views: &HashMap<IpAddr, View>) -> Option<String> {
    let between = |one: &View, other: IpAddr| -> Vec<Connection> {
        let sockets = one.sockets.iter().filter(|socket| socket.remote.ip() == other);
        sockets.copied().collect()
    };
    let (here, there) = (between(&views[&ip], peer), between(&views[&peer], ip));
    let is_one = matches!((&here[..], &there[..]), ([here], [there]) if *here == there.other_end());
    let is_alive = is_one && views[&ip].alive(here[0].is_outgoing).contains(&peer);
    (!is_alive).then(|| format!("has {here:?} with {peer}, which has {there:?}"))
}

pub(crate) fn require(holds: bool, complaint: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(complaint()) }
}
