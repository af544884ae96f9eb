//! Questions that other tasks ask of a controller, and that its next poll answers.

use std::fmt;
use std::net::IpAddr;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::config::{ConfigError, NetworkConfig};
use crate::peer::Peer;
use crate::peer_table::{DialState, PeerTable};
use crate::stats::Stats;

/// How many questions may wait at one time; a task that asks more waits until there is room.
pub(super) const MAX_WAITING: usize = 1_024;

/// What a question may look at.
pub(crate) trait Answers {
    fn table(&self) -> &PeerTable;
    fn stats(&self) -> Stats;
    fn dial_state(&self, ip: IpAddr) -> DialState;
    fn sample_peer_ips(&mut self, limit: usize) -> Vec<IpAddr>;
    fn reconfigure(&mut self, config: NetworkConfig) -> Result<(), ConfigError>;
}

pub(crate) trait Question: Send {
    /// The task that asked has stopped waiting.
    fn is_withdrawn(&self) -> bool;

    /// Answers how many items the answer has: the work that it took.
    fn answer(self: Box<Self>, net: &mut dyn Answers) -> usize;
}

/// What can be answered.
pub(crate) trait Answer: Send + 'static {
    fn items(&self) -> usize {
        1
    }
}

impl Answer for Stats {}

impl Answer for DialState {}

impl Answer for NetworkConfig {
    fn items(&self) -> usize {
        let lists = self.initial_peers.len() + self.initial_records.len() + self.reserved_peers.len();
        1 + lists + self.denied.len() + self.allowed.len()
    }
}

impl Answer for Result<(), ConfigError> {}

impl Answer for Option<Peer> {}

impl<T: Send + 'static> Answer for Vec<T> {
    fn items(&self) -> usize {
        1 + self.len()
    }
}

/// A question with the task that waits for its answer.
pub(super) struct Asked<Q, A> {
    pub(super) question: Q,
    pub(super) reply: oneshot::Sender<A>,
    /// Its place among the waiting ones.
    pub(super) _place: OwnedSemaphorePermit,
}

impl<Q, A> Question for Asked<Q, A>
where
    Q: FnOnce(&mut dyn Answers) -> A + Send,
    A: Answer,
{
    fn is_withdrawn(&self) -> bool {
        self.reply.is_closed()
    }

    fn answer(self: Box<Self>, net: &mut dyn Answers) -> usize {
        if self.is_withdrawn() {
            return 1;
        }
        let answer = (self.question)(net);
        let items = answer.items();
        // The task that asked may have stopped waiting just now.
        let _ = self.reply.send(answer);
        items
    }
}

impl fmt::Debug for dyn Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("is_withdrawn", &self.is_withdrawn())
            .finish_non_exhaustive()
    }
}
