use super::*;
use crate::tests::ip;

#[test]
fn addresses_that_no_peer_has() {
    let last_v6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    for no in [
        "0.0.0.0",
        "::",
        "224.0.0.0",
        "239.255.255.255",
        "ff00::",
        last_v6,
        "255.255.255.255",
    ] {
        assert!(!is_peer_address(ip(no)), "{no}");
    }
    for yes in [
        "0.0.0.1",
        "::1",
        "223.255.255.255",
        "240.0.0.0",
        "255.255.255.254",
        "192.0.2.255",
        "feff::",
    ] {
        assert!(is_peer_address(ip(yes)), "{yes}");
    }
}
