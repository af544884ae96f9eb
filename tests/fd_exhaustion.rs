//! A controller in a process that has as many files open as it may have.
#![cfg(target_os = "linux")]

#[path = "support/loopback.rs"]
mod loopback;
#[path = "support/peer_files.rs"]
mod peer_files;

use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use loopback::{Block, LIMIT, Node};
use network::{NetworkConfig, PeerStatus};
use peer_files::PeerFile;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

const NODE: u8 = 2;
const SHORT: Duration = Duration::from_millis(100);
/// Says to a process that it is to run a controller, and where.
const ROLE: &str = "NETWORK_TEST_FD_EXHAUSTION";
const WAITING: u8 = 10;

/// The limit of a process's files is the process's, so this happens in one of its own: this test once more.
#[test]
fn fd_exhaustion_pauses_only_accepting() {
    if let Ok(at) = std::env::var(ROLE) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.unwrap().block_on(run_out_of_files(at.parse().unwrap()));
    }
    let block = Block::new();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fd_exhaustion_pauses_only_accepting", "--nocapture"])
        .env(ROLE, block.addr(NODE).to_string())
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
    let ended = child.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&said));
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
