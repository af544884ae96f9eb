//! A node on a host of a lab: the program, which is this same executable started anew, and what its judge sees of it.

#![allow(dead_code, reason = "no test needs all of it")]

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use network::{NetworkConfig, NetworkController, NetworkControllerEvent, PeerLease, PeerStatus};
use network_examples::session::{Pace, Session};
use network_lab::program::Program;
use network_lab::topology::Host;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::{self, JoinSet};

/// The first argument that makes the executable a node; the second one is its [`Settings`].
const ROLE: &str = "--lab-node";

/// The line that asks for a [`View`]; any other one is a list of peers.
const VIEW: &str = "view";

/// What a node is told at its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) config: NetworkConfig,
    /// See [`Pace`].
    pub(crate) handshake: Duration,
    pub(crate) round: Duration,
    pub(crate) patience: Duration,
}

/// What a node sees.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) peers: Vec<PeerView>,
    /// The sockets that it holds, whatever their peers' status.
    pub(crate) sockets: Vec<Connection>,
    pub(crate) counters: HashMap<String, u64>,
    /// How many outgoing connections it wants.
    pub(crate) target: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerView {
    pub(crate) ip: IpAddr,
    pub(crate) status: PeerStatus,
    pub(crate) last_failure: Option<DateTime<Utc>>,
    pub(crate) failures_in_row: u32,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Connection {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) is_outgoing: bool,
}

impl Connection {
    /// The same one as its other end sees it.
    pub(crate) fn other_end(self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
            is_outgoing: !self.is_outgoing,
        }
    }
}

/// A node that runs on a host, as its judge has it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) ip: IpAddr,
    program: Program,
}

impl Node {
    pub(crate) fn spawn(host: &Host, settings: &Settings) -> Self {
        let executable = std::env::current_exe().unwrap();
        let settings = serde_json::to_string(settings).unwrap();
        let program = host.spawn(executable.to_str().unwrap(), &[ROLE, &settings]);
        Self { ip: host.ip(), program }
    }

    /// Tells the node of peers, as a peer of it would.
    pub(crate) fn introduce(&mut self, peers: &[IpAddr]) {
        let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
        self.program.tell(&peers.join(" "));
    }

    /// Asks the node what it sees.
    pub(crate) fn view(&mut self) -> View {
        self.program.tell(VIEW);
        serde_json::from_str(&self.program.line()).unwrap()
    }
}

impl View {
    fn of(network: &NetworkController, sockets: impl Iterator<Item = Connection>) -> Self {
        let peers = network.peers().map(|peer| PeerView {
            ip: peer.ip,
            status: peer.status,
            last_failure: peer.last_failure,
            failures_in_row: peer.failures_in_row,
        });
        let counters = network.stats().counters;
        Self {
            peers: peers.collect(),
            sockets: sockets.collect(),
            counters: counters.iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            target: network.config().target_outgoing_connections,
        }
    }

    /// The peers to which there is a connection that shook hands, of this direction.
    pub(crate) fn alive(&self, is_outgoing: bool) -> HashSet<IpAddr> {
        let status = if is_outgoing {
            PeerStatus::OutAlive
        } else {
            PeerStatus::InAlive
        };
        let alive = self.peers.iter().filter(|peer| peer.status == status);
        alive.map(|peer| peer.ip).collect()
    }

    /// The same, of both directions.
    pub(crate) fn connected(&self) -> HashSet<IpAddr> {
        self.alive(true).union(&self.alive(false)).copied().collect()
    }

    pub(crate) fn known(&self) -> HashSet<IpAddr> {
        self.peers.iter().map(|peer| peer.ip).collect()
    }

    pub(crate) fn peer(&self, ip: IpAddr) -> &PeerView {
        let mut peers = self.peers.iter();
        peers
            .find(|peer| peer.ip == ip)
            .unwrap_or_else(|| panic!("{ip} is not known"))
    }

    /// The peers with a streak of failures, and how long it is.
    pub(crate) fn blamed(&self) -> HashMap<IpAddr, u32> {
        let blamed = self.peers.iter().filter(|peer| peer.failures_in_row > 0);
        blamed.map(|peer| (peer.ip, peer.failures_in_row)).collect()
    }
}

/// Runs this process as a node, if that is what it was started for.
pub(crate) fn run_if_asked() -> bool {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(ROLE) {
        return false;
    }
    let settings = arguments.next().expect("the settings of the node");
    let settings = serde_json::from_str(&settings).expect("settings of a node");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .unwrap()
        .block_on(run(settings))
        .expect("the node runs to its end");
    true
}

/// Lives until standard input ends.
async fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    let network = NetworkController::with_config(settings.config.clone()).await?;
    let session = Arc::new(Session::new(settings.pace(), network.feedback_sink()));
    let mut connections = network.leased();
    let mut sockets: HashMap<task::Id, Connection> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            Some((event, lease)) = connections.next() => {
                let NetworkControllerEvent::CandidateConnection { socket, is_outgoing, .. } = event;
                // One that is dead already has no addresses any more, and is told of by its task.
                let connection = Connection::of(&socket, is_outgoing).ok();
                let id = tasks.spawn(serve(Arc::clone(&session), socket, lease)).id();
                sockets.extend(connection.map(|connection| (id, connection)));
            }
            Some(ended) = tasks.join_next_with_id() => drop(sockets.remove(&ended?.0)),
            command = commands.next_line() => match command?.as_deref() {
                Some(VIEW) => {
                    let view = View::of(connections.get_ref(), sockets.values().copied());
                    println!("{}", serde_json::to_string(&view)?);
                }
                Some(peers) => {
                    let peers: Result<Vec<IpAddr>, _> = peers.split_whitespace().map(str::parse).collect();
                    connections.get_mut().feedback_peer_list(peers?).await;
                }
                None => return Ok(()),
            },
        }
    }
}

async fn serve(session: Arc<Session>, mut socket: TcpStream, lease: PeerLease) {
    let ending = session.converse(&mut socket, &lease, || {}).await;
    drop(socket);
    ending.settle(lease);
}

impl Settings {
    fn pace(&self) -> Pace {
        Pace {
            handshake: self.handshake,
            round: self.round,
            patience: self.patience,
        }
    }
}

impl Connection {
    fn of(socket: &TcpStream, is_outgoing: bool) -> io::Result<Self> {
        // A socket for both families tells IPv4 addresses as IPv6 ones.
        let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        Ok(Self {
            local: canonical(socket.local_addr()?),
            remote: canonical(socket.peer_addr()?),
            is_outgoing,
        })
    }
}
