use super::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

const SECRET: [u8; 32] = [7; 32];

fn key(kid: &str, byte: u8) -> LinkKey {
    LinkKey { kid: kid.to_owned(), secret: [byte; 32] }
}

fn keys() -> LinkKeys {
    LinkKeys::new(vec![LinkKey { kid: "k1".into(), secret: SECRET }]).unwrap()
}

fn claims() -> PreferenceClaims {
    PreferenceClaims {
        subscriber: Uuid::from_u128(1),
        campaign: Some(Uuid::from_u128(2)),
        group: Some(Uuid::from_u128(3)),
        dispatch: Some(Uuid::from_u128(4)),
        issued_at: 1_700_000_000,
    }
}

fn header_json() -> Value {
    json!({ "typ": "preference+jwt", "alg": "HS256", "kid": "k1" })
}

fn claims_json() -> Value {
    json!({ "iss": "postledger", "aud": "preference", "sub": Uuid::from_u128(1), "iat": 1 })
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

/// A token as an attacker with the right secret would make it.
fn signed(header: &Value, claims: &Value) -> String {
    let message = unsigned(header, claims);
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(&SECRET), Algorithm::HS256)
            .unwrap();
    format!("{message}.{signature}")
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

#[test]
fn what_is_signed_is_read_again() {
    let bare = PreferenceClaims { campaign: None, group: None, dispatch: None, issued_at: -1, ..claims() };
    for claims in [claims(), bare] {
        let token = keys().sign_preference(&claims).unwrap();
        assert_eq!(keys().verify_preference(&token), Ok(claims));
        assert!(token.len() < 600 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
    }
}

#[test]
fn the_tests_own_tokens_pass_before_they_are_changed() {
    assert!(keys().verify_preference(&signed(&header_json(), &claims_json())).is_ok());
}

#[test]
fn the_newest_key_signs_and_older_ones_verify() {
    let old = LinkKeys::new(vec![key("old", 1)]).unwrap();
    let rotated = LinkKeys::new(vec![key("new", 2), key("old", 1)]).unwrap();
    let token = old.sign_preference(&claims()).unwrap();
    assert_eq!(rotated.verify_preference(&token), Ok(claims()));
    let token = rotated.sign_preference(&claims()).unwrap();
    assert_eq!(old.verify_preference(&token), Err(LinkError::UnknownKey));
}

#[test]
fn a_known_kid_with_another_secret_is_a_wrong_signature() {
    let forger = LinkKeys::new(vec![key("k1", 9)]).unwrap();
    let token = forger.sign_preference(&claims()).unwrap();
    assert_eq!(keys().verify_preference(&token), Err(LinkError::Signature));
}

#[test]
fn keys_need_ids_of_their_own() {
    let error = |keys| LinkKeys::new(keys).unwrap_err();
    assert_eq!(error(vec![]), LinkError::NoKey);
    assert_eq!(error(vec![key("a", 1), key("a", 2)]), LinkError::KeyId);
    assert_eq!(error(vec![key("", 1)]), LinkError::KeyId);
    assert_eq!(error(vec![key(&"k".repeat(65), 1)]), LinkError::KeyId);
}

#[test]
fn other_algorithms_are_refused() {
    for alg in
        ["none", "None", "NONE", "nOnE", "", "hs256", "HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256"]
    {
        let header = with(header_json(), "alg", json!(alg));
        let unsigned = unsigned(&header, &claims_json());
        for token in [signed(&header, &claims_json()), format!("{unsigned}."), unsigned] {
            assert!(keys().verify_preference(&token).is_err(), "{alg}");
        }
    }
    assert!(keys().verify_preference(&signed(&without(header_json(), "alg"), &claims_json())).is_err());
}

#[test]
fn other_kinds_of_the_same_secret_are_refused() {
    for typ in ["JWT", "at+jwt", "click+jwt", "open+jwt", "confirm+jwt", "reset+jwt", "PREFERENCE+JWT", ""] {
        let token = signed(&with(header_json(), "typ", json!(typ)), &claims_json());
        assert_eq!(keys().verify_preference(&token), Err(LinkError::WrongKind), "{typ}");
    }
    let token = signed(&without(header_json(), "typ"), &claims_json());
    assert_eq!(keys().verify_preference(&token), Err(LinkError::WrongKind));
}

#[test]
fn audience_issuer_and_subject_have_to_be_ours() {
    let changed = [
        with(claims_json(), "aud", json!("click")),
        with(claims_json(), "aud", json!(["click", "preference"])),
        with(claims_json(), "aud", json!(null)),
        with(claims_json(), "iss", json!("someone")),
        with(claims_json(), "sub", json!("not a uuid")),
        with(claims_json(), "iat", json!("1")),
        without(claims_json(), "aud"),
        without(claims_json(), "iss"),
        without(claims_json(), "sub"),
        without(claims_json(), "iat"),
        json!([]),
    ];
    for claims in changed {
        assert!(keys().verify_preference(&signed(&header_json(), &claims)).is_err(), "{claims}");
    }
}

#[test]
fn keys_and_extensions_in_the_header_are_refused() {
    let jwk = json!({ "kty": "oct", "k": BASE64.encode(SECRET) });
    let injected = [
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["AA=="])),
        ("jwk", jwk),
        ("crit", json!(["exp"])),
        ("cty", json!("JWT")),
        ("b64", json!(false)),
        ("kid", json!("k2")),
        ("kid", json!("../../etc/passwd")),
        ("kid", json!("k1' OR '1'='1")),
        ("kid", json!(null)),
    ];
    for (name, value) in injected {
        let token = signed(&with(header_json(), name, value), &claims_json());
        assert!(keys().verify_preference(&token).is_err(), "{name}");
    }
}

#[test]
fn every_change_of_a_byte_is_found() {
    let token = keys().sign_preference(&claims()).unwrap();
    for i in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[i] = if changed[i] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(keys().verify_preference(&changed).is_err(), "byte {i}");
    }
}

#[test]
fn what_is_no_token_is_an_error_and_no_panic() {
    let token = keys().sign_preference(&claims()).unwrap();
    let bad = [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "浩.浩.浩",
        &token[..token.len() - 1],
        &format!("{token}."),
        &format!(" {token}"),
    ];
    for token in bad {
        assert!(keys().verify_preference(token).is_err(), "{token:?}");
    }
    assert_eq!(keys().verify_preference(&"a".repeat(MAX_TOKEN_BYTES + 1)), Err(LinkError::TooLong));
}

#[test]
fn no_secret_is_ever_shown() {
    let shown = format!("{:?} {:?}", key("k1", 0xAB), keys());
    assert_eq!(shown, "LinkKey { kid: \"k1\", .. } [Some(\"k1\")]");
}

#[test]
fn links_are_made_from_the_public_url() {
    for url in ["https://mail.example.com", "https://mail.example.com/"] {
        let links = Links::new(url);
        assert_eq!(links.unsubscribe_url("a.b.c"), "https://mail.example.com/emails/unsubscribe?token=a.b.c");
        assert_eq!(links.preferences_url("a.b.c"), links.unsubscribe_url("a.b.c"));
    }
}
