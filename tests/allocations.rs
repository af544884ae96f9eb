//! What accepting and refusing allocate: little beyond what the sockets need.
//!
//! The allocator counts for the whole process, so there is one test here, and nothing runs beside it.

#[path = "support/loopback.rs"]
mod loopback;

use std::alloc::System;
use std::net::{SocketAddr, TcpStream as Client};
use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use loopback::{Block, Candidate};
use network::{NetworkConfig, NetworkController};
use socket2::SockRef;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NODE: u8 = 2;
const PEERS: std::ops::Range<u8> = 100..150;
/// The first few fill what is used again.
const ROUNDS: usize = 8;

/// How often memory was asked for meanwhile.
fn allocations<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let region = Region::new(ALLOCATOR);
    let result = work();
    let change = region.change();
    (change.allocations + change.reallocations, result)
}

fn connect_all(block: Block, to: SocketAddr) -> Vec<Client> {
    let connect = |host| {
        let client = loopback::connect_from(block.any_port(host), to).unwrap();
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        client
    };
    PEERS.map(connect).collect()
}

fn config(block: Block) -> NetworkConfig {
    let mut config = block.config(NODE, &[]);
    config.target_outgoing_connections = 0;
    config.max_incoming_connections = PEERS.len();
    config.max_simultaneous_incoming_connection_attempts = PEERS.len();
    config
}

/// What each of several rounds of admitting all of them takes. Now and then the runtime takes something of its own.
async fn admitting() -> Vec<usize> {
    let block = Block::new();
    let mut net = NetworkController::with_config(config(block)).await.unwrap();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let _clients = connect_all(block, net.local_addr());
        tokio::task::yield_now().await;
        let mut held = Vec::with_capacity(PEERS.len());
        let (count, ()) = allocations(|| {
            for _ in PEERS {
                held.push(net.next().now_or_never().expect("all wait").expect("it is open"));
            }
        });
        rounds.push(count);
        for Candidate { ip, socket, .. } in held.into_iter().map(Candidate::of) {
            SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
            net.feedback_peer_alive(ip).await;
            net.feedback_peer_closed(ip).await;
        }
    }
    rounds
}

/// What Tokio's own listener takes for as many.
async fn accepting() -> Vec<usize> {
    let block = Block::new();
    let listener = block.listen(NODE);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let _clients = connect_all(block, block.addr(NODE));
        tokio::task::yield_now().await;
        let mut held = Vec::with_capacity(PEERS.len());
        let (count, ()) = allocations(|| {
            for _ in PEERS {
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
async fn refusing_and_idling() -> [usize; 2] {
    let block = Block::new();
    let mut net = NetworkController::with_config(config(block)).await.unwrap();
    for host in PEERS {
        net.feedback_peer_banned(block.ip(host)).await;
    }
    let mut counts = [0; 2];
    for _ in 0..ROUNDS {
        let _clients = connect_all(block, net.local_addr());
        tokio::task::yield_now().await;
        counts[0] = allocations(|| assert!(net.next().now_or_never().is_none())).0;
    }
    let refused = net.stats().counters.refused_banned;
    assert_eq!(refused, u64::try_from(ROUNDS * PEERS.len()).unwrap());
    let mut next = pin!(net.next());
    counts[1] = allocations(|| (0..1_000).for_each(|_| assert!(next.as_mut().now_or_never().is_none()))).0;
    counts
}

#[test]
fn accepting_and_refusing_allocate_little_and_an_idle_poll_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let (bare, ours) = (accepting().await, admitting().await);
        assert!(bare.iter().min() >= Some(&PEERS.len()), "{bare:?}");
        // A `BTreeSet` that has become empty allocates with its next member: the table's deadlines and the mailbox's do so.
        let fewest = |counts: &[usize]| counts.iter().copied().min().unwrap();
        assert!(fewest(&ours) <= fewest(&bare) + 2 * PEERS.len(), "{ours:?}, {bare:?}");
        // The order of bans moves with each attempt, which splits a node of a `BTreeSet` now and then.
        let [refusing, idling] = refusing_and_idling().await;
        assert!(refusing <= PEERS.len() / 4, "{refusing}");
        assert_eq!(idling, 0);
    });
}
