//! A low-level peer-to-peer networking controller on Tokio.

mod config;
mod peer;
mod transport;

pub use config::{Clock, ConfigError, NetworkConfig};
pub use peer::{Peer, PeerStatus};
pub use transport::{Dialed, Incoming, Transport};

/// The quick start of `README.md` compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
