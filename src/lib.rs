//! A low-level peer-to-peer networking controller on Tokio.

mod peer;
mod transport;

pub use peer::{Peer, PeerStatus};
pub use transport::{Dialed, Incoming, Transport};
