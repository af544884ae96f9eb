use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use futures::FutureExt;

use super::super::lock::FileLock;
use super::super::{Disk, FileSystem, PeerFileError, StagedFile};
use super::replacing::Place;
use super::{Fault, FaultyDisk, set_fault, set_mounted};

async fn take(place: &Place) -> Result<FileLock, PeerFileError> {
    FileLock::take(&FaultyDisk, &place.target()).await
}

async fn locked(place: &Place) -> FileLock {
    take(place).await.expect("it is not locked")
}

#[track_caller]
fn assert_in_use(place: &Place) {
    let file = fs::File::open(place.target()).expect("opened");
    file.try_lock().expect_err("it is locked");
}

#[track_caller]
fn assert_free(place: &Place) {
    let file = fs::File::open(place.target()).expect("opened");
    file.try_lock().expect("it is not locked");
}

/// Replaces the file under this lock.
async fn replace(place: &Place, held: FileLock) -> (FileLock, Result<(), PeerFileError>) {
    let staged = StagedFile::create(FaultyDisk, &place.target(), held).await;
    let mut staged = staged.expect("begun");
    staged.write(&mut b"[]".to_vec(), true).await.expect("written");
    staged.commit().await
}

#[tokio::test(start_paused = true)]
async fn a_lock_excludes_another_one_until_its_last_clone_is_dropped() {
    let place = Place::new();
    let lock = locked(&place).await;
    let clone = lock.clone();
    drop(lock);
    let second = take(&place).await;
    assert!(matches!(second, Err(PeerFileError::InUse)), "{second:?}");
    drop(clone);
    locked(&place).await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_waited_for_two_seconds() {
    for (millis, is_taken) in [(1_900, true), (2_100, false)] {
        let place = Place::new();
        let lock = locked(&place).await;
        let (second, ()) = tokio::join!(take(&place), async {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            drop(lock);
        });
        assert_eq!(second.is_ok(), is_taken, "{millis}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_asked_for_by_name_until_it_is_of_the_file_that_has_the_name() {
    let place = Place::new();
    let lock = locked(&place).await;
    let (second, ()) = tokio::join!(take(&place), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        fs::write(place.path("new"), "[]").expect("written");
        fs::rename(place.path("new"), place.target()).expect("renamed");
    });
    assert!(second.expect("the new one is not locked").is_of(&place.target()));
    drop(lock);
}

#[tokio::test]
async fn the_lock_goes_along_when_the_file_is_replaced() {
    let place = Place::new();
    let mut lock = locked(&place).await;
    for _ in 0..3 {
        let (next, result) = replace(&place, lock).await;
        result.expect("replaced");
        lock = next;
        assert_in_use(&place);
    }
    drop(lock);
    assert_free(&place);
}

#[tokio::test]
async fn the_file_stays_locked_whatever_fails() {
    for is_mounted in [false, true] {
        for step in ["sync", "rename", "overwrite", "sync folder"] {
            let place = Place::new();
            set_mounted(is_mounted);
            let lock = locked(&place).await;
            set_fault(Fault::FailWith(step, 5));
            let (lock, result) = replace(&place, lock).await;
            assert_eq!(result.is_ok(), step == "overwrite" && !is_mounted, "{step}");
            assert_in_use(&place);
            set_fault(Fault::None);
            let (lock, result) = replace(&place, lock).await;
            result.expect("replaced");
            assert_in_use(&place);
            drop(lock);
            assert_free(&place);
        }
    }
}

#[tokio::test]
async fn a_file_that_was_replaced_is_locked_by_the_next_dump() {
    let place = Place::new();
    let lock = locked(&place).await;
    fs::write(place.path("other"), "[]").expect("written");
    fs::rename(place.path("other"), place.target()).expect("renamed");
    assert_free(&place);
    let (_lock, result) = replace(&place, lock).await;
    result.expect("replaced");
    assert_in_use(&place);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_another_one_has_replaced_and_locked_is_left_alone() {
    let place = Place::new();
    let lock = locked(&place).await;
    fs::remove_file(place.target()).expect("removed");
    fs::write(place.target(), "another one's").expect("written");
    let _other = locked(&place).await;
    let staged = StagedFile::create(FaultyDisk, &place.target(), lock).await;
    assert!(matches!(staged, Err(PeerFileError::InUse)), "{staged:?}");
    assert_eq!(fs::read_to_string(place.target()).expect("there"), "another one's");
}

#[tokio::test]
async fn where_no_locks_are_offered_a_second_controller_may_start() {
    let place = Place::new();
    set_fault(Fault::FailWith("lock", 95));
    let (first, second) = (locked(&place).await, locked(&place).await);
    assert!(!first.is_of(&place.target()) && !second.is_of(&place.target()));
    for lock in [first, second] {
        replace(&place, lock).await.1.expect("replaced");
    }
    assert_free(&place);
}

#[tokio::test]
async fn a_lock_that_keeps_readers_out_is_let_go() {
    let place = Place::new();
    let unreadable = place.path("unreadable");
    let lost = locked(&place).await.if_readable(&unreadable).await;
    assert_free(&place);
    assert!(!lost.is_of(&place.target()));
    let _kept = locked(&place).await.if_readable(&place.target()).await;
    assert_in_use(&place);
}

#[tokio::test]
async fn what_cannot_be_opened_cannot_be_locked() {
    let place = Place::new();
    for path in [place.path("missing"), place.path("")] {
        let lock = FileLock::take(&FaultyDisk, &path).await.expect("it is not locked");
        assert!(!lock.is_of(&path));
    }
}

#[test]
fn the_last_write_of_what_was_dropped_holds_the_lock_to_its_end() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(1)
        .build();
    runtime.expect("a runtime").block_on(async {
        for is_rename in [true, false] {
            let place = Place::new();
            fs::write(place.temporary(), "new").expect("written");
            let take = async |path: PathBuf| FileLock::take(&Disk, &path).await.expect("it is not locked");
            let (lock, next) = (take(place.target()).await, take(place.temporary()).await);
            let (gate, closed) = mpsc::channel::<()>();
            let held = tokio::task::spawn_blocking(move || closed.recv().is_ok());
            let (from, to) = (place.temporary(), place.target());
            if is_rename {
                assert!(Disk.rename(&from, &to, [lock, next]).now_or_never().is_none());
            } else {
                assert!(Disk.overwrite(&from, &to, lock).now_or_never().is_none());
            }
            assert_in_use(&place);
            drop(gate);
            held.await.expect("opened");
            tokio::task::spawn_blocking(|| ()).await.expect("it comes after");
            assert_eq!(fs::read_to_string(place.target()).expect("there"), "new");
            assert_free(&place);
        }
    });
}
