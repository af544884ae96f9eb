//! What a controller is told at its start: [`NetworkConfig`], the [`Clock`] it lives by, and [`ConfigError`] for what
//! cannot work.

mod changing;
mod seconds;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::peer::PeerRecord;

use crate::ip_prefix::IpPrefix;
use crate::peer::is_peer_address;

/// The settings of a [`NetworkController`](crate::NetworkController).
///
/// [`new`](Self::new) and [`in_memory`](Self::in_memory) give settings for a full node on the open Internet; change the
/// fields that should differ. No field has an upper bound but its type's: a very long time means *never*, and a cap
/// costs what it lets in.
///
/// # In a file
///
/// A configuration can be read and written by anything that speaks serde. A duration stands there in seconds, whole or
/// not, under the field's name with `_seconds` behind it; fields that are absent take their defaults, and a field that
/// is not known is an error, so that a misspelt one is not taken for its default. [`clock`](Self::clock) and
/// [`seed`](Self::seed) are for tests and have no place in a file.
///
/// ```
/// # use std::time::Duration;
/// let config: network::NetworkConfig = serde_json::from_str(
///     r#"{
///         "peers_file": "peers.json",
///         "listen_port": 31244,
///         "dial_stagger_seconds": 0.1
///     }"#,
/// )?;
/// assert_eq!(config.dial_stagger, Duration::from_millis(100));
/// assert_eq!(config.target_outgoing_connections, 8);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default = "NetworkConfig::for_absent_fields")]
pub struct NetworkConfig {
    /// The JSON file that the peers are loaded from at the start and dumped to. It has to exist: at the first launch
    /// it should name some bootstrap peers, or be an empty array. No two controllers can use one file at a time. `None`
    /// keeps no file: whatever was learnt is lost with the controller.
    pub peers_file: Option<PathBuf>,

    /// The port to listen on, and unless [`peer_port`](Self::peer_port) says otherwise the port that peers are dialed
    /// on. 0 takes a free port from the system, good for tests only: the peers would have to guess it.
    pub listen_port: u16,

    /// How many outgoing connections to keep alive. More make a node harder to cut off and gossip faster, and take
    /// more of other nodes' incoming connections. 8, the default, is what Bitcoin Core has long kept for its full
    /// relay. 0 dials no peers but reserved ones and those of [`Dial`](crate::Feedback::Dial).
    pub target_outgoing_connections: usize,

    /// How many incoming connections there may be, those still shaking hands included. Each costs a file descriptor
    /// here and whatever the application keeps for it; a network needs as many incoming slots as its nodes have
    /// outgoing targets, and more, as not every node can be reached. 117, the default, is what is left of Bitcoin
    /// Core's 125 connections. 0 admits none.
    pub max_incoming_connections: usize,

    /// How many outgoing connections may be connecting or shaking hands at one time. More find live peers sooner where
    /// many known ones are gone, and cost as many file descriptors and SYN packets. The default is 16, twice the
    /// target. At least 1, unless the target is 0.
    pub max_simultaneous_outgoing_connection_attempts: usize,

    /// How many incoming connections may be shaking hands at one time. Fewer bound what strangers can make us do at
    /// once; too few let a handful of silent ones keep all others out for a
    /// [`handshake_timeout`](Self::handshake_timeout). The default is 32. 0 admits none.
    pub max_simultaneous_incoming_connection_attempts: usize,

    /// How many peers to remember that nothing is done with. More survive longer outages and are harder to flush out
    /// by a flood of made-up addresses; they cost memory and make the peer file longer. The default is
    /// 10 000. 0 forgets every peer as soon as it is idle, so none can be dialed. Of a longer file the best are loaded, and
    /// [`records_dropped`](crate::Counters::records_dropped) says how many are not.
    pub max_idle_peers: usize,

    /// How many bans to remember, at the same cost a peer as [`max_idle_peers`](Self::max_idle_peers). Beyond it old
    /// bans are dropped, so too low a number lets a banned peer return once enough others are banned. The default is
    /// 10 000. 0 remembers no ban: it ends the connection, and that is all.
    pub max_banned_peers: usize,

    /// The least time between two dumps of the peer file; without changes none is made. At most this much is lost in
    /// a crash, and each dump rewrites the whole file. The default is ten minutes. Not 0.
    #[serde(rename = "peer_file_dump_interval_seconds", with = "seconds")]
    pub peer_file_dump_interval: Duration,

    /// Peers to know from the start, merged into those of the file as a peer list from another peer would be. Useful
    /// for bootstrap peers without a file. Empty by default.
    pub initial_peers: Vec<IpAddr>,

    /// What to know of peers from the start, as if it stood in the peer file, behind what does: the
    /// [`records`](crate::NetworkController::records) of an earlier controller, for a restart that remembers without a
    /// file. Of more than [`max_idle_peers`](Self::max_idle_peers) the best are taken. Empty by default. Not in a file.
    #[serde(skip)]
    pub initial_records: Vec<PeerRecord>,

    /// The address to listen on. The default, `::`, takes connections of both families, or of IPv4 alone on a host that
    /// has no IPv6. From a specific address dials leave too, so that others know this node by it: so several nodes can
    /// live on one host, on 127.0.0.2, 127.0.0.3 and so on. An IPv4 address in IPv6 form, as `::ffff:127.0.0.2`, is
    /// taken as IPv4.
    ///
    /// Each dial from a specific address takes one of the system's local ports for itself (Linux has 28 232 by default),
    /// where dials from `::` share them. When none is left, dials share one on Linux, and pause elsewhere.
    pub listen_ip: IpAddr,

    /// The port that peers are dialed on, where it is not the one that we listen on. `None` by default. Not 0.
    pub peer_port: Option<u16>,

    /// How long one attempt to connect may take. Longer reaches slow and distant peers, shorter moves on sooner from
    /// those whose hosts are gone. The default is 5 s, as in Bitcoin Core. Not 0.
    #[serde(rename = "connect_timeout_seconds", with = "seconds")]
    pub connect_timeout: Duration,

    /// How long to wait for the outcome of the dials under way before one more is raced beside them. Shorter reaches
    /// the target sooner where many known peers are gone, at the price of dials that are called off when it is met.
    /// The default is 250 ms, the connection attempt delay that RFC 8305 recommends. 0 races all at once.
    ///
    /// It also paces the dials, so that a long list of peers that refuse is not a port scan: each dial costs a token, and
    /// one comes back in this time. Twice
    /// [`max_simultaneous_outgoing_connection_attempts`](Self::max_simultaneous_outgoing_connection_attempts) may be
    /// saved up. While no outgoing connection is alive, each 30 s of it halve that rate, down to one dial per
    /// [`retry_backoff`](Self::retry_backoff). 0 sets no pace.
    #[serde(rename = "dial_stagger_seconds", with = "seconds")]
    pub dial_stagger: Duration,

    /// How long a connection may go without feedback after its event before it counts as failed, so that a forgotten
    /// one cannot hold a slot for ever. An application should give up well before it. The default is 10 s. `None`
    /// waits for ever; not 0.
    #[serde(rename = "handshake_timeout_seconds", with = "seconds::optional")]
    pub handshake_timeout: Option<Duration>,

    /// How long a peer is left alone after its first failure, and after an outgoing connection that was closed cleanly. It
    /// doubles with each failure in a row, and with each further connection in a row that ended within this time, as
    /// those with a full peer may. A jitter of 0.75 to 1.25 keeps two nodes from dialing each other in lock-step. Longer
    /// is kinder to peers that restart, shorter has them back sooner. The default is 5 s. Not 0.
    #[serde(rename = "retry_backoff_seconds", with = "seconds")]
    pub retry_backoff: Duration,

    /// The longest a peer is left alone after failures in a row, before the jitter, so about how long we take to notice
    /// that it is back. While no outgoing connection is alive, 12 times [`retry_backoff`](Self::retry_backoff) is the
    /// longest. The default is 10 minutes. At least `retry_backoff`.
    #[serde(rename = "max_retry_backoff_seconds", with = "seconds")]
    pub max_retry_backoff: Duration,

    /// How long a ban lasts from when it was set. With `None`, the default, it lasts until it is lifted, or until
    /// [`max_banned_peers`](Self::max_banned_peers) newer ones need its slot. Addresses change hands: a day or two is
    /// sound for bans that no human decided. Not 0.
    #[serde(rename = "ban_duration_seconds", with = "seconds::optional")]
    pub ban_duration: Option<Duration>,

    /// How many incoming connections one subnet may hold, /24 for IPv4 and /48 for IPv6. A low number keeps one
    /// network from taking all slots, and keeps out some of many nodes behind one provider. `None`, the default, sets
    /// no limit; not 0.
    pub max_incoming_per_subnet: Option<usize>,

    /// How often to exchange one outgoing connection for a new one: one more peer is dialed, and once it is alive, one of
    /// the others is ended, and its lease revoked as [`Rotated`](crate::Revocation::Rotated). A node at its target dials
    /// no peer otherwise, so two halves of a network that were parted would never join again. Shorter heals and mixes a
    /// network sooner, and cuts more connections.
    ///
    /// A young node does so more often, as it has chosen its connections when it knew few peers: first after a random part
    /// of this time, at most about a minute, then each time after two thirds of its age divided by the target, at least
    /// 10 s; so a connection lives about two thirds as long as the node is old. From the age of 1.5 times the target times
    /// this on (2 hours by default), it is this time. Each wait is multiplied by 0.75 to 1.25.
    ///
    /// Connections without a [`PeerLease`](crate::PeerLease), and
    /// those with reserved peers or dialed by hand, are never ended so, and where there are no others, none is dialed for
    /// it. The default is 10 minutes. `None` never rotates; not 0.
    #[serde(rename = "rotation_interval_seconds", with = "seconds::optional")]
    pub rotation_interval: Option<Duration>,

    /// Whether a newcomer beyond [`max_incoming_connections`](Self::max_incoming_connections) takes the slot of another
    /// incoming connection instead of being refused: that of the youngest from the /16 (IPv4) or /32 (IPv6) that holds
    /// most of them, whose lease is revoked as [`Evicted`](crate::Revocation::Evicted). Useful for a node that many start
    /// from, which would be full for ever otherwise; it costs the others their connections, at most one a second, and one
    /// per [`max_retry_backoff`](Self::max_retry_backoff) for newcomers from one globally reachable /24 (/48).
    /// Connections that are shaking hands, have no [`PeerLease`](crate::PeerLease), or are with reserved peers are not ended
    /// so. `false` by default.
    pub evict_incoming: bool,

    /// Whether neither to take from peer lists, nor to tell others of, addresses that are not globally reachable:
    /// private ones, loopback and more, which the [crate's documentation](crate#which-addresses-can-be-peers) lists. The
    /// operator's own are taken: [`initial_peers`](Self::initial_peers), [`reserved_peers`](Self::reserved_peers) and those
    /// of the file. `false` by default, as networks in a house or on one host need them; a node on the open Internet should
    /// say `true`, or strangers can make it dial into its own network.
    pub global_peers_only: bool,

    /// Peers to be always connected with: the other nodes of one operator, a relay, a seed. They are dialed before all
    /// others, whatever their subnet, [`dial_stagger`](Self::dial_stagger) and the target, with pauses of at most 30 s, and
    /// are not forgotten. Their outgoing connections count beside
    /// [`target_outgoing_connections`](Self::target_outgoing_connections), and take attempts as others do; no
    /// [rotation](Self::rotation_interval) ends them. When [`max_incoming_connections`](Self::max_incoming_connections) is
    /// reached, one of them still gets in: another incoming connection is evicted for it, as with
    /// [`evict_incoming`](Self::evict_incoming) but at any rate, if any has a [`PeerLease`](crate::PeerLease). A ban or
    /// [`denied`](Self::denied) goes before. [`Reserve`](crate::Feedback::Reserve) and
    /// [`Release`](crate::Feedback::Release) change the list of a controller that runs. Empty by default; at most half of
    /// [`max_idle_peers`](Self::max_idle_peers).
    pub reserved_peers: Vec<IpAddr>,

    /// Prefixes of addresses that are never dialed, admitted, taken from peer lists or told of: a network that misbehaves,
    /// or, where one host has a whole prefix to itself, that host. An IPv6 host usually has a /64 and can take another
    /// address of it at will, so to shut it out deny that prefix: `2001:db8:1:2::/64` for `2001:db8:1:2::7`. An address
    /// that embeds an IPv4 address (NAT64, 6to4) is not of that one's prefix.
    ///
    /// A peer of the file that is denied stays in the file. Thousands of prefixes cost no more than some. Empty by
    /// default.
    ///
    /// ```
    /// # let mut config = network::NetworkConfig::in_memory(0);
    /// config.denied = vec!["203.0.113.0/24".parse()?, "2001:db8:1:2::/64".parse()?];
    /// # Ok::<(), network::IpPrefixError>(())
    /// ```
    pub denied: Vec<IpPrefix>,

    /// With any prefix here, peers of these alone are dialed, admitted, taken from peer lists and told of, unless
    /// [`denied`](Self::denied) excludes them: for a network of one's own hosts. Empty by default, which allows all.
    pub allowed: Vec<IpPrefix>,

    /// What tells the time. [`Clock::System`] by default. Not in a file.
    #[serde(skip)]
    pub clock: Clock,

    /// Replays every random choice of a run that had the same seed and the same inputs. `None`, the default, takes one
    /// from the system; a fixed one lets strangers foresee which peers we dial, so it is for tests. Not in a file.
    #[serde(skip)]
    pub seed: Option<u64>,
}

impl NetworkConfig {
    /// Sound settings for a node that keeps its peers in `peers_file` and listens on `listen_port`.
    #[must_use]
    pub fn new(peers_file: impl AsRef<Path>, listen_port: u16) -> Self {
        Self {
            peers_file: Some(peers_file.as_ref().to_owned()),
            ..Self::in_memory(listen_port)
        }
    }

    /// The settings of [`new`](Self::new) for a node that keeps no file.
    #[must_use]
    pub fn in_memory(listen_port: u16) -> Self {
        Self {
            peers_file: None,
            listen_port,
            target_outgoing_connections: 8,
            max_incoming_connections: 117,
            max_simultaneous_outgoing_connection_attempts: 16,
            max_simultaneous_incoming_connection_attempts: 32,
            max_idle_peers: 10_000,
            max_banned_peers: 10_000,
            peer_file_dump_interval: Duration::from_secs(600),
            initial_peers: Vec::new(),
            initial_records: Vec::new(),
            listen_ip: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            peer_port: None,
            connect_timeout: Duration::from_secs(5),
            dial_stagger: Duration::from_millis(250),
            handshake_timeout: Some(Duration::from_secs(10)),
            retry_backoff: Duration::from_secs(5),
            max_retry_backoff: Duration::from_secs(600),
            ban_duration: None,
            max_incoming_per_subnet: None,
            rotation_interval: Some(Duration::from_secs(600)),
            evict_incoming: false,
            global_peers_only: false,
            reserved_peers: Vec::new(),
            denied: Vec::new(),
            allowed: Vec::new(),
            clock: Clock::System,
            seed: None,
        }
    }

    /// Says whether a controller could work with these settings. A controller asks it before anything else.
    ///
    /// # Errors
    ///
    /// The first field that cannot work, with what would do instead.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_counts()?;
        self.validate_times()
    }

    fn validate_counts(&self) -> Result<(), ConfigError> {
        let target = self.target_outgoing_connections;
        let attempts = self.max_simultaneous_outgoing_connection_attempts;
        check(
            target == 0 || attempts > 0,
            "max_simultaneous_outgoing_connection_attempts",
            attempts,
            format_args!("at least 1, as `target_outgoing_connections` is {target}"),
        )?;
        check(
            self.peer_port != Some(0),
            "peer_port",
            0,
            "a port from 1 to 65535, or none for the listen port",
        )?;
        check(
            self.max_incoming_per_subnet != Some(0),
            "max_incoming_per_subnet",
            0,
            "at least 1, or none for no limit (`max_incoming_connections` of 0 admits none)",
        )?;
        self.validate_reserved()
    }

    fn validate_reserved(&self) -> Result<(), ConfigError> {
        let (count, most) = (self.reserved_peers.len(), self.max_idle_peers / 2);
        let expected = format_args!("at most {most}, half of `max_idle_peers`");
        check(count <= most, "reserved_peers", format_args!("{count} peers"), expected)?;
        let no_peer = self
            .reserved_peers
            .iter()
            .find(|ip| !is_peer_address(ip.to_canonical()));
        match no_peer {
            Some(ip) => check(false, "reserved_peers", ip, "addresses that a peer can have"),
            None => Ok(()),
        }
    }

    fn validate_times(&self) -> Result<(), ConfigError> {
        check_time("peer_file_dump_interval", self.peer_file_dump_interval)?;
        check_time("connect_timeout", self.connect_timeout)?;
        check_limit("handshake_timeout", self.handshake_timeout)?;
        check_time("retry_backoff", self.retry_backoff)?;
        check(
            self.max_retry_backoff >= self.retry_backoff,
            "max_retry_backoff",
            self.max_retry_backoff,
            format_args!("at least `retry_backoff`, which is {:?}", self.retry_backoff),
        )?;
        check_limit("ban_duration", self.ban_duration)?;
        check_limit("rotation_interval", self.rotation_interval)
    }

    fn for_absent_fields() -> Self {
        Self::in_memory(0)
    }
}

fn check_time(field: &'static str, time: Duration) -> Result<(), ConfigError> {
    check(!time.is_zero(), field, time, "longer than 0")
}

fn check_limit(field: &'static str, limit: Option<Duration>) -> Result<(), ConfigError> {
    let time = limit.unwrap_or(Duration::MAX);
    check(!time.is_zero(), field, time, "longer than 0, or none for no limit")
}

fn check(
    works: bool,
    field: &'static str,
    value: impl fmt::Debug,
    expected: impl fmt::Display,
) -> Result<(), ConfigError> {
    if works {
        return Ok(());
    }
    Err(ConfigError {
        field,
        value: format!("{value:?}"),
        expected: expected.to_string(),
    })
}

/// What tells a controller the time.
///
/// ```
/// let mut config = network::NetworkConfig::in_memory(31244);
/// let start = "2026-01-01T00:00:00Z".parse().expect("a time");
/// config.clock = network::Clock::Tokio { start };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Clock {
    /// The system's clock for the times that are shown and stored, Tokio's for what is waited for.
    #[default]
    System,
    /// Tokio's clock for both, so that in a test with a paused clock the stored times follow it too.
    Tokio {
        /// The date and time at the controller's start.
        start: DateTime<Utc>,
    },
    /// As `Tokio`, with one epoch for several controllers, or for one that is started again: each takes the time from
    /// the same moment.
    Epoch {
        /// A moment of Tokio's clock.
        instant: Instant,
        /// The date and time at that moment.
        utc: DateTime<Utc>,
    },
}

/// A configuration that cannot work: which field, its value, and what would do.
///
/// ```
/// let mut config = network::NetworkConfig::in_memory(31244);
/// config.connect_timeout = std::time::Duration::ZERO;
/// let error = config.validate().unwrap_err();
/// assert_eq!(error.field(), "connect_timeout");
/// assert_eq!(error.to_string(), "`connect_timeout` is 0ns, expected longer than 0");
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {value}, expected {expected}")]
pub struct ConfigError {
    field: &'static str,
    value: String,
    expected: String,
}

impl ConfigError {
    /// The name of the field, as [`NetworkConfig`] has it.
    #[must_use]
    pub fn field(&self) -> &str {
        self.field
    }

    /// The value that it had.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What would do instead.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }
}
