//! Why a connection's slot has ended.

use std::fmt;

/// Why the slot of a connection ended by anything but its lease, as
/// [`PeerLease::revoked`](crate::PeerLease::revoked) says. The socket is the application's to close; the reason says whether,
/// and how, to take leave of the peer first.
///
/// [Leases](crate::guide::leases#when-the-controller-ends-a-connection), in the guide, says what to do for each reason, with an
/// example.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revocation {
    /// The peer was banned.
    Banned,
    /// There was no feedback for [`handshake_timeout`](crate::NetworkConfig::handshake_timeout) after the event.
    HandshakeTimeout,
    /// Feedback by address ended it: failed or closed.
    Feedback,
    /// The address is this node's own, as another connection has shown or feedback has said.
    Ourselves,
    /// Rotation: a new outgoing connection is alive, and this one makes room for it. Nothing is wrong with the peer.
    Rotated,
    /// Eviction: a newcomer took the slot of this incoming connection. Nothing is wrong with the peer.
    Evicted,
    /// The address is excluded by the configuration.
    Denied,
    /// The controller was closed or dropped.
    Closed,
}

impl Revocation {
    /// Whether the address is held until the lease is dropped.
    pub(crate) fn holds_address(self) -> bool {
        matches!(self, Self::Rotated | Self::Evicted)
    }

    /// A sentence's end: "the connection ended because …".
    const fn as_str(self) -> &'static str {
        match self {
            Self::Banned => "the peer is banned",
            Self::HandshakeTimeout => "the handshake timed out",
            Self::Feedback => "feedback by address ended it",
            Self::Ourselves => "it reaches this node itself",
            Self::Rotated => "another outgoing connection takes its turn",
            Self::Evicted => "a newcomer took its slot",
            Self::Denied => "the configuration denies the address",
            Self::Closed => "the controller is closed",
        }
    }
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
