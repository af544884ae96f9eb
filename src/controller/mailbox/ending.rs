//! The tasks that wait for the end of a controller.

use tokio::sync::oneshot;

use crate::controller::NetworkError;

/// How closing a controller has ended.
pub(crate) type ClosingResult = Result<(), NetworkError>;

#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Whether the last dump was written, once the controller has ended.
    ended_well: Option<bool>,
    waiting: Vec<oneshot::Sender<ClosingResult>>,
}

impl Ending {
    /// What comes at the end; the result at once where it has come.
    pub(super) fn wait(&mut self) -> Result<oneshot::Receiver<ClosingResult>, ClosingResult> {
        match self.ended_well {
            Some(true) => Err(Ok(())),
            Some(false) => Err(Err(NetworkError::Closed)),
            None => Ok(self.queue()),
        }
    }

    /// The controller has ended. Answers with those to tell.
    pub(super) fn end(&mut self, is_well: bool) -> Vec<oneshot::Sender<ClosingResult>> {
        self.ended_well = Some(is_well);
        std::mem::take(&mut self.waiting)
    }

    /// Tasks that have stopped waiting are dropped first, so that there are about as many as wait.
    fn queue(&mut self) -> oneshot::Receiver<ClosingResult> {
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting.retain(|waiting| !waiting.is_closed());
        }
        let (waiting, result) = oneshot::channel();
        self.waiting.push(waiting);
        result
    }
}
