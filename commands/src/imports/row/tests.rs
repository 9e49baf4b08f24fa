use super::*;
use crate::imports::header::Header;
use crate::imports::splitter::{Splitter, Step};

fn read(text: &str) -> Result<Row, Rejection> {
    let master = MasterKey::from_hex(&"ab".repeat(32)).unwrap();
    let header = Header::read(text.as_bytes()).unwrap();
    let mut splitter = Splitter::new(header.delimiter, header.rows);
    loop {
        let rest = &text.as_bytes()[splitter.cursor().byte as usize..];
        if splitter.step(rest).unwrap().1 == Step::Record {
            break;
        }
    }
    Row::read(splitter.record().unwrap(), &header.layout, &master)
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
        ("email,town\na@example.com\n", "a@example.com", "fields in the row: 1, in the header: 2"),
        ("email,town\na@example.com,x,y\n", "a@example.com", "fields in the row: 3, in the header: 2"),
        ("town,email\nRome\n", "", "fields in the row: 1"),
        ("email,town\na@example.com,x,\"\n\n\"\n", "a@example.com", "over 3 lines: is a quote left open?"),
        (&format!("email,town\na@example.com,{long}\n"), "a@example.com", "town is longer"),
        (&format!("email,name\na@example.com,{long}\n"), "a@example.com", "the name is longer"),
    ] {
        let rejection = rejection(text);
        assert_eq!((rejection.line, rejection.value.as_str()), (2, value));
        assert!(rejection.reason.contains(reason), "{}", rejection.reason);
    }
}

#[test]
fn a_rejected_value_is_cut_between_characters() {
    let rejection = rejection(&format!("email\n{}\n", "浩".repeat(100)));
    assert!(rejection.value.len() <= REJECTED_VALUE_MAX_BYTES && rejection.value.ends_with('浩'));
}

#[test]
fn who_opted_out_elsewhere_is_not_taken_for_a_subscriber() {
    for status in
        ["unsubscribed", "Opted-Out", "CLEANED", "blocklisted", "disabled", "Non-Subscribed", "unconfirmed"]
    {
        let reason = rejection(&format!("email,Member Status\na@example.com,{status}\n")).reason;
        assert!(reason.contains("status=opted_out"), "{reason}");
    }
    rejection("email,UNSUB_TIME,UNSUB_REASON\na@example.com,2024-02-03 10:00:00,\n");
    for row in ["email,status\na@example.com,subscribed\n", "email,status,UNSUB_TIME\na@example.com,gold,\n"]
    {
        assert!(read(row).is_ok(), "{row}");
    }
}
