//! A node on a transport in memory, and the other ends of its connections.

use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use network::{Clock, Dialed, Incoming, Leased, NetworkConfig, NetworkController, NetworkControllerEvent, Transport};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::*;
use crate::chain::Network;

pub(super) const US: IpAddr = IpAddr::V4(Ipv4Addr::new(60, 1, 0, 1));
pub(super) const PORT: u16 = 19_444;

/// Which no other node has.
pub(super) const OUR_NONCE: u64 = 77;

/// The services of the node itself. No peer of a test has the same.
pub(super) const OUR_SERVICES: ServiceFlags = ServiceFlags::BLOOM;

/// How many peers the node's controller keeps.
pub(super) const MAX_IDLE_PEERS: usize = 2_500;

/// How many peers the node's address book holds.
pub(super) const BOOK_LIMIT: usize = 2 * MAX_IDLE_PEERS;

/// Peers of the node, each in a subnet of its own.
pub(super) fn peer(number: u8) -> IpAddr {
    IpAddr::from([60, 2, number, 1])
}

/// A node that runs until the test ends.
pub(super) struct Node {
    pub(super) session: Session,
    knocks: UnboundedSender<io::Result<Inbound>>,
    dialed: UnboundedReceiver<DuplexStream>,
    started: UnboundedReceiver<JoinHandle<Ending>>,
}

impl Node {
    /// A node that keeps connections with these peers.
    pub(super) async fn start(announce: Option<IpAddr>, dials: &[IpAddr]) -> Self {
        let mut config = NetworkConfig::in_memory(PORT);
        config.clock = Clock::Tokio {
            start: "2030-01-01T00:00:00Z".parse().unwrap(),
        };
        config.initial_peers = dials.to_vec();
        config.target_outgoing_connections = dials.len();
        config.max_idle_peers = MAX_IDLE_PEERS;
        // The session has the shorter limit, as the node sets it.
        config.handshake_timeout = Some(2 * HANDSHAKE_LIMIT);
        let (knocks, accepts) = mpsc::unbounded();
        let (connects, dialed) = mpsc::unbounded();
        let transport = InMemory {
            accepts: Some(accepts),
            connects,
        };
        let network = NetworkController::with_transport(config, transport).await.unwrap();
        let session = Session {
            chain: Network::LitecoinRegtest.chain(),
            services: OUR_SERVICES,
            announce,
            nonce: OUR_NONCE,
            feedback: network.feedback_sink(),
            book: Arc::new(Mutex::new(AddressBook::new(BOOK_LIMIT))),
            is_verbose: false,
        };
        let (starts, started) = mpsc::unbounded();
        tokio::spawn(serve(network.leased(), session.clone(), starts));
        Self {
            session,
            knocks,
            dialed,
            started,
        }
    }

    /// A connection that a peer makes.
    pub(super) async fn accept(&mut self, remote: IpAddr) -> Scene {
        let theirs = self.knock(remote);
        self.scene(theirs).await
    }

    /// The same; the socket of the peer, and what becomes of the node's end.
    pub(super) async fn accept_raw(&mut self, remote: IpAddr) -> (DuplexStream, JoinHandle<Ending>) {
        let theirs = self.knock(remote);
        (theirs, self.started.next().await.unwrap())
    }

    fn knock(&self, remote: IpAddr) -> DuplexStream {
        let (socket, theirs) = tokio::io::duplex(1024);
        self.knocks.unbounded_send(Ok(Inbound { remote, socket })).unwrap();
        theirs
    }

    /// The next connection that the node makes.
    pub(super) async fn dial(&mut self) -> Scene {
        let theirs = self.dialed.next().await.unwrap();
        self.scene(theirs).await
    }

    async fn scene(&mut self, socket: DuplexStream) -> Scene {
        Scene {
            peer: Wire::new(socket, self.session.chain.magic),
            ending: self.started.next().await.unwrap(),
            start: Instant::now(),
        }
    }

    /// All peers that the node's controller would name to others.
    pub(super) async fn known(&self) -> Vec<IpAddr> {
        let mut known = self.session.feedback.good_peer_ips(usize::MAX).await.unwrap();
        known.sort();
        known
    }
}

async fn serve(mut connections: Leased<InMemory>, session: Session, starts: UnboundedSender<JoinHandle<Ending>>) {
    while let Some((event, lease)) = connections.next().await {
        let NetworkControllerEvent::CandidateConnection { socket, .. } = event;
        let session = session.clone();
        let ending = tokio::spawn(async move {
            let ending = session.converse(socket, &lease).await;
            ending.settle(lease);
            ending
        });
        starts.unbounded_send(ending).unwrap();
    }
}

/// The other end of a connection, and what becomes of the node's end.
pub(super) struct Scene {
    pub(super) peer: Wire<DuplexStream>,
    pub(super) ending: JoinHandle<Ending>,
    start: Instant,
}

impl Scene {
    pub(super) async fn send(&mut self, message: NetworkMessage) {
        self.peer.send(message).await.unwrap();
    }

    /// The next message of the node that is no ping.
    pub(super) async fn receive(&mut self) -> NetworkMessage {
        loop {
            match self.peer.receive().await.unwrap() {
                NetworkMessage::Ping(_) => {}
                message => return message,
            }
        }
    }

    /// Shakes hands as a peer with these services.
    pub(super) async fn shake_hands(&mut self, version: u32, services: ServiceFlags) {
        self.send(hello(version, 1, services)).await;
        if version >= FEATURE_MESSAGES {
            self.send(NetworkMessage::SendAddrV2).await;
        }
        self.send(NetworkMessage::Verack).await;
        while self.receive().await != NetworkMessage::GetAddr {}
    }

    /// The addresses that the node tells of when it is asked, each with its services; none if it does not answer.
    pub(super) async fn ask_for_addresses(&mut self) -> Vec<(IpAddr, ServiceFlags)> {
        self.send(NetworkMessage::GetAddr).await;
        self.send(NetworkMessage::Ping(5)).await;
        let told = match self.receive().await {
            NetworkMessage::Pong(5) => return Vec::new(),
            NetworkMessage::AddrV2(told) => told,
            message => panic!("no answer: {message:?}"),
        };
        assert_eq!(self.receive().await, NetworkMessage::Pong(5));
        assert!(told.iter().all(|address| address.port == PORT));
        told.iter()
            .map(|address| (address.socket_addr().unwrap().ip(), address.services))
            .collect()
    }

    /// Tells the node of addresses with these services, and waits until it has read that.
    pub(super) async fn tell(&mut self, ips: impl IntoIterator<Item = IpAddr>, services: ServiceFlags) {
        let address = |ip| (0, Address::new(&SocketAddr::new(ip, PORT), services));
        let list = ips.into_iter().map(address).collect();
        self.send(NetworkMessage::Addr(list)).await;
        self.is_answered_next().await;
    }

    /// Sees that nothing is left to say: what follows is the answer to our own ping.
    pub(super) async fn is_answered_next(&mut self) {
        self.send(NetworkMessage::Ping(5)).await;
        assert_eq!(self.receive().await, NetworkMessage::Pong(5));
    }

    /// How it ended, and how long that took.
    pub(super) async fn ended(self) -> (Ending, Duration) {
        let _open = self.peer;
        (self.ending.await.unwrap(), self.start.elapsed())
    }
}

/// The first message of either end.
pub(super) fn hello(version: u32, nonce: u64, services: ServiceFlags) -> NetworkMessage {
    let mut hello = addresses::version(SocketAddr::new(US, PORT), services, nonce);
    hello.version = version;
    NetworkMessage::Version(hello)
}

/// Accepts what the test sends; every dial succeeds, and the test receives its other end.
struct InMemory {
    accepts: Option<UnboundedReceiver<io::Result<Inbound>>>,
    connects: UnboundedSender<DuplexStream>,
}

impl Transport for InMemory {
    type Socket = DuplexStream;
    type Incoming = Inbound;
    type Listener = UnboundedReceiver<io::Result<Inbound>>;
    type Dial = BoxFuture<'static, io::Result<Dialed<DuplexStream>>>;

    async fn listen(&mut self, at: SocketAddr) -> io::Result<(Self::Listener, SocketAddr)> {
        Ok((self.accepts.take().unwrap(), at))
    }

    fn dial(&mut self, _from: Option<IpAddr>, _to: SocketAddr) -> Self::Dial {
        let (socket, theirs) = tokio::io::duplex(1024);
        self.connects.unbounded_send(theirs).unwrap();
        let local_addr = SocketAddr::new(US, 50_000);
        async move { Ok(Dialed { socket, local_addr }) }.boxed()
    }
}

struct Inbound {
    remote: IpAddr,
    socket: DuplexStream,
}

impl Incoming for Inbound {
    type Socket = DuplexStream;

    fn remote_addr(&self) -> SocketAddr {
        SocketAddr::new(self.remote, 50_000)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(US, PORT))
    }

    fn admit(self) -> io::Result<DuplexStream> {
        Ok(self.socket)
    }
}
