//! Quoted-printable (RFC 2045 section 6.7) for bodies. It was a third of the time of a whole send when each character went
//! through the library that lettre uses; here what needs no escape is copied in runs.

/// Of an encoded line, without its end.
const LINE_MAX: usize = 76;

const LITERAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        table[byte as usize] = byte != b'=';
        byte += 1;
    }
    table[b'\t' as usize] = true;
    table
};

/// `text` has lines that end in CRLF, and neither CR nor LF elsewhere.
pub fn encode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8 + LINE_MAX);
    for (number, line) in text.split("\r\n").enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\r\n");
        }
        encode_line(line.as_bytes(), &mut out);
    }
    out
}

fn encode_line(line: &[u8], out: &mut Vec<u8>) {
    let (mut rest, mut column) = (line, 0);
    while let Some(&first) = rest.first() {
        // The last column is for the `=` of a soft line break.
        let room = LINE_MAX - 1 - column;
        let run = literal_run(rest, room);
        if run > 0 {
            out.extend_from_slice(&rest[..run]);
            (rest, column) = (&rest[run..], column + run);
        } else if room < 3 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        } else {
            out.extend_from_slice(&escaped(first));
            (rest, column) = (&rest[1..], column + 3);
        }
    }
}

/// How many of the next bytes stand for themselves. A blank at the line's end does not: gateways cut it off.
fn literal_run(rest: &[u8], room: usize) -> usize {
    let run = rest.iter().take(room).take_while(|byte| LITERAL[usize::from(**byte)]).count();
    match rest.get(run.wrapping_sub(1)) {
        Some(b' ' | b'\t') if run == rest.len() => run - 1,
        _ => run,
    }
}

fn escaped(byte: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [b'=', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(text: &str) -> String {
        String::from_utf8(encode(text)).unwrap()
    }

    #[test]
    fn what_has_to_be_is_escaped() {
        let table = [
            ("", ""),
            ("plain, with blanks\r\nand lines\r\n", "plain, with blanks\r\nand lines\r\n"),
            ("1 = 1", "1 =3D 1"),
            ("café", "caf=C3=A9"),
            ("blank \r\ntab\t", "blank=20\r\ntab=09"),
            (" \r\n\t\r\nx y", "=20\r\n=09\r\nx y"),
            ("\u{7}\u{7f}", "=07=7F"),
        ];
        for (text, expected) in table {
            assert_eq!(encoded(text), expected);
        }
        assert_eq!(encoded(&"x".repeat(160)), format!("{0}=\r\n{0}=\r\n{1}", "x".repeat(75), "x".repeat(10)));
    }

    proptest! {
        #[test]
        fn it_is_decoded_to_what_it_was(text in "([ -~äß浩\t]{0,200}(\r\n){0,2}){0,4}") {
            let encoded = encoded(&text);
            for line in encoded.split("\r\n") {
                prop_assert!(line.len() <= LINE_MAX && line.is_ascii() && !line.ends_with([' ', '\t']), "{line:?}");
            }
            prop_assert_eq!(quoted_printable::decode(&encoded, quoted_printable::ParseMode::Strict).unwrap(), text.as_bytes());
        }
    }
}
