//! Fixtures for the unit tests of several modules.

#[path = "../tests/support/skip.rs"]
pub(crate) mod skip;

use std::net::IpAddr;

use chrono::{DateTime, Utc};

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// When the clock of a test starts.
pub(crate) fn start() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}
