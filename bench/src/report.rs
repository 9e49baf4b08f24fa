//! The figures, as lines and as a table that keeps those of earlier runs until they are taken anew.

use crate::measures::{ALL, Measure};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// What is wanted of a figure.
#[derive(Clone, Copy)]
pub enum Aim {
    /// At least this share of the raw limit.
    Ratio(f64),
    AtLeast(f64),
    AtMost(f64),
    /// It is only told.
    None,
}

pub fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

pub struct Figure {
    pub what: String,
    pub ours: f64,
    pub unit: &'static str,
    /// What the raw limit of the same run is, and how much.
    pub raw: Option<(&'static str, f64)>,
    pub aim: Aim,
}

impl Figure {
    pub fn new(what: impl Into<String>, ours: f64, unit: &'static str, aim: Aim) -> Self {
        Self { what: what.into(), ours, unit, raw: None, aim }
    }

    pub fn beside(self, what: &'static str, raw: f64) -> Self {
        Self { raw: Some((what, raw)), ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.raw.map(|(_, raw)| self.ours / raw)
    }

    fn verdict(&self) -> String {
        let (bound, holds) = match self.aim {
            Aim::Ratio(bound) => {
                (format!("ratio ≥ {}", number(bound)), self.ratio().is_some_and(|ratio| ratio >= bound))
            }
            Aim::AtLeast(bound) => (format!("≥ {}", number(bound)), self.ours >= bound),
            Aim::AtMost(bound) => (format!("≤ {}", number(bound)), self.ours <= bound),
            Aim::None => return "–".into(),
        };
        format!("{bound}: {}", if holds { "yes" } else { "**no**" })
    }

    fn cells(&self) -> [String; 5] {
        let raw = self.raw.map(|(what, raw)| format!("{} {} ({what})", number(raw), self.unit));
        let ratio = self.ratio().map(number);
        let or_none = |cell: Option<String>| cell.unwrap_or_else(|| "–".into());
        let ours = format!("{} {}", number(self.ours), self.unit);
        [self.what.clone(), ours, or_none(raw), or_none(ratio), self.verdict()]
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.cells().join(" | "))
    }
}

/// Some two or three significant digits, or whole numbers in groups.
fn number(value: f64) -> String {
    let decimals = match value {
        100.0.. => 0,
        10.0.. => 1,
        0.1.. => 2,
        _ => 3,
    };
    if decimals > 0 {
        return format!("{value:.decimals$}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Sections of a Markdown file, by the measure's name.
pub struct Results(BTreeMap<String, String>);

const BEGIN: &str = "<!-- measure ";

impl Results {
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let sections = text.split(BEGIN).skip(1).filter_map(|section| {
            let (name, body) = section.split_once(" -->\n")?;
            Some((name.to_owned(), body.trim_end().to_owned()))
        });
        Self(sections.collect())
    }

    pub fn set(&mut self, measure: &Measure, figures: Vec<Figure>) {
        let mut lines = vec![
            format!("## {}\n", measure.name),
            format!("{}\n", measure.what),
            "| Measure | Postledger | Raw limit | Ratio | Aim |".into(),
            "|---|---|---|---|---|".into(),
        ];
        lines.extend(figures.iter().map(Figure::to_string));
        lines.push(format!("\n{}", measure.limited_by));
        lines.push(format!("\nTaken on {} ({}).", e2e::now().format("%Y-%m-%d"), machine()));
        self.0.insert(measure.name.into(), lines.join("\n"));
    }

    pub fn write(&self, file: &Path) {
        let mut text = include_str!("results_head.md").to_owned();
        for measure in ALL {
            if let Some(section) = self.0.get(measure.name) {
                text += &format!("\n{BEGIN}{} -->\n{section}\n", measure.name);
            }
        }
        std::fs::write(file, text).unwrap();
    }
}

fn machine() -> String {
    let said = |command: &str| {
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let model = said("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1");
    let memory = said("awk '/^MemTotal/ { printf \"%.0f\", $2 / 1048576 }' /proc/meminfo");
    format!("{} cores of {model}, {memory} GiB, Postgres and the load on the same machine", said("nproc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        for (value, shown) in [
            (0.0184, "0.018"),
            (0.456, "0.46"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(number(value), shown);
        }
    }

    #[test]
    fn an_aim_is_met_or_said_to_be_missed() {
        let figure = Figure::new("append", 40.0, "events/s", Aim::Ratio(0.5)).beside("COPY", 100.0);
        let row = "| append | 40.0 events/s | 100 events/s (COPY) | 0.40 | ratio ≥ 0.50: **no** |";
        assert_eq!(figure.to_string(), row);
        assert_eq!(Figure::new("p99", 40.0, "ms", Aim::AtMost(100.0)).verdict(), "≤ 100: yes");
    }
}
