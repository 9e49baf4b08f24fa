//! Styles that are put into elements, attributes by a selector, text before the document.

use super::*;

fn head(head: &str, body: &str) -> String {
    format!("<mjml>\n<mj-head>{head}</mj-head>\n<mj-body>{body}</mj-body></mjml>")
}

fn section(inner: &str) -> String {
    format!("<mj-section><mj-column>{inner}</mj-column></mj-section>")
}

fn inline(css: &str, inner: &str) -> TemplateSource {
    mjml(&head(&format!("<mj-style inline=\"inline\">{css}</mj-style>"), &section(inner)))
}

/// Element by element, all that is written before its end.
fn contains(source: &TemplateSource, expected: &[&str]) {
    let html = render(source, "Ana", &[("city", "Bern")]).html;
    for part in expected {
        assert!(html.contains(part), "{part}\n{source:?}\n{html}");
    }
}

fn notes(source: &TemplateSource) -> Vec<(&'static str, String, String)> {
    let noted = compile(source).noted(&BTreeMap::new());
    noted.into_iter().map(|Warning { code, place, text }| (code, place, text)).collect()
}

#[test]
fn styles_are_put_into_the_elements_that_they_mean() {
    let text = |html: &str| format!("<mj-text css-class=\"gold\">{html}</mj-text>");
    let cases = [
        (".gold a { color: #b8860b }", "<a href=\"x\">x</a>", "<a style=\"color:#b8860b;\" href=\"x\">"),
        (
            ".teaser { display: none }",
            "<span class=\"teaser\">x</span>",
            "<span style=\"display:none;\" class=\"teaser\">",
        ),
        // An id counts more than a class, and that more than a name; of the same weight the last counts.
        ("#i{a:1} .c{a:2} b{a:3}", "<b class=\"c\" id=\"i\">x</b>", "<b style=\"a:1;\" "),
        ("b{a:1} b{a:2;c:3}", "<b>x</b>", "<b style=\"a:2;c:3;\">"),
        // What the element has counts most, but for what is important.
        ("b{a:1;c:2}", "<b style='a:9'>x</b>", "<b style=\"c:2;a:9;\">"),
        ("b{a:1 !important;c:2}", "<b style='a:9'>x</b>", "<b style=\"c:2;a:1;\">"),
        ("b{a:1 !important}", "<b style=\"a:9!important\">x</b>", "<b style=\"a:9;\">"),
        ("b{a:1}", "<B style=c:2>x</B>", "<B style=\"a:1;c:2;\">"),
        ("b{a:1}", "<b style>x</b>", "<b style=\"a:1;\">"),
        (
            "b{f:\"x\"}",
            "<b style=\"g:&quot;y;z&quot;\">x</b>",
            "<b style=\"f:&quot;x&quot;;g:&quot;y;z&quot;;\">",
        ),
        ("i,/* , */b > u{a:url(x?a=1&b=2)}", "<b><u>x</u></b>", "<u style=\"a:url(x?a=1&amp;b=2);\">"),
        ("[href^='http'] , [x=\"a,b\"]{a:1}", "<b x=\"a,b\">x</b>", "<b style=\"a:1;\" x=\"a,b\">"),
        ("b + i{a:1}", "<b>x</b><i>y</i>", "<i style=\"a:1;\">"),
        ("li:first-child{a:1}", "<ul><li>x<li>y</ul>", "<li style=\"a:1;\">x<li>y"),
        // Unclosed and wrongly closed elements move nothing.
        (
            "td b{a:1}",
            "<table>{% for i in [1] %}<tr><td><b>x</td></tr>{% endfor %}</table>",
            "<b style=\"a:1;\">x</td>",
        ),
        // Fields and statements stay what they are.
        ("b{a:{{ city }}}", "<b>x</b>", "<b style=\"a:Bern;\">"),
        ("b{ {% if city %}a:1;{% endif %}c:2 }", "<b>x</b>", "a:1;c:2;\">"),
        ("b{a:1}", "<b style=\"{% if city %}c:2{% endif %}\">x</b>", "<b style=\"a:1;c:2;\">"),
        (".c-Bern, b{a:1}", "<b class=\"c-{{ city }}\">x</b>", "<b style=\"a:1;\" class=\"c-Bern\">"),
    ];
    for (css, html, expected) in cases {
        contains(&inline(css, &text(html)), &[expected]);
    }
}

#[test]
fn elements_that_mjml_makes_get_styles_and_all_else_stays_as_it_is() {
    let source = |css: &str| {
        render(
            &inline(css, "<mj-button css-class=\"b\" href=\"x\">a &amp; b &nbsp; <br> c</mj-button>"),
            "",
            &[],
        )
        .html
    };
    let plain = render(
        &mjml(&head(
            "",
            &section("<mj-button css-class=\"b\" href=\"x\">a &amp; b &nbsp; <br> c</mj-button>"),
        )),
        "",
        &[],
    )
    .html;
    assert!(plain.contains("a &amp; b &nbsp; <br> c"), "{plain}");
    assert_eq!(source("nothing{a:b}"), plain);
    assert_eq!(source(".b td{border-radius:9px}"), plain, "what the button has itself counts");
    let important = source(".b td{border-radius:9px !important}");
    let changed: Vec<_> =
        important.split('>').zip(plain.split('>')).filter(|(with, without)| with != without).collect();
    let [(with, without)] = changed[..] else { panic!("{changed:?}") };
    assert_eq!(with.replace("border-radius:9px;", ""), without.replace("border-radius:3px;", ""));
    assert!(!important.contains(".b td"), "no rule stays behind");
}

#[test]
fn what_cannot_be_put_into_elements_is_told_with_its_line() {
    let css =
        "\n b{a:1}\na:hover{a:1}\n@media x { b{a:1} }\n.none, b::before {a:1}\nb ~ b{a:1} b{{ city }}{a:1}";
    let found =
        notes(&inline(css.replace("b{{ city }}{a:1}", "").as_str(), "<mj-text><b>x</b><a>y</a></mj-text>"));
    let found: Vec<_> =
        found.iter().map(|(code, place, text)| (*code, place.as_str(), text.as_str())).collect();
    let pseudo = "it is put into no element: only :first-child and :last-child have a place there";
    assert_eq!(
        found,
        [
            ("not_inlined", "mjml, line 4", &*format!("`a:hover`: {pseudo}")),
            (
                "not_inlined",
                "mjml, line 5",
                "`@media x`: it is put into no element: only a style sheet can have it"
            ),
            ("not_inlined", "mjml, line 6", "`.none`: it is put into no element: none is meant by it"),
            ("not_inlined", "mjml, line 6", &*format!("`b::before`: {pseudo}")),
            (
                "not_inlined",
                "mjml, line 7",
                "`b ~ b`: it is put into no element: there is no way to follow ~"
            ),
        ]
    );
    // A tag must not vanish with the rule that holds it.
    let lost = errors(&inline("none{a:{{ name }}}", "<mj-text>x</mj-text>"));
    assert!(lost[0].reason.contains("drops `{{ name }}`"), "{lost:?}");
}

#[test]
fn attributes_are_given_by_a_selector() {
    let given = |path: &str, inner: &str| {
        let attributes = format!(
            "<mj-html-attributes><!-- x -->\n<mj-selector path=\"{path}\">\n{inner}\n</mj-selector></mj-html-attributes>"
        );
        mjml(&head(
            &attributes,
            &section("<mj-text css-class=\"c\">x <a href=\"{{ unsubscribe_url }}\">y</a></mj-text>"),
        ))
    };
    contains(
        &given(".c div", "<mj-html-attribute name=\"data-id\">42 \"{{ city }}\"</mj-html-attribute>"),
        &["<div data-id=\"42 &quot;Bern&quot;\" "],
    );
    let two = "<mj-html-attribute name=\"class\"> d </mj-html-attribute><mj-html-attribute name=\"x\" />";
    contains(&given("td.c, none", two), &["class=\"d\"", "<td x=\"\""]);
    assert_eq!(notes(&given("td.c, none", two)).len(), 1);
    assert_eq!(notes(&given("body", two)), [], "the body is the first that may be meant");
    let none = notes(&given("head", "<mj-html-attribute name=\"x\">y</mj-html-attribute>"));
    assert_eq!((none.len(), none[0].1.as_str()), (1, "mjml, line 3"), "{none:?}");
    for (inner, reason) in [
        ("<mj-html-attribute>y</mj-html-attribute>", "the attribute name is missing"),
        ("<mj-html-attribute name=\"a b\">y</mj-html-attribute>", "no name of an attribute"),
        ("<b>y</b>", "can't stand in mj-html-attributes"),
        ("{% if city %}<mj-html-attribute name=\"x\">y</mj-html-attribute>{% endif %}", "can't stand in"),
    ] {
        let found = errors(&TemplateSource { attributes: vec!["city".into()], ..given("b", inner) });
        assert!(found[0].line == Some(4) && found[0].reason.contains(reason), "{inner}: {found:?}");
    }
    let found = errors(&given("", ""));
    assert!(found[0].reason.contains("path is missing"), "{found:?}");
    let found = errors(&mjml(&in_column("<mj-html-attribute name=\"x\">y</mj-html-attribute>")));
    assert!(found[0].reason.contains("belongs into mj-head"), "{found:?}");
}

#[test]
fn attributes_come_before_styles() {
    let both = "<mj-html-attributes><mj-selector path=\".c\"><mj-html-attribute name=\"class\">d</mj-html-attribute>\
                </mj-selector></mj-html-attributes><mj-style inline=\"inline\">.d{x:y}</mj-style>";
    contains(
        &mjml(&head(both, &section("<mj-text css-class=\"c\">x</mj-text>"))),
        &["style=\"x:y;font-size"],
    );
}

#[test]
fn text_before_the_document_is_before_it() {
    let source = mjml(
        "<mjml><mj-raw position=\"file-start\">{% set town = city %}<!-- {{ town }} --></mj-raw><mj-body><mj-section>\
         <mj-column><mj-text>in {{ town }}</mj-text></mj-column></mj-section></mj-body></mjml>",
    );
    let html = render(&source, "", &[("city", "Bern")]).html;
    assert!(html.starts_with("<!-- Bern -->\n<!doctype html>") && html.contains(">in Bern<"), "{html}");
    let found = errors(&mjml(&in_column("<mj-raw position=\"file-start\">x</mj-raw>")));
    assert!(found[0].reason.contains("position has no effect here"), "{found:?}");
    let found = errors(&mjml("<mjml><mj-raw>x</mj-raw><mj-body></mj-body></mjml>"));
    assert!(found[0].reason.contains("can't stand here"), "{found:?}");
}

/// As large as a template may be, in each way that costs something.
#[test]
fn hostile_styles_take_no_time_and_no_memory() {
    let half = MAX_BODY_BYTES / 2 - 500;
    let repeated = |part: &str| part.repeat(half / part.len());
    let text = |html: &str| format!("<mj-text>{html}</mj-text>");
    let cases = [
        (repeated("b{a:1}"), repeated("<b>")),
        ("b{a:1}".repeat(100), repeated("<b>x</b>")),
        (format!("b{{{}}}", repeated("a:1;")), repeated("<b>x</b>")),
        (format!("{}b{{{}}}", "b,".repeat(400), repeated("a1:1;")), "<b>x</b>".into()),
        ("b b b b b b b b b b b b b b b b b b b b{a:1}".repeat(100), "<b>".repeat(90)),
        (
            "b > b b > b b > b b > b b > b b > i{a:1}".repeat(100),
            format!("{}</b>", "<b>".repeat(90)).repeat(80),
        ),
        ("b + b + b + b + b + b + b + i{a:1}".repeat(100), "<b></b>".repeat(9_000)),
        ("[x*='aaaaaaaab']{a:1}".repeat(400), format!("<b x=\"{}\">", repeated("a"))),
        (repeated("b["), repeated("<b>x</b>")),
        (repeated("/*"), repeated("<b>x</b>")),
        (repeated("b{("), repeated("<b>x</b>")),
        (repeated("@a{"), repeated("<b>x</b>")),
        (repeated("b,"), repeated("<p>x")),
    ];
    let time = |source: &TemplateSource| {
        let start = std::time::Instant::now();
        assert_eq!(Compiled::compile_saved(source, &MediaUrls::new()).refused(), None);
        start.elapsed()
    };
    for (css, html) in &cases {
        // Beside the same template without that: so a busy machine makes both slow.
        let plain = time(&mjml(&head(&format!("<mj-style>{css}</mj-style>"), &section(&text(html)))));
        let inlined = time(&inline(css, &text(html)));
        assert!(
            inlined < plain * 20 + std::time::Duration::from_secs(10),
            "{css:.60}: {inlined:?}, {plain:?}"
        );
    }
}

#[test]
fn what_would_be_too_much_is_told() {
    let large = format!("b{{a:'{}'}}", "x".repeat(20_000));
    let told = |css: &str, html: &str| {
        let found = notes(&inline(css, &format!("<mj-text>{html}</mj-text>")));
        found.iter().any(|(code, _, text)| *code == "not_inlined" && text.contains("nothing of it is done"))
    };
    assert!(told(&large, &"<b>x</b>".repeat(60)));
    assert!(!told(&large, &"<b>x</b>".repeat(10)));
    assert!(told(&"b{a:1}".repeat(501), "<b>x</b>"));
    assert!(told("b{a:1}", &format!("{}x{}", "<b>".repeat(101), "</b>".repeat(101))));
    assert!(told(&"b{a:1}".repeat(500), &"<b>x</b>".repeat(2_000)));
}
