//! An upload's bytes as UTF-8: what comes as UTF-16 is turned into it, and, where that was asked for, what is neither is
//! read as Windows-1252.

/// From 0x80 to 0x9f; the rest is as in Unicode. What has no character there is U+FFFD.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{fffd}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{fffd}', 'Ž', '\u{fffd}',
    '\u{fffd}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{fffd}', 'ž', 'Ÿ',
];

#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    Utf16(fn([u8; 2]) -> u16),
}

pub(super) struct Decoder {
    /// Read bytes that are not UTF-8 as Windows-1252, and NUL as a space.
    lenient: bool,
    encoding: Option<Encoding>,
    /// Bytes that wait for others: four at the most.
    waiting: Vec<u8>,
    high: Option<u16>,
    as_windows_1252: bool,
}

impl Decoder {
    pub fn new(lenient: bool) -> Self {
        Self { lenient, encoding: None, waiting: Vec::new(), high: None, as_windows_1252: false }
    }

    /// The name of what it was read as.
    pub fn name(&self) -> &'static str {
        match (self.encoding, self.as_windows_1252) {
            (Some(Encoding::Utf16(_)), _) => "utf-16",
            (_, true) => "windows-1252",
            _ => "utf-8",
        }
    }

    pub fn decode(&mut self, bytes: &[u8], text: &mut Vec<u8>) {
        match (self.encoding, self.waiting.is_empty()) {
            (Some(Encoding::Utf8), _) if !self.lenient => text.extend_from_slice(bytes),
            (Some(encoding), true) => self.decode_as(encoding, bytes, text),
            _ => {
                let mut all = std::mem::take(&mut self.waiting);
                all.extend_from_slice(bytes);
                match self.encoding {
                    None if all.len() < 4 => self.waiting = all,
                    None => self.begin(&all, text),
                    Some(encoding) => self.decode_as(encoding, &all, text),
                }
            }
        }
    }

    /// The end of the body.
    pub fn end(&mut self, text: &mut Vec<u8>) {
        let rest = std::mem::take(&mut self.waiting);
        match self.encoding {
            None => self.begin(&rest, text),
            Some(_) if rest.is_empty() => {}
            Some(Encoding::Utf8) => rest.iter().for_each(|byte| self.push_legacy(*byte, text)),
            Some(Encoding::Utf16(_)) => push(char::REPLACEMENT_CHARACTER, text),
        }
        let rest = std::mem::take(&mut self.waiting);
        rest.iter().for_each(|byte| self.push_legacy(*byte, text));
        if self.high.take().is_some() {
            push(char::REPLACEMENT_CHARACTER, text);
        }
    }

    /// By its mark, or by the zeros that UTF-16 has between the letters of a header row.
    fn begin(&mut self, bytes: &[u8], text: &mut Vec<u8>) {
        let encoding = match bytes {
            [0xff, 0xfe, ..] => Encoding::Utf16(u16::from_le_bytes),
            [0xfe, 0xff, ..] => Encoding::Utf16(u16::from_be_bytes),
            [first, 0, second, 0, ..] if *first > 0 && *second > 0 => Encoding::Utf16(u16::from_le_bytes),
            [0, first, 0, second, ..] if *first > 0 && *second > 0 => Encoding::Utf16(u16::from_be_bytes),
            _ => Encoding::Utf8,
        };
        self.encoding = Some(encoding);
        self.decode_as(encoding, bytes, text);
    }

    fn decode_as(&mut self, encoding: Encoding, bytes: &[u8], text: &mut Vec<u8>) {
        match encoding {
            Encoding::Utf16(unit) => self.decode_utf_16(unit, bytes, text),
            Encoding::Utf8 if self.lenient => self.decode_lenient(bytes, text),
            Encoding::Utf8 => text.extend_from_slice(bytes),
        }
    }

    fn decode_utf_16(&mut self, unit: fn([u8; 2]) -> u16, bytes: &[u8], text: &mut Vec<u8>) {
        let (pairs, rest) = bytes.as_chunks::<2>();
        for pair in pairs {
            let unit = unit(*pair);
            match (self.high.take(), unit) {
                (high, 0xd800..=0xdbff) => {
                    high.iter().for_each(|_| push(char::REPLACEMENT_CHARACTER, text));
                    self.high = Some(unit);
                }
                (Some(high), _) => char::decode_utf16([high, unit])
                    .for_each(|c| push(c.unwrap_or(char::REPLACEMENT_CHARACTER), text)),
                (None, _) => push(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER), text),
            }
        }
        self.waiting.extend_from_slice(rest);
    }

    fn decode_lenient(&mut self, mut bytes: &[u8], text: &mut Vec<u8>) {
        loop {
            let (valid, invalid) = match std::str::from_utf8(bytes) {
                Ok(_) => (bytes, None),
                Err(error) => (&bytes[..error.valid_up_to()], Some(error.error_len())),
            };
            text.extend(valid.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }));
            bytes = &bytes[valid.len()..];
            match (invalid, bytes.split_first()) {
                (Some(Some(_)), Some((first, others))) => {
                    self.push_legacy(*first, text);
                    bytes = others;
                }
                // The rest of a character may follow.
                (Some(None), _) => return self.waiting.extend_from_slice(bytes),
                _ => return,
            }
        }
    }

    fn push_legacy(&mut self, byte: u8, text: &mut Vec<u8>) {
        self.as_windows_1252 = true;
        let place = usize::from(byte).checked_sub(0x80);
        push(place.and_then(|place| WINDOWS_1252.get(place)).copied().unwrap_or(char::from(byte)), text);
    }
}

fn push(c: char, text: &mut Vec<u8>) {
    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], lenient: bool, piece: usize) -> (Vec<u8>, &'static str) {
        let (mut decoder, mut text) = (Decoder::new(lenient), Vec::new());
        bytes.chunks(piece).for_each(|piece| decoder.decode(piece, &mut text));
        decoder.end(&mut text);
        (text, decoder.name())
    }

    #[test]
    fn utf_16_is_read_whatever_the_pieces_with_its_mark_and_without() {
        let plain = "email;town\r\na@example.com;Łódź 浩 😀\r\n";
        for mark in ["\u{feff}", ""] {
            let text = format!("{mark}{plain}");
            let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            for piece in 1..9 {
                assert_eq!(decoded(&little, false, piece), (text.clone().into_bytes(), "utf-16"), "{piece}");
                assert_eq!(decoded(&big, true, piece), (text.clone().into_bytes(), "utf-16"), "{piece}");
            }
        }
        assert_eq!(decoded(&[0xff, 0xfe, 0x00, 0xd8, 0x41, 0x00, 0x42], false, 3).1, "utf-16");
    }

    #[test]
    fn other_bytes_are_windows_1252_where_that_is_allowed() {
        let bytes = b"email,town\nana@example.com,K\xf6ln \x80\xe2\n";
        for piece in 1..9 {
            let (text, name) = decoded(bytes, true, piece);
            assert_eq!(
                (String::from_utf8(text).unwrap().as_str(), name),
                ("email,town\nana@example.com,Köln €â\n", "windows-1252")
            );
            assert_eq!(decoded(bytes, false, piece), (bytes.to_vec(), "utf-8"));
        }
        let utf_8 = "email,town\nŁódź 浩 😀".as_bytes();
        for piece in 1..9 {
            assert_eq!(decoded(utf_8, true, piece), (utf_8.to_vec(), "utf-8"));
        }
        assert_eq!(decoded(b"a\xf0", true, 9).0, "að".as_bytes());
        assert_eq!(decoded(b"", true, 1), (Vec::new(), "utf-8"));
    }
}
