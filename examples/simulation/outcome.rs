//! [`Outcome`]: what an experiment found, as a table for people, JSON for machines, and pictures.

use std::fmt;

use serde_json::{Map, Value as Json, json};

use crate::plot::Plot;

/// What an experiment found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run, in a few words.
    pub title: String,
    /// The network that it was run with.
    pub network: String,
    /// Figures of the whole experiment.
    pub figures: Vec<Figure>,
    /// Of an experiment that runs several networks: a row for each.
    pub table: Option<Table>,
    /// What can be drawn.
    pub plots: Vec<Plot>,
    /// The hash of all that happened in the network. Runs with one seed and the same options have the same.
    pub trace_hash: u64,
}

/// One measured number.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its name in JSON.
    pub key: &'static str,
    /// What it is, for people.
    pub label: String,
    /// The number.
    pub value: Value,
}

/// A table with a row for each of several runs.
#[derive(Clone, Debug)]
pub struct Table {
    /// The name in JSON and the heading of each column.
    pub columns: Vec<(&'static str, &'static str)>,
    /// As many values as there are columns, each.
    pub rows: Vec<Vec<Value>>,
}

/// A number and its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A number of things.
    Count(usize),
    /// A mean or a rate.
    Number(f64),
    /// A part of a whole, from 0 to 1; shown in percent.
    Share(f64),
    /// A time.
    Seconds(f64),
    /// It did not happen, or there is nothing to measure.
    Never,
}

impl Value {
    /// A time that may not have come.
    #[must_use]
    pub fn time(time: Option<std::time::Duration>) -> Self {
        time.map_or(Self::Never, |time| Self::Seconds(time.as_secs_f64()))
    }

    /// Some of all of them. [`Never`](Self::Never) where there are none.
    #[must_use]
    pub fn share(some: usize, all: usize) -> Self {
        if all == 0 {
            return Self::Never;
        }
        Self::Share(some as f64 / all as f64)
    }

    /// The bare number; `None` for [`Never`](Self::Never).
    #[must_use]
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Count(count) => Some(count as f64),
            Self::Number(number) | Self::Share(number) | Self::Seconds(number) => Some(number),
            Self::Never => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Count(count) => count.to_string(),
            Self::Number(number) => format!("{number:.2}"),
            Self::Share(share) => format!("{:.1} %", share * 100.0),
            Self::Seconds(seconds) => format!("{seconds:.1} s"),
            Self::Never => "never".to_owned(),
        };
        f.pad(&text)
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        match value {
            Value::Count(count) => count.into(),
            _ => value.number().into(),
        }
    }
}

impl Outcome {
    /// An outcome without anything in it yet.
    #[must_use]
    pub fn new(title: impl Into<String>, network: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            network: network.into(),
            figures: Vec::new(),
            table: None,
            plots: Vec::new(),
            trace_hash: 0,
        }
    }

    /// Adds a figure.
    pub fn add(&mut self, key: &'static str, label: impl Into<String>, value: Value) {
        let label = label.into();
        self.figures.push(Figure { key, label, value });
    }

    /// Adds the trace hash of one run more.
    pub fn add_hash(&mut self, trace_hash: u64) {
        self.trace_hash = self.trace_hash.rotate_left(7) ^ trace_hash;
    }

    /// The figure of this name.
    #[must_use]
    pub fn figure(&self, key: &str) -> Option<Value> {
        let figure = self.figures.iter().find(|figure| figure.key == key);
        figure.map(|figure| figure.value)
    }

    /// All of it but the pictures. `arguments` are those of the command line.
    #[must_use]
    pub fn to_json(&self, arguments: &[String]) -> Json {
        let figures = self.figures.iter().map(|figure| (figure.key, figure.value));
        let rows = self.table.iter().flat_map(Table::json_rows).collect::<Vec<_>>();
        json!({
            "arguments": arguments,
            "figures": object(figures),
            "rows": rows,
            "trace_hash": format!("{:016x}", self.trace_hash),
        })
    }
}

impl Table {
    /// The column of this name.
    #[must_use]
    pub fn column(&self, key: &str) -> Vec<Value> {
        let column = self.columns.iter().position(|column| column.0 == key);
        column.map_or_else(Vec::new, |column| self.rows.iter().map(|row| row[column]).collect())
    }

    fn json_rows(&self) -> impl Iterator<Item = Json> {
        let keys = self.columns.iter().map(|column| column.0);
        self.rows
            .iter()
            .map(move |row| object(keys.clone().zip(row.iter().copied())))
    }
}

fn object(values: impl Iterator<Item = (&'static str, Value)>) -> Json {
    let fields: Map<String, Json> = values.map(|(key, value)| (key.to_owned(), value.into())).collect();
    fields.into()
}

/// Wide enough for the labels, and leaves room for values in a terminal of 80 columns.
const LABEL_WIDTH: usize = 62;

/// The figures and the table, aligned; lines end with a line break.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n", self.title, self.network)?;
        if let Some(table) = &self.table {
            writeln!(f, "{table}")?;
        }
        for figure in &self.figures {
            // A width speaks of characters, not bytes.
            writeln!(f, "{:<LABEL_WIDTH$} {:>14}", figure.label, figure.value)?;
        }
        writeln!(f, "{:<LABEL_WIDTH$} {:>16x}", "trace hash", self.trace_hash)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let values = self.rows.iter().map(|row| row[column].to_string().chars().count());
            values
                .chain([self.columns[column].1.chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let headings: Vec<String> = self.columns.iter().map(|column| column.1.to_owned()).collect();
        write_row(f, &headings, &widths)?;
        for row in &self.rows {
            let values: Vec<String> = row.iter().map(Value::to_string).collect();
            write_row(f, &values, &widths)?;
        }
        Ok(())
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, cells: &[String], widths: &[usize]) -> fmt::Result {
    for (position, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let gap = if position == 0 { "" } else { "  " };
        write!(f, "{gap}{cell:>width$}")?;
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let mut outcome = Outcome::new("title", "the network");
        outcome.add("share_at_target", "nodes at their target", Value::share(1, 8));
        outcome.add("last", "until the last", Value::time(None));
        outcome.table = Some(Table {
            columns: vec![("target", "target"), ("islands", "runs with islands")],
            rows: vec![
                vec![Value::Count(2), Value::Count(10)],
                vec![Value::Count(8), Value::Number(0.5)],
            ],
        });
        outcome.trace_hash = 0xab;
        outcome
    }

    #[test]
    fn people_see_aligned_lines_of_at_most_80_columns() {
        let text = outcome().to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(
            text.contains("\ntarget  runs with islands\n     2                 10\n"),
            "{text}"
        );
        assert!(text.contains("        12.5 %\n"), "{text}");
        assert!(text.contains("         never\n"), "{text}");
    }

    #[test]
    fn machines_see_bare_numbers() {
        let json = outcome().to_json(&["form".to_owned()]);
        assert_eq!(
            json,
            json!({
                "arguments": ["form"],
                "figures": { "share_at_target": 0.125, "last": null },
                "rows": [{ "target": 2, "islands": 10 }, { "target": 8, "islands": 0.5 }],
                "trace_hash": "00000000000000ab",
            })
        );
    }

    #[test]
    fn a_figure_is_found_by_its_name() {
        assert_eq!(outcome().figure("share_at_target"), Some(Value::Share(0.125)));
        assert_eq!(outcome().figure("other"), None);
        assert_eq!(outcome().table.unwrap().column("target"), [2, 8].map(Value::Count));
    }

    #[test]
    fn a_share_of_nothing_is_none() {
        assert_eq!(Value::share(0, 0), Value::Never);
        assert_eq!(Value::share(0, 1), Value::Share(0.0));
    }
}
