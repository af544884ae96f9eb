//! A low-level peer-to-peer networking controller on Tokio.

mod config;
mod peer;
mod peer_table;
mod stats;
mod transport;

pub use config::{Clock, ConfigError, NetworkConfig};
pub use peer::{Peer, PeerStatus};
pub use stats::{Counters, Stats, StatusCounts, Usage};
pub use transport::{Dialed, Incoming, Transport};
