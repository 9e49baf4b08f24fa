//! Exports with the dirt of real ones, and what an import must make of them, worked out row by row as the file is
//! written: none of the import's own code takes part.

use super::support::{Person, Random};
use std::collections::BTreeMap;

/// As written, and in A-labels.
const DOMAINS: [(&str, &str); 6] = [
    ("example.com", "example.com"),
    ("EXAMPLE.Org", "example.org"),
    ("mail.example.com", "mail.example.com"),
    ("bücher.example", "xn--bcher-kva.example"),
    ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ("例え.example", "xn--r8jz45g.example"),
];
const BAD: [&str; 10] = [
    "",
    "no-at-sign",
    "two@@example.com",
    "space in@example.com",
    "trailing.dot.@example.com",
    "@example.com",
    "name@",
    "name@-bad-.example",
    "a@b",
    "name@example..com",
];
const FIRST: [&str; 9] = ["", "Ana", "Bjørn", "O'Brien", "Łukasz", "浩", "  Zoë ", "محمد", "{{ 7*7 }}"];
const LAST: [&str; 9] = [
    "",
    "Müller",
    "Smith, Jr.",
    "Jones \"JJ\"",
    "<b>Bold</b>",
    "=SUM(A1:A9)",
    "van der Berg",
    "a;b",
    "two\r\nlines",
];
const TAGS: [&str; 6] = ["", "news", "vip,news", "a\tb", "\"", "one\n\ntwo\rthree"];

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expected {
    pub name: Option<String>,
    pub attributes: BTreeMap<String, String>,
    pub events: Vec<&'static str>,
}

pub struct Export {
    pub text: Vec<u8>,
    /// Created, updated, unchanged, kept, rejected: of an import into an empty database.
    pub counts: [i64; 5],
    pub rejected: Vec<i64>,
    pub people: BTreeMap<String, Expected>,
}

/// Columns in the order of the file: the address, the first name, the last name, tags.
#[derive(Clone, Copy, PartialEq)]
enum Column {
    Address,
    First,
    Last,
    Tags,
}

struct Writer {
    random: Random,
    delimiter: char,
    line_break: &'static str,
    columns: [Column; 4],
    export: Export,
    line: i64,
    /// Canonical, as written, in A-labels.
    seen: Vec<(String, String)>,
}

pub fn export(seed: u64, rows: usize) -> Export {
    let mut random = Random(seed);
    let mut columns = [Column::Address, Column::First, Column::Last, Column::Tags];
    columns.rotate_left(random.below(4));
    let delimiter = [',', ';', '\t'][random.below(3)];
    let line_break = random.pick(&["\n", "\r\n", "\r"]);
    let export = Export { text: Vec::new(), counts: [0; 5], rejected: Vec::new(), people: BTreeMap::new() };
    let mut writer = Writer { random, delimiter, line_break, columns, export, line: 1, seen: Vec::new() };
    writer.header();
    for n in 0..rows {
        writer.row(n);
    }
    writer.export
}

impl Writer {
    fn header(&mut self) {
        if self.random.one_in(2) {
            self.text("\u{feff}");
        }
        let names = self.columns.map(|column| match column {
            Column::Address => {
                self.random.pick(&["Email Address", "E-mail", "email", "E-Mail-Adresse", "MAIL"])
            }
            Column::First => self.random.pick(&["First Name", "FNAME", "Vorname", "given_name"]),
            Column::Last => self.random.pick(&["Last Name", "LNAME", "Nachname", "surname"]),
            Column::Tags => self.random.pick(&["TAGS", "Tags", " tags "]),
        });
        self.cells(&names.map(str::to_owned));
        self.end_line();
    }

    fn row(&mut self, n: usize) {
        while self.random.one_in(40) {
            self.end_line();
        }
        let start = self.line;
        let bad = self.random.one_in(25);
        let (canonical, address) = match self.random.one_in(12) && !self.seen.is_empty() {
            true => self.respelled(),
            false => self.new_address(n),
        };
        let address = if bad { self.random.pick(&BAD).to_owned() } else { address };
        let (first, last) = (self.random.pick(&FIRST), self.random.pick(&LAST));
        let tags = match self.random.one_in(200) {
            true => "x".repeat(4097),
            false => self.random.pick(&TAGS).to_owned(),
        };
        let too_long = tags.len() > 4096;
        let ragged = self.random.one_in(60);
        let mut cells = self.columns.map(|column| match column {
            Column::Address => address.clone(),
            Column::First => first.to_owned(),
            Column::Last => last.to_owned(),
            Column::Tags => tags.clone(),
        });
        let is_short = ragged && self.random.one_in(2);
        match ragged {
            true if is_short => self.cells(&cells[..3]),
            true => self.cells(&[&cells[..], &["more".to_owned()]].concat()),
            false => {
                self.spread(&mut cells);
                self.cells(&cells);
            }
        }
        self.end_line();
        // A short row is filled, unless it runs over lines: a quote may be left open.
        let lacks = |column: Column| is_short && self.columns[3] == column;
        let is_open = is_short && cells[..3].iter().any(|cell| cell.contains(['\r', '\n']));
        let is_too_long = too_long && !lacks(Column::Tags);
        let is_wide = ragged && !is_short;
        match bad || is_wide || is_open || is_too_long || lacks(Column::Address) {
            true => self.reject(start),
            false => {
                let given = |column: Column, value: &'static str| if lacks(column) { "" } else { value };
                let tags = if lacks(Column::Tags) { "" } else { &tags };
                let (first, last) = (given(Column::First, first), given(Column::Last, last));
                self.take(canonical, address, &[("first_name", first), ("last_name", last), ("tags", tags)])
            }
        }
    }

    fn new_address(&mut self, n: usize) -> (String, String) {
        let (domain, ascii) = DOMAINS[self.random.below(DOMAINS.len())];
        (format!("reader{n}@{ascii}"), format!("Reader{n}@{domain}"))
    }

    fn respelled(&mut self) -> (String, String) {
        let (canonical, written) = self.seen[self.random.below(self.seen.len())].clone();
        let spelled = match self.random.below(4) {
            0 => written,
            1 => written.to_uppercase(),
            2 => written.to_lowercase(),
            _ => canonical.clone(),
        };
        (canonical, spelled)
    }

    /// White space around a cell says nothing.
    fn spread(&mut self, cells: &mut [String]) {
        for cell in cells {
            if self.random.one_in(10) {
                *cell = format!(" {cell}\t ");
            }
        }
    }

    fn cells(&mut self, cells: &[String]) {
        for (n, cell) in cells.iter().enumerate() {
            if n > 0 {
                self.text(&self.delimiter.to_string());
            }
            let special = cell.contains(['"', '\r', '\n', self.delimiter]);
            match special || self.random.one_in(4) {
                true => self.text(&format!("\"{}\"", cell.replace('"', "\"\""))),
                false => self.text(cell),
            }
            self.line += cell.replace("\r\n", "\n").matches(['\r', '\n']).count() as i64;
        }
    }

    fn end_line(&mut self) {
        self.text(self.line_break);
        self.line += 1;
    }

    fn text(&mut self, text: &str) {
        self.export.text.extend_from_slice(text.as_bytes());
    }

    fn reject(&mut self, line: i64) {
        self.export.counts[4] += 1;
        self.export.rejected.push(line);
    }

    fn take(&mut self, canonical: String, written: String, values: &[(&str, &str)]) {
        let is_new = !self.export.people.contains_key(&canonical);
        let person = self.export.people.entry(canonical.clone()).or_default();
        let before = person.clone();
        let filled =
            values.iter().map(|(name, value)| (*name, value.trim())).filter(|(_, value)| !value.is_empty());
        person.attributes.extend(filled.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if !values[0].1.trim().is_empty() || !values[1].1.trim().is_empty() {
            let part = |name: &str| person.attributes.get(name).cloned().unwrap_or_default();
            let name = format!("{} {}", part("first_name"), part("last_name"));
            person.name = Some(name.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        let changed = *person != before;
        let (count, event) = match (is_new, changed) {
            (true, _) => (0, Some("added")),
            (false, true) => (1, Some("details")),
            (false, false) => (2, None),
        };
        person.events.extend(event);
        self.export.counts[count] += 1;
        if is_new {
            self.seen.push((canonical, written));
        }
    }
}

impl Export {
    /// Everybody is as the file says, by the events that it says.
    pub fn assert_found(&self, found: &BTreeMap<String, Person>) {
        assert_eq!(found.len(), self.people.len());
        for (address, expected) in &self.people {
            let person = &found[address];
            let found = Expected {
                name: person.details.name.clone(),
                attributes: person.details.attributes.clone(),
                events: person.events.clone(),
            };
            assert_eq!(found, *expected, "{address}");
        }
    }
}
