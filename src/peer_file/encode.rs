//! From peers to bytes, one record a line, so that `git diff` and `grep` serve an operator. Pure: no file, no clock.

use chrono::{DateTime, Utc};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{implied_failures, time};
use crate::peer::{OtherFields, Peer, PeerStatus};

/// Opens the array.
pub(crate) fn encode_head(out: &mut Vec<u8>) {
    out.push(b'[');
}

/// Appends one record; `first` says that none was appended since the head. A `banned_at` is written for a banned peer
/// only, as reading would drop it.
pub(crate) fn encode_record(
    out: &mut Vec<u8>,
    first: bool,
    peer: &Peer,
    banned_at: Option<DateTime<Utc>>,
    other: Option<&OtherFields>,
) {
    #[cfg(test)]
    super::tests::note_record();
    out.extend_from_slice(if first { b"\n  " } else { b",\n  " });
    let record = Record { peer, banned_at, other };
    serde_json::to_writer(out, &record).expect("a record's field names are strings, and a Vec takes every byte");
}

/// Closes the array; `any` says whether records were appended.
pub(crate) fn encode_tail(out: &mut Vec<u8>, any: bool) {
    out.extend_from_slice(if any { b"\n]\n" } else { b"]\n" });
}

struct Record<'a> {
    peer: &'a Peer,
    banned_at: Option<DateTime<Utc>>,
    other: Option<&'a OtherFields>,
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let peer = self.peer;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ip", &peer.ip)?;
        map.serialize_entry("status", &peer.status)?;
        map.serialize_entry("last_alive", &peer.last_alive.map(Time))?;
        map.serialize_entry("last_failure", &peer.last_failure.map(Time))?;
        if let Some(time) = peer.last_alive_outgoing {
            map.serialize_entry("last_alive_outgoing", &Time(time))?;
        }
        if peer.failures_in_row > 0 || implied_failures(peer.last_alive, peer.last_failure) > 0 {
            map.serialize_entry("failures_in_row", &peer.failures_in_row)?;
        }
        if let Some(time) = self.banned_at.filter(|_| peer.status == PeerStatus::Banned) {
            map.serialize_entry("banned_at", &Time(time))?;
        }
        for (name, value) in self.other.into_iter().flatten() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct Time(DateTime<Utc>);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(time::Written::new(self.0).as_str())
    }
}
