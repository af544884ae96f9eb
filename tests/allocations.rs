//! What the front door allocates: nothing beyond what the sockets need.
//!
//! The allocator counts for the whole process, so there is one test here, and nothing runs beside it.

use std::alloc::System;
use std::net::{IpAddr, SocketAddr, TcpStream as Client};
use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use network::{NetworkConfig, NetworkController, NetworkControllerEvent};
use socket2::{Domain, SockRef, Socket, Type};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PEERS: u8 = 50;
/// The first few fill what is used again.
const ROUNDS: usize = 8;

/// How often memory was asked for meanwhile.
fn allocations<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let region = Region::new(ALLOCATOR);
    let result = work();
    let change = region.change();
    (change.allocations + change.reallocations, result)
}

fn peer(number: u8) -> IpAddr {
    IpAddr::from([127, 77, number, 1])
}

fn connect(from: IpAddr, to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

fn connect_all(to: SocketAddr) -> Vec<Client> {
    (0..PEERS).map(|number| connect(peer(number), to)).collect()
}

fn config() -> NetworkConfig {
    let mut config = NetworkConfig::in_memory(0);
    config.listen_ip = IpAddr::from([127, 77, 255, 1]);
    config.target_outgoing_connections = 0;
    config.max_incoming_connections = usize::from(PEERS);
    config.max_simultaneous_incoming_connection_attempts = usize::from(PEERS);
    config
}

/// What each of several rounds of admitting all of them takes. Now and then the runtime takes something of its own.
async fn admitting() -> Vec<usize> {
    let mut net = NetworkController::with_config(config()).await.unwrap();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let _clients = connect_all(net.local_addr());
        tokio::task::yield_now().await;
        let mut held = Vec::with_capacity(usize::from(PEERS));
        let (count, ()) = allocations(|| {
            for _ in 0..PEERS {
                held.push(net.next().now_or_never().expect("all wait").expect("it is open"));
            }
        });
        rounds.push(count);
        for NetworkControllerEvent::CandidateConnection { ip, socket, .. } in held {
            SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
            net.feedback_peer_alive(ip).await;
            net.feedback_peer_closed(ip).await;
        }
    }
    rounds
}

/// What Tokio's own listener takes for as many.
async fn accepting() -> Vec<usize> {
    let listener = TcpListener::bind("127.77.255.2:0").await.unwrap();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let _clients = connect_all(listener.local_addr().unwrap());
        tokio::task::yield_now().await;
        let mut held = Vec::with_capacity(usize::from(PEERS));
        let (count, ()) = allocations(|| {
            for _ in 0..PEERS {
                held.push(listener.accept().now_or_never().expect("all wait").unwrap());
            }
        });
        rounds.push(count);
        for (socket, _) in held {
            SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    rounds
}

/// What it takes to refuse all of them, and then to be polled with nothing to do.
async fn refusing_and_resting() -> [usize; 2] {
    let mut net = NetworkController::with_config(config()).await.unwrap();
    for number in 0..PEERS {
        net.feedback_peer_banned(peer(number)).await;
    }
    let mut counts = [0; 2];
    for _ in 0..ROUNDS {
        let _clients = connect_all(net.local_addr());
        tokio::task::yield_now().await;
        counts[0] = allocations(|| assert!(net.next().now_or_never().is_none())).0;
    }
    let refused = net.stats().counters.refused_banned;
    assert_eq!(refused, u64::try_from(ROUNDS).unwrap() * u64::from(PEERS));
    let mut next = pin!(net.next());
    counts[1] = allocations(|| (0..1_000).for_each(|_| assert!(next.as_mut().now_or_never().is_none()))).0;
    counts
}

#[test]
fn accepting_allocates_no_more_than_tokio_and_refusing_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let (bare, ours) = (accepting().await, admitting().await);
        assert!(bare.iter().min() >= Some(&usize::from(PEERS)), "{bare:?}");
        assert_eq!(ours.iter().min(), bare.iter().min(), "{ours:?}, {bare:?}");
        assert_eq!(refusing_and_resting().await, [0, 0]);
    });
}
