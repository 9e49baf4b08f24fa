//! Names of reader attributes: how they are written, and which were ever seen.

use crate::CommandError;
use sqlx::PgExecutor;
use std::collections::{BTreeMap, BTreeSet};

/// Attributes of one reader.
pub const COUNT_MAX: usize = 100;
pub const NAME_MAX_BYTES: usize = 64;
/// Of all readers together: no more are remembered for templates.
const NAMES_MAX: i64 = 10_000;
pub const VALUE_MAX_BYTES: usize = 4096;

pub type Attributes = BTreeMap<String, String>;

/// `snake_case` of a column or attribute name, as templates use it; `None` where nothing is left or it is too long.
pub fn snake_case(name: &str) -> Option<String> {
    let snake = snake(name);
    let starts_well = snake.starts_with(|c: char| c.is_alphabetic());
    (starts_well && snake.len() <= NAME_MAX_BYTES).then_some(snake)
}

/// The words of a name with underscores between them, however long it is and whatever it begins with.
pub(crate) fn snake(name: &str) -> String {
    let mut snake = String::new();
    let mut previous_lower = false;
    for c in name.trim().chars() {
        if c.is_alphanumeric() {
            if c.is_uppercase() && previous_lower {
                snake.push('_');
            }
            previous_lower = c.is_lowercase() || c.is_numeric();
            snake.extend(c.to_lowercase());
        } else {
            previous_lower = false;
            if !snake.is_empty() && !snake.ends_with('_') {
                snake.push('_');
            }
        }
    }
    snake.trim_end_matches('_').to_owned()
}

/// Names that templates use for something else: built-in fields, functions, and words of the language.
const RESERVED: &str = "email name unsubscribe_url preferences_url campaign group postal_address media \
     preheader_of_this_mail range dict namespace loop self super caller true false none and or not in is if elif else \
     endif for endfor recursive set endset block endblock macro endmacro call endcall filter endfilter raw endraw with \
     endwith import from include extends autoescape endautoescape as do";

/// Whether a column cannot be a merge field under this name.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.split(' ').any(|reserved| reserved == name)
}

/// Normalised names, bounded values; empty values are left out.
pub fn check(attributes: &Attributes) -> Result<Attributes, CommandError> {
    if attributes.len() > COUNT_MAX {
        return Err(CommandError::invalid("attributes", format!("at most {COUNT_MAX} attributes")));
    }
    let mut checked = Attributes::new();
    for (name, value) in attributes {
        let Some(snake) = snake_case(name) else {
            let reason = format!("a name starts with a letter and has at most {NAME_MAX_BYTES} bytes");
            return Err(CommandError::invalid("attributes", reason));
        };
        if value.len() > VALUE_MAX_BYTES || value.contains('\0') {
            let reason = format!("{snake}: at most {VALUE_MAX_BYTES} bytes, and no NUL");
            return Err(CommandError::invalid("attributes", reason));
        }
        if !value.is_empty() {
            checked.insert(snake, value.clone());
        }
    }
    Ok(checked)
}

/// Every attribute name that an import or the API ever brought: templates may use them.
pub async fn known(db: impl PgExecutor<'_>) -> Result<BTreeSet<String>, CommandError> {
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM attribute_names").fetch_all(db).await?;
    Ok(names.into_iter().collect())
}

pub(crate) async fn remember<'a>(
    db: impl PgExecutor<'_>,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<(), CommandError> {
    let names: Vec<&String> = names.into_iter().collect();
    sqlx::query(
        "INSERT INTO attribute_names (name) SELECT DISTINCT unnest($1::text[])
         WHERE (SELECT count(*) FROM attribute_names) < $2 ON CONFLICT DO NOTHING",
    )
    .bind(names)
    .bind(NAMES_MAX)
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_names_that_templates_can_use() {
        let table = [
            ("First Name", "first_name"),
            ("OPTIN_TIME", "optin_time"),
            ("firstName", "first_name"),
            (" E-mail  Address ", "e_mail_address"),
            ("LANGUAGE", "language"),
            ("Größe (cm)", "größe_cm"),
        ];
        for (column, name) in table {
            assert_eq!(snake_case(column).as_deref(), Some(name));
        }
        for bad in ["", "***", "1st", &"x".repeat(65)] {
            assert_eq!(snake_case(bad), None);
        }
    }
}
