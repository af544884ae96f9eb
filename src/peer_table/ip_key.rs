//! [`IpKey`]: an address as the key of a map.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// A canonical address, hashed in one piece: the derived hash of `IpAddr` takes three writes, and looking addresses up is
/// most of what a list of known peers costs. It takes less room, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IpKey([u8; 16]);

impl From<IpAddr> for IpKey {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => Self(ip.octets()),
        }
    }
}

impl Hash for IpKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_addresses_are_different_keys() {
        let ips = ["1.2.3.4", "4.3.2.1", "::1", "::1.2.3.4", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        for (index, &ip) in ips.iter().enumerate() {
            let same: Vec<_> = ips.iter().map(|&other| IpKey::from(other) == IpKey::from(ip)).collect();
            assert_eq!(same.iter().position(|&same| same), Some(index));
            assert_eq!(same.iter().filter(|&&same| same).count(), 1);
        }
    }
}
