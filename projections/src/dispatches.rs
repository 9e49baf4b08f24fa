//! The states of a dispatch's recipients as one text, so that the aggregate's own rules say what an event changes.
//!
//! Two read models need this. Each keeps a table of its own, written with its own checkpoints.

use crate::ApplyError;
use crate::streams;
use cqrs_es::Aggregate;
use domain::dispatch::{Dispatch, DispatchEvent, State};
use domain::{CampaignId, DispatchId, PermitId, Sequence, SubscriberId};
use eventstore::LogEvent;
use sqlx::PgConnection;
use sqlx::types::Json;
use std::collections::BTreeMap;

#[derive(sqlx::FromRow)]
struct Row {
    dispatch_id: DispatchId,
    campaign_id: CampaignId,
    page: i32,
    version: i64,
    cancelled: bool,
    states: String,
    template_version: Option<i64>,
    /// One for each recipient, or none at all.
    template_versions: Option<Json<Vec<Option<Sequence>>>>,
}

/// The dispatches as far as their rules need them: ids of recipients and permits are nil.
pub(crate) async fn load(
    tx: &mut PgConnection,
    table: &str,
    ids: &[DispatchId],
) -> Result<BTreeMap<DispatchId, Dispatch>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let select = format!("SELECT * FROM {table} WHERE dispatch_id = ANY($1)");
    let rows: Vec<Row> = sqlx::query_as(&select).bind(ids).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|row| (row.dispatch_id, restore(&row))).collect())
}

fn restore(row: &Row) -> Dispatch {
    let mut dispatch = Dispatch::default();
    dispatch.apply(DispatchEvent::Planned {
        campaign_id: row.campaign_id,
        page: row.page.cast_unsigned(),
        recipients: vec![SubscriberId::nil(); row.states.len()],
    });
    for (recipient, letter) in dispatch.recipients.iter_mut().zip(row.states.chars()) {
        recipient.state = state(letter);
    }
    let versions = row.template_versions.iter().flat_map(|versions| &versions.0);
    for (recipient, version) in dispatch.recipients.iter_mut().zip(versions) {
        recipient.template_version = *version;
    }
    dispatch.template_version = row.template_version.map(i64::cast_unsigned);
    dispatch.version = row.version.cast_unsigned();
    dispatch.cancelled = row.cancelled;
    dispatch
}

/// Applies an event that must follow the dispatch's last one.
pub(crate) fn apply(
    dispatch: &mut Dispatch,
    event: &LogEvent,
    decoded: DispatchEvent,
) -> Result<(), ApplyError> {
    streams::check_follows(dispatch.version, event)?;
    if matches!(decoded, DispatchEvent::Planned { .. }) != (dispatch.version == 0) {
        return Err(ApplyError::event(event, "a dispatch is planned first, and once"));
    }
    dispatch.apply(decoded);
    Ok(())
}

pub(crate) async fn store(
    tx: &mut PgConnection,
    table: &str,
    dispatches: &BTreeMap<DispatchId, Dispatch>,
) -> Result<(), sqlx::Error> {
    if dispatches.is_empty() {
        return Ok(());
    }
    let letters =
        |dispatch: &Dispatch| dispatch.recipients.iter().map(|r| letter(r.state)).collect::<String>();
    let upsert = format!(
        "INSERT INTO {table} (dispatch_id, campaign_id, page, version, cancelled, states, template_version,
             template_versions)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::bigint[], $5::boolean[], $6::text[],
             $7::bigint[], $8::jsonb[])
         ON CONFLICT (dispatch_id) DO UPDATE SET
             version = excluded.version, cancelled = excluded.cancelled, states = excluded.states,
             template_version = excluded.template_version, template_versions = excluded.template_versions"
    );
    sqlx::query(&upsert)
        .bind(dispatches.keys().copied().collect::<Vec<_>>())
        .bind(dispatches.values().map(|d| d.campaign_id).collect::<Vec<_>>())
        .bind(dispatches.values().map(|d| d.page.cast_signed()).collect::<Vec<_>>())
        .bind(dispatches.values().map(|d| d.version.cast_signed()).collect::<Vec<_>>())
        .bind(dispatches.values().map(|d| d.cancelled).collect::<Vec<_>>())
        .bind(dispatches.values().map(letters).collect::<Vec<_>>())
        .bind(dispatches.values().map(|d| d.template_version.map(Sequence::cast_signed)).collect::<Vec<_>>())
        .bind(dispatches.values().map(template_versions).collect::<Vec<_>>())
        .execute(tx)
        .await
        .map(drop)
}

/// Of few dispatches: none where each mail is of the version that the campaign was frozen with.
fn template_versions(dispatch: &Dispatch) -> Option<Json<Vec<Option<Sequence>>>> {
    dispatch.template_version?;
    Some(Json(dispatch.recipients.iter().map(|r| r.template_version).collect()))
}

/// `O` is pending to the outside, with a permit open.
pub(crate) fn letter(state: State) -> char {
    match state {
        State::Pending => 'P',
        State::Authorized(_) => 'O',
        State::Accepted => 'A',
        State::Suppressed => 'S',
        State::Rejected => 'R',
        State::Unknown(_) => 'U',
        State::Cancelled => 'C',
    }
}

fn state(letter: char) -> State {
    match letter {
        'O' => State::Authorized(PermitId::nil()),
        'A' => State::Accepted,
        'S' => State::Suppressed,
        'R' => State::Rejected,
        'U' => State::Unknown(PermitId::nil()),
        'C' => State::Cancelled,
        _ => State::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_a_letter_of_its_own() {
        let permit = PermitId::nil();
        let states = [
            State::Pending,
            State::Authorized(permit),
            State::Accepted,
            State::Suppressed,
            State::Rejected,
            State::Unknown(permit),
            State::Cancelled,
        ];
        for one in states {
            assert_eq!(state(letter(one)), one);
        }
    }
}
