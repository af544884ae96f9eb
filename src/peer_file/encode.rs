//! From peers to bytes, one record a line, so that `git diff` and `grep` serve an operator. Pure: no file, no clock.

use super::fields::Fields;
use crate::peer::StoredPeer;

/// Opens the array.
pub(crate) fn encode_head(out: &mut Vec<u8>) {
    out.push(b'[');
}

/// Appends one record; `first` says that none was appended since the head. The times of a ban are written for a banned
/// peer only, and `knocked` for one that was never alive, as reading would drop them.
pub(crate) fn encode_record(out: &mut Vec<u8>, first: bool, stored: StoredPeer<'_>) {
    out.extend_from_slice(if first { b"\n  " } else { b",\n  " });
    serde_json::to_writer(out, &Fields::of(stored))
        .expect("a record's field names are strings, and a Vec takes every byte");
}

/// Closes the array; `any` says whether records were appended.
pub(crate) fn encode_tail(out: &mut Vec<u8>, any: bool) {
    out.extend_from_slice(if any { b"\n]\n" } else { b"]\n" });
}
