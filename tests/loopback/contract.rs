//! The example of the contract, as it was written: its placeholders are filled in, and nothing else differs.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use network::controller::NetworkError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::peer_files::PeerFile;

const GREETING: [u8; 5] = *b"hello";

/// Answers whether the other end greets as we do, and in time: two nodes whose loops shake hands may otherwise wait for
/// each other for ever.
async fn handshake(socket: &mut TcpStream) -> bool {
    let mut greeting = [0; GREETING.len()];
    let greet = async {
        socket.write_all(&GREETING).await?;
        socket.read_exact(&mut greeting).await
    };
    matches!(timeout(Duration::from_secs(5), greet).await, Ok(Ok(_))) && greeting == GREETING
}

/// The example. Remotes say by one more byte what is to become of them; the one that says `q` ends it.
async fn example(peers_file: &Path, listen_port: u16) -> Result<(), NetworkError> {
    // A node that listens on every address of its host could dial nobody there but itself.
    let target_outgoing_connections = 0;
    let max_incoming_connections = 8;
    let max_simultaneous_outgoing_connection_attempts = 8;
    let max_simultaneous_incoming_connection_attempts = 8;
    let max_idle_peers = 100;
    let max_banned_peers = 100;
    let peer_file_dump_interval_seconds = 600;

    let mut net = network::controller::NetworkController::new(
        peers_file,
        listen_port,
        target_outgoing_connections,
        max_incoming_connections,
        max_simultaneous_outgoing_connection_attempts,
        max_simultaneous_incoming_connection_attempts,
        max_idle_peers,
        max_banned_peers,
        peer_file_dump_interval_seconds,
    )
    .await?;

    loop {
        tokio::select! {
            evt = net.wait_event() => match evt {
                Ok(msg) => match msg {
                    network::controller::NetworkControllerEvent::CandidateConnection {ip, mut socket, is_outgoing} => {
                        assert!(!is_outgoing, "nobody is dialed");
                        if !handshake(&mut socket).await {
                            net.feedback_peer_failed(ip).await;
                            continue;
                        }
                        net.feedback_peer_alive(ip).await;
                        net.feedback_peer_list(vec![told_by(ip)]).await;
                        let list_of_ips = net.get_good_peer_ips();
                        match socket.read_u8().await {
                            Ok(b'b') => net.feedback_peer_banned(ip).await,
                            Ok(b'c') => net.feedback_peer_closed(ip).await,
                            Ok(b'q') => {
                                assert_eq!(list_of_ips[0], ip, "the best is who is connected");
                                net.close().await?;
                            }
                            Ok(_) | Err(_) => net.feedback_peer_failed(ip).await,
                        }
                    }
                },
                Err(e) => return Err(e)
            }
        }
    }
}

fn told_by(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::from([192, 0, 2, ip.octets()[3]]),
        IpAddr::V6(_) => panic!("the remotes of this test have IPv4 addresses"),
    }
}

fn remote_ip(host: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, host])
}

/// Plays a peer until the other end lets go of the socket.
async fn remote(host: u8, port: u16, greeting: &[u8], ending: u8) {
    let mut socket = connect(remote_ip(host), port).await;
    socket.write_all(greeting).await.unwrap();
    socket.write_u8(ending).await.unwrap();
    let mut rest = Vec::new();
    // A peer that is thrown out may see a reset.
    let _ = socket.read_to_end(&mut rest).await;
    assert_eq!(rest, GREETING);
}

/// Connects as soon as somebody listens.
async fn connect(from: IpAddr, port: u16) -> TcpStream {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        match socket.connect(([127, 0, 0, 1], port).into()).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => tokio::task::yield_now().await,
            connected => return connected.unwrap(),
        }
    }
}

fn free_port() -> u16 {
    let probe = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).or_else(|_| TcpListener::bind("0.0.0.0:0"));
    probe.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_example_of_the_contract_runs() {
    let file = PeerFile::holding(r#"[{ "ip": "::1", "status": "Banned" }]"#);
    let port = free_port();

    let node = tokio::spawn({
        let peers_file = file.path.clone();
        async move { example(&peers_file, port).await }
    });
    let remotes = async {
        remote(2, port, &GREETING, b'b').await;
        remote(3, port, &GREETING, b'c').await;
        remote(4, port, b"howdy", b'x').await;
        remote(5, port, &GREETING, b'q').await;
    };
    timeout(Duration::from_secs(10), remotes).await.unwrap();
    let end = timeout(Duration::from_secs(10), node).await.unwrap().unwrap();
    assert!(matches!(end, Err(NetworkError::Closed)), "{end:?}");

    let [banned, closed, failed, alive] = [2, 3, 4, 5].map(|host| file.record(remote_ip(host)));
    assert_eq!(banned["status"], "Banned");
    assert!(banned["last_alive"].is_string() && banned["last_failure"].is_string());
    assert_eq!(closed["status"], "Idle");
    assert!(closed["last_alive"].is_string() && closed["last_failure"].is_null());
    assert_eq!(failed["status"], "Idle");
    assert!(failed["last_alive"].is_null() && failed["last_failure"].is_string());
    assert_eq!(alive["status"], "InAlive");
    assert!(alive["last_alive"].is_string() && alive["last_failure"].is_null());
    assert_eq!(file.record([192, 0, 2, 3].into())["status"], "Idle");
    assert_eq!(file.record(Ipv6Addr::LOCALHOST.into())["status"], "Banned");
}
