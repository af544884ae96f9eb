//! The known peers, as the changes tell of them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use network::{ChangeKind, Peer, PeerStatus};

use super::View;
use super::log::Entry;

/// All known peers. The controller's caps bound their number.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    rows: HashMap<IpAddr, Row>,
}

/// One peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) ip: IpAddr,
    pub(crate) status: PeerStatus,
    /// Since when it is connected or, if it is not, of this status; not there if that was before we looked.
    pub(crate) since: Option<DateTime<Utc>>,
    /// What happened to it last.
    pub(crate) event: Option<(DateTime<Utc>, ChangeKind)>,
}

impl Row {
    fn new(ip: IpAddr, status: PeerStatus) -> Self {
        Self {
            ip,
            status,
            since: None,
            event: None,
        }
    }

    fn on_status(&mut self, at: DateTime<Utc>, to: PeerStatus) {
        // The age of a connection counts from its event on, not from when it was alive.
        let is_same_connection = self.status.is_connected() && to.is_connected();
        self.since = self.since.filter(|_| is_same_connection).or(Some(at));
        self.status = to;
    }
}

impl Peers {
    /// All peers as they are now; what is known of the past of those that have not changed stays.
    pub(crate) fn reset(&mut self, peers: &[Peer]) {
        let rows = peers.iter().map(|peer| {
            let known = self.rows.get(&peer.ip).filter(|row| row.status == peer.status);
            let row = known.copied().unwrap_or(Row::new(peer.ip, peer.status));
            (peer.ip, row)
        });
        self.rows = rows.collect();
    }

    pub(crate) fn on_change(&mut self, entry: &Entry) {
        let &Entry { at, ip, kind } = entry;
        match kind {
            ChangeKind::Forgotten => drop(self.rows.remove(&ip)),
            ChangeKind::Added => self.add(ip).on_status(at, PeerStatus::Idle),
            ChangeKind::Status { to, .. } => self.add(ip).on_status(at, to),
            _ => {}
        }
        if let Some(row) = self.rows.get_mut(&ip) {
            row.event = Some((at, kind));
        }
    }

    fn add(&mut self, ip: IpAddr) -> &mut Row {
        self.rows.entry(ip).or_insert_with(|| Row::new(ip, PeerStatus::Idle))
    }

    pub(crate) fn get(&self, ip: IpAddr) -> Option<&Row> {
        self.rows.get(&ip)
    }

    pub(crate) fn count(&self, view: View) -> usize {
        self.rows.values().filter(|row| view.shows(row.status)).count()
    }

    /// Those of a view, in the order of the table.
    pub(crate) fn rows(&self, view: View) -> Vec<&Row> {
        let mut rows: Vec<_> = self.rows.values().filter(|row| view.shows(row.status)).collect();
        match view {
            View::Connected => rows.sort_unstable_by_key(|row| (standing(row.status), row.since, row.ip)),
            View::Idle | View::Banned | View::Log => {
                rows.sort_unstable_by_key(|row| (Reverse(row.since), row.ip));
            }
        }
        rows
    }
}

impl View {
    fn shows(self, status: PeerStatus) -> bool {
        match status {
            PeerStatus::Idle => self == Self::Idle,
            PeerStatus::Banned => self == Self::Banned,
            _ => self == Self::Connected,
        }
    }
}

/// Outgoing connections come first, and the furthest ones of each direction.
fn standing(status: PeerStatus) -> u8 {
    match status {
        PeerStatus::OutAlive => 0,
        PeerStatus::OutHandshaking => 1,
        PeerStatus::OutConnecting => 2,
        PeerStatus::InAlive => 3,
        PeerStatus::InHandshaking => 4,
        PeerStatus::Idle | PeerStatus::Banned => 5,
    }
}
