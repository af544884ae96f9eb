//! The node over one connection: what it says and when, what it takes and what it does not. Time is paused, so that
//! minutes cost nothing.

mod scene;

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use bitcoin::consensus::encode::serialize;
use bitcoin::p2p::address::{AddrV2, AddrV2Message};
use bitcoin::p2p::message::{CommandString, RawNetworkMessage};
use bitcoin::p2p::{Address, Magic};
use scene::{BOOK_LIMIT, Node, OUR_NONCE, PORT, Scene, US, hello, peer};
use tokio::io::AsyncWriteExt;

use super::*;

/// A connection that a peer has made to a node.
async fn connected(announce: Option<IpAddr>) -> Scene {
    Node::start(announce, &[]).await.accept(peer(1)).await
}

/// The same, after the handshake.
async fn shaken(announce: Option<IpAddr>) -> (Node, Scene) {
    let mut node = Node::start(announce, &[]).await;
    let mut scene = node.accept(peer(1)).await;
    scene.shake_hands(FEATURE_MESSAGES, ServiceFlags::NETWORK).await;
    (node, scene)
}

#[tokio::test(start_paused = true)]
async fn an_inbound_connection_waits_for_the_version_and_answers_it() {
    let mut scene = connected(None).await;
    scene.send(hello(FEATURE_MESSAGES, 1, ServiceFlags::NONE)).await;
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
    let mut scene = connected(Some(US)).await;
    scene.send(hello(FEATURE_MESSAGES - 1, 1, ServiceFlags::NONE)).await;
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
async fn a_peer_that_asked_for_addrv2_gets_it() {
    let (_node, mut scene) = shaken(Some(US)).await;
    let NetworkMessage::AddrV2(own) = scene.receive().await else {
        panic!("it did not announce itself")
    };
    assert_eq!(own[0].socket_addr().unwrap(), SocketAddr::new(US, PORT));
}

#[tokio::test(start_paused = true)]
async fn bad_beginnings_end_it() {
    let endings = [
        (
            vec![hello(FEATURE_MESSAGES, OUR_NONCE, ServiceFlags::NONE)],
            "it was this node itself",
        ),
        (
            vec![hello(60_000, 1, ServiceFlags::NONE)],
            "it speaks version 60000, which is too old",
        ),
        (vec![NetworkMessage::Verack], "it sent a verack before its version"),
        (
            vec![hello(FEATURE_MESSAGES, 1, ServiceFlags::NONE); 2],
            "it sent a second version",
        ),
    ];
    for (messages, expected) in endings {
        let mut scene = connected(None).await;
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
    let mut scene = connected(None).await;
    scene.send(unreadable("sendcmpct")).await;
    scene.send(hello(FEATURE_MESSAGES, 1, ServiceFlags::NONE)).await;
    scene.send(unreadable("verack")).await;
    scene.send(NetworkMessage::Verack).await;
    while scene.receive().await != NetworkMessage::GetAddr {}
    scene.is_answered_next().await;

    let mut scene = connected(None).await;
    scene.send(unreadable("version")).await;
    scene.send(NetworkMessage::Verack).await;
    assert!(matches!(scene.ended().await.0, Ending::Unreadable(_)));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_ten_seconds_however_slow() {
    let (ending, taken) = connected(None).await.ended().await;
    assert!(matches!(ending, Ending::Late));
    assert_eq!(taken, HANDSHAKE_LIMIT);

    let mut scene = connected(None).await;
    // Says something that may be said, but never the last word.
    for _ in 0..9 {
        scene.send(NetworkMessage::SendHeaders).await;
        time::sleep(Duration::from_secs(1)).await;
    }
    let (ending, taken) = scene.ended().await;
    assert!(matches!(ending, Ending::Late));
    assert_eq!(taken, HANDSHAKE_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn silence_is_pinged_and_then_given_up() {
    let (_node, mut scene) = shaken(None).await;
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
        let (_node, mut scene) = shaken(None).await;
        time::sleep(SILENCE_LIMIT - Duration::from_secs(1)).await;
        scene.send(message).await;
        time::sleep(SILENCE_LIMIT - Duration::from_secs(1)).await;
        scene.is_answered_next().await;
        let (ending, taken) = scene.ended().await;
        assert!(matches!(ending, Ending::Silent));
        assert_eq!(taken, 3 * SILENCE_LIMIT - Duration::from_secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_without_an_end_are_silence() {
    let start = Instant::now();
    let mut node = Node::start(None, &[]).await;
    let (mut socket, ending) = node.accept_raw(peer(1)).await;
    let mut wire = Wire::new(&mut socket, Magic::REGTEST);
    wire.send(hello(FEATURE_MESSAGES, 1, ServiceFlags::NONE)).await.unwrap();
    wire.send(NetworkMessage::Verack).await.unwrap();
    let endless = NetworkMessage::Unknown {
        command: CommandString::try_from_static("endless").unwrap(),
        payload: vec![0; 1_000],
    };
    let endless = serialize(&RawNetworkMessage::new(Magic::REGTEST, endless));
    let trickle = async {
        for byte in endless {
            socket.write_all(&[byte]).await.unwrap();
            time::sleep(Duration::from_secs(1)).await;
        }
    };
    let ending = tokio::select! {
        ending = ending => ending.unwrap(),
        () = trickle => panic!("it took all of that"),
    };
    assert!(matches!(ending, Ending::Silent));
    assert_eq!(start.elapsed(), SILENCE_LIMIT);
}

/// As many addresses as one message may hold, none of them in the list of another number.
fn list(number: u8) -> impl Iterator<Item = IpAddr> {
    (0..MAX_ADDRESSES).map(move |index| {
        let [.., high, low] = index.to_be_bytes();
        IpAddr::from([60, 3 + number, high, low])
    })
}

/// Tells a node of twice as many addresses as it may tell of at once.
async fn tell_of_many(scene: &mut Scene) {
    for number in 0..2 {
        scene.tell(list(number), ServiceFlags::NETWORK).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_address_book_is_bounded() {
    let (node, mut scene) = shaken(None).await;
    let lists = u8::try_from(2 * BOOK_LIMIT / MAX_ADDRESSES).unwrap();
    for number in 0..lists {
        scene.tell(list(number), ServiceFlags::NETWORK).await;
        let told = (0..lists).flat_map(list).collect();
        let held = node.session.book().with_services(told, usize::MAX).len();
        assert!(held <= BOOK_LIMIT, "{held}");
    }
    // Entries of peers that the controller has forgotten give way to new ones.
    assert_eq!(scene.ask_for_addresses().await.len(), MAX_ADDRESSES);
    let last = list(lists - 1).collect();
    assert_eq!(node.session.book().with_services(last, usize::MAX).len(), MAX_ADDRESSES);
}

#[tokio::test(start_paused = true)]
async fn a_random_sample_is_told() {
    let mut node = Node::start(None, &[]).await;
    let mut samples = Vec::new();
    for number in 1..=2 {
        let mut scene = node.accept(peer(number)).await;
        scene.shake_hands(FEATURE_MESSAGES, ServiceFlags::NETWORK).await;
        if number == 1 {
            tell_of_many(&mut scene).await;
        }
        let told = scene.ask_for_addresses().await;
        samples.push(told.into_iter().map(|(ip, _)| ip).collect::<HashSet<_>>());
    }
    // On average, half of one is in the other.
    let common = samples[0].intersection(&samples[1]).count();
    assert!((400..600).contains(&common), "{common} of {MAX_ADDRESSES} in both");
}

#[tokio::test(start_paused = true)]
async fn services_are_told_as_they_were_announced() {
    let (_node, mut scene) = shaken(None).await;
    let announced = [
        (IpAddr::from([60, 3, 0, 1]), ServiceFlags::NETWORK),
        (IpAddr::from([60, 3, 0, 2]), ServiceFlags::NETWORK_LIMITED),
        (IpAddr::from([60, 3, 0, 3]), ServiceFlags::NONE),
    ];
    for (ip, services) in announced {
        scene.tell([ip], services).await;
    }
    let mut told = scene.ask_for_addresses().await;
    told.sort();
    assert_eq!(told, announced);
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_says_of_itself_outweighs_what_others_say() {
    let mut node = Node::start(None, &[peer(1)]).await;
    let mut proven = node.dial().await;
    proven.shake_hands(FEATURE_MESSAGES, ServiceFlags::NETWORK).await;
    let mut other = node.accept(peer(2)).await;
    other.shake_hands(FEATURE_MESSAGES, ServiceFlags::NONE).await;
    other.tell([peer(1)], ServiceFlags::WITNESS).await;
    assert_eq!(other.ask_for_addresses().await, [(peer(1), ServiceFlags::NETWORK)]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_only_came_in_is_not_told_of() {
    let mut node = Node::start(None, &[]).await;
    let mut visitor = node.accept(peer(1)).await;
    visitor.shake_hands(FEATURE_MESSAGES, ServiceFlags::NETWORK).await;
    let mut other = node.accept(peer(2)).await;
    other.shake_hands(FEATURE_MESSAGES, ServiceFlags::NETWORK).await;
    assert_eq!(node.known().await, [peer(1), peer(2)]);
    assert_eq!(other.ask_for_addresses().await, []);

    // It announces itself, with other services than its version has.
    visitor.tell([peer(1)], ServiceFlags::NETWORK_LIMITED).await;
    let mut third = node.accept(peer(3)).await;
    third.shake_hands(FEATURE_MESSAGES, ServiceFlags::NETWORK).await;
    assert_eq!(
        third.ask_for_addresses().await,
        [(peer(1), ServiceFlags::NETWORK_LIMITED)]
    );
}

#[tokio::test(start_paused = true)]
async fn addresses_are_told_once_and_a_thousand_at_most() {
    let (_node, mut scene) = shaken(None).await;
    tell_of_many(&mut scene).await;
    let told = scene.ask_for_addresses().await;
    assert_eq!(told.len(), MAX_ADDRESSES);
    assert_eq!(scene.ask_for_addresses().await, []);
}

#[tokio::test(start_paused = true)]
async fn only_addresses_that_can_be_dialed_are_taken() {
    let (node, mut scene) = shaken(Some(US)).await;
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
    let expected = ["60.2.1.1", "60.3.0.1", "60.4.0.1", "2001:db8::3", "2001:db8::4"];
    assert_eq!(node.known().await, expected.map(|ip| ip.parse::<IpAddr>().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_addresses_are_allowed_and_one_more_is_not() {
    let address = Address::new(&SocketAddr::new(peer(2), PORT), ServiceFlags::NONE);
    let list = |length| NetworkMessage::Addr(vec![(0, address.clone()); length]);
    let (_node, mut scene) = shaken(None).await;
    scene.send(list(MAX_ADDRESSES)).await;
    scene.is_answered_next().await;
    scene.send(list(MAX_ADDRESSES + 1)).await;
    let ending = scene.ended().await.0;
    assert!(matches!(ending, Ending::Violation(Violation::TooManyAddresses(1_001))));
}
