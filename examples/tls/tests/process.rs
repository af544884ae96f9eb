//! The node as processes: which peers it trusts, and how it ends.

#![cfg(target_os = "linux")]

use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use network_lab::program::Program;
use tempfile::TempDir;

/// A host in a loopback network that is for this process and this test alone.
fn ip(test: u8, host: u8) -> String {
    let [.., number] = std::process::id().to_be_bytes();
    IpAddr::from([127, 16 + number % 240, test, host]).to_string()
}

fn free_port(ip: &str) -> String {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn tls(identity: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_network-examples-tls"));
    command.arg(identity);
    command
}

/// Makes an identity: its file and its fingerprint.
fn identity(folder: &TempDir, name: &str) -> (PathBuf, String) {
    let file = folder.path().join(name);
    let made = tls(&file).output().unwrap();
    let again = tls(&file).output().unwrap();
    assert_eq!(made, again, "the same node has another fingerprint");
    let fingerprint = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert_eq!(fingerprint.len(), 64, "{fingerprint}");
    (file, fingerprint)
}

fn start(identity: &Path, options: &[&str]) -> Program {
    let program = Program::spawn(tls(identity).args(options));
    assert!(program.line().starts_with("listening on "));
    program
}

#[test]
fn nodes_that_trust_each_other_connect_and_end_in_order() {
    let folder = TempDir::new().unwrap();
    let (a, print_of_a) = identity(&folder, "a.pem");
    let (b, print_of_b) = identity(&folder, "b.pem");
    let (ip_of_a, ip_of_b) = (ip(1, 1), ip(1, 2));
    let port = free_port(&ip_of_a);
    for signal in ["INT", "TERM"] {
        let first = start(&a, &["--listen-ip", &ip_of_a, "--port", &port, "--trust", &print_of_b]);
        let to_first = [
            "--listen-ip",
            &ip_of_b,
            "--port",
            &port,
            "--trust",
            &print_of_a,
            "--bootstrap",
            &ip_of_a,
        ];
        let second = start(&b, &to_first);
        assert_eq!(first.line(), format!("{ip_of_b} is alive: {print_of_b}"));
        assert_eq!(second.line(), format!("{ip_of_a} is alive: {print_of_a}"));

        first.signal_itself(signal);
        assert!(first.ended(), "{signal}");
        assert_eq!(second.line(), format!("{ip_of_a} is gone: the connection was closed"));
        second.signal_itself(signal);
        assert!(second.ended(), "{signal}");
    }
}

#[test]
fn a_node_that_is_not_trusted_is_refused_by_either_end() {
    let folder = TempDir::new().unwrap();
    let (a, print_of_a) = identity(&folder, "a.pem");
    let (stranger, print_of_stranger) = identity(&folder, "stranger.pem");
    let (ip_of_a, ip_of_stranger) = (ip(2, 1), ip(2, 2));
    let port = free_port(&ip_of_a);
    // What the other end's server, then its client, is to trust: the server knows the stranger not, then the client.
    for [by_server, by_client] in [[&print_of_a, &print_of_a], [&print_of_stranger, &print_of_stranger]] {
        let server = start(&a, &["--listen-ip", &ip_of_a, "--port", &port, "--trust", by_server]);
        let to_server = [
            "--listen-ip",
            &ip_of_stranger,
            "--port",
            &port,
            "--trust",
            by_client,
            "--bootstrap",
            &ip_of_a,
        ];
        let client = start(&stranger, &to_server);
        let (said, refused) = (server.line(), client.line());
        assert!(said.starts_with(&format!("{ip_of_stranger} is gone: ")), "{said}");
        assert!(refused.starts_with(&format!("{ip_of_a} is gone: ")), "{refused}");
    }
}

#[test]
fn a_fingerprint_that_is_none_is_an_error() {
    let output = tls(Path::new("unused.pem")).args(["--trust", "beef"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("a fingerprint has 64 hexadecimal digits"), "{error}");
}
