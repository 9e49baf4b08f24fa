use super::*;

const NEWSLETTER: &str = include_str!("newsletter.mjml");

fn html(body: &str) -> TemplateSource {
    TemplateSource {
        subject: "Hello {{ name }}".into(),
        preheader: None,
        body: Body::Html(body.into()),
        text: None,
        attributes: vec![],
    }
}

fn mjml(body: &str) -> TemplateSource {
    TemplateSource { body: Body::Mjml(body.into()), ..html("") }
}

fn in_column(inner: &str) -> String {
    format!("<mjml><mj-body><mj-section><mj-column>{inner}</mj-column></mj-section></mj-body></mjml>")
}

fn compile(source: &TemplateSource) -> Compiled {
    let known = ["city", "plan"].map(str::to_owned).into();
    Compiled::compile(source, &known, &MediaUrls::new()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn errors(source: &TemplateSource) -> Vec<TemplateError> {
    Compiled::compile(source, &BTreeSet::new(), &MediaUrls::new()).map(|_| ()).unwrap_err()
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn data<'a>(name: &'a str, attributes: &'a BTreeMap<String, String>) -> MergeData<'a> {
    MergeData {
        email: "reader@example.com",
        name,
        attributes,
        unsubscribe_url: "https://mail.example.com/emails/unsubscribe?token=a.b.c&x=1",
        preferences_url: "https://mail.example.com/emails/unsubscribe?token=a.b.c",
        campaign_name: "Spring",
        group_name: "Tea & more",
        postal_address: Some("Tea Ltd\n1 High Street"),
    }
}

fn render(source: &TemplateSource, name: &str, pairs: &[(&str, &str)]) -> Rendered {
    compile(source).render(&data(name, &attributes(pairs))).unwrap()
}

const AWKWARD: [&str; 11] = [
    "O'Brien",
    "<b>",
    "Łukasz",
    "浩",
    "{{ 7*7 }}",
    "{% if %}",
    "{# x #}",
    "=SUM(A1:A9)",
    "Smith, Jr.",
    "Jones \"JJ\"",
    "jtag0z</body><mj-text>",
];

fn escaped(text: &str) -> String {
    let pairs = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

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
        "New in <b>Łódź &lt;x&gt;</b> \n          <i>today</i>",
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
    assert_eq!(rendered.text, include_str!("newsletter.txt").trim_end());
}

#[test]
fn a_reader_who_lacks_everything_gets_the_fallbacks() {
    let rendered = render(&mjml(NEWSLETTER), " ", &[("city", "")]);
    assert!(rendered.html.contains("Hello friend &amp; welcome"));
    assert!(rendered.html.contains("<b>your &quot;town&quot; &amp; more</b>"), "{}", rendered.html);
    assert!(rendered.text.contains("Hello friend & welcome") && rendered.text.contains("Become a member."));
    assert_eq!(rendered.subject, "Hello");
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
    let rendered = render(&html("{{ email }} {{ unsubscribe_url }} {{ campaign.name }}"), "", &pairs);
    let expected =
        "reader@example.com https://mail.example.com/emails/unsubscribe?token=a.b.c&amp;x=1 Spring";
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
fn an_unknown_name_in_any_part_is_an_error_with_its_field_and_line() {
    let source = TemplateSource {
        subject: "{{ nmae }}".into(),
        preheader: Some("{{ emial }}".into()),
        body: Body::Html("<p>\n{{ campain.name }}</p>".into()),
        text: Some("\n\n{{ frist_name }}".into()),
        attributes: vec![],
    };
    let found: Vec<_> = errors(&source).into_iter().map(|e| (e.field, e.line, e.reason)).collect();
    let expected = |field, line, name: &str, near: &str| {
        (field, Some(line), format!("`{name}` is no known field; did you mean `{near}`?"))
    };
    assert_eq!(
        found,
        [
            expected("subject", 1, "nmae", "name"),
            expected("preheader", 1, "emial", "email"),
            expected("text", 3, "frist_name", "first_name"),
            expected("html", 2, "campain.name", "campaign.name"),
        ]
    );
}

#[test]
fn declared_attributes_are_known() {
    let source = TemplateSource { attributes: vec!["plan_2".into()], ..html("{{ plan_2 }}") };
    assert!(Compiled::compile(&source, &BTreeSet::new(), &MediaUrls::new()).is_ok());
    let source = TemplateSource { attributes: vec!["Plan 2".into()], ..html("x") };
    assert_eq!(errors(&source)[0].field, "attributes");
}

#[test]
fn a_saved_version_compiles_though_its_attributes_are_gone() {
    let compiled = Compiled::compile_saved(&html("[{{ gone }}]"), &MediaUrls::new()).unwrap();
    assert!(compiled.render(&data("", &attributes(&[("gone", "1")]))).unwrap().html.starts_with("[1]"));
    assert!(compiled.render(&data("", &BTreeMap::new())).unwrap().html.starts_with("[]"));
}

#[test]
fn mjml_is_refused_with_a_reason_and_a_line() {
    let body = |inner: &str| format!("<mjml>\n<mj-body>\n{inner}\n</mj-body>\n</mjml>");
    let column = |inner: &str| body(&format!("<mj-section><mj-column>{inner}</mj-column></mj-section>"));
    let cases = [
        (body("<mj-include path=\"/etc/passwd\" />"), Some(3), "mj-include is not available"),
        (body("<mj-frob>x</mj-frob>"), Some(3), "mj-frob is no MJML element"),
        (column("\n<mj-text>a"), None, "ends before"),
        (column("<mj-text>a < b</mj-text>"), Some(3), "no well-formed MJML"),
        (
            column("<mj-text {% if plan %}color=\"red\"{% endif %}>a</mj-text>"),
            Some(3),
            "only stand in an attribute's value",
        ),
        (column("{{ name }}\n<mj-text><![CDATA[x]]></mj-text>"), Some(4), "can't stand here"),
        (column("<mj-text>{% include 'x' %}</mj-text>"), Some(3), "include is not available"),
        ("<p>x</p>".into(), None, "can't stand here"),
        ("<!-- -->".into(), None, "no mjml element"),
        (column(&format!("<mj-raw>{}", "<div>".repeat(101))), Some(3), "nested 100 deep"),
        (column(&format!("<mj-raw><title>{}", "<div>".repeat(50_000))), Some(3), "nested 100 deep"),
        (
            column(&format!("<mj-raw><!--[if mso]>{}", "<br><div></x><div>".repeat(20_000))),
            Some(3),
            "nested 100 deep",
        ),
    ];
    for (source, line, reason) in cases {
        let source = TemplateSource { attributes: vec!["plan".into()], ..mjml(&source) };
        let found = errors(&source);
        let first = &found[0];
        assert!(first.field == "mjml" && first.reason.contains(reason), "{source:?}: {found:?}");
        assert!(line.is_none() || first.line == line, "{source:?}: {found:?}");
    }
}

#[test]
fn html_is_refused_with_a_reason_and_a_line() {
    let cases = [
        ("a\n{{ name", Some(2), "not closed"),
        ("a\n{% if name %}", Some(2), "unexpected end"),
        ("a\n{{ name | frob }}", Some(2), "no filter `frob`"),
        ("a\n{{ name | safe }}", Some(2), "safe is not available"),
        ("a\n{% extends 'x' %}", Some(2), "extends is not available"),
        ("a\n<a href={{ name }}>x</a>", Some(2), "needs quotes"),
        ("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}", Some(1), "fuel"),
        ("{% for a in range(9) %}{{ 'x' * 200000 }}{% endfor %}", None, "more than 1048576 bytes"),
        ("a\n{{ name + 1 }}", Some(2), "fails for a reader who has no attributes"),
    ];
    for (source, line, reason) in cases {
        let found = errors(&html(source));
        assert!(found[0].field == "html" && found[0].reason.contains(reason), "{source}: {found:?}");
        assert!(line.is_none() || found[0].line == line, "{source}: {found:?}");
    }
}

#[test]
fn parts_may_not_be_empty_and_optional_ones_that_are_blank_are_none() {
    let source = TemplateSource { subject: " ".into(), ..html("\n") };
    let found: Vec<_> = errors(&source).into_iter().map(|e| (e.field, e.reason)).collect();
    assert_eq!(found, [("subject", "is empty".to_owned()), ("html", "is empty".to_owned())]);
    let blank = TemplateSource { preheader: Some(" ".into()), text: Some("\n".into()), ..html("<p>x</p>") };
    let rendered = render(&blank, "", &[]);
    assert!(rendered.html.starts_with("<p>x</p>") && rendered.text.starts_with("x\n\n---\n"));
}

#[test]
fn sizes_are_bounded() {
    let long = "x".repeat(MAX_BODY_BYTES + 1);
    let line = "x".repeat(MAX_LINE_BYTES + 1);
    let source = TemplateSource {
        subject: line.clone(),
        preheader: Some(line),
        body: Body::Mjml(long.clone()),
        text: Some(long),
        attributes: vec![],
    };
    let fields: Vec<_> = errors(&source).into_iter().map(|e| e.field).collect();
    assert_eq!(fields, ["subject", "preheader", "text", "mjml"]);
}

#[test]
fn a_reader_whose_fields_are_too_much_is_an_error_of_that_reader() {
    let compiled = compile(&html("{% for a in range(30) %}{{ city }}{% endfor %}"));
    let large = attributes(&[("city", &"x".repeat(60_000))]);
    let error = compiled.render(&data("", &large)).unwrap_err();
    assert_eq!(error, RenderError::TooLarge { part: "html", max: MAX_RENDERED_BYTES });
    let error = compiled.render(&data(&"x".repeat(3_000), &BTreeMap::new())).unwrap_err();
    assert_eq!(error, RenderError::TooLarge { part: "subject", max: MAX_SUBJECT_BYTES });
    let compiled = compile(&html("{{ city | int }}"));
    let error = compiled.render(&data("", &attributes(&[("city", "secret")]))).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

/// The deepest and longest that the limits let through, on a thread with the stack of a server's worker.
#[test]
fn what_the_limits_let_through_overflows_no_stack() {
    let chain =
        |link: &str| format!("{{{{ name{} }}}}", link.repeat((jinja::MAX_TAG_BYTES - 20) / link.len()));
    let deep = mjml::MAX_DEPTH - 10;
    let mut sources: Vec<_> =
        ["|e", "~1", ".a", "[0]", "**1", " is odd"].iter().map(|link| html(&chain(link))).collect();
    sources.push(html(&format!("{{{{ {}name }}}}", "not ".repeat(240))));
    sources.push(html(&format!("{}{}", "{% if name %}".repeat(140), "{% endif %}".repeat(140))));
    sources.push(html(&format!("{{% if name %}}{}{{% endif %}}", "{% elif name %}".repeat(100))));
    sources.push(html(&"<div>".repeat(50_000)));
    let nested = format!("{}x{}", "<div>".repeat(deep), "</div>".repeat(deep));
    sources.push(mjml(&in_column(&format!("<mj-text>{nested}</mj-text>"))));
    let run = move || {
        for source in &sources {
            let compiled = Compiled::compile_saved(source, &MediaUrls::new())
                .unwrap_or_else(|errors| panic!("{errors:?}"));
            let _ = compiled.render(&data("x", &BTreeMap::new()));
        }
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).unwrap().join().unwrap();
}

#[test]
fn hostile_markup_takes_no_time() {
    for unit in
        ["<a ", "</a", "<!--", "<p>", "<b>", "{{a}}", "<a href='", "&", "<li>", "<style>", "{", "<table><td>"]
    {
        for make in [html, mjml] {
            let source = make(&unit.repeat(MAX_BODY_BYTES / unit.len()));
            let _ = Compiled::compile(&source, &BTreeSet::new(), &MediaUrls::new());
        }
    }
    for unit in ["<mj-text>x</mj-text>", "<mj-frob/>", "<mj-raw><b>", "<mj-social></mj-social>", "<!-- -->"] {
        let column = unit.repeat((MAX_BODY_BYTES - 200) / unit.len());
        let _ = Compiled::compile(&mjml(&in_column(&column)), &BTreeSet::new(), &MediaUrls::new());
    }
}

#[test]
fn a_compiled_template_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<Compiled>();
}

#[test]
fn no_value_of_an_attribute_makes_mjml_panic() {
    let elements = [
        "mj-section",
        "mj-column",
        "mj-group",
        "mj-wrapper",
        "mj-hero",
        "mj-image",
        "mj-button",
        "mj-text",
        "mj-divider",
        "mj-spacer",
        "mj-table",
        "mj-social",
        "mj-social-element",
        "mj-navbar",
        "mj-navbar-link",
        "mj-carousel",
        "mj-carousel-image",
        "mj-accordion",
        "mj-accordion-element",
        "mj-accordion-title",
        "mj-body",
    ];
    let names = [
        "width",
        "height",
        "padding",
        "padding-left",
        "border",
        "border-left",
        "inner-padding",
        "icon-size",
        "font-size",
        "background-url",
        "background-size",
        "background-position",
        "background-width",
        "background-height",
        "mode",
        "full-width",
        "direction",
        "line-height",
        "icon-padding",
        "container-background-color",
        "align",
        "src",
        "name",
    ];
    let values = [
        "{{ name }}",
        "",
        "x",
        "-1px",
        "99999999999999999999px",
        "50%",
        "1e400px",
        "0",
        "1px 2px 3px 4px 5px",
        "é%",
        "px",
    ];
    for (element, value) in elements.into_iter().flat_map(|element| values.map(|value| (element, value))) {
        let attributes: String = names.map(|name| format!(" {name}=\"{value}\"")).concat();
        let inner = format!("<{element}{attributes}>x</{element}>");
        let inner = format!(
            "<{element}{attributes} /><{element}{attributes}><mj-column>{inner}</mj-column></{element}>"
        );
        let bodies = [
            in_column(&inner),
            in_column(&format!("<mj-social>{inner}</mj-social>")),
            format!("<mjml><mj-body>{inner}</mj-body></mjml>"),
        ];
        for body in bodies {
            let _ = Compiled::compile_saved(&mjml(&body), &MediaUrls::new());
        }
    }
}

const MEDIUM: &str = "0192ce7e-0000-7000-8000-000000000001";

fn media_urls() -> MediaUrls {
    [(MEDIUM.parse().unwrap(), "https://cdn.example.com/media/1/a.png".to_owned())].into()
}

#[test]
fn a_medium_is_shown_by_its_url() {
    let known = BTreeSet::new();
    let image = format!("<p><img src=\"{{{{ media('{MEDIUM}') }}}}\" alt=\"Summer\">{{{{ name }}}}</p>");
    let mj_image = in_column(&format!("<mj-image src=\"{{{{ media(\"{MEDIUM}\") }}}}\" alt=\"Summer\" />"));
    let set = format!("{{% set image = media(\"{MEDIUM}\") %}}<img src=\"{{{{ image }}}}\">");
    // A reader's attribute of that name is not in its way.
    let attributes = attributes(&[("media", "theirs"), ("image", "theirs")]);
    for source in [html(&image), mjml(&mj_image), html(&set)] {
        assert_eq!(source.media(), [MEDIUM.parse().unwrap()].into());
        for compiled in [
            Compiled::compile(&source, &known, &media_urls()).unwrap(),
            Compiled::compile_saved(&source, &media_urls()).unwrap(),
        ] {
            let rendered = compiled.render(&data("Anna", &attributes)).unwrap();
            assert!(
                rendered.html.contains("src=\"https://cdn.example.com/media/1/a.png\""),
                "{}",
                rendered.html
            );
        }
    }
}

#[test]
fn a_medium_that_cannot_be_shown_is_an_error_with_its_line() {
    let other = MEDIUM.replace('1', "2");
    let upper = MEDIUM.to_uppercase();
    let known = ["media".to_owned(), "city".to_owned()].into();
    let cases = [
        (format!("{{{{ media('{other}') }}}}"), "no such medium"),
        ("{{ media('x') }}".into(), "no such medium"),
        ("{{ media('') }}".into(), "no such medium"),
        (format!("{{{{ media('{upper}') }}}}"), "no such medium"),
        ("{{ media(city) }}".into(), "in quotes"),
        (format!("{{{{ media('{MEDIUM}' ~ city) }}}}"), "in quotes"),
        ("{{ media }}".into(), "in quotes"),
        ("{% set m = media %}{{ m('x') }}".into(), "in quotes"),
        ("{% set media = 1 %}".into(), "in quotes"),
    ];
    for (tag, expected) in cases {
        let source = html(&format!("<p>one</p>\n<p>{tag}</p>"));
        let errors = Compiled::compile(&source, &known, &media_urls()).map(|_| ()).unwrap_err();
        let found = errors.iter().any(|error| error.reason.contains(expected) && error.line == Some(2));
        assert!(found, "{tag}: {errors:?}");
    }
    let subject = TemplateSource { subject: format!("{{{{ media('{other}') }}}}"), ..html("<p>x</p>") };
    let errors = Compiled::compile(&subject, &known, &media_urls()).map(|_| ()).unwrap_err();
    assert_eq!((errors[0].field, errors[0].line), ("subject", Some(1)));
}
