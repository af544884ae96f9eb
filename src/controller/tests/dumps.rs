//! Dumps of the peer file by a controller: when, how often, and what a failing one leaves to be done.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;

/// More rounds of file work than any dump here takes.
pub(super) const ROUNDS: usize = 1000;

/// A config with a peer file of this content.
pub(super) fn file(folder: &TempDir, content: &str, config: NetworkConfig) -> NetworkConfig {
    let path = path(folder);
    fs::write(&path, content).unwrap();
    NetworkConfig {
        peers_file: Some(path),
        peer_file_dump_interval: seconds(60),
        ..config
    }
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("peers.json")
}

/// Returns once no file operation is under way any more: until then the paused clock does not go on by itself.
pub(super) async fn other_work() {
    tokio::time::sleep(millis(1)).await;
}

/// Runs a test on a paused clock and with one thread for file work, so that [`hold_files`] holds up all of it.
pub(super) fn with_one_file_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(1)
        .build();
    runtime.unwrap().block_on(test);
}

/// No file work is done until this is dropped.
#[must_use]
pub(super) fn hold_files() -> mpsc::Sender<()> {
    let (gate, closed) = mpsc::channel();
    drop(tokio::task::spawn_blocking(move || closed.recv().is_ok()));
    gate
}

impl Node {
    /// Polls whenever the task is woken, and lets file operations finish between, until `is_done`.
    pub(super) async fn until(&mut self, is_done: impl Fn(&Self) -> bool) {
        for _ in 0..ROUNDS {
            while self.is_woken() {
                if let Poll::Ready(Some(event)) = self.poll() {
                    self.events.push_back(event.into());
                }
            }
            if is_done(self) {
                return;
            }
            other_work().await;
        }
        panic!("it never came to it: {:?}", self.stats());
    }

    fn is_woken(&self) -> bool {
        self.net.is_woken()
    }

    pub(super) fn dumps(&self) -> (u64, u64) {
        (self.counters().dumps_written, self.counters().dumps_failed)
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_change_there_is_no_timer_and_no_write() {
    let folder = TempDir::new().unwrap();
    let content = r#"[{"ip":"60.1.0.1"},   {"ip":"60.2.0.1","failures_in_row":3}]"#;
    let mut node = Node::knowing(file(&folder, content, passive()), &[]).await;
    for _ in 0..3 {
        advance(seconds(100_000)).await;
        node.rests();
    }
    node.close().await.unwrap();
    assert_eq!(node.dumps(), (0, 0));
    assert_eq!(fs::read_to_string(path(&folder)).unwrap(), content);
    assert_eq!(node.stats().last_dump, None);
}

#[tokio::test(start_paused = true)]
async fn the_first_change_arms_the_timer() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, "[]", passive()), &[]).await;
    node.ban(LOW);
    advance(seconds(30)).await;
    node.ban(HIGH);
    advance(seconds(30) - millis(2)).await;
    node.rests();
    advance(millis(3)).await;
    node.until(|node| node.dumps() == (1, 0)).await;
    let content = fs::read_to_string(path(&folder)).unwrap();
    assert!(content.contains(LOW) && content.contains(HIGH), "{content}");
    assert!(node.stats().last_dump >= after(seconds(60)));
    assert_eq!(node.stats().last_dump_error, None);
    advance(seconds(100_000)).await;
    node.rests();
}

#[tokio::test(start_paused = true)]
async fn there_is_at_most_one_dump_an_interval() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, "[]", passive()), &[]).await;
    node.ban(LOW);
    advance(seconds(61)).await;
    node.until(|node| node.dumps() == (1, 0)).await;
    for _ in 0..5 {
        node.ban(LOW);
        advance(seconds(11)).await;
    }
    node.settle();
    assert_eq!(node.dumps(), (1, 0));
    advance(seconds(6)).await;
    node.until(|node| node.dumps() == (2, 0)).await;
}

#[test]
fn a_change_during_a_dump_is_dumped_an_interval_later() {
    with_one_file_thread(async {
        let folder = TempDir::new().unwrap();
        let mut node = Node::knowing(file(&folder, "[]", passive()), &[]).await;
        node.ban(LOW);
        advance(seconds(61)).await;
        let gate = hold_files();
        assert!(node.poll().is_pending());
        drop(node.feedback_peer_banned(ip(HIGH)));
        drop(gate);
        node.until(|node| node.dumps() == (1, 0)).await;
        advance(seconds(61)).await;
        node.until(|node| node.dumps() == (2, 0)).await;
        assert!(fs::read_to_string(path(&folder)).unwrap().contains(HIGH));
    });
}

#[tokio::test(start_paused = true)]
async fn a_dump_that_fails_is_shown_and_tried_again_an_interval_later() {
    let folder = TempDir::new().unwrap();
    let parent = folder.path().join("inner");
    fs::create_dir(&parent).unwrap();
    let mut config = file(&folder, "[]", passive());
    fs::write(parent.join("peers.json"), "[]").unwrap();
    config.peers_file = Some(parent.join("peers.json"));
    let mut node = Node::knowing(config, &[]).await;
    fs::remove_dir_all(&parent).unwrap();
    node.ban(LOW);
    for failed in 1..=2 {
        advance(seconds(61)).await;
        node.until(|node| node.dumps() == (0, failed)).await;
        assert!(
            node.stats()
                .last_dump_error
                .is_some_and(|error| error.contains("inner"))
        );
        assert!(node.stats().last_dump.is_some());
    }
    fs::create_dir(&parent).unwrap();
    advance(seconds(61)).await;
    node.until(|node| node.dumps() == (1, 2)).await;
    assert_eq!(node.stats().last_dump_error, None);
    assert!(fs::read_to_string(parent.join("peers.json")).unwrap().contains(LOW));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_only_passes_through_is_no_change() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, r#"[{"ip":"60.1.0.1"}]"#, passive()), &[]).await;
    for _ in 0..3 {
        let _socket = node.admits(LOW);
        node.end(LOW);
        advance(seconds(1000)).await;
        node.settle();
    }
    assert_eq!(node.dumps(), (0, 0));
    let _socket = node.admits(LOW);
    node.alive(LOW);
    advance(seconds(61)).await;
    node.until(|node| node.dumps() == (1, 0)).await;
    node.end(LOW);
    advance(seconds(61)).await;
    node.until(|node| node.dumps() == (2, 0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_this_host_could_not_make_is_no_change() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::knowing(file(&folder, r#"[{"ip":"60.1.0.1"}]"#, wanting(1)), &[]).await;
    node.dial_err(LOW, ErrorKind::AddrInUse);
    node.close().await.unwrap();
    assert_eq!(node.dumps(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_file_reloads_into_the_same_list() {
    let folder = TempDir::new().unwrap();
    let config = file(&folder, r#"[{"ip":"60.9.0.1","note":"kept"}]"#, wanting(1));
    let mut node = Node::knowing(config.clone(), &[]).await;
    node.dial_ok("60.9.0.1");
    node.alive("60.9.0.1");
    advance(seconds(3)).await;
    let _socket = node.admits("60.2.0.1");
    node.alive("60.2.0.1");
    let _failing = node.admits("60.3.0.1");
    node.fail("60.3.0.1");
    node.ban("60.4.0.1");
    node.list(&["2001:db8::1"]);
    node.close().await.unwrap();

    let text = fs::read_to_string(path(&folder)).unwrap();
    assert!(text.contains("kept"), "unknown fields survive: {text}");
    let again = Node::new(config).await;
    let idle = |peer: &Peer| {
        let mut peer = peer.clone();
        if peer.status != PeerStatus::Banned {
            peer.status = PeerStatus::Idle;
        }
        peer
    };
    let sorted = |node: &Node| {
        let mut peers: Vec<_> = node.peers().map(idle).collect();
        peers.sort_by_key(|peer| peer.ip);
        peers
    };
    assert_eq!(sorted(&again), sorted(&node));
    assert_eq!(again.peers().count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_loaded_starts_nothing_and_is_left_alone() {
    for content in ["", "[", r#"[{"ip":"nowhere"}]"#] {
        let folder = TempDir::new().unwrap();
        let (transport, world) = memory();
        let result = NetworkController::with_transport(file(&folder, content, config()), transport).await;
        assert!(matches!(result, Err(NetworkError::PeerFile { path: at, .. }) if at == path(&folder)));
        assert!(!world.is_listening());
        assert_eq!(fs::read_to_string(path(&folder)).unwrap(), content);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_file_nothing_is_ever_dumped() {
    let mut node = Node::knowing(passive(), &[]).await;
    node.ban(LOW);
    advance(seconds(100_000)).await;
    node.rests();
    node.close().await.unwrap();
    assert_eq!((node.dumps(), node.stats().last_dump), ((0, 0), None));
}

#[test]
fn events_come_while_a_dump_is_in_flight() {
    with_one_file_thread(async {
        let folder = TempDir::new().unwrap();
        let mut node = Node::knowing(file(&folder, "[]", wanting(1)), &[]).await;
        node.list(&[LOW]);
        advance(seconds(4)).await;
        node.settle();
        node.world.dial_ok(ip(LOW));
        drop(node.event());
        node.alive(LOW);
        advance(seconds(61)).await;
        let gate = hold_files();
        assert!(node.poll().is_pending());
        let _probe = node.connects_from("220.1.0.1:9".parse().unwrap(), US);
        assert!(node.poll().is_ready(), "with the dump under way");
        drop(gate);
        node.until(|node| node.dumps() == (1, 0)).await;
    });
}
