//! What the demonstration reads: the parts of the API's answers and of two files that it needs.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Deserialize)]
pub struct Stack {
    pub url: String,
    pub outbox_dir: PathBuf,
    pub users: Vec<User>,
}

#[derive(Deserialize)]
pub struct User {
    pub email: String,
    pub password: String,
    pub roles: Vec<String>,
}

#[derive(Deserialize)]
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
    pub expires_in: u64,
}

#[derive(Deserialize)]
pub struct Named {
    #[serde(alias = "group_id", alias = "template_id", alias = "campaign_id")]
    pub id: String,
    pub name: Option<String>,
}

#[derive(Deserialize)]
pub struct Expected {
    pub rows: u64,
    pub distinct_valid: u64,
    pub rejected_lines: Vec<u64>,
}

#[derive(Deserialize)]
pub struct Import {
    pub status: String,
    pub rows: u64,
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub kept_opted_out: u64,
    pub rejected: u64,
}

#[derive(Deserialize)]
pub struct Campaign {
    pub campaign_id: String,
    pub status: String,
    pub status_reason: Option<String>,
}

#[derive(Deserialize, PartialEq)]
pub struct Report {
    pub planned: u64,
    pub pending: u64,
    pub accepted: u64,
    pub suppressed: u64,
    pub rejected: u64,
    pub unknown: u64,
    pub cancelled: u64,
}

#[derive(Deserialize)]
pub struct Recipient {
    pub subscriber_id: String,
    pub address: Option<String>,
    pub state: String,
    pub dispatch_id: String,
}
