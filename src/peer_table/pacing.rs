//! How fast dials may follow each other.
//!
//! Dials cost tokens from a bucket, so that a list of 10,000 peers that refuse is not a port scan of 2,000 dials a
//! second. The bucket holds twice `max_simultaneous_outgoing_connection_attempts` and one token comes back each
//! `dial_stagger`; while an outage lasts, each [`HALVING`] of it halves that rate.

use std::time::Duration;

use crate::config::NetworkConfig;
use crate::peer_table::time::{Moment, Now};

/// The least time between two dials to subnets that are taken already, so that a few networks cannot take all slots of a
/// fresh node.
const TAKEN_SUBNET: Duration = Duration::from_secs(10);
/// An outage that lasts this long halves the rate of dials, and so does each further one.
const HALVING: Duration = Duration::from_secs(30);
/// How many dials that found no way to their address get their token back in a second.
const REFUNDS_PER_SECOND: usize = 1_000;
/// The first pause of all dialing after a fault of this host; it doubles with each further one in a row …
const FIRST_HOST_PAUSE: Duration = Duration::from_millis(100);
/// … up to this.
const MAX_HOST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Pace {
    tokens: usize,
    /// When the next token comes back; none does while the bucket is full.
    next_token: Option<Moment>,
    refunds_left: usize,
    refunds_until: Moment,
    /// When one more dial may be raced beside those that match the shortage.
    race_at: Moment,
    /// Dials that failed and may each be replaced at once.
    replacements: usize,
    /// No dial to a subnet that is taken before.
    taken_subnet_at: Moment,
    /// No dial before, because of this host's faults.
    host_pause_until: Moment,
    host_faults_in_row: u32,
}

impl Pace {
    pub(crate) fn new(config: &NetworkConfig) -> Self {
        Self {
            tokens: capacity(config),
            next_token: None,
            refunds_left: 0,
            refunds_until: Moment::START,
            race_at: Moment::START,
            replacements: 0,
            taken_subnet_at: Moment::START,
            host_pause_until: Moment::START,
            host_faults_in_row: 0,
        }
    }

    /// From when on one more dial is allowed; `at_once` if the dials under way do not match the shortage.
    pub(crate) fn next_dial(&self, at_once: bool) -> Moment {
        let race_at = if at_once || self.replacements > 0 {
            Moment::START
        } else {
            self.race_at
        };
        let token_at = if self.tokens > 0 { None } else { self.next_token };
        race_at
            .max(self.host_pause_until)
            .max(token_at.unwrap_or(Moment::START))
    }

    /// From when on a dial may go to a subnet that is taken.
    pub(crate) fn next_to_taken_subnet(&self) -> Moment {
        self.taken_subnet_at
    }

    /// No dial before, because of this host's faults.
    pub(crate) fn host_pause_end(&self) -> Moment {
        self.host_pause_until
    }

    /// Puts back the tokens that have become due. An outage has lasted since then, if there is one.
    pub(crate) fn refill(&mut self, now: Now, config: &NetworkConfig, outage_since: Option<Moment>) {
        while let Some(next) = self.next_token.filter(|&next| next <= now.moment()) {
            self.tokens += 1;
            let wait = interval(config, outage_since.map(|since| next.since(since)));
            self.next_token = (self.tokens < capacity(config)).then(|| next.plus(wait));
        }
    }

    pub(crate) fn on_dial(&mut self, now: Now, config: &NetworkConfig, outage_since: Option<Moment>, to_taken: bool) {
        self.on_attempt(now, config);
        self.replacements = self.replacements.saturating_sub(1);
        if to_taken {
            self.taken_subnet_at = now.after(TAKEN_SUBNET);
        }
        let wait = interval(config, outage_since.map(|since| now.moment().since(since)));
        self.tokens = self.tokens.saturating_sub(1);
        self.next_token.get_or_insert(now.after(wait));
    }

    /// A dial starts or succeeds: the next one is raced beside the others after `dial_stagger`.
    pub(crate) fn on_attempt(&mut self, now: Now, config: &NetworkConfig) {
        self.race_at = now.after(config.dial_stagger);
    }

    /// A dial is over and may be replaced at once.
    pub(crate) fn on_dial_failed(&mut self) {
        self.replacements = self.replacements.saturating_add(1);
    }

    /// A dial has found no way to its address, and nothing left this host.
    pub(crate) fn refund(&mut self, now: Now, config: &NetworkConfig) {
        if self.refunds_until <= now.moment() {
            self.refunds_until = now.after(Duration::from_secs(1));
            self.refunds_left = REFUNDS_PER_SECOND;
        }
        if self.refunds_left > 0 && self.tokens < capacity(config) {
            self.refunds_left -= 1;
            self.tokens += 1;
        }
        if self.tokens >= capacity(config) {
            self.next_token = None;
        }
    }

    pub(crate) fn on_host_fault(&mut self, now: Now) {
        let pause = FIRST_HOST_PAUSE.saturating_mul(1 << self.host_faults_in_row.min(16));
        self.host_faults_in_row = self.host_faults_in_row.saturating_add(1);
        self.host_pause_until = now.after(pause.min(MAX_HOST_PAUSE));
    }

    pub(crate) fn on_no_host_fault(&mut self) {
        self.host_faults_in_row = 0;
    }

    pub(crate) fn on_target_met(&mut self) {
        self.replacements = 0;
    }

    /// The config changes: what the bucket can hold more, it holds at once, as at the start; what is waited for comes no
    /// later than it would with the new config.
    pub(crate) fn reconfigure(
        &mut self,
        now: Now,
        before: &NetworkConfig,
        config: &NetworkConfig,
        outage_since: Option<Moment>,
    ) {
        let (was, is) = (capacity(before), capacity(config));
        self.tokens = self.tokens.saturating_add(is.saturating_sub(was)).min(is);
        let wait = interval(config, outage_since.map(|since| now.moment().since(since)));
        let next = self.next_token.filter(|_| self.tokens < is);
        self.next_token = next.map(|next| next.min(now.after(wait)));
        self.race_at = self.race_at.min(now.after(config.dial_stagger));
    }

    /// The full rate holds again.
    pub(crate) fn on_outage_over(&mut self, now: Now, config: &NetworkConfig) {
        let soonest = now.after(interval(config, None));
        self.next_token = self.next_token.map(|next| next.min(soonest));
    }
}

fn capacity(config: &NetworkConfig) -> usize {
    config
        .max_simultaneous_outgoing_connection_attempts
        .saturating_mul(2)
        .max(1)
}

/// How long it takes for a token to come back; zero where `dial_stagger` sets no pace.
fn interval(config: &NetworkConfig, outage: Option<Duration>) -> Duration {
    let halvings = outage.unwrap_or_default().as_secs() / HALVING.as_secs();
    let slowest = config.retry_backoff.max(config.dial_stagger);
    let factor = 1 << halvings.min(31);
    config.dial_stagger.saturating_mul(factor).min(slowest)
}
