use std::io::{Read, Write};
use std::net;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use static_assertions::assert_impl_all;
use tokio_test::{assert_pending, task};

use super::*;

assert_impl_all!(TcpTransport: Send, Sync, Unpin, Clone);
assert_impl_all!(TcpListening: Send, Sync, Unpin);
assert_impl_all!(TcpIncoming: Send, Sync, Unpin);
assert_impl_all!(TcpDial: Send, Sync, Unpin);

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const EVERYWHERE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

async fn listen_at(ip: IpAddr) -> (TcpListening, SocketAddr) {
    TcpTransport::new().listen(SocketAddr::new(ip, 0)).await.unwrap()
}

/// A client that is connected as far as the kernel is concerned, and the connection as it was accepted.
async fn connected(listening: &mut TcpListening, to: SocketAddr) -> (net::TcpStream, TcpIncoming) {
    let client = net::TcpStream::connect(to).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (client, listening.next().await.unwrap().unwrap())
}

fn read_error(client: &mut net::TcpStream) -> ErrorKind {
    client.read(&mut [0]).unwrap_err().kind()
}

fn host_has_ipv6() -> bool {
    net::TcpListener::bind("[::1]:0").is_ok()
}

#[tokio::test]
async fn the_unspecified_address_takes_both_families_in_canonical_form() {
    let (mut listening, bound) = listen_at(EVERYWHERE).await;

    let (client, incoming) = connected(&mut listening, SocketAddr::new(LOOPBACK, bound.port())).await;
    assert_eq!(incoming.remote_addr(), client.local_addr().unwrap());
    assert_eq!(incoming.local_addr().unwrap(), client.peer_addr().unwrap());
    assert!(incoming.remote_addr().is_ipv4());

    if host_has_ipv6() {
        let to = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), bound.port());
        let (client, incoming) = connected(&mut listening, to).await;
        assert_eq!(incoming.remote_addr(), client.local_addr().unwrap());
        assert_eq!(incoming.local_addr().unwrap(), to);
    }
}

#[tokio::test]
async fn a_socket_that_serves_ipv6_alone_gets_one_for_ipv4_beside_it() {
    if !host_has_ipv6() {
        return;
    }
    // The port may be taken for IPv4 by chance.
    let mut attempts = 0..8;
    let listeners = loop {
        attempts.next().expect("a port that is free for both families");
        let listeners = bind_both_families(Ok(ipv6_only()), 0).unwrap();
        if listeners.ipv4.is_some() {
            break listeners;
        }
    };
    let port = listeners.first.local_addr().unwrap().port();
    let mut listening = TcpListening::new(listeners).unwrap();
    for ip in [LOOPBACK, Ipv6Addr::LOCALHOST.into(), LOOPBACK] {
        let (client, incoming) = connected(&mut listening, SocketAddr::new(ip, port)).await;
        assert_eq!(incoming.remote_addr(), client.local_addr().unwrap());
    }
}

fn ipv6_only() -> TcpListener {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    socket.set_only_v6(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&SocketAddr::new(EVERYWHERE, 0).into()).unwrap();
    socket.listen(16).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

#[tokio::test]
async fn a_host_without_ipv6_listens_for_ipv4_alone() {
    let listeners = bind_both_families(Err(ErrorKind::AddrNotAvailable.into()), 0).unwrap();
    assert_eq!(listeners.first.local_addr().unwrap().ip(), Ipv4Addr::UNSPECIFIED);
    assert!(listeners.ipv4.is_none());

    let refused = bind_both_families(Err(ErrorKind::PermissionDenied.into()), 0).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_specific_address_is_bound_alone() {
    let ip = IpAddr::from([127, 0, 0, 2]);
    let (mut listening, bound) = listen_at(ip).await;
    assert_eq!(bound.ip(), ip);
    assert_ne!(bound.port(), 0);

    let elsewhere = net::TcpStream::connect((LOOPBACK, bound.port()));
    assert_eq!(elsewhere.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let (_client, incoming) = connected(&mut listening, bound).await;
    assert_eq!(incoming.local_addr().unwrap(), bound);
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let (_listening, bound) = listen_at(LOOPBACK).await;
    let taken = TcpTransport::new().listen(bound).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);

    let (_listening, bound) = listen_at(EVERYWHERE).await;
    let taken = TcpTransport::new().listen(bound).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn hundreds_of_connections_may_wait() {
    let (mut listening, bound) = listen_at(LOOPBACK).await;
    let connect = |_| net::TcpStream::connect_timeout(&bound, Duration::from_secs(1)).unwrap();
    // The kernel's own limit is 4,096 since Linux 5.4, and 128 before.
    let clients: Vec<_> = (0..500).map(connect).collect();
    for client in clients {
        let incoming = listening.next().await.unwrap().unwrap();
        assert_eq!(incoming.remote_addr(), client.local_addr().unwrap());
    }
}

#[tokio::test]
async fn a_refused_connection_is_reset() {
    let (mut listening, bound) = listen_at(LOOPBACK).await;

    let (mut client, incoming) = connected(&mut listening, bound).await;
    incoming.refuse();
    assert_eq!(read_error(&mut client), ErrorKind::ConnectionReset);

    let (mut client, incoming) = connected(&mut listening, bound).await;
    drop(incoming);
    assert_eq!(read_error(&mut client), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_admitted_connection_closes_in_the_ordinary_way() {
    let (mut listening, bound) = listen_at(LOOPBACK).await;
    let (mut client, incoming) = connected(&mut listening, bound).await;
    let socket = incoming.admit().unwrap();
    assert_eq!(socket.linger().unwrap(), None);

    socket.writable().await.unwrap();
    socket.try_write(b"hello").unwrap();
    drop(socket);
    let mut read = Vec::new();
    client.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"hello");
}

// Windows does not say so before something is read.
#[cfg(unix)]
#[tokio::test]
async fn a_connection_that_died_says_so_as_often_as_it_is_asked() {
    let (mut listening, bound) = listen_at(LOOPBACK).await;
    let (client, incoming) = connected(&mut listening, bound).await;
    incoming.check_alive().unwrap();
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    assert_eq!(incoming.check_alive().unwrap_err().kind(), ErrorKind::ConnectionReset);
    incoming.check_alive().unwrap_err();
}

/// Whether any runtime of this process watches a socket.
#[cfg(target_os = "linux")]
fn is_watched(socket: &impl std::os::fd::AsRawFd) -> bool {
    let target = format!("tfd: {:8} ", socket.as_raw_fd());
    let watches = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path()).unwrap_or_default();
    let files = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    files.flatten().map(watches).any(|info| info.contains(&target))
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_runtime_watches_only_what_is_admitted() {
    let (mut listening, bound) = listen_at(LOOPBACK).await;
    let (_client, incoming) = connected(&mut listening, bound).await;
    assert!(!is_watched(incoming.stream.as_ref().unwrap()));
    let socket = incoming.admit().unwrap();
    assert!(is_watched(&socket));
}

#[tokio::test]
async fn a_dial_leaves_from_the_address_that_it_is_told() {
    let listener = net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    for from in [None, Some(IpAddr::from([127, 0, 0, 3]))] {
        let dialed = TcpTransport::new().dial(from, to).await.unwrap();
        let (_accepted, seen) = listener.accept().unwrap();
        assert_eq!(dialed.local_addr, seen);
        assert_eq!(seen.ip(), from.unwrap_or(LOOPBACK));
        assert_eq!(dialed.socket.peer_addr().unwrap(), to);
    }
}

#[tokio::test]
async fn a_dialed_socket_closes_in_the_ordinary_way() {
    let listener = net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    let dialed = TcpTransport::new()
        .dial(None, listener.local_addr().unwrap())
        .await
        .unwrap();
    assert_eq!(dialed.socket.linger().unwrap(), None);

    let (mut accepted, _) = listener.accept().unwrap();
    accepted.write_all(b"unread").unwrap();
    dialed.socket.writable().await.unwrap();
    dialed.socket.try_write(b"hello").unwrap();
    dialed.socket.readable().await.unwrap();
    dialed.socket.try_read(&mut [0; 16]).unwrap();
    drop(dialed);
    let mut read = Vec::new();
    accepted.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"hello");
}

#[tokio::test]
async fn a_dial_called_off_resets_the_connection_that_came_of_it() {
    let listener = net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    let mut dial = task::spawn(TcpTransport::new().dial(None, listener.local_addr().unwrap()));
    assert_pending!(dial.poll());

    let (mut accepted, _) = listener.accept().unwrap();
    accepted.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    drop(dial);
    assert_eq!(read_error(&mut accepted), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_failed_dial_passes_on_the_error() {
    let closed = net::TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap();
    let refused = TcpTransport::new().dial(None, closed).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    let elsewhere = Some(IpAddr::from([192, 0, 2, 1]));
    let unbound = TcpTransport::new().dial(elsewhere, closed).await.unwrap_err();
    assert_eq!(unbound.kind(), ErrorKind::AddrInUse);

    let other_family = Some(Ipv6Addr::LOCALHOST.into());
    TcpTransport::new().dial(other_family, closed).await.unwrap_err();
}
