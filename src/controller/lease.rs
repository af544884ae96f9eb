//! [`PeerLease`]: one connection's own voice, for the task that serves the connection. And [`Leased`], a controller
//! that hands one out with each event.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures::stream::{FusedStream, Stream};
use futures::{Sink, SinkExt, StreamExt};
use tokio::sync::Notify;

use crate::controller::feedback::{Feedback, FeedbackSink, LeaseReport, Mailbox};
use crate::controller::{NetworkController, NetworkControllerEvent, NetworkError};
use crate::peer::{ByConnection, ConnectionId};
use crate::peer_table::Report;
use crate::transport::Transport;

/// Speaks for one connection: reports of it, and learns when it is over for another reason.
///
/// Feedback by address speaks of whatever connection the peer has at that time; a lease speaks of the one it was made
/// for. Once that is over, nothing that the lease says changes anything but a ban. A lease that is dropped unspent
/// reports that the connection failed, so a task that panics or is aborted frees its slot.
///
/// No method waits but [`revoked`](Self::revoked); reports are applied in the controller's next poll, after feedback by
/// address. `alive` counts before the end that follows it. However often it is called, it takes no more memory.
#[must_use = "a lease that is dropped reports that its connection failed"]
pub struct PeerLease {
    connection: ConnectionId,
    ip: IpAddr,
    is_outgoing: bool,
    is_spent: bool,
    slot: Arc<Slot>,
    mailbox: Arc<Mailbox>,
}

impl PeerLease {
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
        self.report(Report::Alive);
    }

    /// The connection was closed cleanly: the peer becomes Idle, blamed for nothing.
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

    /// Waits until the connection's slot has ended by anything but this lease: a ban, a deadline, feedback by address,
    /// the controller closed or dropped. From then on it is ready at once. Whoever holds the socket should close it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn revoked(&self) {
        self.slot.revoked().await;
    }

    fn report(&self, report: Report) {
        if report == Report::Banned || !self.slot.is_revoked() {
            self.mailbox
                .report_lease(self.connection, self.ip, LeaseReport::Of(report));
        }
    }

    fn spend(mut self, report: Report) {
        self.is_spent = true;
        self.report(report);
    }
}

impl fmt::Debug for PeerLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerLease")
            .field("ip", &self.ip)
            .field("is_outgoing", &self.is_outgoing)
            .field("is_revoked", &self.slot.is_revoked())
            .finish_non_exhaustive()
    }
}

impl Drop for PeerLease {
    fn drop(&mut self) {
        if !self.is_spent && !self.slot.is_revoked() {
            self.mailbox
                .report_lease(self.connection, self.ip, LeaseReport::Dropped);
        }
    }
}

/// Whether a connection's slot has ended by anything but its lease.
#[derive(Debug, Default)]
struct Slot {
    is_revoked: AtomicBool,
    waiting: Notify,
}

impl Slot {
    fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Acquire)
    }

    fn revoke(&self) {
        self.is_revoked.store(true, Ordering::Release);
        self.waiting.notify_waiters();
    }

    async fn revoked(&self) {
        let waiting = self.waiting.notified();
        if !self.is_revoked() {
            waiting.await;
        }
    }
}

/// The connections whose events were returned and that are not over, and their leases. Dropping it revokes these.
#[derive(Debug)]
pub(crate) struct HandedOver {
    connections: ByConnection<Connection>,
    mailbox: Arc<Mailbox>,
}

#[derive(Debug)]
struct Connection {
    ip: IpAddr,
    slot: Option<Arc<Slot>>,
}

impl HandedOver {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self {
            connections: ByConnection::default(),
            mailbox,
        }
    }

    pub(crate) fn insert(&mut self, id: ConnectionId, ip: IpAddr) {
        self.mailbox.connect(ip);
        self.connections.insert(id, Connection { ip, slot: None });
    }

    /// A sink, whose reports by address are from now on told apart by who is connected.
    pub(crate) fn feedback_sink(&self) -> FeedbackSink {
        self.mailbox
            .route(self.connections.values().map(|connection| connection.ip));
        FeedbackSink::new(Arc::clone(&self.mailbox))
    }

    /// How many connections there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// The connection's one lease; `None` if it was taken before, or the connection was not handed over.
    pub(crate) fn lease(&mut self, id: ConnectionId, is_outgoing: bool) -> Option<PeerLease> {
        let connection = self
            .connections
            .get_mut(&id)
            .filter(|connection| connection.slot.is_none())?;
        let slot = Arc::clone(connection.slot.insert(Arc::default()));
        let (ip, mailbox) = (connection.ip, Arc::clone(&self.mailbox));
        Some(PeerLease {
            connection: id,
            ip,
            is_outgoing,
            is_spent: false,
            slot,
            mailbox,
        })
    }

    /// The connection is over, and so is its lease. (A lease that ends its connection is spent by that, and has nobody
    /// left to ask.)
    pub(crate) fn end(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.mailbox.disconnect(connection.ip);
        if let Some(slot) = connection.slot {
            slot.revoke();
        }
    }

    /// Every connection is over.
    pub(crate) fn end_all(&mut self) {
        self.mailbox.close();
        for (_, connection) in self.connections.drain() {
            connection.slot.iter().for_each(|slot| slot.revoke());
        }
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        self.end_all();
    }
}

/// A controller whose stream yields each event together with its connection's [`PeerLease`]. Made by
/// [`NetworkController::leased`].
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
