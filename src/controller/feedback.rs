//! What the application reports of its peers: [`Feedback`] and [`FeedbackSink`].

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Sink, SinkExt};

use crate::controller::{NetworkError, NetworkHandle};
use crate::peer_table::Report;

/// What the application says of a peer. An address speaks of the peer's present connection.
///
/// Feedback is never an error and never a panic: what makes no sense for a peer's status is ignored, and counted as
/// [`feedback_stale`](crate::Counters::feedback_stale).
///
/// [Feedback by address](crate::guide::feedback_by_address) and [bans](crate::guide::bans), in the guide, have examples of
/// most.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// The peer gave a sign of life: the handshake is done, or a message came. Updates `last_alive`.
    Alive(IpAddr),
    /// The handshake failed, or the connection ended unexpectedly. Updates `last_failure`; the peer becomes Idle.
    Failed(IpAddr),
    /// The peer misbehaved: it is neither dialed nor admitted any more. Its connection's slot is freed and its lease
    /// revoked; the socket is the application's to close. Updates `last_failure`.
    Banned(IpAddr),
    /// The same for this long, whatever [`ban_duration`](crate::NetworkConfig::ban_duration) says. The last of several
    /// bans counts. The term is kept in the peer file.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use network::{Feedback, NetworkConfig, NetworkController, PeerStatus};
    /// # use futures::SinkExt;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), network::NetworkError> {
    /// # let mut net = NetworkController::with_config(NetworkConfig::in_memory(0)).await?;
    /// let peer = [203, 0, 113, 7].into();
    /// net.send(Feedback::BannedFor(peer, Duration::from_secs(24 * 3600))).await?;
    /// assert_eq!(net.peer(peer).unwrap().status, PeerStatus::Banned);
    /// # Ok(())
    /// # }
    /// ```
    BannedFor(IpAddr, Duration),
    /// We have closed the connection cleanly. The peer becomes Idle; no failure is recorded.
    Closed(IpAddr),
    /// Peers that a peer told us of. Unknown ones are added, known ones left as they are, but that others are told from
    /// now on of those that had only connected to us.
    PeerList(Vec<IpAddr>),
    /// The peer is banned no more.
    Unbanned(IpAddr),
    /// Peers that the peer with this address told us of, as a [`PeerList`](Self::PeerList). That it told of those that are
    /// added is remembered, for its whole network (/16, /32), until they are tried: if there is no room for all, peers go
    /// first that were told of by one that holds more than a sixteenth of `max_idle_peers`, and more than 16. So no peer
    /// can flush the list with addresses that it made up. A list without a name has no share that bounds it.
    PeerListFrom(IpAddr, Vec<IpAddr>),
    /// The address is our own: the handshake met this very node, as a nonce of ours that came back shows. It is neither
    /// dialed nor told of for an hour, and its connection's slot is freed; the socket is the application's to close.
    Ourselves(IpAddr),
    /// Dials the address once and as soon as an attempt is free, known or not, whatever its pause, its subnet and the
    /// target. Its connection counts beside the target until it ends. Stale for an address that is our own, denied, banned,
    /// connected or being dialed.
    ///
    /// ```
    /// # use network::{Feedback, NetworkConfig, NetworkController};
    /// # use futures::{FutureExt, SinkExt, StreamExt};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), network::NetworkError> {
    /// # let mut net = NetworkController::with_config(NetworkConfig::in_memory(0)).await?;
    /// net.send(Feedback::Dial([127, 0, 0, 9].into())).await?;
    /// # assert!(net.next().now_or_never().is_none());
    /// # assert_eq!(net.stats().counters.dials_started, 1);
    /// # Ok(())
    /// # }
    /// ```
    Dial(IpAddr),
    /// Keeps a connection with the peer from now on, as if it had been one of
    /// [`reserved_peers`](crate::NetworkConfig::reserved_peers), to which it is added. Stale if as many as may be are
    /// reserved.
    ///
    /// ```
    /// # use network::{Feedback, NetworkConfig, NetworkController};
    /// # use futures::SinkExt;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), network::NetworkError> {
    /// # let mut net = NetworkController::with_config(NetworkConfig::in_memory(0)).await?;
    /// let peer = [203, 0, 113, 7].into();
    /// net.send(Feedback::Reserve(peer)).await?;
    /// assert_eq!(net.config().reserved_peers, [peer]);
    /// net.send(Feedback::Release(peer)).await?;
    /// assert!(net.config().reserved_peers.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    Reserve(IpAddr),
    /// The peer is reserved no more. Its connection stays, and counts beside the target until it ends.
    Release(IpAddr),
}

/// The same, as it is applied.
#[derive(Debug)]
pub(crate) enum Input {
    Report(IpAddr, Report),
    /// The one that told of them, if it was named.
    List(Option<IpAddr>, Vec<IpAddr>),
}

impl From<Feedback> for Input {
    fn from(feedback: Feedback) -> Self {
        match feedback {
            Feedback::Alive(ip) => Self::Report(ip, Report::Alive),
            Feedback::Failed(ip) => Self::Report(ip, Report::Failed),
            Feedback::Banned(ip) => Self::Report(ip, Report::Banned),
            Feedback::BannedFor(ip, term) => Self::Report(ip, Report::BannedFor(term)),
            Feedback::Closed(ip) => Self::Report(ip, Report::Closed),
            Feedback::Unbanned(ip) => Self::Report(ip, Report::Unbanned),
            Feedback::Ourselves(ip) => Self::Report(ip, Report::Ourselves),
            Feedback::Dial(ip) => Self::Report(ip, Report::Dial),
            Feedback::Reserve(ip) => Self::Report(ip, Report::Reserve),
            Feedback::Release(ip) => Self::Report(ip, Report::Release),
            Feedback::PeerList(ips) => Self::List(None, ips),
            Feedback::PeerListFrom(teller, ips) => Self::List(Some(teller), ips),
        }
    }
}

/// Reports to a controller from elsewhere: from other tasks, from `Drop`, or from the stream that the controller itself
/// feeds, as in `net.map(..).forward(net.feedback_sink())`.
///
/// It never waits. Reports are merged per connection, or per peer while it has none: a sign of life, then one end of the
/// connection, then the last of the bans and unban, then the last of reserve and release, then whether it is ourselves,
/// then one dial; a ban that was lifted again has ended the connection all the same. Peer lists are cut to
/// `max_idle_peers` addresses in all. Flushed means queued: the controller is woken and applies reports about connections
/// in its next poll, and those about other peers, lists and questions in that or the following ones. Of one address, what
/// is reported last counts last. Closing or dropping a sink ends nothing. A [`NetworkHandle`] does the same and more.
///
/// [Feedback by address](crate::guide::feedback_by_address#from-elsewhere) and
/// [`forward`](crate::guide::streams#forward), in the guide, have examples.
#[derive(Clone, Debug)]
pub struct FeedbackSink {
    handle: NetworkHandle,
}

impl FeedbackSink {
    pub(crate) fn new(handle: NetworkHandle) -> Self {
        Self { handle }
    }

    /// Reports without waiting, for `Drop` and for tasks that do not await.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`] once the controller is closed or dropped.
    pub fn report(&self, feedback: Feedback) -> Result<(), NetworkError> {
        self.handle.report(feedback)
    }

    /// The same as [`NetworkHandle::good_peer_ips`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the question and nothing else.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`] once the controller is closed or dropped.
    pub async fn good_peer_ips(&self, limit: usize) -> Result<Vec<IpAddr>, NetworkError> {
        self.handle.good_peer_ips(limit).await
    }

    /// The same as [`NetworkHandle::sample_peer_ips`]: to tell others of.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the question and nothing else.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`] once the controller is closed or dropped.
    pub async fn sample_peer_ips(&self, limit: usize) -> Result<Vec<IpAddr>, NetworkError> {
        self.handle.sample_peer_ips(limit).await
    }
}

/// As that of [`NetworkHandle`].
impl Sink<Feedback> for FeedbackSink {
    type Error = NetworkError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        self.handle.poll_ready_unpin(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, feedback: Feedback) -> Result<(), NetworkError> {
        self.handle.start_send_unpin(feedback)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        self.handle.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        self.handle.poll_close_unpin(cx)
    }
}
