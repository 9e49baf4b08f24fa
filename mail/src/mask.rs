//! Addresses on pages that anyone with a forwarded mail can open.

/// `r•••@example.com` for `reader@example.com`: its owner knows it again, and nobody learns it.
///
/// The number of dots says nothing about the length. Of a local part of one or two characters nothing is shown.
pub fn mask_address(address: &str) -> String {
    let Some((local, domain)) = address.rsplit_once('@') else { return "•••".to_owned() };
    let first: String = local.chars().take(usize::from(local.chars().nth(2).is_some())).collect();
    format!("{first}•••@{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_a_first_character_is_shown() {
        let cases = [
            ("reader@example.com", "r•••@example.com"),
            ("ann@example.com", "a•••@example.com"),
            ("al@example.com", "•••@example.com"),
            ("a@example.com", "•••@example.com"),
            ("@example.com", "•••@example.com"),
            ("łukasz@example.com", "ł•••@example.com"),
            ("a@b@example.com", "a•••@example.com"),
            ("reader", "•••"),
            ("", "•••"),
        ];
        for (address, masked) in cases {
            assert_eq!(mask_address(address), masked, "{address}");
        }
    }
}
