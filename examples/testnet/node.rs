//! One node of the test network, and what it knows.

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

/// Shorter than those of a real node, so that a run takes seconds.
const PACE: Pace = Pace {
    handshake: Duration::from_secs(5),
    round: Duration::from_millis(500),
    patience: Duration::from_secs(10),
};

const OBSERVE_INTERVAL: Duration = Duration::from_millis(50);
const RATE_WINDOW: Duration = Duration::from_millis(500);

/// A node that can be started, killed, and started again.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) ip: IpAddr,
    config: NetworkConfig,
    view: Arc<Mutex<View>>,
    misbehave: Option<watch::Receiver<bool>>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    task: JoinHandle<Result<(), NetworkError>>,
    stop: oneshot::Sender<()>,
}

/// What a node knows: the sockets that it holds, and the state of its controller as it was observed last.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The connection to each peer, from its event to its end.
    pub(crate) links: HashMap<IpAddr, Link>,
    /// How often it was given a connection to a peer while it held another one.
    pub(crate) second_connections: u32,
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

impl View {
    pub(crate) fn alive(&self, is_outgoing: bool) -> usize {
        let alive = |link: &&Link| link.is_alive && link.is_outgoing == is_outgoing;
        self.links.values().filter(alive).count()
    }

    fn observe(&mut self, network: &NetworkController) {
        self.known = network.peers().map(|peer| peer.ip).collect();
        let banned = network.peers().filter(|peer| peer.status == PeerStatus::Banned);
        self.banned = banned.map(|peer| peer.ip).collect();
        self.dials = network.stats().counters.dials_started;
    }
}

impl Node {
    /// A node that does not run yet. It misbehaves from when `misbehave` turns true.
    pub(crate) fn new(ip: IpAddr, config: NetworkConfig, misbehave: Option<watch::Receiver<bool>>) -> Self {
        Self {
            ip,
            config,
            view: Arc::default(),
            misbehave,
            running: None,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn view(&self) -> View {
        lock(&self.view).clone()
    }

    pub(crate) async fn start(&mut self) -> Result<(), NetworkError> {
        let network = NetworkController::with_config(self.config.clone()).await?;
        // A new one: tasks of an earlier run must not write into it.
        self.view = Arc::default();
        let shared = Shared {
            session: Session::new(PACE, network.feedback_sink()),
            view: Arc::clone(&self.view),
            misbehave: self.misbehave.clone(),
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(Arc::new(shared), network, stopped));
        self.running = Some(Running { task, stop });
        Ok(())
    }

    /// Ends the node as a crash would: at any point, without a goodbye or a dump.
    pub(crate) async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
            // It was aborted, or had ended by itself.
            let _ = running.task.await;
            lock(&self.view).links.clear();
        }
    }

    /// Ends the node as its user would.
    pub(crate) async fn stop(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some(running) = self.running.take() {
            // It fails if the node has ended by itself.
            let _ = running.stop.send(());
            running.task.await??;
        }
        Ok(())
    }
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all connections of one node share.
struct Shared {
    session: Session,
    view: Arc<Mutex<View>>,
    misbehave: Option<watch::Receiver<bool>>,
}

async fn run(
    shared: Arc<Shared>,
    network: NetworkController,
    mut stop: oneshot::Receiver<()>,
) -> Result<(), NetworkError> {
    let mut connections = network.leased();
    let mut tasks = JoinSet::new();
    let mut observations = time::interval(OBSERVE_INTERVAL);
    let mut rate = Rate::new();
    loop {
        tokio::select! {
            Some((event, lease)) = connections.next() => {
                let NetworkControllerEvent::CandidateConnection { socket, .. } = event;
                if shared.open(&socket, &lease) {
                    tasks.spawn(Arc::clone(&shared).serve(socket, lease));
                }
            }
            Some(_) = tasks.join_next() => {}
            _ = observations.tick() => {
                let mut view = lock(&shared.view);
                view.observe(connections.get_ref());
                view.dials_per_second = rate.update(view.dials);
            }
            _ = &mut stop => break,
        }
    }
    connections.get_mut().close().await?;
    while tasks.join_next().await.is_some() {}
    Ok(())
}

impl Shared {
    /// Records a new connection; `false` if it has ended already.
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
        let mut view = lock(&self.view);
        if view.links.insert(lease.ip(), link).is_some() {
            view.second_connections += 1;
        }
        true
    }

    async fn serve(self: Arc<Self>, mut socket: TcpStream, lease: PeerLease) {
        let on_alive = || {
            if let Some(link) = lock(&self.view).links.get_mut(&lease.ip()) {
                link.is_alive = true;
            }
        };
        let ending = tokio::select! {
            ending = self.session.converse(&mut socket, &lease, on_alive) => Some(ending),
            () = self.misbehaving() => None,
        };
        if ending.is_none() {
            misbehave(&mut socket).await;
        }
        drop(socket);
        lock(&self.view).links.remove(&lease.ip());
        match ending {
            Some(ending) => ending.settle(lease),
            None => lease.closed(),
        }
    }

    /// Resolves when this node starts to misbehave, which most never do.
    async fn misbehaving(&self) {
        if let Some(mut misbehave) = self.misbehave.clone()
            && misbehave.wait_for(|started| *started).await.is_ok()
        {
            return;
        }
        pending::<()>().await;
    }
}

/// Breaks the protocol, and waits until the other end closes the connection.
async fn misbehave(socket: &mut TcpStream) {
    let nonsense = async {
        socket.write_all(b"GIVE ME ALL YOUR COINS\n").await?;
        tokio::io::copy(socket, &mut tokio::io::sink()).await
    };
    // A reset, an end of the stream and a timeout end the connection alike.
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
