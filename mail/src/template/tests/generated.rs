//! Templates of a grammar, by chance: none may end the process or panic. Longer than the few seconds of a test run by
//! `POSTLEDGER_TEST_FUZZ_SECONDS`. What was found is a case in `hostile`.

use super::hostile::{in_a_process, live_through};
use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::time::{Duration, Instant};

fn seconds() -> u64 {
    std::env::var("POSTLEDGER_TEST_FUZZ_SECONDS").map_or(3, |seconds| seconds.parse().unwrap())
}

/// Runs until the time is over. The template at work is kept in a file, as the end of a process tells nothing.
fn run(name: &str, templates: impl Strategy<Value = TemplateSource>) {
    let kept = std::env::temp_dir().join(format!("postledger-generated-{name}"));
    let end = Instant::now() + Duration::from_secs(seconds());
    let mut runner = TestRunner::default();
    let mut count = 0;
    while Instant::now() < end {
        let source = templates.new_tree(&mut runner).unwrap().current();
        std::fs::write(&kept, format!("{source:?}")).unwrap();
        live_through(&source);
        count += 1;
    }
    println!("{count} templates");
    std::fs::remove_file(kept).unwrap();
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = select(vec![
        "name",
        "points",
        "a",
        "b",
        "m",
        "loop",
        "loop.index",
        "1",
        "'x'",
        "none",
        "true",
        "1.5",
        "range(3)",
        "''",
        "-1",
        "campaign",
        "caller",
        "loop.cycle('a', a)",
        "99999999999999999999",
        "'<&>'",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(6, 24, 3, |inner| {
        let one = select(vec![
            "[@]",
            "[@, @]",
            "{'k': @}",
            "(@,)",
            "@[0]",
            "@[1:]",
            "@[::-1]",
            "@.k",
            "not @",
            "-@",
            "m(@)",
            "m(x=@)",
            "dict(k=@)",
            "dict(@)",
            "namespace(k=@)",
            "range(@)",
            "caller(@)",
            "loop(@)",
            "@.f(1)",
            "(@)",
            "media(@)",
            "@|length",
            "@|string",
            "@|upper",
            "@|join",
            "@|join(', ')",
            "@|list",
            "@|first",
            "@|last",
            "@|sort",
            "@|unique",
            "@|reverse",
            "@|batch(2)",
            "@|slice(2)",
            "@|items",
            "@|dictsort",
            "@|default('x')",
            "@|int",
            "@|float",
            "@|round",
            "@|abs",
            "@|sum",
            "@|min",
            "@|max",
            "@|split",
            "@|lines",
            "@|map('upper')",
            "@|map('list')",
            "@|map(attribute='k')",
            "@|select",
            "@|reject('none')",
            "@|selectattr('k')",
            "@|groupby('k')",
            "@|chain([1])",
            "@|zip([1])",
            "@|urlencode",
            "@|indent",
            "@|title",
            "@|trim",
            "@|e",
            "@|replace('a', 'b')",
            "@|format(1)",
            "@|bool",
            "@|attr('k')",
            "@ is defined",
            "@ is odd",
            "@ is mapping",
        ]);
        let two = select(vec![
            "@ ~ #",
            "@ + #",
            "@ - #",
            "@ * #",
            "@ / #",
            "@ // #",
            "@ % #",
            "@ ** #",
            "@ == #",
            "@ < #",
            "@ in #",
            "@ and #",
            "@ or #",
            "@ if # else @",
            "@ is eq(#)",
            "@[#]",
            "[@, #]",
            "{@: #}",
            "@|default(#)",
            "@|join(#)",
            "@|chain(#)",
            "@|select('eq', #)",
            "1 < @ < #",
        ]);
        prop_oneof![
            (one, inner.clone()).prop_map(|(form, x)| form.replace('@', &x)),
            (two, inner.clone(), inner).prop_map(|(form, x, y)| {
                form.replace('#', "\u{1}").replace('@', &x).replace('\u{1}', &y)
            }),
        ]
    })
}

fn statements() -> impl Strategy<Value = String> {
    let name = select(vec!["a", "b", "points", "x"]);
    let leaf = prop_oneof![
        Just("text ".to_owned()),
        expression().prop_map(|x| format!("{{{{ {x} }}}}")),
        (name, expression()).prop_map(|(name, x)| format!("{{% set {name} = {x} %}}")),
        expression().prop_map(|x| format!("{{% set a, b = {x} %}}")),
        expression().prop_map(|x| format!("{{% set a.k = {x} %}}")),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let around = select(vec![
            "{% for x in @ %}#{% endfor %}",
            "{% for x, y in @ if x %}#{% else %}#{% endfor %}",
            "{% for x in @ recursive %}#{{ loop(x) }}{% endfor %}",
            "{% if @ %}#{% elif @ %}#{% else %}#{% endif %}",
            "{% with a = @ %}#{% endwith %}",
            "{% macro m(x, y=1) %}#{% endmacro %}{{ m(@) }}",
            "{% macro m(x) %}#{{ caller(x) }}{% endmacro %}{% call(b) m(@) %}#{% endcall %}",
            "{% set a %}#{% endset %}",
            "{% set b | upper %}#{% endset %}",
            "{% filter upper %}#{% endfilter %}",
        ]);
        let body = proptest::collection::vec(inner, 1..4).prop_map(|all| all.concat());
        (around, expression(), body).prop_map(|(form, x, body)| form.replace('@', &x).replace('#', &body))
    })
}

/// Some of it, many times.
fn repeated(parts: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let times = prop_oneof![8 => Just(1_usize), 1 => 1_usize..40, 1 => Just(900)];
    let parts = proptest::collection::vec((parts, times), 1..5);
    parts.prop_map(|parts| parts.into_iter().map(|(part, times)| part.repeat(times)).collect::<String>())
}

fn markup(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let attributes = select(vec![
        "",
        " a",
        " href='x'",
        " style=\"color:red\"",
        " padding=\"0 20px\"",
        " width='{{ name }}'",
        " width=\"1e9px\"",
        " padding=''",
        " inline=\"inline\"",
        " path=\".a b\"",
        " name=\"href\"",
        " position=\"file-start\"",
        " border='solid 1e9px'",
        " a=\"",
        " <",
        " css-class=\"ł\"",
        "/",
    ]);
    let text = select(vec![
        "x",
        " ",
        "\n",
        "&nbsp;",
        "<",
        "</",
        "<!--",
        "-->",
        "<!--[if mso]>",
        "<![endif]-->",
        "<![CDATA[",
        "]]>",
        "{{ name }}",
        "{% if a %}",
        "{% endif %}",
        "{#",
        "#}",
        "&#",
        "{",
        "<style>{#a{}}</style>",
        ".a, b > i:first-child{c:d !important;",
        "*{a:b}",
        "[x='",
        "ł浩",
        "\0",
    ]);
    let leaf = prop_oneof![
        text.prop_map(str::to_owned),
        (select(names), attributes.clone()).prop_map(|(name, attributes)| format!("<{name}{attributes}>")),
        select(names).prop_map(|name| format!("</{name}>")),
    ];
    leaf.prop_recursive(8, 60, 4, move |inner| {
        let body = proptest::collection::vec(inner, 0..4).prop_map(|all| all.concat());
        (select(names), attributes.clone(), body)
            .prop_map(|(name, attributes, body)| format!("<{name}{attributes}>{body}</{name}>"))
    })
}

const HTML: &[&str] = &[
    "div", "BR", "br", "p", "ul", "li", "table", "tr", "td", "a", "style", "script", "title", "pre", "svg",
    "body", "head", "html", "template", "textarea", "x:y",
];
const MJML: &[&str] = &[
    "mj-section",
    "mj-column",
    "mj-text",
    "mj-wrapper",
    "mj-group",
    "mj-hero",
    "mj-image",
    "mj-button",
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
    "mj-accordion-text",
    "mj-raw",
    "mj-divider",
    "mj-spacer",
    "br",
    "BR",
    "b",
    "mj-head",
    "mj-style",
    "mj-attributes",
    "mj-all",
    "mj-class",
    "mj-preview",
    "mj-title",
    "mj-font",
    "mj-html-attributes",
    "mj-selector",
    "mj-html-attribute",
    "mj-body",
    "mjml",
];

#[test]
fn jinja_by_chance_ends_no_process() {
    in_a_process("generated::jinja_by_chance_ends_no_process", || {
        run("jinja", repeated(statements()).prop_map(|source| html(&source)));
    });
}

#[test]
fn html_by_chance_ends_no_process() {
    in_a_process("generated::html_by_chance_ends_no_process", || {
        run("html", repeated(markup(HTML)).prop_map(|source| html(&source)));
    });
}

#[test]
fn mjml_by_chance_ends_no_process() {
    in_a_process("generated::mjml_by_chance_ends_no_process", || {
        let inner = prop_oneof![repeated(markup(MJML)), repeated(markup(HTML))];
        let around = select(vec![
            "@",
            "<mjml>@</mjml>",
            "<mjml><mj-body>@</mj-body></mjml>",
            "<mjml><mj-head>@</mj-head><mj-body></mj-body></mjml>",
            "<mjml><mj-head><mj-style inline=\"inline\">b i, .a{c:d}*{e:f}</mj-style><mj-html-attributes><mj-selector \
             path=\"b\"><mj-html-attribute name=\"x\">y</mj-html-attribute></mj-selector></mj-html-attributes></mj-head>\
             <mj-body><mj-section><mj-column><mj-text>@</mj-text></mj-column></mj-section></mj-body></mjml>",
            "<mjml><mj-head><mj-style inline=\"inline\">@</mj-style></mj-head><mj-body><mj-raw><b>x</b></mj-raw></mj-body></mjml>",
            "<mjml><mj-body><mj-section><mj-column>@</mj-column></mj-section></mj-body></mjml>",
            "<mjml><mj-body><mj-section><mj-column><mj-text>@</mj-text></mj-column></mj-section></mj-body></mjml>",
        ]);
        run("mjml", (around, inner).prop_map(|(around, inner)| mjml(&around.replace('@', &inner))));
    });
}
