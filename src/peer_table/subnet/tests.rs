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

const MAX_V6: &str = ":ffff:ffff:ffff:ffff:ffff:ffff";

/// The first and the last of each range that the crate's documentation lists, and their neighbours outside.
#[test]
fn addresses_of_the_open_internet() {
    let ranges = [
        ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
        ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"),
        ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"),
        ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"),
        ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"),
        ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"),
        ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"),
        ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"),
        ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"),
        ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"),
        ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"),
        ("1.0.0.0", "0.0.0.0", "0.255.255.255", "1.0.0.0"),
        ("223.255.255.255", "240.0.0.0", "255.255.255.255", "223.255.255.255"),
        ("::2", "::", "::1", "::2"),
        (
            "64:ff9b:0:ffff::",
            "64:ff9b:1::",
            "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
            "64:ff9b:2::",
        ),
        ("ff:ffff::", "100::", "100::1:ffff:ffff:ffff:ffff", "100:0:0:2::"),
        ("2000:ffff::", "2001::", &format!("2001:1ff{MAX_V6}"), "2001:200::"),
        ("2001:db7::", "2001:db8::", &format!("2001:db8{MAX_V6}"), "2001:db9::"),
        ("3ffe:ffff::", "3fff::", &format!("3fff:fff{MAX_V6}"), "3fff:1000::"),
        ("5eff:ffff::", "5f00::", &format!("5f00:ffff{MAX_V6}"), "5f01::"),
        ("fbff::ffff", "fc00::", &format!("fdff:ffff{MAX_V6}"), "fe00::"),
        ("fe7f::ffff", "fe80::", &format!("febf:ffff{MAX_V6}"), "fec0::"),
    ];
    for (before, first, last, after) in ranges {
        assert!(!is_global(ip(first)) && !is_global(ip(last)), "{first} to {last}");
        assert!(is_global(ip(before)) && is_global(ip(after)), "{first} to {last}");
    }
}

#[test]
fn an_address_that_embeds_another_one_is_as_reachable_as_that() {
    for (v4, is_reachable) in [("60.1.2.3", true), ("10.0.0.1", false), ("100.64.0.1", false)] {
        let IpAddr::V4(v4) = ip(v4) else { unreachable!() };
        let [high, low] = [v4.to_bits() >> 16, v4.to_bits() & 0xffff];
        for form in [
            format!("::ffff:{v4}"),
            format!("64:ff9b::{v4}"),
            format!("2002:{high:x}:{low:x}::1"),
        ] {
            assert_eq!(is_global(ip(&form)), is_reachable, "{form}");
        }
    }
}
