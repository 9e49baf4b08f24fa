//! Templates: subject, preheader, HTML or MJML, and text, checked and compiled once, rendered for each reader.
//!
//! The order of things is what keeps readers' data from being run or becoming markup:
//! 1. a part's tags are found and checked (`jinja`, `lint`, `fields`);
//! 2. MJML becomes HTML, and HTML becomes text, with marks in the place of tags (`marks`, `mjml`, `plain`);
//! 3. the engine compiles the four parts, and rendering fills them in: once, so that what a field holds is only data.

mod compiler;
mod engine;
mod escaping;
mod fields;
mod footer;
mod guard;
mod jinja;
mod lint;
mod marks;
mod markup;
mod media;
mod mjml;
mod plain;
mod types;
mod warnings;
mod way_out;

pub use fields::BUILT_IN;
pub use media::MediaUrls;
use warnings::{Asked, true_by_mistake};
pub use warnings::{Warning, warnings};

use crate::header_text::one_line;
use compiler::Compiler;
use footer::Footer;
use marks::Marked;
use minijinja::{Environment, Error, ErrorKind, Value};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Bytes of a template's HTML, MJML or text.
pub const MAX_BODY_BYTES: usize = 512 * 1024;
/// Bytes of a template's subject or preheader.
pub const MAX_LINE_BYTES: usize = 2_000;
/// Bytes of a rendered HTML or text.
pub const MAX_RENDERED_BYTES: usize = 1024 * 1024;
/// Bytes of a rendered subject: more than any mail program shows.
pub const MAX_SUBJECT_BYTES: usize = 2_000;
/// Faults that are told of one part.
const MAX_FAULTS: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Html(String),
    /// <https://documentation.mjml.io/>, without `mj-include`.
    Mjml(String),
}

/// A template as the staff wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateSource {
    pub subject: String,
    /// Shown beside the subject in a mailbox, and hidden in the mail.
    pub preheader: Option<String>,
    pub body: Body,
    /// The text part; without one, it is derived from the body.
    pub text: Option<String>,
    /// Names of attributes that readers will have, beyond those ever imported.
    pub attributes: Vec<String>,
}

impl TemplateSource {
    /// The media that it shows, in any of its parts.
    pub fn media(&self) -> BTreeSet<Uuid> {
        let (Body::Html(body) | Body::Mjml(body)) = &self.body;
        let parts = [Some(&self.subject), self.preheader.as_ref(), Some(body), self.text.as_ref()];
        // What cannot be read is told when it is compiled.
        let marked = parts.into_iter().flatten().filter_map(|part| Marked::new(part).ok());
        marked.flat_map(|marked| media::ids(&marked.tags)).collect()
    }
}

/// What is wrong with one part of a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct TemplateError {
    /// `subject`, `preheader`, `html`, `mjml`, `text` or `attributes`
    pub field: &'static str,
    /// From 1, in what was written.
    pub line: Option<usize>,
    pub reason: String,
}

/// Why a template could not be rendered for one reader. No text of it holds what the reader's fields hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("the {part} needs too much work")]
    OutOfFuel { part: &'static str },
    #[error("the {part} is longer than {max} bytes")]
    TooLarge { part: &'static str, max: usize },
    #[error("the {part} can't be rendered: {reason}")]
    Failed { part: &'static str, reason: String },
}

/// What the merge fields hold for one reader. A blank field counts as one that the reader lacks.
#[derive(Clone, Copy)]
pub struct MergeData<'a> {
    pub email: &'a str,
    pub name: &'a str,
    /// By name in snake_case. Built-in fields win, `first_name` and `last_name` apart, which are guessed from `name`
    /// only where there is no such attribute.
    pub attributes: &'a BTreeMap<String, String>,
    /// Empty in mails that have nothing to opt out of: then no footer has a link.
    pub unsubscribe_url: &'a str,
    pub preferences_url: &'a str,
    pub campaign_name: &'a str,
    pub group_name: &'a str,
    /// May have several lines.
    pub postal_address: Option<&'a str>,
}

/// A mail's parts for one reader.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line without control characters.
    pub subject: String,
    pub html: String,
    pub text: String,
}

/// Redacted, as `Rendered` is: what readers' fields hold does not belong in logs.
impl std::fmt::Debug for MergeData<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MergeData(…)")
    }
}

impl std::fmt::Debug for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rendered(…)")
    }
}

/// A fault in one part, before it is said which.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    line: Option<usize>,
    reason: String,
}

impl Fault {
    fn new(reason: String) -> Self {
        Self { line: None, reason }
    }

    fn at(line: usize, reason: String) -> Self {
        Self { line: Some(line), reason }
    }

    fn of(self, field: &'static str) -> TemplateError {
        TemplateError { field, line: self.line, reason: self.reason }
    }
}

/// A checked template. It is `Send + Sync` and meant to be shared: compiling takes milliseconds, rendering far less.
pub struct Compiled {
    env: Environment<'static>,
    /// The names in its tags.
    used: BTreeSet<String>,
    has_preheader: bool,
    derived_text: bool,
    html_footer: Footer,
    text_footer: Footer,
    notes: Vec<Warning>,
    asked: Vec<Asked>,
    /// Why nothing can be rendered: a saved version that is not allowed any more.
    refused: Option<TemplateError>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("used", &self.used).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Checks a template that is about to be saved or previewed, and compiles it.
    ///
    /// `known` are the attributes that readers have; the built-in fields and those that the template declares are
    /// added. The errors are all that was found, in every part. A template that fails for a reader who lacks every
    /// attribute is an error too: there will be one. So is one that shows a medium which is not in `media`.
    pub fn compile(
        source: &TemplateSource,
        known: &BTreeSet<String>,
        media: &MediaUrls,
    ) -> Result<Self, Vec<TemplateError>> {
        let declared = fields::check_declared(&source.attributes);
        let known = known.iter().chain(&source.attributes).cloned().collect();
        let compiled = guard::on_large_stack(|| {
            let compiled = Compiler::new(Some(&known), media).compile(source)?;
            compiled.try_out(&source.body).map_or(Ok(compiled), |error| Err(vec![error]))
        });
        let mut errors: Vec<_> = declared.into_iter().map(|fault| fault.of("attributes")).collect();
        match compiled.unwrap_or_else(|| Err(vec![not_compiled(source)])) {
            Ok(compiled) if errors.is_empty() => Ok(compiled),
            Ok(_) => Err(errors),
            Err(faults) => {
                errors.extend(faults);
                Err(errors)
            }
        }
    }

    /// Compiles a version that [`Compiled::compile`] passed when it was saved: names are not checked again. Where an
    /// earlier release let through what this one refuses, rendering fails for every reader.
    pub fn compile_saved(source: &TemplateSource, media: &MediaUrls) -> Self {
        let compiled = guard::on_large_stack(|| Compiler::new(None, media).compile(source));
        let compiled = compiled.unwrap_or_else(|| Err(vec![not_compiled(source)]));
        compiled.unwrap_or_else(|errors| Self {
            env: engine::environment(),
            used: BTreeSet::new(),
            has_preheader: false,
            derived_text: false,
            html_footer: Footer::Never,
            text_footer: Footer::Never,
            notes: Vec::new(),
            asked: Vec::new(),
            refused: Some(errors.into_iter().next().unwrap_or_else(|| not_compiled(source))),
        })
    }

    /// Why no reader gets a mail of it.
    pub fn refused(&self) -> Option<&TemplateError> {
        self.refused.as_ref()
    }

    /// What its writer asks for and does not get, or seldom means.
    ///
    /// `attributes`: those of the reader that it is shown for.
    pub fn noted(&self, attributes: &BTreeMap<String, String>) -> Vec<Warning> {
        self.notes.iter().cloned().chain(true_by_mistake(&self.asked, attributes)).collect()
    }

    /// Fills in one reader's fields.
    pub fn render(&self, data: &MergeData<'_>) -> Result<Rendered, RenderError> {
        if let Some(TemplateError { field, reason, .. }) = &self.refused {
            return Err(RenderError::Failed { part: field, reason: reason.clone() });
        }
        let panicked = RenderError::Failed { part: "template", reason: "the engine failed".into() };
        guard::caught(|| self.render_parts(data)).unwrap_or(Err(panicked))
    }

    fn render_parts(&self, data: &MergeData<'_>) -> Result<Rendered, RenderError> {
        self.parts(data).map_err(|(part, failure)| match failure {
            Failure::TooLarge(max) => RenderError::TooLarge { part, max },
            Failure::Engine(error) if error.kind() == ErrorKind::OutOfFuel => RenderError::OutOfFuel { part },
            // The error's detail may quote a field.
            Failure::Engine(error) => RenderError::Failed { part, reason: error.kind().to_string() },
        })
    }

    fn parts(&self, data: &MergeData<'_>) -> Result<Rendered, (&'static str, Failure)> {
        let values = fields::values(&self.used, data, None);
        let subject = one_line(&self.part(compiler::SUBJECT, &values, MAX_SUBJECT_BYTES)?);
        let values = match self.has_preheader {
            true => {
                let preheader = self.part(compiler::PREHEADER, &values, MAX_RENDERED_BYTES)?;
                fields::values(&self.used, data, Some(&one_line(&preheader)))
            }
            false => values,
        };
        let html = self.part(compiler::HTML, &values, MAX_RENDERED_BYTES)?;
        let text = self.part(compiler::TEXT, &values, MAX_RENDERED_BYTES)?;
        let text = if self.derived_text { plain::tidy(&text) } else { text };
        let html = self.html_with_footer(html, &values, data)?;
        let text = self.text_with_footer(text, &values, data)?;
        Ok(Rendered { subject, html, text })
    }

    /// A mail that has nothing to opt out of lacks no link.
    fn html_with_footer(
        &self,
        html: String,
        values: &Value,
        data: &MergeData<'_>,
    ) -> Result<String, (&'static str, Failure)> {
        let is_fine = self.html_footer != Footer::IfUnseen
            || data.unsubscribe_url.is_empty()
            || way_out::is_seen(&html, &[data.unsubscribe_url, data.preferences_url]);
        if is_fine {
            return Ok(html);
        }
        Ok(footer::insert(&html, &self.part(compiler::HTML_FOOTER, values, MAX_RENDERED_BYTES)?))
    }

    fn text_with_footer(
        &self,
        text: String,
        values: &Value,
        data: &MergeData<'_>,
    ) -> Result<String, (&'static str, Failure)> {
        let has = |address: &str| !address.is_empty() && text.contains(address);
        let is_fine = self.text_footer != Footer::IfUnseen
            || data.unsubscribe_url.is_empty()
            || has(data.unsubscribe_url)
            || has(data.preferences_url);
        if is_fine {
            return Ok(text);
        }
        let footer = self.part(compiler::TEXT_FOOTER, values, MAX_RENDERED_BYTES)?;
        Ok(format!("{}{}", text.trim_end(), footer.trim_end()))
    }

    fn part(
        &self,
        part: &'static str,
        values: &Value,
        max: usize,
    ) -> Result<String, (&'static str, Failure)> {
        let template = self.env.get_template(part).map_err(|error| (part, Failure::Engine(error)))?;
        let rendered = template.render(values.clone()).map_err(|error| (part, Failure::Engine(error)))?;
        match rendered.len() > max {
            true => Err((part, Failure::TooLarge(max))),
            false => Ok(rendered),
        }
    }

    /// Renders for a reader of whom nothing but the address is known.
    fn try_out(&self, body: &Body) -> Option<TemplateError> {
        let data = MergeData {
            email: "reader@example.com",
            name: "",
            attributes: &BTreeMap::new(),
            unsubscribe_url: "https://example.com/unsubscribe",
            preferences_url: "https://example.com/preferences",
            campaign_name: "campaign",
            group_name: "group",
            postal_address: None,
        };
        let (part, failure) = self.parts(&data).err()?;
        let is_mjml = matches!(body, Body::Mjml(_)) && part == compiler::HTML;
        // A line is only of use in what someone wrote.
        let derived = is_mjml || (part == compiler::TEXT && self.derived_text);
        let fault = match failure {
            Failure::TooLarge(max) => Fault::new(format!("renders to more than {max} bytes")),
            Failure::Engine(error) => compiler::fault(&error),
        };
        let fault = Fault {
            line: fault.line.filter(|_| !derived),
            reason: format!("fails for a reader who has no attributes: {}", fault.reason),
        };
        Some(fault.of(if is_mjml { "mjml" } else { part }))
    }
}

/// The engine panicked, which is a fault of ours and says nothing about the place.
fn not_compiled(source: &TemplateSource) -> TemplateError {
    let field = match source.body {
        Body::Html(_) => "html",
        Body::Mjml(_) => "mjml",
    };
    Fault::new("the template can't be compiled".into()).of(field)
}

enum Failure {
    Engine(Error),
    TooLarge(usize),
}

#[cfg(test)]
mod tests;
