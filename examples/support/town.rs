//! All nodes of a run, what is done to them, and what is still wrong with them.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use network::{NetworkConfig, NetworkError};
use tempfile::TempDir;
use tokio::sync::watch;

use super::addresses::Addresses;
use super::board::Row;
use super::member::{Link, Member, Sight};

/// How many nodes everyone knows at the start. The last of them is the rogue: it is known to all, keeps as many
/// connections as it can, and so meets everybody once it misbehaves.
const BOOTSTRAP_PEERS: usize = 3;

/// Few enough that a node everyone would like to be connected to still finds others to connect to.
const MAX_INCOMING: usize = 8;

/// The test network.
#[derive(Debug)]
pub(crate) struct Town {
    members: Vec<Member>,
    target: usize,
    rogue: usize,
    misconduct: watch::Sender<bool>,
    dials_of_the_dead: u64,
    folder: TempDir,
}

/// What the summary tells.
#[derive(Debug)]
pub(crate) struct Totals {
    pub(crate) connections: usize,
    pub(crate) dials: u64,
    pub(crate) bans: usize,
}

impl Town {
    /// Starts `nodes` nodes that want `target` outgoing connections each.
    pub(crate) async fn start(nodes: u8, target: usize) -> Result<Self, Box<dyn Error>> {
        let addresses = Addresses::find(nodes).map_err(|error| no_addresses(&error))?;
        let folder = tempfile::Builder::new().prefix("testnet-").tempdir()?;
        let (misconduct, misbehave) = watch::channel(false);
        let mut town = Self {
            members: Vec::new(),
            target,
            rogue: BOOTSTRAP_PEERS - 1,
            misconduct,
            dials_of_the_dead: 0,
            folder,
        };
        for (index, &ip) in addresses.ips.iter().enumerate() {
            let peers_file = town.write_peers_file(ip, &addresses.ips[..BOOTSTRAP_PEERS])?;
            let is_rogue = index == town.rogue;
            let config = if is_rogue {
                rogue_config(peers_file, &addresses, ip)
            } else {
                config(peers_file, &addresses, ip, target)
            };
            let misconduct = is_rogue.then(|| misbehave.clone());
            town.members.push(Member::new(ip, config, misconduct));
        }
        for member in &mut town.members {
            member.start().await?;
        }
        Ok(town)
    }

    fn write_peers_file(&self, ip: IpAddr, peers: &[IpAddr]) -> io::Result<PathBuf> {
        let records: Vec<_> = peers.iter().map(|ip| serde_json::json!({ "ip": ip })).collect();
        let path = self.peers_file(ip);
        fs::write(&path, serde_json::Value::from(records).to_string())?;
        Ok(path)
    }

    fn peers_file(&self, ip: IpAddr) -> PathBuf {
        self.folder.path().join(format!("{ip}.json"))
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn running(&self) -> usize {
        self.members.iter().filter(|member| member.is_running()).count()
    }

    /// Kills a quarter of the nodes, one of the bootstrap peers among them. Their names.
    pub(crate) async fn kill_a_quarter(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        for member in self.members.iter_mut().skip(1).step_by(4) {
            self.dials_of_the_dead += member.sight().dials;
            member.kill().await;
            names.push(name(member.ip));
        }
        names
    }

    pub(crate) async fn revive(&mut self) -> Result<(), NetworkError> {
        for member in self.members.iter_mut().filter(|member| !member.is_running()) {
            member.start().await?;
        }
        Ok(())
    }

    /// From now on one node misbehaves on every connection. Its name.
    pub(crate) fn turn_rogue(&mut self) -> String {
        self.misconduct.send_replace(true);
        name(self.members[self.rogue].ip)
    }

    /// What is wrong with each node, as far as anything is; the dead are as they should be.
    pub(crate) fn complaints(&self) -> Vec<(String, String)> {
        let sights: HashMap<IpAddr, Sight> = self.alive().map(|member| (member.ip, member.sight())).collect();
        let complain = |member: &Member| {
            let complaint = self.complaint(member, &sights)?;
            Some((name(member.ip), complaint))
        };
        self.alive().filter_map(complain).collect()
    }

    fn alive(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_running())
    }

    fn complaint(&self, member: &Member, sights: &HashMap<IpAddr, Sight>) -> Option<String> {
        let sight = &sights[&member.ip];
        if sight.doubled > 0 {
            return Some(format!(
                "was given {} connections to peers it was connected to",
                sight.doubled
            ));
        }
        half_connection(member.ip, sights).or_else(|| {
            if member.ip == self.members[self.rogue].ip {
                self.complaint_of_the_rogue(sight)
            } else {
                self.complaint_of_the_honest(member.ip, sight)
            }
        })
    }

    fn complaint_of_the_honest(&self, ip: IpAddr, sight: &Sight) -> Option<String> {
        let rogue = self.members[self.rogue].ip;
        let others = self.len() - 1;
        let known = sight.known.iter().filter(|&&peer| peer != ip).count();
        let out = sight.alive(true);
        if known < others {
            Some(format!("knows {known} of {others} others"))
        } else if out != self.target {
            Some(format!("has {out} of {} outgoing connections", self.target))
        } else if *self.misconduct.borrow() != sight.banned.contains(&rogue) {
            Some(format!("is wrong about {}", name(rogue)))
        } else {
            None
        }
    }

    /// Before it misbehaves it is connected to everyone, after that to nobody.
    fn complaint_of_the_rogue(&self, sight: &Sight) -> Option<String> {
        let expected = if *self.misconduct.borrow() {
            0
        } else {
            self.running() - 1
        };
        let alive = sight.alive(true) + sight.alive(false);
        (alive != expected).then(|| format!("has {alive} connections instead of {expected}"))
    }

    /// A line of the table for each node.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.members.iter().map(|member| self.row(member)).collect()
    }

    fn row(&self, member: &Member) -> Row {
        let sight = member.sight();
        let is_rogue = member.ip == self.members[self.rogue].ip && *self.misconduct.borrow();
        Row {
            name: name(member.ip),
            mood: match (member.is_running(), is_rogue) {
                (false, _) => "dead",
                (true, true) => "rogue",
                (true, false) => "",
            },
            out: sight.alive(true),
            incoming: sight.alive(false),
            known: sight.known.len(),
            banned: sight.banned.len(),
            dials_per_second: sight.dials_per_second,
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let sights: Vec<Sight> = self.alive().map(Member::sight).collect();
        Totals {
            connections: sights.iter().map(|sight| sight.alive(true)).sum(),
            dials: self.dials_of_the_dead + sights.iter().map(|sight| sight.dials).sum::<u64>(),
            bans: sights.iter().map(|sight| sight.banned.len()).sum(),
        }
    }

    /// Stops every node as its user would, and reads what it left in its peers file.
    pub(crate) async fn stop(&mut self) -> Result<(), Box<dyn Error>> {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            member.stop().await?;
            let ip = member.ip;
            self.check_peers_file(index)
                .map_err(|error| format!("the peers file of {}: {error}", name(ip)))?;
        }
        Ok(())
    }

    fn check_peers_file(&self, index: usize) -> Result<(), Box<dyn Error>> {
        let text = fs::read_to_string(self.peers_file(self.members[index].ip))?;
        let records: Vec<serde_json::Value> = serde_json::from_str(&text)?;
        if records.len() < self.len() - 1 {
            return Err(format!("{} peers instead of {}", records.len(), self.len() - 1).into());
        }
        let rogue = self.members[self.rogue].ip.to_string();
        let bans = |record: &serde_json::Value| record["ip"] == *rogue && record["status"] == "Banned";
        if index != self.rogue && !records.iter().any(bans) {
            return Err("the ban is missing".into());
        }
        Ok(())
    }
}

/// A connection that the other end does not have, or has otherwise.
fn half_connection(ip: IpAddr, sights: &HashMap<IpAddr, Sight>) -> Option<String> {
    let sight = &sights[&ip];
    let is_half = |(peer, link): &(&IpAddr, &Link)| {
        let other_end = sights.get(peer).and_then(|sight| sight.links.get(&ip));
        !other_end.is_some_and(|other| {
            (other.local, other.remote) == (link.remote, link.local) && other.is_outgoing != link.is_outgoing
        })
    };
    let (peer, _) = sight.links.iter().find(is_half)?;
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

/// The last part of the address: all nodes share the rest.
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
