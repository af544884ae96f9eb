//! A watcher that knows nothing but what it knew when it began and the changes since.

use super::*;
use crate::change::{Cause, ChangeKind};

#[derive(Default)]
pub(super) struct Watcher {
    peers: BTreeMap<IpAddr, PeerStatus>,
    refused: u64,
}

impl Watcher {
    pub(super) fn of(table: &mut PeerTable) -> Self {
        table.watch(usize::MAX);
        Self {
            peers: peers(table),
            refused: refused(table),
        }
    }

    /// Follows what has changed, and compares.
    pub(super) fn follow(&mut self, table: &mut PeerTable) {
        assert_eq!(table.dropped_changes(), 0);
        while let Some((ip, kind)) = table.next_change() {
            self.take(ip, kind);
        }
        assert_eq!(self.peers, peers(table));
        assert_eq!(self.refused, refused(table));
    }

    fn take(&mut self, ip: IpAddr, kind: ChangeKind) {
        match kind {
            ChangeKind::Status { from, to, cause } => {
                assert_ne!(from, Some(to), "{ip} {kind}");
                assert!(explains(from, to, cause), "{ip} {kind}");
                assert_eq!(self.peers.insert(ip, to), from, "{ip} {kind}");
            }
            ChangeKind::Added => assert_eq!(self.peers.insert(ip, PeerStatus::Idle), None, "{ip} {kind}"),
            ChangeKind::Forgotten => {
                let was = self.peers.remove(&ip);
                assert!(
                    matches!(was, Some(PeerStatus::Idle | PeerStatus::Banned)),
                    "{ip} {kind}: it was {was:?}"
                );
            }
            ChangeKind::Refused(_) => self.refused += 1,
            ChangeKind::Lagged(_) => panic!("{kind}"),
        }
    }
}

fn peers(table: &PeerTable) -> BTreeMap<IpAddr, PeerStatus> {
    table.peers().map(|peer| (peer.ip, peer.status)).collect()
}

/// By the counters of each reason.
fn refused(table: &PeerTable) -> u64 {
    let counters = table.stats().counters;
    let refusals = counters.iter().filter(|(name, _)| name.starts_with("refused_"));
    let refusals: u64 = refusals.map(|(_, count)| count).sum();
    refusals
}

/// Whether the cause can lead from the one status to the other.
fn explains(from: Option<PeerStatus>, to: PeerStatus, cause: Cause) -> bool {
    use PeerStatus::{Banned, Idle, InAlive, InHandshaking, OutAlive, OutConnecting, OutHandshaking};
    let was_connected = from.is_some_and(PeerStatus::is_connected);
    match cause {
        Cause::Dialed => (from, to) == (Some(Idle), OutConnecting),
        Cause::DialSucceeded => (from, to) == (Some(OutConnecting), OutHandshaking),
        Cause::DialFailed(_)
        | Cause::DialUnroutable(_)
        | Cause::DialHostFault(_)
        | Cause::TargetMet
        | Cause::CameIn => (from, to) == (Some(OutConnecting), Idle),
        Cause::Admitted => matches!((from, to), (None | Some(Idle), InHandshaking)),
        Cause::Alive => matches!(
            (from, to),
            (Some(OutHandshaking), OutAlive) | (Some(InHandshaking), InAlive)
        ),
        Cause::Failed(_) | Cause::Closed(_) => was_connected && to == Idle,
        Cause::Rotated => (from, to) == (Some(OutAlive), Idle),
        Cause::Evicted => (from, to) == (Some(InAlive), Idle),
        Cause::HandshakeTimedOut => matches!((from, to), (Some(OutHandshaking | InHandshaking), Idle)),
        Cause::Banned(_) => to == Banned,
        Cause::Unbanned | Cause::BanEnded | Cause::BanDropped => (from, to) == (Some(Banned), Idle),
        Cause::Denied => (was_connected || from == Some(OutConnecting)) && to == Idle,
        Cause::Ourselves => from.is_some() && to == Idle,
    }
}
