//! What readers see.

use super::*;

#[test]
fn what_a_field_holds_is_data_in_every_part() {
    let source = TemplateSource {
        preheader: Some("For {{ name }} only".into()),
        ..html("<body><p title='{{ name }}'>[{{ name }}]</p></body>")
    };
    let in_mjml = mjml(&in_column("<mj-text>[{{ name }}]</mj-text>"));
    let (html, mjml) = (compile(&source), compile(&in_mjml));
    for name in AWKWARD {
        let none = BTreeMap::new();
        let rendered = html.render(&data(name, &none)).unwrap();
        let safe = escaped(name);
        assert_eq!(rendered.subject, format!("Hello {name}"));
        assert!(rendered.html.contains(&format!("<p title='{safe}'>[{safe}]</p>")), "{}", rendered.html);
        assert!(rendered.html.contains(&format!("For {safe} only")), "{}", rendered.html);
        assert!(rendered.text.starts_with(&format!("[{name}]")), "{}", rendered.text);
        let rendered = mjml.render(&data(name, &none)).unwrap();
        assert!(rendered.html.contains(&format!("[{safe}]")), "{}", rendered.html);
        assert!(rendered.text.starts_with(&format!("[{name}]")), "{}", rendered.text);
    }
}

#[test]
fn a_newsletter_in_mjml_becomes_html_and_text() {
    let source = mjml(NEWSLETTER);
    let pairs = [("city", "Łódź <x>"), ("plan", "gold")];
    let rendered = render(&source, "Anna Maria Bell", &pairs);
    for part in [
        "<title>Spring</title>",
        "Hello Anna &amp; welcome",
        "New in <b>Łódź &lt;x&gt;</b>\n          <i>today</i>",
        "Thank you for being a <b>gold</b> member.",
        "href=\"https://shop.example.com/?a=1&amp;b=2&amp;who=reader%40example.com\"",
        "Shop for Anna Maria Bell",
        "alt=\"The &#34;Tea&#34; letter ❤&#65039;\"",
        ".wide > a { color: #0057b8; }",
        "Green tea, 3 &euro;",
    ] {
        assert!(rendered.html.contains(part), "{part} is not in {}", rendered.html);
    }
    assert!(!rendered.html.contains("Become a member") && !rendered.html.contains("fonts.googleapis.com"));
    assert_eq!(rendered.text, include_str!("../newsletter.txt").trim_end());
}

#[test]
fn a_reader_who_lacks_everything_gets_the_fallbacks() {
    let rendered = render(&mjml(NEWSLETTER), " ", &[("city", "")]);
    assert!(rendered.html.contains("Hello friend &amp; welcome"));
    assert!(rendered.html.contains("<b>your &quot;town&quot; &amp; more</b>"), "{}", rendered.html);
    assert!(rendered.text.contains("Hello friend & welcome") && rendered.text.contains("Become a member."));
    assert_eq!(rendered.subject, "Hello");
}

/// As imports name them, by the columns of a file in any script.
#[test]
fn fields_have_names_in_every_script() {
    let names = ["имя", "город", "größe_cm", "住所", "τιμή_2"];
    let body: String = names.iter().map(|name| format!("{{{{ {name} }}}}|")).collect();
    let source = TemplateSource {
        attributes: names.map(str::to_owned).into(),
        ..html(&format!("<p>{body}{{% if имя == 'Ольга' %}}да{{% endif %}}</p>"))
    };
    let pairs =
        [("имя", "Ольга"), ("город", "Київ"), ("größe_cm", "170"), ("住所", "東京"), ("τιμή_2", "<9>")];
    assert!(render(&source, "O", &pairs).html.contains("Ольга|Київ|170|東京|&lt;9&gt;|да"));
    let unknown = errors(&html("{{ имя }}"));
    assert!(unknown[0].reason.contains("имя"), "{unknown:?}");
    let declared = TemplateSource { attributes: vec!["Имя".into(), "2имя".into()], ..html("<p>x</p>") };
    assert_eq!(errors(&declared).len(), 2);
}

#[test]
fn names_come_from_attributes_or_from_the_name() {
    let source = html("{{ first_name }}|{{ last_name }}|{{ name }}");
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let cases: [Case; 4] = [
        ("Anna Maria Bell", &[], "Anna|Maria Bell|Anna Maria Bell"),
        (
            "Anna Maria Bell",
            &[("first_name", "Anna Maria"), ("last_name", "Bell")],
            "Anna Maria|Bell|Anna Maria Bell",
        ),
        ("Anna Bell", &[("first_name", " ")], "Anna|Bell|Anna Bell"),
        ("", &[("last_name", "Bell")], "|Bell|"),
    ];
    for (name, pairs, expected) in cases {
        assert!(render(&source, name, pairs).html.starts_with(expected), "{name} {pairs:?}");
    }
}

#[test]
fn a_reader_can_not_replace_a_built_in_field() {
    let pairs = [
        ("email", "x@evil.example"),
        ("unsubscribe_url", "https://evil.example"),
        ("campaign", "x"),
        ("preheader_of_this_mail", "x"),
    ];
    let shown = "{{ email }} <a href='{{ unsubscribe_url }}'>Leave</a> {{ campaign.name }}";
    let rendered = render(&html(shown), "", &pairs);
    let expected = "reader@example.com <a href='https://mail.example.com/emails/unsubscribe?token=a.b.c&amp;x=1'>Leave</a> Spring";
    assert_eq!(rendered.html, expected);
}

#[test]
fn the_subject_is_one_line() {
    let source = TemplateSource { subject: " a\n{{ name }}  b ".into(), ..html("x") };
    assert_eq!(render(&source, "x\r\nBcc: y@z.example\0\u{7}", &[]).subject, "a x Bcc: y@z.example b");
}

#[test]
fn the_preheader_is_hidden_right_after_the_body_begins() {
    let source = TemplateSource {
        preheader: Some("A < B\nfor {{ name }}".into()),
        ..html("<html><body class=\"a>b\"><p>x</p></body></html>")
    };
    let html = render(&source, "<Ann>", &[]).html;
    let (before, after) = html.split_once("A &lt; B for &lt;Ann&gt;").unwrap();
    assert!(before.starts_with("<html><body class=\"a>b\"><div style=\"display:none;"), "{before}");
    assert!(after.contains("</div><p>x</p>"), "{after}");
}

#[test]
fn a_footer_is_added_where_a_part_has_no_way_out() {
    let link = "https://mail.example.com/emails/unsubscribe?token=a.b.c&x=1";
    let rendered = render(&html("<html><body><p>x</p></body></html>"), "", &[]);
    let (_, footer) = rendered.html.split_once("<p>x</p>").unwrap();
    assert!(footer.ends_with("</div></body></html>"), "{footer}");
    for part in [&format!("href=\"{}\"", escaped(link)), "Tea Ltd\n1 High Street", "Tea &amp; more"] {
        assert!(footer.contains(part), "{footer}");
    }
    let footer = format!(
        "x\n\n---\nYou get this e-mail as a subscriber of Tea & more.\nUnsubscribe: {link}\nTea Ltd\n1 High Street"
    );
    assert_eq!(rendered.text, footer);
}

#[test]
fn a_part_with_a_way_out_of_its_own_gets_no_footer() {
    for field in ["unsubscribe_url", "preferences_url"] {
        let own = format!("<body><a href=\"{{{{ {field} }}}}\">Leave</a></body>");
        let rendered = render(&html(&own), "", &[]);
        assert!(!rendered.html.contains("contentinfo") && rendered.text.starts_with("Leave (https://"));
        assert!(!rendered.text.contains("---"), "{}", rendered.text);
        // Each part for itself: a written text without a link gets the footer.
        let written = TemplateSource { text: Some("Hi".into()), ..html(&own) };
        let rendered = render(&written, "", &[]);
        assert!(!rendered.html.contains("contentinfo") && rendered.text.starts_with("Hi\n\n---\n"));
    }
}

/// It is a promise to each reader, and to each in both parts.
#[test]
fn whoever_sees_no_way_out_gets_the_footer() {
    let link = "<a href=\"{{ unsubscribe_url }}\">Leave</a>";
    let in_some = format!("<body>{{% if city %}}{link}{{% endif %}}</body>");
    let in_text = "{% if city %}{{ preferences_url }}{% endif %}";
    let written = |text: &str, body: &str| TemplateSource { text: Some(text.into()), ..html(body) };
    let in_mjml = |text: &str| mjml(&in_column(&format!("<mj-text>{text}</mj-text>")));
    let cases = [
        (html("<body><!-- {{ unsubscribe_url }} -->x</body>"), [true, true], [true, true]),
        (html(&in_some), [true, true], [false, false]),
        (html(&format!("<body><div style='display:none'>{link}</div>x</body>")), [true, true], [true, true]),
        (
            html(&format!("<head><style>/* {{{{ unsubscribe_url }}}} */</style></head>{link}")),
            [false, false],
            [false, false],
        ),
        (written(in_text, link), [false, true], [false, false]),
        (written("{{ unsubscribe_url }}", &in_some), [true, false], [false, false]),
        (in_mjml(&format!("{{% if city %}}{link}{{% endif %}}")), [true, true], [false, false]),
        (in_mjml("{# {{ unsubscribe_url }} #}x"), [true, true], [true, true]),
    ];
    for (source, without_city, with_city) in cases {
        for (pairs, expected) in [(&[][..], without_city), (&[("city", "Cork")][..], with_city)] {
            let Rendered { html, text, .. } = render(&source, "", pairs);
            let found = [html.contains("contentinfo"), text.contains("---\n")];
            assert_eq!(found, expected, "{source:?} {pairs:?}: {html}\n{text}");
            for part in [html.as_str(), text.as_str()] {
                assert_eq!(
                    part.matches("1 High Street").count(),
                    usize::from(part.contains("as a subscriber of"))
                );
            }
        }
    }
}

#[test]
fn a_mail_with_nothing_to_opt_out_of_gets_no_footer() {
    let compiled = compile(&html("<p>x</p>"));
    let none = BTreeMap::new();
    let data = MergeData {
        unsubscribe_url: "",
        preferences_url: "",
        group_name: "",
        postal_address: None,
        ..data("", &none)
    };
    let rendered = compiled.render(&data).unwrap();
    assert_eq!((rendered.html.as_str(), rendered.text.as_str()), ("<p>x</p>", "x"));
}

#[test]
fn a_brace_before_the_footer_stays_a_brace() {
    let source = TemplateSource { text: Some("{".into()), ..html("<body>{</body>") };
    let rendered = render(&source, "", &[]);
    assert!(
        rendered.html.starts_with("<body>{<div") && rendered.text.starts_with("{\n\n---\n"),
        "{}",
        rendered.text
    );
}

#[test]
fn a_written_text_is_left_as_it_is() {
    let source = TemplateSource {
        text: Some("Hi {{ name }},\n\n\n  <b> &amp; {{ unsubscribe_url }}\n\n\n.".into()),
        ..html("x")
    };
    let expected =
        "Hi O'B <i>,\n\n\n  <b> &amp; https://mail.example.com/emails/unsubscribe?token=a.b.c&x=1\n\n\n.";
    assert_eq!(render(&source, "O'B <i>", &[]).text, expected);
}

#[test]
fn a_compiled_template_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<Compiled>();
}

#[test]
fn what_stands_in_an_element_of_text_is_taken_over_as_it_is() {
    let contents = [
        "<ul>\n<li>One\n<li>Two {{ name }}\n</ul>",
        "a < b & c &nbsp; <BR> <br> <p>x",
        "<table><tr><td>x</table>",
        "<!-- a --><![CDATA[b]]><a title=x>y</a>",
    ];
    for element in ["mj-text", "mj-button", "mj-raw", "mj-table", "mj-accordion-text"] {
        for content in contents {
            let inner = format!("<{element}>\n{content}\n</{element}>");
            let inner = match element {
                "mj-accordion-text" => {
                    format!(
                        "<mj-accordion><mj-accordion-element>{inner}</mj-accordion-element></mj-accordion>"
                    )
                }
                _ => inner,
            };
            let html = render(&mjml(&in_column(&inner)), "Ana", &[]).html;
            assert!(html.contains(&content.replace("{{ name }}", "Ana")), "{element}: {html}");
        }
    }
}

#[test]
fn a_length_of_a_padding_needs_no_unit() {
    let image = |padding: &str| {
        let source = format!(
            r#"<mjml><mj-body><mj-section padding="{padding}"><mj-column><mj-image padding="0" src="https://example.com/a.png" alt="a" /></mj-column></mj-section></mj-body></mjml>"#
        );
        render(&mjml(&source), "", &[]).html
    };
    assert!(image("0 20px").contains(r#"width="560""#), "{}", image("0 20px"));
    assert_eq!(image("0 20px"), image("0px 20px"));
    assert_eq!(image("5 20"), image("5px 20px"));
}

#[test]
fn a_rule_for_an_id_begins_no_comment() {
    let rule = "@media (max-width:480px){#a{color:red}}";
    let head = format!("<mj-head><mj-style>{rule} p{{color:{{{{ name }}}}}}</mj-style></mj-head>");
    let source = format!(
        "<mjml>{head}<mj-body><mj-section><mj-column><mj-text>x</mj-text></mj-column></mj-section></mj-body></mjml>"
    );
    for source in [mjml(&source), html(&format!("<style>{rule}</style><p>x{{# not shown #}}</p>"))] {
        let html = render(&source, "red", &[]).html;
        assert!(html.contains(rule) && !html.contains("not shown"), "{html}");
    }
}
