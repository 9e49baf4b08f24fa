//! A subscriber export as a large list tool writes it, with the dirt of a real one, and what an import must find in it.

use crate::Random;
use std::collections::BTreeMap;

const HEADER: [&str; 7] =
    ["Email Address", "First Name", "Last Name", "City", "OPTIN_TIME", "OPTIN_IP", "TAGS"];

const FIRST: [&str; 12] = [
    "O'Brien",
    "Łukasz",
    "浩",
    "{{ 7*7 }}",
    "Zoë",
    "محمد",
    "Ana",
    "{% raw %}",
    "Søren",
    "İpek",
    "\u{1f600} Emoji",
    "{# x #}",
];
const LAST: [&str; 11] = [
    "<b>Bold</b>",
    "=SUM(A1:A9)",
    "Smith, Jr.",
    "Jones \"JJ\"",
    "D'Angelo",
    "<script>alert(1)</script>",
    "van der Berg",
    "R&D &amp; Co",
    "Nguyễn",
    "back\\slash",
    "two\nlines",
];
const CITIES: [&str; 5] = ["Köln", "São Paulo", "", "Aix; en, Provence", "東京"];

/// As written, and as a mail is addressed: a domain's A-labels in lower case.
const DOMAINS: [(&str, &str); 7] = [
    ("example.com", "example.com"),
    ("EXAMPLE.com", "example.com"),
    ("mail.example.org", "mail.example.org"),
    ("bücher.example", "xn--bcher-kva.example"),
    ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ("例え.example", "xn--r8jz45g.example"),
    ("sub.dept.example.net", "sub.dept.example.net"),
];

const INVALID: [&str; 12] = [
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
    "name@exam ple.com",
    "a-local-part-of-sixty-five-characters-0123456789-0123456789-01234@example.com",
];

/// A row in so many is invalid, repeats an earlier reader, or holds what is only a repetition of the row before.
const INVALID_ONCE_IN: u64 = 60;
const REPEAT_ONCE_IN: u64 = 25;
/// Rows in a row that are repeated, and that begin with each of the odd names.
const RECENT: usize = 100;

/// Who reads, as the last row about them says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// As a mail is addressed: the local part as first written, the domain in A-labels.
    pub address: String,
    pub first_name: String,
    pub last_name: String,
    pub city: String,
}

#[derive(Debug, Default)]
pub struct Export {
    pub csv: Vec<u8>,
    pub rows: u64,
    /// By the one spelling that makes two addresses the same.
    pub readers: BTreeMap<String, Reader>,
    /// Rows about a reader whom an earlier row brought: with something new, and with nothing new.
    pub updated: u64,
    pub unchanged: u64,
    /// Where a row begins that has no valid address; the header is line 1.
    pub rejected_lines: Vec<u64>,
}

impl Export {
    /// Valid, distinct and plain: for tests that are about something else. Local parts are `<name><number>`.
    pub fn clean(name: &str, readers: u64) -> Self {
        let mut export = Self { csv: b"email,first_name\r\n".to_vec(), ..Self::default() };
        for number in 0..readers {
            let address = format!("{name}{number}@example.com");
            export.csv.extend(format!("{address},Reader {number}\r\n").into_bytes());
            let first_name = format!("Reader {number}");
            let reader = Reader {
                address: address.clone(),
                first_name,
                last_name: String::new(),
                city: String::new(),
            };
            export.readers.insert(address, reader);
        }
        export.rows = readers;
        export
    }

    pub fn dirty(rows: u64, random: &mut Random) -> Self {
        let mut writer = Writer::default();
        for number in 0..rows {
            writer.row(number, random);
        }
        let mut export = writer.export;
        export.rows = rows;
        // Spreadsheets write a byte-order mark.
        let mut csv = "\u{feff}".as_bytes().to_vec();
        csv.extend(std::mem::take(&mut export.csv));
        export.csv = csv;
        export
    }

    pub fn repeats(&self) -> u64 {
        self.updated + self.unchanged
    }
}

struct Writer {
    export: Export,
    /// As written, with the fields behind the address.
    recent: Vec<(String, String, [String; 6])>,
    line: u64,
}

impl Default for Writer {
    fn default() -> Self {
        let mut writer = Self { export: Export::default(), recent: Vec::new(), line: 1 };
        writer.write(&HEADER.map(str::to_owned));
        writer
    }
}

impl Writer {
    fn row(&mut self, number: u64, random: &mut Random) {
        let odd_names_first = number < (FIRST.len() * LAST.len()) as u64;
        if !odd_names_first && random.once_in(INVALID_ONCE_IN) {
            self.export.rejected_lines.push(self.line);
            let mut row = fields(number, random).to_vec();
            row.insert(0, (*random.pick(&INVALID)).to_owned());
            self.write(&row);
        } else if !odd_names_first && random.once_in(REPEAT_ONCE_IN) {
            self.repeat(number, random);
        } else {
            self.reader(number, random);
        }
    }

    fn reader(&mut self, number: u64, random: &mut Random) {
        let (domain, canonical) = *random.pick(&DOMAINS);
        let local = format!("Reader{number}.{}{}", random.within(0..1000), random.pick(&["", "+news", "'s"]));
        let key = format!("{}@{canonical}", local.to_lowercase());
        let fields = fields(number, random);
        let reader = Reader {
            address: format!("{local}@{canonical}"),
            first_name: fields[0].clone(),
            last_name: fields[1].clone(),
            city: fields[2].clone(),
        };
        self.export.readers.insert(key.clone(), reader);
        let written = format!("{local}@{domain}");
        self.write(&with(&written, &fields));
        self.recent.push((key, written, fields));
        if self.recent.len() > RECENT {
            self.recent.remove(0);
        }
    }

    /// The same address in another spelling: with the same fields, with one of them empty, or with one changed.
    fn repeat(&mut self, number: u64, random: &mut Random) {
        let chosen = random.within(0..self.recent.len() as u64) as usize;
        let (key, written, fields) = &mut self.recent[chosen];
        let spelt = spell(written, random);
        let mut row = fields.clone();
        match random.within(0..3) {
            0 => self.export.unchanged += 1,
            1 => {
                row[1].clear();
                self.export.unchanged += 1;
            }
            _ => {
                row[1] = format!("Changed {number}");
                fields[1].clone_from(&row[1]);
                self.export.readers.get_mut(key).unwrap().last_name.clone_from(&row[1]);
                self.export.updated += 1;
            }
        }
        self.write(&with(&spelt, &row));
    }

    /// As spreadsheets do: CRLF, quotes where they are needed.
    fn write(&mut self, row: &[String]) {
        let cells: Vec<String> = row.iter().map(|cell| quoted(cell)).collect();
        let line = cells.join(",") + "\r\n";
        self.line += line.matches('\n').count() as u64;
        self.export.csv.extend(line.into_bytes());
    }
}

fn with(address: &str, fields: &[String; 6]) -> Vec<String> {
    let mut row = vec![address.to_owned()];
    row.extend(fields.iter().cloned());
    row
}

/// Each pair of odd names is in the first rows.
fn fields(number: u64, random: &mut Random) -> [String; 6] {
    let index = number as usize;
    [
        FIRST[index % FIRST.len()].to_owned(),
        LAST[index % LAST.len()].to_owned(),
        (*random.pick(&CITIES)).to_owned(),
        format!(
            "202{}-0{}-1{} 0{}:30:00",
            random.within(0..6),
            random.within(1..10),
            random.within(0..10),
            random.within(0..10)
        ),
        format!("192.0.2.{}", random.within(1..255)),
        (*random.pick(&["", "vip", "news,press"])).to_owned(),
    ]
}

fn spell(address: &str, random: &mut Random) -> String {
    match random.within(0..4) {
        0 => address.to_owned(),
        1 => address.to_uppercase(),
        2 => format!("  {address} "),
        _ => address.to_lowercase(),
    }
}

fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) || cell.starts_with(' ') {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dirty_export_has_what_it_says() {
        let export = Export::dirty(3_000, &mut Random::seeded(1));
        assert!(export.csv.starts_with("\u{feff}".as_bytes()));
        let mut reader = csv::Reader::from_reader(&export.csv[3..]);
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len() as u64, export.rows);
        assert!(export.updated > 10 && export.unchanged > 10 && export.rejected_lines.len() > 10);
        let counted = export.readers.len() as u64 + export.repeats() + export.rejected_lines.len() as u64;
        assert_eq!(counted, export.rows);
        let invalid = rows.iter().filter(|row| INVALID.contains(&&row[0])).count();
        assert_eq!(invalid, export.rejected_lines.len());
        let text = String::from_utf8(export.csv).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        for number in export.rejected_lines {
            let line = lines[number as usize - 1];
            assert!(
                INVALID.iter().any(|address| line.starts_with(&format!("{address},"))),
                "{number}: {line}"
            );
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let csv = |seed| Export::dirty(200, &mut Random::seeded(seed)).csv;
        assert_eq!(csv(7), csv(7));
        assert_ne!(csv(7), csv(8));
    }
}
