//! What the dashboard shows, and what keys do to it. Neither draws nor asks: it is fed with changes, numbers and keys.

mod keys;
mod log;
mod peers;
mod rates;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use network::{ChangeKind, Peer, Stats};

pub(crate) use self::keys::{Command, KEYS};
pub(crate) use self::log::{Entry, Log};
pub(crate) use self::peers::{Peers, Row};
pub(crate) use self::rates::{Rates, accepts, refusals};

/// How long a key bans a peer.
pub(crate) const BAN: Duration = Duration::from_secs(24 * 3_600);

/// How long a notice is shown.
const NOTICE_SECONDS: i64 = 5;

/// The state of the dashboard.
#[derive(Debug)]
pub(crate) struct App {
    /// Where the node listens.
    pub(crate) address: String,
    pub(crate) started: DateTime<Utc>,
    pub(crate) now: DateTime<Utc>,
    pub(crate) stats: Stats,
    pub(crate) peers: Peers,
    pub(crate) reserved: BTreeSet<IpAddr>,
    pub(crate) log: Log,
    pub(crate) rates: Rates,
    pub(crate) view: View,
    /// The peer that keys act on. It stays selected when it leaves the view.
    pub(crate) selected: Option<IpAddr>,
    /// Where the selected peer was seen last in the view.
    row: usize,
    /// Whether it says why the selected peer is dialed or not.
    pub(crate) is_why_open: bool,
    pub(crate) details: Option<Details>,
    /// The address that is being typed.
    pub(crate) prompt: Option<String>,
    pub(crate) is_help_open: bool,
    pub(crate) is_paused: bool,
    notice: Option<(DateTime<Utc>, String)>,
    needs_peers: bool,
}

/// What the main part shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Connected,
    Idle,
    Banned,
    Log,
}

/// What the controller answered about one peer.
#[derive(Clone, Debug)]
pub(crate) struct Details {
    pub(crate) ip: IpAddr,
    /// Not there if the peer is not known.
    pub(crate) peer: Option<Peer>,
    /// Why it is dialed or not, in a sentence.
    pub(crate) dial_state: String,
}

impl View {
    pub(crate) const ALL: [Self; 4] = [Self::Connected, Self::Idle, Self::Banned, Self::Log];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Idle => "idle",
            Self::Banned => "banned",
            Self::Log => "log",
        }
    }
}

impl App {
    pub(crate) fn new(address: String, reserved: &[IpAddr], now: DateTime<Utc>) -> Self {
        Self {
            address,
            started: now,
            now,
            stats: Stats::default(),
            peers: Peers::default(),
            reserved: reserved.iter().copied().collect(),
            log: Log::default(),
            rates: Rates::default(),
            view: View::Connected,
            selected: None,
            row: 0,
            is_why_open: false,
            details: None,
            prompt: None,
            is_help_open: false,
            is_paused: false,
            notice: None,
            needs_peers: true,
        }
    }

    /// The time goes on.
    pub(crate) fn on_time(&mut self, now: DateTime<Utc>) {
        self.now = now;
    }

    /// Something happened to a peer.
    pub(crate) fn on_change(&mut self, entry: Entry) {
        self.needs_peers |= matches!(entry.kind, ChangeKind::Lagged(_));
        self.peers.on_change(&entry);
        self.log.push(entry);
    }

    /// All peers, as they are now. The changes up to them may still come, and lead to the same.
    pub(crate) fn on_peers(&mut self, peers: &[Peer]) {
        self.peers.reset(peers);
        self.needs_peers = false;
    }

    /// The numbers of now; to be given once a second.
    pub(crate) fn on_stats(&mut self, stats: Stats) {
        self.rates.push(&stats.counters);
        self.stats = stats;
    }

    pub(crate) fn on_details(&mut self, details: Details) {
        self.details = Some(details);
    }

    /// Whether changes are missing, so that it has to be told all peers anew.
    pub(crate) fn needs_peers(&self) -> bool {
        self.needs_peers
    }

    /// The peer of which [`Details`] are shown.
    pub(crate) fn needs_details(&self) -> Option<IpAddr> {
        self.selected.filter(|_| self.is_why_open)
    }

    /// What is to be said about the last key.
    pub(crate) fn notice(&self) -> Option<&str> {
        let (since, notice) = self.notice.as_ref()?;
        let is_fresh = self.now - *since < TimeDelta::seconds(NOTICE_SECONDS);
        is_fresh.then_some(notice)
    }

    fn set_notice(&mut self, notice: impl Into<String>) {
        self.notice = Some((self.now, notice.into()));
    }
}
