use super::*;
use crate::imports::ColumnMapping;
use crate::imports::header::Header;
use crate::imports::splitter::{Splitter, Step};

fn master() -> MasterKey {
    MasterKey::from_hex(&"ab".repeat(32)).unwrap()
}

fn with_first<T>(text: &str, forgives: bool, read: impl Fn(Record<'_>, &Layout) -> T) -> T {
    let header = Header::read(text.as_bytes(), &ColumnMapping::default()).unwrap();
    let delimiter = header.layout.delimiter;
    let mut splitter = match forgives {
        true => Splitter::forgiving(delimiter, header.rows),
        false => Splitter::new(delimiter, header.rows),
    };
    while splitter.step(&text.as_bytes()[splitter.cursor().byte as usize..]).unwrap().1 != Step::Record {}
    read(splitter.record().unwrap(), &header.layout)
}

fn read(text: &str) -> Result<Row, Rejection> {
    let now = "2026-11-30T12:00:00Z".parse().unwrap();
    with_first(text, false, |record, layout| Row::read(record, layout, now, &master()))
}

/// Of a list of people who opted out.
fn opted_out(text: &str) -> Result<Vec<String>, Rejection> {
    let rows = with_first(text, true, |record, layout| Row::read_opted_out(record, layout, &master()));
    rows.map(|rows| rows.iter().map(|row| row.address.canonical()).collect())
}

fn rejection(text: &str) -> Rejection {
    read(text).err().unwrap()
}

#[test]
fn a_row_is_read_by_its_header() {
    let row = read(
        "E-Mail;Vorname;Nachname;Größe (cm);OPTIN_TIME;OPTIN_IP\n\
         Ana@Example.COM ;Ana;\"O'Brien; Jr.\";;2020-06-19 01:58:00;192.0.2.7\n",
    );
    let row = row.ok().unwrap();
    assert_eq!(row.address.to_string(), "Ana@example.com");
    let attributes: Vec<_> =
        row.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected =
        [("first_name", "Ana"), ("last_name", "O'Brien; Jr."), ("optin_time", "2020-06-19 01:58:00")];
    assert_eq!(attributes, expected);
    assert_eq!(row.given_at, Some("2020-06-19T01:58:00Z".parse().unwrap()));
    assert_eq!(row.given_from, Some("192.0.2.7".parse().unwrap()));
    assert_eq!((row.line, row.name), (2, None));
}

#[test]
fn consent_falls_back_to_its_confirmation() {
    let row = read("email,CONFIRM_TIME,OPTIN_TIME\na@example.com,2021-01-01 00:00:00,soon\n").ok().unwrap();
    assert_eq!(row.given_at, Some("2021-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(row.attributes["optin_time"], "soon");
}

#[test]
fn a_name_stands_on_one_line() {
    let row = read("email,name\na@example.com,\"Ana \r\n\t Almeida\u{7}\"\n").ok().unwrap();
    assert_eq!(row.name.as_deref(), Some("Ana Almeida"));
}

#[test]
fn what_cannot_be_taken_says_why() {
    let long = "x".repeat(VALUE_MAX_BYTES + 1);
    for (text, value, reason) in [
        ("email,town\nno-at-sign,Rome\n", "no-at-sign", "exactly one @"),
        ("email,town\n,Rome\n", "", "empty"),
        ("email,town\na@example.com,x,y\n", "a@example.com", "fields in the row: 3, in the header: 2"),
        ("town,email\nRome\n", "", "empty"),
        ("email,town,x\na@example.com,\"\n\"\n", "a@example.com", "over 2 lines: is a quote left open?"),
        ("email,town\na@example.com,x,\"\n\ny\"\n", "a@example.com", "over 3 lines: is a quote left open?"),
        (&format!("email,town\na@example.com,{long}\n"), "a@example.com", "town is longer"),
        (&format!("email,name\na@example.com,{long}\n"), "a@example.com", "the name is longer"),
    ] {
        let rejection = rejection(text);
        assert_eq!((rejection.line, rejection.value.as_str()), (2, value));
        assert!(rejection.reason.contains(reason), "{}", rejection.reason);
    }
}

#[test]
fn a_short_row_is_filled_and_empty_cells_behind_are_nothing() {
    let row = read("firstname,email,note\nJon,jon@example.com\n").ok().unwrap();
    assert_eq!((row.address.to_string().as_str(), row.attributes.len()), ("jon@example.com", 1));
    assert!(read("email,town\na@example.com,Rome,,\n").is_ok());
    // What is missing says no yes.
    assert!(read("email,subscribed\na@example.com\n").is_err());
}

#[test]
fn a_rejected_value_holds_no_part_of_an_address() {
    let cell = |text: String| rejection(&format!("email\n{text}\n")).value;
    assert_eq!(cell("浩".repeat(100)), "");
    let words = cell(format!("{} ana.bell@example.com and more", "word ".repeat(38)));
    assert!(words.starts_with("word") && !words.contains("ana"), "{words}");
    let whole = format!("{} ana.bell@example.com more and more", "word ".repeat(34));
    assert!(cell(whole).contains("ana.bell@example.com"));
    let short = "Ana <ana.bell@example.com> and bo";
    assert_eq!(cell(short.to_owned()), short);
}

#[test]
fn who_opted_out_elsewhere_is_not_taken_for_a_subscriber() {
    for status in
        ["unsubscribed", "Opted-Out", "CLEANED", "blocklisted", "disabled", "Non-Subscribed", "unconfirmed"]
    {
        let reason = rejection(&format!("email,Member Status\na@example.com,{status}\n")).reason;
        assert!(reason.contains("status=opted_out"), "{reason}");
    }
    for (columns, cells) in [
        ("UNSUB_TIME,UNSUB_REASON", "2024-02-03 10:00:00,"),
        ("subscribed_to_emails", "FALSE"),
        ("subscribed_to_emails", ""),
        ("doNotEmail", "1"),
        ("HasOptedOutOfEmail", "true"),
        ("Accepts Email Marketing", "no"),
        ("status,unsubscribed_at", "active,2024-02-03"),
        ("status", ""),
        ("status,deleted_at", "active,2024-02-03"),
    ] {
        rejection(&format!("email,{columns}\na@example.com,{cells}\n"));
    }
    for (columns, cells) in [
        ("status", "subscribed"),
        ("subscribed_to_emails", "true"),
        ("doNotEmail", "0"),
        ("Unsubscribed from all email", ""),
        ("Group status,Email status", "member,"),
        ("status,unsubscribed_at", "active,0000-00-00 00:00:00"),
    ] {
        assert!(read(&format!("email,{columns}\na@example.com,{cells}\n")).is_ok(), "{columns}: {cells}");
    }
}

#[test]
fn every_address_that_can_be_read_is_opted_out() {
    for (row, expected) in [
        ("ANA@example.com,Ana,x", vec!["ana@example.com"]),
        ("ana@example.com", vec!["ana@example.com"]),
        ("ana@example.com,Ana,x,y,z", vec!["ana@example.com"]),
        ("Ana <ana@example.com>,Ana,x", vec!["ana@example.com"]),
        ("mailto:ana@example.com,Ana,x", vec!["ana@example.com"]),
        ("\"'ana@example.com'. \",Ana,x", vec!["ana@example.com"]),
        ("ana@example.com; bo@example.com,Ana,x", vec!["ana@example.com", "bo@example.com"]),
        ("\"ana@example.com,Ana\",x", vec!["ana@example.com"]),
        ("Ana,ana@example.com,x", vec!["ana@example.com"]),
        ("ana@example.com,\"Ana,x\nbo@example.com,Bo,y\n", vec!["ana@example.com", "bo@example.com"]),
        ("\"ana@example.com,Ana,x\nbo@example.com,Bo,y\n", vec!["ana@example.com", "bo@example.com"]),
        // Whoever keeps the list is not on it.
        ("ana@example.com,Ana,asked staff@example.org", vec!["ana@example.com"]),
    ] {
        let text = format!("Email Address,First Name,UNSUB_REASON_OTHER\n{row}");
        assert_eq!(opted_out(&text).ok(), Some(expected.iter().map(|a| (*a).to_owned()).collect()), "{row}");
    }
    assert!(opted_out("email,name\nnobody,Ana\n").is_err());
    let both = opted_out("Email,E-Mail,owner\na@example.com,b@example.com,c@example.com\n").ok();
    assert_eq!(both, Some(vec!["a@example.com".to_owned(), "b@example.com".to_owned()]));
    let google = opted_out(
        "E-mail 1 - Value,E-mail 2 - Value,Email owner\na@example.com,b@example.com,c@example.com\n",
    )
    .ok();
    assert_eq!(google, both);
    let sheet = opted_out("Email;Additional email addresses\n=\"a@example.com\";b@example.com, x\n").ok();
    assert_eq!(sheet, both);
    assert_eq!(opted_out("email;a;b\n\"=a@example.com;x\n").ok(), Some(vec!["a@example.com".to_owned()]));
}
