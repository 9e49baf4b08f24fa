use super::*;

fn inspector(wanted: Wanted) -> Inspector {
    Inspector::new(wanted, "2026-11-30T12:00:00Z".parse().unwrap())
}

fn inspected(body: &[u8], piece: usize, wanted: Wanted) -> Result<Inspected, Vec<FieldError>> {
    let mut inspector = inspector(wanted);
    // The first piece holds the header.
    let (first, rest) = body.split_at(body.len().min(piece.max(16)));
    inspector.chunk(first)?;
    for chunk in rest.chunks(piece) {
        inspector.chunk(chunk)?;
    }
    inspector.end()
}

fn inspect(body: &[u8], piece: usize) -> Result<i64, String> {
    let rows = inspected(body, piece, Wanted::default()).map(|inspected| inspected.rows);
    rows.map_err(|errors| errors[0].reason.clone())
}

#[test]
fn rows_are_counted_whatever_the_pieces() {
    let body = "\u{feff}email,town\r\na@example.com,Łódź\r\n\r\nb@example.com,\"浩\r\n浩\"\r\nc".as_bytes();
    for piece in 1..body.len() {
        assert_eq!(inspect(body, piece), Ok(3), "{piece}");
    }
    assert_eq!(inspect(b"email\n", 100), Ok(0));
}

#[test]
fn bytes_that_are_not_utf8_are_found_with_their_line() {
    for piece in [1, 2, 3, 7, 100] {
        let error = inspect(b"email,town\na@example.com,Rome\nb@example.com,K\xf6ln\nc", piece).unwrap_err();
        assert!(error.contains("not UTF-8 in line 3"), "{error}");
        let error = inspect("email,town\na@example.com,Łódź".as_bytes().split_last().unwrap().1, piece);
        assert!(error.unwrap_err().contains("line 2"));
        let error = inspect(b"email,town\na@example.com,\0\n", piece).unwrap_err();
        assert!(error.contains("NUL character in line 2"), "{error}");
    }
}

#[test]
fn an_open_quote_is_refused_as_a_whole() {
    let error = inspect(b"email,town\na@example.com,\"Rome\nb@example.com,Oslo\n", 8).unwrap_err();
    assert!(error.contains("starts in line 2"), "{error}");
}

#[test]
fn an_open_quote_spoils_no_list_of_the_unsubscribed() {
    let wanted = || Wanted { status: ImportedStatus::OptedOut, ..Wanted::default() };
    let body = b"email,town\na@example.com,\"Rome\nb@example.com,Oslo\n";
    for piece in 1..body.len() {
        assert_eq!(inspected(body, piece, wanted()).map(|inspected| inspected.rows).ok(), Some(1));
    }
    let long = format!("email,town\na@example.com,\"Rome\n{}", "b@example.com,Oslo\n".repeat(50_000));
    for piece in [1_000, 7_777, 262_144] {
        let inspected = inspected(long.as_bytes(), piece, wanted()).ok().unwrap();
        assert!((10..50_001).contains(&inspected.rows), "{}", inspected.rows);
    }
}

#[test]
fn a_word_that_nobody_knows_is_found_wherever_it_stands() {
    let mut body = String::from("email,status\n");
    (0..1_000).for_each(|n| body.push_str(&format!("reader{n}@example.com,active\n")));
    body.push_str("last@example.com,gold\n");
    let scanned = inspected(body.as_bytes(), 5_000, Wanted::default()).ok().unwrap().scanned;
    assert_eq!(scanned.faults.len(), 1);
    assert!(scanned.faults[0].reason.contains("\"gold\" (line 1002)"), "{}", scanned.faults[0].reason);
    let of_nobody =
        inspected(b"email,notes\na@example.com,Unsubscribed\n", 99, Wanted::default()).ok().unwrap();
    assert!(of_nobody.scanned.faults[0].reason.contains("\"notes\" seems to say"));
}

#[test]
fn dates_are_reported_by_their_rows_and_their_order_is_of_the_column() {
    let body = "email,Subscribed At\na@x.example,05/12/2023\nb@x.example,25/12/2023\nc@x.example,soon\nd@x.example,01/01/2099\n";
    let scanned = inspected(body.as_bytes(), 20, Wanted::default()).ok().unwrap().scanned;
    assert_eq!(scanned.layout.columns[1].date_order, Some(DateOrder::Dmy));
    let told: Vec<_> = scanned.warnings.iter().map(|warning| (warning.code, warning.line)).collect();
    use super::super::scan::WarningCode::{DateInFuture, DateUnreadable};
    assert_eq!((told, scanned.faults), (vec![(DateUnreadable, Some(4)), (DateInFuture, Some(5))], vec![]));

    let body = b"email,Subscribed At\na@x.example,05/12/2023\n";
    let scanned = inspected(body, 20, Wanted::default()).ok().unwrap().scanned;
    assert_eq!(scanned.faults[0].field, "date_order");
    let said = Wanted { date_order: Some(DateOrder::Mdy), ..Wanted::default() };
    let scanned = inspected(body, 20, said).ok().unwrap().scanned;
    assert_eq!((scanned.layout.columns[1].date_order, scanned.faults), (Some(DateOrder::Mdy), vec![]));
}
