//! The records of a file as serde's derive has them, with chrono's own times.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use network::PeerStatus;
use network::peer_file::PeerRecord;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(crate) struct Plain {
    ip: IpAddr,
    status: PeerStatus,
    last_alive: Option<DateTime<Utc>>,
    last_failure: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_alive_outgoing: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failures_in_row: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    banned_at: Option<DateTime<Utc>>,
}

impl Plain {
    pub(crate) fn of(record: &PeerRecord) -> Self {
        let peer = &record.peer;
        // As the file has it: not where it goes without saying.
        let is_said = peer.failures_in_row > 0 || peer.last_failure > peer.last_alive;
        Self {
            ip: peer.ip,
            status: peer.status,
            last_alive: peer.last_alive,
            last_failure: peer.last_failure,
            last_alive_outgoing: peer.last_alive_outgoing,
            failures_in_row: is_said.then_some(peer.failures_in_row),
            banned_at: record.banned_at,
        }
    }
}
