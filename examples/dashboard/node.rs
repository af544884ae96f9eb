//! The node that is watched: a controller in a task of its own, asked and told by its handle.

mod neighbours;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use network::{
    Changes, Feedback, Leased, NetworkConfig, NetworkController, NetworkControllerEvent, NetworkError, NetworkHandle,
    PeerLease, TcpTransport,
};
use network_examples::session::{Pace, Session};
use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::timeout;

pub(crate) use self::neighbours::{Neighbourhood, PACE as NEIGHBOURS_PACE};
use crate::app::{BAN, Command, Details};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How many changes may wait to be shown.
const CHANGES: usize = 4_096;

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) handle: NetworkHandle,
    pub(crate) address: SocketAddr,
    /// What a pause ends with: the target, and the cap on incoming connections.
    caps: [usize; 2],
    task: JoinHandle<Result<(), JoinError>>,
    /// How long its connections may take to say goodbye.
    patience: Duration,
}

impl Node {
    /// Starts it. Everything that happens to its peers from then on is in the changes.
    pub(crate) async fn start(config: NetworkConfig, pace: Pace) -> Result<(Self, Changes), NetworkError> {
        let caps = [config.target_outgoing_connections, config.max_incoming_connections];
        let mut network = NetworkController::with_config(config).await?;
        let session = Session::new(pace, network.feedback_sink());
        let changes = network.changes(CHANGES);
        let node = Self {
            handle: network.handle(),
            address: network.local_addr(),
            caps,
            task: tokio::spawn(serve(network.leased(), Arc::new(session))),
            patience: pace.patience,
        };
        Ok((node, changes))
    }

    /// Does what a key asked for; its effect shows in the changes.
    pub(crate) async fn command(&self, command: Command) -> Result<(), NetworkError> {
        self.handle.report(match command {
            Command::Quit => return Ok(()),
            Command::Pause => return self.set_caps([0, 0]).await,
            Command::Resume => return self.set_caps(self.caps).await,
            Command::Ban(ip) => Feedback::BannedFor(ip, BAN),
            Command::Unban(ip) => Feedback::Unbanned(ip),
            Command::Dial(ip) => Feedback::Dial(ip),
            Command::Reserve(ip) => Feedback::Reserve(ip),
            Command::Release(ip) => Feedback::Release(ip),
        })
    }

    /// Connections that there are already stay.
    async fn set_caps(&self, [target, incoming]: [usize; 2]) -> Result<(), NetworkError> {
        let mut config = self.handle.config().await?;
        config.target_outgoing_connections = target;
        config.max_incoming_connections = incoming;
        self.handle.reconfigure(config).await
    }

    /// What is known of a peer, and why it is dialed or not.
    pub(crate) async fn details(&self, ip: IpAddr) -> Result<Details, NetworkError> {
        Ok(Details {
            ip,
            peer: self.handle.peer(ip).await?,
            dial_state: self.handle.dial_state(ip).await?.to_string(),
        })
    }

    /// Resolves if the node has ended by itself, which it does only by a panic. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Failure {
        match (&mut self.task).await {
            Ok(Err(error)) | Err(error) => error.into(),
            Ok(Ok(())) => "the node has ended".into(),
        }
    }

    /// Writes the peers file and says goodbye to the peers.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        if self.task.is_finished() {
            return Ok(());
        }
        self.handle.close().await?;
        // Connections that do not end in time are reset.
        if let Ok(ended) = timeout(self.patience, self.task).await {
            ended??;
        }
        Ok(())
    }
}

/// Polls the controller, and runs each connection in a task, until the controller is closed.
async fn serve(mut connections: Leased<TcpTransport>, session: Arc<Session>) -> Result<(), JoinError> {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            next = connections.next() => match next {
                Some((NetworkControllerEvent::CandidateConnection { socket, .. }, lease)) => {
                    tasks.spawn(converse(Arc::clone(&session), socket, lease));
                }
                None => break,
            },
            Some(ended) = tasks.join_next() => ended?,
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}

async fn converse(session: Arc<Session>, mut socket: TcpStream, lease: PeerLease) {
    let ending = session.converse(&mut socket, &lease, || {}).await;
    drop(socket);
    ending.settle(lease);
}
