//! Texts that count as true though they say no.

use super::*;

fn told(source: &TemplateSource, pairs: &[(&str, &str)]) -> Vec<String> {
    let known = ["city", "plan", "vip"].map(str::to_owned).into();
    let compiled =
        Compiled::compile(source, &known, &MediaUrls::new()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let noted = compiled.noted(&attributes(pairs)).into_iter();
    noted
        .filter(|warning| warning.code == "text_as_truth")
        .map(|Warning { place, text, .. }| {
            assert!(text.contains("== 'yes'`") && text.contains("\"0\""), "{text}");
            format!("{place}: {}", text.split('`').nth(1).unwrap())
        })
        .collect()
}

#[test]
fn an_attribute_that_is_only_asked_whether_it_is_true_is_told() {
    for source in [
        "x\n{% if vip %}gold{% endif %}",
        "x\n{% if not vip %}gold{% endif %}",
        "x\n{% if city == 'Bern' and (vip or plan == 'x') %}gold{% endif %}",
        "x\n{% if city %}{{ city }}{% elif vip %}gold{% endif %}",
        "x\n{{ 'gold' if vip else 'silver' }}",
        "x\n{% if vip|default(false) %}gold{% endif %}",
        "x\n{% if vip|trim|bool %}gold{% endif %}",
        "x\n{% if vip is defined and vip %}gold{% endif %}",
        "x\n{% set gold = not vip %}{{ gold }}",
        "x\n{% for i in [1] if vip %}{{ i }}{% endfor %}",
    ] {
        assert_eq!(told(&html(source), &[]), ["html, line 2: vip"], "{source}");
        let in_mjml = mjml(&in_column(&format!("<mj-text>{source}</mj-text>")));
        assert_eq!(told(&in_mjml, &[]), ["mjml, line 2: vip"], "{source}");
    }
    let everywhere = TemplateSource {
        subject: "{% if vip %}Gold{% endif %}".into(),
        preheader: Some("{% if vip %}Gold{% endif %}".into()),
        text: Some("{% if vip %}Gold{% endif %}".into()),
        ..html("x")
    };
    assert_eq!(
        told(&everywhere, &[]),
        ["subject, line 1: vip", "preheader, line 1: vip", "text, line 1: vip"]
    );
}

#[test]
fn whether_there_is_something_to_show_may_be_asked() {
    for source in [
        "{% if city %}in {{ city }}{% endif %}",
        "{% if plan and plan != 'free' %}gold{% endif %}",
        "{% if vip == 'yes' %}gold{% endif %}{% if vip in ['1', 'true'] %}gold{% endif %}",
        "{% if vip is defined %}gold{% endif %}{% if city is not none %}x{% endif %}",
        "{% if name %}x{% endif %}{% if first_name and postal_address %}x{% endif %}",
        "{% set vip = city == 'Bern' %}{% if vip %}gold{% endif %}",
        "{% for vip in [true] %}{% if vip %}gold{% endif %}{% endfor %}",
        "{% macro m(vip) %}{% if vip %}gold{% endif %}{% endmacro %}{{ m(city) }}",
        "{{ city or 'somewhere' }}{% if plan|length > 3 %}x{% endif %}",
    ] {
        assert_eq!(told(&html(source), &[]), [""; 0], "{source}");
    }
    // It is shown in another part.
    let parts = TemplateSource { subject: "To {{ city }}".into(), ..html("{% if city %}x{% endif %}") };
    assert_eq!(told(&parts, &[]), [""; 0]);
}

#[test]
fn a_readers_no_that_counts_as_true_is_told_in_a_preview() {
    let source = html("{% if plan %}plan {{ plan }}{% endif %}");
    for no in ["0", "false", "No", " FALSE ", "off"] {
        assert_eq!(told(&source, &[("plan", no)]), ["html, line 1: plan"], "{no}");
        let shown = compile(&source).render(&data("Ana", &attributes(&[("plan", no)]))).unwrap();
        assert!(shown.html.starts_with("plan "), "it does count as true: {}", shown.html);
    }
    for yes in ["1", "gold", "", "yes", "00"] {
        assert_eq!(told(&source, &[("plan", yes)]), [""; 0], "{yes}");
    }
}
