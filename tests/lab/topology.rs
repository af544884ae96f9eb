//! A network of hosts on one machine: each a network namespace with an address as on the open Internet, all of them on
//! one switch. Nothing gets in or out.
//!
//! ```text
//!  host 1   60.1.0.1 lan ──── port1 ─┐
//!  host 2   60.2.0.1 lan ──── port2 ─┼─ segment0, a bridge
//!  host 3   60.3.0.1 lan ──── port3 ─┘
//! ```

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use super::namespace::{self, Missing, Namespace};
use super::program::Program;

/// How many switches there are to spread the hosts over.
const SEGMENTS: u8 = 2;

/// The switch, and the hosts. All of it is gone once it is dropped, or once the process that made it is.
#[derive(Debug)]
pub(crate) struct Lab {
    // Fields are dropped in this order: the hosts' namespaces live in the switch's.
    hosts: Vec<Host>,
    switch: Namespace,
}

/// One host, by its number from 1.
#[derive(Debug)]
pub(crate) struct Host {
    number: u8,
    namespace: Namespace,
}

/// What becomes of the packets between a host and its switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    /// The host has switched its interface off, and has no way to anywhere.
    Down,
    /// The cable is out: the host has ways still, but no packet takes them.
    Unplugged,
    /// All is as ever, but every packet of either direction is dropped on the way.
    BlackHole,
}

impl Lab {
    /// Whether a lab can be built on this machine.
    pub(crate) fn check() -> Result<(), Missing> {
        namespace::check()
    }

    /// A lab of that many hosts, all of which reach each other.
    pub(crate) fn new(hosts: u8) -> Self {
        let switch = Namespace::root();
        let mut batch = String::new();
        for segment in 0..SEGMENTS {
            writeln!(batch, "link add name segment{segment} type bridge mcast_snooping 0").unwrap();
            writeln!(batch, "link set dev segment{segment} up").unwrap();
        }
        let hosts: Vec<Host> = (1..=hosts).map(|number| Host::new(number, &switch)).collect();
        for host in &hosts {
            let (port, namespace) = (host.port(), host.namespace.id());
            writeln!(batch, "link add name {port} type veth peer name lan netns {namespace}").unwrap();
            writeln!(batch, "link set dev {port} master segment0 up").unwrap();
        }
        switch.ip(&batch);
        let lab = Self { hosts, switch };
        lab.hosts.iter().for_each(|host| lab.connect(host));
        lab
    }

    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub(crate) fn host(&self, number: u8) -> &Host {
        &self.hosts[usize::from(number) - 1]
    }

    /// Changes the link of one host.
    pub(crate) fn set_link(&self, number: u8, link: Link) {
        let host = self.host(number);
        let port = host.port();
        let (carrier, master) = match link {
            Link::Up | Link::Down => ("up", "master segment0"),
            Link::Unplugged => ("down", "master segment0"),
            Link::BlackHole => ("up", "nomaster"),
        };
        self.switch.ip(&format!("link set dev {port} {master} {carrier}\n"));
        match link {
            Link::Down => host.namespace.ip("link set dev lan down\n"),
            Link::Up | Link::Unplugged | Link::BlackHole => self.connect(host),
        }
    }

    /// Splits the network in two: these hosts, and the others.
    pub(crate) fn partition(&self, apart: &[u8]) {
        self.spread(|number| u8::from(apart.contains(&number)));
    }

    /// Makes the network one again.
    pub(crate) fn heal(&self) {
        self.spread(|_| 0);
    }

    fn spread(&self, segment_of: impl Fn(u8) -> u8) {
        let mut batch = String::new();
        for host in &self.hosts {
            let segment = segment_of(host.number);
            writeln!(batch, "link set dev {} master segment{segment}", host.port()).unwrap();
        }
        self.switch.ip(&batch);
    }

    /// Gives a host its interface with its address. It is told where all others are, as a router of the Internet would
    /// be: somebody who is gone is one who does not answer, not one for whom there is no way.
    fn connect(&self, host: &Host) {
        let mut batch = format!(
            "link set dev lo up\n\
             link set dev lan address {} up\n\
             address replace {}/8 dev lan\n",
            host.hardware_address(),
            host.ip(),
        );
        for other in self.hosts.iter().filter(|other| other.number != host.number) {
            let (ip, at) = (other.ip(), other.hardware_address());
            writeln!(batch, "neighbour replace {ip} lladdr {at} dev lan nud permanent").unwrap();
        }
        host.namespace.ip(&batch);
    }
}

impl Host {
    fn new(number: u8, switch: &Namespace) -> Self {
        Self {
            number,
            namespace: switch.beside(),
        }
    }

    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// Each host has a /16 of its own, in one /8 for all.
    pub(crate) fn ip(&self) -> IpAddr {
        ip(self.number)
    }

    /// A program that is going to run on this host; to be spawned by [`spawn`](Self::spawn), or as it is.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }

    /// Starts a program whose lines are read, with these arguments.
    pub(crate) fn spawn(&self, program: &str, arguments: &[&str]) -> Program {
        Program::spawn(self.command(program).args(arguments))
    }

    /// Delays every packet that leaves this host, and loses some.
    pub(crate) fn netem(&self, delay_ms: u32, loss_percent: u32) -> Result<(), String> {
        let mut tc = self.namespace.command_as_seen_from_outside("tc");
        let (delay, loss) = (format!("{delay_ms}ms"), format!("{loss_percent}%"));
        tc.args(["qdisc", "replace", "dev", "lan", "root", "netem", "limit", "10000"]);
        let done = tc.args(["delay", &delay, "loss", &loss]).output();
        let done = done.map_err(|error| format!("cannot run `tc`: {error}"))?;
        if done.status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&done.stderr);
        Err(format!("this kernel has no netem: {}", complaint.trim()))
    }

    fn port(&self) -> String {
        format!("port{}", self.number)
    }

    fn hardware_address(&self) -> String {
        format!("02:00:3c:00:00:{:02x}", self.number)
    }
}

/// The address of a host.
pub(crate) fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(60, number, 0, 1).into()
}
