//! Any bytes as a peer file, and any peers: never a panic, and what is read or made comes back from the file that is
//! written of it, byte for byte the second time.

#![no_main]

use std::net::IpAddr;

use arbitrary::Arbitrary;
use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use network::internals::{encode, parse};
use network::peer_file::{PeerFileError, PeerRecord};
use network::{Peer, PeerStatus};

fuzz_target!(|input: Input| {
    match input {
        Input::Bytes(bytes) => read(&bytes),
        Input::Text(text) => read(&text.bytes()),
        Input::Records(records) => {
            let mut records: Vec<_> = records.into_iter().filter_map(Record::made).collect();
            let mut seen = std::collections::HashSet::new();
            records.retain(|record| seen.insert(record.peer.ip));
            come_back(records);
        }
    }
});

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Bytes(&'a [u8]),
    /// Pieces of which files are made, in any order.
    Text(Text),
    Records(Vec<Record>),
}

#[derive(Arbitrary, Debug)]
struct Text(Vec<(u8, u8)>);

impl Text {
    const PIECES: [&str; 34] = [
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "\"",
        "\\",
        "\n",
        "null",
        "true",
        "1",
        "-1",
        "1.5e9",
        "\"ip\":",
        "\"192.0.2.1\"",
        "\"::ffff:192.0.2.1\"",
        "\"2001:db8::7\"",
        "\"status\":",
        "\"Banned\"",
        "\"InAlive\"",
        "\"last_alive\":",
        "\"last_failure\":",
        "\"last_alive_outgoing\":",
        "\"failures_in_row\":",
        "\"banned_at\":",
        "\"banned_until\":",
        "\"knocked\":",
        "\"2026-01-02T03:04:05Z\"",
        "\"2026-01-02T03:04:05.678+02:00\"",
        "\"note\":",
        "{\"ip\":\"192.0.2.2\"}",
        "\\u0000",
        "é",
    ];

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(piece, byte) in &self.0 {
            match Self::PIECES.get(usize::from(piece) % (Self::PIECES.len() + 1)) {
                Some(piece) => bytes.extend_from_slice(piece.as_bytes()),
                None => bytes.push(byte),
            }
        }
        bytes
    }
}

#[derive(Arbitrary, Debug)]
struct Record {
    ip: IpAddr,
    is_banned: bool,
    times: [Option<(i64, u32)>; 3],
    failures_in_row: u32,
    knocked: bool,
}

impl Record {
    /// As it would come out of a file; `None` if no file can hold it.
    fn made(self) -> Option<PeerRecord> {
        let ip = self.ip.to_canonical();
        let broadcast = IpAddr::from([255; 4]);
        if ip.is_unspecified() || ip.is_multicast() || ip == broadcast {
            return None;
        }
        let [last_alive, last_failure, last_alive_outgoing] = self.times.map(|time| time.and_then(time_of));
        let mut peer = Peer::new(ip);
        peer.status = if self.is_banned {
            PeerStatus::Banned
        } else {
            PeerStatus::Idle
        };
        (peer.last_alive, peer.last_failure, peer.last_alive_outgoing) =
            (last_alive, last_failure, last_alive_outgoing);
        peer.failures_in_row = self.failures_in_row;
        let knocked = self.knocked && peer.last_alive.is_none();
        let mut record = PeerRecord::from(peer);
        record.knocked = knocked;
        Some(record)
    }
}

/// A time of the years 0 to 9999, that a file can hold, and never beyond the last second.
fn time_of((seconds, nanos): (i64, u32)) -> Option<DateTime<Utc>> {
    let seconds = -62_167_219_200 + seconds.rem_euclid(62_167_219_200 + 253_402_300_799);
    DateTime::from_timestamp(seconds, nanos % 1_000_000_000)
}

fn read(bytes: &[u8]) {
    match parse(bytes) {
        Ok(records) => come_back(records),
        Err(PeerFileError::Malformed { line, reason, .. }) => assert!(line > 0 && !reason.is_empty()),
        Err(error) => panic!("no error of reading: {error}"),
    }
}

fn come_back(records: Vec<PeerRecord>) {
    let written = encode(&records);
    let lines = written.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(
        lines,
        if records.is_empty() { 1 } else { records.len() + 2 },
        "a record is a line"
    );
    let again = parse(&written).expect("what is written can be read");
    assert_eq!(again, records);
    assert_eq!(encode(&again), written);
}
