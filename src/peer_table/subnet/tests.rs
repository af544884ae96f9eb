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
