use super::*;

fn reasons(source: &str) -> Vec<String> {
    check(source, Check::All).into_iter().map(|fault| fault.reason).collect()
}

fn refuses(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        let found = reasons(source);
        assert!(found.iter().any(|reason| reason.contains(expected)), "{source}: {found:?}");
    }
}

fn accepts(sources: &[&str]) {
    for source in sources {
        assert_eq!(reasons(source), [""; 0], "{source}");
    }
}

#[test]
fn a_value_that_would_hold_itself_or_grow_is_refused() {
    refuses(&[
        ("{% set a = [] %}{% for i in range(9) %}{% set a = [a] %}{% endfor %}", "8 deep"),
        ("{% for i in range(9) %}{% set a = {'x': a} %}{% endfor %}", "8 deep"),
        ("{% for i in range(9) %}{% set a = dict(x=a) %}{% endfor %}", "8 deep"),
        ("{% for i in range(9) %}{% set a = (a, a) %}{% endfor %}", "8 deep"),
        ("{% for i in range(9) %}{% set b = [a] %}{% set a = b %}{% endfor %}", "8 deep"),
        (
            "{% for i in range(9) %}{% set a = 'x'|split|batch(1)|default(a) %}{% set a = [a] %}{% endfor %}",
            "8 deep",
        ),
        ("{% set a = [1] %}{% for i in range(9) %}{% set a = a[0:] %}{% endfor %}", "8 deep"),
        ("{% set a = [1] %}{% for i in range(9) %}{% set a = a|reverse %}{% endfor %}", "8 deep"),
        ("{% set a = [1] %}{% for i in range(9) %}{% set a = a|chain([2]) %}{% endfor %}", "8 deep"),
        ("{% set a = [1] %}{% for i in range(9) %}{% set a = a|zip([2]) %}{% endfor %}", "8 deep"),
        ("{% for i in range(9) %}{% set a = [a]|batch(1) %}{% endfor %}", "8 deep"),
        (
            "{% for i in range(9) %}{% set a = [[a]]|map('first')|list %}{% set a = [a] %}{% endfor %}",
            "8 deep",
        ),
        ("{% for i in range(9) %}{% set a = [a] if a else [[a]] %}{% endfor %}", "8 deep"),
        ("{% for i in range(9) %}{% set a = loop.cycle([a], [a]) %}{% endfor %}", "8 deep"),
        ("{% for i in range(9) %}{% set a = [{'k': a}]|groupby('k') %}{% endfor %}", "no lists in lists"),
        ("{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}", "8 deep"),
        (
            "{% macro m(x) %}{% if x %}{{ n(y=[x]) }}{% endif %}{% endmacro %}{% macro n(y) %}{{ m(y) }}\
             {% endmacro %}{{ m(1) }}",
            "8 deep",
        ),
        (
            "{% macro m() %}{{ caller(1) }}{% endmacro %}{% call(x) m() %}{% set y = [x] %}{{ caller(y) }}\
             {% endcall %}",
            "8 deep",
        ),
        (
            "{% set a = 1 %}{% macro m() %}{{ [a]|length }}{% endmacro %}{% set a = [a] %}\
             {% for i in range(9) %}{% set a = [a] %}{% endfor %}",
            "8 deep",
        ),
        ("{% for x in [[[[[[[[[1]]]]]]]]] %}{{ x|length }}{% endfor %}", "8 deep"),
        ("{% set ns = namespace() %}{% set ns.x = ns %}", "namespace is not available"),
        ("{% set ns = {} %}{% set ns.x = ns %}", "namespace is not available"),
        ("{% for i in range(2) %}{% set a = [loop] %}{% endfor %}", "`loop` is no value"),
        ("{% for i in range(2) %}{{ loop.changed([i]) }}{% endfor %}", "no lists"),
        ("{% for i in range(2) %}{{ loop.cycle() }}{% endfor %}", "can't be called"),
        ("{% for i in [1] recursive %}{{ loop([i]) }}{% endfor %}", "recursive is not available"),
        ("{% macro m() %}{% endmacro %}{% set a = m %}{{ a() }}", "can only be called"),
        ("{% macro m(x) %}{% endmacro %}{{ m(*[[1]]) }}", "without *"),
        ("{{ {'f': range}.f(3) }}", "can't be called"),
    ]);
}

#[test]
fn lists_are_neither_shown_nor_compared_as_a_whole() {
    refuses(&[
        ("{{ [name] }}", "can't be shown"),
        ("{{ {'a': 1} }}", "can't be shown"),
        ("{% set a = [name, name] %}{{ a }}", "can't be shown"),
        ("{{ name ~ [1] }}", "can't be compared or joined"),
        ("{{ [1]|upper }}", "no list or map"),
        ("{{ [1]|string }}", "no list or map"),
        ("{{ '%s'|format([1]) }}", "no list or map"),
        ("{{ name|replace('a', [1]) }}", "no list or map"),
        ("{{ [[1]]|join }}", "no lists in lists"),
        ("{{ [[1]]|sort }}", "no lists in lists"),
        ("{{ [[1]]|unique }}", "no lists in lists"),
        ("{% if [1] == [1] %}{% endif %}", "can't be compared"),
        ("{% if [[1]] is eq([[1]]) %}{% endif %}", "can't be compared"),
        ("{% if [1] in [[1]] %}{% endif %}", "can't be compared"),
        ("{{ [[1]]|select('eq', [1])|list|length }}", "can't be compared"),
        ("{{ {[1]: 2}|length }}", "no key"),
        ("{{ [[1]]|map('string')|join }}", "no list or map"),
        ("{{ ['upper']|map(name)|join }}", "in quotes"),
        ("{{ ([1] * 3)|length }}", "can't be reckoned"),
        ("{{ name|tojson }}", "tojson is not available"),
        ("{% filter split %}a b{% endfilter %}", "can't be shown"),
        ("{% set a | split %}a b{% endset %}{{ a }}", "can't be shown"),
    ]);
}

#[test]
fn what_newsletters_do_is_fine() {
    accepts(&[
        "{{ name }}{{ campaign.name }}{{ no.no.no }}{{ name[0] }}{{ name[:3]|upper }}{{ 'x' if name }}",
        "{% for x in [name, city]|select|unique %}{{ loop.index }}: {{ x }}{{ ', ' if not loop.last }}{% endfor %}",
        "{{ [name, city]|select|join(', ') }}{{ name|split(',')|map('trim')|join(' & ') }}{{ name|split|first }}",
        "{% set items = [{'n': name, 'p': 3.5}, {'n': 'Milk', 'p': 1}] %}{% for i in items %}{{ i.n }}: \
         {{ i.p * 2 }}{% endfor %}{{ items|sum(attribute='p') }}{{ items|map(attribute='n')|join }}",
        "{% for k, v in {'a': 1}|items %}{{ k }}{{ v }}{% endfor %}{% for k in {'a': 1} %}{{ k }}{% endfor %}",
        "{% macro button(url, text='Go') %}<a href=\"{{ url }}\">{{ text }}</a>{% endmacro %}\
         {{ button(unsubscribe_url) }}{{ button(url='x', text=name) }}",
        "{% macro box(c) %}<p class=\"{{ c }}\">{{ caller() }}</p>{% endmacro %}{% call box('x') %}{{ name }}\
         {% endcall %}",
        "{% set n = 0 %}{% for i in range(3) %}{% set n = n + i %}{% endfor %}{{ n }}{{ '-' * 20 }}\
         {{ 7 // 2 }}{{ -n }}",
        "{% set a, b = [1, 2] %}{{ a + b }}{% with w = name %}{{ w }}{% endwith %}{% filter upper %}x{% endfilter %}",
        "{{ name|default('x')|title }}{{ points|int + 1 }}{{ points|default(0)|float|round(1) }}\
         {{ '%05d'|format(points|int) }}",
        "{% for row in [1, 2, 3]|batch(2) %}{% for x in row %}{{ x }}{% endfor %}{% endfor %}\
         {{ [3, 1]|sort|first }}{{ [1, 2]|max }}",
        "{% for x in [1, 2] %}{{ loop.cycle('odd', 'even') }}{% if loop.changed(x) %}!{% endif %}\
         {{ loop.previtem }}{% endfor %}",
        "{% set points = points|int %}{% if points > 100 and loop_no is not defined %}gold{% endif %}",
    ]);
}

#[test]
fn a_field_is_text_and_no_number() {
    refuses(&[
        (
            "{% if points > 100 %}gold{% endif %}",
            "`points` is text, and it is compared with a number: write `points|int`",
        ),
        (
            "{% if 100 < points %}gold{% endif %}",
            "`points` is text, and it is compared with a number: write `points|int`",
        ),
        ("{{ 'gold' if points >= 2.5 }}", "write `points|int`"),
        ("{% if points == 10 %}{% endif %}", "`points|int`"),
        ("{% if points != 10 %}{% endif %}", "`points|int`"),
        ("{% if 1 < points < 9 %}{% endif %}", "`points|int`"),
        ("{% if points in [1, 2] %}{% endif %}", "`points|int`"),
        ("{% if 10 in [points] %}{% endif %}", "is text"),
        ("{% if points is gt(10) %}{% endif %}", "`points|int`"),
        ("{% if points is eq 10 %}{% endif %}", "`points|int`"),
        ("{% if points is divisibleby(3) %}{% endif %}", "`points|int`"),
        ("{% if points is odd %}{% endif %}", "`points|int`"),
        ("{% if points is number %}{% endif %}", "is always text"),
        ("{% if vip is true %}{% endif %}", "is always text"),
        ("{% if vip == true %}{% endif %}", "`vip` is text, and is never true or false"),
        ("{% if points|default(0) > 10 %}{% endif %}", "`points` is text, and it is compared with a number"),
        ("{% if points|trim > 10 %}{% endif %}", "compared with a number"),
        ("{% if points > bonus %}{% endif %}", "letter by letter"),
        ("{% if points > '100' %}{% endif %}", "letter by letter"),
        ("{{ points + bonus }}", "`points` is text: write `|int` behind both"),
        ("{{ points + 1 }}", "`points|int`"),
        ("{{ points * 2 }}", "`points|int`"),
        ("{{ 2 * points }}", "`points|int`"),
        ("{{ points / 2 }}{{ points % 2 }}", "`points|int`"),
        ("{{ -points }}", "`points|int`"),
        ("{{ points|round }}", "`points|int`"),
        ("{{ [points, bonus]|sum }}", "map('int')"),
        ("{{ [points, bonus]|max }}", "letter by letter"),
        ("{{ [points, 1]|sort|join }}", "can't be sorted together"),
        ("{{ [points]|select('gt', 10)|join }}", "map('int')"),
        ("{% set p = points %}{% if p > 10 %}{% endif %}", "`p|int`"),
        ("{% for p in [points] %}{% if p > 10 %}{% endif %}{% endfor %}", "`p|int`"),
        ("{% macro m(p) %}{% if p > 10 %}{% endif %}{% endmacro %}{{ m(points) }}", "`p|int`"),
        ("{% if x %}{% set p = 1 %}{% else %}{% set p = points %}{% endif %}{{ p > 3 }}", "`p|int`"),
        ("{% if false %}{% if points > 10 %}{% endif %}{% endif %}", "`points|int`"),
    ]);
    accepts(&[
        "{% if points|int > 100 %}gold{% endif %}{% if points|int(0) == 3 %}{% endif %}{% if points == '10' %}\
         {% endif %}",
        "{% if 'a' in city %}{% endif %}{% if city in ['Bern', 'Rome'] %}{% endif %}{% if city > 'M' %}{% endif %}",
        "{% if points|string > bonus|string %}{% endif %}{% if city|length > 3 %}{% endif %}\
         {{ [points, bonus]|map('int')|max }}",
        "{{ points|int + bonus|int }}{{ first_name|default('') + ' ' + last_name|default('') }}\
         {% if vip == 'true' %}{% endif %}",
        "{% if points == none %}{% endif %}{% if name == name %}{% endif %}{% if date < '2026-01-01' %}{% endif %}",
        "{{ ['b', city]|sort|join }}{{ [points|int, 3]|sort|join }}\
         {% if loop_x is defined and points is not none %}{% endif %}",
    ]);
}

#[test]
fn a_version_that_was_saved_before_is_refused_for_dangers_alone() {
    assert_eq!(check("{% if points > 100 %}{% endif %}", Check::Dangers), []);
    assert!(!check("{% for i in range(9) %}{% set a = [a] %}{% endfor %}", Check::Dangers).is_empty());
    assert!(!check("{{ [1] }}", Check::Dangers).is_empty());
}

#[test]
fn a_fault_has_its_line_and_is_told_once() {
    let faults = check("a\n{% if points > 1 %}\n{% endif %}{{ points + 1 }}", Check::All);
    assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [Some(2), Some(3)]);
}

#[test]
fn a_template_that_is_hard_to_follow_is_refused_in_little_time() {
    let chain: String = (1..100).rev().map(|n| format!("{{% set a{n} = a{} %}}", n - 1)).collect();
    refuses(&[(
        &format!("{{% for i in range(2) %}}{chain}{{% set a0 = [1] %}}{{% endfor %}}"),
        "too many steps",
    )]);
    let names: String = (0..5_000).map(|n| format!("{{% set a{n} = 1 %}}")).collect();
    refuses(&[(&names, "200 names")]);
    let deep = format!("{}{}", "{% for x in [1] %}".repeat(140), "{% endfor %}".repeat(140));
    accepts(&[&deep]);
}
