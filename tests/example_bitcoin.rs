//! The light node of the Bitcoin protocol over one connection: what it says and when, what it takes and what it does
//! not. Time is paused, so that minutes cost nothing.

#[expect(dead_code, reason = "only sessions are tried here")]
#[path = "../examples/bitcoin/main.rs"]
mod example;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bitcoin::consensus::encode::serialize;
use bitcoin::p2p::address::{AddrV2, AddrV2Message};
use bitcoin::p2p::message::{CommandString, NetworkMessage, RawNetworkMessage};
use bitcoin::p2p::{Address, Magic, ServiceFlags};
use clap::ValueEnum;
use example::chain::{FEATURE_MESSAGES, Network};
use example::session::{Ending, HANDSHAKE_LIMIT, MAX_ADDRESSES, PING_INTERVAL, SILENCE_LIMIT, Session};
use example::wire::{Violation, Wire, WireError};
use futures::StreamExt;
use network::sim::memory::{MemoryTransport, memory};
use network::{Clock, Feedback, NetworkConfig, NetworkController, PeerLease};
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const US: IpAddr = IpAddr::V4(Ipv4Addr::new(60, 1, 0, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(60, 2, 0, 1));
const PORT: u16 = 19_444;

/// Which no other node has.
const OUR_NONCE: u64 = 77;

/// The other end of a connection that the peer made, and what is to become of it.
struct Scene {
    peer: Wire<DuplexStream>,
    session: Session,
    ending: JoinHandle<Ending>,
    start: Instant,
}

impl Scene {
    /// A peer has connected.
    async fn new(announce: Option<IpAddr>) -> Self {
        let (session, socket, ending) = connect(announce).await;
        Self {
            peer: Wire::new(socket, session.chain.magic),
            session,
            ending,
            start: Instant::now(),
        }
    }

    /// A peer has connected and shaken hands.
    async fn shaken(version: u32, announce: Option<IpAddr>) -> Self {
        let mut scene = Self::new(announce).await;
        scene.send(hello(version, 1)).await;
        if version >= FEATURE_MESSAGES {
            scene.send(NetworkMessage::SendAddrV2).await;
        }
        scene.send(NetworkMessage::Verack).await;
        while scene.receive().await != NetworkMessage::Verack {}
        assert_eq!(scene.receive().await, NetworkMessage::GetAddr);
        scene
    }

    async fn send(&mut self, message: NetworkMessage) {
        self.peer.send(message).await.unwrap();
    }

    /// The next message of the node that is no ping.
    async fn receive(&mut self) -> NetworkMessage {
        loop {
            match self.peer.receive().await.unwrap() {
                NetworkMessage::Ping(_) => {}
                message => return message,
            }
        }
    }

    /// Sees that nothing is left to say: what follows is the answer to our own ping.
    async fn is_answered_next(&mut self) {
        self.send(NetworkMessage::Ping(5)).await;
        assert_eq!(self.receive().await, NetworkMessage::Pong(5));
    }

    async fn known(&self) -> Vec<IpAddr> {
        let mut known = self.session.feedback.good_peer_ips(usize::MAX).await.unwrap();
        known.sort();
        known
    }

    /// How it ended, and how long that took.
    async fn ended(self) -> (Ending, Duration) {
        let _open = self.peer;
        (self.ending.await.unwrap(), self.start.elapsed())
    }
}

/// A peer has connected: the node's side, the peer's end, and what is to become of it.
async fn connect(announce: Option<IpAddr>) -> (Session, DuplexStream, JoinHandle<Ending>) {
    let mut config = NetworkConfig::in_memory(PORT);
    config.clock = Clock::Tokio {
        start: "2030-01-01T00:00:00Z".parse().unwrap(),
    };
    config.target_outgoing_connections = 0;
    let (transport, handle) = memory();
    let network = NetworkController::with_transport(config, transport).await.unwrap();
    let session = session(&network, announce);
    let mut connections = network.leased();
    handle.incoming(SocketAddr::new(PEER, 50_000), SocketAddr::new(US, PORT));
    let (_, lease) = connections.next().await.unwrap();
    // It lives on beside the connection, to be fed and asked.
    tokio::spawn(async move { while connections.next().await.is_some() {} });
    let (ours, theirs) = tokio::io::duplex(1024);
    let ending = tokio::spawn(converse(session.clone(), ours, lease));
    (session, theirs, ending)
}

async fn converse(session: Session, socket: DuplexStream, lease: PeerLease) -> Ending {
    let ending = session.converse(socket, &lease).await;
    ending.settle(lease);
    ending
}

fn session(network: &NetworkController<MemoryTransport>, announce: Option<IpAddr>) -> Session {
    Session {
        chain: Network::LitecoinRegtest.chain(),
        services: ServiceFlags::NONE,
        announce,
        nonce: OUR_NONCE,
        feedback: network.feedback_sink(),
        is_verbose: false,
    }
}

fn hello(version: u32, nonce: u64) -> NetworkMessage {
    let mut hello = example::addresses::version(SocketAddr::new(US, PORT), ServiceFlags::NONE, nonce);
    hello.version = version;
    NetworkMessage::Version(hello)
}

#[tokio::test(start_paused = true)]
async fn who_was_dialed_waits_for_the_version_and_answers_it() {
    let mut scene = Scene::new(None).await;
    scene.send(hello(FEATURE_MESSAGES, 1)).await;
    let NetworkMessage::Version(version) = scene.receive().await else {
        panic!("it did not say hello")
    };
    assert_eq!((version.version, version.nonce), (FEATURE_MESSAGES, OUR_NONCE));
    assert!(!version.relay, "a light node wants no transactions");
    assert_eq!(scene.receive().await, NetworkMessage::SendAddrV2);
    assert_eq!(scene.receive().await, NetworkMessage::Verack);
    scene.send(NetworkMessage::WtxidRelay).await;
    scene.send(NetworkMessage::Verack).await;
    assert_eq!(scene.receive().await, NetworkMessage::GetAddr);
    scene.is_answered_next().await;
}

#[tokio::test(start_paused = true)]
async fn an_older_peer_hears_nothing_of_addrv2() {
    let mut scene = Scene::new(Some(US)).await;
    scene.send(hello(FEATURE_MESSAGES - 1, 1)).await;
    assert!(matches!(scene.receive().await, NetworkMessage::Version(_)));
    assert_eq!(scene.receive().await, NetworkMessage::Verack);
    scene.send(NetworkMessage::Verack).await;
    assert_eq!(scene.receive().await, NetworkMessage::GetAddr);
    let NetworkMessage::Addr(own) = scene.receive().await else {
        panic!("it did not announce itself")
    };
    let [(_, own)] = &own[..] else {
        panic!("it has one address")
    };
    assert_eq!(own.socket_addr().unwrap(), SocketAddr::new(US, PORT));
}

#[tokio::test(start_paused = true)]
async fn who_asked_for_it_gets_addrv2() {
    let mut scene = Scene::shaken(FEATURE_MESSAGES, Some(US)).await;
    let NetworkMessage::AddrV2(own) = scene.receive().await else {
        panic!("it did not announce itself")
    };
    assert_eq!(own[0].socket_addr().unwrap(), SocketAddr::new(US, PORT));
}

#[tokio::test(start_paused = true)]
async fn bad_beginnings_end_it() {
    let endings = [
        (vec![hello(FEATURE_MESSAGES, OUR_NONCE)], "it was this node itself"),
        (vec![hello(60_000, 1)], "it speaks version 60000, which is too old"),
        (vec![NetworkMessage::Verack], "it sent a verack before its version"),
        (vec![hello(FEATURE_MESSAGES, 1); 2], "it sent a second version"),
    ];
    for (messages, expected) in endings {
        let mut scene = Scene::new(None).await;
        for message in messages {
            scene.send(message).await;
        }
        assert_eq!(scene.ended().await.0.to_string(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_version_has_to_be_readable() {
    let unreadable = |command| NetworkMessage::Unknown {
        command: CommandString::try_from_static(command).unwrap(),
        payload: vec![0xff; 5],
    };
    let mut scene = Scene::new(None).await;
    scene.send(unreadable("sendcmpct")).await;
    scene.send(hello(FEATURE_MESSAGES, 1)).await;
    scene.send(unreadable("verack")).await;
    scene.send(NetworkMessage::Verack).await;
    while scene.receive().await != NetworkMessage::GetAddr {}
    scene.is_answered_next().await;

    let mut scene = Scene::new(None).await;
    scene.send(unreadable("version")).await;
    scene.send(NetworkMessage::Verack).await;
    assert!(matches!(scene.ended().await.0, Ending::Unreadable(_)));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_ten_seconds_however_slow() {
    let (ending, taken) = Scene::new(None).await.ended().await;
    assert!(matches!(ending, Ending::Late));
    assert_eq!(taken, HANDSHAKE_LIMIT);

    let mut scene = Scene::new(None).await;
    // Says something that may be said, but never the last word.
    for _ in 0..9 {
        scene.send(NetworkMessage::SendHeaders).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (ending, taken) = scene.ended().await;
    assert!(matches!(ending, Ending::Late));
    assert_eq!(taken, HANDSHAKE_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn silence_is_pinged_and_then_given_up() {
    let mut scene = Scene::shaken(FEATURE_MESSAGES, None).await;
    let heard_at = Instant::now();
    let mut pinged = Vec::new();
    loop {
        match scene.peer.receive().await {
            Ok(NetworkMessage::Ping(_)) => pinged.push(heard_at.elapsed()),
            Ok(message) => panic!("{message:?}"),
            Err(WireError::Lost(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(pinged, [0, 1, 2].map(|number| number * PING_INTERVAL));
    assert_eq!(heard_at.elapsed(), SILENCE_LIMIT);
    assert!(matches!(scene.ended().await.0, Ending::Silent));
}

#[tokio::test(start_paused = true)]
async fn any_message_is_a_sign_of_life() {
    let unreadable = NetworkMessage::Unknown {
        command: CommandString::try_from_static("tx").unwrap(),
        payload: vec![0xff; 5],
    };
    for message in [NetworkMessage::Pong(0), NetworkMessage::SendHeaders, unreadable] {
        let mut scene = Scene::shaken(FEATURE_MESSAGES, None).await;
        tokio::time::sleep(SILENCE_LIMIT - Duration::from_secs(1)).await;
        scene.send(message).await;
        tokio::time::sleep(SILENCE_LIMIT - Duration::from_secs(1)).await;
        scene.is_answered_next().await;
        let (ending, taken) = scene.ended().await;
        assert!(matches!(ending, Ending::Silent));
        assert_eq!(taken, 3 * SILENCE_LIMIT - Duration::from_secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_without_an_end_are_silence() {
    let start = Instant::now();
    let (_, mut socket, ending) = connect(None).await;
    let mut wire = Wire::new(&mut socket, Magic::REGTEST);
    wire.send(hello(FEATURE_MESSAGES, 1)).await.unwrap();
    wire.send(NetworkMessage::Verack).await.unwrap();
    let endless = bytes(NetworkMessage::Unknown {
        command: CommandString::try_from_static("endless").unwrap(),
        payload: vec![0; 1_000],
    });
    let trickle = async {
        for byte in endless {
            socket.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let ending = tokio::select! {
        ending = ending => ending.unwrap(),
        () = trickle => panic!("it took all of that"),
    };
    assert!(matches!(ending, Ending::Silent));
    assert_eq!(start.elapsed(), SILENCE_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn addresses_are_told_once_and_a_thousand_at_most() {
    let mut scene = Scene::shaken(FEATURE_MESSAGES, None).await;
    let many = (0..2 * MAX_ADDRESSES).map(|number| {
        let [.., high, low] = number.to_be_bytes();
        IpAddr::from([60, 3, high, low])
    });
    let told = scene.session.feedback.report(Feedback::PeerList(many.collect()));
    told.unwrap();
    scene.send(NetworkMessage::GetAddr).await;
    let NetworkMessage::AddrV2(answer) = scene.receive().await else {
        panic!("no answer")
    };
    // Some place in the thousand may be the asker's own, which is left out.
    assert!(
        (MAX_ADDRESSES - 1..=MAX_ADDRESSES).contains(&answer.len()),
        "{}",
        answer.len()
    );
    assert!(
        answer
            .iter()
            .all(|address| address.port == PORT && address.addr != AddrV2::Ipv4(Ipv4Addr::new(60, 2, 0, 1)))
    );
    scene.send(NetworkMessage::GetAddr).await;
    scene.is_answered_next().await;
}

#[tokio::test(start_paused = true)]
async fn only_addresses_that_can_be_dialed_are_taken() {
    let mut scene = Scene::shaken(FEATURE_MESSAGES, Some(US)).await;
    assert!(matches!(scene.receive().await, NetworkMessage::AddrV2(_)));
    let address = |ip: &str, port| {
        (
            0,
            Address::new(&SocketAddr::new(ip.parse().unwrap(), port), ServiceFlags::NONE),
        )
    };
    scene
        .send(NetworkMessage::Addr(vec![
            address("60.3.0.1", PORT),
            address("60.3.0.2", PORT + 1),
            address("2001:db8::3", PORT),
            // A hidden service, as IPv6 addresses tell of it.
            address("fd87:d87e:eb43::1", PORT),
            address(&US.to_string(), PORT),
        ]))
        .await;
    let v2 = |addr, port| AddrV2Message {
        time: 0,
        services: ServiceFlags::NONE,
        addr,
        port,
    };
    scene
        .send(NetworkMessage::AddrV2(vec![
            v2(AddrV2::Ipv4(Ipv4Addr::new(60, 4, 0, 1)), PORT),
            v2(AddrV2::Ipv4(Ipv4Addr::new(60, 4, 0, 2)), 0),
            v2(AddrV2::Ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 4)), PORT),
            v2(AddrV2::TorV3([7; 32]), PORT),
            v2(AddrV2::Unknown(99, vec![1, 2, 3]), PORT),
        ]))
        .await;
    scene.is_answered_next().await;
    let expected = ["60.2.0.1", "60.3.0.1", "60.4.0.1", "2001:db8::3", "2001:db8::4"];
    assert_eq!(scene.known().await, expected.map(|ip| ip.parse::<IpAddr>().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_addresses_are_allowed_and_one_more_is_not() {
    let address = Address::new(&SocketAddr::new(PEER, PORT), ServiceFlags::NONE);
    let list = |length| NetworkMessage::Addr(vec![(0, address.clone()); length]);
    let mut scene = Scene::shaken(FEATURE_MESSAGES, None).await;
    scene.send(list(MAX_ADDRESSES)).await;
    scene.is_answered_next().await;
    scene.send(list(MAX_ADDRESSES + 1)).await;
    let ending = scene.ended().await.0;
    assert!(matches!(ending, Ending::Violation(Violation::TooManyAddresses(1_001))));
}

/// What a wire makes of these bytes, which come in pieces of this length.
fn read(bytes: &[u8], piece: usize) -> (Vec<NetworkMessage>, WireError) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let (mut writer, reader) = tokio::io::duplex(piece);
        let mut wire = Wire::new(reader, Magic::REGTEST);
        let write = async {
            // Whoever has seen enough stops reading.
            drop(writer.write_all(bytes).await);
            drop(writer);
        };
        let read = async {
            let mut read = Vec::new();
            loop {
                match wire.receive().await {
                    Ok(message) => read.push(message),
                    Err(error) => {
                        drop(wire);
                        return (read, error);
                    }
                }
            }
        };
        tokio::join!(write, read).1
    })
}

fn bytes(message: NetworkMessage) -> Vec<u8> {
    serialize(&RawNetworkMessage::new(Magic::REGTEST, message))
}

#[test]
fn messages_are_found_however_they_are_cut() {
    let messages = [
        hello(FEATURE_MESSAGES, 1),
        NetworkMessage::Verack,
        NetworkMessage::Ping(3),
    ];
    let all: Vec<u8> = messages.iter().cloned().flat_map(bytes).collect();
    for piece in [1, 2, 23, 24, 25, 1024] {
        let (read, error) = read(&all, piece);
        assert_eq!(read, messages);
        assert!(matches!(error, WireError::Lost(_)));
    }
}

#[test]
fn what_is_wrong_is_seen_at_the_first_byte_that_tells() {
    let mut message = bytes(NetworkMessage::Ping(3));
    let (magic, length, checksum) = (..4, ..20, ..32);
    message[20] ^= 1;
    let (_, error) = read(&message[checksum], 1024);
    assert!(matches!(error, WireError::Violation(Violation::Checksum)));
    message[16..20].copy_from_slice(&4_000_001_u32.to_le_bytes());
    let (_, error) = read(&message[length], 1024);
    assert!(matches!(error, WireError::Violation(Violation::Oversized(4_000_001))));
    message[16..20].copy_from_slice(&4_000_000_u32.to_le_bytes());
    let (_, error) = read(&message[length], 1024);
    assert!(
        matches!(error, WireError::Lost(_)),
        "the longest that is allowed: {error}"
    );
    message[0] ^= 1;
    let (_, error) = read(&message[magic], 1024);
    assert!(matches!(error, WireError::Violation(Violation::Magic(_))));
}

#[test]
fn networks_differ() {
    let all = Network::value_variants();
    for (place, one) in all.iter().enumerate() {
        for other in &all[place + 1..] {
            let (one, other) = (one.chain(), other.chain());
            assert_ne!((one.magic, one.port), (other.magic, other.port));
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(command in "[a-z2]{1,12}", payload in proptest::collection::vec(any::<u8>(), 0..200), rest in any::<[u8; 30]>()) {
        let known = ["version", "addr", "addrv2", "inv", "headers", "cmpctblock", "tx", "reject"];
        for command in known.into_iter().chain([&*command]) {
            let command = CommandString::try_from(command.to_owned()).unwrap();
            let mut all = bytes(NetworkMessage::Unknown { command, payload: payload.clone() });
            all.extend(rest);
            let (read, _) = read(&all, 64);
            prop_assert!(read.len() <= 1);
        }
    }
}
