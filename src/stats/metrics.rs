//! Every number of [`Stats`] with its name and what it counts, and the text format of OpenMetrics.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use crate::stats::Stats;

/// One number of a family; those of one family follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// Of the family, without [`PREFIX`].
    pub(crate) name: &'static str,
    /// What it counts, as documented: it begins with a space.
    doc: &'static str,
    /// Tells it from the others of its family.
    pub(crate) label: Option<(&'static str, &'static str)>,
    pub(crate) kind: Kind,
    pub(crate) value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only rises.
    Counter,
    Gauge,
}

/// Before every name.
pub(crate) const PREFIX: &str = "network_";

impl Metric {
    pub(super) fn counter(name: &'static str, doc: &'static str, value: u64) -> Self {
        Self::new(Kind::Counter, name, doc, value)
    }

    pub(super) fn gauge(name: &'static str, doc: &'static str, value: u64) -> Self {
        Self::new(Kind::Gauge, name, doc, value)
    }

    fn new(kind: Kind, name: &'static str, doc: &'static str, value: u64) -> Self {
        Self {
            name,
            doc,
            label: None,
            kind,
            value,
        }
    }
}

impl Stats {
    /// All numbers, always the same in the same order.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = Metric> {
        let peers = self.peers.iter().map(|(status, count)| Metric {
            label: Some(("status", status.as_str())),
            ..Metric::gauge("peers", "Known peers by status.", size(count))
        });
        let dumps = [
            Metric::gauge(
                "last_dump_timestamp_seconds",
                "When the last dump of the peer file ended, well or not; 0 before the first.",
                self.last_dump.map_or(0, unix_seconds),
            ),
            Metric::gauge(
                "last_dump_failed",
                "1 if the last dump of the peer file failed or the next one will.",
                u64::from(self.last_dump_error.is_some()),
            ),
        ];
        let counters = self.counters.metrics();
        peers.chain(self.usages()).chain(dumps).chain(counters)
    }

    /// All numbers in the text format of [OpenMetrics 1.0], as a Prometheus server scrapes it: to be served as
    /// `application/openmetrics-text; version=1.0.0; charset=utf-8`. Every name begins with `network_`; a counter's goes on
    /// as in [`Counters`](crate::Counters). `examples/metrics.rs` serves it.
    ///
    /// ```
    /// let text = network::Stats::default().open_metrics();
    /// assert!(text.contains("\nnetwork_peers{status=\"OutAlive\"} 0\n"));
    /// assert!(text.contains("\nnetwork_dials_started_total 0\n"));
    /// ```
    ///
    /// [OpenMetrics 1.0]: https://prometheus.io/docs/specs/om/open_metrics_spec/
    #[must_use]
    pub fn open_metrics(&self) -> String {
        let mut out = String::new();
        let mut family = "";
        for metric in self.metrics() {
            if metric.name != family {
                family = metric.name;
                metric.write_head(&mut out);
            }
            metric.write_sample(&mut out);
        }
        out.push_str("# EOF\n");
        out
    }
}

impl Metric {
    /// What it counts.
    pub(crate) fn help(&self) -> &'static str {
        self.doc.trim_start()
    }

    fn write_head(&self, out: &mut String) {
        let (name, help) = (self.name, self.help());
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        write(out, format_args!("# TYPE {PREFIX}{name} {kind}\n"));
        write(out, format_args!("# HELP {PREFIX}{name} {help}\n"));
    }

    fn write_sample(&self, out: &mut String) {
        let Self { name, value, .. } = self;
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
        };
        write(out, format_args!("{PREFIX}{name}{suffix}"));
        if let Some((label, value)) = self.label {
            write(out, format_args!("{{{label}=\"{value}\"}}"));
        }
        write(out, format_args!(" {value}\n"));
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes any text");
}

pub(super) fn size(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn unix_seconds(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use openmetrics_parser::openmetrics::parse_openmetrics;
    use openmetrics_parser::{MetricNumber, OpenMetricsValue};

    use super::*;
    use crate::peer::PeerStatus;
    use crate::stats::Usage;
    use crate::tests::start;

    fn stats() -> Stats {
        let mut stats = Stats::default();
        for (count, status) in PeerStatus::ALL.into_iter().enumerate() {
            *stats.peers.get_mut(status) = 10 + count;
        }
        stats.idle_peers = Usage { used: 10, limit: 500 };
        stats.counters.dials_started = 1 << 60;
        stats.last_dump = Some(start());
        stats.last_dump_error = Some("\"disk\\full\"\n".to_owned());
        stats
    }

    #[test]
    fn no_two_have_one_name_and_each_says_what_it_counts() {
        let mut names = HashSet::new();
        for metric in stats().metrics() {
            assert!(names.insert((metric.name, metric.label)), "{metric:?}");
            assert!(
                metric
                    .name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
            assert!(!metric.help().contains("]("), "a link in {metric:?}");
            assert!(
                metric.help().ends_with('.') && !metric.help().contains(['\\', '"', '\n']),
                "{metric:?}"
            );
            assert!(
                !metric.help().contains("  ") && !metric.help().starts_with(' '),
                "{metric:?}"
            );
        }
        let counters = stats().counters.iter().count();
        assert_eq!(names.len(), PeerStatus::ALL.len() + 2 * 6 + 2 + counters);
    }

    #[test]
    fn a_parser_reads_what_the_stats_say() {
        let stats = stats();
        let text = stats.open_metrics();
        let parsed = parse_openmetrics(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        let mut numbers = 0;
        for metric in stats.metrics() {
            let family = &parsed.families[&format!("{PREFIX}{}", metric.name)];
            assert_eq!(family.help, metric.help());
            let has_label = |value: &&str| metric.label.is_none_or(|(_, expected)| *value == expected);
            let labels = |sample: &openmetrics_parser::Sample<OpenMetricsValue>| {
                let labels = sample.get_labelset().unwrap();
                labels.iter().map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
            };
            let mut samples = family.iter_samples();
            let sample = samples.find(|sample| labels(sample).iter().all(|value| has_label(&value.as_str())));
            match (&sample.unwrap().value, metric.kind) {
                (OpenMetricsValue::Counter(counter), Kind::Counter) => {
                    assert!(
                        matches!(counter.value, MetricNumber::Int(value) if u64::try_from(value) == Ok(metric.value))
                    );
                }
                (OpenMetricsValue::Gauge(MetricNumber::Int(value)), Kind::Gauge) => {
                    assert_eq!(u64::try_from(*value), Ok(metric.value));
                }
                (value, _) => panic!("{metric:?} is {value:?}"),
            }
            numbers += 1;
        }
        let read: usize = parsed
            .families
            .values()
            .map(|family| family.iter_samples().count())
            .sum();
        assert_eq!(read, numbers);
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn never_dumped_is_zero() {
        let text = Stats::default().open_metrics();
        assert!(text.contains("\nnetwork_last_dump_timestamp_seconds 0\n"));
        assert!(text.contains("\nnetwork_last_dump_failed 0\n"));
    }
}
