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

use crate::addresses::Addresses;
use crate::board::Row;
use crate::member::{Link, Member, Sight};

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
        // Everyone's first dials then reach the one that is to be connected to all. Whoever had filled all of its incoming
        // places and met its target before would refuse it from then on.
        town.members[town.rogue].start().await?;
        let others = town.members.iter_mut().filter(|member| !member.is_running());
        for member in others {
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

    /// Kills whoever runs.
    pub(crate) async fn kill(&mut self) {
        for member in &mut self.members {
            member.kill().await;
        }
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
    ///
    /// # Errors
    ///
    /// A peers file that is not whole, which it has to be at every moment.
    pub(crate) fn complaints(&self) -> Result<Vec<(String, String)>, Box<dyn Error>> {
        let sights: HashMap<IpAddr, Sight> = self.alive().map(|member| (member.ip, member.sight())).collect();
        let mut complaints = Vec::new();
        for ip in self.alive().map(|member| member.ip) {
            let complaint = match self.complaint(ip, &sights) {
                Some(complaint) => Some(complaint),
                None => self.complaint_of_the_file(ip)?,
            };
            complaints.extend(complaint.map(|complaint| (name(ip), complaint)));
        }
        Ok(complaints)
    }

    fn alive(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_running())
    }

    fn complaint(&self, ip: IpAddr, sights: &HashMap<IpAddr, Sight>) -> Option<String> {
        let sight = &sights[&ip];
        if sight.doubled > 0 {
            return Some(format!(
                "was given {} connections to peers it was connected to",
                sight.doubled
            ));
        }
        match (ip == self.rogue(), self.misbehaves()) {
            (true, true) => self.complaint_of_the_banned(sight),
            (true, false) => half_connection(ip, sights).or_else(|| self.complaint_of_the_hub(sight)),
            (false, _) => half_connection(ip, sights).or_else(|| self.complaint_of_the_honest(ip, sight)),
        }
    }

    fn rogue(&self) -> IpAddr {
        self.members[self.rogue].ip
    }

    fn misbehaves(&self) -> bool {
        *self.misconduct.borrow()
    }

    fn complaint_of_the_honest(&self, ip: IpAddr, sight: &Sight) -> Option<String> {
        let others = self.len() - 1;
        let known = sight.known.iter().filter(|&&peer| peer != ip).count();
        let out = sight.alive(true);
        if known < others {
            Some(format!("knows {known} of {others} others"))
        } else if out != self.target {
            Some(format!("has {out} of {} outgoing connections", self.target))
        } else if self.misbehaves() != sight.banned.contains(&self.rogue()) {
            Some(format!("is wrong about {}", name(self.rogue())))
        } else {
            None
        }
    }

    /// Until it misbehaves, the rogue is connected to everyone.
    fn complaint_of_the_hub(&self, sight: &Sight) -> Option<String> {
        let (alive, others) = (sight.alive(true) + sight.alive(false), self.running() - 1);
        (alive != others).then(|| format!("is connected to {alive} of {others} others"))
    }

    /// It dials on, and is refused by everyone: a kernel completes connections before anybody refuses them.
    fn complaint_of_the_banned(&self, sight: &Sight) -> Option<String> {
        let alive = sight.alive(true) + sight.alive(false);
        (alive > 0).then(|| format!("still has {alive} connections"))
    }

    /// What the peers file of a node does not say yet: who there is, and who is banned.
    fn complaint_of_the_file(&self, ip: IpAddr) -> Result<Option<String>, Box<dyn Error>> {
        let records = self.peers_file_of(ip)?;
        let others = self.len() - 1;
        if records.len() < others {
            return Ok(Some(format!("wrote down {} of {others} others", records.len())));
        }
        let rogue = self.rogue().to_string();
        let bans = |record: &serde_json::Value| record["ip"] == *rogue && record["status"] == "Banned";
        let expected = self.misbehaves() && ip != self.rogue();
        let is_wrong = expected != records.iter().any(bans);
        Ok(is_wrong.then(|| "wrote down something else than the bans there are".to_owned()))
    }

    fn peers_file_of(&self, ip: IpAddr) -> Result<Vec<serde_json::Value>, Box<dyn Error>> {
        let read = || -> Result<_, Box<dyn Error>> { Ok(serde_json::from_slice(&fs::read(self.peers_file(ip))?)?) };
        read().map_err(|error| format!("the peers file of {} is not whole: {error}", name(ip)).into())
    }

    /// A line of the table for each node.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.members.iter().map(|member| self.row(member)).collect()
    }

    fn row(&self, member: &Member) -> Row {
        let sight = member.sight();
        let is_rogue = member.ip == self.rogue() && self.misbehaves();
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
        for member in &mut self.members {
            member.stop().await?;
        }
        for member in &self.members {
            if let Some(complaint) = self.complaint_of_the_file(member.ip)? {
                return Err(format!("{} {complaint}", name(member.ip)).into());
            }
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
