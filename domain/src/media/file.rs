//! What a file is: its type, its checksum, its name in the store.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Of the name in the store.
pub const FILE_NAME_MAX_BYTES: usize = 100;

/// What may be uploaded. All of it is shown and none of it is run: SVG and HTML may hold scripts, and are no types here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentType {
    #[serde(rename = "image/gif")]
    Gif,
    #[serde(rename = "image/jpeg")]
    Jpeg,
    #[serde(rename = "image/png")]
    Png,
    #[serde(rename = "image/webp")]
    Webp,
    #[serde(rename = "video/mp4")]
    Mp4,
    #[serde(rename = "video/webm")]
    Webm,
}

impl ContentType {
    pub const ALL: [Self; 6] = [Self::Gif, Self::Jpeg, Self::Png, Self::Webp, Self::Mp4, Self::Webm];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gif => "image/gif",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Mp4 => "video/mp4",
            Self::Webm => "video/webm",
        }
    }

    /// In any case (RFC 9110 section 8.3.1); `image/jpg` is what many programs call a JPEG.
    pub fn parse(media_type: &str) -> Option<Self> {
        let media_type = media_type.trim();
        if media_type.eq_ignore_ascii_case("image/jpg") {
            return Some(Self::Jpeg);
        }
        Self::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(media_type))
    }

    /// The ending of a file's name.
    fn extension(self) -> &'static str {
        match self {
            Self::Gif => "gif",
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Mp4 => "mp4",
            Self::Webm => "webm",
        }
    }
}

/// A file's name in the store: the last part of what the client calls it, of letters, digits, `-` and `_` alone, with the
/// ending of its type. It is no path, hides nothing, and needs no escaping in a URL.
pub fn safe_name(filename: &str, content_type: ContentType) -> String {
    let last = filename.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
    let mut safe = String::new();
    for c in stem.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' => safe.push(c),
            _ if safe.is_empty() || safe.ends_with('-') => {}
            _ => safe.push('-'),
        }
    }
    let extension = content_type.extension();
    safe.truncate(FILE_NAME_MAX_BYTES - extension.len() - 1);
    let stem = safe.trim_end_matches('-');
    format!("{}.{extension}", if stem.is_empty() { "file" } else { stem })
}

/// The SHA-256 of a file, in hex where it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a SHA-256 in 64 hex digits")]
pub struct NotAChecksum;

impl FromStr for Sha256 {
    type Err = NotAChecksum;

    fn from_str(hex: &str) -> Result<Self, NotAChecksum> {
        crate::hex::parse(hex).map(Self).ok_or(NotAChecksum)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::hex::write(&self.0, f)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_the_last_part_and_has_the_ending_of_its_type() {
        let cases = [
            ("photo.png", "photo.png"),
            ("Sommer Fest (1).PNG", "Sommer-Fest-1.png"),
            ("../../etc/passwd", "passwd.png"),
            ("..\\..\\boot.ini", "boot.png"),
            ("%2e%2e%2fetc%2fpasswd", "2e-2e-2fetc-2fpasswd.png"),
            ("..%c0%af..%c0%afx", "c0-af.png"),
            ("evil.html", "evil.png"),
            ("photo.png.exe", "photo-png.png"),
            (".htaccess", "file.png"),
            ("..", "file.png"),
            ("", "file.png"),
            ("浩.png", "file.png"),
            ("a\r\nX-Amz-Acl: public.png", "a-X-Amz-Acl-public.png"),
            ("a?x=1#y&z", "a-x-1-y-z.png"),
            ("nul\0.png", "nul.png"),
        ];
        for (filename, safe) in cases {
            assert_eq!(safe_name(filename, ContentType::Png), safe, "{filename:?}");
        }
    }

    #[test]
    fn types_are_read_as_they_are_written_and_stored() {
        for known in ContentType::ALL {
            assert_eq!(ContentType::parse(known.as_str()), Some(known));
            assert_eq!(serde_json::to_value(known).unwrap(), known.as_str());
        }
        for (written, known) in [("IMAGE/PNG", ContentType::Png), ("image/jpg", ContentType::Jpeg)] {
            assert_eq!(ContentType::parse(written), Some(known));
        }
        for refused in ["image/svg+xml", "text/html", "application/xhtml+xml", "image/png;x=y", ""] {
            assert_eq!(ContentType::parse(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_checksum_is_64_hex_digits() {
        let text = "ab".repeat(32);
        let checksum: Sha256 = text.parse().unwrap();
        assert_eq!((checksum.to_string(), "AB".repeat(32).parse()), (text, Ok(checksum)));
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &"ä".repeat(32)] {
            assert_eq!(bad.parse::<Sha256>(), Err(NotAChecksum), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_it_is_called_its_name_is_safe(filename in "\\PC{0,300}|[./\\\\%a-z]{0,300}") {
            let safe = safe_name(&filename, ContentType::Jpeg);
            let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            let stem = safe.strip_suffix(".jpg").unwrap();
            prop_assert!(!stem.is_empty() && stem.chars().all(is_safe) && !stem.starts_with('-'), "{}", safe);
            prop_assert!(safe.len() <= FILE_NAME_MAX_BYTES);
        }
    }
}
