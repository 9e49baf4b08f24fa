//! Looks at a body chunk by chunk while it is uploaded: what cannot be imported as a whole is refused before anything
//! is promised, with the line where it is.

use super::header::Header;
use super::splitter::{Cursor, Malformed, Splitter, Step};

#[derive(Default)]
pub(super) struct Inspector {
    text: Text,
    body: Option<Body>,
}

struct Body {
    splitter: Splitter,
    start: Cursor,
    rows: i64,
}

impl Inspector {
    /// Chunks in order; the first holds the whole header row. Errors are for whoever uploads it.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), String> {
        self.text.feed(chunk)?;
        match &mut self.body {
            Some(body) => body.feed(chunk).map_err(|error| error.to_string()),
            None => {
                let header = Header::read(chunk)?;
                let splitter = Splitter::new(header.delimiter, header.rows);
                let body = self.body.insert(Body { splitter, start: header.rows, rows: 0 });
                let rows = chunk.get(header.rows.byte as usize..).unwrap_or_default();
                body.feed(rows).map_err(|error| error.to_string())
            }
        }
    }

    /// Where the first row starts, once there was a chunk.
    pub fn start(&self) -> Option<Cursor> {
        self.body.as_ref().map(|body| body.start)
    }

    /// The end of the body: how many rows it has.
    pub fn end(&mut self) -> Result<i64, String> {
        self.text.end()?;
        let Some(body) = &mut self.body else { return Ok(0) };
        body.end().map_err(|error| error.to_string())
    }
}

impl Body {
    fn feed(&mut self, chunk: &[u8]) -> Result<(), Malformed> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let (taken, step) = self.splitter.step(rest)?;
            self.rows += i64::from(step == Step::Record);
            rest = &rest[taken..];
        }
        Ok(())
    }

    fn end(&mut self) -> Result<i64, Malformed> {
        loop {
            match self.splitter.step(&[])?.1 {
                Step::Record => self.rows += 1,
                Step::More => {}
                Step::End => return Ok(self.rows),
            }
        }
    }
}

/// Whether a text that arrives in pieces is UTF-8 without NUL, which Postgres cannot keep.
#[derive(Default)]
struct Text {
    /// The first bytes of a character whose others are to come: three at the most.
    partial: Vec<u8>,
    breaks: u64,
    begun: bool,
}

impl Text {
    fn feed(&mut self, chunk: &[u8]) -> Result<(), String> {
        if !self.begun && (chunk.starts_with(&[0xff, 0xfe]) || chunk.starts_with(&[0xfe, 0xff])) {
            return Err("is UTF-16: save it as UTF-8".into());
        }
        self.begun = true;
        let rest = self.complete(chunk)?;
        let (valid, partial) = match std::str::from_utf8(rest) {
            Ok(_) => (rest, &[][..]),
            Err(error) if error.error_len().is_none() => rest.split_at(error.valid_up_to()),
            Err(error) => return Err(self.not_utf8(&rest[..error.valid_up_to()])),
        };
        if let Some(nul) = valid.iter().position(|byte| *byte == 0) {
            let line = self.line_after(&valid[..nul]);
            return Err(format!("has a NUL character in line {line}: is it UTF-16? Save it as UTF-8"));
        }
        self.partial.extend(partial);
        self.breaks += breaks(valid);
        Ok(())
    }

    /// Ends the character that the last piece began; returns what follows it.
    fn complete<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], String> {
        while !self.partial.is_empty() {
            let Some((byte, others)) = rest.split_first() else { break };
            self.partial.push(*byte);
            rest = others;
            match std::str::from_utf8(&self.partial) {
                Ok(_) => self.partial.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(self.not_utf8(&[])),
            }
        }
        Ok(rest)
    }

    fn end(&self) -> Result<(), String> {
        match self.partial.is_empty() {
            true => Ok(()),
            false => Err(self.not_utf8(&[])),
        }
    }

    fn not_utf8(&self, before: &[u8]) -> String {
        format!(
            "is not UTF-8 in line {}: save it as UTF-8 (in Excel: \"CSV UTF-8\")",
            self.line_after(before)
        )
    }

    fn line_after(&self, before: &[u8]) -> u64 {
        self.breaks + breaks(before) + 1
    }
}

/// Line breaks for an error's line: counted by line feeds, in a file without any by carriage returns.
fn breaks(text: &[u8]) -> u64 {
    let count = |wanted: u8| text.iter().filter(|byte| **byte == wanted).count() as u64;
    match count(b'\n') {
        0 => count(b'\r'),
        feeds => feeds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(body: &[u8], piece: usize) -> Result<i64, String> {
        let mut inspector = Inspector::default();
        // The first piece holds the header.
        let (first, rest) = body.split_at(body.len().min(piece.max(16)));
        inspector.chunk(first)?;
        for chunk in rest.chunks(piece) {
            inspector.chunk(chunk)?;
        }
        inspector.end()
    }

    #[test]
    fn rows_are_counted_whatever_the_pieces() {
        let body =
            "\u{feff}email,town\r\na@example.com,Łódź\r\n\r\nb@example.com,\"浩\r\n浩\"\r\nc".as_bytes();
        for piece in 1..body.len() {
            assert_eq!(inspect(body, piece), Ok(3), "{piece}");
        }
        assert_eq!(inspect(b"email\n", 100), Ok(0));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_found_with_their_line() {
        for piece in [1, 2, 3, 7, 100] {
            let error =
                inspect(b"email,town\na@example.com,Rome\nb@example.com,K\xf6ln\nc", piece).unwrap_err();
            assert!(error.contains("not UTF-8 in line 3"), "{error}");
            let error = inspect("email,town\na@example.com,Łódź".as_bytes().split_last().unwrap().1, piece);
            assert!(error.unwrap_err().contains("line 2"));
            let error = inspect(b"email,town\na@example.com,\0\n", piece).unwrap_err();
            assert!(error.contains("NUL character in line 2"), "{error}");
        }
    }

    #[test]
    fn utf_16_is_named() {
        let utf_16 = "\u{feff}email\n".encode_utf16();
        let little: Vec<u8> = utf_16.clone().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = utf_16.flat_map(u16::to_be_bytes).collect();
        assert!(inspect(&little, 100).unwrap_err().contains("UTF-16"));
        assert!(inspect(&big, 100).unwrap_err().contains("UTF-16"));
        assert!(inspect(&little[2..], 100).unwrap_err().contains("UTF-16"));
    }

    #[test]
    fn an_open_quote_is_refused_as_a_whole() {
        let error = inspect(b"email,town\na@example.com,\"Rome\nb@example.com,Oslo\n", 8).unwrap_err();
        assert!(error.contains("starts in line 2"), "{error}");
    }
}
