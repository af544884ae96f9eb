//! The example node of the Bitcoin protocol on a host of a lab, as its user has it: options, lines, and a peers file.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process;

use chrono::{DateTime, Utc};
use clap::Parser;
use network::PeerStatus;
use serde::Deserialize;

use super::example::node::{self, Options};
use super::program::Program;
use super::topology::Host;

/// The first argument that makes the executable the node; its own ones follow.
const ROLE: &str = "--lab-light-node";

/// What the peers file says of a peer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Record {
    ip: IpAddr,
    #[serde(default)]
    pub(crate) status: Option<PeerStatus>,
    #[serde(default)]
    pub(crate) last_alive: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(crate) last_failure: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(crate) last_alive_outgoing: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(crate) failures_in_row: u32,
    #[serde(default)]
    pub(crate) banned_at: Option<DateTime<Utc>>,
}

/// What a peers file says of each peer.
pub(crate) fn records(file: &Path) -> HashMap<IpAddr, Record> {
    let records: Vec<Record> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    records.into_iter().map(|record| (record.ip, record)).collect()
}

/// The connections of a host with an address, as its kernel has them: its own end and the other one.
pub(crate) fn sockets_with(host: &Host, ip: IpAddr) -> Vec<(SocketAddr, SocketAddr)> {
    let table = host.ask("ss", &["-Htn", "state", "established"]);
    let ends = |line: &str| {
        let mut ends = line.split_whitespace().skip(2).map(|end| end.parse().unwrap());
        (ends.next().unwrap(), ends.next().unwrap())
    };
    let all = table.lines().map(ends);
    all.filter(|(_, remote): &(SocketAddr, SocketAddr)| remote.ip() == ip)
        .collect()
}

/// A node that runs.
#[derive(Debug)]
pub(crate) struct LightNode {
    program: Program,
    said: Vec<String>,
}

impl LightNode {
    /// Starts one with this peers file.
    pub(crate) fn start(host: &Host, file: &Path, options: &[&str]) -> Self {
        let executable = std::env::current_exe().unwrap();
        let mut command = host.command(executable.to_str().unwrap());
        command
            .args([ROLE, "--network", "litecoin-regtest", "--verbose"])
            .args(["--dump-interval", "1", "--listen-ip", &host.ip().to_string()])
            .args(["--peers", file.to_str().unwrap()])
            .args(options);
        let program = Program::spawn(&mut command);
        assert!(program.line().starts_with("listening on"));
        Self {
            program,
            said: Vec::new(),
        }
    }

    /// All that it has said so far.
    pub(crate) fn said(&mut self) -> &[String] {
        self.said.extend(self.program.lines());
        &self.said
    }

    /// How often it has said this of a peer.
    pub(crate) fn said_of(&mut self, ip: IpAddr, what: &str) -> usize {
        let of_peer = format!("{ip} (");
        let said = self.said().iter();
        said.filter(|line| line.starts_with(&of_peer) && line.contains(what))
            .count()
    }

    /// Stops it as a user would.
    pub(crate) fn interrupt(self) {
        self.program.signal("INT");
        assert!(self.program.ended(), "the node failed");
    }
}

/// Runs this process as the node, if that is what it was started for.
pub(crate) fn run_if_asked() -> bool {
    let mut arguments = std::env::args();
    let name = arguments.next();
    if arguments.next().as_deref() != Some(ROLE) {
        return false;
    }
    let options = Options::parse_from(name.into_iter().chain(arguments));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Err(error) = runtime.unwrap().block_on(node::run(options)) {
        eprintln!("error: {error}");
        process::exit(1);
    }
    true
}
