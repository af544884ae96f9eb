//! The examples as processes: how they end, and how they report errors.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The signals that ask a process to end.
const SIGNALS: [&str; 2] = ["INT", "TERM"];

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&folder));
    fs::create_dir(&folder).unwrap();
    folder
}

/// The executable of an example; Cargo builds all of them for a run of all tests.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(|folder| folder.parent()).unwrap();
    let mut command = Command::new(profile.join("examples").join(name));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// An address that other tests do not use.
fn listen_ip() -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{low}.9", 16 + high % 240)
}

/// A process that has written its first line.
struct Started {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Started {
    fn new(command: &mut Command, first_line: &str) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with(first_line), "{line}");
        Self { child, stdout }
    }

    /// Sends a signal and waits for the end: the exit code, if it did not die by the signal, and the other lines.
    fn signal(mut self, signal: &str) -> (Option<i32>, String) {
        let kill = format!("kill -s {signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let mut lines = String::new();
        self.stdout.read_to_string(&mut lines).unwrap();
        let mut errors = self.child.stderr.take().unwrap();
        errors.read_to_string(&mut lines).unwrap();
        (self.child.wait().unwrap().code(), lines)
    }
}

#[test]
fn a_signal_ends_a_node_in_order() {
    let file = folder("ended").join("peers.json");
    for signal in SIGNALS {
        fs::write(&file, r#"[{ "ip": "203.0.113.7" }]"#).unwrap();
        let mut node = example("node");
        node.args(["--target", "0", "--listen-ip", &listen_ip(), "--peers"]);
        let (code, lines) = Started::new(node.arg(&file), "listening on").signal(signal);
        assert_eq!(code, Some(0), "{signal}: {lines}");
        assert!(lines.contains("peers are in"), "{signal}: {lines}");
    }
}

/// Shakes hands with a seed, and asks for peers.
#[test]
fn a_seed_closes_who_was_told_of_others() {
    let (file, ip) = (folder("seed").join("peers.json"), listen_ip());
    fs::write(&file, r#"[{ "ip": "203.0.113.7" }]"#).unwrap();
    let port = {
        let free = TcpListener::bind((ip.as_str(), 0)).unwrap();
        free.local_addr().unwrap().port()
    };
    let mut node = example("node");
    node.args([
        "--seed",
        "--target",
        "0",
        "--listen-ip",
        &ip,
        "--port",
        &port.to_string(),
        "--peers",
    ]);
    let seed = Started::new(node.arg(&file), "listening on");

    let mut socket = TcpStream::connect((ip.as_str(), port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(b"HELLO network-example/1 07\nGETPEERS\n").unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(socket.try_clone().unwrap()).lines().map(Result::unwrap) {
        if let Some(number) = line.strip_prefix("PING ") {
            socket.write_all(format!("PONG {number}\n").as_bytes()).unwrap();
        } else if line == "GETPEERS" {
            socket.write_all(b"PEERS\n").unwrap();
        }
        lines.push(line);
    }
    let told = lines
        .iter()
        .find(|line| line.starts_with("PEERS"))
        .expect("it tells of peers");
    assert!(told.contains("203.0.113.7"), "{told}");
    assert_eq!(lines.last().map(String::as_str), Some("BYE"), "{lines:?}");

    let (code, lines) = seed.signal("TERM");
    assert_eq!(code, Some(0), "{lines}");
    assert!(lines.contains("it was told of other peers"), "{lines}");
}

#[test]
fn a_signal_ends_the_testnet_without_a_trace() {
    for signal in SIGNALS {
        let temporary = folder("testnet");
        let mut testnet = example("testnet");
        let (code, lines) = Started::new(testnet.env("TMPDIR", &temporary), "find each other").signal(signal);
        assert_eq!(code, Some(1), "{signal}: {lines}");
        assert!(lines.contains("error: interrupted"), "{signal}: {lines}");
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "{signal}");
    }
}

/// What a node with this peers file says of its failure.
fn failure(file: &PathBuf, options: &[&str]) -> String {
    let mut node = example("node");
    let output = node.arg("--peers").arg(file).args(options).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn errors_are_told_in_words_and_once() {
    let file = folder("malformed").join("peers.json");
    fs::write(&file, r#"[{ "ip": 7 }]"#).unwrap();
    let error = failure(&file, &[]);
    for part in ["error: ", "peers.json", "line 1"] {
        assert_eq!(error.matches(part).count(), 1, "{error}");
    }

    fs::write(&file, "[]").unwrap();
    let taken = TcpListener::bind((listen_ip().as_str(), 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = failure(&file, &["--listen-ip", &listen_ip(), "--port", &port]);
    for part in ["error: ", &port, "os error"] {
        assert_eq!(error.matches(part).count(), 1, "{error}");
    }
}
