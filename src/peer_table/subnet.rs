//! Which addresses stand or fall together, and which are reachable from anywhere.

use std::net::IpAddr;

use crate::peer_table::bag::Numbered;

/// A network prefix: what one party is assumed to hold cheaply in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Subnet(u64);

/// Names the group of a subnet's known peers, for as long as there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupId(pub(crate) u32);

/// Tells an IPv4 prefix from an IPv6 one; no prefix in use is long enough to reach it.
const V4: u64 = 1 << 63;

impl Numbered for GroupId {
    fn number(self) -> usize {
        self.0.try_into().unwrap_or(usize::MAX)
    }
}

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
mod tests;
