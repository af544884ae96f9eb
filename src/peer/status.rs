//! [`PeerStatus`]: what is going on with a peer, and the name of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is going on with a peer. In the peer file it is written as the name of its variant.
///
/// [`Display`](fmt::Display) writes that name, and [`FromStr`] reads it:
///
/// ```
/// use network::PeerStatus;
///
/// let status: PeerStatus = "OutAlive".parse()?;
/// assert_eq!(status, PeerStatus::OutAlive);
/// assert_eq!(status.to_string(), "OutAlive");
/// # Ok::<(), network::PeerStatusError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerStatus {
    /// Known, and nothing is being done with it.
    Idle,
    /// We are establishing an outgoing TCP connection to it.
    OutConnecting,
    /// Our outgoing connection is established, the application is shaking hands over it.
    OutHandshaking,
    /// Our outgoing connection has been reported alive.
    OutAlive,
    /// It connected to us, the application is shaking hands over that connection.
    InHandshaking,
    /// It connected to us and has been reported alive.
    InAlive,
    /// Neither dialed nor admitted.
    Banned,
}

impl PeerStatus {
    /// Every status, in the order of their declaration.
    pub(crate) const ALL: [Self; 7] = [
        Self::Idle,
        Self::OutConnecting,
        Self::OutHandshaking,
        Self::OutAlive,
        Self::InHandshaking,
        Self::InAlive,
        Self::Banned,
    ];

    /// The name that [`Display`](fmt::Display) and the peer file use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::OutConnecting => "OutConnecting",
            Self::OutHandshaking => "OutHandshaking",
            Self::OutAlive => "OutAlive",
            Self::InHandshaking => "InHandshaking",
            Self::InAlive => "InAlive",
            Self::Banned => "Banned",
        }
    }

    /// Whether there is an established connection with a peer of this status.
    #[must_use]
    pub const fn is_connected(self) -> bool {
        match self {
            Self::OutHandshaking | Self::OutAlive | Self::InHandshaking | Self::InAlive => true,
            Self::Idle | Self::OutConnecting | Self::Banned => false,
        }
    }
}

impl fmt::Display for PeerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Reads what [`Display`](fmt::Display) writes: the exact name, without spaces around it.
impl FromStr for PeerStatus {
    type Err = PeerStatusError;

    fn from_str(text: &str) -> Result<Self, PeerStatusError> {
        let named = Self::ALL.into_iter().find(|status| status.as_str() == text);
        named.ok_or_else(|| PeerStatusError { text: text.to_owned() })
    }
}

/// A text that names no [`PeerStatus`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no peer status, expected one of {}", names())]
pub struct PeerStatusError {
    /// The text.
    pub text: String,
}

/// All names, as a sentence has them.
fn names() -> String {
    PeerStatus::ALL.map(|status| format!("`{status}`")).join(", ")
}

#[cfg(test)]
mod tests;
