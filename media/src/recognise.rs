//! What a file is by its first bytes.

use domain::media::{ContentType, Dimensions};

/// That much of a file is looked at. Dimensions of a JPEG may stand behind it; then it has none.
pub const HEAD_MAX_BYTES: usize = 64 * 1024;

pub(crate) struct Recognised {
    pub media_type: Option<String>,
    pub dimensions: Option<Dimensions>,
}

pub(crate) fn recognise(head: &[u8]) -> Recognised {
    let media_type = infer::get(head).map(|kind| kind.mime_type().to_owned());
    let is_short_of = |known: ContentType| !begins_as(head, known);
    let media_type = media_type.filter(|named| !ContentType::parse(named).is_some_and(is_short_of));
    let is_image = media_type
        .as_deref()
        .and_then(ContentType::parse)
        .is_some_and(|known| known.as_str().starts_with("image/"));
    Recognised { dimensions: is_image.then(|| dimensions(head)).flatten(), media_type }
}

/// `infer` is content with a part of these signatures, which may stand in a script as well: `<script>WEBP`, `<!--ftypisom`.
fn begins_as(head: &[u8], known: ContentType) -> bool {
    match known {
        ContentType::Gif => head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a"),
        ContentType::Jpeg => head.starts_with(b"\xff\xd8\xff"),
        ContentType::Png => head.starts_with(b"\x89PNG\r\n\x1a\n"),
        ContentType::Webp => head.starts_with(b"RIFF"),
        // The size of its first box, of four bytes: a few dozen.
        ContentType::Mp4 => head.starts_with(&[0, 0]),
        ContentType::Webm => head.starts_with(b"\x1a\x45\xdf\xa3"),
    }
}

fn dimensions(head: &[u8]) -> Option<Dimensions> {
    let size = imagesize::blob_size(head).ok()?;
    Some(Dimensions { width: size.width.try_into().ok()?, height: size.height.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a PNG of 3 by 2 pixels.
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x03\0\0\0\x02\x08\x02\0\0\0";

    fn media_type(head: &[u8]) -> Option<String> {
        recognise(head).media_type
    }

    #[test]
    fn an_image_is_known_with_its_dimensions() {
        let png = recognise(PNG);
        assert_eq!(png.media_type.as_deref(), Some("image/png"));
        assert_eq!(png.dimensions, Some(Dimensions { width: 3, height: 2 }));
        let gif = recognise(b"GIF89a\x05\0\x04\0\0\0\0");
        assert_eq!(gif.media_type.as_deref(), Some("image/gif"));
        assert_eq!(gif.dimensions, Some(Dimensions { width: 5, height: 4 }));
        // Cut off before its dimensions.
        assert_eq!(recognise(&PNG[..12]).dimensions, None);
    }

    #[test]
    fn videos_are_known() {
        let mp4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom";
        assert_eq!(media_type(mp4).as_deref(), Some("video/mp4"));
        assert_eq!(recognise(mp4).dimensions, None);
        let webm = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm";
        assert_eq!(media_type(webm).as_deref(), Some("video/webm"));
    }

    #[test]
    fn what_could_run_is_none_of_the_types_that_are_taken() {
        let scripts: [&[u8]; 12] = [
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>",
            b"<?xml version=\"1.0\"?><svg/>",
            b"<!DOCTYPE html><script>alert(1)</script>",
            b"  <html>",
            b"%PDF-1.7",
            b"<script>WEBP=1;alert(1)</script>",
            b"<svg a='WEBP' onload='alert(1)' xmlns='http://www.w3.org/2000/svg'/>",
            b"<!--ftypisom--><script>alert(1)</script>",
            b"GIF='';alert(1)",
            b"\x89PNG<script>alert(1)</script>",
            b"PK\x03\x04",
            b"",
        ];
        for head in scripts {
            let media_type = media_type(head);
            let taken = media_type.as_deref().and_then(ContentType::parse);
            assert_eq!(taken, None, "{media_type:?}");
        }
    }
}
