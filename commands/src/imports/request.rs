//! What somebody wants of an import.

use super::dates::DateOrder;
use super::decode::Decoder;
use super::inspect::{Inspector, Wanted};
use super::{CONSENT_SOURCE_MAX_BYTES, ColumnMapping, MAPPED_MAX, NAME_MAX_BYTES};
use crate::CommandError;
use domain::GroupId;
use eventstore::{StoreError, clock};

/// What the people of a file become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImportedStatus {
    /// New people are added to the group, known ones join it, unless they opted out.
    #[default]
    Active,
    /// Everybody is opted out of everything; new people are added to no group.
    OptedOut,
}

impl ImportedStatus {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::OptedOut => "opted_out",
        }
    }

    pub(super) fn parse(stored: &str) -> Result<Self, StoreError> {
        [Self::Active, Self::OptedOut]
            .into_iter()
            .find(|status| status.as_str() == stored)
            .ok_or_else(|| StoreError::Format(format!("an import of {stored:?}")))
    }
}

#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// Whom an import of active people puts where; of opt-outs it is a note alone.
    pub group: Option<GroupId>,
    pub status: ImportedStatus,
    /// `import` where it is absent.
    pub consent_source: Option<String>,
    /// A label for the import itself, such as a file's name.
    pub name: Option<String>,
    /// What columns mean that are not understood by their names, or differently.
    pub columns: ColumnMapping,
    pub date_order: Option<DateOrder>,
    /// What is not UTF-8 is read as Windows-1252. A list of people who opted out always is, so that nobody is lost.
    pub windows_1252: bool,
}

impl ImportRequest {
    pub(super) fn check(&self) -> Result<(), CommandError> {
        check_text("name", self.name.as_deref(), NAME_MAX_BYTES)?;
        check_text("consent_source", self.consent_source.as_deref(), CONSENT_SOURCE_MAX_BYTES)?;
        match self.columns.len() > MAPPED_MAX {
            true => Err(CommandError::invalid("columns", format!("at most {MAPPED_MAX} columns"))),
            false => Ok(()),
        }
    }

    pub(super) fn inspector(&self) -> Inspector {
        let (status, columns, date_order) = (self.status, self.columns.clone(), self.date_order);
        Inspector::new(Wanted { status, columns, date_order }, clock::now())
    }

    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new(self.windows_1252 || self.status == ImportedStatus::OptedOut)
    }
}

fn check_text(field: &str, text: Option<&str>, max_bytes: usize) -> Result<(), CommandError> {
    match text.is_some_and(|text| text.len() > max_bytes || text.contains(char::is_control)) {
        true => {
            Err(CommandError::invalid(field, format!("at most {max_bytes} bytes, and no control characters")))
        }
        false => Ok(()),
    }
}
