//! Whether the escaping of HTML protects a field in the place where a template puts it.

use super::Fault;
use super::jinja::Kind;
use super::marks::{Marked, Part};
use super::markup::{Open, Piece, Token};

/// Refuses expressions in places where `&lt;` and `&quot;` don't keep what a field holds from becoming markup.
pub(super) fn check(html: &[Piece<'_>], marked: &Marked<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut in_script = false;
    for piece in html {
        match &piece.token {
            Token::Open(tag) => {
                in_script = tag.is("script");
                check_tag(tag, marked, &mut faults);
            }
            Token::RawText(text) if in_script => {
                refuse(text, marked, "a field can't stand in a script", &mut faults);
            }
            _ => {}
        }
    }
    faults
}

fn check_tag(tag: &Open<'_>, marked: &Marked<'_>, faults: &mut Vec<Fault>) {
    const NAME: &str = "a field can't stand in the name of an element or an attribute";
    refuse(tag.name, marked, NAME, faults);
    for attribute in &tag.attributes {
        refuse(attribute.name, marked, NAME, faults);
        if !attribute.quoted {
            let reason = format!("an attribute that holds a field needs quotes: {}=\"…\"", attribute.name);
            refuse(attribute.value, marked, &reason, faults);
        }
    }
}

fn refuse(text: &str, marked: &Marked<'_>, reason: &str, faults: &mut Vec<Fault>) {
    let expressions = marked.split(text).into_iter().filter_map(|part| match part {
        Part::Mark(index) => Some(&marked.tags[index]).filter(|tag| tag.kind == Kind::Expression),
        Part::Text(_) => None,
    });
    faults.extend(expressions.map(|tag| Fault::at(tag.line, reason.to_owned())));
}

#[cfg(test)]
mod tests {
    use super::super::markup;
    use super::*;

    fn reasons(source: &str) -> Vec<String> {
        let marked = Marked::new(source).unwrap();
        check(&markup::pieces(&marked.text), &marked).into_iter().map(|fault| fault.reason).collect()
    }

    #[test]
    fn fields_may_stand_in_text_and_in_quoted_attributes() {
        let source =
            r#"<p title='{{ a }}' {% if b %}class="c"{% endif %}>{{ d }}</p><style>p{color:{{ e }}}</style>"#;
        assert_eq!(reasons(source), [""; 0]);
    }

    #[test]
    fn places_that_escaping_does_not_protect_are_refused() {
        let cases = [
            ("<a href={{ url }}>x</a>", "href=\"…\""),
            ("<a {{ attributes }}>x</a>", "name of"),
            ("<h{{ level }}>x</h1>", "name of"),
            ("<script>var a = '{{ a }}';</script>", "script"),
        ];
        for (source, reason) in cases {
            let found = reasons(source);
            assert!(found.len() == 1 && found[0].contains(reason), "{source}: {found:?}");
        }
    }
}
