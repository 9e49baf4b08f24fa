use super::*;
use crate::attributes;

fn header(text: &str) -> Header {
    Header::read(text.as_bytes(), &ColumnMapping::default()).unwrap()
}

fn error(text: &str) -> String {
    Header::read(text.as_bytes(), &ColumnMapping::default()).map(|header| header.layout).unwrap_err()
}

/// Meanings and keys in the order of the columns.
fn read(text: &str) -> Vec<(Meaning, Option<String>)> {
    header(text).layout.columns.into_iter().map(|column| (column.meaning, column.key)).collect()
}

fn keys(text: &str) -> Vec<String> {
    header(text).layout.keys().cloned().collect()
}

const MAILCHIMP: &str =
    "\u{feff}Email Address,First Name,Last Name,Birthday,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,LANGUAGE\r\nana";

#[test]
fn a_large_tools_export_is_understood() {
    use Meaning::{Attribute, ConfirmationDate, ConsentDate, ConsentIp, Email, FirstName, LastName};
    let kept = |meaning, key: &str| (meaning, Some(key.to_owned()));
    let expected = [
        (Email, None),
        kept(FirstName, "first_name"),
        kept(LastName, "last_name"),
        kept(Attribute, "birthday"),
        kept(ConsentDate, "optin_time"),
        (ConsentIp, None),
        kept(ConfirmationDate, "confirm_time"),
        kept(Attribute, "language"),
    ];
    assert_eq!(read(MAILCHIMP), expected);
    assert_eq!(header(MAILCHIMP).rows, Cursor { byte: MAILCHIMP.len() as i64 - 3, line: 2 });
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
        assert_eq!((header.layout.delimiter, header.layout.columns.len()), (delimiter, columns), "{text:?}");
    }
}

#[test]
fn spellings_of_the_names_share_their_attributes() {
    let text = "Vorname;Nachname;E-Mail-Adresse;Full Name";
    assert_eq!(keys(text), ["first_name", "last_name"]);
    let layout = header(text).layout;
    assert_eq!((layout.address(), layout.name()), (Some(2), Some(3)));
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
fn a_doubled_an_unnamed_or_an_odd_column_refuses_nothing_and_is_told() {
    for (text, expected) in [
        ("email,E-Mail", vec!["e_mail"]),
        ("email,FNAME,First Name", vec!["first_name", "first_name_2"]),
        ("email,Town,town,TOWN", vec!["town", "town_2", "town_3"]),
        ("email,name,Full Name", vec!["full_name"]),
        ("email,2nd,***,#", vec!["field_2nd", "field_3", "field_4"]),
        ("email,Group,Campaign,postal address,if", vec!["group_2", "campaign_2", "postal_address_2", "if_2"]),
    ] {
        assert_eq!(keys(text), expected, "{text}");
        assert!(
            text == "email,E-Mail" || text == "email,name,Full Name" || !header(text).notes.is_empty(),
            "{text}"
        );
    }
    let long = keys(&format!("email,{0},{0}", "x".repeat(80)));
    assert!(
        long.len() == 2
            && long[0] != long[1]
            && long.iter().all(|key| key.len() <= attributes::NAME_MAX_BYTES)
    );
    let unnamed = header(",email,,town");
    assert_eq!((unnamed.layout.address(), unnamed.notes.len()), (Some(1), 2));
    assert!(unnamed.notes[0].contains("column 1 has no name"));
    let many: String = (0..=attributes::COUNT_MAX).map(|n| format!(",a{n}")).collect();
    assert!(error(&format!("email{many}")).contains("more than 100"));
}

#[test]
fn titles_and_excels_first_line_are_passed() {
    let titled =
        header("Members for choir@lists.example.org\r\nEmail address,Nickname\r\na@example.com,Jo\r\n");
    assert_eq!((titled.layout.columns.len(), titled.rows.line, titled.notes.len()), (2, 3, 1));
    let padded = header("My list,,\n,,\n\nemail,name,town\na@example.com,,\n");
    assert_eq!((padded.layout.columns.len(), padded.rows.line), (3, 5));
    for text in
        ["sep=;\r\nemail;Vorname\r\na@example.com;Jo", "\u{feff}SEP=|\nemail|Vorname\na@example.com|Jo"]
    {
        let header = header(text);
        assert_eq!(
            (header.layout.columns.len(), header.rows.line, header.layout.address()),
            (2, 3, Some(0)),
            "{text}"
        );
    }
    assert_eq!(header("sep=\t\nemail\tname\n").layout.delimiter, b'\t');
}

#[test]
fn nobody_is_taken_for_a_title() {
    let error = error("ana@example.com\nbo@example.com\nemail\ncem@example.com\n");
    assert!(error.contains("header row"), "{error}");
}

#[test]
fn a_column_is_found_by_its_addresses_where_its_name_may_hold_them() {
    let address = |text: &str| header(text).layout.address();
    assert_eq!(address("Name,E-mail 1 - Value\nAna,\nBo,bo@example.com\n"), Some(1));
    assert_eq!(address("subscriber_id,address,town\n7,bo@example.com,Rome\n"), Some(1));
    assert!(error("Name,Address\nAna,Main Street 7\n").contains("no column for the address"));
}

#[test]
fn a_mapping_says_what_columns_mean() {
    let mapping: ColumnMapping = [
        ("Kontakt", Meaning::Email),
        ("Wants mail", Meaning::Subscribed),
        ("status", Meaning::Ignore),
        ("email", Meaning::Attribute),
    ]
    .map(|(name, meaning)| (name.to_owned(), meaning))
    .into_iter()
    .collect();
    let layout = Header::read(b"email,Kontakt,Wants mail,status\n", &mapping).unwrap().layout;
    let meanings: Vec<Meaning> = layout.columns.iter().map(|column| column.meaning).collect();
    assert_eq!(meanings, [Meaning::Attribute, Meaning::Email, Meaning::Subscribed, Meaning::Ignore]);
    assert_eq!(layout.columns[0].key.as_deref(), Some("email_2"));
}

#[test]
fn our_own_files_are_known() {
    for columns in ["authorized_by", "authorized_by,template_version"] {
        let recipients = read(&format!("subscriber_id,address,state,reason,dispatch_id,{columns}\n"));
        assert_eq!((recipients[1].0, recipients[2].0), (Meaning::Email, Meaning::RecipientState));
    }
    let opt_outs =
        read("position,time,subscriber_id,address,scope,groups,channel,campaign_id,source_address\n");
    assert_eq!(
        (opt_outs[3].0, opt_outs[6].0, opt_outs[8].0),
        (Meaning::Email, Meaning::OptOutDate, Meaning::Ignore)
    );
}

#[test]
fn substack_says_by_one_column_who_pays_and_by_another_who_wants_mail() {
    let substack = read("email,active_subscription,email_disabled\n");
    assert_eq!((substack[1].0, substack[2].0), (Meaning::Attribute, Meaning::NotSubscribed));
    assert_eq!(read("email,active_subscription\n")[1].0, Meaning::NotUnderstood);
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
