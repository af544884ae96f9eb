//! What happens to a peer, and why: the items of [`Changes`](crate::Changes).

use std::fmt;
use std::io;
use std::net::IpAddr;

use chrono::{DateTime, Utc};

use crate::peer::{PeerStatus, Revocation};

/// Something that happened to a peer. [`Display`](fmt::Display) is a line for a log, without the time.
///
/// [`NetworkController::changes`](crate::NetworkController::changes) and [`ChangeKind`] have examples.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// When the controller passed it on, at the end of the poll or the call in which it happened. By the controller's
    /// [clock](crate::Clock).
    pub at: DateTime<Utc>,
    /// The peer, in canonical form. Of [`ChangeKind::Lagged`], which is about no peer, the unspecified address.
    pub ip: IpAddr,
    /// What happened.
    pub kind: ChangeKind,
}

/// What happened to a peer.
///
/// From the statuses of all peers at one time, the changes lead to those at any later time: [`Added`](Self::Added) peers
/// are Idle, [`Status`](Self::Status) says the rest, [`Forgotten`](Self::Forgotten) ones are gone.
///
/// ```
/// use network::{Cause, Change, ChangeKind};
///
/// /// Whether an operator should hear of it.
/// fn is_news(change: &Change) -> bool {
///     match change.kind {
///         ChangeKind::Status { cause, .. } => {
///             matches!(cause, Cause::Banned(_) | Cause::DialHostFault(_))
///         }
///         ChangeKind::Lagged(_) => true,
///         _ => false,
///     }
/// }
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Its status changed.
    Status {
        /// The status before; `None` if the peer was not known. A peer that becomes known as Idle is
        /// [`Added`](Self::Added) instead.
        from: Option<PeerStatus>,
        /// The status now.
        to: PeerStatus,
        /// What led to it.
        cause: Cause,
    },
    /// A connection of it came in and was refused; its status is as before. The address need not be known.
    Refused(Refusal),
    /// It became known, and is Idle.
    Added,
    /// It is not known any more: there were too many peers, or its address is this node's own. It was Idle or Banned.
    Forgotten,
    /// So many changes before the next one are missing: they were the oldest when there was no room for more.
    Lagged(u64),
}

/// What led to a change of a peer's status.
///
/// [`Display`](fmt::Display) says it in words. [`ChangeKind`] has an example.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A dial was started.
    Dialed,
    /// The dial succeeded: a candidate.
    DialSucceeded,
    /// The dial failed in a way that blames the peer; with [`io::ErrorKind::TimedOut`], it took longer than
    /// `connect_timeout` or than the system lets it.
    DialFailed(io::ErrorKind),
    /// The dial found no way to the address, which may be either end's fault.
    DialUnroutable(io::ErrorKind),
    /// The dial failed for want of this host's own resources; no failure is recorded.
    DialHostFault(io::ErrorKind),
    /// The dial was called off, as the target was met.
    TargetMet,
    /// The dial gave way to a connection that came in from the peer.
    CameIn,
    /// An inbound connection was admitted: a candidate.
    Admitted,
    /// The candidate was reported alive.
    Alive,
    /// The connection was reported failed.
    Failed(Reporter),
    /// The connection was reported closed.
    Closed(Reporter),
    /// There was no report of the candidate for `handshake_timeout`.
    HandshakeTimedOut,
    /// Rotation: a new outgoing connection is alive, and this one made room for it.
    Rotated,
    /// Eviction: a newcomer took the slot of this incoming connection.
    Evicted,
    /// The configuration was changed and denies the address now.
    Denied,
    /// It was banned.
    Banned(Reporter),
    /// Its ban was lifted by a report.
    Unbanned,
    /// Its ban was over.
    BanEnded,
    /// It is reserved, and its ban was dropped as there were too many bans. Any other peer is forgotten then.
    BanDropped,
    /// Its address was found to be this node's own.
    Ourselves,
}

/// How the application reported something.
///
/// It is part of a [`Cause`]; [`ChangeKind`] has an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reporter {
    /// By address: by a method of the controller, a handle or a sink.
    #[default]
    Feedback,
    /// By the lease of the connection.
    Lease,
    /// The lease of the connection was dropped unspent.
    DroppedLease,
}

/// Why an inbound connection was refused.
///
/// [`Display`](fmt::Display) says it in words:
///
/// ```
/// let refusal = network::Refusal::Banned;
/// assert_eq!(refusal.to_string(), "the peer is banned");
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No peer can have its address.
    NotAPeer,
    /// It is the other end of a dial of ours.
    Ourselves,
    /// Its peer is banned.
    Banned,
    /// `denied` or `allowed` excludes its address.
    Denied,
    /// Its peer has a connection already.
    Connected,
    /// `max_simultaneous_incoming_connection_attempts`.
    AttemptsFull,
    /// `max_incoming_connections`.
    IncomingFull,
    /// `max_incoming_per_subnet`.
    SubnetFull,
    /// It was parked until a dial or connection of ours settled, and that was kept or took too long.
    Parked,
}

impl Cause {
    /// Why the connection that it ended was revoked, for its lease. No lease is of a dial, so what ends a dial counts as
    /// closed.
    pub(crate) fn revocation(self) -> Revocation {
        match self {
            Self::Failed(_) | Self::Closed(_) => Revocation::Feedback,
            Self::HandshakeTimedOut => Revocation::HandshakeTimeout,
            Self::Rotated => Revocation::Rotated,
            Self::Evicted => Revocation::Evicted,
            Self::Banned(_) => Revocation::Banned,
            Self::Denied => Revocation::Denied,
            Self::Ourselves => Revocation::Ourselves,
            Self::Dialed
            | Self::DialSucceeded
            | Self::DialFailed(_)
            | Self::DialUnroutable(_)
            | Self::DialHostFault(_)
            | Self::TargetMet
            | Self::CameIn
            | Self::Admitted
            | Self::Alive
            | Self::Unbanned
            | Self::BanEnded
            | Self::BanDropped => Revocation::Closed,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ChangeKind::Lagged(_) => self.kind.fmt(f),
            kind => write!(f, "{} {kind}", self.ip),
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status {
                from: Some(from),
                to,
                cause,
            } => write!(f, "{from} -> {to}: {cause}"),
            Self::Status { from: None, to, cause } => write!(f, "new -> {to}: {cause}"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Added => f.write_str("added"),
            Self::Forgotten => f.write_str("forgotten"),
            Self::Lagged(missing) => write!(f, "{missing} changes are missing"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialed => f.write_str("dialed"),
            Self::DialSucceeded => f.write_str("the dial succeeded"),
            Self::DialFailed(kind) => write!(f, "the dial failed: {kind}"),
            Self::DialUnroutable(kind) => write!(f, "no way to the address: {kind}"),
            Self::DialHostFault(kind) => write!(f, "this host could not dial: {kind}"),
            Self::TargetMet => f.write_str("the dial was called off, as the target is met"),
            Self::CameIn => f.write_str("the dial gave way to a connection from the peer"),
            Self::Admitted => f.write_str("admitted"),
            Self::Alive => f.write_str("reported alive"),
            Self::Failed(reporter) => write!(f, "failed, {reporter}"),
            Self::Closed(reporter) => write!(f, "closed, {reporter}"),
            Self::HandshakeTimedOut => f.write_str("the handshake timed out"),
            Self::Rotated => f.write_str("ended to make room for a new outgoing connection"),
            Self::Evicted => f.write_str("a newcomer took its slot"),
            Self::Banned(reporter) => write!(f, "banned, {reporter}"),
            Self::Unbanned => f.write_str("the ban was lifted"),
            Self::BanEnded => f.write_str("the ban is over"),
            Self::BanDropped => f.write_str("its ban was dropped, as there were too many"),
            Self::Denied => f.write_str("the configuration denies the address"),
            Self::Ourselves => f.write_str("the address is our own"),
        }
    }
}

impl fmt::Display for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Feedback => "reported by address",
            Self::Lease => "reported by its lease",
            Self::DroppedLease => "its lease was dropped",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAPeer => "no peer can have this address",
            Self::Ourselves => "it is this node itself",
            Self::Banned => "the peer is banned",
            Self::Denied => "`denied` or `allowed` excludes its address",
            Self::Connected => "there is a connection with the peer already",
            Self::AttemptsFull => "too many handshakes of incoming connections are under way",
            Self::IncomingFull => "there are as many incoming connections as allowed",
            Self::SubnetFull => "its subnet has as many incoming connections as allowed",
            Self::Parked => "the connection that we made was kept, or the wait was too long",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{ip, start};

    #[test]
    fn a_change_reads_as_a_line_of_a_log() {
        let line = |kind| {
            let (at, ip) = (start(), ip("60.1.0.1"));
            Change { at, ip, kind }.to_string()
        };
        let status = |from, to, cause| line(ChangeKind::Status { from, to, cause });
        assert_eq!(
            status(
                Some(PeerStatus::OutConnecting),
                PeerStatus::Idle,
                Cause::DialFailed(io::ErrorKind::ConnectionRefused)
            ),
            "60.1.0.1 OutConnecting -> Idle: the dial failed: connection refused"
        );
        assert_eq!(
            status(None, PeerStatus::Banned, Cause::Banned(Reporter::DroppedLease)),
            "60.1.0.1 new -> Banned: banned, its lease was dropped"
        );
        assert_eq!(
            line(ChangeKind::Refused(Refusal::Banned)),
            "60.1.0.1 refused: the peer is banned"
        );
        assert_eq!(line(ChangeKind::Lagged(3)), "3 changes are missing");
    }
}
