//! The end of a controller.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::controller::engine::{Engine, Phase};
use crate::controller::{NetworkError, peer_file_error};
use crate::peer_file::PeerFileError;
use crate::transport::Transport;

impl<T: Transport> Engine<T> {
    /// Whether the stream has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.has_ended
    }

    /// Closes; to be polled for the sink, with a waker that wakes the tasks of both halves.
    pub(crate) fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        self.as_mut().begin_or_retry();
        ready!(self.as_mut().poll_end(cx));
        match self.project().phase {
            Phase::Failed(error) => Poll::Ready(error.take().map_or(Ok(()), Err)),
            Phase::Open | Phase::Dumping | Phase::Closed => Poll::Ready(Ok(())),
        }
    }

    /// Goes on with the last dump until it is done, well or not. Both halves may poll it.
    pub(super) fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if !matches!(this.phase, Phase::Dumping) {
            return Poll::Ready(());
        }
        let result = ready!(this.dumping.poll_last(cx, this.table, this.clock));
        let path = this.table.config().peers_file.as_deref().unwrap_or("".as_ref());
        let named = |error: &PeerFileError| peer_file_error(path, error.copy());
        this.mailbox.on_ended(|| result.as_ref().copied().map_err(named));
        *this.phase = match result {
            Ok(()) => {
                this.dumping.release();
                Phase::Closed
            }
            Err(error) => Phase::Failed(Some(peer_file_error(path, error))),
        };
        *this.has_ended = true;
        this.wakers.wake_both();
        Poll::Ready(())
    }

    pub(super) fn begin_or_retry(mut self: Pin<&mut Self>) {
        match self.phase {
            Phase::Open => self.end_all(),
            Phase::Failed(None) => *self.as_mut().project().phase = Phase::Dumping,
            Phase::Failed(Some(_)) | Phase::Dumping | Phase::Closed => {}
        }
    }

    /// Applies what was reported and ends everything but the dump. From here on the table does not change any more.
    fn end_all(mut self: Pin<&mut Self>) {
        self.mailbox.seal();
        self.as_mut().apply_everything();
        self.as_mut().tell_changes();
        let mut this = self.project();
        this.watchers.end();
        this.mailbox.close();
        if let Some(listener) = this.listener.as_ref().get_ref() {
            listener.errors().describe(this.table.counters_mut());
        }
        this.listener.set(None);
        this.dials.clear();
        *this.dialed = None;
        *this.event = None;
        this.accepted.clear();
        this.parked.clear();
        this.timer.set(None);
        *this.phase = Phase::Dumping;
        this.wakers.wake_stream();
    }
}
