//! What most tests begin with: readers in a group, and a template.

use e2e::{Client, Draft, Export};
use serde_json::json;
use uuid::Uuid;

/// A group with the readers of an export, all of them new, and a short template.
pub async fn readers(api: &Client, export: &Export) -> Draft {
    let group = api.group("Readers").await;
    let import = api.imported(group, &export.csv).await;
    assert_eq!((import.rows, import.created), (export.rows, export.rows), "{import:?}");
    Draft { template: template(api).await, group, ..Draft::default() }
}

pub async fn template(api: &Client) -> Uuid {
    let template = json!({
        "name": "Letter",
        "subject": "A letter for {{ first_name }}",
        "html": "<p>Dear {{ first_name }},</p><p>a letter.</p><p><a href=\"{{ unsubscribe_url }}\">No more</a></p>",
    });
    api.template(&template).await
}
