//! Tests that run in a lab, in an executable of their own that is also the programs of its hosts.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use super::namespace::Missing;
use super::skip::skip_test;

/// These functions, each with its name.
#[macro_export]
macro_rules! tests {
    ($($test:ident),+ $(,)?) => {
        &[$((stringify!($test), $test as fn())),+]
    };
}

/// The `main` of such tests, unless this process was started to be one of these programs. Where something is missing
/// that they need, as `check` finds, each of them is skipped, and says why. As many run at once as there are processors,
/// unless they say otherwise.
pub fn run(
    programs: &[fn() -> bool],
    check: fn() -> Result<(), Missing>,
    at_once: Option<usize>,
    tests: &[(&'static str, fn())],
) -> ExitCode {
    if programs.iter().any(|run_if_asked| run_if_asked()) {
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(at_once);
    let needs = check();
    if let Err(missing) = &needs {
        for (name, _) in tests {
            skip_test(name, missing);
        }
    }
    let trials = tests.iter().map(|&(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        trial.with_ignored_flag(needs.is_err())
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
