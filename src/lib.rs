//! A low-level peer-to-peer networking controller on Tokio.

#[cfg(test)]
extern crate self as network;

mod config;
mod connector_pool;
pub mod controller;
mod dump_interval;
mod fault;
mod listener;
#[cfg(test)]
#[path = "../tests/support/memory.rs"]
mod memory;
mod peer;
mod peer_file;
mod peer_table;
mod stats;
mod transport;

pub use config::{Clock, ConfigError, NetworkConfig};
pub use controller::{
    Feedback, FeedbackSink, Leased, NetworkController, NetworkControllerEvent, NetworkError, PeerLease,
};
pub use peer::{Peer, PeerStatus};
pub use peer_file::PeerFileError;
pub use stats::{Counters, Stats, StatusCounts, Usage};
pub use transport::{Dialed, Incoming, TcpDial, TcpIncoming, TcpListening, TcpTransport, Transport};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
