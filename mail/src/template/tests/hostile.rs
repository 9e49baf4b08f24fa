//! Templates that want to end the process. Each runs in a process of its own, as no test survives the end of its stack.

use super::*;
use std::process::Command;

/// A quarter of what a thread of the runtime has: what is let through needs far less than there is.
const SMALL_STACK_BYTES: usize = 512 * 1024;
const CHILD: &str = "POSTLEDGER_TEST_CHILD";

/// Runs a test's work in a process of its own, by calling the same test there.
pub(super) fn in_a_process(test: &str, work: fn()) {
    if std::env::var(CHILD).is_ok_and(|child| child == test) {
        return work();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("template::tests::{test}"), "--nocapture"])
        .env(CHILD, test)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", child.status);
}

/// Saved, previewed, tested and sent: none of it may end the process. Rendering has a small stack.
pub(super) fn live_through(source: &TemplateSource) {
    let known = ["city", "plan", "points"].map(str::to_owned).into();
    let media = MediaUrls::new();
    let compiled =
        [Compiled::compile(source, &known, &media).ok(), Some(Compiled::compile_saved(source, &media))];
    std::thread::scope(|scope| {
        let render = || {
            let reader = attributes(&[("city", "Bern"), ("points", "9")]);
            for compiled in compiled.iter().flatten() {
                for reader in [&BTreeMap::new(), &reader] {
                    // A panic is caught, and must not be.
                    let rendered = compiled.render(&data("Ana", reader));
                    assert!(!format!("{rendered:?}").contains("the engine failed"), "{source:?}");
                }
            }
        };
        let small = std::thread::Builder::new().stack_size(SMALL_STACK_BYTES);
        small.spawn_scoped(scope, render).unwrap().join().unwrap();
    });
}

/// How values come to hold themselves or each other, and what goes through them.
fn nested_values() -> Vec<String> {
    let grow = [
        "{% set a = [a] %}",
        "{% set a = (a, a) %}",
        "{% set a = {'k': a} %}",
        "{% set a = dict(k=a) %}",
        "{% set a = a[0:] %}",
        "{% set a = a + [1] %}",
        "{% set a = a|reverse %}",
        "{% set a = a|chain([1]) %}",
        "{% set a = a|zip %}",
        "{% set a = a|batch(2) %}",
        "{% set a = [a]|list %}",
        "{% set a = [[a]]|map('first')|list %}",
        "{% set a = a|default(a) %}",
        "{% set b %}{{ a }}{% endset %}{% set a = [b] %}",
    ];
    let ends = [
        "",
        "{{ a }}",
        "{{ a|length }}",
        "{{ a|string|length }}",
        "{{ a ~ 'x' }}",
        "{{ a|join }}",
        "{{ a == a }}{{ [a] == [a] }}",
        "{{ [a, a]|sort|length }}{{ [a, a]|unique|length }}",
        "{{ a|urlencode }}",
        "{{ {a: 1}|length }}",
        "{{ a is eq(a) }}{{ a in [a] }}",
        "{% for x in a %}{% for y in x %}{{ y }}{% endfor %}{% endfor %}",
        "{% if name %}{{ a }}{% endif %}",
    ];
    let grown = |grow: &str, end: &str| format!("{{% set a = [1] %}}{}{end}", grow.repeat(1_600));
    let one_end = grow.iter().flat_map(|grow| ["", "{{ a }}"].map(|end| grown(grow, end)));
    one_end.chain(ends.map(|end| grown(grow[0], end))).collect()
}

const OTHERS: [&str; 17] = [
    "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
    "{% set ns = namespace() %}{% set ns.x = ns %}{% if name %}{{ ns }}{% endif %}",
    "{% set ns = namespace(a=[]) %}{% for i in range(20000) %}{% set ns.a = [ns.a] %}{% endfor %}",
    "{% for i in range(9) %}{{ loop.cycle() }}{% endfor %}",
    "{% for i in range(9) %}{{ loop.changed(loop) }}{{ loop.changed([loop]) }}{% endfor %}",
    "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ m() }}{% endcall %}",
    "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}",
    "{% set a = [name] * 99999 %}{% set b = [a] * 99999 %}{{ b|length }}{{ b|list|length }}",
    "{{ ('x' * 99999)|replace('x', 'y' * 99999) }}",
    "{{ range(100000)|join('x' * 99999) }}",
    "{{ '%9999999999s'|format('x') }}{{ 'x'|indent(9999999999) }}",
    "{{ 9 ** 9 ** 9 ** 9 }}{{ -170141183460469231731687303715884105728 }}{{ 1 // 0 }}{{ 5 % 0 }}",
    "{{ 'x'|round(99999) }}{{ 1.5|round(99999) }}{{ 1|round(-99999) }}{{ '99'|int(base=99) }}{{ '1e999'|float|int }}",
    "{{ 'abc'[::-1] }}{{ 'abc'[9223372036854775807:] }}\
     {{ range(9223372036854775807, -9223372036854775807, -1)|length }}",
];

/// What the parser itself goes down into.
fn nested_code() -> Vec<String> {
    let room = jinja::MAX_TAG_BYTES - 20;
    let within = |open: &str, close: &str| {
        let levels = room / (open.len() + close.len());
        format!("{{{{ {}1{} }}}}", open.repeat(levels), close.repeat(levels))
    };
    let mut code = vec![
        within("(", ")"),
        within("[", "]"),
        within("{1:", "}"),
        within("a(", ")"),
        within("a[", "]"),
        within("not ", ""),
        within("-", ""),
        within("1 if ", " else 1"),
        within("1 if 1 else ", ""),
        within("x|e(", ")"),
        within("1 is eq(", ")"),
        within("1+", ""),
        within("1**", ""),
        within("1<", ""),
        within("1 and ", ""),
        within("'a' ~ ", ""),
        format!("{{% set {}a{} = 1 %}}", "(".repeat(room / 2), ")".repeat(room / 2)),
        format!("{{% for {}a{} in b %}}{{% endfor %}}", "(".repeat(room / 2), ",)".repeat(room / 3)),
    ];
    for (open, close) in [
        ("{% if name %}", "{% endif %}"),
        ("{% for x in [1] %}", "{% endfor %}"),
        ("{% with x = 1 %}", "{% endwith %}"),
        ("{% filter upper %}", "{% endfilter %}"),
        ("{% set x %}", "{% endset %}"),
        ("{% macro m() %}", "{% endmacro %}"),
        ("{% if name %}{% elif name %}", "{% endif %}"),
    ] {
        for levels in [140, 2_000] {
            code.push(format!("{}{}", open.repeat(levels), close.repeat(levels)));
        }
    }
    code
}

#[test]
fn no_template_ends_the_process() {
    in_a_process("hostile::no_template_ends_the_process", || {
        let sources = [nested_values(), nested_code(), OTHERS.map(str::to_owned).to_vec()].concat();
        for source in &sources {
            live_through(&html(source));
        }
        // In every part, and where MJML and the derived text carry the tags.
        for source in OTHERS {
            let line = TemplateSource {
                subject: source.to_owned(),
                preheader: Some(source.to_owned()),
                text: Some(source.to_owned()),
                ..html("x")
            };
            live_through(&line);
            live_through(&mjml(&in_column(&format!("<mj-text>{source}</mj-text>"))));
        }
    });
}

#[test]
fn no_markup_ends_the_process() {
    in_a_process("hostile::no_markup_ends_the_process", || {
        let levels = 3_000;
        for name in
            ["div", "BR", "Br", "x:br", "br:x", "IMG", "Hr", "mj-text", "MJ-TEXT", "mj-wrapper", "mj-raw"]
        {
            let open = format!("<{name}>").repeat(levels);
            let whole = format!("{open}{}", format!("</{name}>").repeat(levels));
            for inner in [&open, &whole] {
                live_through(&html(inner));
                for around in
                    ["mj-text", "mj-raw", "mj-table", "mj-button", "mj-wrapper", "mj-navbar-link", "mj-style"]
                {
                    live_through(&mjml(&in_column(&format!("<{around}>{inner}</{around}>"))));
                }
                live_through(&mjml(&format!(
                    "<mjml><mj-head><mj-attributes>{inner}</mj-attributes></mj-head></mjml>"
                )));
                live_through(&mjml(&format!("<mjml><mj-body>{inner}</mj-body></mjml>")));
                live_through(&mjml(inner));
            }
        }
    });
}

#[test]
fn a_hostile_version_that_was_saved_is_an_error_of_each_reader() {
    for source in [OTHERS[0], OTHERS[1], OTHERS[3], "{{ [[name]] }}"] {
        let compiled = Compiled::compile_saved(&html(source), &MediaUrls::new());
        assert!(compiled.refused().is_some(), "{source}");
        let error = compiled.render(&data("Ana", &BTreeMap::new())).unwrap_err();
        assert!(matches!(error, RenderError::Failed { part: "html", .. }), "{source}: {error}");
    }
}

#[test]
fn text_is_not_compared_with_a_number_at_save_and_is_as_it_was_in_what_was_saved() {
    let source = TemplateSource {
        attributes: vec!["points".into()],
        ..html("<p>\n{% if points > 100 %}gold{% else %}plain{% endif %}</p>")
    };
    let found = errors(&source);
    assert_eq!((found[0].field, found[0].line, found.len()), ("html", Some(2), 1), "{found:?}");
    assert!(found[0].reason.contains("write `points|int`"), "{found:?}");
    let saved = Compiled::compile_saved(&source, &MediaUrls::new());
    assert!(saved.render(&data("", &attributes(&[("points", "9")]))).is_ok());
    let mended = TemplateSource {
        body: Body::Html("{% if points|int > 100 %}gold{% else %}plain{% endif %}".into()),
        ..source
    };
    for (points, expected) in [("150", "gold"), ("9", "plain")] {
        let html = render(&mended, "", &[("points", points)]).html;
        assert!(html.starts_with(expected), "{points}: {html}");
    }
    assert!(render(&mended, "", &[]).html.starts_with("plain"));
}
