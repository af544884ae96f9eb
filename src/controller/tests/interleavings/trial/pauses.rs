//! What the design says of a peer's connection, pauses and streak, from what was seen of the peer.
//!
//! The pauses are followed in trials with one peer: its connection is the only one, so there is an outage unless that has
//! stayed alive for long enough, and whatever is counted is about this peer.

use super::*;

/// The longest pause in an outage, in units of `retry_backoff`.
const LONGEST_IN_OUTAGE: u32 = 12;

/// A connection that was handed over, until what ends it is applied.
#[derive(Clone, Copy)]
pub(super) struct Connection {
    pub(super) is_outgoing: bool,
    since: Duration,
    pub(super) alive_since: Option<Duration>,
}

/// Of one peer.
#[derive(Default)]
pub(super) struct Pauses {
    streak: u32,
    /// Failures in the outage.
    failures: u32,
    unroutable_in_row: u32,
    /// Outgoing connections in a row that ended soon after their start.
    short_in_row: u32,
    /// The earliest and the latest end of the pause, as its jitter may have it.
    until: Option<[Duration; 2]>,
    host_faults_in_row: u32,
    /// No peer is dialed before.
    host_until: Duration,
}

/// Whether the peer has failed in the outage, and whether its last connection ended soon after its start.
pub(super) type PausesView = (bool, bool);

impl Connection {
    pub(super) fn new(is_outgoing: bool, now: Duration) -> Self {
        Self {
            is_outgoing,
            since: now,
            alive_since: None,
        }
    }
}

impl Pauses {
    pub(super) fn view(&self) -> PausesView {
        (self.failures > 0, self.short_in_row > 0)
    }

    fn pause(&mut self, now: Duration, pause: Duration) {
        self.until = Some([now + pause * 3 / 4, now + pause * 5 / 4]);
    }

    /// The pause of one more failure in an outage.
    fn fail_in_outage(&mut self, config: &NetworkConfig) -> Duration {
        self.failures += 1;
        backoff(config, self.failures).min(config.retry_backoff * LONGEST_IN_OUTAGE)
    }

    /// A dial has failed, in an outage as there is no connection.
    fn on_dial_failed(&mut self, config: &NetworkConfig, now: Duration, is_unroutable: bool) {
        self.unroutable_in_row = if is_unroutable { self.unroutable_in_row + 1 } else { 0 };
        self.host_faults_in_row = 0;
        let pause = self.fail_in_outage(config);
        self.pause(now, pause);
    }

    fn on_host_fault(&mut self, now: Duration) {
        self.host_until = now + (millis(100) * (1 << self.host_faults_in_row.min(10))).min(seconds(10));
        self.host_faults_in_row += 1;
    }

    /// An outgoing connection ends; the peer's own socket is parked if `is_crossed`.
    fn on_end(&mut self, config: &NetworkConfig, now: Duration, it: Connection, is_failure: bool, is_crossed: bool) {
        let is_outage = it.alive_since.is_none_or(|since| now - since < config.retry_backoff);
        if is_failure && is_outage {
            let pause = self.fail_in_outage(config);
            return self.pause(now, pause);
        }
        let is_short = now - it.since < config.retry_backoff;
        self.short_in_row = if is_short { self.short_in_row + 1 } else { 0 };
        self.failures = 0;
        self.streak += u32::from(is_failure && !is_crossed);
        let after_failure = backoff(config, if is_failure { self.streak } else { 0 });
        self.pause(now, backoff(config, self.short_in_row).max(after_failure));
    }

    /// A dial starts, which must be allowed.
    fn on_dial(&mut self, now: Duration) {
        let [earliest, _] = self.until.take().unwrap_or_default();
        assert!(now >= earliest, "dialed at {now:?}, {:?} too early", earliest - now);
        assert!(now >= self.host_until, "dialed in spite of a fault of this host");
    }

    /// The table will dial the peer at `next`, in the future.
    pub(super) fn check_next(&self, next: Duration) {
        let allowed = self.until.unwrap_or_default().map(|end| end.max(self.host_until));
        assert!(
            (allowed[0]..=allowed[1] + millis(1)).contains(&next),
            "dialed at {next:?} and not in {allowed:?}"
        );
    }
}

/// The first pause, doubled for each failure after the first.
fn backoff(config: &NetworkConfig, failures: u32) -> Duration {
    let doubled = config.retry_backoff * 2_u32.pow(failures.saturating_sub(1).min(16));
    doubled.min(config.max_retry_backoff)
}

/// What is seen of a peer.
impl Trial {
    /// Whether the pauses are followed.
    pub(super) fn has_pauses(&self) -> bool {
        let ends_pauses = [Report::Reserve, Report::Dial].map(Stimulus::Reports);
        self.names.len() == 1
            && self.edits.is_empty()
            && !ends_pauses.iter().any(|stimulus| self.stimuli.contains(stimulus))
    }

    /// Whether an inbound socket of the peer is held, not handed over.
    pub(super) fn has_parked(&self, peer: usize) -> bool {
        let mut inbound = self.peers[peer].inbound.iter();
        inbound.any(|inbound| inbound.parked.is_some() && inbound.is_undecided())
    }

    /// A report is applied; `None` is that of a lease that was dropped unspent.
    pub(super) fn note_report(&mut self, peer: usize, report: Option<Report>, is_crossed: bool) {
        let (now, known) = (self.now(), &mut self.peers[peer]);
        match (report, &mut known.connection) {
            (Some(Report::Alive), Some(connection)) => {
                connection.alive_since.get_or_insert(now);
                if connection.is_outgoing {
                    (known.pauses.streak, known.pauses.failures) = (0, 0);
                }
            }
            (Some(Report::Banned | Report::BannedFor(_)), _) => {
                known.connection = None;
                (known.pauses.until, known.pauses.failures) = (None, 0);
            }
            // It is forgotten.
            (Some(Report::Ourselves), _) => {
                (known.connection, known.pauses, known.own_since) = (None, Pauses::default(), Some(now));
            }
            (Some(Report::Failed | Report::Closed) | None, Some(_)) => {
                self.note_end(peer, report != Some(Report::Closed), is_crossed);
            }
            (_, None) | (Some(Report::Unbanned | Report::Reserve | Report::Release | Report::Dial), _) => {}
        }
    }

    /// The connection ends. When the peer is dialed next changes only if it was ours.
    fn note_end(&mut self, peer: usize, is_failure: bool, is_crossed: bool) {
        let now = self.now();
        let (config, known) = (self.node.net.config(), &mut self.peers[peer]);
        if let Some(connection) = known.connection.take().filter(|connection| connection.is_outgoing) {
            known.pauses.on_end(config, now, connection, is_failure, is_crossed);
        }
    }

    /// What a poll has counted since `before`, but for what was reported. At most one of these happens in a poll.
    pub(super) fn note_outcomes(&mut self, before: &Counters, is_crossed: bool) {
        let (now, after) = (self.now(), self.node.counters());
        if !self.has_pauses() {
            return;
        }
        if after.dials_to_self > before.dials_to_self {
            self.note_report(0, Some(Report::Ourselves), false);
        }
        if after.handshakes_timed_out > before.handshakes_timed_out {
            self.note_end(0, true, is_crossed);
        }
        let (config, pauses) = (self.node.net.config(), &mut self.peers[0].pauses);
        if after.dials_unroutable > before.dials_unroutable {
            pauses.on_dial_failed(config, now, true);
        }
        if (after.dials_failed, after.dials_timed_out) != (before.dials_failed, before.dials_timed_out) {
            pauses.on_dial_failed(config, now, false);
        }
        if after.dials_host_faults > before.dials_host_faults {
            pauses.on_host_fault(now);
        }
    }

    /// A connection is handed over.
    pub(super) fn note_connection(&mut self, peer: usize, is_outgoing: bool) {
        let (now, known) = (self.now(), &mut self.peers[peer]);
        known.connection = Some(Connection::new(is_outgoing, now));
        if is_outgoing {
            (known.pauses.unroutable_in_row, known.pauses.host_faults_in_row) = (0, 0);
        }
    }

    pub(super) fn note_dial(&mut self, peer: usize) {
        let now = self.now();
        if self.has_pauses() {
            self.peers[peer].pauses.on_dial(now);
        }
    }

    /// The streak is what the design says, unless a lease has something to tell.
    pub(super) fn check_streak(&self, peer: usize) {
        let (known, name) = (&self.peers[peer], self.names[peer]);
        if self.has_pauses() && known.reported.is_empty() {
            let streak = self.node.peer(ip(name)).map_or(0, |peer| peer.failures_in_row);
            assert_eq!(streak, known.pauses.streak);
        }
    }

    /// When the peer's own connection has been alive for so long that there is no outage, and when for so long that
    /// another one of the peer crosses nothing; each if that is to come.
    pub(super) fn ages(&self, peer: usize) -> [Option<Duration>; 2] {
        let connection = self.peers[peer].connection.filter(|connection| connection.is_outgoing);
        let since = connection.and_then(|connection| connection.alive_since);
        let is_lower = ip(self.names[peer]) < ip(self.us);
        let ends = [
            since.map(|since| since + self.node.config().retry_backoff),
            since.filter(|_| is_lower).map(|since| since + CONNECT_TIMEOUT),
        ];
        ends.map(|end| end.filter(|end| *end >= self.now()))
    }

    /// Whether the design has a second socket of the peer refused beside a connection or ban of this status.
    pub(super) fn must_refuse(&self, peer: usize, status: Option<PeerStatus>) -> bool {
        let is_lower = ip(self.names[peer]) < ip(self.us);
        match status {
            None | Some(PeerStatus::Idle | PeerStatus::OutConnecting) => false,
            Some(Banned | InHandshaking | PeerStatus::InAlive) => true,
            Some(OutHandshaking) => !is_lower,
            Some(PeerStatus::OutAlive) => !is_lower || self.ages(peer)[1].is_none(),
        }
    }
}
