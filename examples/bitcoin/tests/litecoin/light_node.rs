//! The example node of the Bitcoin protocol on a host of a lab, as its user has it: options, lines, and a peers file.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use chrono::{DateTime, Utc};
use network::PeerStatus;
use network_lab::program::Program;
use network_lab::topology::Host;
use serde::Deserialize;

/// The program of this package.
const EXECUTABLE: &str = env!("CARGO_BIN_EXE_bitcoin-node");

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
        let mut command = host.command(EXECUTABLE);
        command
            .args(["--network", "litecoin-regtest", "--verbose"])
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
