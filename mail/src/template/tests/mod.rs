mod extras;
mod generated;
mod hostile;
mod limits;
mod media;
mod official;
mod refusals;
mod rendering;
mod truths;

use super::*;

const NEWSLETTER: &str = include_str!("../newsletter.mjml");

fn html(body: &str) -> TemplateSource {
    TemplateSource {
        subject: "Hello {{ name }}".into(),
        preheader: None,
        body: Body::Html(body.into()),
        text: None,
        attributes: vec![],
    }
}

fn mjml(body: &str) -> TemplateSource {
    TemplateSource { body: Body::Mjml(body.into()), ..html("") }
}

fn in_column(inner: &str) -> String {
    format!("<mjml><mj-body><mj-section><mj-column>{inner}</mj-column></mj-section></mj-body></mjml>")
}

fn compile(source: &TemplateSource) -> Compiled {
    let known = ["city", "plan"].map(str::to_owned).into();
    Compiled::compile(source, &known, &MediaUrls::new()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn errors(source: &TemplateSource) -> Vec<TemplateError> {
    Compiled::compile(source, &BTreeSet::new(), &MediaUrls::new()).map(|_| ()).unwrap_err()
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn data<'a>(name: &'a str, attributes: &'a BTreeMap<String, String>) -> MergeData<'a> {
    MergeData {
        email: "reader@example.com",
        name,
        attributes,
        unsubscribe_url: "https://mail.example.com/emails/unsubscribe?token=a.b.c&x=1",
        preferences_url: "https://mail.example.com/emails/unsubscribe?token=a.b.c",
        campaign_name: "Spring",
        group_name: "Tea & more",
        postal_address: Some("Tea Ltd\n1 High Street"),
    }
}

fn render(source: &TemplateSource, name: &str, pairs: &[(&str, &str)]) -> Rendered {
    compile(source).render(&data(name, &attributes(pairs))).unwrap()
}

const AWKWARD: [&str; 11] = [
    "O'Brien",
    "<b>",
    "Łukasz",
    "浩",
    "{{ 7*7 }}",
    "{% if %}",
    "{# x #}",
    "=SUM(A1:A9)",
    "Smith, Jr.",
    "Jones \"JJ\"",
    "jtag0z</body><mj-text>",
];

fn escaped(text: &str) -> String {
    let pairs = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
