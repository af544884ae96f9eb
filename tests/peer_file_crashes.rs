//! The peer file when its process is killed, its disk is full, or its folder cannot be written.
//!
//! An executable of its own, as its tests kill processes, limit them and mount file systems, in children of it.

#![cfg(target_os = "linux")]

#[path = "support/child.rs"]
mod child;
#[path = "support/peer_files.rs"]
mod peer_files;

use std::collections::HashSet;
use std::fs;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use child::{block_on, can, child};
use futures::Stream;
use network::{NetworkConfig, NetworkController, NetworkError, PeerStatus, Stats, peer_file};
use peer_files::PeerFile;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Few, with long notes: their file is written in several calls, and yet soon done.
const PEERS: u32 = 100;
const NOTE: usize = 700;
const KILLS: usize = 500;
/// Longer than any part takes; it also ends a child whose parent has died.
const PATIENCE: Duration = Duration::from_secs(120);
const INTERVAL: Duration = Duration::from_millis(1);

/// The peer file of a child, `None` in the parent.
fn part() -> Option<PathBuf> {
    child::role().map(PathBuf::from)
}

/// Lets a child play the part of this test to its end.
#[track_caller]
fn play(test: &str, launcher: &[&str], path: &Path) {
    child::assert_passed(&child(test, launcher, path).output().unwrap());
}

fn run(command: &str, arguments: &[&str]) {
    let output = Command::new(command).args(arguments).output().unwrap();
    assert!(output.status.success(), "{command} {arguments:?}: {output:?}");
}

fn peer(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x7F64_0000 + number).into()
}

/// A file of [`PEERS`] peers.
fn file() -> PeerFile {
    PeerFile::holding(contents())
}

fn contents() -> String {
    let note = "long ".repeat(NOTE / 5);
    let record = |number| format!("  {{\"ip\":\"{}\",\"note\":\"{note}\"}}", peer(number));
    format!("[\n{}\n]\n", (0..PEERS).map(record).collect::<Vec<_>>().join(",\n"))
}

/// A controller that dumps as soon as something has changed, and does nothing else.
async fn controller(path: &Path) -> NetworkController {
    let mut config = NetworkConfig::new(path, 0);
    // No other test listens here.
    config.listen_ip = Ipv4Addr::new(127, 101, 0, 1).into();
    config.target_outgoing_connections = 0;
    config.peer_file_dump_interval = INTERVAL;
    NetworkController::with_config(config).await.unwrap()
}

async fn ban(net: &mut NetworkController, number: u32) {
    net.feedback_peer_banned(peer(number)).await;
}

/// Polls until the counters say so.
async fn until(net: &mut NetworkController, is_so: impl Fn(&Stats) -> bool) {
    let polled = poll_fn(|cx| {
        let poll = Pin::new(&mut *net).poll_next(cx);
        assert!(poll.is_pending(), "nobody connects");
        if is_so(&net.stats()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    tokio::time::timeout(PATIENCE, polled).await.unwrap();
}

/// Lets a dump fail and fail again, while the old file stays whole.
async fn assert_dumps_fail(net: &mut NetworkController, path: &Path, words: &[&str]) {
    let before = (fs::read(path).unwrap(), net.stats().counters);
    until(net, |stats| stats.counters.dumps_failed >= before.1.dumps_failed + 3).await;
    let stats = net.stats();
    assert_eq!(stats.counters.dumps_written, before.1.dumps_written);
    let error = stats.last_dump_error.unwrap();
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert_eq!(fs::read(path).unwrap(), before.0, "the old file is whole");
    assert_eq!(temporaries(path), 0, "what failed is cleaned up");
}

/// It runs, and says that it will not be able to dump.
fn assert_warned(net: &NetworkController, words: &[&str]) {
    let stats = net.stats();
    assert_eq!((stats.last_dump, stats.counters.dumps_failed), (None, 0));
    let error = stats.last_dump_error.expect("a warning");
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert_eq!(stats.peers.total(), PEERS as usize);
}

async fn assert_next_dump_succeeds(net: &mut NetworkController) {
    let before = net.stats().counters.dumps_written;
    until(net, |stats| stats.counters.dumps_written > before).await;
    assert_eq!(net.stats().last_dump_error, None);
}

async fn assert_banned(path: &Path, number: u32) {
    let records = peer_file::load(path).await.unwrap();
    let record = records.iter().find(|record| record.peer.ip == peer(number)).unwrap();
    assert_eq!(record.peer.status, PeerStatus::Banned);
}

/// How many other files are in the folder of the peer file.
fn temporaries(path: &Path) -> usize {
    let names = fs::read_dir(path.parent().unwrap()).unwrap();
    let others = names.filter(|entry| entry.as_ref().unwrap().path() != path);
    others.count()
}

/// Ended whatever becomes of the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same numbers for one seed (xorshift, after Marsaglia).
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = RandomState::new().hash_one(0) | 1;
        println!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn a_killed_process_leaves_a_whole_file_with_every_peer() {
    const TEST: &str = "a_killed_process_leaves_a_whole_file_with_every_peer";
    if let Some(path) = part() {
        return block_on(dump_without_pause(&path));
    }
    let file = file();
    let peers: HashSet<IpAddr> = (0..PEERS).map(peer).collect();
    let mut random = Random::new();
    let (mut left_behind, mut contents) = (0, HashSet::new());
    for round in 0..KILLS {
        let mut child = Killed(child(TEST, &[], &file.path).stdout(Stdio::piped()).spawn().unwrap());
        await_line(&mut child, "dumping");
        thread::sleep(Duration::from_micros(random.below(6_000)));
        drop(child);

        let records = block_on(peer_file::load(&file.path));
        let records = records.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let found: HashSet<IpAddr> = records.iter().map(|record| record.peer.ip).collect();
        assert_eq!((records.len(), &found), (peers.len(), &peers), "round {round}");
        assert!(temporaries(&file.path) <= 1, "round {round}");
        left_behind += temporaries(&file.path);
        contents.insert(file.bytes());
    }
    assert!(
        left_behind > KILLS / 20,
        "only {left_behind} were killed in the middle of it"
    );
    assert!(contents.len() > KILLS / 2, "it did dump: {} times", contents.len());
}

fn await_line(child: &mut Killed, wanted: &str) {
    let output = child.0.stdout.as_mut().unwrap();
    let mut lines = BufReader::new(output).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with(wanted)), "it ended before it dumped");
}

async fn dump_without_pause(path: &Path) {
    let mut net = controller(path).await;
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < PATIENCE {
        number = (number + 1) % PEERS;
        ban(&mut net, number).await;
        net.feedback_peer_unbanned(peer(number)).await;
        let before = net.stats().counters.dumps_written;
        until(&mut net, |stats| stats.counters.dumps_written > before).await;
        if before == 0 {
            println!("dumping");
        }
    }
}

#[test]
fn a_full_disk_fails_the_dump_and_loses_nothing() {
    const TEST: &str = "a_full_disk_fails_the_dump_and_loses_nothing";
    if let Some(path) = part() {
        return block_on(dump_beyond_the_limit(&path));
    }
    // A write over the limit is an error only if the signal is ignored.
    play(TEST, &["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""], &file().path);
}

fn limit_files_to(bytes: u64) {
    let limits = Rlimit {
        current: Some(bytes),
        ..getrlimit(Resource::Fsize)
    };
    setrlimit(Resource::Fsize, limits).unwrap();
}

async fn dump_beyond_the_limit(path: &Path) {
    let mut net = controller(path).await;
    let limits = getrlimit(Resource::Fsize);
    for limit in [0, 4096, 65_536, 70_000] {
        limit_files_to(limit);
        ban(&mut net, 1).await;
        assert_dumps_fail(&mut net, path, &["cannot write", "peers.json.tmp", "File too large"]).await;
        setrlimit(Resource::Fsize, limits).unwrap();
        assert_next_dump_succeeds(&mut net).await;
        assert_banned(path, 1).await;
        net.feedback_peer_unbanned(peer(1)).await;
        assert_next_dump_succeeds(&mut net).await;
    }
    limit_files_to(65_536);
    ban(&mut net, 2).await;
    for _ in 0..2 {
        let error = net.close().await.unwrap_err();
        assert!(
            matches!(&error, NetworkError::PeerFile { path: at, .. } if at == path),
            "{error}"
        );
        assert!(error.to_string().contains("File too large"), "{error}");
        assert_eq!(temporaries(path), 0);
    }
    setrlimit(Resource::Fsize, limits).unwrap();
    net.close().await.unwrap();
    assert_banned(path, 2).await;
}

#[test]
fn a_file_system_that_is_full_or_read_only_fails_the_dump_and_loses_nothing() {
    const TEST: &str = "a_file_system_that_is_full_or_read_only_fails_the_dump_and_loses_nothing";
    const LAUNCHER: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];
    if let Some(path) = part() {
        return block_on(dump_where_nothing_can_be_written(&path));
    }
    if can(&LAUNCHER) {
        play(TEST, &LAUNCHER, &file().path);
    }
}

async fn dump_where_nothing_can_be_written(path: &Path) {
    let folder = path.parent().unwrap().to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=512k", "tmpfs", folder]);
    fs::create_dir(Path::new(folder).join("inner")).unwrap();
    let path = Path::new(folder).join("inner/peers.json");
    fs::write(&path, contents()).unwrap();
    let mut net = controller(&path).await;

    // All but a few pages are taken, and then all.
    for free in [2, 0] {
        let ballast = Path::new(folder).join("ballast");
        // Fails when there is no more room.
        let _ = fs::write(&ballast, vec![b' '; 512 * 1024]);
        let taken = fs::metadata(&ballast).unwrap().len();
        fs::File::options()
            .write(true)
            .open(&ballast)
            .unwrap()
            .set_len(taken - free * 4096)
            .unwrap();
        ban(&mut net, 1).await;
        assert_dumps_fail(&mut net, &path, &["cannot ", "peers.json.tmp", "No space left"]).await;
        fs::remove_file(&ballast).unwrap();
        assert_next_dump_succeeds(&mut net).await;
        assert_banned(&path, 1).await;
        net.feedback_peer_unbanned(peer(1)).await;
        assert_next_dump_succeeds(&mut net).await;
    }

    run("mount", &["-o", "remount,ro", folder]);
    ban(&mut net, 2).await;
    assert_dumps_fail(
        &mut net,
        &path,
        &["cannot create", "peers.json.tmp", "Read-only file system"],
    )
    .await;
    net.close().await.unwrap_err();
    run("mount", &["-o", "remount,rw", folder]);
    net.close().await.unwrap();
    assert_banned(&path, 2).await;

    run("mount", &["-o", "remount,ro", folder]);
    let mut net = controller(&path).await;
    assert_warned(&net, &["cannot create", "peers.json.tmp", "Read-only file system"]);
    net.close().await.expect("nothing has changed");
}

#[test]
fn a_read_only_folder_fails_the_dump_and_loses_nothing() {
    const TEST: &str = "a_read_only_folder_fails_the_dump_and_loses_nothing";
    // Root may write everywhere, unless it gives that up.
    const LAUNCHER: [&str; 3] = [
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search",
        "--inh-caps=-all",
    ];
    if let Some(path) = part() {
        return block_on(dump_where_it_is_forbidden(&path));
    }
    let file = file();
    let folder = file.folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
    let is_bound = fs::write(folder.join("probe"), "").is_err();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    if is_bound {
        play(TEST, &[], &file.path);
    } else if can(&LAUNCHER) {
        fs::remove_file(folder.join("probe")).unwrap();
        play(TEST, &LAUNCHER, &file.path);
    }
}

async fn dump_where_it_is_forbidden(path: &Path) {
    let folder = path.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
    let mut net = controller(path).await;
    assert_warned(&net, &["cannot create", "peers.json.tmp", "Permission denied"]);
    ban(&mut net, 1).await;
    assert_dumps_fail(
        &mut net,
        path,
        &["cannot create", "peers.json.tmp", "Permission denied"],
    )
    .await;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    assert_next_dump_succeeds(&mut net).await;
    assert_banned(path, 1).await;
}

#[test]
fn a_missing_folder_fails_the_dump_until_it_is_back() {
    let file = file();
    block_on(async {
        let mut net = controller(&file.path).await;
        ban(&mut net, 1).await;
        assert_next_dump_succeeds(&mut net).await;
        fs::remove_dir_all(file.folder.path()).unwrap();
        ban(&mut net, 2).await;
        until(&mut net, |stats| stats.counters.dumps_failed >= 3).await;
        let error = net.stats().last_dump_error.unwrap();
        assert!(
            error.contains("cannot create") && error.contains("No such file"),
            "{error}"
        );
        fs::create_dir(file.folder.path()).unwrap();
        assert_next_dump_succeeds(&mut net).await;
        assert_banned(&file.path, 1).await;
        assert_banned(&file.path, 2).await;
        assert_eq!(temporaries(&file.path), 0);
    });
}

#[test]
fn a_leftover_of_another_user_is_removed() {
    const TEST: &str = "a_leftover_of_another_user_is_removed";
    // A file that root has written with root's permissions, and a node that does not run as root.
    const LAUNCHER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if let Some(path) = part() {
        return block_on(async {
            let leftover = path.with_extension("json.tmp");
            fs::File::open(&leftover).expect_err("it may not be read");
            let mut net = controller(&path).await;
            ban(&mut net, 1).await;
            assert_next_dump_succeeds(&mut net).await;
            assert_banned(&path, 1).await;
            assert_eq!(temporaries(&path), 0);
        });
    }
    let file = file();
    let leftover = file.path.with_extension("json.tmp");
    fs::write(&leftover, "half a list").unwrap();
    fs::set_permissions(&leftover, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(file.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    if can(&LAUNCHER) {
        play(TEST, &LAUNCHER, &file.path);
    }
}

#[test]
fn a_file_that_is_mounted_by_itself_is_written_in_place() {
    const TEST: &str = "a_file_that_is_mounted_by_itself_is_written_in_place";
    const LAUNCHER: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];
    if let Some(path) = part() {
        return block_on(async {
            let outside = path.with_extension("outside");
            fs::rename(&path, &outside).unwrap();
            fs::write(&path, "").unwrap();
            run("mount", &["--bind", outside.to_str().unwrap(), path.to_str().unwrap()]);
            let mut net = controller(&path).await;
            ban(&mut net, 1).await;
            assert_next_dump_succeeds(&mut net).await;
            net.close().await.unwrap();
            assert_banned(&path, 1).await;
            assert_banned(&outside, 1).await;
            assert_eq!(temporaries(&path), 1, "the one outside");
        });
    }
    if can(&LAUNCHER) {
        play(TEST, &LAUNCHER, &file().path);
    }
}

#[test]
fn a_file_that_is_mounted_by_itself_and_read_only_is_found_at_the_start() {
    const TEST: &str = "a_file_that_is_mounted_by_itself_and_read_only_is_found_at_the_start";
    const LAUNCHER: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];
    if let Some(path) = part() {
        return block_on(async {
            let at = path.to_str().unwrap();
            run("mount", &["--bind", at, at]);
            run("mount", &["-o", "remount,bind,ro", at]);
            let mut net = controller(&path).await;
            assert_warned(&net, &["cannot overwrite", "peers.json", "Read-only file system"]);
            assert_eq!(temporaries(&path), 0);
            ban(&mut net, 1).await;
            until(&mut net, |stats| stats.counters.dumps_failed > 0).await;
        });
    }
    if can(&LAUNCHER) {
        play(TEST, &LAUNCHER, &file().path);
    }
}

#[test]
fn a_file_belongs_to_one_process_until_that_dies() {
    const TEST: &str = "a_file_belongs_to_one_process_until_that_dies";
    if let Some(path) = part() {
        return block_on(dump_without_pause(&path));
    }
    let file = file();
    let mut child = Killed(child(TEST, &[], &file.path).stdout(Stdio::piped()).spawn().unwrap());
    await_line(&mut child, "dumping");
    block_on(async {
        let mut config = NetworkConfig::new(&file.path, 0);
        config.listen_ip = Ipv4Addr::new(127, 101, 0, 2).into();
        let error = NetworkController::with_config(config).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("peers.json") && text.contains("another controller"),
            "{text}"
        );
        drop(child);
        drop(controller(&file.path).await);
    });
}
