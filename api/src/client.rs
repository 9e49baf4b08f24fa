//! Who sends a request: the address at the other end of the connection, or behind proxies of ours the one that they name.
//!
//! - `Forwarded` (RFC 7239) and `X-Forwarded-For` count from a peer among the trusted proxies alone: anybody can write them.
//! - Each proxy appends whom it heard. So they are walked from the right: the first address that is no proxy of ours is the
//!   client, and what stands left of it is the client's own claim.
//! - The walk ends early at what is no address (`unknown`, an obfuscated name, garbage) and after [`HOPS_MAX`] hops: then
//!   the client is the last proxy that is known. Many may share that address, and nobody can take another's.
//! - A `Forwarded` that breaks its grammar or is too long says nothing, since quotes could hide what a proxy appended. Where
//!   both headers stand and do not agree, neither counts: one of them went through a proxy that knows only the other.

use domain::Network;
use http::request::Parts;
use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies in a row.
const HOPS_MAX: usize = 16;
const FORWARDED_MAX_BYTES: usize = 4_096;

const NOWHERE: Client = Client(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

/// The client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client(pub IpAddr);

impl Client {
    pub fn of(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> Self {
        let peer = peer.to_canonical();
        if !is_trusted(peer, proxies) {
            return Self(peer);
        }
        let forwarded = forwarded(headers).map(|hops| walk(peer, hops.into_iter().rev(), proxies));
        let x_forwarded_for =
            headers.contains_key(X_FORWARDED_FOR).then(|| walk(peer, x_forwarded_for(headers), proxies));
        Self(match (forwarded, x_forwarded_for) {
            (Some(one), Some(other)) if one != other => peer,
            (one, other) => one.or(other).unwrap_or(peer),
        })
    }

    /// Whom limits are counted for.
    pub fn network(&self) -> Network {
        Network::of(self.0)
    }
}

/// As the edge noted it. Requests whose peer is not known are nobody's: there are none behind a socket.
pub(crate) fn of(parts: &Parts) -> Client {
    parts.extensions.get().copied().unwrap_or(NOWHERE)
}

pub(crate) fn is_trusted(address: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|proxy| proxy.contains(&address))
}

/// Past proxies of ours to the first that is none. `None` among the hops is one without an address.
fn walk(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, proxies: &[IpNet]) -> IpAddr {
    let mut nearest = peer;
    for hop in hops.take(HOPS_MAX) {
        let Some(address) = hop else { return nearest };
        nearest = address;
        if !is_trusted(address, proxies) {
            return nearest;
        }
    }
    nearest
}

/// From the right. Several lines are one list (RFC 9110 section 5.3).
fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).map(|hop| {
        let hop = std::str::from_utf8(hop).ok()?;
        address(hop.trim())
    })
}

/// The hops of `Forwarded` from the left. A header that cannot be believed has one, without an address.
fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let lines: Vec<&[u8]> = headers.get_all(header::FORWARDED).iter().map(|line| line.as_bytes()).collect();
    if lines.is_empty() {
        return None;
    }
    let joined = lines.join(&b',');
    let text = std::str::from_utf8(&joined).ok().filter(|text| text.len() <= FORWARDED_MAX_BYTES);
    Some(text.and_then(elements).unwrap_or_else(|| vec![None]))
}

/// RFC 7239 section 4: `for=192.0.2.43, for="[2001:db8::17]:4711";proto=https`. `None` where the grammar is broken.
fn elements(text: &str) -> Option<Vec<Option<IpAddr>>> {
    let (mut elements, mut rest) = (Vec::new(), text.trim_start());
    // Of the element that is being read: an element without `for` is a hop all the same.
    let (mut is_hop, mut node) = (false, None);
    loop {
        // A list may have empty elements (RFC 9110 section 5.6.1).
        if !rest.is_empty() && !rest.starts_with([',', ';']) {
            let (name, after) = rest.split_at(rest.find(|c: char| !is_token(c))?);
            let (value, after) = value(after.strip_prefix('=')?)?;
            if name.eq_ignore_ascii_case("for") && node.replace(address(&value)).is_some() {
                return None;
            }
            (is_hop, rest) = (true, after.trim_start());
        }
        let delimiter = rest.chars().next();
        if is_hop && matches!(delimiter, None | Some(',')) {
            elements.push(node.take().flatten());
            is_hop = false;
        }
        match delimiter {
            None => return Some(elements),
            Some(',' | ';') => rest = rest[1..].trim_start(),
            Some(_) => return None,
        }
    }
}

/// A token, or a string in quotes with its escapes undone, and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !is_token(c)).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let (mut value, mut characters) = (String::new(), quoted.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// RFC 9110 section 5.6.2, and the colon of `192.0.2.43:4711`, which many write without the quotes that it needs.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:".contains(c)
}

/// With or without a port; IPv6 with a port in brackets.
fn address(node: &str) -> Option<IpAddr> {
    if let Some(bracketed) = node.strip_prefix('[') {
        let (v6, port) = bracketed.split_once(']')?;
        let is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return v6.parse::<Ipv6Addr>().ok().filter(|_| is_fine).map(|v6| IpAddr::V6(v6).to_canonical());
    }
    if let Ok(address) = node.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (v4, port) = node.rsplit_once(':')?;
    v4.parse::<Ipv4Addr>().ok().filter(|_| is_port(port)).map(IpAddr::V4)
}

/// A number, or a name that hides it (RFC 7239 section 6).
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(name) => !name.is_empty(),
        None => port.parse::<u16>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proxies of ours are all of 10.0.0.0/8 and fd00::/8.
    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let proxies = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(*name, line.parse().unwrap());
        }
        Client::of(peer.parse().unwrap(), &headers, &proxies).0.to_string()
    }

    const XFF: &str = "x-forwarded-for";
    const FORWARDED: &str = "forwarded";

    #[test]
    fn what_an_untrusted_peer_writes_counts_for_nothing() {
        let both = [(XFF, "192.0.2.1"), (FORWARDED, "for=192.0.2.1")];
        assert_eq!(client("198.51.100.7", &both), "198.51.100.7");
        assert_eq!(client("2001:db8::7", &both), "2001:db8::7");
        assert_eq!(client("::ffff:198.51.100.7", &both), "198.51.100.7");
    }

    #[test]
    fn the_walk_ends_at_the_first_that_is_no_proxy_of_ours() {
        let table = [
            ("192.0.2.1", "192.0.2.1"),
            ("203.0.113.9, 192.0.2.1", "192.0.2.1"),
            ("203.0.113.9, 192.0.2.1, 10.0.0.2,10.0.0.3", "192.0.2.1"),
            ("10.9.9.9, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
            ("10.0.0.5, 10.0.0.2", "10.0.0.5"),
            ("2001:db8::1, fd00::2", "2001:db8::1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ];
        for (line, expected) in table {
            assert_eq!(client("10.0.0.1", &[(XFF, line)]), expected, "{line}");
        }
        assert_eq!(client("::ffff:10.0.0.1", &[(XFF, "192.0.2.1")]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[(XFF, "192.0.2.1, 192.0.2.2"), (XFF, "10.0.0.2")]), "192.0.2.2");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_as_its_grammar_has_it() {
        let table = [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"192.0.2.1:80\";proto=https;by=203.0.113.43", "192.0.2.1"),
            ("for=192.0.2.1:80", "192.0.2.1"),
            ("for=\"[2001:db8::17]:4711\"", "2001:db8::17"),
            ("for=\"[2001:db8::17]:_obscured\"", "2001:db8::17"),
            ("for=203.0.113.9, for=192.0.2.1;by=10.0.0.2 , for=10.0.0.2", "192.0.2.1"),
            ("for=192.0.2.1;ext=\"a, for=203.0.113.9\"", "192.0.2.1"),
            ("for=\"192.0.2.\\1\"", "192.0.2.1"),
            (", ,for=192.0.2.1,", "192.0.2.1"),
            ("proto=https", "10.0.0.1"),
            ("for=203.0.113.9, proto=https", "10.0.0.1"),
        ];
        for (line, expected) in table {
            assert_eq!(client("10.0.0.1", &[(FORWARDED, line)]), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_walk_at_the_proxy_before_it() {
        for hop in [
            "unknown",
            "_hidden",
            "garbage",
            "",
            "999.1.1.1",
            "192.0.2.1:99999",
            "[2001:db8::1",
            "fe80::1%eth0",
        ] {
            assert_eq!(client("10.0.0.1", &[(XFF, hop)]), "10.0.0.1", "{hop}");
            assert_eq!(
                client("10.0.0.1", &[(XFF, &format!("192.0.2.1, {hop}, 10.0.0.2"))]),
                "10.0.0.2",
                "{hop}"
            );
        }
        for line in ["for=unknown", "for=_SEVKISEK", "for=\"_gazonk\"", "for=\"unknown:80\""] {
            assert_eq!(client("10.0.0.1", &[(FORWARDED, line)]), "10.0.0.1", "{line}");
            let behind = format!("for=192.0.2.1, {line}, for=10.0.0.2");
            assert_eq!(client("10.0.0.1", &[(FORWARDED, &behind)]), "10.0.0.2", "{line}");
        }
    }

    #[test]
    fn a_quote_that_a_client_opens_hides_nothing_that_a_proxy_appends() {
        let lines = [
            "for=203.0.113.9;x=\", for=192.0.2.1",
            "for=203.0.113.9;x=\", for=\"192.0.2.1:80\"",
            "for=203.0.113.9, for=",
            "for 203.0.113.9",
            "for=203.0.113.9 for=192.0.2.1",
            "for=203.0.113.9;for=192.0.2.1",
            "=203.0.113.9",
        ];
        for line in lines {
            assert_eq!(client("10.0.0.1", &[(FORWARDED, line)]), "10.0.0.1", "{line}");
        }
    }

    #[test]
    fn both_headers_count_where_they_agree() {
        let both = |forwarded, listed| client("10.0.0.1", &[(FORWARDED, forwarded), (XFF, listed)]);
        assert_eq!(both("for=192.0.2.1", "192.0.2.1"), "192.0.2.1");
        assert_eq!(both("for=203.0.113.9, for=192.0.2.1", "192.0.2.1, 10.0.0.2"), "192.0.2.1");
        // A client's own `Forwarded`, which a proxy that knows the other header alone lets pass.
        assert_eq!(both("for=203.0.113.9", "192.0.2.1"), "10.0.0.1");
        assert_eq!(both("garbage", "192.0.2.1"), "10.0.0.1");
    }

    #[test]
    fn what_is_too_long_moves_nobody() {
        let long = format!("{}, 192.0.2.1", "203.0.113.9, ".repeat(10_000));
        assert_eq!(client("10.0.0.1", &[(XFF, &long)]), "192.0.2.1");
        let hops = format!("192.0.2.1{}", ", 10.0.0.2".repeat(HOPS_MAX));
        assert_eq!(client("10.0.0.1", &[(XFF, &hops)]), "10.0.0.2");
        let long = format!("{}for=192.0.2.1", "for=203.0.113.9, ".repeat(1_000));
        assert_eq!(client("10.0.0.1", &[(FORWARDED, &long)]), "10.0.0.1");
    }
}
