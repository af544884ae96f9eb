use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::lock::FileLock;
#[cfg(unix)]
use super::super::staged::lock_new;
use super::super::{PeerFileError, StagedFile, load};
use super::{Fault, FaultyDisk, set_fault, set_mounted, take_steps};

/// A folder with a peer file in it.
pub(super) struct Place {
    folder: TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        let place = Self::empty();
        fs::write(place.target(), "[]\n").expect("written");
        place
    }

    fn empty() -> Self {
        set_fault(Fault::None);
        set_mounted(false);
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn target(&self) -> PathBuf {
        self.path("peers.json")
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.path("peers.json.tmp")
    }

    #[track_caller]
    fn assert_only(&self, content: &str) {
        assert_eq!(fs::read_to_string(self.target()).expect("the target"), content);
        assert_eq!(names_in(self.folder.path()), ["peers.json"]);
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

async fn create(path: &Path) -> Result<StagedFile<FaultyDisk>, PeerFileError> {
    StagedFile::create(FaultyDisk, path, FileLock::default()).await
}

async fn replace(path: &Path) -> Result<(), PeerFileError> {
    let mut staged = create(path).await?;
    staged.write(&mut b"[".to_vec(), true).await?;
    staged.write(&mut b"{\"ip\":\"192.0.2.1\"}]".to_vec(), true).await?;
    staged.commit().await.1
}

const NEW: &str = "[{\"ip\":\"192.0.2.1\"}]";

/// The step that failed, and the whole message.
#[track_caller]
fn failed<T>(result: Result<T, PeerFileError>) -> (&'static str, String) {
    match result {
        Err(error @ PeerFileError::Write { step, .. }) => (step, error.to_string()),
        Err(error) => panic!("no error of writing: {error}"),
        Ok(_) => panic!("it succeeded"),
    }
}

#[test]
fn every_future_can_be_held_by_what_is_send_and_sync() {
    fn assert_send_sync<T: Send + Sync>(_: T) {}

    async fn all(mut staged: StagedFile) {
        assert_send_sync(staged.write(&mut Vec::new(), true));
        assert_send_sync(staged.commit());
    }

    assert_send_sync(load(Path::new("")));
    assert_send_sync(create(Path::new("")));
    let _ = all;
    static_assertions::assert_impl_all!(StagedFile: Send, Sync, Unpin);
    static_assertions::assert_impl_all!(PeerFileError: Send, Sync, std::error::Error);
}

#[tokio::test]
async fn the_content_is_on_the_disk_before_it_has_the_name_and_the_name_before_it_is_done() {
    let place = Place::new();
    replace(&place.target()).await.expect("replaced");
    let steps = [
        "create",
        "set permissions of",
        "write",
        "write",
        "sync",
        "rename",
        "sync folder",
    ];
    assert_eq!(take_steps(), steps);
    place.assert_only(NEW);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_made() {
    let place = Place::empty();
    replace(&place.target()).await.expect("made");
    place.assert_only(NEW);
}

// Its messages have Unix paths.
#[cfg(unix)]
#[tokio::test]
async fn the_target_is_whole_whichever_step_fails() {
    let place = Place::new();
    let steps = steps_with_a_leftover(&place).await;
    for (index, step) in steps.iter().enumerate() {
        fs::write(place.target(), "[]\n").expect("written");
        fs::write(place.temporary(), "left behind").expect("written");
        set_fault(Fault::Fail(index + 1));
        let (failed, message) = failed(replace(&place.target()).await);
        assert_eq!(failed, *step);
        assert!(
            message.starts_with(&format!("cannot {step} /")) && message.ends_with(": injected fault"),
            "{message}"
        );
        assert_old_or_new(&place, *step == "sync folder");
        assert_replaceable(&place).await;
    }
}

#[tokio::test]
async fn the_target_is_whole_in_whichever_step_it_is_given_up() {
    let place = Place::new();
    let steps = steps_with_a_leftover(&place).await;
    for (index, step) in steps.iter().enumerate() {
        fs::write(place.target(), "[]\n").expect("written");
        fs::write(place.temporary(), "left behind").expect("written");
        set_fault(Fault::Stall(index + 1));
        let target = place.target();
        let mut given_up = Box::pin(replace(&target));
        while take_steps_seen(&mut given_up).await <= index {}
        drop(given_up);
        assert_old_or_new(&place, *step == "sync folder");
        assert_replaceable(&place).await;
    }
}

async fn steps_with_a_leftover(place: &Place) -> Vec<&'static str> {
    fs::write(place.temporary(), "left behind").expect("written");
    set_fault(Fault::None);
    replace(&place.target()).await.expect("replaced");
    let steps = take_steps();
    assert_eq!(steps[..2], ["remove", "create"]);
    steps
}

/// Lets it go on for a while; answers with how many steps it has begun.
async fn take_steps_seen(work: &mut (impl Future<Output = Result<(), PeerFileError>> + Unpin)) -> usize {
    tokio::select! {
        biased;
        result = work => panic!("it does not end: {result:?}"),
        () = tokio::task::yield_now() => super::STEPS.with_borrow(Vec::len),
    }
}

#[track_caller]
fn assert_old_or_new(place: &Place, is_new: bool) {
    let content = fs::read_to_string(place.target()).expect("the target");
    assert_eq!(content, if is_new { NEW } else { "[]\n" });
    let names = names_in(place.folder.path());
    assert!(
        names == ["peers.json"] || names == ["peers.json", "peers.json.tmp"],
        "{names:?}"
    );
}

async fn assert_replaceable(place: &Place) {
    set_fault(Fault::None);
    replace(&place.target()).await.expect("replaced");
    place.assert_only(NEW);
}

#[tokio::test]
async fn what_is_dropped_half_written_leaves_nothing() {
    let place = Place::new();
    let mut staged = create(&place.target()).await.expect("begun");
    staged.write(&mut b"[".to_vec(), true).await.expect("written");
    staged
        .write(&mut b"{".to_vec(), true)
        .await
        .expect("the first is written");
    let beside = fs::read_to_string(place.temporary()).expect("beside the target");
    assert!(beside.starts_with('['), "{beside}");
    drop(staged);
    place.assert_only("[]\n");
}

// Elsewhere files are not told apart.
#[cfg(unix)]
#[tokio::test]
async fn a_name_that_another_file_has_taken_is_left_alone() {
    let place = Place::new();
    let staged = create(&place.target()).await.expect("begun");
    fs::rename(place.temporary(), place.path("elsewhere")).expect("renamed");
    fs::write(place.temporary(), "of another process").expect("written");
    drop(staged);
    assert_eq!(
        fs::read_to_string(place.temporary()).expect("still there"),
        "of another process"
    );
}

// By locks, which Windows has not.
#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn two_replacements_of_one_file_exclude_each_other() {
    let place = Place::new();
    for is_there in [true, false] {
        if !is_there {
            fs::remove_file(place.target()).expect("removed");
        }
        let mut first = create(&place.target()).await.expect("begun");
        first.write(&mut b"[]".to_vec(), true).await.expect("written");
        let second = create(&place.target()).await;
        if is_there {
            assert!(matches!(second, Err(PeerFileError::InUse)), "{second:?}");
        } else {
            let temporary = place.temporary().canonicalize().expect("there");
            let message = format!("cannot lock {}: another dump is writing it", temporary.display());
            assert_eq!(failed(second), ("lock", message));
        }
        first.commit().await.1.expect("the other one did no harm");
        place.assert_only("[]");
    }
    assert_replaceable(&place).await;
}

// Windows keeps a read-only file.
#[cfg(unix)]
#[tokio::test]
async fn what_a_killed_process_left_is_replaced() {
    let place = Place::new();
    fs::write(
        place.temporary(),
        "half of a longer list than the one that is written now",
    )
    .expect("written");
    let mut permissions = fs::metadata(place.temporary()).expect("there").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(place.temporary(), permissions).expect("set");
    assert_replaceable(&place).await;
}

#[tokio::test]
async fn what_is_no_file_is_neither_replaced_nor_removed() {
    let place = Place::new();
    fs::create_dir(place.temporary()).expect("made");
    let (step, message) = failed(replace(&place.target()).await);
    assert_eq!(step, "remove");
    assert!(message.contains("peers.json.tmp: "), "{message}");

    fs::create_dir(place.path("folder")).expect("made");
    let (step, message) = failed(replace(&place.path("folder")).await);
    assert_eq!(step, "inspect");
    assert!(
        message.ends_with("folder: a directory, pipe or device, not a regular file"),
        "{message}"
    );
    assert_eq!(
        names_in(place.folder.path()),
        ["folder", "peers.json", "peers.json.tmp"]
    );
}

// Its messages have Unix paths.
#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_is_none_is_an_error_of_the_first_step_that_needs_it() {
    let place = Place::new();
    assert_eq!(failed(replace(&place.target().join("peers.json")).await).0, "find");
    let (step, message) = failed(replace(&place.path("gone/peers.json")).await);
    assert_eq!(step, "create");
    assert!(message.contains("gone/peers.json.tmp: "), "{message}");
    place.assert_only("[]\n");
}

// Windows keeps a folder that has an open file.
#[cfg(unix)]
#[tokio::test]
async fn the_folder_may_go_while_the_content_is_written() {
    let place = Place::empty();
    let target = place.path("folder/peers.json");
    fs::create_dir(place.path("folder")).expect("made");
    let staged = create(&target).await.expect("begun");
    fs::remove_dir_all(place.path("folder")).expect("removed");
    let (step, message) = failed(staged.commit().await.1);
    assert_eq!(step, "rename");
    assert!(message.contains("folder/peers.json.tmp: "), "{message}");
}

#[tokio::test]
async fn a_relative_path_is_one_from_the_working_directory() {
    set_fault(Fault::None);
    let here = std::env::current_dir().expect("a working directory");
    let folder = tempfile::tempdir_in(&here).expect("a folder");
    let name = Path::new(folder.path().file_name().expect("a name")).join("peers.json");
    replace(&name).await.expect("made");
    assert_eq!(
        fs::read_to_string(folder.path().join("peers.json")).expect("the target"),
        NEW
    );
}

#[tokio::test]
async fn a_path_without_a_file_name_is_an_error() {
    set_fault(Fault::None);
    for path in ["", "/", "."] {
        let error = create(Path::new(path)).await.expect_err("no file");
        assert!(
            matches!(
                error,
                PeerFileError::Write {
                    step: "find" | "inspect",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_renamed_over_is_written_in_place() {
    let place = Place::new();
    let same = fs::File::open(place.target()).expect("opened");
    set_mounted(true);
    replace(&place.target()).await.expect("replaced");
    place.assert_only(NEW);
    assert_eq!(io::read_to_string(same).expect("read"), NEW, "it is the same file");
}

/// How many peers a load finds.
async fn loaded(place: &Place) -> usize {
    load(place.target()).await.expect("a whole file").len()
}

#[tokio::test]
async fn written_in_place_it_is_loaded_whole_whichever_step_fails_or_is_the_last() {
    let place = Place::new();
    set_mounted(true);
    let steps = steps_with_a_leftover(&place).await;
    let overwritten = steps.iter().position(|step| *step == "overwrite").expect("a step");
    for (index, step) in steps.iter().enumerate() {
        for (fault, is_torn) in [
            (Fault::Fail(index + 1), false),
            (Fault::FailTorn(index + 1), true),
            (Fault::Stop(index + 1), false),
            (Fault::StopTorn(index + 1), true),
        ] {
            if is_torn && *step == "rename" {
                continue; // It is not carried out anyway.
            }
            fs::write(place.target(), "[]\n").expect("written");
            fs::write(place.temporary(), "left behind").expect("written");
            set_fault(fault);
            run_until_stopped(&place).await;
            let is_new = index > overwritten || index == overwritten && is_torn;
            assert_eq!(loaded(&place).await, usize::from(is_new), "{fault:?}, {}", step);
            assert_replaceable(&place).await;
        }
    }
}

#[tokio::test]
async fn killed_again_after_it_was_cut_off_it_is_loaded_whole() {
    let place = Place::new();
    set_mounted(true);
    replace(&place.target()).await.expect("replaced");
    for index in 0..10 {
        for fault in [
            Fault::Fail(index + 1),
            Fault::Stop(index + 1),
            Fault::StopTorn(index + 1),
        ] {
            fs::write(place.target(), "").expect("written");
            fs::write(place.temporary(), NEW).expect("written");
            assert_eq!(loaded(&place).await, 1);
            set_fault(fault);
            run_until_stopped(&place).await;
            assert_eq!(loaded(&place).await, 1, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_temporary_file_is_not_loaded_unless_the_file_was_cut_off() {
    let place = Place::new();
    fs::write(place.temporary(), NEW).expect("written");
    assert_eq!(loaded(&place).await, 0, "the file is whole");
    fs::write(place.target(), "[{\"ip\":\"192.0.2.7").expect("written");
    load(place.target())
        .await
        .expect_err("it was cut off, but not while this was written");
    fs::write(place.target(), &NEW[..9]).expect("written");
    assert_eq!(loaded(&place).await, 1);
    fs::write(place.temporary(), &NEW[..12]).expect("written");
    load(place.target()).await.expect_err("neither is whole");
}

/// Replaces the file until that is done, has failed, or was stopped.
async fn run_until_stopped(place: &Place) {
    let target = place.target();
    tokio::select! {
        _ = replace(&target) => {}
        () = async { while !super::is_stopped() { tokio::task::yield_now().await } } => {}
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_file_system_does_not_offer_is_done_without() {
    const EPERM: i32 = 1;
    const EIO: i32 = 5;
    const EBADF: i32 = 9;
    const ENOLCK: i32 = 37;
    const EINVAL: i32 = 22;
    const EOPNOTSUPP: i32 = 95;
    for (step, code, is_done_without) in [
        ("sync folder", EINVAL, true),
        ("sync folder", EOPNOTSUPP, true),
        ("sync folder", EIO, false),
        ("sync folder", EPERM, false),
        ("set permissions of", EPERM, true),
        ("set permissions of", EOPNOTSUPP, true),
        ("lock", EINVAL, true),
        ("lock", EOPNOTSUPP, true),
        ("lock", ENOLCK, true),
        ("lock", EBADF, true),
        ("set permissions of", EIO, false),
        ("sync", EINVAL, false),
        ("rename", EPERM, false),
    ] {
        let place = Place::new();
        set_fault(Fault::FailWith(step, code));
        let result = replace(&place.target()).await;
        if is_done_without {
            result.expect(step);
            place.assert_only(NEW);
        } else {
            assert_eq!(failed(result).0, step);
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::tests::skip::skip;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o7777
    }

    #[tokio::test]
    async fn permissions_are_kept_and_never_wider_meanwhile() {
        for kept in [0o600, 0o644, 0o666, 0o444, 0o4640] {
            let place = Place::new();
            fs::set_permissions(place.target(), fs::Permissions::from_mode(kept)).expect("set");
            let staged = create(&place.target()).await.expect("begun");
            assert_eq!(mode(&place.temporary()), kept);
            staged.commit().await.1.expect("replaced");
            assert_eq!(mode(&place.target()), kept);
        }
    }

    #[tokio::test]
    async fn the_owner_is_kept_where_files_may_be_given_away() {
        let place = Place::new();
        let other = Some(65_534);
        if let Err(error) = std::os::unix::fs::chown(place.target(), other, other) {
            return skip(format_args!("only root may give files away: {error}"));
        }
        fs::set_permissions(place.target(), fs::Permissions::from_mode(0o4640)).expect("set");
        replace(&place.target()).await.expect("replaced");
        let metadata = fs::metadata(place.target()).expect("there");
        assert_eq!((metadata.uid(), metadata.gid()), (65_534, 65_534));
        assert_eq!(mode(&place.target()), 0o4640);
    }

    #[tokio::test]
    async fn in_a_sticky_folder_the_writer_is_the_owner() {
        let place = Place::new();
        let other = Some(65_534);
        if let Err(error) = std::os::unix::fs::chown(place.target(), other, other) {
            return skip(format_args!("only root may give files away: {error}"));
        }
        fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o1777)).expect("set");
        replace(&place.target()).await.expect("replaced");
        assert_ne!(fs::metadata(place.target()).expect("there").uid(), 65_534);
    }

    #[tokio::test]
    async fn a_file_is_made_with_the_permissions_of_the_one_that_it_replaces() {
        let place = Place::new();
        fs::set_permissions(place.target(), fs::Permissions::from_mode(0o600)).expect("set");
        set_fault(Fault::Stall(2));
        let target = place.target();
        let mut create = Box::pin(async { create(&target).await.map(drop) });
        while take_steps_seen(&mut create).await < 2 {}
        assert_eq!(take_steps().last(), Some(&"set permissions of"));
        assert_eq!(mode(&place.temporary()), 0o600);
    }

    #[tokio::test]
    async fn a_symbolic_link_stays_and_its_file_is_replaced() {
        let place = Place::empty();
        fs::create_dir(place.path("data")).expect("made");
        fs::write(place.path("data/list.json"), "[]\n").expect("written");
        symlink("data/list.json", place.path("second")).expect("linked");
        symlink("second", place.target()).expect("linked");
        replace(&place.target()).await.expect("replaced");
        assert_eq!(
            fs::read_link(place.target()).expect("still a link"),
            Path::new("second")
        );
        assert_eq!(fs::read_to_string(place.path("data/list.json")).expect("there"), NEW);
        assert_eq!(names_in(&place.path("data")), ["list.json"]);
    }

    #[tokio::test]
    async fn a_link_to_a_file_that_is_not_there_makes_it() {
        let place = Place::empty();
        fs::create_dir(place.path("data")).expect("made");
        symlink("data/second", place.target()).expect("linked");
        symlink(place.path("data/list.json"), place.path("data/second")).expect("linked");
        replace(&place.target()).await.expect("made");
        assert_eq!(fs::read_to_string(place.path("data/list.json")).expect("there"), NEW);
        assert!(fs::symlink_metadata(place.target()).expect("there").is_symlink());
        assert_eq!(names_in(place.folder.path()), ["data", "peers.json"]);
    }

    #[tokio::test]
    async fn links_in_a_circle_are_an_error() {
        let place = Place::empty();
        symlink("peers.json", place.target()).expect("linked");
        assert_eq!(failed(replace(&place.target()).await).0, "find");
    }

    #[tokio::test]
    async fn a_link_in_the_place_of_the_temporary_file_is_removed_and_not_followed() {
        let place = Place::new();
        fs::write(place.path("precious"), "as it was").expect("written");
        symlink("precious", place.temporary()).expect("linked");
        replace(&place.target()).await.expect("replaced");
        assert_eq!(fs::read_to_string(place.path("precious")).expect("there"), "as it was");
        assert_eq!(names_in(place.folder.path()), ["peers.json", "precious"]);
    }

    #[tokio::test]
    async fn a_pipe_in_the_place_of_the_temporary_file_is_removed_and_not_waited_for() {
        let place = Place::new();
        let made = std::process::Command::new("mkfifo").arg(place.temporary()).status();
        assert!(made.expect("run").success());
        let target = place.target();
        let replaced = tokio::time::timeout(std::time::Duration::from_secs(5), replace(&target)).await;
        replaced.expect("it does not wait").expect("replaced");
        place.assert_only(NEW);
    }

    #[tokio::test]
    async fn a_file_that_has_lost_its_name_is_not_ours() {
        let place = Place::empty();
        fs::write(place.temporary(), "left behind").expect("written");
        let opened = tokio::fs::File::open(place.temporary()).await.expect("opened");
        fs::rename(place.temporary(), place.target()).expect("renamed");
        let lock = async || {
            lock_new(&FaultyDisk, &place.temporary(), &opened)
                .await
                .expect_err("it is not")
        };
        assert_eq!(lock().await.kind(), io::ErrorKind::NotFound);

        fs::write(place.temporary(), "of another process").expect("written");
        assert_eq!(lock().await.to_string(), "another dump has replaced it");
    }
}
