//! Which dials of a pool have been woken since they were last polled, in the order of waking.
//!
//! Wakers may be called from any thread at any time, also after their dial is gone, so they share this queue with the
//! pool; the lock is held for a push or a pop and never across a poll. A waker stands in the queue at most once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use futures::task::AtomicWaker;

use crate::peer::ConnectionId;

/// The queue of a pool.
#[derive(Debug, Default)]
pub(super) struct Woken {
    ids: Mutex<VecDeque<ConnectionId>>,
    task: AtomicWaker,
}

impl Woken {
    /// Has `task` woken by every push from now on; answers how many dials were woken before.
    pub(super) fn register(&self, task: &Waker) -> usize {
        self.task.register(task);
        self.lock().len()
    }

    pub(super) fn pop(&self) -> Option<ConnectionId> {
        self.lock().pop_front()
    }

    fn push(&self, id: ConnectionId) {
        self.lock().push_back(id);
        self.task.wake();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ConnectionId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes one dial: puts it in the queue of its pool.
#[derive(Debug)]
pub(super) struct DialWaker {
    id: ConnectionId,
    is_queued: AtomicBool,
    woken: Arc<Woken>,
}

impl DialWaker {
    pub(super) fn new(id: ConnectionId, woken: Arc<Woken>) -> Arc<Self> {
        Arc::new(Self {
            id,
            is_queued: AtomicBool::new(false),
            woken,
        })
    }

    pub(super) fn wake_dial(&self) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.woken.push(self.id);
        }
    }

    /// The waker for a poll of the dial that is off the queue. A wake during that poll queues it again.
    pub(super) fn begin_poll(self: &Arc<Self>) -> Waker {
        // A swap, as it must see what a wake that found it queued already had seen.
        self.is_queued.swap(false, Ordering::AcqRel);
        Waker::from(Arc::clone(self))
    }
}

impl Wake for DialWaker {
    fn wake(self: Arc<Self>) {
        self.wake_dial();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_dial();
    }
}
