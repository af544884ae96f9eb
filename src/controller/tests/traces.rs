//! What is traced, and at which level.

use std::fmt::Write;
use std::sync::{Mutex, OnceLock};

use PeerStatus::InHandshaking;
use tempfile::TempDir;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Dispatch, Level, Metadata, Subscriber};

use super::dumps::file;
use super::*;

type Lines = Arc<Mutex<Vec<(Level, String)>>>;

/// Keeps the message of every event of this thread.
struct Keeper(Lines);

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "message" | "error") {
            write!(self.0, "{value:?} ").unwrap();
        }
    }
}

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "network"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let line = (*event.metadata().level(), message.0.trim_end().to_owned());
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn keep() -> (Lines, DefaultGuard) {
    // While there is one subscriber alone, `tracing` asks that of the thread which first comes by an event: other tests
    // have none, and the event would be off for all.
    static OTHER: OnceLock<Dispatch> = OnceLock::new();
    OTHER.get_or_init(|| Dispatch::new(Keeper(Lines::default())));
    let lines = Lines::default();
    let guard = set_default(Keeper(Arc::clone(&lines)));
    (lines, guard)
}

#[track_caller]
fn assert_traced(lines: &Lines, expected: &[(Level, &str)]) {
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    let lines: Vec<_> = lines.iter().map(|(level, line)| (*level, line.as_str())).collect();
    assert_eq!(lines, expected);
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_peers_is_traced_at_its_level() {
    let (lines, _guard) = keep();
    let mut node = Node::knowing(wanting(1), &[LOW]).await;
    node.dial_err(LOW, ErrorKind::ConnectionRefused);
    assert_traced(
        &lines,
        &[
            (Level::DEBUG, "60.1.0.1 Idle -> OutConnecting: dialed"),
            (
                Level::DEBUG,
                "60.1.0.1 OutConnecting -> Idle: the dial failed: connection refused",
            ),
        ],
    );
    let _socket = node.admits(HIGH);
    node.refuses(HIGH);
    node.alive(HIGH);
    node.ban(HIGH);
    node.unban(HIGH);
    node.list(&["61.1.0.1"]);
    assert_traced(
        &lines,
        &[
            (Level::DEBUG, "220.1.0.1 new -> InHandshaking: admitted"),
            (
                Level::TRACE,
                "220.1.0.1 refused: there is a connection with the peer already",
            ),
            (Level::INFO, "220.1.0.1 InHandshaking -> InAlive: reported alive"),
            (Level::INFO, "220.1.0.1 InAlive -> Banned: banned, reported by address"),
            (Level::INFO, "220.1.0.1 Banned -> Idle: the ban was lifted"),
            (Level::DEBUG, "220.1.0.1 Idle -> OutConnecting: dialed"),
            (Level::TRACE, "61.1.0.1 added"),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn faults_of_this_host_are_warnings() {
    let (lines, _guard) = keep();
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, "[]", wanting(1)), &[LOW]).await;
    node.dial_err(LOW, ErrorKind::OutOfMemory);
    node.world.accept_error(ErrorKind::OutOfMemory.into());
    node.no_event();
    folder.close().unwrap();
    node.close().await.unwrap_err();
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    let warnings: Vec<_> = lines.into_iter().filter(|(level, _)| *level == Level::WARN).collect();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert_eq!(
        warnings[0].1,
        "60.1.0.1 OutConnecting -> Idle: this host could not dial: out of memory"
    );
    assert!(
        warnings[1].1.starts_with("connections cannot be accepted"),
        "{warnings:?}"
    );
    assert!(
        warnings[2].1.starts_with("the peer file could not be dumped"),
        "{warnings:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_changes_says_the_same_meanwhile() {
    let (lines, _guard) = keep();
    let mut node = Node::knowing(passive(), &[]).await;
    let mut changes = node.changes(1);
    let _socket = node.admits(LOW);
    let told = changes.next().now_or_never().flatten().unwrap();
    assert_traced(&lines, &[(Level::DEBUG, &told.to_string())]);
    drop(changes);
    node.end(LOW);
    assert_eq!(lines.lock().unwrap().len(), 1, "without one, too");
    assert_eq!(node.stats().peers.get(InHandshaking), 0);
}
