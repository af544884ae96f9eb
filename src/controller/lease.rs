//! [`PeerLease`]: a handle to one connection, for the task that serves it. And [`Leased`], a controller that yields one
//! with each event.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::stream::{FusedStream, Stream};
use futures::{Sink, SinkExt, StreamExt};

use crate::controller::mailbox::Mailbox;
use crate::controller::open_connections::LeaseState;
use crate::controller::{Feedback, NetworkController, NetworkControllerEvent, NetworkError};
use crate::peer::{ConnectionId, Revocation};
use crate::peer_table::Report;
use crate::transport::Transport;

/// A handle to one connection: reports of it, and learns when it is over for another reason.
///
/// Feedback by address is about whatever connection the peer has at that time; a lease is about the one it was made
/// for. Once that is over, nothing that the lease says changes anything but a ban. A lease that is dropped unspent
/// reports that the connection failed, so a task that panics or is aborted frees its slot.
///
/// No method waits but [`revoked`](Self::revoked); reports are applied in the controller's next poll, after feedback by
/// address. `alive` counts before the end that follows it. However often it is called, it takes no more memory.
///
/// [Leases](crate::guide::leases), in the guide, has an example of a whole conversation.
#[must_use = "a lease that is dropped reports that its connection failed"]
pub struct PeerLease {
    connection: ConnectionId,
    ip: IpAddr,
    is_outgoing: bool,
    is_spent: bool,
    state: Arc<LeaseState>,
    mailbox: Arc<Mailbox>,
}

impl PeerLease {
    /// The lease of the peer's open connection; `None` if it has none, or if its lease was taken before.
    pub(crate) fn take(ip: IpAddr, mailbox: &Arc<Mailbox>) -> Option<Self> {
        let (connection, is_outgoing, state) = mailbox.lease(ip)?;
        Some(Self {
            connection,
            ip,
            is_outgoing,
            is_spent: false,
            state,
            mailbox: Arc::clone(mailbox),
        })
    }

    /// The address of the peer.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Whether we made the connection.
    #[must_use]
    pub fn is_outgoing(&self) -> bool {
        self.is_outgoing
    }

    /// The peer gave a sign of life: the handshake is done, or a message came. Updates `last_alive`.
    pub fn alive(&self) {
        if !self.state.is_revoked() {
            self.mailbox.report_lease(self.ip, self.connection, Report::Alive);
        }
    }

    /// Peers that the peer told us of, as [`Feedback::PeerListFrom`] with its address. Takes no more than `max_idle_peers`
    /// addresses in all, of all lists that the controller has yet to merge.
    pub fn peer_list(&self, ips: impl IntoIterator<Item = IpAddr>) {
        if !self.state.is_revoked() {
            // After the close a lease changes nothing.
            let _ = self.mailbox.list(Some(self.ip), ips);
        }
    }

    /// The connection was closed cleanly: the peer becomes Idle; no failure is recorded.
    pub fn closed(self) {
        self.spend(Report::Closed);
    }

    /// The handshake failed, or the connection ended unexpectedly. Updates `last_failure`; the peer becomes Idle.
    pub fn failed(self) {
        self.spend(Report::Failed);
    }

    /// The peer misbehaved: it is neither dialed nor admitted any more. Counts even when the connection is over.
    pub fn banned(self) {
        self.spend(Report::Banned);
    }

    /// The same for this long, whatever [`ban_duration`](crate::NetworkConfig::ban_duration) says.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn misbehaves(_: &[u8]) -> bool { true }
    /// fn on_message(message: &[u8], lease: network::PeerLease) {
    ///     if misbehaves(message) {
    ///         lease.banned_for(Duration::from_secs(3600));
    ///     }
    /// }
    /// ```
    pub fn banned_for(self, term: Duration) {
        self.spend(Report::BannedFor(term));
    }

    /// Waits until the connection's slot has ended by anything but this lease, and says by what: a ban, a deadline,
    /// feedback by address, rotation, eviction, the controller closed or dropped. From then on it is ready at once, with
    /// the same reason. The task that holds the socket should take leave of the peer, where the reason lets it, close the
    /// socket and drop this lease, all within seconds.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn revoked(&self) -> Revocation {
        self.state.revoked().await
    }

    pub(crate) fn connection(&self) -> ConnectionId {
        self.connection
    }

    fn spend(mut self, report: Report) {
        self.is_spent = true;
        let revocation = self.state.revocation();
        let report = Some(report).filter(|&report| report.is_ban() || revocation.is_none());
        if report.is_some() || revocation.is_some_and(Revocation::holds_address) {
            self.mailbox.end_lease(self.ip, self.connection, report);
        }
    }
}

impl fmt::Debug for PeerLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerLease")
            .field("ip", &self.ip)
            .field("is_outgoing", &self.is_outgoing)
            .field("revocation", &self.state.revocation())
            .finish_non_exhaustive()
    }
}

impl Drop for PeerLease {
    fn drop(&mut self) {
        if self.is_spent {
            return;
        }
        match self.state.revocation() {
            None => self.mailbox.drop_lease(self.ip, self.connection),
            Some(why) if why.holds_address() => self.mailbox.end_lease(self.ip, self.connection, None),
            Some(_) => {}
        }
    }
}

/// A controller whose stream yields each event together with its connection's [`PeerLease`]. Made by
/// [`NetworkController::leased`].
///
/// [The loop](crate::guide::the_loop), in the guide, has examples.
#[must_use = "streams do nothing unless polled"]
pub struct Leased<T: Transport> {
    inner: NetworkController<T>,
}

impl<T: Transport> Leased<T> {
    pub(crate) fn new(inner: NetworkController<T>) -> Self {
        Self { inner }
    }

    /// The controller.
    pub fn get_ref(&self) -> &NetworkController<T> {
        &self.inner
    }

    /// The controller, for instance to close it.
    pub fn get_mut(&mut self) -> &mut NetworkController<T> {
        &mut self.inner
    }

    /// The controller; leases that were handed out stay good.
    pub fn into_inner(self) -> NetworkController<T> {
        self.inner
    }
}

impl<T: Transport> fmt::Debug for Leased<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leased").field(&self.inner).finish()
    }
}

impl<T: Transport> Stream for Leased<T> {
    type Item = (NetworkControllerEvent<T::Socket>, PeerLease);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(event) = ready!(self.inner.poll_next_unpin(cx)) else {
            return Poll::Ready(None);
        };
        let NetworkControllerEvent::CandidateConnection { ip, .. } = &event;
        let lease = self
            .inner
            .lease(*ip)
            .expect("the connection of an event that was just returned has its lease");
        Poll::Ready(Some((event, lease)))
    }
}

impl<T: Transport> FusedStream for Leased<T> {
    fn is_terminated(&self) -> bool {
        self.inner.is_terminated()
    }
}

impl<T: Transport> Sink<Feedback> for Leased<T> {
    type Error = NetworkError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        self.inner.poll_ready_unpin(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, feedback: Feedback) -> Result<(), NetworkError> {
        self.inner.start_send_unpin(feedback)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        self.inner.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        self.inner.poll_close_unpin(cx)
    }
}
