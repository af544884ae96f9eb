//! A low-level peer-to-peer networking controller on Tokio.

mod config;
mod peer;
mod transport;

pub use config::{Clock, ConfigError, NetworkConfig};
pub use peer::{Peer, PeerStatus};
pub use transport::{Dialed, Incoming, Transport};
