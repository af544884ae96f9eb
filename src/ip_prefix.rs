//! [`IpPrefix`]: a network prefix in CIDR notation, as `denied` and `allowed` of the config list them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// The bits of an IPv4 address in IPv6 form (RFC 4291) that come before the IPv4 address.
const MAPPED_BITS: u8 = 96;

/// A network prefix: `10.0.0.0/8`, `2001:db8::/32`. An address alone is its own prefix, `/32` or `/128`.
///
/// It is canonical: prefixes of equal meaning are equal, and an IPv4 prefix in IPv6 form, as `::ffff:10.0.0.0/104`, is the
/// IPv4 prefix. `0.0.0.0/0` is all of IPv4 and `::/0` all of IPv6; no prefix has addresses of both. Where a prefix has bits
/// set beyond its length, another one was meant: that is an error which names the prefix with these bits cleared.
///
/// In a config file it is a string.
///
/// ```
/// use network::IpPrefix;
///
/// let private: IpPrefix = "10.0.0.0/8".parse()?;
/// assert!(private.contains([10, 1, 2, 3].into()));
/// assert!(!private.contains([11, 0, 0, 1].into()));
///
/// let mistaken = "10.1.2.3/8".parse::<IpPrefix>().unwrap_err();
/// assert_eq!(
///     mistaken.to_string(),
///     "`10.1.2.3/8` has bits set beyond its first 8, expected `10.0.0.0/8`",
/// );
/// # Ok::<(), network::IpPrefixError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpPrefix {
    /// The first address of the prefix, canonical.
    network: IpAddr,
    /// How many leading bits all of its addresses share.
    len: u8,
}

/// A text that is no [`IpPrefix`]. [`IpPrefix`] has an example.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpPrefixError {
    /// It is neither an address nor an address with a length.
    #[error("`{text}` is no IP prefix, expected one like `10.0.0.0/8`, `2001:db8::/32` or `192.0.2.1`")]
    Malformed {
        /// The text.
        text: String,
    },
    /// An address has fewer bits than that.
    #[error("`{text}` is too long for a prefix, expected at most /{longest}")]
    TooLong {
        /// The text.
        text: String,
        /// The longest that there is: 32 or 128.
        longest: u8,
    },
    /// Bits beyond its length are set.
    #[error("`{text}` has bits set beyond its first {}, expected `{expected}`", length_in(.text))]
    HostBits {
        /// The text.
        text: String,
        /// The same prefix with these bits cleared.
        expected: IpPrefix,
    },
}

impl IpPrefix {
    /// Whether the address is one of the prefix. An IPv4 address in IPv6 form is that IPv4 address.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.network <= ip && ip <= self.last()
    }

    /// The first address of the prefix.
    pub(crate) fn first(&self) -> IpAddr {
        self.network
    }

    /// The last address of the prefix.
    pub(crate) fn last(&self) -> IpAddr {
        match self.network {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() | host_mask_v4(self.len)).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() | host_mask_v6(self.len)).into(),
        }
    }

    /// The prefix of this length that the address is in; both have to be of one family.
    fn around(ip: IpAddr, len: u8) -> Self {
        let network = match ip {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !host_mask_v4(len)).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !host_mask_v6(len)).into(),
        };
        Self { network, len }.canonical()
    }

    fn canonical(self) -> Self {
        match (self.network.to_canonical(), self.len.checked_sub(MAPPED_BITS)) {
            (network @ IpAddr::V4(_), Some(len)) if self.network.is_ipv6() => Self { network, len },
            _ => self,
        }
    }
}

/// An address is its own prefix.
impl From<IpAddr> for IpPrefix {
    fn from(ip: IpAddr) -> Self {
        Self::around(ip, longest(ip))
    }
}

impl FromStr for IpPrefix {
    type Err = IpPrefixError;

    fn from_str(text: &str) -> Result<Self, IpPrefixError> {
        let malformed = || IpPrefixError::Malformed { text: text.to_owned() };
        let (ip, len) = match text.split_once('/') {
            Some((ip, len)) => (ip, Some(decimal(len).ok_or_else(malformed)?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| malformed())?;
        let longest = longest(ip);
        let len = len.unwrap_or(longest);
        if len > longest {
            let text = text.to_owned();
            return Err(IpPrefixError::TooLong { text, longest });
        }
        let prefix = Self::around(ip, len);
        if prefix.network != ip.to_canonical() {
            let text = text.to_owned();
            return Err(IpPrefixError::HostBits { text, expected: prefix });
        }
        Ok(prefix)
    }
}

/// `10.0.0.0/8`; an address that is its own prefix is shown as that.
impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len == longest(self.network) {
            return self.network.fmt(f);
        }
        f.pad(&format!("{}/{}", self.network, self.len))
    }
}

impl Serialize for IpPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IpPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

fn longest(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// A length in digits: no sign, no space.
fn decimal(text: &str) -> Option<u8> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    // More than a `u8` holds is too long for any address.
    let len = text.parse::<u64>().map(|len| u8::try_from(len).unwrap_or(u8::MAX));
    len.ok().filter(|_| is_decimal)
}

/// The bits beyond the first `len`.
fn host_mask_v4(len: u8) -> u32 {
    u32::MAX.checked_shr(len.into()).unwrap_or(0)
}

fn host_mask_v6(len: u8) -> u128 {
    u128::MAX.checked_shr(len.into()).unwrap_or(0)
}

/// The length as the text has it: in IPv6 form it is not that of the canonical prefix.
fn length_in(text: &str) -> &str {
    text.split_once('/').map_or("", |(_, len)| len)
}

#[cfg(test)]
mod tests;
