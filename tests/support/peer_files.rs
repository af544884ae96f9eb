//! A peer file in a folder of its own, and controllers that live by it without dialing or admitting anybody.

#![allow(dead_code, reason = "no test needs all of it")]

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use network::{NetworkController, NetworkError};
use serde_json::Value;
use tempfile::TempDir;

/// A folder that holds a peer file, or nothing.
pub(crate) struct PeerFile {
    pub(crate) folder: TempDir,
    pub(crate) path: PathBuf,
}

impl PeerFile {
    pub(crate) fn missing() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        Self { folder, path }
    }

    pub(crate) fn holding(contents: impl AsRef<[u8]>) -> Self {
        let file = Self::missing();
        fs::write(&file.path, contents).unwrap();
        file
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    /// Whether the folder holds just the file: no temporary file is left.
    pub(crate) fn is_alone(&self) -> bool {
        let mut entries = fs::read_dir(self.folder.path()).unwrap();
        entries.next().is_some_and(|entry| entry.unwrap().path() == self.path) && entries.next().is_none()
    }

    /// The record of one peer.
    pub(crate) fn record(&self, ip: IpAddr) -> Value {
        let records: Vec<Value> = serde_json::from_slice(&self.bytes()).unwrap();
        let mut found = records.into_iter().filter(|record| record["ip"] == ip.to_string());
        let record = found.next().unwrap_or_else(|| panic!("no record of {ip}"));
        assert!(found.next().is_none(), "two records of {ip}");
        record
    }

    pub(crate) async fn load(&self) -> Result<NetworkController, NetworkError> {
        self.load_within(100, 100).await
    }

    pub(crate) async fn load_within(
        &self,
        max_idle_peers: usize,
        max_banned_peers: usize,
    ) -> Result<NetworkController, NetworkError> {
        NetworkController::new(&self.path, 0, 0, 0, 0, 0, max_idle_peers, max_banned_peers, 600).await
    }
}
