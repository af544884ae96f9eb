//! The small examples as processes: each does what it shows, and ends when it is asked to.

#![cfg(target_os = "linux")]

#[path = "support/examples.rs"]
mod examples;

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use examples::{end, example, free_port, ip, line_with, start, start_node};
use network_lab::program::Program;
use tempfile::TempDir;

/// Starts the example `contract` with a peers file that names one peer.
fn start_contract(folder: &TempDir, ip: &str, port: &str, peer: &str) -> Program {
    let file = folder.path().join(format!("{ip}.json"));
    fs::write(&file, format!(r#"[{{ "ip": "{peer}" }}]"#)).unwrap();
    start("contract", "listening on", &[file.to_str().unwrap(), ip, port])
}

#[test]
fn contract_nodes_connect_tell_each_other_of_peers_and_say_goodbye() {
    let folder = TempDir::new().unwrap();
    let [a, b, c] = [1, 2, 3].map(|host| ip(1, host));
    let port = free_port(&a);
    let first = start_contract(&folder, &a, &port, &b);
    let second = start_contract(&folder, &b, &port, &a);
    line_with(&first, &format!("{b} is alive"));
    line_with(&second, &format!("{a} is alive"));

    // It knows of one of them alone.
    let third = start_contract(&folder, &c, &port, &a);
    line_with(&second, &format!("{c} is alive"));
    line_with(&third, &format!("{b} is alive"));

    end(third, "TERM");
    line_with(&first, &format!("{c} is gone: it said goodbye"));
    line_with(&second, &format!("{c} is gone: it said goodbye"));
    end(first, "INT");
    line_with(&second, &format!("{a} is gone: it said goodbye"));
    let peers = fs::read_to_string(folder.path().join(format!("{c}.json"))).unwrap();
    assert!(peers.contains(&a) && peers.contains(&b), "{peers}");
}

/// Connects to a node, writes this, and reads until the node closes the connection.
fn rest_after(ip: &str, port: &str, written: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect((ip, port.parse().unwrap())).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(written).unwrap();
    let mut read = Vec::new();
    match socket.read_to_end(&mut read) {
        // A node that closes the connection before it has read all resets it.
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        Ok(_) | Err(_) => read,
    }
}

#[test]
fn a_contract_node_gives_up_a_silent_peer_and_bans_a_rude_one() {
    let folder = TempDir::new().unwrap();
    let node_ip = ip(2, 1);
    let port = free_port(&node_ip);
    // Its only peer is nobody.
    let node = start_contract(&folder, &node_ip, &port, &ip(2, 9));
    let hello = rest_after(&node_ip, &port, b"");
    assert!(hello.starts_with(b"HELLO "), "{hello:?}");
    line_with(&node, "127.0.0.1 is gone: it did not shake hands in time");
    rest_after(&node_ip, &port, b"GET / HTTP/1.0\n");
    line_with(&node, "127.0.0.1 is banned: it sent no such message");
    end(node, "TERM");
}

#[test]
fn a_contract_node_and_a_node_speak_one_protocol() {
    let folder = TempDir::new().unwrap();
    let (a, b) = (ip(3, 1), ip(3, 2));
    let port = free_port(&a);
    let node = start_node(&folder, &a, &port);
    let contract = start_contract(&folder, &b, &port, &a);
    line_with(&node, &format!("{b} (in) is alive"));
    line_with(&contract, &format!("{a} is alive"));
    end(node, "TERM");
    line_with(&contract, &format!("{a} is gone: it said goodbye"));
}

fn start_chat(ip: &str, port: &str, name: &str, bootstrap: &[&str]) -> Program {
    let options = ["--listen-ip", ip, "--port", port, "--name", name];
    let bootstrap = bootstrap.iter().flat_map(|&ip| ["--bootstrap", ip]);
    start(
        "chat",
        "listening on",
        &options.into_iter().chain(bootstrap).collect::<Vec<_>>(),
    )
}

/// What is said up to the line with this part, without the notes of the program itself.
fn said_until(chat: &Program, part: &str) -> Vec<String> {
    let mut said = Vec::new();
    while !said.last().is_some_and(|line: &String| line.contains(part)) {
        let line = chat.line();
        said.extend(Some(line).filter(|line| !line.starts_with('*')));
    }
    said
}

#[test]
fn what_is_said_in_a_chat_reaches_all_once() {
    let ips = [1, 2, 3].map(|host| ip(4, host));
    let port = free_port(&ips[0]);
    let mut ann = start_chat(&ips[0], &port, "ann", &[]);
    let bob = start_chat(&ips[1], &port, "bob", &[&ips[0]]);
    line_with(&ann, &format!("{} is here", ips[1]));
    let mut cid = start_chat(&ips[2], &port, "cid", &[&ips[0]]);
    // A ring of three, so that all lines come by two ways.
    for (chat, others) in [(&ann, vec![2]), (&bob, vec![0, 2]), (&cid, vec![0, 1])] {
        let mut missing: HashSet<&String> = others.iter().map(|&other: &usize| &ips[other]).collect();
        while !missing.is_empty() {
            let line = line_with(chat, " is here");
            missing.retain(|ip| !line.contains(*ip));
        }
    }

    ann.tell("hello");
    assert_eq!(said_until(&cid, "hello"), ["ann: hello"]);
    assert_eq!(said_until(&bob, "hello"), ["ann: hello"]);
    cid.tell("good\tday");
    // If the other line had come again, it would have been before this one.
    assert_eq!(said_until(&bob, "day"), ["cid: good?day"]);
    assert_eq!(said_until(&ann, "day"), ["cid: good?day"]);

    end(cid, "INT");
    line_with(&ann, &format!("{} is gone: Closed", ips[2]));
    end(ann, "TERM");
    line_with(&bob, &format!("{} is gone: Closed", ips[0]));
}

#[test]
fn a_line_that_is_too_long_gets_its_sender_banned_from_a_chat() {
    let chat_ip = ip(5, 1);
    let port = free_port(&chat_ip);
    let chat = start_chat(&chat_ip, &port, "ann", &[]);
    rest_after(&chat_ip, &port, format!("chat/1\n{}", "a".repeat(1025)).as_bytes());
    line_with(&chat, "127.0.0.1 is gone: Misbehaved");
    assert_eq!(rest_after(&chat_ip, &port, b"chat/1\n"), b"");
}

#[test]
fn a_crawler_says_who_listens() {
    let [listening, deaf, other] = [1, 2, 3].map(|host| ip(6, host));
    let listener = TcpListener::bind((listening.as_str(), 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let twice = listening.as_str();
    let mut crawler = example("crawler");
    crawler.args([
        "--port",
        &port,
        "--at-once",
        "1",
        twice,
        twice,
        &deaf,
        &other,
        "0.0.0.0",
    ]);
    let output = crawler.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.pop(), Some("1 of 4 listen"), "{said}");
    lines.sort_unstable();
    let refused = "the dial failed: connection refused";
    let mut expected = [
        "0.0.0.0: it is not known".to_owned(),
        format!("{listening}: listens"),
        format!("{deaf}: {refused}"),
        format!("{other}: {refused}"),
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_ok());
    assert!(listener.accept().is_err(), "it was dialed twice");
}

#[test]
fn a_crawler_reads_its_list_and_can_be_ended() {
    for signal in ["INT", "TERM"] {
        end(start("crawler", "reading addresses", &[]), signal);
    }
    let mut crawler = Program::spawn(example("crawler").args(["--at-most", "2"]));
    (1..=3).for_each(|host| crawler.tell(&ip(7, host)));
    assert!(line_with(&crawler, "listen").starts_with("0 of 2"));
    assert!(crawler.ended());
}
