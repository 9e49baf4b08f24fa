//! A set of what a value may be.

use minijinja::Value;
use minijinja::value::ValueKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// A reader's field, as it is or changed as text: it may look like a number.
    pub field: bool,
    /// Text that the template itself has or makes.
    pub text: bool,
    pub number: bool,
    pub truth: bool,
    /// Values of a map, which differ: which of them this is can't be told.
    pub mixed: bool,
    /// Levels of lists and maps around the scalars, at the most: 0 is a scalar.
    pub depth: u8,
    /// Values within values that dropping or iterating goes through: more than `depth` where a part of a list, or
    /// lists in a row, keep the lists that they are made of.
    pub nesting: u8,
}

impl Kind {
    pub const NOTHING: Self =
        Self { field: false, text: false, number: false, truth: false, mixed: false, depth: 0, nesting: 0 };
    pub const FIELD: Self = Self { field: true, ..Self::NOTHING };
    pub const TEXT: Self = Self { text: true, ..Self::NOTHING };
    pub const NUMBER: Self = Self { number: true, ..Self::NOTHING };
    pub const TRUTH: Self = Self { truth: true, ..Self::NOTHING };

    pub fn of(value: &Value) -> Self {
        match value.kind() {
            ValueKind::Number => Self::NUMBER,
            ValueKind::String | ValueKind::Bytes => Self::TEXT,
            ValueKind::Bool => Self::TRUTH,
            _ => Self::NOTHING,
        }
    }

    pub fn or(self, other: Self) -> Self {
        Self {
            field: self.field | other.field,
            text: self.text | other.text,
            number: self.number | other.number,
            truth: self.truth | other.truth,
            mixed: self.mixed | other.mixed,
            depth: self.depth.max(other.depth),
            nesting: self.nesting.max(other.nesting),
        }
    }

    pub fn is_scalar(self) -> bool {
        self.depth == 0
    }

    pub fn is_text(self) -> bool {
        self.field || self.text
    }

    /// Whether it is text where a number is wanted.
    pub fn is_no_number(self) -> bool {
        !self.mixed && (self.field || (self.text && !self.number))
    }

    /// What it holds, without what it is: the text of a reader's field stays one.
    pub fn as_text(self) -> Self {
        if self.field { Self::FIELD } else { Self::TEXT }
    }

    /// A list or map that holds this.
    pub fn listed(self) -> Self {
        Self { depth: self.depth.saturating_add(1), nesting: self.nesting.saturating_add(1), ..self }
    }

    /// A list or map of the same that keeps the one that it is made of.
    pub fn kept(self) -> Self {
        Self { nesting: self.nesting.saturating_add(1), ..self }
    }

    /// An item of this list or map, or a character of this text.
    pub fn item(self) -> Self {
        let depth = self.depth.saturating_sub(1);
        let nesting = if depth == 0 { 0 } else { self.nesting.saturating_sub(1) };
        Self { depth, nesting, ..self }
    }

    /// All that is in it, as one list.
    pub fn items(self) -> Self {
        self.item().listed()
    }
}
