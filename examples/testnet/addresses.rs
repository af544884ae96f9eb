//! Addresses for the nodes of one run: a loopback network of its own, and one port that is free on all of its addresses,
//! so that several runs can go on at the same time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::process;

/// One address a node, and the port that all of them listen on.
#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) port: u16,
}

/// How many loopback networks are tried.
const ATTEMPTS: u32 = 16;

impl Addresses {
    /// Finds `count` addresses.
    pub(crate) fn find(count: u8) -> io::Result<Self> {
        let mut failed = None;
        for attempt in 0..ATTEMPTS {
            match Self::probe(process::id().wrapping_add(attempt * 997), count) {
                Ok(found) => return Ok(found),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }

    /// The `number`th of the networks 127.16.0.0/24 to 127.255.255.0/24, if every address of it can be listened on.
    fn probe(number: u32, count: u8) -> io::Result<Self> {
        let [_, _, high, low] = number.to_be_bytes();
        let ips: Vec<IpAddr> = (1..=count)
            .map(|host| Ipv4Addr::new(127, 16 + high % 240, low, host).into())
            .collect();
        let first = TcpListener::bind((ips[0], 0))?;
        let port = first.local_addr()?.port();
        for &ip in &ips[1..] {
            TcpListener::bind((ip, port))?;
        }
        Ok(Self { ips, port })
    }
}
