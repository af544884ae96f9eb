//! Sends and receives messages of the Bitcoin protocol over a socket, by the codec of the `bitcoin` crate.

use std::io;
use std::time::Duration;

use bitcoin::consensus::encode::{self, Decodable, MAX_VEC_SIZE};
use bitcoin::p2p::Magic;
use bitcoin::p2p::message::{CommandString, NetworkMessage, RawNetworkMessage};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The longest payload that the protocol allows in any message.
pub(crate) const MAX_PAYLOAD: usize = MAX_VEC_SIZE;

/// Magic, command, length and checksum.
const HEADER: usize = 24;

/// Where the command and the length begin in it.
const COMMAND_AT: usize = 4;
const LENGTH_AT: usize = 16;

/// The timeout of a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The initial size of the buffer; most messages fit.
const BUFFER: usize = 1024;

/// How a peer broke the protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("the magic {0}, which is of another network")]
    Magic(Magic),
    #[error("a message of {0} bytes, where {MAX_PAYLOAD} are allowed")]
    Oversized(usize),
    #[error("a message with a bad checksum")]
    Checksum,
    #[error("{0} addresses at once")]
    TooManyAddresses(usize),
    #[error("a second version")]
    SecondVersion,
    #[error("a verack before its version")]
    EarlyVerack,
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Lost(#[from] io::Error),
    #[error("it does not read")]
    Stuck,
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The message arrived whole, so the connection can go on.
    #[error("a {command} that we cannot read: {source}")]
    Unreadable {
        command: CommandString,
        source: encode::Error,
    },
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    socket: S,
    magic: Magic,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(socket: S, magic: Magic) -> Self {
        Self {
            socket,
            magic,
            read: Vec::with_capacity(BUFFER),
        }
    }

    /// The next message. It is buffered whole, so that a peer can make us hold up to [`MAX_PAYLOAD`] bytes.
    ///
    /// Cancel safe: the part of a message that was read is kept for the next call.
    pub(crate) async fn receive(&mut self) -> Result<NetworkMessage, WireError> {
        loop {
            if let Some(length) = self.message_length()?
                && self.read.len() >= length
            {
                return self.take_message(length);
            }
            if self.socket.read_buf(&mut self.read).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up").into());
            }
        }
    }

    /// Writes a message. Not cancel safe.
    pub(crate) async fn send(&mut self, message: NetworkMessage) -> Result<(), WireError> {
        let bytes = encode::serialize(&RawNetworkMessage::new(self.magic, message));
        let written = timeout(WRITE_TIMEOUT, self.socket.write_all(&bytes)).await;
        Ok(written.map_err(|_| WireError::Stuck)??)
    }

    /// The length of the first message with its header, once it is known. A violation is found as soon as the bytes that
    /// show it have arrived.
    fn message_length(&self) -> Result<Option<usize>, WireError> {
        if let Some(magic) = self.field(0).filter(|magic| *magic != self.magic) {
            return Err(Violation::Magic(magic).into());
        }
        let length = self
            .field::<u32>(LENGTH_AT)
            .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        match length {
            Some(length) if length > MAX_PAYLOAD => Err(Violation::Oversized(length).into()),
            length => Ok(length.map(|length| HEADER + length)),
        }
    }

    /// The field at this position of the first message, if it has arrived.
    fn field<T: Decodable>(&self, at: usize) -> Option<T> {
        T::consensus_decode(&mut self.read.get(at..)?).ok()
    }

    fn take_message(&mut self, length: usize) -> Result<NetworkMessage, WireError> {
        let decoded = encode::deserialize::<RawNetworkMessage>(&self.read[..length]);
        let command = self.field::<CommandString>(COMMAND_AT);
        self.read.drain(..length);
        // Frees the memory of a long message.
        self.read.shrink_to(BUFFER);
        match (decoded, command) {
            (Ok(message), _) => Ok(message.into_payload()),
            (Err(encode::Error::InvalidChecksum { .. }), _) => Err(Violation::Checksum.into()),
            (Err(source), command) => Err(WireError::Unreadable {
                command: command.unwrap_or_else(|| CommandString::try_from_static("?").expect("it is short")),
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
