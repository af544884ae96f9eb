//! What is known of a peer: its address, its status, when it was last alive and when it last failed.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use self::connection::{ConnectionId, ParkedId, PeerId};
pub use self::revocation::Revocation;
pub use self::status::{PeerStatus, PeerStatusError};

mod connection;
mod revocation;
mod status;

/// A known peer, as [`NetworkController::peers`](crate::NetworkController::peers) and
/// [`peer`](crate::NetworkController::peer) show it.
///
/// A peer *is* its IP address, in canonical form: `::ffff:192.0.2.1` is `192.0.2.1`.
///
/// ```
/// use network::{NetworkConfig, NetworkController, PeerStatus};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), network::NetworkError> {
/// let mut config = NetworkConfig::in_memory(0);
/// config.initial_peers = vec!["::ffff:203.0.113.7".parse().unwrap()];
/// let net = NetworkController::with_config(config).await?;
/// let peer = net.peers().next().expect("it was just named");
/// assert_eq!(peer.ip.to_string(), "203.0.113.7");
/// assert_eq!(peer.status, PeerStatus::Idle);
/// assert!(peer.last_alive.is_none() && peer.failures_in_row == 0);
/// # Ok(())
/// # }
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// The address that identifies the peer.
    pub ip: IpAddr,
    /// What is going on with the peer now.
    pub status: PeerStatus,
    /// When the peer was last reported alive, on a connection of either direction; `None` if it never was.
    pub last_alive: Option<DateTime<Utc>>,
    /// When a connection or handshake with the peer last failed. For a banned peer: when it was banned or, if later,
    /// when it last tried to connect. `None` if neither ever happened.
    pub last_failure: Option<DateTime<Utc>>,
    /// When the peer was last reported alive on a connection that *we* had made: the only proof that it listens.
    pub last_alive_outgoing: Option<DateTime<Utc>>,
    /// How many of our dials and outgoing handshakes failed since the last that came alive. Those that fail in an outage,
    /// a time without an outgoing connection, are not counted, nor those that time out and were under way when it ended:
    /// it may have been our own network's.
    pub failures_in_row: u32,
}

impl Peer {
    /// A peer of which only the address is known: Idle.
    #[must_use]
    pub fn new(ip: IpAddr) -> Self {
        Self {
            ip: ip.to_canonical(),
            status: PeerStatus::Idle,
            last_alive: None,
            last_failure: None,
            last_alive_outgoing: None,
            failures_in_row: 0,
        }
    }
}

/// A peer as the [peer file](crate::peer_file) keeps it.
///
/// Fields of its record that this crate does not know stay with it, so a record that was loaded can be saved without
/// losing them.
///
/// ```
/// use network::{Peer, PeerRecord, PeerStatus};
///
/// let mut peer = Peer::new([203, 0, 113, 7].into());
/// peer.status = PeerStatus::Banned;
/// let mut record = PeerRecord::from(peer);
/// record.banned_until = "2026-01-02T03:04:05Z".parse().ok();
/// ```
///
/// [The peer file](crate::guide::peer_file#tools) has examples that load and save such records.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct PeerRecord {
    /// The peer.
    pub peer: Peer,
    /// When the ban was set, for a ban that ends after a time. Means nothing unless the peer is banned.
    pub banned_at: Option<DateTime<Utc>>,
    /// When the ban ends, if it has a term of its own, as [`BannedFor`](crate::Feedback::BannedFor) sets one. `None`
    /// leaves that to [`ban_duration`](crate::NetworkConfig::ban_duration). Means nothing unless the peer is banned.
    pub banned_until: Option<DateTime<Utc>>,
    /// The peer has connected to us and was never alive, and no list named it: others are not told of it.
    pub knocked: bool,
    /// Fields that this crate does not know, to be written back as they were.
    pub(crate) other: Option<Box<OtherFields>>,
}

impl PeerRecord {
    /// A peer of which only the address is known.
    #[must_use]
    pub fn new(ip: IpAddr) -> Self {
        Peer::new(ip).into()
    }
}

/// A peer that did not knock, without other fields; if it is banned, by a ban that was set at its `last_failure`.
impl From<Peer> for PeerRecord {
    fn from(peer: Peer) -> Self {
        Self {
            banned_at: peer.last_failure.filter(|_| peer.status == PeerStatus::Banned),
            banned_until: None,
            peer,
            knocked: false,
            other: None,
        }
    }
}

/// What the peer file stores of a peer, borrowed from a [`PeerRecord`] or from the peer table.
#[derive(Clone, Copy, Debug)]
pub struct StoredPeer<'a> {
    /// What is known of it.
    pub peer: &'a Peer,
    /// When it was banned.
    pub banned_at: Option<DateTime<Utc>>,
    /// When the ban ends, if it has a term of its own.
    pub banned_until: Option<DateTime<Utc>>,
    /// It was admitted and never alive, and no list named it.
    pub knocked: bool,
    /// Fields of its record that this crate does not know.
    pub other: Option<&'a OtherFields>,
}

impl StoredPeer<'_> {
    /// A status other than `Banned` does not outlive a controller.
    pub(crate) fn to_record(self) -> PeerRecord {
        let mut peer = self.peer.clone();
        if peer.status != PeerStatus::Banned {
            peer.status = PeerStatus::Idle;
        }
        PeerRecord {
            peer,
            banned_at: self.banned_at,
            banned_until: self.banned_until,
            knocked: self.knocked,
            other: self.other.cloned().map(Box::new),
        }
    }
}

impl PeerRecord {
    pub(crate) fn as_stored(&self) -> StoredPeer<'_> {
        StoredPeer {
            peer: &self.peer,
            banned_at: self.banned_at,
            banned_until: self.banned_until,
            knocked: self.knocked,
            other: self.other.as_deref(),
        }
    }
}

/// Fields of a record of the peer file that this crate does not know.
pub(crate) type OtherFields = serde_json::Map<String, serde_json::Value>;

/// Whether a peer can have this address at all: not unspecified, not multicast, not broadcast. The crate's documentation
/// lists the ranges.
pub(crate) fn is_peer_address(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || broadcast)
}

#[cfg(test)]
mod tests;
