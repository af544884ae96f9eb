//! One page a question: how to use this crate, with examples that are compiled and, where no other host is needed, run.
//!
//! Start with [the loop](the_loop) and [leases]; the others are for when the question comes up. `README.md` of the
//! repository has two nodes in five minutes, and a list of whole programs.
//!
//! | question | page |
//! |---|---|
//! | How do I take events, and where do I shake hands? | [the loop](the_loop) |
//! | How do I report what becomes of a connection, and learn that it has to end? | [leases] |
//! | How do I do without leases? | [feedback by address](feedback_by_address) |
//! | How do I compose it with other streams? | [split, forward and select](streams) |
//! | How do I end a node so that it loses nothing? | [shutting down](shutting_down) |
//! | How does a node find its first peer? | [seeds and bootstraps](seeds) |
//! | How do I shut a peer out, and let it in again? | [bans] |
//! | What is in the peer file, and how is it run in production? | [the peer file](peer_file) |
//! | How do I ask it, and see what it does? | [watching] |
//! | How do I test my node? | [testing] |
//! | Which option should I change? | [tuning] |
//! | I know libp2p or pea2pea: what is where? | [from libp2p or pea2pea](coming_from) |
//! | What can an attacker do? | [security] |

#[doc = include_str!("guide/the_loop.md")]
pub mod the_loop {}

#[doc = include_str!("guide/leases.md")]
pub mod leases {}

#[doc = include_str!("guide/feedback_by_address.md")]
pub mod feedback_by_address {}

#[doc = include_str!("guide/streams.md")]
pub mod streams {}

#[doc = include_str!("guide/shutting_down.md")]
pub mod shutting_down {}

#[doc = include_str!("guide/seeds.md")]
pub mod seeds {}

#[doc = include_str!("guide/bans.md")]
pub mod bans {}

#[doc = include_str!("guide/peer_file.md")]
pub mod peer_file {}

#[doc = include_str!("guide/watching.md")]
pub mod watching {}

#[doc = include_str!("guide/testing.md")]
#[cfg_attr(
    feature = "sim",
    doc = "\n# See also\n\n[`network::sim`](crate::sim), the chapter on simulation."
)]
pub mod testing {}

#[doc = include_str!("guide/tuning.md")]
pub mod tuning {}

#[doc = include_str!("guide/coming_from.md")]
pub mod coming_from {}

#[doc = include_str!("guide/security.md")]
pub mod security {}
