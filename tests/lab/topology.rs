//! A network of hosts on one machine: each a network namespace with an address as on the open Internet, all of them on
//! one switch. Nothing gets in or out.
//!
//! ```text
//!  host 1   60.1.0.1 lan ──── port1 ─┐
//!  host 2   60.2.0.1 lan ──── port2 ─┼─ segment0, a bridge
//!  host 3   60.3.0.1 lan ──── port3 ─┘
//! ```
//!
//! Where packets are to be late or lost, and the kernel has no netem, there is a wire between a port and the bridge:
//!
//! ```text
//!  host 1   60.1.0.1 lan ──── port1 ── wire ── far1 ──── trunk1 ── segment0
//! ```
//!
//! Any program runs on a host: `lab.host(1).spawn("program", &["argument"])` reads its lines and ends it when it is
//! dropped, `lab.host(1).command("program")` gives a [`Command`] to do more with, and `ask` is for short-lived tools.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use super::namespace::{self, Missing, Namespace};
use super::program::Program;
use super::wire;

/// How many switches there are to spread the hosts over.
const SEGMENTS: u8 = 2;

/// The switch, and the hosts. All of it is gone once it is dropped, or once the process that made it is.
#[derive(Debug)]
pub struct Lab {
    // Fields are dropped in this order: everything else lives in the switch's namespace.
    hosts: Vec<Host>,
    switch: Namespace,
}

/// One host, by its number from 1.
#[derive(Debug)]
pub struct Host {
    number: u8,
    wire: Option<Program>,
    namespace: Namespace,
}

/// What befalls the packets that leave a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// How much later they arrive.
    pub delay: Duration,
    /// How many of a hundred never do.
    pub loss_percent: u8,
}

/// What becomes of the packets between a host and its switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Packets pass.
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
    pub fn check() -> Result<(), Missing> {
        namespace::check()
    }

    /// A lab of that many hosts, all of which reach each other.
    pub fn new(hosts: u8) -> Self {
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

    /// All hosts, by their numbers.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host of this number, which counts from 1.
    pub fn host(&self, number: u8) -> &Host {
        &self.hosts[usize::from(number) - 1]
    }

    /// Changes the link of one host.
    pub fn set_link(&self, number: u8, link: Link) {
        let host = self.host(number);
        let (carrier, master) = match link {
            Link::Up | Link::Down => ("up", "master segment0"),
            Link::Unplugged => ("down", "master segment0"),
            Link::BlackHole => ("up", "nomaster"),
        };
        let (port, uplink) = (host.port(), host.uplink());
        self.switch.ip(&format!(
            "link set dev {port} {carrier}\n\
             link set dev {uplink} {master}\n",
        ));
        match link {
            Link::Down => host.namespace.ip("link set dev lan down\n"),
            Link::Up | Link::Unplugged | Link::BlackHole => self.connect(host),
        }
    }

    /// Changes the weather for the packets that leave one host, once.
    pub fn set_weather(&mut self, number: u8, weather: Weather) {
        if !self.host(number).netem(weather) {
            self.lay_wire(number, weather);
        }
    }

    fn lay_wire(&mut self, number: u8, weather: Weather) {
        let host = &mut self.hosts[usize::from(number) - 1];
        let (port, far, trunk) = (host.port(), format!("far{number}"), host.trunk());
        // A wire carries frame by frame.
        host.namespace.ip("link set dev lan gso_max_segs 1\n");
        self.switch.ip(&format!(
            "link add name {far} type veth peer name {trunk}\n\
             link set dev {far} up\n\
             link set dev {port} nomaster\n\
             link set dev {trunk} master segment0 up\n",
        ));
        let executable = std::env::current_exe().unwrap();
        let mut command = self.switch.command(executable.to_str().unwrap());
        let wire = Program::spawn(command.args(wire::arguments(&port, &far, weather)));
        assert_eq!(wire.line(), wire::READY);
        host.wire = Some(wire);
    }

    /// Splits the network in two: these hosts, and the others.
    pub fn partition(&self, apart: &[u8]) {
        self.spread(|number| u8::from(apart.contains(&number)));
    }

    /// Makes the network one again.
    pub fn heal(&self) {
        self.spread(|_| 0);
    }

    fn spread(&self, segment_of: impl Fn(u8) -> u8) {
        let mut batch = String::new();
        for host in &self.hosts {
            let segment = segment_of(host.number);
            writeln!(batch, "link set dev {} master segment{segment}", host.uplink()).unwrap();
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
            wire: None,
            namespace: switch.beside(),
        }
    }

    /// Its number in the lab.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Each host has a /16 of its own, in one /8 for all.
    pub fn ip(&self) -> IpAddr {
        ip(self.number)
    }

    /// A program that is going to run on this host; to be spawned by [`spawn`](Self::spawn), or as it is.
    pub fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }

    /// Starts a program whose lines are read, with these arguments.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Program {
        Program::spawn(self.command(program).args(arguments))
    }

    /// What a tool says that looks at this host's network.
    pub fn ask(&self, tool: &str, arguments: &[&str]) -> String {
        let mut command = self.namespace.command_as_seen_from_outside(tool);
        let answer = command.args(arguments).output().unwrap();
        assert!(answer.status.success(), "{tool} {arguments:?}: {answer:?}");
        String::from_utf8(answer.stdout).unwrap()
    }

    /// Whether the kernel could do it: not all have netem.
    fn netem(&self, weather: Weather) -> bool {
        let mut tc = self.namespace.command_as_seen_from_outside("tc");
        tc.args(["qdisc", "replace", "dev", "lan", "root", "netem", "limit", "10000"]);
        tc.args(["delay", &format!("{}ms", weather.delay.as_millis())]);
        tc.args(["loss", &format!("{}%", weather.loss_percent)]);
        tc.output().is_ok_and(|done| done.status.success())
    }

    fn port(&self) -> String {
        format!("port{}", self.number)
    }

    fn trunk(&self) -> String {
        format!("trunk{}", self.number)
    }

    /// What connects it to the bridge.
    fn uplink(&self) -> String {
        if self.wire.is_some() { self.trunk() } else { self.port() }
    }

    fn hardware_address(&self) -> String {
        format!("02:00:3c:00:00:{:02x}", self.number)
    }
}

/// The address of a host.
pub fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(60, number, 0, 1).into()
}

/// The host of an address.
pub fn host_of(ip: IpAddr) -> u8 {
    let mut hosts = 1..=u8::MAX;
    hosts
        .find(|&number| self::ip(number) == ip)
        .expect("an address of the lab")
}
