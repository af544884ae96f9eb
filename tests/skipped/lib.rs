//! Nothing; see `main.rs`, which is run as a test.
