//! A low-level peer-to-peer networking controller on Tokio: the part of a node that knows peers and makes connections,
//! and nothing above it.
//!
//! [`NetworkController`] keeps a list of peers known by IP address, loads it from a JSON file and dumps it back, keeps a
//! target number of outgoing connections alive by dialing the most promising peers, admits incoming ones under caps,
//! allows one connection a peer whatever its direction, bans, forgets and merges peers, and hands each new connection
//! to the application as a plain socket. The application shakes hands and reports back. No byte is read from or written
//! to a socket here.
//!
//! ```text
//! inbound ─▶ Listener ────┐                ┌─▶ Stream of CandidateConnection
//!                         ▼                │     { ip, socket, is_outgoing }
//! peers ◀─▶ ConnectorPool ─▶ PeerTable ────┤
//!                         ▲  (decides)     ├── Sink<Feedback>, FeedbackSink,
//! file ◀─── DumpInterval ─┘                │     PeerLease
//!                                          ├─▶ NetworkHandle (answers)
//!                                          └─▶ Changes (what happens, and why)
//! ```
//!
//! The [guide] has one page a question: [the loop](guide::the_loop), [leases](guide::leases),
//! [shutting down](guide::shutting_down), [seeds](guide::seeds), [bans](guide::bans), [the peer file](guide::peer_file),
//! [watching](guide::watching), [testing](guide::testing), [tuning](guide::tuning), [security](guide::security) and others.
//!
//! # Quick start
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use futures::StreamExt;
//! use network::{NetworkConfig, NetworkController, NetworkControllerEvent};
//! use tokio::time::timeout;
//!
//! # async fn shake_hands(_: tokio::net::TcpStream) -> bool { true }
//! # async fn start() -> Result<(), network::NetworkError> {
//! let config = NetworkConfig::new("peers.json", 31244);
//! let mut net = NetworkController::with_config(config).await?.leased();
//! while let Some((event, lease)) = net.next().await {
//!     let NetworkControllerEvent::CandidateConnection { socket, .. } = event;
//!     tokio::spawn(async move {
//!         // A peer that says nothing must not hold its slot for long.
//!         let limit = Duration::from_secs(5);
//!         if let Ok(true) = timeout(limit, shake_hands(socket)).await {
//!             lease.alive(); // and again at each sign of life
//!             lease.closed(); // when we are done with the peer
//!         } // a lease that is dropped unspent reports a failure
//!     });
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A handshake in the body of the loop, not in a task, needs that timeout even more: the controller is not polled
//! meanwhile, so where both ends of a connection do so, each may wait for the other for ever. [The loop](guide::the_loop)
//! shows each way.
//!
//! # What to rely on
//!
//! - **One connection a peer.** Where two nodes dial each other at one time, both keep the same of the two connections:
//!   the dial of the lower IP address. (As long as both have room for it and addresses are not translated between them;
//!   otherwise retries with jitter settle it.)
//! - **Caps hold at every moment.** A slot is reserved when a socket is admitted, so a finished handshake always fits.
//! - **Only a dial of ours proves a peer.** A peer that merely connects to us, or that others tell us of, gains no rank,
//!   after "Eclipse Attacks on Bitcoin's Peer-to-Peer Network" (Heilman et al., 2015).
//! - **Nobody loses a connection unheard.** Rotation and eviction end only connections that a [`PeerLease`] holds, and
//!   [`PeerLease::revoked`] says so; a node that reports by address keeps what it has.
//! - **Feedback never fails.** What makes no sense changes nothing and is counted in [`Stats`].
//! - **Nothing runs unless it is polled**, and nothing is spawned. Dropping the controller cancels everything; dropping
//!   a future of its methods loses nothing.
//! - **The peer file is whole**, the old one or the new one, whenever the process dies.
//!
//! And what not to: there are no identities beyond IP addresses, no encryption, no NAT traversal; all peers of a network
//! listen on one port; a peer that changes its address is another peer.
//!
//! # Which addresses can be peers
//!
//! An address that no peer can have is never added, wherever it comes from: this node's own, and
//!
//! | addresses | what they are | source |
//! |---|---|---|
//! | `0.0.0.0`, `::` | unspecified | RFC 1122, RFC 4291 |
//! | `224.0.0.0/4`, `ff00::/8` | multicast | RFC 5771, RFC 4291 |
//! | `255.255.255.255` | broadcast | RFC 919 |
//!
//! With [`global_peers_only`](NetworkConfig::global_peers_only), a node on the open Internet neither takes from peer
//! lists nor tells others of what is not globally reachable by the registries of RFC 6890, so that strangers cannot make
//! it dial into its own network. Peers of the file and `initial_peers` are the operator's own, and taken:
//!
//! | addresses | what they are | source |
//! |---|---|---|
//! | `0.0.0.0/8` | this network | RFC 791 |
//! | `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16` | private | RFC 1918 |
//! | `100.64.0.0/10` | shared | RFC 6598 |
//! | `127.0.0.0/8`, `::1` | loopback | RFC 1122, RFC 4291 |
//! | `169.254.0.0/16`, `fe80::/10` | link-local | RFC 3927, RFC 4291 |
//! | `192.0.0.0/24`, `2001::/23` | protocol assignments | RFC 6890, RFC 2928 |
//! | `192.0.2.0/24`, `198.51.100.0/24`, `203.0.113.0/24` | test nets | RFC 5737 |
//! | `2001:db8::/32`, `3fff::/20` | documentation | RFC 3849, RFC 9637 |
//! | `198.18.0.0/15` | benchmarking | RFC 2544 |
//! | `240.0.0.0/4` | reserved | RFC 1112 |
//! | `64:ff9b:1::/48` | local translation | RFC 8215 |
//! | `100::/64`, `100:0:0:1::/64` | discard, dummy | RFC 6666, RFC 9780 |
//! | `5f00::/16` | segment routing | RFC 9602 |
//! | `fc00::/7` | unique local | RFC 4193 |
//! | `64:ff9b::/96`, `2002::/16` around one of these | NAT64, 6to4 | RFC 6052, RFC 3056 |
//!
//! [`denied`](NetworkConfig::denied) and [`allowed`](NetworkConfig::allowed) exclude prefixes of the operator's choice,
//! also where others name them: such a peer is never dialed, admitted, taken from lists or told of.
//!
//! An IPv4 address in IPv6 form (`::ffff:10.0.0.1`, RFC 4291) is that IPv4 address, everywhere.
//!
//! # The peer file
//!
//! A JSON array with one object a peer, readable and editable by hand:
//!
//! ```json
//! [
//!   { "ip": "203.0.113.7" },
//!   { "ip": "2001:db8::7", "status": "Banned", "last_failure": "2026-01-02T03:04:05Z" }
//! ]
//! ```
//!
//! Only `ip` is required. At the first launch the file should name some bootstrap peers. One controller uses it at a time.
//! [The page of the guide](guide::peer_file) describes its fields, how it is replaced and locked, and how to run it in
//! production; [`peer_file`] lets tools load and save one.
//!
//! # Features
//!
//! All are off by default, and then without any cost.
//!
//! | feature | what | brings |
//! |---|---|---|
//! | `tracing` | what [`Changes`] says, as events of the target `network`: faults of this host and failed dumps are warnings; peers that are alive, ends and bans are info; dials and candidates debug; refusals trace | `tracing` |
//! | `metrics` | the numbers of [`Stats`] in the recorder of the `metrics` facade, after each poll, under the names of [`Stats::open_metrics`] and a label `listen` with the address. Install the recorder before making the controller | `metrics` |
//! | `sim` | the module `sim`: simulated networks in virtual time, and a transport in memory, for tests of a node of one's own. Belongs into `[dev-dependencies]` | `tokio/test-util` |
//!
//! There is one more, `internals`, for the benches and fuzz targets of this crate's repository. What it shows may change
//! in any release.
//!
//! # Code map
//!
//! | where | what |
//! |---|---|
//! | `change`, `stats` | what happened to a peer, and why; how many peers, how much, how often |
//! | `peer_table` | every decision, as a state machine without clock, socket or task |
//! | `listener`, `connector_pool`, `dump_interval` | one stream each: inbound sockets, outcomes of dials, when to dump |
//! | `transport`, `peer_file` | [`Transport`] and TCP; the file's format and its replacement |
//! | [`guide`] | docs only: one page a question |
//! | [`controller`] | the one future that polls all of these, and what the application speaks to |
//! | `sim` | feature `sim`: simulated networks and a scripted transport, for tests of a node of one's own |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod change;
mod config;
mod connector_pool;
pub mod controller;
mod dump_interval;
#[cfg_attr(
    not(feature = "internals"),
    expect(unreachable_pub, reason = "`internals` shows some of it")
)]
mod fault;
pub mod guide;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod ip_prefix;
mod listener;
#[cfg_attr(
    not(feature = "internals"),
    expect(unreachable_pub, reason = "`internals` shows some of it")
)]
mod peer;
pub mod peer_file;
#[cfg_attr(
    not(feature = "internals"),
    expect(unreachable_pub, reason = "`internals` shows some of it")
)]
mod peer_table;
#[cfg(any(test, feature = "sim"))]
#[cfg_attr(docsrs, doc(cfg(feature = "sim")))]
pub mod sim;
mod stats;
#[cfg(test)]
mod tests;
mod transport;

/// The times of this crate's interface are [`DateTime<Utc>`](chrono::DateTime) of this version of chrono.
pub use chrono;

pub use change::{Cause, Change, ChangeKind, Refusal, Reporter};
pub use config::{Clock, ConfigError, NetworkConfig};
pub use controller::{
    Changes, Feedback, FeedbackSink, Leased, NetworkController, NetworkControllerEvent, NetworkError, NetworkHandle,
    PeerLease,
};
pub use ip_prefix::{IpPrefix, IpPrefixError};
pub use peer::{Peer, PeerStatus, PeerStatusError, Revocation};
pub use peer_file::{FileError, PeerFileError, PeerRecord};
pub use peer_table::DialState;
pub use stats::{Counters, Stats, StatusCounts, Usage};
pub use transport::{Dialed, Incoming, TcpDial, TcpIncoming, TcpListening, TcpTransport, Transport};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
