use super::*;

fn header(text: &str) -> Header {
    Header::read(text.as_bytes()).unwrap()
}

fn error(text: &str) -> String {
    Header::read(text.as_bytes()).map(|header| header.layout).unwrap_err()
}

const MAILCHIMP: &str =
    "\u{feff}Email Address,First Name,Last Name,Birthday,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,LANGUAGE\r\nana";

#[test]
fn a_large_tools_export_is_understood() {
    let header = header(MAILCHIMP);
    let attribute = |index, name: &str| (index, name.to_owned());
    let expected = Layout {
        columns: 8,
        address: 0,
        name: None,
        attributes: vec![
            attribute(1, "first_name"),
            attribute(2, "last_name"),
            attribute(3, "birthday"),
            attribute(4, "optin_time"),
            attribute(6, "confirm_time"),
            attribute(7, "language"),
        ],
        consent_times: vec![4, 6],
        consent_addresses: vec![5],
        standings: vec![],
        opt_out_times: vec![],
    };
    assert_eq!(header.layout, expected);
    assert_eq!(header.rows, Cursor { byte: MAILCHIMP.len() as i64 - 3, line: 2 });
}

#[test]
fn the_delimiter_is_found() {
    for (text, delimiter, columns) in [
        ("email,name\n", b',', 2),
        ("email;name\n", b';', 2),
        ("email\tname", b'\t', 2),
        ("email\n", b',', 1),
        ("name;\"e-mail\";\"Town, street\"\r", b';', 3),
        ("\"Name; or nick\",\"Town; street\",E-Mail\n", b',', 3),
    ] {
        let header = header(text);
        assert_eq!((header.delimiter, header.layout.columns), (delimiter, columns), "{text:?}");
    }
}

#[test]
fn spellings_of_the_names_share_their_attributes() {
    let layout = header("Vorname;Nachname;E-Mail-Adresse;Full Name").layout;
    assert_eq!(layout.attributes, [(0, "first_name".to_owned()), (1, "last_name".to_owned())]);
    assert_eq!((layout.address, layout.name), (2, Some(3)));
}

#[test]
fn a_header_without_an_address_names_what_it_has() {
    let error = error("Vorname,Telefon\nAna,1");
    assert!(error.contains("\"Vorname\", \"Telefon\"") && error.contains("Email Address"), "{error}");
}

#[test]
fn a_file_without_a_header_shows_nobody() {
    let error = error("ana@example.com,Ana\nbo@example.com,Bo");
    assert!(error.contains("header row") && !error.contains("ana") && !error.contains("Ana"), "{error}");
}

#[test]
fn two_columns_for_one_thing_are_refused() {
    for text in [
        "email,E-Mail",
        "email,FNAME,First Name",
        "email,Town,town",
        "email,name,Full Name",
        "email,First Name,first_name",
    ] {
        assert!(error(text).contains("two columns"), "{text}");
    }
}

#[test]
fn columns_that_cannot_be_fields_are_refused() {
    assert!(error("email,").contains("no name for column 2"));
    assert!(error("email,2nd").contains("\"2nd\" at place 2"));
    assert!(error(&format!("email,{}", "x".repeat(65))).contains("cannot be a field's"));
    let many: String = (0..=attributes::COUNT_MAX).map(|n| format!(",a{n}")).collect();
    assert!(error(&format!("email{many}")).contains("more than 100"));
}

#[test]
fn nothing_and_endless_headers_are_refused() {
    for text in ["", "\u{feff}", "\r\n\r\n"] {
        assert!(error(text).contains("is empty"), "{text:?}");
    }
    let endless = "x".repeat(CHUNK_BYTES);
    assert!(error(&endless).contains("64 KiB"));
    assert!(error("\"email").contains("quote"));
}

#[test]
fn empty_lines_after_the_header_are_passed() {
    let header = header("email\r\n\r\n\r\nana@example.com");
    assert_eq!(header.rows, Cursor { byte: 11, line: 4 });
}
