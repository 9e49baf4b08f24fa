use crate::{CommandError, Commands, Context};
use domain::GroupId;
use domain::group::{Group, GroupCommand, GroupError};
use eventstore::{Done, ids, load};
use serde_json::{Value, json};

#[derive(Debug, Clone, Default)]
pub struct GroupPatch {
    pub name: Option<String>,
    pub description: Option<String>,
}

impl From<GroupError> for CommandError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Unknown => Self::NotFound("group"),
            GroupError::Exists => Self::Conflict,
        }
    }
}

impl Commands {
    pub async fn create_group(
        &self,
        context: &Context,
        name: String,
        description: String,
    ) -> Result<Done, CommandError> {
        let id = ids::new_id();
        let request = context.request_for_new(json!({ "group_id": id }));
        let create = GroupCommand::Create { name, description };
        Ok(self.store.execute::<Group>(id, create, request).await?)
    }

    pub async fn change_group(
        &self,
        context: &Context,
        id: GroupId,
        patch: GroupPatch,
    ) -> Result<Done, CommandError> {
        let GroupPatch { name, description } = patch;
        let change = GroupCommand::Change { name, description };
        Ok(self.store.execute::<Group>(id, change, context.request(Value::Null)).await?)
    }

    /// Refused while a campaign that is under way uses it.
    pub async fn delete_group(&self, context: &Context, id: GroupId) -> Result<Done, CommandError> {
        Ok(self.store.execute::<Group>(id, GroupCommand::Delete, context.request(Value::Null)).await?)
    }

    /// The groups of these that do not exist.
    pub(crate) async fn unknown_groups(&self, groups: &[GroupId]) -> Result<Vec<GroupId>, CommandError> {
        let known = eventstore::load_many::<Group>(&self.store.pool, groups).await?;
        let exists = |id: &GroupId| known.get(id).is_some_and(|group| group.aggregate.exists());
        Ok(groups.iter().copied().filter(|id| !exists(id)).collect())
    }

    pub(crate) async fn require_group(&self, id: GroupId) -> Result<Group, CommandError> {
        let group = load::<Group>(&self.store.pool, id).await?.aggregate;
        match group.exists() {
            true => Ok(group),
            false => Err(CommandError::NotFound("group")),
        }
    }
}
