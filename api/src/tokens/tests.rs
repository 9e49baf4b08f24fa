//! Tokens of our own and forged ones, by a ring whose secret the test knows.

use super::claims::{AccessClaims, LIFE_SECONDS, TokenError};
use super::ring::Ring;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine};
use domain::access::Role;
use eventstore::clock;
use eventstore::keys::Secret;
use eventstore::service_keys::ServiceKey;
use serde_json::{Value, json};
use uuid::Uuid;

const ISSUER: &str = "https://mail.example.org";

fn key(kid: &str, byte: u8, age_seconds: i64) -> ServiceKey {
    ServiceKey { kid: kid.into(), secret: Secret::new([byte; 32]), age_seconds }
}

fn ring() -> Ring {
    Ring::new(vec![key("access-1", 7, 1_000)]).unwrap()
}

fn claims() -> AccessClaims {
    AccessClaims { user: Uuid::from_u128(1), session: Uuid::from_u128(2), roles: vec![Role::Marketer] }
}

fn now() -> i64 {
    clock::now().timestamp()
}

fn header_json() -> Value {
    json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": "access-1" })
}

fn claims_json() -> Value {
    json!({
        "iss": ISSUER, "aud": "postledger-api", "sub": Uuid::from_u128(1), "exp": now() + 300, "iat": now(),
        "jti": Uuid::from_u128(3), "sid": Uuid::from_u128(2), "roles": ["marketer"],
    })
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

/// Signed with the ring's own key, whatever it says.
fn signed(header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let signature = BASE64.encode(pair.sign(message.as_bytes()).as_ref());
    format!("{message}.{signature}")
}

fn verify(header: &Value, claims: &Value) -> Result<AccessClaims, TokenError> {
    ring().verify(ISSUER, &signed(header, claims), now())
}

#[test]
fn what_is_signed_is_read_again() {
    let token = ring().sign(ISSUER, &claims(), now()).unwrap();
    assert_eq!(ring().verify(ISSUER, &token, now()).unwrap(), claims());
    assert!(token.len() < 600, "{}", token.len());
}

/// What was verified is kept for the next request: its time is asked each time, and nothing passes for it.
#[test]
fn a_token_that_is_known_ends_all_the_same() {
    let (ring, now) = (ring(), now());
    let token = ring.sign(ISSUER, &claims(), now).unwrap();
    let known = || ring.verify(ISSUER, &token, now);
    assert_eq!((known().unwrap(), known().unwrap()), (claims(), claims()));
    let last = now + LIFE_SECONDS + 5;
    assert_eq!(ring.verify(ISSUER, &token, last).unwrap(), claims());
    assert!(matches!(ring.verify(ISSUER, &token, last + 1), Err(TokenError::Time)));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    assert!(ring.verify(ISSUER, &other, now).is_err());
    assert!(ring.verify(ISSUER, &other, now).is_err(), "what was refused is not kept");
}

#[test]
fn the_tests_own_tokens_pass_before_they_are_changed() {
    assert_eq!(verify(&header_json(), &claims_json()).unwrap(), claims());
}

/// `none` in upper and lower case, letter by letter.
fn spellings_of_none() -> impl Iterator<Item = String> {
    (0..16).map(|upper| {
        let spelled = |(place, letter): (usize, char)| match upper >> place & 1 {
            0 => letter,
            _ => letter.to_ascii_uppercase(),
        };
        "none".chars().enumerate().map(spelled).collect()
    })
}

#[test]
fn no_algorithm_but_ours_passes() {
    let others = ["", " none", "none ", "no\u{0}ne", "HS256", "RS256", "ES256", "PS256", "eddsa", "EdDSA "];
    let names = spellings_of_none().chain(others.map(str::to_owned)).map(Value::from);
    let no_names = [Value::Null, json!(0), json!(["EdDSA"]), json!({ "alg": "EdDSA" })];
    for alg in names.chain(no_names) {
        let token = signed(&with(header_json(), "alg", alg.clone()), &claims_json());
        let message = token.rsplit_once('.').unwrap().0;
        for token in [token.clone(), format!("{message}."), message.to_owned()] {
            assert!(ring().verify(ISSUER, &token, now()).is_err(), "{alg}");
        }
    }
}

/// Each by a key of the attacker's own that the token brings along, as a set's key or as an address to fetch it from.
#[test]
fn good_signatures_of_other_algorithms_are_none() {
    let es256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let rs256 = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let random = SystemRandom::new();
    let by_es256 = |message: &[u8]| es256.sign(&random, message).unwrap().as_ref().to_vec();
    let by_rs256 = |message: &[u8]| {
        let mut signature = vec![0; rs256.public_modulus_len()];
        rs256.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
        signature
    };
    // Uncompressed: a byte, then both coordinates.
    let point = es256.public_key().as_ref();
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..]) });
    let refused = |alg: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        let plain = with(header_json(), "alg", json!(alg));
        let brought = with(plain.clone(), "jwk", jwk.clone());
        let fetched = with(plain.clone(), "jku", json!("https://evil.example/keys"));
        for header in [plain, brought, fetched] {
            let message = message(&header, &claims_json());
            let token = format!("{message}.{}", BASE64.encode(sign(message.as_bytes())));
            assert!(matches!(ring().verify(ISSUER, &token, now()), Err(TokenError::WrongKind)), "{header}");
        }
    };
    refused("ES256", &by_es256);
    refused("RS256", &by_rs256);
}

/// The public key as the secret of an HMAC: the classic confusion of algorithms.
#[test]
fn the_public_key_is_no_secret_of_hs256() {
    let jwk = serde_json::to_value(&ring().jwks()[0]).unwrap();
    let public = BASE64.decode(jwk["x"].as_str().unwrap()).unwrap();
    let header = with(header_json(), "alg", json!("HS256"));
    let message = message(&header, &claims_json());
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    let tag = aws_lc_rs::hmac::sign(&secret, message.as_bytes());
    let token = format!("{message}.{}", BASE64.encode(tag.as_ref()));
    assert!(matches!(ring().verify(ISSUER, &token, now()), Err(TokenError::WrongKind)));
}

#[test]
fn nothing_in_the_header_is_of_consequence() {
    let jwk = serde_json::to_value(&ring().jwks()[0]).unwrap();
    let injected = [
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("jwk", jwk),
        ("crit", json!(["exp"])),
        ("cty", json!("JWT")),
        ("typ", json!("JWT")),
        ("typ", json!("preference+jwt")),
        ("kid", json!("../../dev/null")),
        ("kid", json!("access-1' OR '1'='1")),
        ("kid", Value::Null),
    ];
    for (name, value) in injected {
        assert!(verify(&with(header_json(), name, value.clone()), &claims_json()).is_err(), "{name} {value}");
    }
    for name in ["typ", "alg", "kid"] {
        assert!(verify(&without(header_json(), name), &claims_json()).is_err(), "{name}");
    }
}

#[test]
fn every_claim_is_required_and_checked() {
    for name in ["iss", "aud", "sub", "exp", "iat", "jti", "sid", "roles"] {
        assert!(verify(&header_json(), &without(claims_json(), name)).is_err(), "without {name}");
        assert!(verify(&header_json(), &with(claims_json(), name, Value::Null)).is_err(), "null {name}");
    }
    let wrong = [
        ("iss", json!("https://evil.example")),
        ("aud", json!("preference")),
        ("aud", json!(["postledger-api", "x"])),
        ("sub", json!("nobody")),
        ("roles", json!(["root"])),
        ("exp", json!(now() - 6)),
        ("exp", json!(now() + LIFE_SECONDS + 1)),
        ("exp", json!("soon")),
        ("iat", json!(now() + 7)),
        ("nbf", json!(now() + 7)),
    ];
    for (name, value) in wrong {
        assert!(verify(&header_json(), &with(claims_json(), name, value.clone())).is_err(), "{name} {value}");
    }
}

#[test]
fn clocks_may_differ_by_five_seconds() {
    let over = |ago: i64| {
        let claims = with(claims_json(), "iat", json!(now() - 300));
        verify(&header_json(), &with(claims, "exp", json!(now() - ago)))
    };
    assert!(over(3).is_ok());
    assert!(matches!(over(7), Err(TokenError::Time)));
    assert!(verify(&header_json(), &with(claims_json(), "iat", json!(now() + 3))).is_ok());
}

#[test]
fn a_changed_or_foreign_token_is_refused() {
    let token = ring().sign(ISSUER, &claims(), now()).unwrap();
    let foreign = Ring::new(vec![key("access-1", 8, 1_000)]).unwrap();
    assert!(matches!(foreign.verify(ISSUER, &token, now()), Err(TokenError::Signature)));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let admin = BASE64.encode(with(claims_json(), "roles", json!(["admin"])).to_string());
    let forged = format!("{}.{admin}.{signature}", message.split_once('.').unwrap().0);
    assert!(matches!(ring().verify(ISSUER, &forged, now()), Err(TokenError::Signature)));
    for nonsense in ["", ".", "..", "a.b.c", message, &"x".repeat(5_000)] {
        assert!(ring().verify(ISSUER, nonsense, now()).is_err());
    }
}

#[test]
fn a_rotation_fails_no_token() {
    let old = || key("access-1", 7, 1_000);
    let during = Ring::new(vec![key("access-2", 8, 5), old()]).unwrap();
    let later = Ring::new(vec![key("access-2", 8, 65), old()]).unwrap();
    let at_last = Ring::new(vec![key("access-2", 8, 800), old()]).unwrap();
    let (by_old, by_new) =
        (during.sign(ISSUER, &claims(), now()).unwrap(), later.sign(ISSUER, &claims(), now()).unwrap());
    assert!(ring().verify(ISSUER, &by_old, now()).is_ok(), "the new key does not sign yet");
    for ring in [&during, &later] {
        assert!(ring.verify(ISSUER, &by_old, now()).is_ok() && ring.verify(ISSUER, &by_new, now()).is_ok());
        assert_eq!(ring.jwks().len(), 2);
    }
    assert!(matches!(at_last.verify(ISSUER, &by_old, now()), Err(TokenError::UnknownKey)));
    assert!(at_last.verify(ISSUER, &by_new, now()).is_ok());
}
