//! Looks for what must not be there.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Which of these a text has, in any case: plain, in hexadecimal as Postgres shows bytes, in base64 of both alphabets,
/// percent-encoded or quoted-printable as protocols and mails carry it, over the ends of their lines, too.
pub fn found(place: &str, text: &str, secrets: &[String]) -> Vec<String> {
    let plain = [text.to_lowercase(), unescaped(text, b'%'), unescaped(text, b'=')];
    let encoded = text.replace('-', "+").replace('_', "/");
    let joined = encoded.replace(['\r', '\n'], "");
    let is_there = |secret: &&String| {
        let lower = secret.to_lowercase();
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        plain.iter().any(|text| text.contains(&lower))
            || plain[0].contains(&hex)
            || (0..3)
                .map(|shift| base64_inside(secret, shift))
                .any(|spelling| encoded.contains(&spelling) || joined.contains(&spelling))
    };
    secrets.iter().filter(is_there).map(|secret| format!("{secret} in {place}")).collect()
}

/// RFC 3986 section 2.1, RFC 2045 section 6.7: each byte that a sign and two hexadecimal digits stand for, and lines that go
/// on behind the sign; in lower case.
fn unescaped(text: &str, sign: u8) -> String {
    let (mut rest, mut plain) = (text.as_bytes(), Vec::with_capacity(text.len()));
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match behind {
            [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] if first == sign => rest = after,
            [high, low, after @ ..] if first == sign => match digit(*high).zip(digit(*low)) {
                Some((high, low)) => {
                    plain.push(high << 4 | low);
                    rest = after;
                }
                None => plain.push(first),
            },
            _ => plain.push(first),
        }
    }
    String::from_utf8_lossy(&plain).to_lowercase()
}

/// What is the same in base64 wherever the text stands behind so many bytes, modulo three, of others.
fn base64_inside(text: &str, shift: usize) -> String {
    let behind = [vec![0; shift], text.as_bytes().to_vec()].concat();
    let whole = BASE64_STANDARD.encode(&behind);
    whole[[0, 2, 3][shift]..behind.len() * 8 / 6].to_owned()
}

#[test]
fn a_secret_is_found_in_each_spelling() {
    let secrets = ["zeisig@stieglitz".to_owned()];
    let quoted = |shift: usize| BASE64_STANDARD.encode(format!("{}zeisig@stieglitz and", "x".repeat(shift)));
    let spellings = [
        "a Zeisig@Stieglitz b",
        "zeisig%40stieglitz",
        "%7aeisig%40stieglit%7A",
        "zeisig=40stieg=\r\nlitz",
        "7A65697369674073746965676C69747A",
    ];
    for there in spellings {
        assert_eq!(found("it", there, &secrets).len(), 1, "{there}");
    }
    for shift in 0..5 {
        assert_eq!(found("it", &quoted(shift), &secrets).len(), 1, "{shift}");
        let mut folded = quoted(shift);
        folded.insert_str(10, "\r\n");
        assert_eq!(found("it", &folded, &secrets).len(), 1, "{folded}");
    }
    for other in ["zeisig at stieglitz", "zeisig=41stieglitz", "zeisig%4stieglitz", "=", "%", "=4"] {
        assert!(found("it", other, &secrets).is_empty(), "{other}");
    }
}
