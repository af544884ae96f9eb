//! The examples as processes: how they end, how they report errors, and what they serve.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::{MetricNumber, OpenMetricsValue};

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
    first_line: String,
    stdout: BufReader<ChildStdout>,
}

impl Started {
    fn new(command: &mut Command, first_line: &str) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with(first_line), "{line}");
        Self {
            child,
            first_line: line,
            stdout,
        }
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

#[test]
fn a_verbose_node_says_what_happens_and_why() {
    let file = folder("verbose").join("peers.json");
    let ip = listen_ip();
    let refusing = ip.strip_suffix('9').unwrap().to_owned() + "8";
    fs::write(&file, "[]").unwrap();
    let mut node = example("node");
    node.args(["--verbose", "--listen-ip", &ip, "--bootstrap", &refusing, "--peers"]);
    let mut node = Started::new(node.arg(&file), "listening on");
    let mut lines = [String::new(), String::new()];
    for line in &mut lines {
        node.stdout.read_line(line).unwrap();
    }
    let failed = "OutConnecting -> Idle: the dial failed: connection refused";
    assert_eq!(lines[0].trim(), format!("{refusing} Idle -> OutConnecting: dialed"));
    assert_eq!(lines[1].trim(), format!("{refusing} {failed}"));
    assert_eq!(node.signal("TERM").0, Some(0));
}

#[test]
fn a_node_answers_why_a_peer_is_not_dialed() {
    let file = folder("why").join("peers.json");
    fs::write(&file, r#"[{ "ip": "203.0.113.7", "status": "Banned" }]"#).unwrap();
    let mut node = example("node");
    node.args(["--target", "0", "--listen-ip", &listen_ip(), "--peers"]);
    let mut node = Started::new(node.arg(&file).stdin(Stdio::piped()), "listening on");
    let mut asked = node.child.stdin.take().unwrap();
    for (question, answer) in [
        (
            "why 203.0.113.7",
            "203.0.113.7: it is not dialed: it is banned until the ban is lifted",
        ),
        ("why 203.0.113.8", "203.0.113.8: it is not known"),
        ("why not", "ask `why IP`, to learn why a peer is dialed or not"),
    ] {
        writeln!(asked, "{question}").unwrap();
        let mut line = String::new();
        node.stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), answer);
    }
    // The node goes on without its input, and its end does not wait for any.
    assert_eq!(node.signal("TERM").0, Some(0));
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

/// What an HTTP server answers to this request.
fn http(address: &str, request: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "{request} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// A gauge or counter without labels.
fn number(metrics: &str, family: &str) -> i64 {
    let parsed = parse_openmetrics(metrics).unwrap_or_else(|error| panic!("{error}:\n{metrics}"));
    let sample = parsed.families[family].iter_samples().next().expect("it has a number");
    match &sample.value {
        OpenMetricsValue::Gauge(MetricNumber::Int(number)) => *number,
        OpenMetricsValue::Counter(counter) => match counter.value {
            MetricNumber::Int(number) => number,
            MetricNumber::Float(_) => panic!("{family} is no whole number"),
        },
        value => panic!("{family} is {value:?}"),
    }
}

#[test]
fn metrics_are_served_as_open_metrics() {
    let ip = listen_ip();
    let mut node = example("metrics");
    node.args(["--listen-ip", &ip, "--port", "0", "--metrics", "127.0.0.1:0"]);
    let node = Started::new(&mut node, "listening on");
    let (peers, url) = node.first_line.trim().split_once(", http://").unwrap();
    let peers = peers.strip_prefix("listening on ").unwrap();
    let metrics = url.strip_suffix("/metrics").unwrap();
    let scrape = || {
        let answer = http(metrics, "GET /metrics");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        body.to_owned()
    };
    assert_eq!(number(&scrape(), "network_inbound_admitted"), 0);

    let _candidate = TcpStream::connect(peers).unwrap();
    let admitted = || number(&scrape(), "network_inbound_admitted");
    assert!((0..1_000).any(|_| admitted() == 1), "it never came in");
    assert_eq!(number(&scrape(), "network_incoming_connections"), 1);
    assert!(http(metrics, "GET /").starts_with("HTTP/1.1 404 "));

    let (code, lines) = node.signal("TERM");
    assert_eq!(code, Some(0), "{lines}");
}
