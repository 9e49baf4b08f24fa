use super::*;
use chrono::TimeZone;
use mail_parser::MessageParser;
use proptest::prelude::*;

fn address(name: &str) -> Address {
    Address { email: "reader@example.com".into(), name: Some(name.into()) }
}

fn parts<'a>(from: &'a Address, to: &'a Address) -> MessageParts<'a> {
    MessageParts {
        from,
        reply_to: None,
        to,
        subject: "Hello",
        html: "<p>Hi</p>",
        text: "Hi",
        message_id: "0190a.1@mail.example.com",
        date: Utc.with_ymd_and_hms(2024, 2, 29, 12, 0, 0).unwrap(),
        list: None,
        tags: &[],
    }
}

fn list<'a>(name: &'a str) -> ListHeaders<'a> {
    ListHeaders {
        id: "0190a.mail.example.com",
        name,
        unsubscribe_url: "https://mail.example.com/emails/unsubscribe?token=a.b-c_d",
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn header_lines(bytes: &[u8]) -> Vec<String> {
    let whole = text(bytes);
    whole.split("\r\n\r\n").next().unwrap().split("\r\n").map(str::to_owned).collect()
}

/// Names of the headers, in their order.
fn header_names(bytes: &[u8]) -> Vec<String> {
    let lines = header_lines(bytes);
    lines
        .iter()
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect()
}

const AWKWARD: [&str; 9] = [
    "O'Brien",
    "<b>",
    "Łukasz",
    "浩",
    "{{ 7*7 }}",
    "=SUM(A1:A9)",
    "Smith, Jr.",
    "Jones \"JJ\"",
    "=?utf-8?B?5rWp?= \\",
];

#[test]
fn awkward_names_come_back_from_every_place() {
    for name in AWKWARD {
        let (from, to) = (address(name), address(name));
        let reply_to = address(name);
        let html = format!("<p>{name}</p>");
        let parts = MessageParts {
            reply_to: Some(&reply_to),
            subject: name,
            html: &html,
            text: name,
            list: Some(list(name)),
            ..parts(&from, &to)
        };
        let bytes = build(&parts).unwrap();
        let message = MessageParser::default().parse(&bytes).unwrap();
        let first = |a: Option<&mail_parser::Address<'_>>| {
            a.and_then(|a| a.first()).and_then(|a| a.name().map(str::to_owned))
        };
        assert_eq!(message.subject(), Some(name));
        for found in [first(message.from()), first(message.to()), first(message.reply_to())] {
            assert_eq!(found.as_deref(), Some(name), "{}", text(&bytes));
        }
        assert_eq!(message.to().unwrap().first().unwrap().address(), Some("reader@example.com"));
        assert_eq!(message.body_text(0).unwrap().trim_end(), name);
        assert_eq!(message.body_html(0).unwrap().trim_end(), html);
        let id = message.list_id().as_address().unwrap().first().unwrap();
        assert_eq!((id.name(), id.address()), (Some(name), Some("0190a.mail.example.com")));
    }
}

#[test]
fn a_campaigns_mail_has_these_headers_once_each() {
    let (from, to) = (address("Shop"), address("Anna"));
    let tags = [("X-Postledger-Dispatch", "0190a"), ("X-Postledger-Campaign", "0190b")];
    let bytes = build(&MessageParts {
        list: Some(list("Tea")),
        tags: &tags,
        reply_to: Some(&from),
        ..parts(&from, &to)
    })
    .unwrap();
    let expected = [
        "Date",
        "From",
        "To",
        "Reply-To",
        "Subject",
        "Message-ID",
        "List-Id",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "X-Postledger-Dispatch",
        "X-Postledger-Campaign",
        "MIME-Version",
        "Content-Type",
    ];
    assert_eq!(header_names(&bytes), expected);
    let lines = header_lines(&bytes);
    for line in [
        "Date: Thu, 29 Feb 2024 12:00:00 +0000",
        "Message-ID: <0190a.1@mail.example.com>",
        "List-Unsubscribe: <https://mail.example.com/emails/unsubscribe?token=a.b-c_d>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "X-Postledger-Dispatch: 0190a",
        "MIME-Version: 1.0",
        "Content-Type: multipart/alternative; boundary=\"=_0190a1mailexamplecom\"",
    ] {
        assert!(lines.iter().any(|l| l == line), "{line} is not in {lines:#?}");
    }
}

#[test]
fn a_mail_to_one_reader_has_no_list_headers_and_wants_no_answer_from_machines() {
    let (from, to) = (address("Shop"), address("Anna"));
    let bytes = build(&parts(&from, &to)).unwrap();
    assert!(!text(&bytes).contains("List-"));
    assert!(header_lines(&bytes).contains(&"Auto-Submitted: auto-generated".to_owned()));
}

#[test]
fn text_comes_before_html_and_both_are_utf_8() {
    let (from, to) = (address("Shop"), address("Anna"));
    let bytes = build(&MessageParts { html: "<p>ł</p>", text: "ł", ..parts(&from, &to) }).unwrap();
    let message = text(&bytes);
    let plain = message.find("Content-Type: text/plain; charset=utf-8").unwrap();
    assert!(plain < message.find("Content-Type: text/html; charset=utf-8").unwrap());
}

#[test]
fn the_same_message_has_the_same_bytes() {
    let (from, to) = (address("Shop"), address("Łukasz"));
    assert_eq!(build(&parts(&from, &to)), build(&parts(&from, &to)));
}

#[test]
fn lines_end_in_crlf_and_are_short_whatever_the_body_has() {
    let (from, to) = (address("Shop"), address("Anna"));
    let long = "word ".repeat(1_000);
    let solid = "x".repeat(5_000);
    let umlauts = "ä浩".repeat(3_000);
    for body in [&long, &solid, &umlauts, "a\nb\rc\r\nd\0e\n.\n..\nFrom x", ""] {
        let bytes =
            build(&MessageParts { html: body, text: body, subject: body, ..parts(&from, &to) }).unwrap();
        let message = text(&bytes);
        assert!(message.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n', '\0'])));
        let parsed = MessageParser::default().parse(&bytes).unwrap();
        let expected = crlf(body);
        let found = parsed.body_text(0).unwrap();
        assert_eq!(found.trim_end_matches("\r\n"), expected.trim_end_matches("\r\n"));
    }
}

#[test]
fn a_part_can_not_hold_the_boundary() {
    let (from, to) = (address("Shop"), address("Anna"));
    let body = "--=_0190a1mailexamplecom\n\nevil\n--=_0190a1mailexamplecom_--";
    let bytes = build(&MessageParts { text: body, ..parts(&from, &to) }).unwrap();
    let message = MessageParser::default().parse(&bytes).unwrap();
    assert_eq!(message.body_text(0).unwrap().trim_end(), crlf(body));
    assert_eq!((message.text_body_count(), message.html_body_count()), (1, 1));
}

#[test]
fn idn_domains_go_out_as_a_labels() {
    let (from, to) = (address("Shop"), Address { email: "a@bücher.example".into(), name: None });
    let bytes = build(&parts(&from, &to)).unwrap();
    assert!(header_lines(&bytes).contains(&"To: a@xn--bcher-kva.example".to_owned()));
}

#[test]
fn what_could_break_a_header_is_refused() {
    let (from, to) = (address("Shop"), address("Anna"));
    let base = parts(&from, &to);
    for email in
        ["a@example.com\r\nBcc: b@example.com", "a@example.com\n", "ł@example.com", "a b@example.com", ""]
    {
        let bad = Address { email: email.into(), name: None };
        for parts in [
            MessageParts { to: &bad, ..base },
            MessageParts { from: &bad, ..base },
            MessageParts { reply_to: Some(&bad), ..base },
        ] {
            assert!(matches!(build(&parts), Err(MessageError::Address { .. })), "{email:?}");
        }
    }
    for message_id in ["", "a", "@b", "a@", "a@b>", "a@b\r\nBcc: x", "a b@c", "ł@b", "a@b@c"] {
        assert!(build(&MessageParts { message_id, ..base }).is_err(), "{message_id:?}");
    }
    for id in ["", "a b", "a>", "a\r\nBcc: x", "ł"] {
        assert!(
            build(&MessageParts { list: Some(ListHeaders { id, ..list("x") }), ..base }).is_err(),
            "{id:?}"
        );
    }
    for unsubscribe_url in [
        "",
        "mailto:a@b.example",
        "javascript:x",
        "https://a.example/>,<mailto:x@y.example",
        "https://a.example/\r\nBcc: x",
        "https://a.example/ b",
        "https://ł.example/",
    ] {
        let list = ListHeaders { unsubscribe_url, ..list("x") };
        assert!(build(&MessageParts { list: Some(list), ..base }).is_err(), "{unsubscribe_url:?}");
    }
    for tag in [
        ("Bcc", "x"),
        ("X-A:", "x"),
        ("X-A b", "x"),
        ("X-A", "x\r\nBcc: y"),
        ("X-A", "x\n"),
        ("X-A", "\0"),
        ("X-A", "ł"),
        ("", "x"),
        ("X-A\r\nBcc", "x"),
    ] {
        assert!(build(&MessageParts { tags: &[tag], ..base }).is_err(), "{tag:?}");
    }
    let date = DateTime::<Utc>::MIN_UTC;
    assert_eq!(build(&MessageParts { date, ..base }), Err(MessageError::Date));
}

proptest! {
    #[test]
    fn no_name_or_subject_makes_a_header(name in any::<String>(), subject in any::<String>(), injected in "[\r\n\0]{1,3}Bcc: x@y\\.example[\r\n]{0,2}") {
        let (from, to) = (address(&format!("{name}{injected}")), address(&format!("{injected}{name}")));
        let subject = format!("{subject}{injected}{subject}");
        let list = ListHeaders { name: &to.name.clone().unwrap(), ..list("") };
        let bytes = build(&MessageParts { subject: &subject, list: Some(list), ..parts(&from, &to) }).unwrap();
        let names = header_names(&bytes);
        let expected = ["Date", "From", "To", "Subject", "Message-ID", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "MIME-Version", "Content-Type"];
        prop_assert_eq!(names, expected);
        for line in header_lines(&bytes) {
            prop_assert!(!line.contains(['\r', '\n', '\0']) && line.is_ascii() && line.len() <= 998 && !line.trim().is_empty());
        }
        let message = MessageParser::default().parse(&bytes).unwrap();
        let decoded = one_line(&subject);
        prop_assert_eq!(message.subject(), Some(decoded.as_str()));
    }

    #[test]
    fn a_body_gets_the_encoding_that_the_library_would_choose(body in "([a-z ]{0,90}[ä浩]{0,3}[.=\r\n\t]{0,2}){0,6}") {
        let theirs = Body::new(crlf(&body)).encoding();
        // It counts line ends among what quoted-printable has to escape, which they are not.
        prop_assume!(theirs != ContentTransferEncoding::Base64);
        prop_assert_eq!(encode(&body).encoding(), theirs);
    }

    #[test]
    fn any_body_comes_back(body in any::<String>()) {
        let (from, to) = (address("Shop"), address("Anna"));
        let bytes = build(&MessageParts { text: &body, html: &body, ..parts(&from, &to) }).unwrap();
        let message = MessageParser::default().parse(&bytes).unwrap();
        let found = message.body_text(0).unwrap();
        let expected = crlf(&body);
        prop_assert_eq!(found.trim_end_matches("\r\n"), expected.trim_end_matches("\r\n"));
        prop_assert!(text(&bytes).split("\r\n").all(|line| line.len() <= 998));
    }
}
