//! Which addresses `denied` and `allowed` of the config exclude: those peers are neither dialed, admitted, taken from
//! lists nor told of. Such a peer of the file stays in the file, where the operator may have put it.

use std::cmp::Reverse;
use std::net::IpAddr;

use crate::config::NetworkConfig;
use crate::ip_prefix::IpPrefix;

/// Asked of each inbound socket and of each address of a list, so it is made for long lists: O(log n) in their length.
#[derive(Debug)]
pub(crate) struct Exclusion {
    denied: Ranges,
    /// `None` allows all.
    allowed: Option<Ranges>,
}

/// The first and last address of each prefix, sorted; none is part of another.
#[derive(Debug)]
struct Ranges(Vec<(IpAddr, IpAddr)>);

impl Exclusion {
    pub(crate) fn new(config: &NetworkConfig) -> Self {
        Self {
            denied: Ranges::new(&config.denied),
            allowed: (!config.allowed.is_empty()).then(|| Ranges::new(&config.allowed)),
        }
    }

    /// Whether this canonical address is denied, or not among those that alone are allowed.
    pub(crate) fn excludes(&self, ip: IpAddr) -> bool {
        self.denied.contain(ip) || self.allowed.as_ref().is_some_and(|allowed| !allowed.contain(ip))
    }
}

impl Ranges {
    fn new(prefixes: &[IpPrefix]) -> Self {
        let mut ranges: Vec<_> = prefixes.iter().map(|prefix| (prefix.first(), prefix.last())).collect();
        // Two prefixes are apart, or one is part of the other, which then comes first.
        ranges.sort_unstable_by_key(|&(first, last)| (first, Reverse(last)));
        ranges.dedup_by(|next, kept| next.1 <= kept.1);
        Self(ranges)
    }

    fn contain(&self, ip: IpAddr) -> bool {
        let following = self.0.partition_point(|&(first, _)| first <= ip);
        let candidate = following.checked_sub(1).map(|index| self.0[index]);
        candidate.is_some_and(|(_, last)| ip <= last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::ip;

    fn excluding(denied: &[&str], allowed: &[&str]) -> Exclusion {
        let parse = |list: &[&str]| list.iter().map(|prefix| prefix.parse().unwrap()).collect();
        let mut config = NetworkConfig::in_memory(0);
        (config.denied, config.allowed) = (parse(denied), parse(allowed));
        Exclusion::new(&config)
    }

    #[test]
    fn without_lists_nothing_is_excluded() {
        let exclusion = excluding(&[], &[]);
        assert!(
            !["0.0.0.1", "255.255.255.254", "::1", "2001:db8::1"]
                .iter()
                .any(|text| exclusion.excludes(ip(text)))
        );
    }

    #[test]
    fn what_is_denied_is_excluded_up_to_its_ends() {
        let exclusion = excluding(
            &["10.2.0.0/16", "10.2.0.0/17", "10.0.0.0/15", "10.1.2.3", "2001:db8::/32"],
            &[],
        );
        let excluded = [
            "10.0.0.0",
            "10.1.2.3",
            "10.1.255.255",
            "10.2.0.0",
            "10.2.255.255",
            "2001:db8::",
        ];
        let others = [
            "9.255.255.255",
            "10.3.0.0",
            "2001:db7:ffff::",
            "2001:db9::",
            "::",
            "255.255.255.255",
        ];
        assert!(excluded.iter().all(|text| exclusion.excludes(ip(text))));
        assert!(!others.iter().any(|text| exclusion.excludes(ip(text))));
        assert_eq!(exclusion.denied.0.len(), 3, "two are parts of others");
    }

    #[test]
    fn with_allowed_only_those_are_and_denied_wins() {
        let exclusion = excluding(&["10.1.0.0/16"], &["10.0.0.0/8"]);
        let excluded = ["10.0.0.1", "10.1.0.1", "11.0.0.1", "::1"].map(|text| exclusion.excludes(ip(text)));
        assert_eq!(excluded, [false, true, true, true]);
    }

    proptest! {
        #[test]
        fn it_says_what_the_prefixes_say_one_by_one(
            prefixes in prop::collection::vec((0..8_u8, any::<[bool; 2]>(), 0..=8_u8), 0..12),
            asked in (any::<bool>(), any::<u8>()),
        ) {
            let prefix = |(bits, [is_v4, high], len): (u8, [bool; 2], u8)| {
                let bits = (bits << 5 | u8::from(high) << 4) & !u8::MAX.checked_shr(len.into()).unwrap_or(0);
                let text = if is_v4 { format!("{bits}.0.0.0/{len}") } else { format!("{bits:02x}00::/{len}") };
                text.parse::<IpPrefix>().unwrap()
            };
            let (is_v4, bits) = asked;
            let asked = if is_v4 { ip(&format!("{bits}.1.0.0")) } else { ip(&format!("{bits:02x}01::")) };
            let prefixes: Vec<_> = prefixes.into_iter().map(prefix).collect();
            let expected = prefixes.iter().any(|prefix| prefix.contains(asked));
            prop_assert_eq!(Ranges::new(&prefixes).contain(asked), expected);
        }
    }
}
