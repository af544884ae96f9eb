//! What is otherwise invisible: how many peers are in which status, how full each cap is, and what happened how often.

pub(crate) mod metrics;

use chrono::{DateTime, Utc};
use serde::Serialize;

use self::metrics::{Metric, size};
use crate::peer::PeerStatus;

macro_rules! stats {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A snapshot of a controller, as [`NetworkController::stats`](crate::NetworkController::stats) takes it. It costs
        /// the same however many peers are known.
        ///
        /// ```
        /// use network::{NetworkConfig, NetworkController, PeerStatus};
        ///
        /// # #[tokio::main(flavor = "current_thread")]
        /// # async fn main() -> Result<(), network::NetworkError> {
        /// let config = NetworkConfig::in_memory(0);
        /// let mut net = NetworkController::with_config(config).await?;
        /// net.feedback_peer_banned([203, 0, 113, 7].into()).await;
        /// let stats = net.stats();
        /// assert_eq!(stats.peers.get(PeerStatus::Banned), 1);
        /// assert_eq!(stats.peers.total(), 1);
        /// assert_eq!(stats.banned_peers.used, 1);
        /// assert_eq!(stats.banned_peers.limit, 10_000);
        /// assert_eq!(stats.counters.bans_set, 1);
        /// # Ok(())
        /// # }
        /// ```
        #[non_exhaustive]
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Stats {
            /// Known peers by status.
            pub peers: StatusCounts,
            $($(#[doc = $doc])+ pub $name: Usage,)+
            /// What happened how often since the start.
            pub counters: Counters,
            /// When the last dump ended, well or not; `None` before the first.
            pub last_dump: Option<DateTime<Utc>>,
            /// Why the last dump failed; before the first one, what was found at the start that will let it fail, as a
            /// folder that cannot be written to. Else `None`.
            pub last_dump_error: Option<String>,
        }

        impl Stats {
            /// How much of each cap is used, and the cap.
            fn usages(&self) -> impl Iterator<Item = Metric> {
                let metrics = [$([
                    Metric::gauge(stringify!($name), concat!($($doc),+), size(self.$name.used)),
                    Metric::gauge(
                        concat!(stringify!($name), "_limit"),
                        concat!("The cap of network_", stringify!($name), "."),
                        size(self.$name.limit),
                    ),
                ],)+];
                metrics.into_iter().flatten()
            }
        }
    };
}

stats! {
    /// OutHandshaking and OutAlive, of `target_outgoing_connections`; a rotation may have one more. Connections with
    /// reserved peers, with peers that were released, and those dialed by hand are not among them.
    outgoing_connections,
    /// OutConnecting and OutHandshaking, of `max_simultaneous_outgoing_connection_attempts`.
    outgoing_attempts,
    /// InHandshaking, InAlive and parked sockets, of `max_incoming_connections`.
    incoming_connections,
    /// InHandshaking and parked sockets, of `max_simultaneous_incoming_connection_attempts`.
    incoming_attempts,
    /// Idle peers, of `max_idle_peers`.
    idle_peers,
    /// Banned peers, of `max_banned_peers`.
    banned_peers,
}

/// How much of a cap is used. [`Stats`] has an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Slots in use.
    pub used: usize,
    /// The cap.
    pub limit: usize,
}

/// A number of peers for each [`PeerStatus`]. [`Stats`] has an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatusCounts {
    /// Peers that are Idle.
    pub idle: usize,
    /// Peers that are OutConnecting.
    pub out_connecting: usize,
    /// Peers that are OutHandshaking.
    pub out_handshaking: usize,
    /// Peers that are OutAlive.
    pub out_alive: usize,
    /// Peers that are InHandshaking.
    pub in_handshaking: usize,
    /// Peers that are InAlive.
    pub in_alive: usize,
    /// Peers that are Banned.
    pub banned: usize,
}

impl StatusCounts {
    /// The number of peers of one status.
    #[must_use]
    pub const fn get(&self, status: PeerStatus) -> usize {
        match status {
            PeerStatus::Idle => self.idle,
            PeerStatus::OutConnecting => self.out_connecting,
            PeerStatus::OutHandshaking => self.out_handshaking,
            PeerStatus::OutAlive => self.out_alive,
            PeerStatus::InHandshaking => self.in_handshaking,
            PeerStatus::InAlive => self.in_alive,
            PeerStatus::Banned => self.banned,
        }
    }

    /// Each status with its number of peers.
    pub fn iter(&self) -> impl Iterator<Item = (PeerStatus, usize)> + '_ {
        PeerStatus::ALL.into_iter().map(|status| (status, self.get(status)))
    }

    /// All known peers.
    #[must_use]
    pub fn total(&self) -> usize {
        self.iter().map(|(_, count)| count).sum()
    }

    pub(crate) const fn get_mut(&mut self, status: PeerStatus) -> &mut usize {
        match status {
            PeerStatus::Idle => &mut self.idle,
            PeerStatus::OutConnecting => &mut self.out_connecting,
            PeerStatus::OutHandshaking => &mut self.out_handshaking,
            PeerStatus::OutAlive => &mut self.out_alive,
            PeerStatus::InHandshaking => &mut self.in_handshaking,
            PeerStatus::InAlive => &mut self.in_alive,
            PeerStatus::Banned => &mut self.banned,
        }
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What happened how often since the controller started.
        ///
        /// ```
        /// let counters = network::Counters::default();
        /// for (name, count) in counters.iter().filter(|(_, count)| *count > 0) {
        ///     println!("{name}: {count}");
        /// }
        /// ```
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Each counter with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }

            fn metrics(&self) -> impl Iterator<Item = Metric> {
                [$(Metric::counter(stringify!($name), concat!($($doc),+), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Dials that were started.
    dials_started,
    /// Dials that became a candidate.
    dials_succeeded,
    /// Dials that failed in a way that blames the peer: refused, reset and the like.
    dials_failed,
    /// Dials that took longer than `connect_timeout`, or than the system lets them.
    dials_timed_out,
    /// Dials for which this host found no way to the address; the peer's streak is as it was.
    dials_unroutable,
    /// Dials that failed for want of this host's own resources; no failure is recorded and all dialing pauses.
    dials_host_faults,
    /// Dials that were called off because the target was met, the peer came in, or it was banned.
    dials_called_off,
    /// Dials that reached this node itself.
    dials_to_self,
    /// Dials that were started to exchange an outgoing connection for a new one, by `rotation_interval`.
    rotations,
    /// Outgoing connections that ended because the peer of such a dial came alive.
    rotated_out,
    /// Inbound connections that became a candidate.
    inbound_admitted,
    /// Inbound connections that were parked until a dial or a connection of ours settles.
    inbound_parked,
    /// Inbound connections that were dead before they could be admitted or parked.
    inbound_dead,
    /// Inbound connections refused because no peer can have the address that they come from.
    refused_address,
    /// Inbound connections refused because the other end was this node itself.
    refused_self,
    /// Inbound connections refused because the peer is banned.
    refused_banned,
    /// Inbound connections refused because `denied` or `allowed` excludes their address.
    refused_denied,
    /// Inbound connections refused because there is a connection with the peer already.
    refused_connected,
    /// Inbound connections refused because of `max_incoming_connections`.
    refused_incoming_full,
    /// Inbound connections refused because of `max_simultaneous_incoming_connection_attempts`.
    refused_attempts_full,
    /// Inbound connections refused because of `max_incoming_per_subnet`.
    refused_subnet_full,
    /// Incoming connections that ended because a newcomer took their slot, by `evict_incoming`.
    evicted,
    /// Parked connections refused because ours was kept or the wait was too long.
    refused_parked,
    /// Accepts that failed because the peer had gone again.
    accepts_aborted,
    /// Accepts that failed because this process or host had no file descriptor left.
    accepts_out_of_files,
    /// Accepts that failed because this host had no memory left.
    accepts_out_of_memory,
    /// Accepts that failed otherwise.
    accepts_failed,
    /// Candidates that were reported alive.
    handshakes_succeeded,
    /// Candidates without feedback for `handshake_timeout`.
    handshakes_timed_out,
    /// Reports about a connection that was over, or that made no sense for the peer's status; they change nothing.
    feedback_stale,
    /// Peers that were added, from wherever.
    peers_added,
    /// Peers that were forgotten to keep a bound.
    peers_forgotten,
    /// Records of the peer file that were dropped at the start, as there are more than `max_idle_peers` or
    /// `max_banned_peers`. The next dump writes the file without them.
    records_dropped,
    /// Addresses of peer lists that no peer can have, or that `global_peers_only`, `denied` or `allowed` refuse.
    addresses_refused,
    /// Bans that were set.
    bans_set,
    /// Bans that ended after their term, by `ban_duration` or their own.
    bans_ended,
    /// Dumps of the peer file that were written.
    dumps_written,
    /// Dumps of the peer file that failed.
    dumps_failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_iterate_with_their_names() {
        let counters = Counters {
            refused_banned: 3,
            ..Counters::default()
        };
        assert_eq!(
            counters.iter().find(|(name, _)| *name == "refused_banned"),
            Some(("refused_banned", 3))
        );
        assert_eq!(counters.iter().map(|(_, count)| count).sum::<u64>(), 3);
    }

    #[test]
    fn status_counts_are_told_apart() {
        let mut counts = StatusCounts::default();
        for (place, status) in PeerStatus::ALL.into_iter().enumerate() {
            *counts.get_mut(status) = place + 1;
        }
        assert!(counts.iter().map(|(_, count)| count).eq(1..=7));
        assert_eq!(counts.total(), 28);
        let json = serde_json::to_value(Stats::default()).unwrap();
        assert_eq!(json["peers"]["out_alive"], 0);
    }
}
