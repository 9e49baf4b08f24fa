use super::*;
use proptest::prelude::*;

type Found = Vec<(i64, Vec<String>)>;

fn fields(record: Record<'_>) -> Vec<String> {
    (0..record.fields()).map(|index| record.field(index).to_owned()).collect()
}

/// Every record with its line, from input given in pieces of `piece` bytes.
fn split_from(input: &[u8], at: Cursor, piece: usize) -> Result<Found, Malformed> {
    let mut splitter = Splitter::new(b',', at);
    let mut found = Vec::new();
    let mut pieces = input[at.byte as usize..].chunks(piece).chain(std::iter::repeat(&[][..]));
    let mut rest = &[][..];
    loop {
        if rest.is_empty() {
            rest = pieces.next().unwrap();
        }
        let (taken, step) = splitter.step(rest)?;
        rest = &rest[taken..];
        match step {
            Step::Record => found.push((splitter.record()?.line, fields(splitter.record()?))),
            Step::End => return Ok(found),
            Step::More => {}
        }
    }
}

fn split(input: &str, piece: usize) -> Result<Found, Malformed> {
    split_from(input.as_bytes(), Cursor { byte: 0, line: 1 }, piece)
}

fn lines(input: &str) -> Vec<i64> {
    split(input, 3).unwrap().into_iter().map(|(line, _)| line).collect()
}

#[test]
fn a_record_has_the_line_that_an_editor_shows() {
    assert_eq!(lines("a\nb\nc\n"), [1, 2, 3]);
    assert_eq!(lines("a\r\nb\r\nc"), [1, 2, 3]);
    assert_eq!(lines("a\rb\rc\r"), [1, 2, 3]);
    assert_eq!(lines("\r\n\r\na\r\n\r\n\r\nb"), [3, 6]);
    assert_eq!(lines("a,\"x\r\ny\r\nz\"\r\nb\r\n"), [1, 4]);
    assert_eq!(lines("a,\"x\ny\"\n\"\n\"\nb"), [1, 3, 5]);
    assert_eq!(lines(""), [0; 0]);
    assert_eq!(lines("\r\n\n"), [0; 0]);
}

#[test]
fn a_record_knows_how_many_lines_it_runs_over() {
    let input = b"a,\"x\r\ny\r\n\"\r\nb\r\n";
    let mut splitter = Splitter::new(b',', Cursor { byte: 0, line: 1 });
    let (taken, _) = splitter.step(input).unwrap();
    assert_eq!(splitter.record().unwrap().lines, 3);
    splitter.step(&input[taken..]).unwrap();
    assert_eq!(splitter.record().unwrap().lines, 1);
}

#[test]
fn an_open_quote_is_noticed_at_the_end() {
    assert_eq!(split("a\n\"b\nc,d\n", 2), Err(Malformed::OpenQuote(2)));
    assert_eq!(split("a\n\"b", 2), Err(Malformed::OpenQuote(2)));
    assert_eq!(split("a\n\"b\"", 2).unwrap().len(), 2);
    assert_eq!(split("a\n5\" disk", 2).unwrap().len(), 2);
    assert_eq!(split("a\n\"b\"\"", 2), Err(Malformed::OpenQuote(2)));
}

#[test]
fn a_row_without_end_is_refused_in_bounded_memory() {
    let row = format!("a\n\"{}", "x,\n".repeat(ROW_MAX_BYTES as usize));
    assert_eq!(split(&row, 4096), Err(Malformed::RowTooLong(2)));
    let commas = ",".repeat(ROW_MAX_BYTES as usize + 2);
    assert_eq!(split(&commas, 4096), Err(Malformed::RowTooLong(1)));
    let fits = format!("{}\nb", "x".repeat(ROW_MAX_BYTES as usize - 1));
    assert_eq!(split(&fits, 4096).unwrap().len(), 2);
}

#[test]
fn fields_are_trimmed_and_absent_ones_empty() {
    let mut splitter = Splitter::new(b';', Cursor { byte: 0, line: 1 });
    splitter.step("\u{feff} a ;\"b \n\"\n".as_bytes()).unwrap();
    let record = splitter.record().unwrap();
    assert_eq!([record.field(0), record.field(1), record.field(2)], ["a", "b", ""]);
}

fn csv_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(","),
        Just("\n"),
        Just("\r\n"),
        Just("\r"),
        Just("\""),
        Just("\"\""),
        Just("a"),
        Just("é浩"),
        Just(" "),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// The csv crate is the judge of what the records are, whatever the pieces; a byte-order mark is ours to trim.
    #[test]
    fn records_are_those_of_the_csv_crate(text in csv_text(), piece in 1usize..20) {
        let Ok(found) = split(&text, piece) else { return Ok(()) };
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let expected: Vec<Vec<String>> = reader
            .records()
            .map(|record| record.unwrap().iter().map(|field| trimmed(field).to_owned()).collect())
            .collect();
        let found: Vec<_> = found.into_iter().map(|(_, fields)| fields).collect();
        prop_assert_eq!(found, expected);
    }

    /// Reading on from any record's start finds the same rest, with the same lines.
    #[test]
    fn a_later_start_finds_the_same(text in csv_text(), piece in 1usize..20) {
        let Ok(all) = split(&text, piece) else { return Ok(()) };
        let input = text.as_bytes();
        let mut splitter = Splitter::new(b',', Cursor { byte: 0, line: 1 });
        for read in 1..=all.len() {
            loop {
                let at = splitter.cursor().byte as usize;
                if splitter.step(&input[at..]).unwrap().1 == Step::Record { break }
            }
            let at = splitter.cursor().byte as usize;
            splitter.skip_breaks(&input[at..]);
            let rest = split_from(input, splitter.cursor(), piece).unwrap();
            prop_assert_eq!(&rest, &all[read..]);
        }
    }
}
