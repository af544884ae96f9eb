//! Which addresses stand or fall together, and which are reachable from anywhere.

use std::net::IpAddr;

/// A network prefix: what one party is assumed to hold cheaply in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Subnet(u64);

/// Tells an IPv4 prefix from an IPv6 one; no prefix in use is long enough to reach it.
const V4: u64 = 1 << 63;

impl Subnet {
    /// The /16 (IPv4) or /32 (IPv6) that an outgoing connection takes, and that forgetting is shared out by.
    pub(crate) fn of(ip: IpAddr) -> Self {
        Self::prefix(ip, 16, 32)
    }

    /// The /24 (IPv4) or /48 (IPv6) that `max_incoming_per_subnet` counts by.
    pub(crate) fn of_inbound(ip: IpAddr) -> Self {
        Self::prefix(ip, 24, 48)
    }

    fn prefix(ip: IpAddr, v4: u32, v6: u32) -> Self {
        match ip {
            IpAddr::V4(ip) => Self(V4 | u64::from(ip.to_bits() >> (32 - v4))),
            IpAddr::V6(ip) => Self(u64::try_from(ip.to_bits() >> (128 - v6)).unwrap_or(u64::MAX >> 1)),
        }
    }
}

/// Whether the address can be reached from the open Internet, as far as `global_peers_only` cares: not private
/// (RFC 1918, RFC 4193), not loopback (RFC 1122, RFC 4291), not link-local (RFC 3927, RFC 4291). The crate's
/// documentation lists the ranges.
pub(crate) fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_private() || ip.is_loopback() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_have_the_documented_lengths() {
        assert_eq!(Subnet::of(ip("60.1.2.3")), Subnet::of(ip("60.1.255.255")));
        assert_ne!(Subnet::of(ip("60.1.2.3")), Subnet::of(ip("60.2.2.3")));
        assert_eq!(Subnet::of(ip("2001:db8::1")), Subnet::of(ip("2001:db8:ffff::1")));
        assert_ne!(Subnet::of(ip("2001:db8::1")), Subnet::of(ip("2001:db9::1")));
        assert_eq!(Subnet::of_inbound(ip("60.1.2.3")), Subnet::of_inbound(ip("60.1.2.255")));
        assert_ne!(Subnet::of_inbound(ip("60.1.2.3")), Subnet::of_inbound(ip("60.1.3.3")));
        assert_eq!(
            Subnet::of_inbound(ip("2001:db8:1:1::")),
            Subnet::of_inbound(ip("2001:db8:1:2::"))
        );
        assert_ne!(
            Subnet::of_inbound(ip("2001:db8:1::")),
            Subnet::of_inbound(ip("2001:db8:2::"))
        );
    }

    #[test]
    fn families_never_share_a_subnet() {
        assert_ne!(Subnet::of(ip("0.1.0.0")), Subnet::of(ip("0:1::")));
        assert_ne!(Subnet::of(ip("255.255.1.1")), Subnet::of(ip("ffff:ffff::")));
    }

    /// The first and the last of each range that the crate's documentation lists, and their neighbours outside.
    #[test]
    fn addresses_of_the_open_internet() {
        let ranges = [
            ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
            ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"),
            ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"),
            ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"),
            ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"),
            ("::2", "::1", "::1", "::2"),
            (
                "fbff::ffff",
                "fc00::",
                "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "fe00::",
            ),
            (
                "fe7f::ffff",
                "fe80::",
                "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "fec0::",
            ),
        ];
        for (before, first, last, after) in ranges {
            assert!(!is_global(ip(first)) && !is_global(ip(last)), "{first} to {last}");
            assert!(is_global(ip(before)) && is_global(ip(after)), "{first} to {last}");
        }
    }
}
