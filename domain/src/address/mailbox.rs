//! Which mailbox an address leads to, by what its provider says of dots, tags and domains. Two mailboxes that are taken for one share a
//! limit; one that is taken for two has it twice.

use super::EmailAddress;

/// What is behind the first of its marks is a tag, at this provider.
struct Provider {
    domains: &'static [&'static str],
    /// All of them deliver to the same mailbox.
    main: &'static str,
    /// Characters that do not count.
    ignored: &'static [char],
}

const PROVIDERS: &[Provider] = &[
    // https://support.google.com/mail/answer/7436150
    Provider { domains: &["gmail.com", "googlemail.com"], main: "gmail.com", ignored: &['.'] },
    // https://proton.me/support/addresses-and-aliases: one person has a name at all of them.
    Provider {
        domains: &["proton.me", "protonmail.com", "protonmail.ch", "pm.me"],
        main: "proton.me",
        ignored: &['.', '-', '_'],
    },
];

/// Yahoo's other domains; its own are `yahoo.com`, `yahoo.de`, `yahoo.co.uk` and so on.
const YAHOO: &[&str] = &["ymail.com", "rocketmail.com", "myyahoo.com"];

pub(super) fn of(local: &str, domain: &str) -> EmailAddress {
    let (local, domain) = (local.to_ascii_lowercase(), domain.to_ascii_lowercase());
    // RFC 5233: most servers deliver what has a tag behind a plus to the same mailbox.
    let mut user = before(&local, '+').to_owned();
    let mut home = domain.clone();
    if let Some((name, provider)) = of_fastmail(&domain) {
        (user, home) = (name.to_owned(), provider.to_owned());
    } else if is_yahoo(&domain) {
        // https://help.yahoo.com/kb/SLN3523.html: no name has a hyphen; all addresses with one name before it are one mailbox.
        user = before(&user, '-').to_owned();
    } else if let Some(provider) =
        PROVIDERS.iter().find(|provider| provider.domains.contains(&domain.as_str()))
    {
        let plain: String = user.chars().filter(|c| !provider.ignored.contains(c)).collect();
        user = if plain.is_empty() { user } else { plain };
        home = provider.main.to_owned();
    }
    EmailAddress { local: user, domain: home }
}

/// All of it where nothing stands before the mark.
fn before(local: &str, mark: char) -> &str {
    match local.split_once(mark) {
        Some((user, _)) if !user.is_empty() => user,
        _ => local,
    }
}

/// `anything@name.fastmail.com` is `name@fastmail.com` (https://www.fastmail.help/hc/en-us/articles/360060591053). At Fastmail's domains
/// of other names, and at domains of one's own, nothing tells.
fn of_fastmail(domain: &str) -> Option<(&str, &str)> {
    domain.split_once('.').filter(|(name, provider)| !name.is_empty() && provider.starts_with("fastmail."))
}

fn is_yahoo(domain: &str) -> bool {
    YAHOO.contains(&domain) || domain.starts_with("yahoo.")
}

#[cfg(test)]
mod tests {
    use crate::EmailAddress;

    fn mailbox(address: &str) -> String {
        EmailAddress::parse(address).unwrap().mailbox().canonical()
    }

    #[test]
    fn what_providers_deliver_to_one_mailbox_is_one() {
        let one: &[(&str, &[&str])] = &[
            ("ana@example.com", &["ANA@example.com", "ana+tea@Example.COM", "ana+tea+2@example.com"]),
            (
                "anareader@gmail.com",
                &["a.n.a.reader@gmail.com", "Ana.Reader+x@googlemail.com", "anareader@GoogleMail.com"],
            ),
            ("ana@yahoo.co.uk", &["ana-shop@yahoo.co.uk", "ana-shop-2@yahoo.co.uk", "Ana+x@yahoo.co.uk"]),
            ("ana@ymail.com", &["ana-news@ymail.com"]),
            ("ana@fastmail.com", &["tea@ana.fastmail.com", "ana+tea@fastmail.com", "x+y@Ana.fastmail.com"]),
            ("ana@fastmail.co.uk", &["tea@ana.fastmail.co.uk"]),
            (
                "anareader@proton.me",
                &["ana.reader@pm.me", "ana-reader@protonmail.com", "a_na.reader+x@proton.me"],
            ),
        ];
        for (expected, addresses) in one {
            assert_eq!(mailbox(expected), *expected);
            for address in *addresses {
                assert_eq!(mailbox(address), *expected, "{address}");
            }
        }
    }

    #[test]
    fn elsewhere_dots_hyphens_and_hosts_count() {
        for address in [
            "a.na@example.com",
            "ana-tea@example.com",
            "ana@mail.example.com",
            "+1555@example.com",
            "-ana@yahoo.com",
            "a.na@notgmail.com",
            "ana@gmail.com.example",
            "ana-tea@notyahoo.com",
            "ana@fastmail.example.com",
        ] {
            assert_eq!(mailbox(address), address);
        }
    }

    #[test]
    fn an_identity_is_never_a_mailbox() {
        let canonical = |address: &str| EmailAddress::parse(address).unwrap().canonical();
        assert_ne!(canonical("a.na@gmail.com"), canonical("ana@gmail.com"));
        assert_ne!(canonical("ana-shop@yahoo.com"), canonical("ana@yahoo.com"));
    }
}
