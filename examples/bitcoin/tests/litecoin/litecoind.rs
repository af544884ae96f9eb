//! A full node of the Litecoin network, which somebody else wrote, on a host of a lab.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use network_lab::namespace::{self, Missing};
use network_lab::program::Program;
use network_lab::topology::{self, Host, Lab};
use serde::Deserialize;
use serde_json::Value;

/// Where the nodes of the regression test network listen.
pub(crate) const PORT: &str = "19444";

const SETTINGS: &[&str] = &[
    "-regtest",
    "-server",
    "-rpcuser=u",
    "-rpcpassword=p",
    "-rpcport=19443",
    "-port=19444",
    "-dnsseed=0",
    "-discover=0",
    "-listenonion=0",
    "-disablewallet",
    "-debug=net",
    "-logtimemicros",
    "-printtoconsole=0",
];

/// Whether there is one on this machine, and a lab for it.
pub(crate) fn check() -> Result<(), Missing> {
    Lab::check()?;
    namespace::check_tool("litecoind", "litecoind", "-version")?;
    namespace::check_tool("litecoin-cli", "litecoind", "-version")
}

/// A node, and what it is told and asked. It is killed when it is dropped; its folder stays.
#[derive(Debug)]
pub(crate) struct Litecoind {
    number: u8,
    folder: PathBuf,
    _program: Program,
}

/// A connection, as a node itself tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Peer {
    /// Never used twice.
    pub(crate) id: u64,
    /// The other end.
    pub(crate) addr: SocketAddr,
    /// Its own end.
    pub(crate) addrbind: SocketAddr,
    pub(crate) inbound: bool,
    /// What the other end calls itself, once it has said so.
    pub(crate) subver: String,
}

impl Litecoind {
    /// Starts one on a host, with what is left in its folder from earlier.
    pub(crate) fn start(host: &Host, folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut command = host.command("litecoind");
        command.args(SETTINGS);
        command.arg(format!("-datadir={}", folder.display()));
        command.arg(format!("-bind={}:{PORT}", host.ip()));
        let program = Program::spawn(&mut command);
        let node = Self {
            number: host.number(),
            folder: folder.to_owned(),
            _program: program,
        };
        node.cli(host, &["-rpcwait"], "uptime", &[]);
        node
    }

    pub(crate) fn ip(&self) -> IpAddr {
        topology::ip(self.number)
    }

    /// Calls one of its procedures.
    pub(crate) fn call(&self, lab: &Lab, method: &str, arguments: &[&str]) -> Value {
        self.cli(lab.host(self.number), &[], method, arguments)
    }

    /// The connections that it has with an address.
    pub(crate) fn peers_at(&self, lab: &Lab, ip: IpAddr) -> Vec<Peer> {
        let all: Vec<Peer> = serde_json::from_value(self.call(lab, "getpeerinfo", &[])).unwrap();
        all.into_iter().filter(|peer| peer.addr.ip() == ip).collect()
    }

    /// Tells it of the address of another node.
    pub(crate) fn learn(&self, lab: &Lab, ip: IpAddr) {
        self.call(lab, "addpeeraddress", &[&ip.to_string(), PORT]);
    }

    /// Sets its clock, which stands still from then on.
    pub(crate) fn set_clock(&self, lab: &Lab, seconds: i64) {
        self.call(lab, "setmocktime", &[&seconds.to_string()]);
    }

    /// What it wrote down of its life.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("regtest/debug.log")).unwrap()
    }

    fn cli(&self, host: &Host, options: &[&str], method: &str, arguments: &[&str]) -> Value {
        let folder = format!("-datadir={}", self.folder.display());
        let fixed = ["-regtest", "-rpcuser=u", "-rpcpassword=p", "-rpcport=19443", &folder];
        let limited = ["30", "litecoin-cli"];
        let all = [&limited[..], &fixed, options, &[method], arguments].concat();
        let answer = host.ask("timeout", &all);
        serde_json::from_str(&answer).unwrap_or(Value::String(answer))
    }
}
