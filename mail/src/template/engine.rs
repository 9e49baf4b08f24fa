//! The template engine as Postledger runs it: bounded, without a way to load anything, every field escaped in HTML.

use minijinja::value::ValueKind;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, escape_formatter,
    functions,
};

/// Work that rendering one part may take: an instruction is 1, and so are 64 bytes. A large newsletter takes some
/// 5,000.
pub(super) const FUEL: u64 = 100_000;
/// Calls of macros within each other, so that the stack never overflows.
const MAX_RECURSION: usize = 50;

/// The names of the templates whose fields are escaped for HTML.
pub(super) const HTML: &str = "html";
pub(super) const HTML_FOOTER: &str = "html_footer";

pub(super) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(MAX_RECURSION);
    // What a reader lacks is empty, however deep a template looks into it.
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    env.set_auto_escape_callback(|name| match name {
        HTML | HTML_FOOTER => AutoEscape::Html,
        _ => AutoEscape::None,
    });
    env.set_formatter(format);
    // `safe` and `tojson` would take the escaping off a field, the other two show the engine's inside.
    for filter in ["safe", "tojson", "pprint"] {
        env.remove_filter(filter);
    }
    env.remove_global("debug");
    // A namespace can hold itself.
    env.remove_global("namespace");
    env.add_function("range", range);
    for name in ["default", "d"] {
        env.add_filter(name, default);
    }
    for name in ["escape", "e"] {
        env.add_filter(name, escape);
    }
    env
}

/// As the engine's own, which overflows at the ends of what a number can be.
fn range(lower: isize, upper: Option<isize>, step: Option<isize>) -> Result<Value, Error> {
    const MAX: usize = 1_000_000_000;
    match [lower, upper.unwrap_or(0), step.unwrap_or(1)].iter().all(|bound| bound.unsigned_abs() <= MAX) {
        true => functions::range(lower, upper, step),
        false => Err(Error::new(ErrorKind::InvalidOperation, "range has too many elements")),
    }
}

/// As the engine's own, which also escapes `/`: right, but then a link in the source of a mail can't be read.
fn format(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_none() {
        return Ok(());
    }
    // `types` finds this before it runs: to show what is in lists in lists is work that has no bound.
    if value.as_object().is_some() {
        return Err(Error::new(ErrorKind::InvalidOperation, "a list or map can't be shown"));
    }
    match (state.auto_escape(), value.as_str()) {
        (AutoEscape::Html, Some(text)) if !value.is_safe() => Ok(write_html(out, text)?),
        _ => escape_formatter(out, state, value),
    }
}

fn write_html(out: &mut impl std::fmt::Write, text: &str) -> std::fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
        out.write_str(&rest[..at])?;
        out.write_str(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            _ => "&#39;",
        })?;
        rest = &rest[at + 1..];
    }
    out.write_str(rest)
}

/// The fallback for what a reader lacks. An empty field is lacking too: columns of imports are often half filled.
fn default(value: Value, fallback: Option<Value>, falsy: Option<bool>) -> Value {
    let lacking = value.is_undefined() || value.is_none() || value.as_str() == Some("");
    match lacking || (falsy == Some(true) && !value.is_true()) {
        true => fallback.unwrap_or_else(|| Value::from("")),
        false => value,
    }
}

/// Escapes in HTML, where fields are escaped anyway, and does nothing in plain text.
fn escape(state: &mut State<'_, '_>, value: Value) -> Result<Value, Error> {
    if value.as_object().is_some() {
        return Err(Error::new(ErrorKind::InvalidOperation, "a list or map can't be shown"));
    }
    if *state.auto_escape() != AutoEscape::Html || value.is_safe() {
        return Ok(value);
    }
    let text = match value.kind() {
        ValueKind::Undefined | ValueKind::None => String::new(),
        _ => value.to_string(),
    };
    let mut escaped = String::with_capacity(text.len());
    write_html(&mut escaped, &text)?;
    Ok(Value::from_safe_string(escaped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    fn render(name: &str, source: &str) -> Result<String, Error> {
        let data = context! { x => "<a href=\"/\">'&'</a>", empty => "", one => "1" };
        environment().render_named_str(name, source, data)
    }

    #[test]
    fn html_is_escaped_and_text_is_not() {
        let escaped = "&lt;a href=&quot;/&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;";
        for source in [
            "{{ x }}",
            "{{ x|e }}",
            "{{ x|escape|e }}",
            "{{ [x]|first }}",
            "{% set y %}{{ x }}{% endset %}{{ y }}",
        ] {
            assert_eq!(render(HTML, source).unwrap(), escaped, "{source}");
            assert_eq!(render("text", source).unwrap(), "<a href=\"/\">'&'</a>", "{source}");
        }
        // Values in lists, and what filters make, are escaped as well.
        for source in [
            "{{ [x]|join }}",
            "{{ x|replace('a', 'b') }}",
            "{{ x|upper }}",
            "{{ x ~ one }}",
            "{{ '%s'|format(x) }}",
            "{{ [x, x]|join('<') }}",
            "{{ x|title|list|join }}",
        ] {
            let html = render(HTML, source).unwrap();
            assert!(!html.contains(['<', '>', '"', '\'']), "{source}: {html}");
        }
    }

    #[test]
    fn lists_and_maps_are_not_shown() {
        for source in ["{{ [x] }}", "{{ {x: x} }}", "{{ range(3) }}", "{{ [x] ~ 'x' ~ ([x]|e) }}"] {
            let error = render(HTML, source).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOperation, "{source}");
        }
    }

    #[test]
    fn escaping_can_not_be_taken_off() {
        for source in ["{{ x|safe }}", "{{ x|tojson }}", "{{ x|pprint }}"] {
            assert_eq!(render(HTML, source).unwrap_err().kind(), ErrorKind::UnknownFilter, "{source}");
        }
        assert_eq!(render(HTML, "{{ debug() }}").unwrap_err().kind(), ErrorKind::UnknownFunction);
    }

    #[test]
    fn what_is_lacking_is_empty() {
        let cases = [
            ("{{ no }}{{ no.no.no }}{{ no|upper|trim }}{{ none }}{{ 'x' if no }}|", "|"),
            ("{{ no|default('a') }}{{ empty|default('b') }}{{ none|d('c') }}{{ one|default('d') }}", "abc1"),
            ("{{ 0|default('a') }}{{ 0|default('b', true) }}{{ no|default }}", "0b"),
            ("{% for x in no %}x{% else %}none{% endfor %}", "none"),
        ];
        for (source, expected) in cases {
            assert_eq!(render(HTML, source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn work_is_bounded() {
        let cases = [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{{ 'x' * 1000000000 }}",
            "{{ '%1000000000d'|format(1) }}",
            "{{ 'a'|indent(1000000000) }}",
            "{% for a in range(1000) %}{{ 'x' * 10000 }}{% endfor %}",
            &format!("{{% set s = 'a' %}}{}", "{% set s = s ~ s %}".repeat(60)),
        ];
        for source in cases {
            assert_eq!(render(HTML, source).unwrap_err().kind(), ErrorKind::OutOfFuel, "{source}");
        }
        assert!(render(HTML, "{{ range(1000000000)|length }}").is_err());
        assert!(render(HTML, "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").is_err());
        assert!(render(HTML, "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}").is_err());
    }
}
