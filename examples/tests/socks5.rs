//! The example `socks5` beside a proxy that is small, and a node.

#![cfg(target_os = "linux")]

#[path = "support/examples.rs"]
mod examples;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use examples::{LIMIT, end, free_port, ip, line_with, start, start_node};
use tempfile::TempDir;

/// Starts a proxy that serves `CONNECT` to IPv4 addresses, without a password; says where it is, and what it is asked for.
fn start_proxy() -> (String, Receiver<SocketAddr>) {
    let listener = TcpListener::bind((ip(1, 1), 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for client in listener.incoming().map(Result::unwrap) {
            let sender = sender.clone();
            // A client that leaves early is no failure of the test.
            thread::spawn(move || drop(proxy(client, &sender)));
        }
    });
    (address, requests)
}

/// RFC 1928.
fn proxy(mut client: TcpStream, requests: &Sender<SocketAddr>) -> io::Result<()> {
    let mut head = [0; 2];
    client.read_exact(&mut head)?;
    let mut methods = vec![0; head[1].into()];
    client.read_exact(&mut methods)?;
    client.write_all(&[5, 0])?;
    let mut request = [0; 10];
    client.read_exact(&mut request)?;
    let [5, 1, 0, 1, a, b, c, d, high, low] = request else {
        panic!("{request:?}");
    };
    let to = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into();
    // Its reader may have what it needs.
    let _ = requests.send(to);
    let Ok(mut peer) = TcpStream::connect(to) else {
        return client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    };
    let SocketAddr::V4(bound) = peer.local_addr()? else {
        unreachable!("it was dialed by IPv4");
    };
    let reply = [&[5, 0, 0, 1], &bound.ip().octets()[..], &bound.port().to_be_bytes()];
    client.write_all(&reply.concat())?;
    let (mut from, mut to) = (client.try_clone()?, peer.try_clone()?);
    thread::spawn(move || {
        io::copy(&mut from, &mut to)?;
        to.shutdown(Shutdown::Write)
    });
    io::copy(&mut peer, &mut client)?;
    client.shutdown(Shutdown::Write)
}

#[test]
fn a_node_dials_through_a_proxy() {
    for signal in ["INT", "TERM"] {
        let folder = TempDir::new().unwrap();
        let (peer, absent) = (ip(2, 1), ip(2, 2));
        let port = free_port(&peer);
        let node = start_node(&folder, &peer, &port);
        let (proxy, requests) = start_proxy();
        let options = [
            "--proxy",
            &proxy,
            "--port",
            &port,
            "--bootstrap",
            &peer,
            "--bootstrap",
            &absent,
        ];
        let proxied = start("socks5", "dialing through", &options);
        assert_eq!(proxied.line(), format!("{peer} is alive"));
        assert_eq!(node.line(), "127.0.0.1 (in) is alive");

        let mut asked_for = [(); 2].map(|()| requests.recv_timeout(LIMIT).unwrap().to_string());
        asked_for.sort_unstable();
        assert_eq!(asked_for, [&peer, &absent].map(|ip| format!("{ip}:{port}")));

        end(proxied, signal);
        line_with(&node, "127.0.0.1 (in) is gone: ");
        end(node, "TERM");
    }
}
