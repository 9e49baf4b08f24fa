//! How a file is understood, as a table for a terminal.

use anyhow::bail;
use commands::imports::{DryRun, ReadColumn};
use std::fmt::Write;

/// Of a cell, for one line.
const CELL_MAX_CHARS: usize = 24;

pub fn show(dry: &DryRun) -> anyhow::Result<()> {
    print!("{}", written(dry));
    match dry.can_be_imported {
        true => Ok(()),
        false => bail!("the import would be refused"),
    }
}

fn written(dry: &DryRun) -> String {
    let mut text = String::new();
    let rows =
        |column: usize| dry.sample.iter().map(move |row| row.cells.get(column).map_or("", String::as_str));
    let lines: Vec<Vec<String>> = dry
        .columns
        .iter()
        .enumerate()
        .map(|(place, column)| {
            [cell(&column.name), meaning(column)].into_iter().chain(rows(place).map(cell)).collect()
        })
        .collect();
    let widths: Vec<usize> = (0..dry.sample.len() + 2)
        .map(|place| {
            lines
                .iter()
                .filter_map(|line| line.get(place))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", padded.join("  ").trim_end());
    }
    let _ = writeln!(text, "{} rows, read as {}", dry.rows, dry.encoding);
    for warning in &dry.warnings {
        let line = warning.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let column = warning.column.as_ref().map(|column| format!("{column}: ")).unwrap_or_default();
        let _ = writeln!(text, "{}: {column}{line}{}", warning.code.as_str(), warning.text);
    }
    text
}

fn meaning(column: &ReadColumn) -> String {
    let order = column.date_order.map(|order| format!(" ({})", order.as_str())).unwrap_or_default();
    match &column.key {
        Some(key) => format!("{}{order} -> {key}", column.meaning.as_str()),
        None => column.meaning.as_str().to_owned(),
    }
}

/// Without what would move a terminal.
fn cell(text: &str) -> String {
    let short: String = text.chars().take(CELL_MAX_CHARS).collect();
    short.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
