//! Importing subscribers from the CSV export of another tool.
//!
//! A body is checked, sealed and spooled into Postgres while it is uploaded, and worked through afterwards in batches by
//! whatever worker is free. A batch's events, its counts, its rejected rows and the place of the next row are written in
//! one transaction, so that after a crash at any point another worker goes on exactly, and no row is counted twice.
//!
//! - An import never revives an opt-out: whoever opted out of everything, or of the group, is kept as they are.
//! - At every moment `rows = created + updated + unchanged + kept_opted_out + rejected`.
//! - A value that is empty in a row erases nothing; one that is not wins.
//! - The whole file is looked at while it is uploaded. A word about consent that is not understood, or an order of dates
//!   that nothing tells, refuses it: nobody becomes active by a guess. How it was understood is kept with the import.
//! - Of a list of people who opted out every address counts that can be read, however broken its row is.
//! - What cannot be imported as a whole (no column for the address, not UTF-8, an open quote) is refused at once and
//!   leaves nothing behind; a row that cannot be taken is listed with its line.

mod addresses;
mod batch;
mod cancel;
mod columns;
mod dates;
mod decide;
mod decode;
mod dry_run;
mod erasure;
mod header;
mod inspect;
mod layout;
mod lease;
mod meaning;
mod people;
mod quota;
mod rejected;
mod request;
mod row;
mod scan;
mod splitter;
mod spool;
mod start;
mod status;
mod words;
mod worker;

pub use dates::DateOrder;
pub use dry_run::{DryRun, ReadColumn};
pub(crate) use erasure::erase_rejected;
pub use layout::ColumnMapping;
pub use meaning::{MEANINGS, Meaning};
pub use quota::Quota;
pub use rejected::RejectedRow;
pub use request::{ImportRequest, ImportedStatus};
pub use scan::{SampleRow, Warning, WarningCode};
pub use status::{ImportStatus, Understood};

/// Of one upload; the HTTP layer may allow less.
pub const BODY_MAX_BYTES: i64 = 1 << 30;
/// Rejected rows that are listed; more are counted only, and the reason says [`REASON_LIST_CUT`].
pub const REJECTED_MAX: i64 = 100_000;
/// Rejected rows that one call answers.
pub const REJECTED_PAGE_MAX: i64 = 10_000;
/// Imports that one call answers.
pub const PAGE_MAX: i64 = 500;

/// Why an import failed: somebody cancelled it.
pub const REASON_CANCELLED: &str = "cancelled";
/// Why an import failed: its group was deleted meanwhile.
pub const REASON_GROUP_DELETED: &str = "group_deleted";
/// Why an import failed: it was uploaded to an earlier release, and cannot be understood as a whole.
pub const REASON_NOT_UNDERSTOOD: &str = "not_understood";
/// Why an import failed: so many workers in a row died with it that it is to blame. What they wrote stays.
pub const REASON_WORKER_DIED: &str = "worker_died";
/// Why an import failed, or waits to be tried again: an error of our own; the log has it.
pub const REASON_INTERNAL: &str = "internal_error";
/// Why an import waits: the database was busy or away; it goes on by itself.
pub const REASON_WAITING: &str = "waiting_for_database";
/// What a completed import lacks: rejected rows beyond [`REJECTED_MAX`] are counted, not listed.
pub const REASON_LIST_CUT: &str = "rejected_list_cut";

/// Plain bytes in each chunk of the spool but the last.
const CHUNK_BYTES: usize = 256 * 1024;
/// The header row lies in the first chunk.
const HEADER_MAX_BYTES: usize = 64 * 1024;
/// Longer rows mean an open quote.
const ROW_MAX_BYTES: i64 = 1024 * 1024;
/// In a list of people who opted out an open quote ends so far behind its row's start. Everybody in it counts, in one batch.
const LIST_ROW_MAX_BYTES: i64 = 64 * 1024;
/// Columns that a mapping may name.
const MAPPED_MAX: usize = 1_000;
/// A batch ends at whichever comes first. Two are in memory: one that is written, one that is read ahead. With them are
/// the details of the known people in a batch, bounded by what one person may have (`attributes`).
const BATCH_ROWS: usize = 1_000;
const BATCH_BYTES: i64 = 1024 * 1024;
/// Of a person's name, and of an import's own.
const NAME_MAX_BYTES: usize = 300;
const CONSENT_SOURCE_MAX_BYTES: usize = 200;
/// Of an address that was rejected.
const REJECTED_VALUE_MAX_BYTES: usize = 200;
