//! Enforces guards in the transaction of the append, before the events. Each kind is one statement for the whole
//! batch, its rows locked in the order of their keys.

use crate::{StoreError, sealing, uses};
use domain::guard::{CampaignGate, ChoiceMail, DispatchWork, Gate, MediaFile, Removed, Use};
use domain::{AddressHash, CampaignId, Guard, SubscriberId};
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::collections::HashSet;

#[derive(Default)]
struct Sorted {
    uses: Vec<Use>,
    shown: Vec<String>,
    removed: Vec<Removed>,
    campaigns: Vec<CampaignGate>,
    set: Vec<Gate>,
    claimed: Vec<Gate>,
    reclaimed: Vec<AddressHash>,
    dispatches: Vec<DispatchWork>,
    media: Vec<MediaFile>,
    erased: Vec<SubscriberId>,
    choices: Vec<ChoiceMail>,
}

/// Returns the addresses that were claimed and belong to somebody else already.
pub(crate) async fn enforce(
    tx: &mut PgConnection,
    guards: Vec<Guard>,
) -> Result<HashSet<AddressHash>, StoreError> {
    let mut sorted = Sorted::default();
    for guard in guards {
        match guard {
            Guard::Use(wanted) => sorted.uses.push(wanted),
            Guard::Show(text) => sorted.shown.push(text),
            Guard::Remove(removed) => sorted.removed.push(removed),
            Guard::Campaign(gate) => sorted.campaigns.push(gate),
            Guard::SetGate(gate) => sorted.set.push(gate),
            Guard::ClaimGate(gate) => sorted.claimed.push(gate),
            Guard::ReclaimGate(gate) => {
                sorted.reclaimed.push(gate.address);
                sorted.claimed.push(gate);
            }
            Guard::Dispatch(work) => sorted.dispatches.push(work),
            Guard::Media(file) => sorted.media.push(file),
            Guard::Erase(subscriber) => sorted.erased.push(subscriber),
            Guard::ChoiceMail(mail) => sorted.choices.push(mail),
        }
    }
    for wanted in sorted.uses {
        uses::begin(tx, wanted).await?;
    }
    for text in &sorted.shown {
        uses::show(tx, text).await?;
    }
    for removed in sorted.removed {
        uses::remove(tx, removed).await?;
    }
    sorted.campaigns.sort_by_key(|gate| gate.campaign);
    for gate in &sorted.campaigns {
        set_campaign(tx, gate).await?;
    }
    lock_gates(tx, sorted.set.iter().chain(&sorted.claimed)).await?;
    sorted.set.sort_by_key(|gate| gate.address);
    set_gates(tx, &sorted.set).await?;
    sorted.claimed.sort_by_key(|gate| gate.address);
    let taken = claim_gates(tx, &sorted.claimed, &sorted.reclaimed).await?;
    sorted.dispatches.sort_by_key(|work| work.dispatch);
    set_dispatches(tx, &sorted.dispatches).await?;
    for file in &sorted.media {
        set_media_file(tx, file).await?;
    }
    sorted.erased.sort_unstable();
    erase(tx, &sorted.erased).await?;
    note_choices(tx, &sorted.choices).await?;
    Ok(taken)
}

/// The advisory lock of a campaign: shared by what sends or pages, exclusive for what changes its state. Row locks
/// would let a stream of sharers starve a pause.
pub fn campaign_lock(campaign: CampaignId) -> i64 {
    let (high, low) = campaign.as_u64_pair();
    (high ^ low).cast_signed()
}

async fn set_campaign(tx: &mut PgConnection, gate: &CampaignGate) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(campaign_lock(gate.campaign))
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO campaign_gates (campaign_id, template_id, group_id, status, due_at, template_version)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (campaign_id) DO UPDATE SET template_id = excluded.template_id, group_id = excluded.group_id,
             status = excluded.status, due_at = excluded.due_at, template_version = excluded.template_version",
    )
    .bind(gate.campaign)
    .bind(gate.template)
    .bind(gate.group)
    .bind(gate.status)
    .bind(gate.due_at)
    .bind(gate.template_version.cast_signed())
    .execute(tx)
    .await?;
    Ok(())
}

/// All that are there, in the order of their hashes, before any is set or claimed: of two appends that set and claim the same ones
/// none waits for the other with something that the other needs.
async fn lock_gates(tx: &mut PgConnection, gates: impl Iterator<Item = &Gate>) -> Result<(), StoreError> {
    let hashes: Vec<&[u8]> = gates.map(|gate| gate.address.0.as_slice()).collect();
    if hashes.len() > 1 {
        let lock = "SELECT FROM gates WHERE address_hash = ANY($1) ORDER BY address_hash FOR NO KEY UPDATE";
        sqlx::query(lock).bind(hashes).execute(tx).await?;
    }
    Ok(())
}

async fn set_gates(tx: &mut PgConnection, gates: &[Gate]) -> Result<(), StoreError> {
    if gates.is_empty() {
        return Ok(());
    }
    let hashes: Vec<&[u8]> = gates.iter().map(|gate| gate.address.0.as_slice()).collect();
    let done = sqlx::query(
        "UPDATE gates SET suppressed = new.suppressed, groups = new.groups, is_left = new.is_left
         FROM unnest($1::bytea[], $2::uuid[], $3::bool[], $4::jsonb[], $5::bool[])
             AS new (hash, subscriber, suppressed, groups, is_left)
         WHERE gates.address_hash = new.hash AND gates.subscriber_id = new.subscriber",
    )
    .bind(&hashes)
    .bind(gates.iter().map(|gate| gate.subscriber).collect::<Vec<_>>())
    .bind(gates.iter().map(|gate| gate.suppressed).collect::<Vec<_>>())
    .bind(gates.iter().map(groups_json).collect::<Vec<_>>())
    .bind(gates.iter().map(|gate| gate.is_left).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    match done.rows_affected() == gates.len() as u64 {
        true => Ok(()),
        false => Err(StoreError::Conflict),
    }
}

/// Of an address that somebody left: they never opted out, so whoever has it now can be added. Most such addresses were
/// never theirs, but typed by mistake.
pub const LEFT_WITHOUT_OPT_OUT: &str = "gates.is_left AND NOT EXISTS (
    SELECT FROM events e WHERE e.aggregate_type = 'subscriber' AND e.aggregate_id = gates.subscriber_id::text
        AND e.event_type = 'SubscriberOptedOut')";

/// An address that somebody left can be taken again by the same person, and by others where that person never opted out.
/// Who proved that it is theirs gets it in any case, also where its person was erased.
async fn claim_gates(
    tx: &mut PgConnection,
    gates: &[Gate],
    reclaimed: &[AddressHash],
) -> Result<HashSet<AddressHash>, StoreError> {
    if gates.is_empty() {
        return Ok(HashSet::new());
    }
    let claim = format!(
        "INSERT INTO gates (address_hash, hash_key_id, subscriber_id, suppressed, groups)
         SELECT * FROM unnest($1::bytea[], $2::text[], $3::uuid[], $4::bool[], $5::jsonb[])
         ON CONFLICT (address_hash) DO UPDATE
             SET subscriber_id = excluded.subscriber_id, hash_key_id = excluded.hash_key_id,
                 suppressed = excluded.suppressed, groups = excluded.groups, is_left = false
             WHERE gates.subscriber_id = excluded.subscriber_id AND gates.is_left
                OR {LEFT_WITHOUT_OPT_OUT}
                OR gates.address_hash = ANY($6) AND (gates.is_left OR EXISTS (
                    SELECT FROM subject_keys k
                    WHERE k.subject_id = gates.subscriber_id AND k.destroyed_at IS NOT NULL))
         RETURNING address_hash"
    );
    let won: Vec<Vec<u8>> = sqlx::query_scalar(&claim)
        .bind(gates.iter().map(|gate| gate.address.0.as_slice()).collect::<Vec<_>>())
        .bind(gates.iter().map(|gate| gate.hash_key_id.as_str()).collect::<Vec<_>>())
        .bind(gates.iter().map(|gate| gate.subscriber).collect::<Vec<_>>())
        .bind(gates.iter().map(|gate| gate.suppressed).collect::<Vec<_>>())
        .bind(gates.iter().map(groups_json).collect::<Vec<_>>())
        .bind(reclaimed.iter().map(|hash| hash.0.as_slice()).collect::<Vec<_>>())
        .fetch_all(tx)
        .await?;
    let won: HashSet<&[u8]> = won.iter().map(Vec::as_slice).collect();
    Ok(gates.iter().map(|gate| gate.address).filter(|hash| !won.contains(hash.0.as_slice())).collect())
}

fn groups_json(gate: &Gate) -> Value {
    gate.groups.iter().map(|(group, consent)| (group.to_string(), json!(consent))).collect()
}

async fn set_dispatches(tx: &mut PgConnection, works: &[DispatchWork]) -> Result<(), StoreError> {
    if works.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO dispatch_work (dispatch_id, campaign_id, page, last_subscriber, recipients, pending, mailer)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::uuid[], $5::int[], $6::int[], $7::text[])
         ON CONFLICT (dispatch_id) DO UPDATE SET pending = excluded.pending",
    )
    .bind(works.iter().map(|work| work.dispatch).collect::<Vec<_>>())
    .bind(works.iter().map(|work| work.campaign).collect::<Vec<_>>())
    .bind(works.iter().map(|work| work.page.cast_signed()).collect::<Vec<_>>())
    .bind(works.iter().map(|work| work.last_subscriber).collect::<Vec<_>>())
    .bind(works.iter().map(|work| work.recipients.cast_signed()).collect::<Vec<_>>())
    .bind(works.iter().map(|work| work.pending.cast_signed()).collect::<Vec<_>>())
    .bind(works.iter().map(|work| work.mailer.as_deref()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

async fn set_media_file(tx: &mut PgConnection, file: &MediaFile) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO media_files (media_id, key, status, arrives_until) VALUES ($1, $2, $3, $4)
         ON CONFLICT (media_id) DO UPDATE SET status = excluded.status, removed_at = NULL",
    )
    .bind(file.media)
    .bind(&file.key)
    .bind(file.status)
    .bind(file.arrives_until)
    .execute(tx)
    .await?;
    Ok(())
}

async fn erase(tx: &mut PgConnection, subscribers: &[SubscriberId]) -> Result<(), StoreError> {
    if subscribers.is_empty() {
        return Ok(());
    }
    sealing::destroy(&mut *tx, subscribers).await?;
    let note = "INSERT INTO erasures (subscriber_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING";
    sqlx::query(note).bind(subscribers).execute(tx).await?;
    Ok(())
}

async fn note_choices(tx: &mut PgConnection, mails: &[ChoiceMail]) -> Result<(), StoreError> {
    if mails.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO opt_out_mails (subscriber_id, opt_out, scope, opted_in)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::jsonb[], $4::boolean[])",
    )
    .bind(mails.iter().map(|mail| mail.subscriber).collect::<Vec<_>>())
    .bind(mails.iter().map(|mail| mail.sequence.cast_signed()).collect::<Vec<_>>())
    .bind(mails.iter().map(|mail| json!(mail.scope)).collect::<Vec<_>>())
    .bind(mails.iter().map(|mail| mail.opted_in).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}
