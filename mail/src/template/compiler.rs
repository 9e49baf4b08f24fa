//! Checks and compiles a template, part by part, and reports all that is wrong at once.

use super::footer::Footer;
use super::marks::Marked;
use super::mjml::{self, Html};
use super::types::{self, Check, Truths};
use super::warnings::Asked;
use super::{
    Body, Compiled, Fault, MAX_BODY_BYTES, MAX_FAULTS, MAX_LINE_BYTES, MediaUrls, TemplateError,
    TemplateSource, Warning,
};
use super::{engine, escaping, fields, footer, lint, markup, media, plain, warnings, way_out};
use minijinja::Environment;
use std::collections::BTreeSet;

/// The parts, as the engine knows them.
pub(super) const SUBJECT: &str = "subject";
pub(super) const PREHEADER: &str = "preheader";
pub(super) const TEXT: &str = "text";
pub(super) const HTML: &str = engine::HTML;
pub(super) const HTML_FOOTER: &str = engine::HTML_FOOTER;
pub(super) const TEXT_FOOTER: &str = "text_footer";

pub(super) struct Compiler<'a> {
    env: Environment<'static>,
    /// None: the names were checked before.
    known: Option<&'a BTreeSet<String>>,
    media: &'a MediaUrls,
    used: BTreeSet<String>,
    html_footer: Footer,
    text_footer: Footer,
    errors: Vec<TemplateError>,
    notes: Vec<Warning>,
    /// Attributes that are asked whether they are true, with the places.
    asked: Vec<(String, String)>,
    /// What is shown or compared in any part.
    shown: BTreeSet<String>,
}

impl<'a> Compiler<'a> {
    pub fn new(known: Option<&'a BTreeSet<String>>, media: &'a MediaUrls) -> Self {
        let used = footer::FIELDS.map(str::to_owned).into();
        let mut env = engine::environment();
        media::add_to(&mut env, media);
        let (html_footer, text_footer) = (Footer::Always, Footer::Always);
        Self {
            env,
            known,
            media,
            used,
            html_footer,
            text_footer,
            errors: Vec::new(),
            notes: Vec::new(),
            asked: Vec::new(),
            shown: BTreeSet::new(),
        }
    }

    pub fn compile(mut self, source: &TemplateSource) -> Result<Compiled, Vec<TemplateError>> {
        self.line(SUBJECT, &source.subject);
        let preheader = written(&source.preheader);
        if let Some(preheader) = preheader {
            self.line(PREHEADER, preheader);
        }
        let text = written(&source.text);
        if let Some(text) = text {
            self.text(text);
        }
        self.body(source);
        self.add(HTML, HTML_FOOTER, footer::html().to_owned());
        self.add(TEXT, TEXT_FOOTER, footer::text().to_owned());
        if self.errors.is_empty() {
            let compiled = Compiled {
                env: self.env,
                used: self.used,
                has_preheader: preheader.is_some(),
                derived_text: text.is_none(),
                html_footer: self.html_footer,
                text_footer: self.text_footer,
                notes: self.notes,
                asked: self
                    .asked
                    .into_iter()
                    .map(|(name, place)| Asked { alone: !self.shown.contains(&name), name, place })
                    .collect(),
                refused: None,
            };
            return Ok(compiled);
        }
        Err(self.errors)
    }

    fn fail(&mut self, field: &'static str, mut faults: Vec<Fault>) {
        faults.dedup();
        self.errors.extend(faults.into_iter().take(MAX_FAULTS).map(|fault| fault.of(field)));
    }

    /// What is told beside a template that can be saved.
    fn note(&mut self, code: &'static str, field: &'static str, notes: Vec<Fault>) {
        let warnings = notes.into_iter().map(|Fault { line, reason }| Warning {
            code,
            place: line.map_or(field.to_owned(), |line| warnings::at(field, line)),
            text: reason,
        });
        self.notes.extend(warnings);
    }

    fn line(&mut self, field: &'static str, source: &str) {
        if self.part(field, source, MAX_LINE_BYTES).is_some() {
            self.add(field, field, source.to_owned());
        }
    }

    fn text(&mut self, source: &str) {
        if let Some(part) = self.part(TEXT, source, MAX_BODY_BYTES) {
            self.add_text(source, &part);
        }
    }

    fn add_text(&mut self, source: &str, marked: &Marked<'_>) {
        self.text_footer = if names_link(marked) { Footer::IfUnseen } else { Footer::Always };
        let footer = if self.text_footer == Footer::Always { footer::text() } else { "" };
        let text = if footer.is_empty() { source } else { source.trim_end() };
        self.add(TEXT, TEXT, format!("{text}{footer}"));
    }

    fn body(&mut self, source: &TemplateSource) {
        let (field, written) = match &source.body {
            Body::Html(html) => ("html", html),
            Body::Mjml(mjml) => ("mjml", mjml),
        };
        let Some(marked) = self.part(field, written, MAX_BODY_BYTES) else { return };
        let html = match source.body {
            Body::Html(_) => Ok(Html { html: marked.text.clone(), notes: Vec::new() }),
            Body::Mjml(_) => mjml::to_html(&marked, self.known.is_some()),
        };
        match html {
            Ok(Html { html, notes }) => {
                self.note("not_inlined", field, notes);
                self.html(field, &html, &marked, source);
            }
            Err(faults) => self.fail(field, faults),
        }
    }

    /// From the marked HTML: the HTML, and the text where none was written.
    fn html(&mut self, field: &'static str, html: &str, marked: &Marked<'_>, source: &TemplateSource) {
        let pieces = markup::pieces(html);
        self.fail(field, escaping::check(&pieces, marked));
        if written(&source.text).is_none() {
            let text = marked.restore(&plain::derive(&pieces, marked));
            self.derived_text(&text);
        }
        let start = footer::body_start(&pieces);
        let end = footer::body_end(&pieces).max(start);
        let preheader = written(&source.preheader).map(|_| footer::preheader()).unwrap_or_default();
        self.html_footer = match names_link(marked) {
            false => Footer::Always,
            true if way_out::is_certain(&pieces, marked) => Footer::Never,
            true => Footer::IfUnseen,
        };
        let footer = if self.html_footer == Footer::Always { footer::html() } else { "" };
        let restore = |range: std::ops::Range<usize>| marked.restore(&html[range]);
        let whole =
            [restore(0..start), preheader, restore(start..end), footer.to_owned(), restore(end..html.len())];
        self.add(field, HTML, whole.concat());
    }

    fn derived_text(&mut self, text: &str) {
        match Marked::new(text) {
            Ok(part) => self.add_text(text, &part),
            Err(fault) => self.fail(TEXT, vec![fault]),
        }
    }

    /// Checks a part as it was written; none where it can't be used.
    fn part<'s>(&mut self, field: &'static str, source: &'s str, max: usize) -> Option<Marked<'s>> {
        let size = match source.len() {
            _ if source.trim().is_empty() => Some("is empty".to_owned()),
            len if len > max => Some(format!("may be {max} bytes long at the most")),
            _ => None,
        };
        if let Some(reason) = size {
            self.fail(field, vec![Fault::new(reason)]);
            return None;
        }
        let marked = match Marked::new(source) {
            Ok(marked) => marked,
            Err(fault) => {
                self.fail(field, vec![fault]);
                return None;
            }
        };
        let faults = self.faults(&marked);
        let fine = faults.is_empty();
        self.fail(field, faults);
        self.used.extend(fields::used(&marked.tags));
        if fine && self.known.is_some() {
            self.truths(field, &marked.restore(&marked.text));
        }
        fine.then_some(marked)
    }

    fn truths(&mut self, field: &'static str, source: &str) {
        let Truths { asked, used } = types::truths(source);
        self.shown.extend(used);
        let asked = asked.into_iter().take(MAX_FAULTS);
        self.asked.extend(asked.map(|(line, name)| (name, warnings::at(field, line))));
    }

    fn faults(&self, marked: &Marked<'_>) -> Vec<Fault> {
        // What looks like a tag and is none, as in a style sheet, is not to be one for the engine.
        let source = &marked.restore(&marked.text);
        let faults = lint::check(&marked.tags, &self.env);
        if !faults.is_empty() {
            return faults;
        }
        let faults = match (self.env.template_from_str(source), self.known) {
            (Err(error), _) => vec![fault(&error)],
            (Ok(template), Some(known)) => {
                let unknown = fields::unknown(&template, &marked.tags, known);
                [unknown, media::check(&marked.tags, self.media)].concat()
            }
            (Ok(_), None) => Vec::new(),
        };
        if !faults.is_empty() {
            return faults;
        }
        types::check(source, if self.known.is_some() { Check::All } else { Check::Dangers })
    }

    /// Hands a part to the engine. What fails only now comes of what was made from it.
    fn add(&mut self, field: &'static str, name: &'static str, source: String) {
        // What was made from a part may do no more than the part, wherever its tags went.
        let made = types::check(&source, Check::Dangers).into_iter().next();
        let fault =
            made.or_else(|| self.env.add_template_owned(name, source).err().map(|error| fault(&error)));
        if let Some(Fault { reason, .. }) = fault {
            let reason = match field {
                TEXT => format!("no text can be derived from the body; write one ({reason})"),
                _ => reason,
            };
            self.fail(field, vec![Fault::new(reason)]);
        }
    }
}

/// An optional part that is blank is none.
fn written(part: &Option<String>) -> Option<&str> {
    part.as_deref().filter(|part| !part.trim().is_empty())
}

fn names_link(marked: &Marked<'_>) -> bool {
    fields::used(&marked.tags).iter().any(|name| way_out::FIELDS.contains(&name.as_str()))
}

pub(super) fn fault(error: &minijinja::Error) -> Fault {
    let reason = match error.detail() {
        // As the templates of listmonk have it.
        Some("unexpected `.`") => {
            "unexpected `.`: a field has none before it, as in `{{ first_name }}`".to_owned()
        }
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    Fault { line: error.line(), reason }
}
