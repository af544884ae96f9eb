//! The in-memory transport does what the tests that lean on it take for granted.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use futures::{FutureExt, StreamExt};
use network::sim::memory::{ANY_PORT, DialFate, DialRequest, IncomingFate, IncomingProbe, MemoryTransport, memory};
use network::{Incoming, Transport};
use static_assertions::assert_impl_all;
use tokio_test::{assert_pending, assert_ready, task};

assert_impl_all!(MemoryTransport: Send, Sync, Unpin);

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

async fn listen(transport: &mut MemoryTransport) -> task::Spawn<<MemoryTransport as Transport>::Listener> {
    task::spawn(transport.listen(addr("[::]:0")).await.unwrap().0)
}

#[tokio::test]
async fn listening_binds_the_port_or_fails_on_demand() {
    let (mut transport, handle) = memory();
    handle.fail_listen(ErrorKind::AddrInUse.into());
    let error = transport.listen(addr("[::]:1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(!handle.is_listening());

    let (listener, bound) = transport.listen(addr("127.0.0.2:0")).await.unwrap();
    assert_eq!(bound, SocketAddr::from(([127, 0, 0, 2], ANY_PORT)));
    let waiting = handle.incoming(addr("192.0.2.7:1"), bound);
    assert!(handle.is_listening());
    drop(listener);
    assert!(!handle.is_listening());
    assert_eq!(waiting.fate(), IncomingFate::Dropped);
    assert_eq!(handle.live_sockets(), 0);
}

#[tokio::test]
async fn accepts_come_in_order_and_wake_the_listener() {
    let (mut transport, handle) = memory();
    let mut listener = listen(&mut transport).await;
    assert_pending!(listener.poll_next());
    let probe = handle.incoming(addr("192.0.2.7:1"), addr("203.0.113.1:2"));
    assert!(listener.is_woken());
    handle.accept_error(ErrorKind::Other.into());
    assert_eq!(handle.accepts_waiting(), 2);
    handle.end_accepting();

    let incoming = assert_ready!(listener.poll_next()).unwrap().unwrap();
    assert_eq!(incoming.remote_addr(), addr("192.0.2.7:1"));
    assert_eq!(incoming.local_addr().unwrap(), addr("203.0.113.1:2"));
    assert_eq!(probe.fate(), IncomingFate::Pending);
    assert_eq!(
        assert_ready!(listener.poll_next()).unwrap().unwrap_err().kind(),
        ErrorKind::Other
    );
    assert!(assert_ready!(listener.poll_next()).is_none());
}

#[tokio::test]
async fn a_probe_shows_the_fate_of_an_incoming_connection() {
    let (mut transport, handle) = memory();
    let mut listener = listen(&mut transport).await;
    let probes: Vec<_> = (1..=5)
        .map(|port| handle.incoming(SocketAddr::new(PEER, port), addr("[::]:2")))
        .collect();
    assert_eq!(handle.live_sockets(), 5);
    probes[3].kill(ErrorKind::ConnectionReset);
    probes[4].fail_admit(ErrorKind::OutOfMemory.into());

    let socket = listener.next().await.unwrap().unwrap().admit().unwrap();
    assert_eq!(socket.remote, SocketAddr::new(PEER, 1));
    assert!(probes[0].is_open() && !probes[0].is_refused());
    listener.next().await.unwrap().unwrap().refuse();
    drop(listener.next().await);
    let dead = listener.next().await.unwrap().unwrap();
    assert_eq!(dead.local_addr().unwrap(), addr("[::]:2"));
    assert_eq!(dead.check_alive().unwrap_err().kind(), ErrorKind::ConnectionReset);
    probes[3].lose_addr(ErrorKind::NotConnected);
    assert_eq!(dead.local_addr().unwrap_err().kind(), ErrorKind::NotConnected);
    drop(dead);
    assert_eq!(
        listener.next().await.unwrap().unwrap().admit().unwrap_err().kind(),
        ErrorKind::OutOfMemory
    );

    let fates: Vec<_> = probes.iter().map(IncomingProbe::fate).collect();
    use IncomingFate::{AdmitFailed, Admitted, Dropped, Refused};
    assert_eq!(fates, [Admitted, Refused, Dropped, Dropped, AdmitFailed]);
    assert!(probes[1].is_refused() && probes[2].is_refused());
    assert_eq!(handle.live_sockets(), 1);
    drop(socket);
    assert_eq!(handle.live_sockets(), 0);
    assert!(!probes[0].is_open());
}

#[tokio::test]
async fn dials_are_answered_by_hand() {
    let (mut transport, handle) = memory();
    let from = IpAddr::from([127, 0, 0, 2]);
    let mut ok = task::spawn(transport.dial(Some(from), SocketAddr::new(PEER, 31244)));
    let mut failing = task::spawn(transport.dial(None, addr("[2001:db8::7]:1")));
    assert_pending!(ok.poll());
    assert_pending!(failing.poll());
    assert_eq!(
        handle.dials(),
        [
            DialRequest {
                from: Some(from),
                to: SocketAddr::new(PEER, 31244)
            },
            DialRequest {
                from: None,
                to: addr("[2001:db8::7]:1")
            },
        ]
    );

    let probe = handle.dial_ok(PEER);
    assert!(ok.is_woken() && !failing.is_woken());
    assert_eq!(handle.fates(PEER), [DialFate::Answered]);
    let dialed = assert_ready!(ok.poll()).unwrap();
    assert_eq!(dialed.local_addr.ip(), from);
    assert_eq!(dialed.socket.local, dialed.local_addr);
    assert_eq!(dialed.socket.id, probe.id);
    drop(ok);
    assert_eq!(handle.fates(PEER), [DialFate::Done]);
    assert!(probe.is_open());
    drop(dialed);
    assert!(!probe.is_open());

    handle.dial_err("2001:db8::7".parse().unwrap(), ErrorKind::TimedOut.into());
    assert!(failing.is_woken());
    assert_eq!(assert_ready!(failing.poll()).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(handle.dials().is_empty());
    assert_eq!(handle.dials_started(), 2);
}

#[tokio::test]
async fn a_dropped_dial_is_called_off_and_closes_its_socket() {
    let (mut transport, handle) = memory();
    let to = SocketAddr::new(PEER, 1);
    drop(transport.dial(None, to));
    let answered = transport.dial(None, to);
    let probe = handle.dial_ok_from(PEER, addr("198.51.100.1:9"));
    assert!(probe.is_open());
    drop(answered);
    assert!(!probe.is_open());
    assert_eq!(handle.fates(PEER), [DialFate::CalledOff; 2]);
    assert_eq!(handle.live_sockets(), 0);
}

#[tokio::test]
async fn a_closure_that_answers_dials_may_use_the_handle() {
    let (mut transport, handle) = memory();
    let also = handle.clone();
    handle.auto_dial(move |dial| match dial.to.port() {
        1 => Some(Ok(())),
        2 => Some(Err(io::Error::other(format!("{} dials", also.dials_started())))),
        _ => None,
    });
    let mut answer = |port| transport.dial(None, SocketAddr::new(PEER, port)).now_or_never();
    let dialed = answer(1).expect("an answer").unwrap();
    assert_eq!(dialed.socket.remote, SocketAddr::new(PEER, 1));
    let error = answer(2).expect("an answer").unwrap_err();
    assert_eq!(error.to_string(), "2 dials");
    let _left = transport.dial(None, SocketAddr::new(PEER, 3));
    assert_eq!(handle.dials().len(), 1);
    handle.stop_auto_dial();
    let _left = transport.dial(None, SocketAddr::new(PEER, 1));
    assert_eq!(handle.dials().len(), 2);
}
