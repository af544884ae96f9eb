//! What a changed config does to a [`Trial`].

use PeerStatus::{Banned, Idle};

use super::*;

/// What the operator changes of the config.
pub(in super::super) type Edit = fn(&mut NetworkConfig);

impl Trial {
    /// No connection ends at once, and the controller is woken to do the rest.
    pub(super) fn reconfigure(&mut self, edit: Option<usize>) {
        let connections = |trial: &Self| {
            let peers = trial.node.stats().peers;
            peers
                .iter()
                .filter(|(status, _)| status.is_connected())
                .map(|(_, count)| count)
                .sum::<usize>()
        };
        let (mut config, before) = (self.start_config.clone(), connections(self));
        if let Some(edit) = edit {
            self.edits[edit](&mut config);
        }
        self.node.net.reconfigure(config).unwrap();
        self.edited = edit;
        self.unpolled += 1;
        assert_eq!(connections(self), before, "closed by a new config");
        assert!(!self.rests(), "a new config wakes no task");
    }

    pub(super) fn is_denied(&self, peer: usize) -> bool {
        let denied = &self.node.config().denied;
        denied.iter().any(|prefix| prefix.contains(ip(self.names[peer])))
    }

    /// Where a cap was lowered, connections only become fewer until it is met. The target has room for a rotation.
    pub(super) fn check_caps(&self, before: &Stats) {
        let after = self.node.stats();
        let spare = usize::from(after.counters.rotations > 0);
        let caps = [
            (before.outgoing_connections, after.outgoing_connections, spare),
            (before.outgoing_attempts, after.outgoing_attempts, 0),
            (before.incoming_connections, after.incoming_connections, 0),
            (before.incoming_attempts, after.incoming_attempts, 0),
        ];
        for (before, after, spare) in caps {
            assert!(
                after.used <= before.used.max(after.limit + spare),
                "{before:?} {after:?}"
            );
        }
    }

    /// A denied peer is not told of from the moment on at which it is denied; once the controller rests, it is neither
    /// dialed nor connected, as leases hold all connections.
    pub(super) fn check_denied(&self) {
        let denied = (0..self.peers.len()).filter(|&peer| self.is_denied(peer));
        for peer in denied {
            assert!(
                self.node.good_peer_ips().all(|told| told != ip(self.names[peer])),
                "told of"
            );
            let status = self.status(peer);
            let is_left = matches!(status, None | Some(Idle | Banned));
            assert!(is_left || !self.rests(), "{status:?} though it is denied");
        }
    }
}
