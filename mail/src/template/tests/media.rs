//! Images that are shown by their ids.

use super::*;

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
            Compiled::compile_saved(&source, &media_urls()),
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
