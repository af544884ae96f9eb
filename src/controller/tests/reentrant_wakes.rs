//! Wake-ups that come back: a task that the controller wakes may report to it at once, from within the wake.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Wake;

use PeerStatus::InHandshaking;

use super::*;

/// Reports from within a wake-up, and keeps what came of it.
struct Telltale {
    sink: FeedbackSink,
    feedback: Feedback,
    results: Mutex<Vec<Result<(), NetworkError>>>,
}

impl Wake for Telltale {
    fn wake(self: Arc<Self>) {
        let result = self.sink.report(self.feedback.clone());
        self.results.lock().unwrap().push(result);
    }
}

impl Telltale {
    /// Reports `feedback` once the lease is revoked, which `revoked` waits for.
    fn watch(sink: FeedbackSink, feedback: Feedback, revoked: Pin<&mut impl Future>) -> Arc<Self> {
        let telltale = Arc::new(Self {
            sink,
            feedback,
            results: Mutex::default(),
        });
        let waker = Arc::clone(&telltale).into();
        assert!(revoked.poll(&mut Context::from_waker(&waker)).is_pending());
        telltale
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_called_by_the_close_finds_it_closed() {
    let (mut node, _socket) = Node::with(LOW, Some(InHandshaking), passive()).await;
    let (lease, sink) = (node.lease(ip(LOW)).unwrap(), node.feedback_sink());
    let revoked = pin!(lease.revoked());
    let telltale = Telltale::watch(sink.clone(), Feedback::Banned(ip(HIGH)), revoked);
    sink.report(Feedback::Closed(ip(LOW))).unwrap();
    node.close().await.unwrap();
    assert!(matches!(
        telltale.results.lock().unwrap()[..],
        [Err(NetworkError::Closed)]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_report_about_a_connection_does_not_apply_to_the_next_within_one_poll() {
    let mut node = Node::knowing(passive(), &[]).await;
    let _sockets = [LOW, HIGH].map(|peer| node.admits(peer));
    let lease = node.lease(ip(LOW)).unwrap();
    let revoked = pin!(lease.revoked());
    let telltale = Telltale::watch(node.feedback_sink(), Feedback::Closed(ip(HIGH)), revoked);
    advance(seconds(31)).await;
    let _again = node.connects_from("220.1.0.1:9".parse().unwrap(), US);
    assert_eq!(node.event().ip, ip(HIGH));
    assert_eq!(telltale.results.lock().unwrap().len(), 1);
    assert_eq!(node.status(HIGH), Some(InHandshaking));
    assert_eq!(node.counters().feedback_stale, 1);
}
