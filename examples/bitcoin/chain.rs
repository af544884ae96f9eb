//! The networks that use the Bitcoin protocol, and the parameters of each.

use bitcoin::p2p::Magic;
use clap::ValueEnum;

/// A network, as `--network` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    Bitcoin,
    BitcoinTestnet,
    BitcoinTestnet4,
    BitcoinSignet,
    BitcoinRegtest,
    Litecoin,
    LitecoinTestnet,
    LitecoinRegtest,
}

/// The parameters of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The first bytes of each message.
    pub(crate) magic: Magic,
    pub(crate) port: u16,
    /// The version of the protocol.
    pub(crate) version: u32,
}

/// The first version in which features are negotiated by messages such as `sendaddrv2` (BIP 155).
pub(crate) const FEATURE_MESSAGES: u32 = 70_016;

impl Network {
    pub(crate) fn chain(self) -> Chain {
        let (magic, port) = match self {
            Self::Bitcoin => (Magic::BITCOIN, 8333),
            Self::BitcoinTestnet => (Magic::TESTNET3, 18_333),
            Self::BitcoinTestnet4 => (Magic::TESTNET4, 48_333),
            Self::BitcoinSignet => (Magic::SIGNET, 38_333),
            Self::BitcoinRegtest => (Magic::REGTEST, 18_444),
            Self::Litecoin => (Magic::from_bytes([0xfb, 0xc0, 0xb6, 0xdb]), 9333),
            Self::LitecoinTestnet => (Magic::from_bytes([0xfd, 0xd2, 0xc8, 0xf1]), 19_335),
            Self::LitecoinRegtest => (Magic::REGTEST, 19_444),
        };
        Chain {
            magic,
            port,
            version: FEATURE_MESSAGES,
        }
    }

    /// Whether its nodes are on the open Internet, rather than on a local network or one host.
    pub(crate) fn is_global(self) -> bool {
        !matches!(self, Self::BitcoinRegtest | Self::LitecoinRegtest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_differ() {
        let all = Network::value_variants();
        for (place, one) in all.iter().enumerate() {
            for other in &all[place + 1..] {
                let (one, other) = (one.chain(), other.chain());
                assert_ne!((one.magic, one.port), (other.magic, other.port));
            }
        }
    }
}
