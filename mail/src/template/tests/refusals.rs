//! What is no template, and says why.

use super::*;

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
    let compiled = Compiled::compile_saved(&html("[{{ gone }}]"), &MediaUrls::new());
    assert!(compiled.render(&data("", &attributes(&[("gone", "1")]))).unwrap().html.starts_with("[1]"));
    assert!(compiled.render(&data("", &BTreeMap::new())).unwrap().html.starts_with("[]"));
}

#[test]
fn mjml_is_refused_with_a_reason_and_a_line() {
    let body = |inner: &str| format!("<mjml>\n<mj-body>\n{inner}\n</mj-body>\n</mjml>");
    let head = |inner: &str| format!("<mjml>\n<mj-head>{inner}</mj-head>\n<mj-body></mj-body></mjml>");
    let column = |inner: &str| body(&format!("<mj-section><mj-column>{inner}</mj-column></mj-section>"));
    let cases = [
        (body("<mj-include path=\"/etc/passwd\" />"), Some(3), "mj-include is not available"),
        (body("<mj-frob>x</mj-frob>"), Some(3), "mj-frob is no MJML element"),
        (column("\n<mj-text>a"), None, "ends before"),
        (column("a < b"), Some(3), "no well-formed MJML"),
        (
            column("<mj-text {% if plan %}color=\"red\"{% endif %}>a</mj-text>"),
            Some(3),
            "only stand in an attribute's value",
        ),
        (body("<![CDATA[x]]>"), Some(3), "can't stand here"),
        (column("<mj-text>a\nb</mj-text>\n<mj-frame />"), Some(5), "mj-frame is no MJML element"),
        (head("\n<mj-title x=\"y\">a</mj-title>"), Some(3), "the attribute x has no effect here"),
        (column("<mj-text>{% include 'x' %}</mj-text>"), Some(3), "include is not available"),
        ("<p>x</p>".into(), None, "can't stand here"),
        ("<!-- -->".into(), None, "no mjml element"),
        (column(&format!("<mj-raw>{}", "<div>".repeat(101))), Some(3), "nested 100 deep"),
        (column(&format!("<mj-raw><title>{}", "<div>".repeat(50_000))), Some(3), "nested 100 deep"),
        (column(&format!("<mj-text>{}", "<BR>".repeat(2_000))), Some(3), "nested 100 deep"),
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
        ("a\n{{ .Subscriber.FirstName }}", Some(2), "as in `{{ first_name }}`"),
        ("a\n{{ name | frob }}", Some(2), "no filter `frob`"),
        ("a\n{{ name | safe }}", Some(2), "safe is not available"),
        ("a\n{% extends 'x' %}", Some(2), "extends is not available"),
        ("a\n<a href={{ name }}>x</a>", Some(2), "needs quotes"),
        ("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}", Some(1), "fuel"),
        ("{% for a in range(9) %}{{ 'x' * 200000 }}{% endfor %}", None, "more than 1048576 bytes"),
        ("a\n{{ 1 / name|length }}", Some(2), "fails for a reader who has no attributes"),
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
