//! Testing your node: a transport that a script moves, and simulated networks. Compiled with the cargo feature `sim` only.
//!
//! # Testing your node
//!
//! | to test | use | what is real |
//! |---|---|---|
//! | how your node reacts: a peer refuses, comes in, says nothing | [`memory`], a transport that the test scripts, and Tokio's paused clock | the controller |
//! | your protocol, and how a network of your nodes forms, mixes and heals | [`run`], a network in memory and in virtual time | the controllers, your protocol, TCP as far as it matters |
//! | the rest: file descriptors, the kernel's queues | 127.0.0.2, 127.0.0.3, … with [`listen_ip`](crate::NetworkConfig::listen_ip) set | everything |
//!
//! [`memory`] has an example of the first kind: time passes as soon as every task waits for it, so ten seconds of backoff
//! take none. The rest of this page is about the second kind: real controllers, unchanged, over a network in memory and in
//! virtual time, on one thread, and replayable: a thousand nodes on a laptop.
//!
//! [`run`] makes a [`Network`]; [`Network::host`] gives it a [`Host`], a machine with one address; a host's
//! [`transport`](Host::transport) goes into a [`NetworkController`](crate::NetworkController), and its sockets are
//! [`Socket`]s that carry bytes or, cheaper, whole messages. [`node()`] starts a ready node, which shakes hands and
//! exchanges addresses; write your own in its place. Then partition the network, kill hosts, lose dials, and look at what
//! becomes of it: [`Network::graph`]. The program in `examples/simulation` has a dozen experiments of this kind.
//!
//! # A network of a hundred nodes
//!
//! ```
//! use std::net::IpAddr;
//! use std::time::Duration;
//!
//! use network::sim::{self, NodeOptions};
//! use tokio::time::sleep;
//!
//! let components = sim::run(1, async |net: sim::Network| {
//!     let first = IpAddr::from([60, 0, 0, 1]);
//!     for number in 0..100 {
//!         let host = net.host(IpAddr::from([60, number, 0, 1]));
//!         let mut config = host.config(4000);
//!         config.initial_peers = vec![first];
//!         sim::node(&host, config, NodeOptions::default()).await.unwrap();
//!     }
//!     // Ten minutes pass in the time that the work takes.
//!     sleep(Duration::from_secs(600)).await;
//!     net.components()
//! });
//! assert_eq!(components.len(), 1, "all find together by the one that all know");
//! ```
//!
//! # A node of one's own
//!
//! Anything that takes a [`Transport`](crate::Transport) runs here. What it spawns with [`Host::spawn`] ends with its
//! host, and a panic in it ends the run. A protocol that is written for `AsyncRead + AsyncWrite` runs unchanged:
//!
//! ```
//! use std::io;
//! use std::time::Duration;
//!
//! use futures::StreamExt;
//! use network::sim::{self, Host, Socket};
//! use network::{NetworkController, NetworkControllerEvent};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::time::{sleep, timeout};
//!
//! async fn greet(socket: &mut Socket) -> io::Result<()> {
//!     socket.write_all(b"hello").await?;
//!     let mut greeting = [0; 5];
//!     socket.read_exact(&mut greeting).await?;
//!     if &greeting == b"hello" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
//! }
//!
//! async fn my_node(host: Host, knows: Host) {
//!     let mut config = host.config(4000);
//!     config.initial_peers = vec![knows.ip()];
//!     let net = NetworkController::with_transport(config, host.transport());
//!     let mut net = net.await.unwrap().leased();
//!     while let Some((event, lease)) = net.next().await {
//!         let NetworkControllerEvent::CandidateConnection { mut socket, .. } = event;
//!         host.spawn(async move {
//!             let limit = Duration::from_secs(5);
//!             if let Ok(Ok(())) = timeout(limit, greet(&mut socket)).await {
//!                 lease.alive();
//!                 lease.revoked().await; // … until the connection is over
//!             }
//!         });
//!     }
//! }
//!
//! sim::run(1, async |net: sim::Network| {
//!     let [a, b] = [[60, 1, 0, 1], [60, 2, 0, 1]].map(|ip| net.host(ip.into()));
//!     a.spawn(my_node(a.clone(), b.clone()));
//!     b.spawn(my_node(b.clone(), a.clone()));
//!     sleep(Duration::from_secs(10)).await;
//!     assert_eq!(net.edges().len(), 1, "both dialed, and both kept the same connection");
//! });
//! ```
//!
//! # What TCP does here
//!
//! SYN, SYN-ACK, ACK, data, FIN and RST each take the [latency](Network::latency) of their pair of hosts, in whole
//! milliseconds, and do not overtake each other. So a dial takes two latencies, and three pass until the other end can
//! accept. A dial to a host without a listener is refused after two; one to an address that is no host's, or whose host is
//! down, gets no answer. A full backlog lets the SYN be lost; it comes again after 1, 2, 4 … seconds. A socket that is
//! refused, or dropped before it was read to its end, resets the connection; otherwise dropping it sends a FIN. What is
//! sent to an end that is gone is answered by a reset. 64 KiB may be under way or unread in one direction. What meets a
//! partition is held, and arrives one latency after it is healed: TCP would send it again. There is no loss of single
//! packets, no bandwidth, no address translation, and a dead connection is never given up: a node needs a limit of its own
//! for peers that say nothing.
//!
//! # Replaying
//!
//! Everything follows from the seed: events happen by their time and, at one time, in the order in which they were
//! planned; tasks run on one thread in the order in which they were woken; [`Network::trace_hash`] is the same in another
//! process. [`run`] makes the runtime with its clock paused from the start. One that is paused later keeps the fraction of a
//! millisecond at which it was paused, by which timers are rounded, so that no two runs are alike. What a node brings in must
//! be as careful: no real clock, no `HashMap` whose order matters, no randomness but from [`Network::random_below`] (a
//! `tokio::select!` needs `biased;`).

mod agenda;
mod agreement;
mod connection;
mod dials;
mod graph;
mod host;
mod network;
mod node;
mod socket;
mod trace;
mod transport;
mod wire;

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::pin;
use std::task::Poll;

use futures::future::{Either, select};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

pub use self::dials::DialCounts;
pub use self::graph::{Degrees, Graph, PathLengths};
pub use self::host::{Host, Kill};
pub use self::network::Network;
pub use self::node::{Node, NodeOptions, node};
pub use self::socket::Socket;
pub use self::transport::{Accepting, Dial, HostTransport, Inbound};
pub use crate::transport::memory;

use crate::controller::checks::Checks;

/// Runs `main` in a network of its own, in virtual time from 2026-01-01 on: whenever nothing is left to do, time goes to
/// the next timer or packet. Ends with `main`, and drops whatever was spawned.
///
/// The [module](self#a-network-of-a-hundred-nodes) has examples.
///
/// In builds with debug assertions, controllers check the caps of their peer tables after each poll, and everything else
/// that must hold as often as takes a constant time a poll; and no two hosts may hold two connections with each other.
///
/// # Panics
///
/// When called within a runtime: use a plain `#[test]`. When `main` or a task of a [`Host`] panics, with its message.
pub fn run<R>(seed: u64, main: impl AsyncFnOnce(Network) -> R) -> R {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O takes nothing from the system");
    let _checks = Checks::start();
    let tasks = LocalSet::new();
    let outcome = tasks.block_on(&runtime, async {
        let network = Network::new(seed);
        network.spawn(drive(network.clone()));
        let failure = pin!(poll_fn(|cx| network.poll_failure(cx)));
        let main = pin!(main(network.clone()));
        match select(main, failure).await {
            Either::Left((outcome, _)) => Ok(outcome),
            Either::Right((panic, _)) => Err(panic),
        }
    });
    drop(tasks);
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Lets packets arrive when it is time.
async fn drive(network: Network) {
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut armed = None;
    poll_fn(|cx| {
        loop {
            let next = network.deliver_due(cx.waker());
            let Some(next) = next else {
                return Poll::<()>::Pending;
            };
            if armed != Some(next) {
                armed = Some(next);
                timer.as_mut().reset(network.instant(next));
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}
