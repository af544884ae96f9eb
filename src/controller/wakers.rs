//! The tasks to wake when something happens: the one that polls the stream and the one that polls the sink.

use std::sync::Arc;
use std::task::{Wake, Waker};

use futures::task::AtomicWaker;

/// The wakers of the two halves of a controller, which two tasks may poll. What serves both halves is polled with a
/// waker that wakes both.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    stream: AtomicWaker,
    sink: AtomicWaker,
}

impl Wakers {
    /// The stream's task is to be woken from now on.
    pub(crate) fn register_stream(&self, waker: &Waker) {
        self.stream.register(waker);
    }

    /// The sink's task is to be woken from now on.
    pub(crate) fn register_sink(&self, waker: &Waker) {
        self.sink.register(waker);
    }

    /// Something was changed outside of the poll.
    pub(crate) fn wake_stream(&self) {
        self.stream.wake();
    }

    pub(crate) fn wake_both(&self) {
        self.stream.wake();
        self.sink.wake();
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_both();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_both();
    }
}
