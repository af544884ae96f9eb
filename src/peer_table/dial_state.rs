//! Why a peer is dialed, or not: what holds back a dial, asked of one peer.

use std::fmt;
use std::io::ErrorKind;
use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::peer::{PeerId, PeerStatus};
use crate::peer_table::PeerTable;
use crate::peer_table::candidates::Turn;
use crate::peer_table::entry::Entry;
use crate::peer_table::time::{Moment, Now};

/// Why a peer is dialed, or not, as [`NetworkController::dial_state`](crate::NetworkController::dial_state) tells.
///
/// Of several reasons it tells the peer's own before those of all dials. [`Display`](fmt::Display) is a sentence for an
/// operator. Times are those by which the controller goes now: something else, as the end of an outage, may come before.
///
/// [`NetworkController::dial_state`](crate::NetworkController::dial_state) has an example.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialState {
    /// Neither the file nor a list, a peer or the application has named it, or it was forgotten.
    Unknown,
    /// The address is this node's own.
    Own,
    /// [`denied`](crate::NetworkConfig::denied) or [`allowed`](crate::NetworkConfig::allowed) excludes it.
    Denied,
    /// It is banned.
    #[non_exhaustive]
    Banned {
        /// When the ban ends; `None` if only by being lifted or dropped.
        until: Option<DateTime<Utc>>,
        /// When it was set.
        since: Option<DateTime<Utc>>,
        /// It is dialed again once the ban is over.
        is_reserved: bool,
    },
    /// There is a connection with it, or one of it waits for ours to settle, or the socket of one that rotation or eviction
    /// ended may still be open.
    Connected,
    /// It is being dialed.
    #[non_exhaustive]
    Dialing {
        /// When the dial started.
        since: DateTime<Utc>,
        /// It is dialed as a reserved peer.
        is_reserved: bool,
    },
    /// It may be dialed now, and will be in its turn.
    Due,
    /// It is left alone after a failure, or after a connection that ended.
    #[non_exhaustive]
    Paused {
        /// When the pause ends.
        until: DateTime<Utc>,
        /// How many of our dials and handshakes failed in a row, those in the present outage included.
        failures_in_row: u32,
        /// When it last failed.
        last_failure: Option<DateTime<Utc>>,
        /// How our last dial failed; `None` where that has succeeded, or was not in this process.
        last_error: Option<ErrorKind>,
        /// Its pauses are 30 s at most.
        is_reserved: bool,
    },
    /// It is left alone because this host found no way to it.
    #[non_exhaustive]
    SetAside {
        /// When the pause ends.
        until: DateTime<Utc>,
        /// How many dials in a row found none.
        failures_in_row: u32,
        /// When the last one did.
        last_failure: Option<DateTime<Utc>>,
        /// How it failed.
        last_error: Option<ErrorKind>,
        /// Its pauses are 30 s at most.
        is_reserved: bool,
    },
    /// There are as many outgoing connections as wanted, and none is to be exchanged now.
    TargetMet,
    /// Its subnet is taken, and peers of others go first.
    SubnetTaken {
        /// The peer whose dial or outgoing connection takes it.
        by: IpAddr,
    },
    /// There are as many dials and outgoing handshakes as may be at one time.
    AttemptsFull,
    /// All dialing pauses, as this host has run out of files, memory, or ports to dial from.
    HostPaused {
        /// When the pause ends.
        until: DateTime<Utc>,
    },
    /// Another dial, to whatever peer, has to wait for its time.
    Paced {
        /// When the next one may start.
        until: DateTime<Utc>,
    },
}

impl PeerTable {
    /// Why the peer is dialed, or not.
    pub fn dial_state(&self, now: Now, ip: IpAddr) -> DialState {
        let ip = ip.to_canonical();
        if self.own.contains(ip) {
            return DialState::Own;
        }
        match self.peers.by_ip(ip) {
            Some(entry) => self.known_state(now, entry),
            None if self.exclusion.excludes(ip) => DialState::Denied,
            None if self.wanted.contains(ip) => self.state_beside_target(now),
            None => DialState::Unknown,
        }
    }

    fn known_state(&self, now: Now, entry: &Entry) -> DialState {
        let is_reserved = entry.is_reserved;
        match entry.peer.status {
            PeerStatus::OutConnecting => DialState::Dialing {
                since: entry.connection.map_or(now.utc, |dial| now.utc_at(dial.since)),
                is_reserved,
            },
            status if status.is_connected() => DialState::Connected,
            _ if entry.is_own => DialState::Own,
            _ if self.exclusion.excludes(entry.peer.ip) => DialState::Denied,
            PeerStatus::Banned => DialState::Banned {
                until: entry.deadline().map(|end| now.utc_at(end)),
                since: entry.ban_times().at,
                is_reserved,
            },
            _ if entry.has_parked || entry.is_held => DialState::Connected,
            _ if self.wanted.contains(entry.peer.ip) => self.state_beside_target(now),
            _ => self.idle_state(now, entry),
        }
    }

    fn idle_state(&self, now: Now, entry: &Entry) -> DialState {
        match entry.paused_until.filter(|&until| until > now.moment()) {
            Some(until) => paused(now, entry, until),
            None if entry.is_reserved => self.state_beside_target(now),
            None => self.state_for_target(now, entry),
        }
    }

    fn state_beside_target(&self, now: Now) -> DialState {
        let host_pause_end = self.pace.host_pause_end();
        if !self.has_free_attempt() {
            DialState::AttemptsFull
        } else if host_pause_end > now.moment() {
            DialState::HostPaused {
                until: now.utc_at(host_pause_end),
            }
        } else {
            DialState::Due
        }
    }

    fn state_for_target(&self, now: Now, entry: &Entry) -> DialState {
        let may_rotate = self.rotation_gate().is_some_and(|gate| gate <= now.moment());
        if self.shortage() == 0 && !may_rotate {
            return DialState::TargetMet;
        }
        if let Some(by) = self.taker_before(now, entry) {
            return DialState::SubnetTaken {
                by: self.peers.get(by).peer.ip,
            };
        }
        match (self.state_beside_target(now), self.dial_gate()) {
            (DialState::Due, Some(gate)) if gate > now.moment() => DialState::Paced {
                until: now.utc_at(gate),
            },
            (state, _) => state,
        }
    }

    /// The peer that takes this one's subnet, if dials to taken subnets have to wait or others go first: peers of its kind
    /// elsewhere, for a rotation all.
    fn taker_before(&self, now: Now, entry: &Entry) -> Option<PeerId> {
        let candidates = self.peers.candidates();
        let is_outage = self.outage.since().is_some();
        let go_first = |turn| candidates.has_any_untaken(turn, is_outage);
        let goes_last = if self.pace.next_to_taken_subnet() > now.moment() {
            true
        } else if self.shortage() == 0 {
            candidates.has_any(false)
        } else {
            let is_proven = entry.is_proven && (is_outage || !entry.is_lapsed());
            let is_drawn = !entry.is_proven || entry.is_lapsed();
            (!is_proven || go_first(Turn::Proven)) && (!is_drawn || go_first(Turn::Drawn))
        };
        self.peers.groups().get(entry.group).taker().filter(|_| goes_last)
    }
}

fn paused(now: Now, entry: &Entry, until: Moment) -> DialState {
    let (until, last_failure) = (now.utc_at(until), entry.peer.last_failure);
    let (last_error, is_reserved) = (entry.last_error, entry.is_reserved);
    if entry.unroutable_in_row > 0 {
        return DialState::SetAside {
            until,
            failures_in_row: entry.unroutable_in_row.into(),
            last_failure,
            last_error,
            is_reserved,
        };
    }
    let failures_in_outage = entry.failures_in_outage.into();
    DialState::Paused {
        until,
        failures_in_row: entry.peer.failures_in_row.saturating_add(failures_in_outage),
        last_failure,
        last_error,
        is_reserved,
    }
}

const ATTEMPTS_FULL: &str =
    "it waits for a dial or handshake to end: `max_simultaneous_outgoing_connection_attempts` are under way";

/// A sentence that an operator understands.
impl fmt::Display for DialState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unknown => f.write_str("it is not known"),
            Self::Own => f.write_str("it is not dialed: the address is this node's own"),
            Self::Denied => f.write_str("it is not dialed: `denied` or `allowed` excludes it"),
            Self::Banned { until, is_reserved, .. } => fmt_banned(f, until, is_reserved),
            Self::Connected => f.write_str("it is connected"),
            Self::Dialing { since, is_reserved } => {
                write!(f, "{}it is being dialed since {}", reserved(is_reserved), Time(since))
            }
            Self::Due => f.write_str("it is dialed in its turn"),
            Self::Paused {
                until,
                failures_in_row,
                last_error,
                is_reserved,
                ..
            } => fmt_pause(f, until, is_reserved, failures_in_row, last_error),
            Self::SetAside {
                until,
                failures_in_row,
                last_error,
                is_reserved,
                ..
            } => {
                f.write_str("this host found no way to it: ")?;
                fmt_pause(f, until, is_reserved, failures_in_row, last_error)
            }
            Self::TargetMet => f.write_str("it is not dialed: `target_outgoing_connections` is met"),
            Self::SubnetTaken { by } => write!(f, "it waits, as {by} takes its subnet: peers of others go first"),
            Self::AttemptsFull => f.write_str(ATTEMPTS_FULL),
            Self::HostPaused { until } => {
                let until = Time(until);
                write!(
                    f,
                    "it waits until {until}: this host has run out of files, memory, or ports to dial from"
                )
            }
            Self::Paced { until } => write!(f, "it waits until {}: dials are paced", Time(until)),
        }
    }
}

fn fmt_banned(f: &mut fmt::Formatter<'_>, until: Option<DateTime<Utc>>, is_reserved: bool) -> fmt::Result {
    write!(f, "it is not dialed: {}it is banned until ", reserved(is_reserved))?;
    match until {
        Some(until) => write!(f, "{}", Time(until)),
        None => f.write_str("the ban is lifted"),
    }
}

fn fmt_pause(
    f: &mut fmt::Formatter<'_>,
    until: DateTime<Utc>,
    is_reserved: bool,
    in_row: u32,
    last_error: Option<ErrorKind>,
) -> fmt::Result {
    write!(f, "{}it is left alone until {}", reserved(is_reserved), Time(until))?;
    match in_row {
        0 => {}
        1 => f.write_str(" after 1 failure")?,
        _ => write!(f, " after {in_row} failures in a row")?,
    }
    last_error.map_or(Ok(()), |error| write!(f, " ({error})"))
}

fn reserved(is_reserved: bool) -> &'static str {
    if is_reserved { "it is reserved, and " } else { "" }
}

/// A time in seconds, as the peer file has it.
struct Time(DateTime<Utc>);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}
