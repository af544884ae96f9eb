//! A loopback network of a test's own, the nodes that live in it, and the remotes that a test plays itself.

#![allow(dead_code, reason = "no test needs all of it")]

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use network::{NetworkConfig, NetworkController, NetworkControllerEvent, Peer, PeerStatus, Usage};
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// Far more than anything here takes; whoever waits longer waits for ever.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The hosts of a block have these last bytes.
const HOSTS: std::ops::RangeInclusive<u8> = 1..=24;

/// The result, which must come.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    timeout(LIMIT, what).await.expect("what was waited for never came")
}

/// From here on there are ports that the kernel gives to nobody by itself, so that no client has one by chance.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

/// One of the networks 127.16.0.0/24 to 127.255.255.0/24, and a port that is free on all its hosts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    network: [u8; 2],
    port: u16,
}

impl Block {
    pub(crate) fn new() -> Self {
        let mut attempts = std::iter::repeat_with(Self::probe).take(16);
        attempts.find_map(Result::ok).expect("a free network and port")
    }

    fn probe() -> io::Result<Self> {
        let [high, low, port_high, port_low, ..] = RandomState::new().hash_one(()).to_ne_bytes();
        let block = Self {
            network: [16 + high % 240, low],
            port: FIRST_PORT + u16::from_ne_bytes([port_high, port_low]) % PORTS,
        };
        let listeners = HOSTS.map(|host| StdListener::bind(block.addr(host)));
        listeners.collect::<io::Result<Vec<_>>>()?;
        Ok(block)
    }

    pub(crate) fn ip(self, host: u8) -> IpAddr {
        let [high, low] = self.network;
        IpAddr::from([127, high, low, host])
    }

    pub(crate) fn addr(self, host: u8) -> SocketAddr {
        SocketAddr::new(self.ip(host), self.port)
    }

    /// Where a client on this host comes from.
    pub(crate) fn any_port(self, host: u8) -> SocketAddr {
        SocketAddr::new(self.ip(host), 0)
    }

    /// The configuration of a node that keeps no file and knows these hosts.
    pub(crate) fn config(self, host: u8, knows: &[u8]) -> NetworkConfig {
        let mut config = NetworkConfig::in_memory(self.port);
        config.listen_ip = self.ip(host);
        config.initial_peers = knows.iter().map(|&known| self.ip(known)).collect();
        config
    }

    pub(crate) async fn node(self, host: u8, knows: &[u8]) -> Node {
        Node::new(self.config(host, knows)).await
    }

    /// A remote that listens.
    pub(crate) fn listen(self, host: u8) -> TcpListener {
        let listener = StdListener::bind(self.addr(host)).unwrap();
        listener.set_nonblocking(true).unwrap();
        TcpListener::from_std(listener).unwrap()
    }

    /// A remote that a dial neither reaches nor is refused by, as long as it lives.
    pub(crate) fn black_hole(self, host: u8) -> BlackHole {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&self.addr(host).into()).unwrap();
        socket.listen(0).unwrap();
        let only_place = std::net::TcpStream::connect(self.addr(host)).unwrap();
        BlackHole(socket, only_place)
    }

    /// A remote that connects.
    pub(crate) async fn connect(self, from: u8, to: u8) -> TcpStream {
        self.connect_to(from, self.addr(to)).await
    }

    pub(crate) async fn connect_to(self, from: u8, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((self.ip(from), 0).into()).unwrap();
        soon(socket.connect(to)).await.unwrap()
    }
}

/// Connects from one of the hosts of this machine, in a thread that may wait for it.
pub(crate) fn connect_from(from: SocketAddr, to: SocketAddr) -> io::Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&from.into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

pub(crate) struct BlackHole(
    #[expect(dead_code, reason = "kept open")] Socket,
    #[expect(dead_code, reason = "kept open")] std::net::TcpStream,
);

/// A connection that a node was told of.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) ip: IpAddr,
    pub(crate) socket: TcpStream,
    pub(crate) is_outgoing: bool,
}

impl Candidate {
    pub(crate) fn of(event: NetworkControllerEvent) -> Self {
        let NetworkControllerEvent::CandidateConnection {
            ip,
            socket,
            is_outgoing,
        } = event;
        Self {
            ip,
            socket,
            is_outgoing,
        }
    }
}

/// A controller, and an application that holds what it is handed.
pub(crate) struct Node {
    pub(crate) net: NetworkController,
    pub(crate) held: Vec<Candidate>,
    /// Whether every candidate is reported alive at once.
    pub(crate) trusts: bool,
}

impl Node {
    pub(crate) async fn new(config: NetworkConfig) -> Self {
        Self {
            net: NetworkController::with_config(config).await.unwrap(),
            held: Vec::new(),
            trusts: false,
        }
    }

    pub(crate) async fn trusting(config: NetworkConfig) -> Self {
        let mut node = Self::new(config).await;
        node.trusts = true;
        node
    }

    /// Polls the controller until it has nothing more to do.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(event) = self.net.poll_next_unpin(cx) {
            let candidate = Candidate::of(event.expect("the controller is open"));
            if self.trusts {
                drop(self.net.feedback_peer_alive(candidate.ip));
            }
            self.held.push(candidate);
            self.check_caps();
        }
        self.check_caps();
    }

    fn check_caps(&self) {
        let stats = self.net.stats();
        for (cap, Usage { used, limit, .. }) in [
            ("outgoing connections", stats.outgoing_connections),
            ("outgoing attempts", stats.outgoing_attempts),
            ("incoming connections", stats.incoming_connections),
            ("incoming attempts", stats.incoming_attempts),
            ("idle peers", stats.idle_peers),
            ("banned peers", stats.banned_peers),
        ] {
            assert!(used <= limit, "{used} of {limit} {cap}");
        }
    }

    /// Runs the node until something holds.
    pub(crate) async fn until(&mut self, mut holds: impl FnMut(&Self) -> bool) {
        let held = soon(std::future::poll_fn(|cx| {
            self.poll(cx);
            if holds(self) { Poll::Ready(()) } else { Poll::Pending }
        }));
        held.await;
    }

    /// Runs the node until something else is done.
    pub(crate) async fn beside<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        soon(std::future::poll_fn(|cx| {
            self.poll(cx);
            work.as_mut().poll(cx)
        }))
        .await
    }

    /// Runs the node until it is handed one more connection.
    pub(crate) async fn candidate(&mut self) -> Candidate {
        let before = self.held.len();
        self.until(|node| node.held.len() > before).await;
        self.held.swap_remove(before)
    }

    pub(crate) fn peer(&self, ip: IpAddr) -> &Peer {
        self.net.peer(ip).unwrap_or_else(|| panic!("{ip} is not known"))
    }

    pub(crate) fn status(&self, ip: IpAddr) -> Option<PeerStatus> {
        self.net.peer(ip).map(|peer| peer.status)
    }

    pub(crate) fn count(&self, status: PeerStatus) -> usize {
        self.net.stats().peers.get(status)
    }
}

/// Runs two nodes until something holds of both.
pub(crate) async fn until_both(a: &mut Node, b: &mut Node, mut holds: impl FnMut(&Node, &Node) -> bool) {
    let held = soon(std::future::poll_fn(|cx| {
        a.poll(cx);
        b.poll(cx);
        if holds(a, b) { Poll::Ready(()) } else { Poll::Pending }
    }));
    held.await;
}

/// Whether these are the two ends of one connection.
pub(crate) fn are_one(a: &TcpStream, b: &TcpStream) -> bool {
    let ends = |socket: &TcpStream| (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
    let (local, remote) = ends(b);
    ends(a) == (remote, local)
}

/// Waits for the end of a connection on which nothing comes; answers whether it was reset, rather than closed.
pub(crate) async fn is_reset(socket: &mut TcpStream) -> bool {
    match socket.read(&mut [0]).await {
        Ok(read) => {
            assert_eq!(read, 0, "nothing is ever written by a controller");
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            true
        }
    }
}
