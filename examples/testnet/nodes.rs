//! All nodes of a run: starting and killing them, and checks of their state.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use network::{NetworkConfig, NetworkError};
use tokio::sync::watch;

use crate::addresses::Addresses;
use crate::node::{Link, Node, View};
use crate::screen::Row;

/// How many nodes all nodes know at the start. The last of them is the rogue: all nodes know it and it keeps as many
/// connections as it can, so that it is connected to all of them when it starts to misbehave.
const BOOTSTRAP_PEERS: usize = 3;

/// Few enough that the bootstrap peers, which all nodes dial first, do not fill up all connections of the network.
const MAX_INCOMING: usize = 8;

/// The nodes of the test network.
#[derive(Debug)]
pub(crate) struct Nodes {
    all: Vec<Node>,
    target: usize,
    rogue: usize,
    misbehave: watch::Sender<bool>,
    dials_of_killed: u64,
    folder: Folder,
}

/// Sums over the running nodes, for the summary.
#[derive(Debug)]
pub(crate) struct Totals {
    pub(crate) connections: usize,
    pub(crate) dials: u64,
    pub(crate) bans: usize,
}

impl Nodes {
    /// Starts `nodes` nodes that want `target` outgoing connections each.
    pub(crate) async fn start(nodes: u8, target: usize) -> Result<Self, Box<dyn Error>> {
        let addresses = Addresses::find(nodes).map_err(|error| no_addresses(&error))?;
        let folder = Folder::create()?;
        let (misbehave, misbehaving) = watch::channel(false);
        let mut nodes = Self {
            all: Vec::new(),
            target,
            rogue: BOOTSTRAP_PEERS - 1,
            misbehave,
            dials_of_killed: 0,
            folder,
        };
        for (index, &ip) in addresses.ips.iter().enumerate() {
            let peers_file = nodes.write_peers_file(ip, &addresses.ips[..BOOTSTRAP_PEERS])?;
            let is_rogue = index == nodes.rogue;
            let config = if is_rogue {
                rogue_config(peers_file, &addresses, ip)
            } else {
                config(peers_file, &addresses, ip, target)
            };
            let misbehaving = is_rogue.then(|| misbehaving.clone());
            nodes.all.push(Node::new(ip, config, misbehaving));
        }
        // The rogue first, so that the first dials of all others reach it. A node that met its target and its incoming
        // cap before would refuse it from then on.
        nodes.all[nodes.rogue].start().await?;
        let others = nodes.all.iter_mut().filter(|node| !node.is_running());
        for node in others {
            node.start().await?;
        }
        Ok(nodes)
    }

    fn write_peers_file(&self, ip: IpAddr, peers: &[IpAddr]) -> io::Result<PathBuf> {
        let records: Vec<_> = peers.iter().map(|ip| serde_json::json!({ "ip": ip })).collect();
        let path = self.peers_file(ip);
        fs::write(&path, serde_json::Value::from(records).to_string())?;
        Ok(path)
    }

    fn peers_file(&self, ip: IpAddr) -> PathBuf {
        self.folder.0.join(format!("{ip}.json"))
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn running(&self) -> usize {
        self.all.iter().filter(|node| node.is_running()).count()
    }

    /// Kills a quarter of the nodes, one of the bootstrap peers among them. Returns their names.
    pub(crate) async fn kill_a_quarter(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        for node in self.all.iter_mut().skip(1).step_by(4) {
            self.dials_of_killed += node.view().dials;
            node.kill().await;
            names.push(name(node.ip));
        }
        names
    }

    /// Kills all running nodes.
    pub(crate) async fn kill(&mut self) {
        for node in &mut self.all {
            node.kill().await;
        }
    }

    /// Starts the killed nodes again.
    pub(crate) async fn restart_killed(&mut self) -> Result<(), NetworkError> {
        for node in self.all.iter_mut().filter(|node| !node.is_running()) {
            node.start().await?;
        }
        Ok(())
    }

    /// Makes the rogue misbehave on every connection from now on. Returns its name.
    pub(crate) fn start_misbehaving(&mut self) -> String {
        self.misbehave.send_replace(true);
        name(self.all[self.rogue].ip)
    }

    /// What is not yet as it should be, by the name of the node. Nodes that do not run are not checked.
    ///
    /// # Errors
    ///
    /// A peers file is not whole, which it has to be at any time.
    pub(crate) fn problems(&self) -> Result<Vec<(String, String)>, Box<dyn Error>> {
        let views: HashMap<IpAddr, View> = self.running_nodes().map(|node| (node.ip, node.view())).collect();
        let mut problems = Vec::new();
        for ip in self.running_nodes().map(|node| node.ip) {
            let problem = match self.problem(ip, &views) {
                Some(problem) => Some(problem),
                None => self.problem_of_file(ip)?,
            };
            problems.extend(problem.map(|problem| (name(ip), problem)));
        }
        Ok(problems)
    }

    fn running_nodes(&self) -> impl Iterator<Item = &Node> {
        self.all.iter().filter(|node| node.is_running())
    }

    fn problem(&self, ip: IpAddr, views: &HashMap<IpAddr, View>) -> Option<String> {
        let view = &views[&ip];
        if view.second_connections > 0 {
            return Some(format!(
                "was given {} connections to peers it was connected to",
                view.second_connections
            ));
        }
        match (ip == self.rogue(), self.misbehaves()) {
            (true, true) => self.problem_of_banned(view),
            (true, false) => half_connection(ip, views).or_else(|| self.problem_of_hub(view)),
            (false, _) => half_connection(ip, views).or_else(|| self.problem_of_honest(ip, view)),
        }
    }

    fn rogue(&self) -> IpAddr {
        self.all[self.rogue].ip
    }

    fn misbehaves(&self) -> bool {
        *self.misbehave.borrow()
    }

    fn problem_of_honest(&self, ip: IpAddr, view: &View) -> Option<String> {
        let others = self.len() - 1;
        let known = view.known.iter().filter(|&&peer| peer != ip).count();
        let out = view.alive(true);
        if known < others {
            Some(format!("knows {known} of {others} others"))
        } else if out != self.target {
            Some(format!("has {out} of {} outgoing connections", self.target))
        } else if self.misbehaves() != view.banned.contains(&self.rogue()) {
            Some(format!("is wrong about {}", name(self.rogue())))
        } else {
            None
        }
    }

    /// Until it misbehaves, the rogue is connected to everyone.
    fn problem_of_hub(&self, view: &View) -> Option<String> {
        let (alive, others) = (view.alive(true) + view.alive(false), self.running() - 1);
        (alive != others).then(|| format!("is connected to {alive} of {others} others"))
    }

    /// The rogue goes on dialing, and all nodes refuse it. Connections that its kernel has completed are not alive.
    fn problem_of_banned(&self, view: &View) -> Option<String> {
        let alive = view.alive(true) + view.alive(false);
        (alive > 0).then(|| format!("still has {alive} connections"))
    }

    /// What the peers file of a node does not say yet: all other nodes, and the ban of the rogue.
    fn problem_of_file(&self, ip: IpAddr) -> Result<Option<String>, Box<dyn Error>> {
        let records = self.peers_file_of(ip)?;
        let others = self.len() - 1;
        if records.len() < others {
            return Ok(Some(format!(
                "has {} of {others} others in its peers file",
                records.len()
            )));
        }
        let rogue = self.rogue().to_string();
        let bans = |record: &serde_json::Value| record["ip"] == *rogue && record["status"] == "Banned";
        let expected = self.misbehaves() && ip != self.rogue();
        let is_wrong = expected != records.iter().any(bans);
        Ok(is_wrong.then(|| "has the wrong bans in its peers file".to_owned()))
    }

    fn peers_file_of(&self, ip: IpAddr) -> Result<Vec<serde_json::Value>, Box<dyn Error>> {
        let read = || -> Result<_, Box<dyn Error>> { Ok(serde_json::from_slice(&fs::read(self.peers_file(ip))?)?) };
        read().map_err(|error| format!("the peers file of {} is not whole: {error}", name(ip)).into())
    }

    /// A line of the table for each node.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.all.iter().map(|node| self.row(node)).collect()
    }

    fn row(&self, node: &Node) -> Row {
        let view = node.view();
        let is_rogue = node.ip == self.rogue() && self.misbehaves();
        Row {
            name: name(node.ip),
            state: match (node.is_running(), is_rogue) {
                (false, _) => "killed",
                (true, true) => "rogue",
                (true, false) => "",
            },
            out: view.alive(true),
            incoming: view.alive(false),
            known: view.known.len(),
            banned: view.banned.len(),
            dials_per_second: view.dials_per_second,
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let views: Vec<View> = self.running_nodes().map(Node::view).collect();
        Totals {
            connections: views.iter().map(|view| view.alive(true)).sum(),
            dials: self.dials_of_killed + views.iter().map(|view| view.dials).sum::<u64>(),
            bans: views.iter().map(|view| view.banned.len()).sum(),
        }
    }

    /// Stops every node as its user would, and checks its peers file.
    pub(crate) async fn stop(&mut self) -> Result<(), Box<dyn Error>> {
        for node in &mut self.all {
            node.stop().await?;
        }
        for node in &self.all {
            if let Some(problem) = self.problem_of_file(node.ip)? {
                return Err(format!("{} {problem}", name(node.ip)).into());
            }
        }
        Ok(())
    }
}

/// A folder of this run alone, removed when it is dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create() -> io::Result<Self> {
        let name = format!("testnet-{:016x}", RandomState::new().hash_one(()));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A connection that the other end lacks, or has with other addresses or the same direction.
fn half_connection(ip: IpAddr, views: &HashMap<IpAddr, View>) -> Option<String> {
    let view = &views[&ip];
    let is_half = |(peer, link): &(&IpAddr, &Link)| {
        let other_end = views.get(peer).and_then(|view| view.links.get(&ip));
        !other_end.is_some_and(|other| {
            (other.local, other.remote) == (link.remote, link.local) && other.is_outgoing != link.is_outgoing
        })
    };
    let (peer, _) = view.links.iter().find(is_half)?;
    Some(format!("has a connection to {} that has no other end", name(*peer)))
}

fn config(peers_file: PathBuf, addresses: &Addresses, ip: IpAddr, target: usize) -> NetworkConfig {
    let mut config = NetworkConfig::new(peers_file, addresses.port);
    config.listen_ip = ip;
    config.target_outgoing_connections = target;
    config.max_incoming_connections = MAX_INCOMING;
    config.peer_file_dump_interval = Duration::from_millis(500);
    config.connect_timeout = Duration::from_secs(2);
    config.dial_stagger = Duration::from_millis(50);
    config.retry_backoff = Duration::from_millis(200);
    config.max_retry_backoff = Duration::from_secs(1);
    config
}

fn rogue_config(peers_file: PathBuf, addresses: &Addresses, ip: IpAddr) -> NetworkConfig {
    let others = addresses.ips.len();
    let mut config = config(peers_file, addresses, ip, others);
    config.max_incoming_connections = others;
    config
}

/// The last part of the address, as all nodes share the rest.
fn name(ip: IpAddr) -> String {
    let full = ip.to_string();
    let host = full.rsplit('.').next().unwrap_or_default();
    format!(".{host}")
}

fn no_addresses(error: &io::Error) -> String {
    format!(
        "cannot listen on loopback addresses beside 127.0.0.1: {error}\n\
         Linux and Windows can; on macOS each needs an alias (ifconfig lo0 alias 127.16.0.1)"
    )
}
