//! The node as a process: how it ends, and what its options do.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use network_lab::program::Program;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// A host in one of the networks 127.x.0.0/16 that is for this process alone.
fn ip(subnet: u8, host: u8) -> IpAddr {
    let [.., number] = std::process::id().to_be_bytes();
    IpAddr::from([127, 16 + number % 240, subnet, host])
}

/// A node that runs, the address that it listens at, and the folder of its peers file.
fn start(options: &[&str]) -> (Program, SocketAddr, TempDir) {
    let folder = TempDir::new().unwrap();
    let peers_file = folder.path().join("peers.json");
    fs::write(&peers_file, "[]").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcoin-node"));
    command
        .args(["--network", "litecoin-regtest", "--verbose", "--port", "0"])
        .args(["--listen-ip", &ip(0, 1).to_string(), "--target", "0"])
        .args(["--peers", peers_file.to_str().unwrap()])
        .args(options);
    let program = Program::spawn(&mut command);
    let line = program.line();
    let address = line
        .strip_prefix("listening on ")
        .and_then(|rest| rest.split(',').next());
    let address = address.and_then(|address| address.parse().ok());
    (program, address.unwrap_or_else(|| panic!("{line}")), folder)
}

#[test]
fn a_signal_ends_it_in_order() {
    for signal in ["INT", "TERM"] {
        let (program, ..) = start(&[]);
        program.signal_itself(signal);
        assert!(program.ended(), "{signal}");
    }
}

/// Connects from an address; `None` if the node refuses.
async fn connect(from: IpAddr, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = match socket.connect(to).await {
        Ok(stream) => stream,
        // The reset came before the connection was looked at.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
        Err(error) => panic!("{error}"),
    };
    // A node sends nothing on an inbound connection before it has received a version.
    match timeout(Duration::from_millis(500), stream.read(&mut [0])).await {
        Err(_) => Some(stream),
        Ok(Err(error)) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            None
        }
        Ok(Ok(read)) => panic!("read {read} bytes"),
    }
}

#[tokio::test]
async fn one_subnet_cannot_take_all_incoming_connections() {
    let (_program, node, _folder) = start(&["--max-incoming", "3", "--max-incoming-per-subnet", "2"]);
    let mut admitted = Vec::new();
    for host in 1..=4 {
        admitted.extend(connect(ip(1, host), node).await);
    }
    assert_eq!(admitted.len(), 2);
    assert!(connect(ip(2, 1), node).await.is_some());
}
