//! Pages of lists.

use std::fmt;
use std::str::FromStr;

/// Rows in one page at the most, whatever a caller asks for.
pub const PAGE_MAX: i64 = 1_000;

/// Where a list goes on: opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub(crate) i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is malformed")]
pub struct MalformedCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Cursor {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_ours = !text.starts_with(['+', '-']);
        i64::from_str_radix(text, 16).ok().filter(|_| is_ours).map(Self).ok_or(MalformedCursor)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<Cursor>,
}

/// How much of a list is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    after: Option<Cursor>,
    limit: i64,
}

impl Slice {
    /// `limit` is brought into 1 to [`PAGE_MAX`].
    pub fn new(after: Option<Cursor>, limit: i64) -> Self {
        Self { after, limit: limit.clamp(1, PAGE_MAX) }
    }

    /// Whether it is the list's beginning.
    pub fn is_first(self) -> bool {
        self.after.is_none()
    }

    /// One row more than wanted shows whether the list goes on.
    pub(crate) fn fetch(self) -> i64 {
        self.limit + 1
    }

    /// For lists by falling position: rows below it are wanted.
    pub(crate) fn below(self) -> i64 {
        self.after.map_or(i64::MAX, |cursor| cursor.0)
    }

    /// For lists by rising key: rows above it are wanted.
    pub(crate) fn above(self) -> i64 {
        self.after.map_or(-1, |cursor| cursor.0)
    }

    /// `key` is what the list is ordered by.
    pub(crate) fn page<T>(self, mut items: Vec<T>, key: impl Fn(&T) -> i64) -> Page<T> {
        let wanted = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let goes_on = items.len() > wanted;
        items.truncate(wanted);
        let next_cursor = items.last().filter(|_| goes_on).map(|last| Cursor(key(last)));
        Page { items, next_cursor }
    }
}

/// Goes through a whole list, a page at a time, for files of any length.
#[derive(Debug)]
pub(crate) struct Walk {
    next: Option<Option<Cursor>>,
}

impl Walk {
    pub fn start() -> Self {
        Self { next: Some(None) }
    }

    /// The next part to ask for; `None` after the last.
    pub fn slice(&self) -> Option<Slice> {
        self.next.map(|after| Slice::new(after, PAGE_MAX))
    }

    /// What the page held; `None` where it is the end.
    pub fn step<T>(&mut self, page: Page<T>) -> Option<Vec<T>> {
        self.next = page.next_cursor.map(Some);
        Some(page.items).filter(|items| !items.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_and_nonsense_is_refused() {
        for key in [0, 255, i64::MAX] {
            assert_eq!(Cursor(key).to_string().parse(), Ok(Cursor(key)));
        }
        for nonsense in ["", "-1", "+1", "zz", "ffffffffffffffffff"] {
            assert_eq!(nonsense.parse::<Cursor>(), Err(MalformedCursor));
        }
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let slice = Slice::new(None, 2);
        assert_eq!(
            slice.page(vec![9, 8, 7], |n| *n),
            Page { items: vec![9, 8], next_cursor: Some(Cursor(8)) }
        );
        assert_eq!(slice.page(vec![9, 8], |n| *n).next_cursor, None);
    }
}
