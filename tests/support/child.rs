//! What concerns a whole process (its death, its limits, its mounts) happens in a child: this executable again, which
//! runs the same test in a role.

#![allow(dead_code, reason = "no test needs all of it")]

#[path = "skip.rs"]
pub(crate) mod skip;

use std::env;
use std::ffi::{OsStr, OsString};
use std::process::{Command, Output, Stdio};

use skip::skip;

const ROLE: &str = "NETWORK_TEST_ROLE";

/// The role of this process, `None` in the parent.
pub(crate) fn role() -> Option<OsString> {
    env::var_os(ROLE)
}

/// A child that runs just this test, in this role. It is started by `launcher`, a command whose arguments end with the
/// command to run; an empty one starts it directly.
pub(crate) fn child(test: &str, launcher: &[&str], role: impl AsRef<OsStr>) -> Command {
    let this = env::current_exe().unwrap();
    let words = launcher.iter().map(OsStr::new).chain([this.as_os_str()]);
    let mut words = words.chain([test, "--exact", "--nocapture", "--test-threads=1"].map(OsStr::new));
    let mut command = Command::new(words.next().unwrap());
    command.args(words).env(ROLE, role).stdin(Stdio::null());
    command
}

/// Whether this system lets us start a child in this way. If it does not, the test is skipped.
#[track_caller]
pub(crate) fn can(launcher: &[&str]) -> bool {
    let why = match Command::new(launcher[0]).args(&launcher[1..]).arg("true").output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
        Err(error) => error.to_string(),
    };
    // Without the script that some end with.
    let command: Vec<&str> = launcher.iter().copied().take_while(|&word| word != "sh").collect();
    skip(format_args!("cannot run `{}` here: {why}", command.join(" ")));
    false
}

/// The child has run its test, and the test has passed.
#[track_caller]
pub(crate) fn assert_passed(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
    assert!(text.contains("1 passed"), "it ran nothing: {text}");
}

/// Runs the work of a child, which has no runtime.
pub(crate) fn block_on<R>(work: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}
