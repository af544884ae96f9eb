//! Which addresses stand or fall together, and which are reachable from anywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// The IPv4 prefixes that are not globally reachable, with their lengths; the crate's documentation says what each is.
const LOCAL_V4: [([u8; 4], u32); 13] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([240, 0, 0, 0], 4),
];

/// The same of IPv6.
const LOCAL_V6: [([u16; 8], u32); 9] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 127),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 63),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
];

/// Whether the address can be reached from the open Internet: it is in none of the prefixes that the registries of
/// RFC 6890 say are not, nor does it embed an IPv4 address that is.
pub(crate) fn is_global(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let is_in = |net: [u8; 4], len: u32| (ip.to_bits() ^ u32::from_be_bytes(net)) >> (32 - len) == 0;
            !LOCAL_V4.iter().any(|&(net, len)| is_in(net, len))
        }
        IpAddr::V6(ip) => {
            let is_in = |net: [u16; 8], len: u32| (ip.to_bits() ^ Ipv6Addr::from(net).to_bits()) >> (128 - len) == 0;
            !LOCAL_V6.iter().any(|&(net, len)| is_in(net, len)) && embedded(ip).is_none_or(|ip| is_global(ip.into()))
        }
    }
}

/// The IPv4 address that a NAT64 (RFC 6052) or 6to4 (RFC 3056) address leads to.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d] = match ip.octets() {
        [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, embedded @ ..] => embedded,
        [0x20, 0x02, a, b, c, d, ..] => [a, b, c, d],
        _ => return None,
    };
    Some(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests;
