//! From peers to bytes, one record a line, so that `git diff` and `grep` serve an operator. Pure: no file, no clock.

use chrono::{DateTime, Utc};

use super::fields::Fields;
use crate::peer::{OtherFields, Peer};

/// Opens the array.
pub(crate) fn encode_head(out: &mut Vec<u8>) {
    out.push(b'[');
}

/// Appends one record; `first` says that none was appended since the head. A `banned_at` is written for a banned peer
/// only, and `knocked` for one that was never alive, as reading would drop them.
pub(crate) fn encode_record(
    out: &mut Vec<u8>,
    first: bool,
    peer: &Peer,
    banned_at: Option<DateTime<Utc>>,
    knocked: bool,
    other: Option<&OtherFields>,
) {
    out.extend_from_slice(if first { b"\n  " } else { b",\n  " });
    serde_json::to_writer(out, &Fields::of(peer, banned_at, knocked, other))
        .expect("a record's field names are strings, and a Vec takes every byte");
}

/// Closes the array; `any` says whether records were appended.
pub(crate) fn encode_tail(out: &mut Vec<u8>, any: bool) {
    out.extend_from_slice(if any { b"\n]\n" } else { b"]\n" });
}
