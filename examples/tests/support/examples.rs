//! The examples as processes.

#![allow(dead_code, reason = "no test needs all of it")]

use std::fs;
use std::net::{IpAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use network_lab::program::Program;
use tempfile::TempDir;

/// Far more than anything takes that is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A host in a loopback network that is for this process and this test alone.
pub(crate) fn ip(test: u8, host: u8) -> String {
    let [.., number] = std::process::id().to_be_bytes();
    IpAddr::from([127, 16 + number % 240, test, host]).to_string()
}

pub(crate) fn free_port(ip: &str) -> String {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// The executable of an example; Cargo builds all of them for a run of all tests.
pub(crate) fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(|folder| folder.parent()).unwrap();
    Command::new(profile.join("examples").join(name))
}

/// Starts an example, whose first line has to start so.
pub(crate) fn start(name: &str, first_line: &str, arguments: &[&str]) -> Program {
    let program = Program::spawn(example(name).args(arguments));
    let line = program.line();
    assert!(line.starts_with(first_line), "{line}");
    program
}

/// Reads lines up to one with this part; returns that.
#[track_caller]
pub(crate) fn line_with(program: &Program, part: &str) -> String {
    let begin = Instant::now();
    let mut read = Vec::new();
    while begin.elapsed() < LIMIT {
        let line = program.line();
        if line.contains(part) {
            return line;
        }
        read.push(line);
    }
    panic!("no {part:?} in {read:?}");
}

pub(crate) fn end(program: Program, signal: &str) {
    program.signal_itself(signal);
    assert!(program.ended(), "{signal}");
}

/// A node of the example `node`, with a peers file of its own.
pub(crate) fn start_node(folder: &TempDir, ip: &str, port: &str) -> Program {
    let file = folder.path().join(format!("{ip}.json"));
    fs::write(&file, "[]").unwrap();
    let file = file.to_str().unwrap();
    start(
        "node",
        "listening on",
        &["--peers", file, "--listen-ip", ip, "--port", port],
    )
}
