//! The example `dns_seeds` beside a small DNS server, in namespaces in which the system's resolver asks that one alone.

#![cfg(target_os = "linux")]

#[path = "../../tests/support/child.rs"]
mod child;
#[path = "support/examples.rs"]
mod examples;

use std::fs;
use std::net::UdpSocket;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use examples::{LIMIT, end, example, line_with, start, start_node};
use network_lab::program::Program;
use tempfile::TempDir;

/// What starts a command in a network of its own, where the system's resolver asks a server on the loopback address.
fn launcher(script: &str) -> [&str; 11] {
    [
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-ec",
        script,
    ]
}

/// The command is what follows the script.
fn script(folder: &TempDir) -> String {
    fs::write(folder.path().join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    fs::write(folder.path().join("nsswitch.conf"), "hosts: files dns\n").unwrap();
    let folder = folder.path().display();
    format!(
        "PATH=$PATH:/usr/sbin:/sbin; ip link set lo up
         for file in resolv.conf nsswitch.conf; do
             test ! -e /etc/$file || mount --bind {folder}/$file /etc/$file
         done
         exec \"$0\" \"$@\""
    )
}

#[test]
fn seeds_are_found_by_name() {
    if child::role().is_some() {
        let silent = serve_names();
        find_seeds();
        return end_during_a_lookup(&silent);
    }
    let folder = TempDir::new().unwrap();
    let script = script(&folder);
    if child::can(&launcher(&script)) {
        let child = child::child("seeds_are_found_by_name", &launcher(&script), "resolved").output();
        child::assert_passed(&child.unwrap());
    }
}

fn find_seeds() {
    const PORT: &str = "31244";
    let folder = TempDir::new().unwrap();
    let node = start_node(&folder, "127.0.0.2", PORT);
    let options = ["--port", PORT, "--listen-ip", "127.0.0.3", "nobody.test", "seeds.test"];
    let seeded = start("dns_seeds", "nobody.test: ", &options);
    assert_eq!(seeded.line(), "seeds.test: [127.0.0.2]");
    assert!(seeded.line().starts_with("listening on"));
    assert_eq!(seeded.line(), "127.0.0.2 is alive");
    line_with(&node, "127.0.0.3 (in) is alive");
    end(seeded, "INT");
    line_with(&node, "127.0.0.3 (in) is gone: it said goodbye");
}

/// The system's resolver waits 5 seconds for an answer, and tries twice.
fn end_during_a_lookup(silent: &Receiver<()>) {
    for signal in ["INT", "TERM"] {
        let seeded = Program::spawn(example("dns_seeds").arg("silent.test"));
        silent.recv_timeout(LIMIT).unwrap();
        let begin = Instant::now();
        end(seeded, signal);
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        while silent.try_recv().is_ok() {}
    }
}

/// A DNS server. Says when it is asked for `silent.test`, which it does not answer.
fn serve_names() -> Receiver<()> {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    let (sender, silent) = mpsc::channel();
    thread::spawn(move || {
        let mut query = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut query).unwrap();
            match answer(&query[..length]) {
                Some(answer) => drop(socket.send_to(&answer, from).unwrap()),
                None => sender.send(()).unwrap(),
            }
        }
    });
    silent
}

/// RFC 1035: a header of 12 bytes, and a question, which the answer repeats.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    const A: u8 = 1;
    const NO_SUCH_NAME: u8 = 3;
    /// The name of the question, class and lifetime, and an address.
    const ADDRESS: [u8; 16] = [0xc0, 12, 0, A, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 2];
    let name_length = query[12..].iter().position(|&byte| byte == 0)?;
    let question = &query[12..12 + name_length + 5];
    let (code, address) = match &question[1..name_length] {
        b"silent\x04test" => return None,
        b"seeds\x04test" if question[name_length + 2] == A => (0, &ADDRESS[..]),
        b"seeds\x04test" => (0, &[][..]),
        _ => (NO_SUCH_NAME, &[][..]),
    };
    let answers = u8::from(!address.is_empty());
    let header = [query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0];
    Some([&header[..], question, address].concat())
}
