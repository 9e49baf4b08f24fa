//! What campaigns use does not go while they are under way.
//!
//! Whoever comes to use a thing takes its lock shared, whoever removes it alone, and both look in the statement behind the lock: of two
//! at the same time one sees the other. Behind the idempotency key and before the campaign in the order of locks; those who use take
//! the lock of media first, then those of group and template by number.

use crate::StoreError;
use domain::guard::{Removed, Use};
use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

/// Of all media together: a template shows any number, and few are ever removed.
const MEDIA: i64 = 0x006d_6564_6961;

/// Of a group or a template.
fn lock_of(id: Uuid) -> i64 {
    let (high, low) = id.as_u64_pair();
    (high ^ low).cast_signed()
}

pub(crate) async fn begin(tx: &mut PgConnection, wanted: Use) -> Result<(), StoreError> {
    let mut locks = [lock_of(wanted.group), lock_of(wanted.template)];
    locks.sort_unstable();
    for lock in [MEDIA].into_iter().chain(locks) {
        query("SELECT pg_advisory_xact_lock_shared($1)").bind(lock).execute(&mut *tx).await?;
    }
    let mut shown = String::new();
    for (thing, id, gone) in
        [("group", wanted.group, "GroupDeleted"), ("template", wanted.template, "TemplateDeleted")]
    {
        let last =
            "SELECT event_type, payload::text FROM events WHERE aggregate_type = $1 AND aggregate_id = $2
                    ORDER BY sequence DESC LIMIT 1";
        let last: Option<(String, String)> =
            query_as(last).bind(thing).bind(id.to_string()).fetch_optional(&mut *tx).await?;
        match last {
            Some((event, payload)) if event != gone => shown = payload,
            Some(_) | None => return Err(StoreError::Gone(thing)),
        }
    }
    // The template's comes last.
    require_media(tx, &shown).await
}

/// A template that may be in use is saved with this text.
pub(crate) async fn show(tx: &mut PgConnection, text: &str) -> Result<(), StoreError> {
    query("SELECT pg_advisory_xact_lock_shared($1)").bind(MEDIA).execute(&mut *tx).await?;
    require_media(tx, text).await
}

/// None that the text names was deleted.
async fn require_media(tx: &mut PgConnection, text: &str) -> Result<(), StoreError> {
    let gone = "SELECT EXISTS (
        SELECT FROM regexp_matches(lower($1), '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'g') id
        JOIN events m ON m.aggregate_type = 'media' AND m.aggregate_id = id[1] AND m.event_type = 'MediaDeleted')";
    let gone: bool = query_scalar(gone).bind(text).fetch_one(tx).await?;
    match gone {
        true => Err(StoreError::Gone("medium")),
        false => Ok(()),
    }
}

pub(crate) async fn remove(tx: &mut PgConnection, removed: Removed) -> Result<(), StoreError> {
    let (lock, id, looks) = match removed {
        Removed::Group(id) => (lock_of(id), id, USES_GROUP),
        Removed::Template(id) => (lock_of(id), id, USES_TEMPLATE),
        Removed::Medium(id) => (MEDIA, id, SHOWS_MEDIUM),
    };
    query("SELECT pg_advisory_xact_lock($1)").bind(lock).execute(&mut *tx).await?;
    let used: Option<String> = query_scalar(looks).bind(id.to_string()).fetch_optional(tx).await?;
    match used {
        None => Ok(()),
        Some(status) => Err(StoreError::InUse(status)),
    }
}

const USES_GROUP: &str = "SELECT status FROM campaign_gates
    WHERE group_id = $1::uuid AND status IN ('scheduled', 'freezing', 'sending', 'paused') LIMIT 1";

const USES_TEMPLATE: &str = "SELECT status FROM campaign_gates
    WHERE template_id = $1::uuid AND status IN ('scheduled', 'freezing', 'sending', 'paused') LIMIT 1";

/// A template names a medium by its id, in a call or in a URL. What is scheduled will take the template's last version; what is
/// under way has taken one of them.
const SHOWS_MEDIUM: &str = "SELECT g.status FROM campaign_gates g JOIN events e
        ON e.aggregate_type = 'template' AND e.aggregate_id = g.template_id::text
    WHERE g.status IN ('scheduled', 'freezing', 'sending', 'paused') AND strpos(e.payload::text, $1) > 0
        AND (g.status <> 'scheduled' OR e.sequence = (
            SELECT max(sequence) FROM events WHERE aggregate_type = 'template' AND aggregate_id = e.aggregate_id))
    LIMIT 1";
