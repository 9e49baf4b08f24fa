//! Text in headers: one line of it (RFC 5322 section 2.2), encoded where it isn't plain ASCII (RFC 2047).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes of text in one encoded word. With it, the longest header name and `=?utf-8?B?…?=`, a line has 76 characters.
const ENCODED_WORD_BYTES: usize = 39;
/// A plain word may be this long: longer ones could make a line of more than 998 characters, as they can't be folded.
const MAX_PLAIN_WORD: usize = 200;
/// A plain phrase may be this long: lines aren't folded in it.
const MAX_PLAIN_PHRASE: usize = 60;

/// Text as one line: control characters are blanks, runs of blanks are one, none at the ends.
pub(crate) fn one_line(text: &str) -> String {
    let blank = |c: char| c.is_whitespace() || c.is_control() || is_line_separator(c);
    let mut line = String::with_capacity(text.len());
    for word in text.split(blank).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// U+2028 and U+2029 end lines in some programs.
fn is_line_separator(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether text can stand in an unstructured header as it is. What looks like an encoded word must be encoded.
pub(crate) fn is_plain(line: &str) -> bool {
    is_printable_ascii(line)
        && !line.contains("=?")
        && line.split(' ').all(|word| word.len() <= MAX_PLAIN_WORD)
}

/// RFC 5322 section 3.2.5: a display name, already one line, as atoms, as a quoted string, or as encoded words.
pub(crate) fn phrase(line: &str) -> String {
    if !is_printable_ascii(line) || line.contains("=?") || line.len() > MAX_PLAIN_PHRASE {
        return encoded_words(line);
    }
    if line.bytes().all(|b| b == b' ' || is_atext(b)) {
        return line.to_owned();
    }
    format!("\"{}\"", line.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A phrase and what it names, folded between them where one line is too short.
pub(crate) fn named(phrase: &str, what: &str) -> String {
    const MAX_ONE_LINE: usize = 60;
    let fits = !phrase.contains('\n') && phrase.len() + what.len() <= MAX_ONE_LINE;
    format!("{phrase}{}<{what}>", if fits { " " } else { "\r\n " })
}

/// RFC 2047 section 2: base64 words on lines of their own.
pub(crate) fn encoded_words(text: &str) -> String {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, next) = rest.split_at(rest.floor_char_boundary(ENCODED_WORD_BYTES));
        words.push(format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
        rest = next;
    }
    words.join("\r\n ")
}

fn is_printable_ascii(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// RFC 5322 section 3.2.3.
pub(crate) fn is_atext(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_no_control_characters() {
        let cases = [
            ("plain", "plain"),
            ("a\r\nBcc: x@y.example", "a Bcc: x@y.example"),
            (" a \t b\u{0}\u{7f}c\u{85}d\u{2028}e ", "a b c d e"),
            ("\r\n", ""),
            ("浩\u{3000}ł", "浩 ł"),
        ];
        for (text, line) in cases {
            assert_eq!(one_line(text), line, "{text:?}");
        }
    }

    #[test]
    fn phrases_are_quoted_or_encoded_where_they_must_be() {
        let cases = [
            ("Anna Bell", "Anna Bell"),
            ("O'Brien", "O'Brien"),
            ("Smith, Jr.", "\"Smith, Jr.\""),
            ("Jones \"JJ\" \\", "\"Jones \\\"JJ\\\" \\\\\""),
            ("浩", "=?utf-8?B?5rWp?="),
            ("=?utf-8?B?5rWp?=", "=?utf-8?B?PT91dGYtOD9CPzVyV3A/PQ==?="),
        ];
        for (name, expected) in cases {
            assert_eq!(phrase(name), expected, "{name}");
        }
    }

    #[test]
    fn encoded_words_are_short_and_end_between_characters() {
        for line in encoded_words(&"浩".repeat(100)).split("\r\n ") {
            assert!(line.len() <= 75, "{line}");
            let word = line.strip_prefix("=?utf-8?B?").and_then(|w| w.strip_suffix("?=")).unwrap();
            assert!(String::from_utf8(STANDARD.decode(word).unwrap()).is_ok());
        }
    }

    #[test]
    fn plain_text_is_ascii_that_can_be_folded() {
        assert!(is_plain("{{ 7*7 }} =SUM(A1:A9) O'Brien"));
        assert!(!is_plain("ł") && !is_plain("=?utf-8?Q?x?=") && !is_plain(&"x".repeat(201)));
    }
}
