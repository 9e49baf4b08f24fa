//! What is too much, and what is hostile.

use super::*;

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
    sources.push(mjml(&in_column(&nested)));
    let run = move || {
        for source in &sources {
            let compiled = Compiled::compile_saved(source, &MediaUrls::new());
            assert_eq!(compiled.refused(), None);
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
