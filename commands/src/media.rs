//! Media: announced here, uploaded to the object store, looked at by the caller and decided on here.

use crate::{CommandError, Commands, Context};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use domain::MediaId;
use domain::media::{ContentType, Found, Media, MediaCommand, MediaError, Sha256, Upload, safe_name};
use eventstore::{Done, clock, ids, load, load_each};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An upload may begin for so long after it was asked for.
pub const UPLOAD_BEGINS_WITHIN: TimeDelta = TimeDelta::minutes(15);

#[derive(Debug, Clone)]
pub struct NewMedium {
    pub filename: String,
    pub content_type: ContentType,
    pub size_bytes: u64,
    pub sha256: Sha256,
}

impl NewMedium {
    /// Where it will be, and for how long it may be brought there. Nothing is recorded yet.
    pub fn announce(self) -> (MediaId, Upload) {
        let (id, requested_at) = (ids::new_id(), clock::now().trunc_subsecs(0));
        let upload = Upload {
            key: format!("media/{id}/{}", safe_name(&self.filename, self.content_type)),
            filename: self.filename,
            content_type: self.content_type,
            size_bytes: self.size_bytes,
            sha256: self.sha256,
            requested_at,
            expires_at: requested_at + UPLOAD_BEGINS_WITHIN,
        };
        (id, upload)
    }
}

/// What is in the store, or may come there, and has no place there any more.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct UnwantedFile {
    pub media_id: MediaId,
    pub key: String,
    /// It was removed before.
    pub again: bool,
}

impl From<MediaError> for CommandError {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Unknown => Self::NotFound("medium"),
            MediaError::Exists => Self::Conflict,
            MediaError::NothingThere => Self::forbidden("requested", error.to_string()),
            MediaError::Expired => Self::forbidden("expired", error.to_string()),
        }
    }
}

impl Commands {
    /// `id` is the one that `upload` was announced with.
    pub async fn request_medium(
        &self,
        context: &Context,
        id: MediaId,
        upload: Upload,
    ) -> Result<Done, CommandError> {
        let request = context.request_for_new(json!({ "media_id": id }));
        Ok(self.store.execute::<Media>(id, MediaCommand::Request(upload), request).await?)
    }

    /// Decides on what was found at its key. Whoever asks again gets no other decision, whatever is found then.
    pub async fn complete_medium(
        &self,
        context: &Context,
        id: MediaId,
        found: Option<Found>,
    ) -> Result<Done, CommandError> {
        let request = context.request(json!({ "media_id": id }));
        Ok(self.store.execute::<Media>(id, MediaCommand::Complete(found), request).await?)
    }

    /// Refused while a campaign that is under way uses it. Its file is unwanted from the commit on.
    pub async fn delete_medium(&self, context: &Context, id: MediaId) -> Result<Done, CommandError> {
        let request = context.request(Value::Null);
        Ok(self.store.execute::<Media>(id, MediaCommand::Delete, request).await?)
    }

    /// A medium by its stream: never behind.
    pub async fn medium(&self, id: MediaId) -> Result<Media, CommandError> {
        let medium = load::<Media>(&self.store.pool, id).await?.aggregate;
        match medium.exists() {
            true => Ok(medium),
            false => Err(CommandError::NotFound("medium")),
        }
    }

    /// Where the files of these media are, of those that were ever asked for and can be read.
    pub async fn media(&self, ids: &BTreeSet<MediaId>) -> Result<BTreeMap<MediaId, Media>, CommandError> {
        let ids: Vec<MediaId> = ids.iter().copied().collect();
        let loaded = load_each::<Media>(&self.store.pool, &ids).await?;
        Ok(loaded.into_iter().filter_map(|(id, medium)| Some((id, medium.ok()?.aggregate))).collect())
    }

    /// Gives up uploads that nobody completed, at most `limit`; how many. One that cannot be given up stands in nobody's way, and
    /// fails the call only once the others are done.
    pub async fn expire_media(&self, now: DateTime<Utc>, limit: i64) -> Result<usize, CommandError> {
        let over: Vec<MediaId> = sqlx::query_scalar(
            "SELECT media_id FROM media_files WHERE status = 'requested' AND arrives_until < $1
             ORDER BY tried_at NULLS FIRST, arrives_until LIMIT $2",
        )
        .bind(now)
        .bind(limit)
        .fetch_all(&self.store.pool)
        .await?;
        let mut failed = None;
        for id in &over {
            let request = Context::system("maintenance").request(Value::Null);
            if let Err(error) = self.store.execute::<Media>(*id, MediaCommand::Expire { now }, request).await
            {
                self.note_tried(*id, now).await?;
                failed = Some(CommandError::from(error));
            }
        }
        failed.map_or(Ok(over.len()), Err)
    }

    /// Files to remove: once at once, and once more when nothing can arrive any more.
    pub async fn unwanted_files(
        &self,
        now: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<UnwantedFile>, CommandError> {
        Ok(sqlx::query_as(
            "SELECT media_id, key, removed_at IS NOT NULL AS again FROM media_files
             WHERE status IN ('rejected', 'deleted', 'expired') AND (removed_at IS NULL OR arrives_until < $1)
             ORDER BY tried_at NULLS FIRST, arrives_until LIMIT $2",
        )
        .bind(now)
        .bind(limit)
        .fetch_all(&self.store.pool)
        .await?)
    }

    /// It is tried again after all others.
    pub async fn note_tried(&self, id: MediaId, now: DateTime<Utc>) -> Result<(), CommandError> {
        let tried = "UPDATE media_files SET tried_at = $2 WHERE media_id = $1";
        sqlx::query(tried).bind(id).bind(now).execute(&self.store.pool).await?;
        Ok(())
    }

    /// A file was removed after `now` was read.
    pub async fn note_removed(&self, id: MediaId, now: DateTime<Utc>) -> Result<(), CommandError> {
        let mut tx = self.store.pool.begin().await?;
        sqlx::query("UPDATE media_files SET removed_at = $2 WHERE media_id = $1 AND status <> 'uploaded'")
            .bind(id)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM media_files WHERE media_id = $1 AND removed_at > arrives_until")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }
}
