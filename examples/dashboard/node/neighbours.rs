//! The neighbours of a node that has none: nodes on loopback addresses of their own, in the same process, that come and go,
//! one host that breaks the protocol, and addresses without a listener.

use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use network::NetworkConfig;
use network_examples::session::Pace;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Failure, Node};

/// Shorter than those of a real node, so that something is to be seen.
pub(crate) const PACE: Pace = Pace {
    handshake: Duration::from_secs(2),
    round: Duration::from_secs(2),
    patience: Duration::from_secs(2),
};

/// How long the first neighbour runs at a time; each other one runs longer than the one before it by [`LONGER`].
const FIRST_LIFE: Duration = Duration::from_secs(15);
const LONGER: Duration = Duration::from_secs(5);
/// How long a neighbour stays away between two lives.
const AWAY: Duration = Duration::from_secs(6);
/// Between the starts of two neighbours.
const STAGGER: Duration = Duration::from_millis(1_300);
/// Between two connections of the host that breaks the protocol.
const NONSENSE_INTERVAL: Duration = Duration::from_secs(12);
/// The ban of a peer that breaks the protocol.
const BAN_DURATION: Duration = Duration::from_secs(45);
/// Between two exchanges of an outgoing connection of the watched node.
const ROTATION_INTERVAL: Duration = Duration::from_secs(20);

/// How many sets of addresses are tried.
const ATTEMPTS: u32 = 16;
/// How many addresses the watched node knows that have no listener.
const ABSENT: u8 = 3;

/// The hosts around the node that is watched. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Neighbourhood {
    watched: SocketAddr,
    neighbours: Vec<IpAddr>,
    rogue: IpAddr,
    absent: Vec<IpAddr>,
    tasks: JoinSet<Result<(), Failure>>,
}

impl Neighbourhood {
    /// Finds addresses for the watched node and so many neighbours. None runs yet.
    pub(crate) fn find(neighbours: u8) -> io::Result<Self> {
        let sets = (0..ATTEMPTS).map(|attempt| std::process::id().wrapping_add(attempt * 997));
        let mut failed = None;
        for set in sets {
            match Self::probe(set, neighbours) {
                Ok(found) => return Ok(found),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }

    /// The addresses of one set, if one port is free on each of them.
    fn probe(set: u32, count: u8) -> io::Result<Self> {
        let watched = TcpListener::bind((address(set, 0), 0))?.local_addr()?;
        let neighbours: Vec<_> = (1..=count).map(|host| address(set, host)).collect();
        for &ip in &neighbours {
            TcpListener::bind((ip, watched.port()))?;
        }
        Ok(Self {
            watched,
            neighbours,
            rogue: address(set, count + 1),
            absent: (count + 2..count + 2 + ABSENT).map(|host| address(set, host)).collect(),
            tasks: JoinSet::new(),
        })
    }

    /// The config of the watched node, which knows one neighbour and the absent hosts at its start.
    pub(crate) fn watched_config(&self) -> NetworkConfig {
        let told_of = self.neighbours.iter().take(1).chain(&self.absent).copied();
        let mut config = self.config(self.watched.ip(), told_of.collect());
        config.target_outgoing_connections = 4;
        config.max_incoming_connections = 6;
        config.max_idle_peers = 50;
        config.max_banned_peers = 10;
        config.rotation_interval = Some(ROTATION_INTERVAL);
        config
    }

    /// Starts all neighbours.
    pub(crate) fn start(&mut self) {
        // A third of them know the watched node at their start, the others the neighbour before them.
        let before = std::iter::once(self.watched.ip()).chain(self.neighbours.iter().copied());
        for ((place, &ip), before) in (0..).zip(&self.neighbours).zip(before) {
            let first = if place % 3 == 0 { self.watched.ip() } else { before };
            let config = self.config(ip, vec![first]);
            let first_start = STAGGER * place;
            self.tasks.spawn(live(config, first_start, FIRST_LIFE + LONGER * place));
        }
        self.tasks.spawn(misbehave(self.rogue, self.watched));
    }

    /// Resolves if one of them has ended, which none should. Cancel safe.
    pub(crate) async fn any_ended(neighbourhood: &mut Option<Self>) -> Failure {
        let ended = match neighbourhood {
            Some(neighbourhood) => neighbourhood.tasks.join_next().await,
            None => None,
        };
        match ended {
            Some(Ok(Ok(()))) => "a neighbour has ended".into(),
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => error.into(),
            None => pending().await,
        }
    }

    fn config(&self, ip: IpAddr, initial_peers: Vec<IpAddr>) -> NetworkConfig {
        let mut config = NetworkConfig::in_memory(self.watched.port());
        config.listen_ip = ip;
        config.initial_peers = initial_peers;
        config.target_outgoing_connections = 2;
        config.max_incoming_connections = 4;
        config.max_simultaneous_outgoing_connection_attempts = 4;
        config.max_simultaneous_incoming_connection_attempts = 4;
        config.retry_backoff = Duration::from_secs(2);
        config.max_retry_backoff = Duration::from_secs(30);
        config.ban_duration = Some(BAN_DURATION);
        config
    }
}

/// A host of a set. Each is in a /16 of its own, as peers on the Internet are.
fn address(set: u32, host: u8) -> IpAddr {
    let [_, _, high, low] = set.to_be_bytes();
    Ipv4Addr::new(127, 16 + high.wrapping_add(host.wrapping_mul(7)) % 240, low, 1 + host).into()
}

/// Runs a neighbour, again and again.
async fn live(config: NetworkConfig, first_start: Duration, life: Duration) -> Result<(), Failure> {
    sleep(first_start).await;
    loop {
        // Its port may have been taken meanwhile; then it tries again later.
        if let Ok((mut node, _)) = Node::start(config.clone(), PACE).await {
            tokio::select! {
                error = node.ended() => return Err(error),
                () = sleep(life) => node.stop().await?,
            }
        }
        sleep(AWAY).await;
    }
}

/// Connects to the watched node and sends what is not the protocol, again and again.
async fn misbehave(from: IpAddr, to: SocketAddr) -> Result<(), Failure> {
    loop {
        sleep(NONSENSE_INTERVAL).await;
        // A banned host's connection is refused, which is an error here.
        let _ = timeout(NONSENSE_INTERVAL, talk_nonsense(from, to)).await;
    }
}

async fn talk_nonsense(from: IpAddr, to: SocketAddr) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut socket: TcpStream = socket.connect(to).await?;
    socket.write_all(b"GIVE ME ALL YOUR COINS\n").await?;
    tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
    Ok(())
}
