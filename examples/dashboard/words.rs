//! Short words for what a cell of a table has room for.

use std::net::{IpAddr, Ipv6Addr};

use chrono::{DateTime, Utc};
use network::PeerStatus;

/// How long ago this was, in its largest unit: `12s`, `3m`, `2h`, `5d`.
pub(crate) fn age(since: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - since).num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The same as a phrase; `never` for what has not happened.
pub(crate) fn ago(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", age(at, now)))
}

/// The network of an address by which the controller spreads its outgoing connections: a /16, or a /32 of IPv6.
pub(crate) fn subnet(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            format!("{first}.{second}/16")
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            format!("{}/32", Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0))
        }
    }
}

/// `out` or `in`, and the status without it.
pub(crate) fn direction_and_status(status: PeerStatus) -> (&'static str, &'static str) {
    match status {
        PeerStatus::Idle => ("", "idle"),
        PeerStatus::OutConnecting => ("out", "connecting"),
        PeerStatus::OutHandshaking => ("out", "handshake"),
        PeerStatus::OutAlive => ("out", "alive"),
        PeerStatus::InHandshaking => ("in", "handshake"),
        PeerStatus::InAlive => ("in", "alive"),
        PeerStatus::Banned => ("", "banned"),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        let now = DateTime::UNIX_EPOCH;
        let ages = [0, 59, 60, 3_599, 3_600, 86_399, 86_400].map(|seconds| age(now - TimeDelta::seconds(seconds), now));
        assert_eq!(ages, ["0s", "59s", "1m", "59m", "1h", "23h", "1d"]);
        assert_eq!(age(now + TimeDelta::seconds(5), now), "0s", "the clock was set back");
        assert_eq!(ago(None, now), "never");
    }

    #[test]
    fn a_subnet_is_that_of_the_controller() {
        assert_eq!(subnet([203, 0, 113, 7].into()), "203.0/16");
        assert_eq!(subnet("2001:db8:5::7".parse().unwrap()), "2001:db8::/32");
    }
}
