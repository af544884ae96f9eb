//! [`NetworkHandle`]: reports to a controller, and asks it, from any task.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Sink;
use tokio::sync::oneshot;

use crate::config::NetworkConfig;
use crate::controller::feedback::Input;
use crate::controller::mailbox::Mailbox;
use crate::controller::questions::{Answer, Answers, Asked};
use crate::controller::{Feedback, NetworkError};
use crate::peer::Peer;
use crate::peer_table::DialState;
use crate::stats::Stats;

/// Speaks with a controller from any task, also while it is inside a chain of streams, after `split`, `forward` or
/// [`leased`](crate::NetworkController::leased).
///
/// Feedback, by [`report`](Self::report) or as a [`Sink`], never waits, as a [`FeedbackSink`](crate::FeedbackSink)'s does
/// not. Questions are answered by the controller's next poll, in the order in which they were asked, and see what was
/// reported before them of connected peers; so they wait until the controller is polled: the task that polls it must not
/// await one in between. Up to 1,024 questions may be waiting; a task that asks one more waits for room first.
///
/// Dropping or closing it as a sink ends nothing; [`close`](Self::close) ends the controller.
///
/// # Example
///
/// ```
/// use futures::{StreamExt, future::ready};
/// use network::{NetworkConfig, NetworkController};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), network::NetworkError> {
/// let net = NetworkController::with_config(NetworkConfig::in_memory(0)).await?;
/// let handle = net.handle();
/// let serving = tokio::spawn(net.leased().for_each(|(_event, _lease)| ready(())));
///
/// println!("{} peers", handle.stats().await?.peers.total());
/// handle.close().await?; // the stream ends, and with it the task
/// # serving.await.unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NetworkHandle {
    mailbox: Arc<Mailbox>,
}

impl NetworkHandle {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox }
    }

    /// Reports without waiting, for `Drop` and for tasks that do not await.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`] once the controller is closed or dropped.
    pub fn report(&self, feedback: Feedback) -> Result<(), NetworkError> {
        match Input::from(feedback) {
            Input::Report(ip, report) => self.mailbox.report(ip, report),
            Input::List(teller, ips) => self.mailbox.list(teller, ips),
        }
    }

    /// What [`NetworkController::stats`](crate::NetworkController::stats) says.
    ///
    /// # Cancel safety
    ///
    /// As with every question, dropping the future withdraws the question and nothing else.
    ///
    /// # Errors
    ///
    /// As with every question, [`NetworkError::Closed`] once the controller is closed or dropped.
    pub async fn stats(&self) -> Result<Stats, NetworkError> {
        self.ask(|net| net.stats()).await
    }

    /// What is known of one peer; `None` if nothing is. Cancel safety and errors as with [`stats`](Self::stats).
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`]
    pub async fn peer(&self, ip: IpAddr) -> Result<Option<Peer>, NetworkError> {
        self.ask(move |net| net.table().peer(ip.to_canonical()).cloned()).await
    }

    /// Every known peer, in no particular order. This copies all of them in one poll of the controller: about 0.1 s for
    /// a million. To follow them, see [`changes`](crate::NetworkController::changes). Cancel safety and errors as with
    /// [`stats`](Self::stats).
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`]
    pub async fn peers(&self) -> Result<Vec<Peer>, NetworkError> {
        self.ask(|net| net.table().peers().cloned().collect()).await
    }

    /// The best `limit` of the peers that
    /// [`NetworkController::get_good_peer_ips`](crate::NetworkController::get_good_peer_ips) would name. Cancel safety and
    /// errors as with [`stats`](Self::stats).
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`]
    pub async fn good_peer_ips(&self, limit: usize) -> Result<Vec<IpAddr>, NetworkError> {
        self.ask(move |net| net.table().good_peer_ips().take(limit).collect())
            .await
    }

    /// A random sample of the same peers, as
    /// [`NetworkController::sample_peer_ips`](crate::NetworkController::sample_peer_ips) draws it: what to tell others.
    /// Cancel safety and errors as with [`stats`](Self::stats).
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`]
    pub async fn sample_peer_ips(&self, limit: usize) -> Result<Vec<IpAddr>, NetworkError> {
        self.ask(move |net| net.sample_peer_ips(limit)).await
    }

    /// Why the peer is dialed, or not, as [`NetworkController::dial_state`](crate::NetworkController::dial_state) tells.
    /// Cancel safety and errors as with [`stats`](Self::stats).
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`]
    pub async fn dial_state(&self, ip: IpAddr) -> Result<DialState, NetworkError> {
        self.ask(move |net| net.dial_state(ip)).await
    }

    /// The configuration that the controller goes by, with what [`Reserve`](Feedback::Reserve) and
    /// [`Release`](Feedback::Release) have changed of it: what to change a part of for [`reconfigure`](Self::reconfigure).
    /// Cancel safety and errors as with [`stats`](Self::stats).
    ///
    /// # Errors
    ///
    /// [`NetworkError::Closed`]
    pub async fn config(&self) -> Result<NetworkConfig, NetworkError> {
        self.ask(|net| net.table().config().clone()).await
    }

    /// Goes on with another configuration, as
    /// [`NetworkController::reconfigure`](crate::NetworkController::reconfigure) does: in order with questions, so that
    /// those asked after it see it.
    ///
    /// ```
    /// # use futures::{StreamExt, future::ready};
    /// # use network::{NetworkConfig, NetworkController};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), network::NetworkError> {
    /// # let net = NetworkController::with_config(NetworkConfig::in_memory(0)).await?;
    /// # let handle = net.handle();
    /// # let serving = tokio::spawn(net.leased().for_each(|(_event, _lease)| ready(())));
    /// let mut config = handle.config().await?;
    /// config.max_incoming_connections = 16;
    /// handle.reconfigure(config).await?;
    /// assert_eq!(handle.stats().await?.incoming_connections.limit, 16);
    /// # handle.close().await?;
    /// # serving.await.unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the controller's next poll changes nothing; after it, everything.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Config`] if the configuration cannot work, or changes a field that a running controller cannot
    /// change; nothing is changed then. [`NetworkError::Closed`] once the controller is closed or dropped.
    pub async fn reconfigure(&self, config: NetworkConfig) -> Result<(), NetworkError> {
        let changed = self.ask(move |net| net.reconfigure(config)).await?;
        changed.map_err(NetworkError::from)
    }

    /// Closes the controller as [`NetworkController::close`](crate::NetworkController::close) does, and waits until that
    /// is done. The controller's task goes on with it, so that must poll its stream, or close it itself, up to the end.
    ///
    /// # Cancel safety
    ///
    /// The controller closes all the same, once the future was polled.
    ///
    /// # Errors
    ///
    /// [`NetworkError::PeerFile`] if the last dump failed; only
    /// [`NetworkController::close`](crate::NetworkController::close) can try it again, as the stream has ended.
    /// [`NetworkError::Closed`] if the controller was dropped before it was closed, or its last dump has failed already.
    /// After `Ok`, again is `Ok`.
    pub async fn close(&self) -> Result<(), NetworkError> {
        match self.mailbox.close_wanted() {
            Ok(ended) => ended.await.unwrap_or(Err(NetworkError::Closed)),
            Err(result) => result,
        }
    }

    /// Asks the controller, once there is room for one more question.
    async fn ask<A: Answer>(
        &self,
        question: impl FnOnce(&mut dyn Answers) -> A + Send + 'static,
    ) -> Result<A, NetworkError> {
        let place = self.mailbox.place().await?;
        let (reply, answer) = oneshot::channel();
        self.mailbox.ask(Box::new(Asked {
            question,
            reply,
            _place: place,
        }))?;
        answer.await.map_err(|_| NetworkError::Closed)
    }

    pub(super) fn check_open(&self) -> Result<(), NetworkError> {
        self.mailbox.check_open()
    }
}

impl fmt::Debug for NetworkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkHandle")
            .field("is_closed", &self.check_open().is_err())
            .finish_non_exhaustive()
    }
}

impl Sink<Feedback> for NetworkHandle {
    type Error = NetworkError;

    /// Always ready, until the controller is closed or dropped.
    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        Poll::Ready(self.check_open())
    }

    fn start_send(self: Pin<&mut Self>, feedback: Feedback) -> Result<(), NetworkError> {
        self.report(feedback)
    }

    /// Always ready: what was sent is queued.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        Poll::Ready(Ok(()))
    }

    /// Always ready: this ends nothing, not even this sink.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        Poll::Ready(Ok(()))
    }
}
