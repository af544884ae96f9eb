use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::path::Path;

use tempfile::TempDir;
use tokio::time::advance;
use tokio_test::task::{self, Spawn};
use tokio_test::{assert_pending, assert_ready};

use super::*;
use crate::peer::{Peer, PeerRecord};
use crate::peer_file::tests::{Fault, FaultyDisk, is_stopped, set_fault, take_steps, take_writes};
use crate::peer_file::{encode_head, encode_record, encode_tail, load};

const INTERVAL: Duration = Duration::from_secs(300);
const MOMENT: Duration = Duration::from_millis(1);

type Task = Spawn<Pin<Box<DumpInterval<FaultyDisk>>>>;

static_assertions::assert_impl_all!(DumpInterval: Send, Sync);

fn idle(path: impl Into<PathBuf>) -> Task {
    task::spawn(Box::pin(DumpInterval::with_files(FaultyDisk, path.into(), INTERVAL)))
}

/// A dump into a folder of its own, polled once.
fn parked() -> (TempDir, PathBuf, Task) {
    set_fault(Fault::None);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("peers.json");
    let mut dump = idle(&path);
    assert_pending!(dump.poll_next());
    (folder, path, dump)
}

fn has_timer(dump: &Task) -> bool {
    matches!(dump.state, State::Armed { timer: Some(_), .. })
}

fn is_armed(dump: &Task) -> bool {
    matches!(dump.state, State::Armed { .. })
}

#[track_caller]
fn assert_due(dump: &mut Task) {
    assert!(matches!(assert_ready!(dump.poll_next()), Some(DumpEvent::Due)));
}

#[track_caller]
fn assert_idle(dump: &mut Task) {
    assert!(!is_armed(dump) && !dump.is_dumping());
    assert!(!has_timer(dump), "nothing to wait for");
    assert_eq!(dump.buffer.capacity(), 0, "nothing is held");
    assert_pending!(dump.poll_next());
    assert!(!has_timer(dump), "nothing to wait for");
}

async fn next(dump: &mut Task) -> DumpEvent {
    let event = poll_fn(|cx| dump.as_mut().poll_next(cx)).await;
    event.expect("it never ends")
}

/// How a dump went.
struct Dumped {
    rooms: usize,
    result: Result<(), PeerFileError>,
}

/// Fills what is due with `count` peers.
async fn fill(dump: &mut Task, count: u32) -> Dumped {
    let (mut rooms, mut cursor) = (0, 0);
    loop {
        assert!(!has_timer(dump) && dump.is_dumping() && !is_armed(dump));
        match next(dump).await {
            DumpEvent::Due => panic!("one dump at a time"),
            DumpEvent::Done(result) => return Dumped { rooms, result },
            DumpEvent::Room => {
                rooms += 1;
                append(dump.as_mut(), &mut cursor, count);
            }
        }
    }
}

/// Appends as many peers as a poll may, and says so after the last.
fn append(mut dump: Pin<&mut DumpInterval<FaultyDisk>>, cursor: &mut u32, count: u32) {
    let room = dump.room();
    assert!(room.len() < CHUNK);
    for _ in 0..100 {
        if room.len() >= CHUNK {
            break;
        }
        if *cursor == 0 {
            encode_head(room);
        }
        if *cursor == count {
            encode_tail(room, count > 0);
            return dump.end_of_records();
        }
        let peer = Peer::new(Ipv4Addr::from_bits(0x0A00_0000 + *cursor).into());
        encode_record(room, *cursor == 0, PeerRecord::from(peer).as_stored());
        *cursor += 1;
    }
    assert_eq!(room.capacity(), CHUNK + OVERSHOOT, "the buffer does not grow");
}

async fn count(path: &Path) -> usize {
    load(path).await.expect("a whole file").len()
}

#[tokio::test(start_paused = true)]
async fn it_does_nothing_until_something_has_changed() {
    let (_folder, path, mut dump) = parked();
    advance(1_000 * INTERVAL).await;
    assert!(!dump.is_woken());
    assert_idle(&mut dump);
    assert!(!path.exists());
}

#[tokio::test(start_paused = true)]
async fn the_first_change_is_dumped_an_interval_later() {
    let (_folder, path, mut dump) = parked();
    dump.as_mut().arm();
    assert!(dump.is_woken(), "to start the timer");
    assert!(is_armed(&dump) && !dump.is_dumping());
    assert_pending!(dump.poll_next());
    advance(INTERVAL - MOMENT).await;
    assert!(!dump.is_woken());
    assert_pending!(dump.poll_next());
    advance(2 * MOMENT).await;
    assert!(dump.is_woken());
    assert_due(&mut dump);

    let dumped = fill(&mut dump, 3).await;
    dumped.result.expect("dumped");
    assert_eq!(dumped.rooms, 1);
    assert_eq!(count(&path).await, 3);
    assert_idle(&mut dump);
}

#[tokio::test(start_paused = true)]
async fn later_changes_do_not_put_it_off() {
    let (_folder, _path, mut dump) = parked();
    dump.as_mut().arm();
    assert_pending!(dump.poll_next());
    advance(INTERVAL - MOMENT).await;
    dump.as_mut().arm();
    assert!(!dump.is_woken());
    assert_pending!(dump.poll_next());
    advance(2 * MOMENT).await;
    assert_due(&mut dump);
}

#[tokio::test(start_paused = true)]
async fn the_interval_begins_with_the_change_and_not_with_the_poll() {
    let (_folder, _path, mut dump) = parked();
    dump.as_mut().arm();
    advance(INTERVAL + MOMENT).await;
    assert_due(&mut dump);
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_in_a_long_pause_is_one_dump() {
    let (_folder, _path, mut dump) = parked();
    dump.as_mut().arm();
    assert_pending!(dump.poll_next());
    advance(100 * INTERVAL).await;
    assert_due(&mut dump);
    fill(&mut dump, 1).await.result.expect("dumped");
    assert_idle(&mut dump);
    dump.as_mut().arm();
    assert_pending!(dump.poll_next());
    advance(INTERVAL - MOMENT).await;
    assert!(!dump.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_change_during_a_dump_is_its_callers_to_remember() {
    let (_folder, _path, mut dump) = parked();
    dump.as_mut().dump_now();
    assert_due(&mut dump);
    dump.as_mut().arm();
    fill(&mut dump, 1).await.result.expect("dumped");
    assert_idle(&mut dump);
}

#[tokio::test(start_paused = true)]
async fn the_task_of_the_last_poll_is_woken() {
    let (_folder, _path, mut dump) = parked();
    let mut other = task::spawn(());
    let poll = other.enter(|cx, _| dump.as_mut().poll_next(cx));
    assert!(poll.is_pending());
    dump.as_mut().arm();
    assert!(other.is_woken());

    let poll = other.enter(|cx, _| dump.as_mut().poll_next(cx));
    assert!(poll.is_pending());
    dump.as_mut().dump_now();
    assert!(other.is_woken());
}

#[tokio::test(start_paused = true)]
async fn it_dumps_at_once_when_asked() {
    let (_folder, path, mut dump) = parked();
    for armed in [false, true] {
        if armed {
            dump.as_mut().arm();
            assert_pending!(dump.poll_next());
            assert!(has_timer(&dump));
        }
        dump.as_mut().dump_now();
        assert!(dump.is_woken());
        assert!(dump.is_dumping() && !is_armed(&dump) && !has_timer(&dump));
        assert_due(&mut dump);
        dump.as_mut().dump_now();
        fill(&mut dump, 2).await.result.expect("dumped");
        assert_idle(&mut dump);
        assert_eq!(count(&path).await, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_is_a_file_too() {
    let (_folder, path, mut dump) = parked();
    dump.as_mut().dump_now();
    assert_due(&mut dump);
    fill(&mut dump, 0).await.result.expect("dumped");
    assert_eq!(std::fs::read(&path).expect("there"), b"[]\n");
}

#[tokio::test(start_paused = true)]
async fn a_long_list_goes_through_a_bounded_buffer() {
    let (_folder, path, mut dump) = parked();
    dump.as_mut().dump_now();
    assert_due(&mut dump);
    let dumped = fill(&mut dump, 5_000).await;
    dumped.result.expect("dumped");
    assert!(dumped.rooms > 50, "a hundred records each: {}", dumped.rooms);
    assert_eq!(count(&path).await, 5_000);
    let bytes = usize::try_from(std::fs::metadata(&path).expect("there").len()).expect("small");
    let writes = take_writes();
    assert_eq!(writes.iter().sum::<usize>(), bytes);
    let (last, whole) = writes.split_last().expect("it was written");
    assert!(whole.len() > 3 && whole.iter().all(|len| *len == CHUNK), "{writes:?}");
    assert!(*last < CHUNK, "{writes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_record_larger_than_the_buffer_does_not_stay_in_memory() {
    let (_folder, path, mut dump) = parked();
    dump.as_mut().dump_now();
    assert_due(&mut dump);
    assert!(matches!(next(&mut dump).await, DumpEvent::Room));
    dump.as_mut().room().resize(20 * CHUNK, b' ');
    assert!(matches!(next(&mut dump).await, DumpEvent::Room));
    assert!(dump.buffer.is_empty() && dump.buffer.capacity() <= CHUNK + OVERSHOOT);
    dump.as_mut().room().extend_from_slice(b"[]\n");
    dump.as_mut().end_of_records();
    assert!(matches!(next(&mut dump).await, DumpEvent::Done(Ok(()))));
    assert_eq!(count(&path).await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_longest_interval_is_no_overflow() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dump = task::spawn(Box::pin(DumpInterval::with_files(
        FaultyDisk,
        folder.path().join("peers.json"),
        Duration::MAX,
    )));
    dump.as_mut().arm();
    assert_pending!(dump.poll_next());
    assert!(is_armed(&dump));
    advance(1_000 * INTERVAL).await;
    assert!(!dump.is_woken());
    assert_pending!(dump.poll_next());
    dump.as_mut().dump_now();
    assert_due(&mut dump);
    fill(&mut dump, 1).await.result.expect("dumped");
}

#[test]
fn it_can_be_armed_outside_of_a_runtime() {
    let mut dump = idle("peers.json");
    dump.as_mut().arm();
    assert!(is_armed(&dump));
    dump.as_mut().dump_now();
    assert!(dump.is_dumping());
    assert_due(&mut dump);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_gone_fails_the_dump_and_not_the_next() {
    let (folder, path, mut dump) = parked();
    std::fs::write(&path, "[]\n").expect("written");
    let aside = folder.path().with_extension("aside");
    std::fs::rename(folder.path(), &aside).expect("moved");
    dump.as_mut().dump_now();
    assert_due(&mut dump);
    let dumped = fill(&mut dump, 1).await;
    assert_eq!(dumped.rooms, 0);
    assert!(
        matches!(dumped.result, Err(PeerFileError::Write { step: "create", .. })),
        "{:?}",
        dumped.result
    );
    assert_idle(&mut dump);

    std::fs::rename(&aside, folder.path()).expect("moved back");
    assert_eq!(count(&path).await, 0, "the old one");
    dump.as_mut().arm();
    assert!(dump.is_woken());
    assert_pending!(dump.poll_next());
    advance(INTERVAL + MOMENT).await;
    assert!(dump.is_woken());
    assert_due(&mut dump);
    fill(&mut dump, 1).await.result.expect("dumped");
    assert_eq!(count(&path).await, 1);
}

#[tokio::test(start_paused = true)]
async fn whichever_step_fails_the_dump_is_over_and_the_next_succeeds() {
    let (folder, path, mut dump) = parked();
    std::fs::write(&path, "[]\n").expect("written");
    dump.as_mut().dump_now();
    assert_due(&mut dump);
    fill(&mut dump, 5_000).await.result.expect("dumped");
    let steps = take_steps();
    assert!(steps.len() > 8, "{steps:?}");
    for (index, step) in steps.iter().enumerate() {
        set_fault(Fault::Fail(index + 1));
        dump.as_mut().dump_now();
        assert_due(&mut dump);
        let result = fill(&mut dump, 5_000).await.result;
        assert!(
            matches!(&result, Err(PeerFileError::Write { step: failed, .. }) if failed == step),
            "{result:?}"
        );
        assert_idle(&mut dump);
        assert_eq!(count(&path).await, 5_000);

        set_fault(Fault::None);
        dump.as_mut().dump_now();
        assert_due(&mut dump);
        fill(&mut dump, 5_000).await.result.expect("dumped");
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dump_given_up_leaves_nothing() {
    let (folder, _path, mut dump) = parked();
    dump.as_mut().dump_now();
    assert_due(&mut dump);
    assert!(matches!(next(&mut dump).await, DumpEvent::Room));
    assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 1);
    drop(dump);
    assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0);
}

/// A folder with a whole file of `COUNT` peers, what a killed process left beside it, and a dump of as many others.
struct Crash {
    folder: TempDir,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Crash {
    /// More than a chunk.
    const COUNT: u32 = 1_500;

    async fn new() -> (Self, Vec<&'static str>) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut crash = Self {
            folder,
            old: Vec::new(),
            new: Vec::new(),
        };
        set_fault(Fault::None);
        crash.dump().await.result.expect("dumped");
        crash.new = std::fs::read(crash.path()).expect("there");
        crash.old = String::from_utf8(crash.new.clone())
            .expect("JSON")
            .replace("null", "\"2026-01-02T03:04:05Z\"")
            .into();
        crash.begin(Fault::None);
        crash.dump().await.result.expect("dumped");
        (crash, take_steps())
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("peers.json")
    }

    fn begin(&self, fault: Fault) {
        std::fs::write(self.path(), &self.old).expect("written");
        std::fs::write(self.folder.path().join("peers.json.tmp"), "[{\"ip\":").expect("written");
        set_fault(fault);
    }

    fn due(&self) -> Task {
        let mut dump = idle(self.path());
        dump.as_mut().dump_now();
        assert_due(&mut dump);
        dump
    }

    async fn dump(&self) -> Dumped {
        fill(&mut self.due(), Self::COUNT).await
    }

    /// Dumps until the fault stops it.
    async fn dump_until_stopped(&self) {
        let mut dump = self.due();
        tokio::select! {
            biased;
            dumped = fill(&mut dump, Self::COUNT) => panic!("it does not end: {:?}", dumped.result),
            () = async { while !is_stopped() { tokio::task::yield_now().await } } => {}
        }
    }

    /// Whole, one or the other, with one temporary file at most, which does not hinder the next dump.
    async fn check(&self, step: &str, is_new: bool) {
        let found = std::fs::read(self.path()).expect("there");
        assert!(
            found == if is_new { &self.new } else { &self.old }[..],
            "{step}: {} bytes",
            found.len()
        );
        assert_eq!(count(&self.path()).await, 1_500);
        assert!(
            std::fs::read_dir(self.folder.path()).expect("there").count() <= 2,
            "{step}"
        );

        set_fault(Fault::None);
        self.dump().await.result.expect(step);
        assert_eq!(std::fs::read(self.path()).expect("there"), self.new);
        assert_eq!(
            std::fs::read_dir(self.folder.path()).expect("there").count(),
            1,
            "{step}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_step_it_leaves_the_whole_old_file_or_the_whole_new_one() {
    let (crash, steps) = Crash::new().await;
    let renamed = steps.iter().position(|step| *step == "rename").expect("it is renamed");
    for (index, step) in steps.iter().enumerate() {
        let is_new = index > renamed;
        crash.begin(Fault::Stop(index + 1));
        crash.dump_until_stopped().await;
        crash.check(step, is_new).await;

        crash.begin(Fault::StopTorn(index + 1));
        crash.dump_until_stopped().await;
        crash.check(step, index >= renamed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn failing_at_any_step_even_halfway_it_leaves_the_whole_old_file_or_the_whole_new_one() {
    let (crash, steps) = Crash::new().await;
    let renamed = steps.iter().position(|step| *step == "rename").expect("it is renamed");
    for (index, step) in steps.iter().enumerate() {
        for (fault, is_new) in [
            (Fault::Fail(index + 1), index > renamed),
            (Fault::FailTorn(index + 1), index >= renamed),
        ] {
            crash.begin(fault);
            let result = crash.dump().await.result;
            assert!(
                matches!(&result, Err(PeerFileError::Write { step: failed, .. }) if failed == step),
                "{fault:?}, {step}: {result:?}"
            );
            crash.check(step, is_new).await;
        }
    }
}
