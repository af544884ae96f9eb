//! The kit for simulated networks: what its TCP does, that runs replay, and networks of real controllers on it.

mod hosts;
mod networks;
mod pair;
mod tcp;
