//! What the pages say, in the reader's language: message files in `api/locales`.

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};
use fluent_langneg::{NegotiationStrategy, negotiate_languages, parse_accepted_languages};
use http::{HeaderMap, header};
use std::sync::LazyLock;
use unic_langid::LanguageIdentifier;

/// Longer ones are no browser's.
const ACCEPT_LANGUAGE_MAX_BYTES: usize = 500;

/// The first is for everybody whose language is not here.
const FILES: [(&str, &str); 2] =
    [("en", include_str!("../../locales/en.ftl")), ("de", include_str!("../../locales/de.ftl"))];

static ALL: LazyLock<Vec<Words>> =
    LazyLock::new(|| FILES.iter().map(|(tag, text)| Words::read(tag, text)).collect());

/// One language's messages.
pub(crate) struct Words {
    tag: &'static str,
    language: LanguageIdentifier,
    bundle: FluentBundle<FluentResource>,
}

impl Words {
    fn read(tag: &'static str, text: &str) -> Self {
        let language: LanguageIdentifier = tag.parse().unwrap_or_default();
        let mut bundle = FluentBundle::new_concurrent(vec![language.clone()]);
        // The marks would stand in the HTML around each name.
        bundle.set_use_isolating(false);
        // Messages that can't be read are missing: a test looks for each in each language.
        let resource = FluentResource::try_new(text.to_owned()).unwrap_or_else(|(partial, _)| partial);
        bundle.add_resource_overriding(resource);
        Self { tag, language, bundle }
    }

    /// By `Accept-Language` (RFC 9110 section 12.5.4).
    pub fn of(headers: &HeaderMap) -> &'static Self {
        let header = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let wanted = header.filter(|header| header.len() <= ACCEPT_LANGUAGE_MAX_BYTES).unwrap_or_default();
        let wanted = parse_accepted_languages(wanted);
        let known: Vec<&LanguageIdentifier> = ALL.iter().map(|words| &words.language).collect();
        let found = negotiate_languages(&wanted, &known, None, NegotiationStrategy::Lookup);
        let fits = |words: &&Words| found.iter().any(|language| **language == &words.language);
        ALL.iter().find(fits).unwrap_or(&ALL[0])
    }

    #[cfg(test)]
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// The language's tag (BCP 47).
    pub fn tag(&self) -> &'static str {
        self.tag
    }

    pub fn say(&self, id: &str) -> String {
        self.format(id, None)
    }

    pub fn say_of(&self, id: &str, name: &str, value: &str) -> String {
        let mut args = FluentArgs::new();
        args.set(name.to_owned(), value.to_owned());
        self.format(id, Some(&args))
    }

    fn format(&self, id: &str, args: Option<&FluentArgs<'_>>) -> String {
        let Some(pattern) = self.bundle.get_message(id).and_then(|message| message.value()) else {
            return id.to_owned();
        };
        self.bundle.format_pattern(pattern, args, &mut Vec::new()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<&str> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split_once(" =")).map(|(id, _)| id).collect()
    }

    #[test]
    fn each_language_says_everything() {
        let (_, english) = FILES[0];
        assert!(ids(english).len() > 15);
        for (words, (tag, text)) in ALL.iter().zip(FILES) {
            assert_eq!(ids(text), ids(english), "{tag}");
            for id in ids(english) {
                let said = words.say_of(id, "group", "Tom & Co");
                assert!(said != id && !said.contains('{'), "{tag}: {id}: {said}");
            }
        }
    }

    #[test]
    fn the_browser_decides() {
        let of = |header: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, header.parse().unwrap());
            Words::of(&headers).tag()
        };
        let table = [
            ("de", "de"),
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("en-GB,de;q=0.5", "en"),
            ("fr-FR,de;q=0.5", "de"),
            ("fr", "en"),
            ("*", "en"),
            ("", "en"),
            (";;,,q=", "en"),
        ];
        for (header, tag) in table {
            assert_eq!(of(header), tag, "{header}");
        }
        assert_eq!(of(&"de,".repeat(1000)), "en");
        assert_eq!(Words::of(&HeaderMap::new()).tag(), "en");
    }
}
