//! A controller in a process that has as many files open as it may have.
//!
//! An executable of its own: the limit is the process's.
#![cfg(target_os = "linux")]

#[path = "support/child.rs"]
mod child;
#[path = "support/loopback.rs"]
mod loopback;
#[path = "support/peer_files.rs"]
mod peer_files;

use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use child::{block_on, child};
use loopback::{Block, LIMIT, Node};
use network::{NetworkConfig, PeerStatus};
use peer_files::PeerFile;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

const NODE: u8 = 2;
const SHORT: Duration = Duration::from_millis(100);
const WAITING: u8 = 10;

#[test]
fn fd_exhaustion_pauses_only_accepting() {
    // The child's role is the address at which it is to listen.
    if let Some(at) = child::role() {
        return block_on(run_out_of_files(at.to_str().unwrap().parse().unwrap()));
    }
    let block = Block::new();
    let at = block.addr(NODE).to_string();
    let child = child("fd_exhaustion_pauses_only_accepting", &[], at)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let mut waiting = Vec::new();
    while waiting.len() < usize::from(WAITING) {
        let host = 100 + u8::try_from(waiting.len()).unwrap();
        match loopback::connect_from(block.any_port(host), block.addr(NODE)) {
            Ok(stream) => waiting.push(stream),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && begin.elapsed() < LIMIT => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    }
    child::assert_passed(&child.wait_with_output().unwrap());
    drop(waiting);
}

async fn run_out_of_files(at: SocketAddr) {
    let file = PeerFile::holding("[]");
    let mut config = NetworkConfig::in_memory(at.port());
    config.listen_ip = at.ip();
    config.peers_file = Some(file.path.clone());
    config.peer_file_dump_interval = SHORT;
    lower_limit();
    let mut node = Node::new(config).await;
    let files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!files.is_empty());
    node.until(|node| node.net.stats().counters.accepts_out_of_files > 0)
        .await;

    let before = (processor_time(), node.net.stats().counters);
    let banned = [10, 0, 0, 1].into();
    node.net.feedback_peer_banned(banned).await;
    let seconds = 2;
    node.beside(tokio::time::sleep(Duration::from_secs(seconds))).await;
    let (spent, now) = (processor_time() - before.0, node.net.stats().counters);
    assert!(spent < Duration::from_millis(300 * seconds), "{spent:?}");
    assert!(
        now.accepts_out_of_files > before.1.accepts_out_of_files,
        "it goes on trying"
    );
    assert!(now.accepts_out_of_files < 50, "but not often");
    assert!(now.dumps_failed > before.1.dumps_failed, "{now:?}");
    assert_eq!((now.dumps_written, node.status(banned)), (0, Some(PeerStatus::Banned)));
    assert!(node.held.is_empty());

    drop(files);
    node.until(|node| node.held.len() == usize::from(WAITING)).await;
    node.until(|node| node.net.stats().counters.dumps_written > 0).await;
    assert_eq!(file.record(banned)["status"], "Banned");
}

/// The limit that this process has from now on is one that it soon reaches.
fn lower_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let lowered = Rlimit {
        current: Some(64),
        maximum,
    };
    setrlimit(Resource::Nofile, lowered).unwrap();
}

/// What this process has taken of its processors.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}
