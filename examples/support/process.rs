//! The life of a node's process: when it is to end, and with what words and exit code.

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::thread;

use tokio::sync::mpsc;

/// A future that resolves when this process is asked to end: by Ctrl-C or, on Unix, by SIGTERM, which `kill`, systemd and
/// containers send. From this call on, these signals do nothing else.
///
/// Make it once, before the loop that polls it. A future made anew in each turn of a `select!` loop misses a signal that
/// comes while the body of another branch runs.
///
/// # Errors
///
/// The system does not let us listen for one of the signals.
#[cfg(unix)]
pub fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// A future that resolves when this process is asked to end, by Ctrl-C.
///
/// # Errors
///
/// The system does not let us listen for it.
#[cfg(windows)]
pub fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

/// The lines of this process's standard input. They are read by a thread of their own, which does not hold up the end of
/// the process as a read of Tokio's `stdin` does.
#[must_use]
pub fn lines_of_stdin() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The exit code of a process with this result; says what failed on standard error.
pub fn exit_code(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_sources(&*error));
            ExitCode::FAILURE
        }
    }
}

/// An error in words, followed by its sources.
pub fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Not all libraries leave the source out of the text that they give.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failure {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn failure(text: &'static str, source: Option<Failure>) -> Failure {
        let source = source.map(Box::new);
        Failure { text, source }
    }

    #[test]
    fn an_error_is_followed_by_its_sources() {
        let innermost = failure("no such file", None);
        let middle = failure("cannot read it", Some(innermost));
        assert_eq!(
            with_sources(&failure("no peers", Some(middle))),
            "no peers: cannot read it: no such file"
        );
    }

    #[test]
    fn nothing_is_said_twice() {
        let innermost = failure("no such file", None);
        let middle = failure("cannot read it: no such file", Some(innermost));
        let outer = failure("no peers: cannot read it: no such file", Some(middle));
        assert_eq!(with_sources(&outer), "no peers: cannot read it: no such file");
    }
}
