//! What it costs to write and to read a peer file of 10 thousand to 1 million records, beside serde_json and chrono on
//! their own.
//!
//! ```text
//! cargo bench --features internals --bench peer_file             all sizes
//! cargo bench --features internals --bench peer_file -- 10000    some of them
//! ```
//!
//! What counts is ratios within one run, as machines differ and are shared. The contenders of a row take turns, round by
//! round; a ratio is the median of the rounds' ratios and a time the median of the rounds' times.
//!
//! How a row stays fair:
//! - Both sides have the same peers: what a node that ran for months knows, with times to the nanosecond, as the clock
//!   gives them. The baseline has them ready in a `Vec` of plain structs with serde's derive; we take them from the peer
//!   table, slot by slot.
//! - Both write the same fields; that the bytes are the same is asserted before anything is measured.
//! - A dump of either side ends with the content synced, the file renamed and the folder synced.
//!
//! The time of a poll is the thread's on a processor, of a whole controller that dumps its file, the longest of all
//! polls of a dump, and of these the median. Peaks are those of the heap, beyond what is held when the work begins. The
//! counting allocator makes each allocation of both sides a few nanoseconds slower.
//!
//! Without `--bench`, as `cargo test --all-targets` starts it, one round of a thousand shows that it still works.

#[path = "peer_file/plain.rs"]
mod plain;
#[path = "peer_file/report.rs"]
mod report;

use std::fs::File;
use std::future::poll_fn;
use std::hint::black_box;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{Sink, Stream};
use network::internals::{self, Now, PeerTable};
use network::peer_file::PeerRecord;
use network::{NetworkConfig, NetworkController, Peer, PeerStatus};
use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::plain::Plain;
use crate::report::{GOAL_SIZE, Limit, Row, print_count, print_head, print_time};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const SIZES: [usize; 3] = [10_000, 100_000, GOAL_SIZE];
const ROUNDS: usize = 9;

fn main() {
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let chosen: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if is_bench { &SIZES[..] } else { &[1_000] };
    print_head();
    for &size in sizes {
        if chosen.is_empty() || chosen.contains(&size) {
            Bench::new(size, if is_bench { ROUNDS } else { 1 }).run();
        }
    }
    idle_tick();
}

/// Both contenders at one size.
struct Bench {
    size: usize,
    rounds: usize,
    table: PeerTable,
    plain: Vec<Plain>,
    runtime: Runtime,
    folder: TempDir,
}

impl Bench {
    fn new(size: usize, rounds: usize) -> Self {
        let records = records(size);
        let plain = records.iter().map(Plain::of).collect();
        Self {
            size,
            rounds,
            table: table(records),
            plain,
            runtime: runtime(false),
            folder: TempDir::new().expect("a folder"),
        }
    }

    fn run(&self) {
        let theirs = serde_json::to_vec(&self.plain).expect("plain records");
        let mut ours = Vec::with_capacity(theirs.len() + 4 * self.size);
        internals::encode_table(&self.table, |chunk| ours.append(chunk));
        let in_lines = String::from_utf8(theirs.clone())
            .expect("JSON")
            .replace("},{", "},\n  {");
        let in_lines = format!("[\n  {}\n]\n", &in_lines[1..in_lines.len() - 1]);
        assert!(ours == in_lines.as_bytes(), "both write the same");

        self.encode();
        self.dump();
        self.peak();
        self.polls(&ours);
        self.load(&ours, &theirs);
    }

    fn encode(&self) {
        let ours = || {
            internals::encode_table(&self.table, |chunk| {
                black_box(&chunk);
                chunk.clear();
            });
        };
        let theirs = || drop(black_box(serde_json::to_vec(&self.plain).expect("plain records")));
        self.row("encode", Limit(0.45, "`to_vec`")).run(ours, theirs);
    }

    fn dump(&self) {
        let (ours, theirs) = (self.path("ours.json"), self.path("theirs.json"));
        self.row(
            "dump: encode, write, sync, rename, sync folder",
            Limit(0.8, "`to_vec` + the same"),
        )
        .run(|| self.dump_ours(&ours), || self.dump_theirs(&theirs));
    }

    fn peak(&self) {
        let ours = peak(|| self.dump_ours(&self.path("ours.json")));
        let theirs = peak(|| self.dump_theirs(&self.path("theirs.json")));
        report::print_bytes("peak heap of a dump", self.size, ours, theirs, 1 << 20);
    }

    /// How long the thread of a controller that dumps is at it in one poll at most.
    fn polls(&self, written: &[u8]) {
        let path = self.path("polled.json");
        std::fs::write(&path, written).expect("written");
        let mut polled = self.runtime.block_on(Polled::new(&path, self.size));
        let mut longest = [Vec::new(), Vec::new()];
        for _ in 0..self.rounds {
            longest[0].push(self.runtime.block_on(polled.dump()));
        }
        longest[1].push(self.runtime.block_on(polled.close()));
        let works = ["longest poll of a dump", "longest poll of a last dump, in `close()`"];
        for (work, mut times) in works.into_iter().zip(longest) {
            times.sort();
            print_time(work, self.size, times[times.len() / 2], Duration::from_millis(1));
        }
    }

    fn load(&self, ours: &[u8], theirs: &[u8]) {
        let parse = || internals::parse(ours).expect("a file");
        let plain = || {
            black_box::<Vec<Plain>>(serde_json::from_slice(theirs).expect("plain records"));
        };
        let read = || {
            black_box(parse());
        };
        let build = || {
            black_box(table(parse()));
        };
        let row = |work, limit| self.row(work, Limit(limit, "`from_slice`"));
        row("load into records", 1.0).run(read, plain);
        row("load, the table built", 2.5).run(build, plain);
    }

    fn row(&self, work: &'static str, limit: Limit) -> Row {
        Row {
            work,
            size: self.size,
            rounds: self.rounds,
            limit,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn dump_ours(&self, path: &Path) {
        self.runtime
            .block_on(internals::dump(&self.table, path))
            .expect("dumped");
    }

    fn dump_theirs(&self, path: &Path) {
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary).expect("created");
        file.write_all(&serde_json::to_vec(&self.plain).expect("plain records"))
            .expect("written");
        file.sync_all().expect("synced");
        std::fs::rename(&temporary, path).expect("renamed");
        File::open(self.folder.path())
            .expect("a folder")
            .sync_all()
            .expect("synced");
    }
}

/// A controller that dumps as soon as something has changed, polled by hand.
struct Polled {
    net: NetworkController,
    longest: Duration,
}

impl Polled {
    async fn new(path: &Path, size: usize) -> Self {
        let mut config = NetworkConfig::new(path, 0);
        config.listen_ip = IpAddr::V4(Ipv4Addr::new(127, 66, 0, 2));
        config.target_outgoing_connections = 0;
        config.max_idle_peers = size;
        config.max_banned_peers = size;
        config.peer_file_dump_interval = Duration::from_millis(1);
        let net = NetworkController::with_config(config).await.expect("a controller");
        Self {
            net,
            longest: Duration::ZERO,
        }
    }

    fn poll<R>(&mut self, poll: impl FnOnce(Pin<&mut NetworkController>) -> R) -> R {
        let before = thread_time();
        let result = poll(Pin::new(&mut self.net));
        self.longest = self.longest.max(thread_time() - before);
        result
    }

    fn change(&mut self) {
        self.longest = Duration::ZERO;
        let ip = IpAddr::V4(Ipv4Addr::new(60, 1, 0, 1));
        drop(self.net.feedback_peer_banned(ip));
        drop(self.net.feedback_peer_unbanned(ip));
    }

    async fn dump(&mut self) -> Duration {
        self.change();
        let before = self.net.stats().counters.dumps_written;
        poll_fn(|cx| {
            let poll = self.poll(|net| net.poll_next(cx));
            assert!(poll.is_pending(), "nobody connects");
            let is_over = self.net.stats().counters.dumps_written > before;
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.longest
    }

    async fn close(&mut self) -> Duration {
        self.change();
        let closed = poll_fn(|cx| self.poll(|net| net.poll_close(cx))).await;
        closed.expect("dumped");
        self.longest
    }
}

/// The processor's time that this thread has used: others that run meanwhile do not count.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it is not before its start")
}

/// The most bytes that `work` holds at one time.
fn peak(work: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    work();
    ALLOCATOR.peak_usage() - before
}

fn runtime(start_paused: bool) -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder
        .enable_all()
        .start_paused(start_paused)
        .build()
        .expect("a runtime")
}

fn table(records: Vec<PeerRecord>) -> PeerTable {
    let mut config = NetworkConfig::in_memory(4_000);
    config.max_idle_peers = records.len();
    config.max_banned_peers = records.len();
    let now = Now {
        utc: start(),
        since_start: Duration::ZERO,
    };
    let mut table = PeerTable::new(config, "[::]:4000".parse().expect("an address"), 7, now);
    table.load(now, records, &[]);
    table
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).expect("2026 is in range")
}

/// Of ten peers four were alive on our dials and failed since or before, three came in and failed, two never answered,
/// one was never tried; one of fifty is banned, and one of four has an IPv6 address.
fn records(size: usize) -> Vec<PeerRecord> {
    let mut random = 88_172_645_463_325_252_u64;
    // xorshift, after Marsaglia
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let record = |index: usize| {
        let number = u32::try_from(index).expect("few");
        let ip = if index % 4 == 3 {
            IpAddr::V6(Ipv6Addr::from_bits(
                (0x2001_0db8_u128 << 96) | (u128::from(next() >> 16) << 64) | u128::from(number),
            ))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(0x0100_0000 + number * 57))
        };
        let mut time = || {
            let ago = i64::try_from(next() % 5_000_000_000_000_000).expect("it is small");
            Some(start() - TimeDelta::nanoseconds(ago))
        };
        let mut peer = Peer::new(ip);
        match index % 10 {
            0..4 => (peer.last_alive, peer.last_alive_outgoing, peer.last_failure) = (time(), time(), time()),
            4..7 => (peer.last_alive, peer.last_failure) = (time(), time()),
            7..9 => (peer.last_failure, peer.failures_in_row) = (time(), 1 + number % 5),
            _ => {}
        }
        if index % 50 == 8 {
            peer.status = PeerStatus::Banned;
        }
        PeerRecord::from(peer)
    };
    (0..size).map(record).collect()
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A controller whose peers do not change sleeps through as many intervals as pass.
fn idle_tick() {
    const INTERVALS: u32 = 1_000;
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("peers.json");
    std::fs::write(&path, r#"[{"ip":"127.66.0.9"}]"#).expect("written");
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    runtime(true).block_on(async {
        let mut config = NetworkConfig::new(&path, 0);
        config.listen_ip = IpAddr::V4(Ipv4Addr::new(127, 66, 0, 1));
        config.target_outgoing_connections = 0;
        let interval = config.peer_file_dump_interval;
        let mut net = NetworkController::with_config(config).await.expect("a controller");
        let mut poll = || {
            let net = pin!(&mut net);
            assert!(matches!(net.poll_next(&mut Context::from_waker(&waker)), Poll::Pending));
        };
        poll();
        // What woke it so far belongs to its start.
        let before = wakes.0.load(Ordering::Relaxed);
        for _ in 0..INTERVALS {
            tokio::time::advance(interval).await;
        }
        let woken = wakes.0.load(Ordering::Relaxed) - before;
        print_count("wake-ups in 1,000 intervals without a change", woken, 0);
    });
}
