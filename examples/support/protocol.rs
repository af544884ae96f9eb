//! The wire protocol of the example nodes: its messages as lines of text, and a reader of such lines.
//!
//! Each end starts with `HELLO <protocol> <nonce>`. Then either may send `PING <number>` (answered by `PONG` with the
//! same number), `GETPEERS` (answered by `PEERS <ip> <ip> ...`) and `BYE`. A line is at most [`MAX_LINE`] bytes long and
//! ends with `\n`, so that a peer cannot make us buffer more than one line.

use std::fmt;
use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The protocol and its version, as `HELLO` names them.
pub const PROTOCOL: &str = "network-example/1";

/// The longest line, without its end.
pub const MAX_LINE: usize = 4096;

/// The most addresses in one `PEERS`. As many IPv6 addresses of full length fit in a line.
pub const MAX_PEERS: usize = 64;

/// A message, which is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first message of either end.
    Hello {
        /// Random, one a process, so that a node recognises a connection to itself.
        nonce: u64,
    },
    /// Asks for a pong with the same number.
    Ping(u64),
    /// The answer to a ping.
    Pong(u64),
    /// Asks for peers.
    GetPeers,
    /// The answer to `GETPEERS`.
    Peers(Vec<IpAddr>),
    /// The sender is about to close the connection.
    Bye,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { nonce } => write!(f, "HELLO {PROTOCOL} {nonce:016x}"),
            Self::Ping(number) => write!(f, "PING {number}"),
            Self::Pong(number) => write!(f, "PONG {number}"),
            Self::GetPeers => f.write_str("GETPEERS"),
            Self::Peers(ips) => {
                f.write_str("PEERS")?;
                ips.iter().try_for_each(|ip| write!(f, " {ip}"))
            }
            Self::Bye => f.write_str("BYE"),
        }
    }
}

/// How a peer broke the protocol.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum ProtocolError {
    #[error("a line of more than {MAX_LINE} bytes")]
    TooLong,
    #[error("a line that is not UTF-8")]
    NotText,
    #[error("no such message: {0:?}")]
    Unknown(String),
    #[error("a bad {0}")]
    Malformed(&'static str),
    #[error("{0} out of turn")]
    Unexpected(&'static str),
    #[error("too many messages")]
    Flood,
    #[error("a hello of {0:?}, where we speak {PROTOCOL}")]
    OtherVersion(String),
}

impl Message {
    /// Parses a line, without its end.
    pub fn parse(line: &[u8]) -> Result<Self, ProtocolError> {
        let line = str::from_utf8(line).map_err(|_| ProtocolError::NotText)?;
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "HELLO" => parse_hello(rest),
            "PING" => number(rest).map(Self::Ping).ok_or(ProtocolError::Malformed("PING")),
            "PONG" => number(rest).map(Self::Pong).ok_or(ProtocolError::Malformed("PONG")),
            "GETPEERS" if rest.is_empty() => Ok(Self::GetPeers),
            "PEERS" => parse_peers(rest),
            "BYE" if rest.is_empty() => Ok(Self::Bye),
            _ => Err(ProtocolError::Unknown(line.chars().take(32).collect())),
        }
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn parse_hello(rest: &str) -> Result<Message, ProtocolError> {
    let (protocol, nonce) = rest.split_once(' ').ok_or(ProtocolError::Malformed("HELLO"))?;
    if protocol != PROTOCOL {
        return Err(ProtocolError::OtherVersion(protocol.chars().take(32).collect()));
    }
    let nonce = u64::from_str_radix(nonce, 16).map_err(|_| ProtocolError::Malformed("HELLO"))?;
    Ok(Message::Hello { nonce })
}

fn parse_peers(rest: &str) -> Result<Message, ProtocolError> {
    let ips: Result<Vec<IpAddr>, _> = rest.split_ascii_whitespace().map(str::parse).collect();
    match ips {
        Ok(ips) if ips.len() <= MAX_PEERS => Ok(Message::Peers(ips)),
        Ok(_) | Err(_) => Err(ProtocolError::Malformed("PEERS")),
    }
}

/// Reads lines of a bounded length.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Reads lines from `reader`.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::new(),
        }
    }

    /// The next line without its end. The end of the stream is an error, as a peer sends `BYE` before it closes.
    ///
    /// Cancel safe: the part of a line that was read is kept for the next call.
    pub async fn next_line(&mut self) -> io::Result<Result<Vec<u8>, ProtocolError>> {
        loop {
            let read = self.reader.fill_buf().await?;
            if read.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let end = read.iter().position(|&byte| byte == b'\n');
            let part = &read[..end.unwrap_or(read.len())];
            if self.line.len() + part.len() > MAX_LINE {
                return Ok(Err(ProtocolError::TooLong));
            }
            self.line.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Ok(std::mem::take(&mut self.line)));
            }
        }
    }
}
