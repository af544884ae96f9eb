//! Addresses in messages, received and sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bitcoin::p2p::address::{AddrV2, AddrV2Message};
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Address, ServiceFlags};
use chrono::Utc;

/// The name and version of this node.
const USER_AGENT: &str = concat!("/network:", env!("CARGO_PKG_VERSION"), "/");

/// The age of an address that we pass on. We do not know when it was last seen, and full nodes relay fresh addresses
/// further.
const HEARSAY_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The IP addresses in an `addr`, with their services.
pub(crate) fn of_addr(list: &[(u32, Address)]) -> impl Iterator<Item = (SocketAddr, ServiceFlags)> {
    // Hidden services have IPv6 addresses of a range of their own.
    let reachable = list.iter().filter(|(_, address)| address.socket_addr().is_ok());
    reachable.map(|(_, address)| {
        let ip = Ipv6Addr::from(address.address).to_canonical();
        (SocketAddr::new(ip, address.port), address.services)
    })
}

/// The IP addresses in an `addrv2`, with their services.
pub(crate) fn of_addrv2(list: &[AddrV2Message]) -> impl Iterator<Item = (SocketAddr, ServiceFlags)> {
    list.iter()
        .filter_map(|address| Some((address.socket_addr().ok()?, address.services)))
}

/// Our own address, with the present time.
pub(crate) fn announcement(own: SocketAddr, services: ServiceFlags, is_v2: bool) -> NetworkMessage {
    message(&[(own.ip(), services)], own.port(), now(), is_v2)
}

/// Addresses of peers, each with its services.
pub(crate) fn answer(peers: &[(IpAddr, ServiceFlags)], port: u16, is_v2: bool) -> NetworkMessage {
    let time = now().saturating_sub_unsigned(HEARSAY_AGE.as_secs());
    message(peers, port, time, is_v2)
}

/// The first message of either end. The caller sets the protocol version.
pub(crate) fn version(receiver: SocketAddr, services: ServiceFlags, nonce: u64) -> VersionMessage {
    // Nodes ignore the sender's own address here.
    let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    VersionMessage::new(
        services,
        now(),
        Address::new(&receiver, ServiceFlags::NONE),
        Address::new(&nowhere, services),
        nonce,
        USER_AGENT.to_owned(),
        0,
    )
}

fn message(peers: &[(IpAddr, ServiceFlags)], port: u16, time: i64, is_v2: bool) -> NetworkMessage {
    let time = u32::try_from(time).unwrap_or_default();
    if is_v2 {
        let address = |&(ip, services): &(IpAddr, ServiceFlags)| AddrV2Message {
            time,
            services,
            addr: match ip.to_canonical() {
                IpAddr::V4(ip) => AddrV2::Ipv4(ip),
                IpAddr::V6(ip) => AddrV2::Ipv6(ip),
            },
            port,
        };
        NetworkMessage::AddrV2(peers.iter().map(address).collect())
    } else {
        let address = |&(ip, services): &(IpAddr, ServiceFlags)| {
            let addr = SocketAddr::new(ip, port);
            (time, Address::new(&addr, services))
        };
        NetworkMessage::Addr(peers.iter().map(address).collect())
    }
}

fn now() -> i64 {
    Utc::now().timestamp()
}
