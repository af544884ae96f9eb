//! How several reports of one peer or connection become one.

use crate::peer_table::Report;

/// All that was reported of one connection, or of a peer without one, since the controller last looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MergedReports {
    is_alive: bool,
    /// The first end that was reported.
    end: Option<Report>,
    /// The lease was dropped unspent.
    is_dropped: bool,
    /// The lease is there no more: it was dropped, spent or not.
    is_lease_gone: bool,
    /// The last ban.
    ban: Option<Report>,
    /// After the last ban.
    is_unbanned: bool,
    is_ourselves: bool,
    /// The last of reserve and release.
    reserve: Option<Report>,
    is_dial: bool,
}

impl MergedReports {
    /// Answers whether the report adds anything: nothing is said of a connection after its end.
    pub(crate) fn add(&mut self, report: Report) -> bool {
        let is_over = self.end.is_some() || self.ban.is_some() || self.is_ourselves;
        match report {
            Report::Alive if !is_over => self.is_alive = true,
            Report::Failed | Report::Closed if !is_over => self.end = Some(report),
            Report::Alive | Report::Failed | Report::Closed => return false,
            Report::Banned | Report::BannedFor(_) => (self.ban, self.is_unbanned) = (Some(report), false),
            Report::Unbanned => self.is_unbanned = true,
            Report::Ourselves => self.is_ourselves = true,
            Report::Reserve | Report::Release => self.reserve = Some(report),
            Report::Dial => self.is_dial = true,
        }
        true
    }

    /// The connection's lease is dropped unspent.
    pub(crate) fn drop_lease(&mut self) {
        (self.is_dropped, self.is_lease_gone) = (true, true);
    }

    /// The connection's lease is dropped, after what it may have reported.
    pub(crate) fn end_lease(&mut self) {
        self.is_lease_gone = true;
    }

    pub(crate) fn is_lease_gone(self) -> bool {
        self.is_lease_gone
    }

    /// Its end is that the lease was dropped unspent.
    pub(crate) fn ends_by_drop(self) -> bool {
        self.is_dropped && self.end.is_none()
    }

    /// What to apply, in this order: a sign of life, one end, the last of the bans and unban, the last of
    /// reserve and release, that it is ourselves, one dial. A ban that
    /// was lifted again has ended the connection all the same; without a connection it has left nothing. `dropped` is what
    /// a lease that was dropped reports.
    pub(crate) fn iter(self, has_connection: bool, dropped: Report) -> impl Iterator<Item = Report> {
        let alive = self.is_alive.then_some(Report::Alive);
        let end = self.end.or(self.is_dropped.then_some(dropped));
        let banned = self.ban.filter(|_| has_connection || !self.is_unbanned);
        let unbanned = self.is_unbanned.then_some(Report::Unbanned);
        let ourselves = self.is_ourselves.then_some(Report::Ourselves);
        let dial = self.is_dial.then_some(Report::Dial);
        [alive, end, banned, unbanned, self.reserve, ourselves, dial]
            .into_iter()
            .flatten()
    }
}
