//! The kit for simulated networks: what its TCP does, that runs replay, and networks of real controllers on it.

mod networks;
mod tcp;
