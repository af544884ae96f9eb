//! What a test says that cannot run here: at once, on standard error, and at the end of `cargo test` and of `.ci/run`, by
//! way of a file.

#![allow(dead_code, reason = "no test needs all of it")]

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::panic::Location;
use std::path::PathBuf;
use std::thread;

/// Names the file; without it there is one for each run of `cargo test`.
const FILE: &str = "NETWORK_SKIPPED_TESTS";

/// Says that the test of this thread was skipped, or a part of it, and why.
#[track_caller]
pub(crate) fn skip(why: impl Display) {
    let place = Location::caller();
    let this = thread::current();
    // Where tests run one after the other, they do so in the main thread.
    match this.name().filter(|&name| name != "main") {
        Some(test) => skip_test(test, why),
        None => skip_test(&format!("{}:{}", place.file(), place.line()), why),
    }
}

/// Says that a test was skipped, and why.
pub(crate) fn skip_test(test: &str, why: impl Display) {
    let why = why.to_string();
    let line = format!(
        "SKIPPED {test}: {}\n",
        why.split_whitespace().collect::<Vec<_>>().join(" ")
    );
    // Not by `eprintln`, of which libtest shows nothing if the test passes.
    let said = io::stderr().write_all(line.as_bytes());
    let noted = file().and_then(|file| {
        let file = OpenOptions::new().append(true).create(true).open(file);
        file?.write_all(line.as_bytes())
    });
    said.and(noted)
        .unwrap_or_else(|error| panic!("cannot say that {test} was skipped, as {why}: {error}"));
}

/// The file of this run: beside the folder with the executables of the tests, and named after the process that started them.
pub(crate) fn file() -> io::Result<PathBuf> {
    if let Some(file) = std::env::var_os(FILE) {
        return Ok(file.into());
    }
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).ok_or(io::ErrorKind::NotFound)?;
    Ok(folder.join(format!("skipped-tests-of-{}.txt", starter())))
}

/// Whether the file is this run's own.
pub(crate) fn is_of_one_run() -> bool {
    std::env::var_os(FILE).is_none()
}

#[cfg(unix)]
fn starter() -> u32 {
    std::os::unix::process::parent_id()
}

/// There is one for all runs.
#[cfg(not(unix))]
fn starter() -> u32 {
    0
}
