//! Another configuration for a controller that runs.

use std::pin::Pin;

use crate::config::{ConfigError, NetworkConfig};
use crate::controller::NetworkController;
use crate::controller::engine::Engine;
use crate::transport::Transport;

impl<T: Transport> NetworkController<T> {
    /// Goes on with another configuration. What begins from now on goes by its caps, times and lists:
    ///
    /// - A lowered cap on connections closes none; no new one is made or admitted until it is met. Only dials under way that a lowered
    ///   target does not want any more are called off.
    /// - Idle and banned peers that are too many are forgotten, some with each poll.
    /// - Peers that [`denied`](NetworkConfig::denied) and [`allowed`](NetworkConfig::allowed) exclude now are neither dialed,
    ///   admitted nor told of from now on. Their leases are revoked as [`Denied`](crate::Revocation::Denied) with the next
    ///   polls; connections without a [`PeerLease`](crate::PeerLease) are the application's to end.
    /// - [`reserved_peers`](NetworkConfig::reserved_peers) changes as [`Reserve`](crate::Feedback::Reserve) and
    ///   [`Release`](crate::Feedback::Release) would change it: what these did since the start is replaced.
    /// - Dials, handshakes, bans and pauses that have begun end when they were to, whether their times are shorter or longer
    ///   now: with a shorter [`max_retry_backoff`](NetworkConfig::max_retry_backoff), a peer that waits is dialed no sooner
    ///   ([`Dial`](crate::Feedback::Dial) dials it at once), and only its next failure goes by the new one. A ban without a
    ///   term of its own that is loaded from the file at a later start goes by the
    ///   [`ban_duration`](NetworkConfig::ban_duration) of that start.
    /// - The next rotation is planned anew if [`rotation_interval`](NetworkConfig::rotation_interval) differs; one that is
    ///   under way goes on. The next dump of the peer file comes no later than the new interval has it, and the next dial
    ///   no later than the new [`dial_stagger`](NetworkConfig::dial_stagger) has it.
    ///
    /// A target of 0 with no incoming connections is a pause: connected peers stay so, and dumps go on. Reserved peers are
    /// still dialed, unless `max_simultaneous_outgoing_connection_attempts` is 0, too. After [`Self::close`] it changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// The first field that cannot work, or that was for the start and differs: `peers_file`, `listen_ip`, `listen_port`,
    /// `peer_port`, `clock`, `seed`, `initial_peers`, `initial_records`. Nothing is changed then.
    ///
    /// # Example
    ///
    /// ```
    /// use network::{NetworkConfig, NetworkController};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut net = NetworkController::with_config(NetworkConfig::in_memory(0)).await?;
    /// let mut config = net.config().clone();
    /// config.target_outgoing_connections = 16;
    /// config.denied.push("203.0.113.0/24".parse()?);
    /// net.reconfigure(config)?;
    ///
    /// let mut config = net.config().clone();
    /// config.listen_port += 1;
    /// let error = net.reconfigure(config).unwrap_err();
    /// assert_eq!(error.field(), "listen_port");
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconfigure(&mut self, config: NetworkConfig) -> Result<(), ConfigError> {
        self.engine.as_mut().reconfigure(config)
    }
}

impl<T: Transport> Engine<T> {
    /// Once closed, it only says whether the config would do.
    pub(crate) fn reconfigure(mut self: Pin<&mut Self>, config: NetworkConfig) -> Result<(), ConfigError> {
        if self.check_open().is_err() {
            config.validate()?;
            return self.table.config().check_change(&config);
        }
        let this = self.as_mut().project();
        this.table.reconfigure(this.clock.now(), config)?;
        let config = this.table.config();
        this.mailbox.set_bounds(config);
        this.dumping.set_interval(config.peer_file_dump_interval);
        self.as_mut().run_actions();
        self.as_mut().tell_changes();
        self.wakers.wake_stream();
        Ok(())
    }
}
