//! One node of the test network, and what it sees.

use std::collections::HashMap;
use std::error::Error;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use network::{NetworkConfig, NetworkController, NetworkControllerEvent, NetworkError, PeerLease, PeerStatus};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{self, Instant};

use network_examples::session::{Pace, Session};

/// Shorter than a real node's, so that a run takes seconds.
const PACE: Pace = Pace {
    handshake: Duration::from_secs(5),
    round: Duration::from_millis(500),
    patience: Duration::from_secs(10),
};

const GLANCE_INTERVAL: Duration = Duration::from_millis(50);
const RATE_WINDOW: Duration = Duration::from_millis(500);

/// A node that can be started, killed, and started again.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) ip: IpAddr,
    config: NetworkConfig,
    sight: Arc<Mutex<Sight>>,
    misconduct: Option<watch::Receiver<bool>>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    task: JoinHandle<Result<(), NetworkError>>,
    stop: oneshot::Sender<()>,
}

/// What a node sees: the sockets that it holds, and a glance at its controller.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// The connection to each peer, from its event to its end.
    pub(crate) links: HashMap<IpAddr, Link>,
    /// How often it was given a second connection to a peer while it held one.
    pub(crate) doubled: u32,
    pub(crate) known: Vec<IpAddr>,
    pub(crate) banned: Vec<IpAddr>,
    pub(crate) dials: u64,
    pub(crate) dials_per_second: u64,
}

/// One connection as one of its ends sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) is_outgoing: bool,
    pub(crate) is_alive: bool,
}

impl Sight {
    pub(crate) fn alive(&self, is_outgoing: bool) -> usize {
        let alive = |link: &&Link| link.is_alive && link.is_outgoing == is_outgoing;
        self.links.values().filter(alive).count()
    }

    fn glance(&mut self, network: &NetworkController) {
        self.known = network.peers().map(|peer| peer.ip).collect();
        let banned = network.peers().filter(|peer| peer.status == PeerStatus::Banned);
        self.banned = banned.map(|peer| peer.ip).collect();
        self.dials = network.stats().counters.dials_started;
    }
}

impl Member {
    /// A node that does not run yet. With `misconduct` it misbehaves from when that says so.
    pub(crate) fn new(ip: IpAddr, config: NetworkConfig, misconduct: Option<watch::Receiver<bool>>) -> Self {
        Self {
            ip,
            config,
            sight: Arc::default(),
            misconduct,
            running: None,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn sight(&self) -> Sight {
        look(&self.sight).clone()
    }

    pub(crate) async fn start(&mut self) -> Result<(), NetworkError> {
        let network = NetworkController::with_config(self.config.clone()).await?;
        // A new one: what is left of an earlier life must not write into it.
        self.sight = Arc::default();
        let life = Life {
            session: Session::new(PACE, network.feedback_sink()),
            sight: Arc::clone(&self.sight),
            misconduct: self.misconduct.clone(),
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(live(Arc::new(life), network, stopped));
        self.running = Some(Running { task, stop });
        Ok(())
    }

    /// Ends the node as a crash would: in the middle of whatever it was doing, without a word or a dump.
    pub(crate) async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
            // It was aborted, or had ended by itself: over it is, in either case.
            let _ = running.task.await;
            look(&self.sight).links.clear();
        }
    }

    /// Ends the node as its user would.
    pub(crate) async fn stop(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some(running) = self.running.take() {
            // The node listens to this until it ends.
            let _ = running.stop.send(());
            running.task.await??;
        }
        Ok(())
    }
}

fn look(sight: &Mutex<Sight>) -> MutexGuard<'_, Sight> {
    sight.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all connections of one node share.
struct Life {
    session: Session,
    sight: Arc<Mutex<Sight>>,
    misconduct: Option<watch::Receiver<bool>>,
}

async fn live(
    life: Arc<Life>,
    network: NetworkController,
    mut stop: oneshot::Receiver<()>,
) -> Result<(), NetworkError> {
    let mut connections = network.leased();
    let mut tasks = JoinSet::new();
    let mut glances = time::interval(GLANCE_INTERVAL);
    let mut rate = Rate::new();
    loop {
        tokio::select! {
            Some((event, lease)) = connections.next() => {
                let NetworkControllerEvent::CandidateConnection { socket, .. } = event;
                if life.open(&socket, &lease) {
                    tasks.spawn(Arc::clone(&life).serve(socket, lease));
                }
            }
            Some(_) = tasks.join_next() => {}
            _ = glances.tick() => {
                let mut sight = look(&life.sight);
                sight.glance(connections.get_ref());
                sight.dials_per_second = rate.update(sight.dials);
            }
            _ = &mut stop => break,
        }
    }
    connections.get_mut().close().await?;
    while tasks.join_next().await.is_some() {}
    Ok(())
}

impl Life {
    /// Notes a new connection; `false` if it is dead already.
    fn open(&self, socket: &TcpStream, lease: &PeerLease) -> bool {
        let (Ok(local), Ok(remote)) = (socket.local_addr(), socket.peer_addr()) else {
            return false;
        };
        let link = Link {
            local,
            remote,
            is_outgoing: lease.is_outgoing(),
            is_alive: false,
        };
        let mut sight = look(&self.sight);
        if sight.links.insert(lease.ip(), link).is_some() {
            sight.doubled += 1;
        }
        true
    }

    async fn serve(self: Arc<Self>, mut socket: TcpStream, lease: PeerLease) {
        let on_alive = || {
            if let Some(link) = look(&self.sight).links.get_mut(&lease.ip()) {
                link.is_alive = true;
            }
        };
        let ending = tokio::select! {
            ending = self.session.converse(&mut socket, &lease, on_alive) => Some(ending),
            () = self.misconduct() => None,
        };
        if ending.is_none() {
            misbehave(&mut socket).await;
        }
        drop(socket);
        look(&self.sight).links.remove(&lease.ip());
        match ending {
            Some(ending) => ending.settle(lease),
            None => lease.closed(),
        }
    }

    /// Resolves when it is time to misbehave, so for most nodes never.
    async fn misconduct(&self) {
        if let Some(mut misconduct) = self.misconduct.clone()
            && misconduct.wait_for(|misbehave| *misbehave).await.is_ok()
        {
            return;
        }
        pending::<()>().await;
    }
}

/// Says what no node should, and waits until the other end has had enough.
async fn misbehave(socket: &mut TcpStream) {
    let nonsense = async {
        socket.write_all(b"GIVE ME ALL YOUR COINS\n").await?;
        tokio::io::copy(socket, &mut tokio::io::sink()).await
    };
    // Whichever way it ends, it ends: that is what misbehaving is for.
    let _ = time::timeout(Duration::from_secs(1), nonsense).await;
}

/// Turns a counter into a rate.
struct Rate {
    since: Instant,
    count: u64,
    per_second: u64,
}

impl Rate {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            count: 0,
            per_second: 0,
        }
    }

    fn update(&mut self, count: u64) -> u64 {
        let window = self.since.elapsed();
        if window >= RATE_WINDOW {
            let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
            self.per_second = (count - self.count) * 1000 / millis;
            self.since = Instant::now();
            self.count = count;
        }
        self.per_second
    }
}
