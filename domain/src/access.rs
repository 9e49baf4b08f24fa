//! Who may do what: roles of people, scopes of keys and of routes. What has no scope is the administrators' alone.

use serde::{Deserialize, Serialize};

/// What somebody is here for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Admin,
    Marketer,
    Analyst,
    Auditor,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Admin, Self::Marketer, Self::Analyst, Self::Auditor];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Marketer => "marketer",
            Self::Analyst => "analyst",
            Self::Auditor => "auditor",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// Analysts see no reader's address.
    pub fn has(self, scope: Scope) -> bool {
        match self {
            Self::Admin => true,
            Self::Marketer => !matches!(scope, Scope::SecurityRead | Scope::AuditRead),
            Self::Analyst => scope == Scope::ReportsRead,
            Self::Auditor => {
                matches!(scope, Scope::RecipientsRead | Scope::SecurityRead | Scope::AuditRead)
            }
        }
    }
}

/// A part of the API that can be opened to a key. Writing does not include reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    #[serde(rename = "groups:read")]
    GroupsRead,
    #[serde(rename = "groups:write")]
    GroupsWrite,
    /// Readers with their addresses.
    #[serde(rename = "subscribers:read")]
    SubscribersRead,
    #[serde(rename = "subscribers:write")]
    SubscribersWrite,
    #[serde(rename = "templates:read")]
    TemplatesRead,
    #[serde(rename = "templates:write")]
    TemplatesWrite,
    #[serde(rename = "media:read")]
    MediaRead,
    #[serde(rename = "media:write")]
    MediaWrite,
    #[serde(rename = "emails:read")]
    EmailsRead,
    /// Campaigns, and when they are sent.
    #[serde(rename = "emails:write")]
    EmailsWrite,
    #[serde(rename = "reports:read")]
    ReportsRead,
    /// Whom a campaign was sent to, with their addresses.
    #[serde(rename = "recipients:read")]
    RecipientsRead,
    #[serde(rename = "security:read")]
    SecurityRead,
    /// Who opted out and when, and each person's history.
    #[serde(rename = "audit:read")]
    AuditRead,
}

impl Scope {
    pub const ALL: [Self; 14] = [
        Self::GroupsRead,
        Self::GroupsWrite,
        Self::SubscribersRead,
        Self::SubscribersWrite,
        Self::TemplatesRead,
        Self::TemplatesWrite,
        Self::MediaRead,
        Self::MediaWrite,
        Self::EmailsRead,
        Self::EmailsWrite,
        Self::ReportsRead,
        Self::RecipientsRead,
        Self::SecurityRead,
        Self::AuditRead,
    ];

    /// What lets a writer see what it changed.
    pub fn reading(self) -> Self {
        match self {
            Self::GroupsWrite => Self::GroupsRead,
            Self::SubscribersWrite => Self::SubscribersRead,
            Self::TemplatesWrite => Self::TemplatesRead,
            Self::MediaWrite => Self::MediaRead,
            Self::EmailsWrite => Self::EmailsRead,
            Self::GroupsRead
            | Self::SubscribersRead
            | Self::TemplatesRead
            | Self::MediaRead
            | Self::EmailsRead
            | Self::ReportsRead
            | Self::RecipientsRead
            | Self::SecurityRead
            | Self::AuditRead => self,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::GroupsRead => "groups:read",
            Self::GroupsWrite => "groups:write",
            Self::SubscribersRead => "subscribers:read",
            Self::SubscribersWrite => "subscribers:write",
            Self::TemplatesRead => "templates:read",
            Self::TemplatesWrite => "templates:write",
            Self::MediaRead => "media:read",
            Self::MediaWrite => "media:write",
            Self::EmailsRead => "emails:read",
            Self::EmailsWrite => "emails:write",
            Self::ReportsRead => "reports:read",
            Self::RecipientsRead => "recipients:read",
            Self::SecurityRead => "security:read",
            Self::AuditRead => "audit:read",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written_and_stored() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        }
        assert_eq!((Role::parse("root"), Scope::parse("*")), (None, None));
    }

    /// A test mail may show a subscriber's fields; of keys it is asked with each.
    #[test]
    fn who_may_send_sees_subscribers() {
        assert!(
            Role::ALL.iter().all(|role| !role.has(Scope::EmailsWrite) || role.has(Scope::SubscribersRead))
        );
    }

    #[test]
    fn analysts_see_no_address() {
        let named = [Scope::SubscribersRead, Scope::RecipientsRead, Scope::TemplatesWrite];
        assert!(named.iter().all(|scope| !Role::Analyst.has(*scope)));
    }
}
