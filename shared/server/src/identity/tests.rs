//! Certificates are issued as promised, and tokens tell why they are refused.

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

use super::*;

const NOW: i64 = 1_795_000_000_000;
const DAY_SECS: u64 = 24 * 3600;
const FEED: &str = "00112233445566778899aabbccddeeff";

fn authority() -> (tempfile::TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path(), NOW).unwrap();
    (dir, authority)
}

#[test]
fn an_authority_is_the_same_after_it_is_opened_again() {
    let (dir, made) = authority();
    let opened = Authority::open(dir.path()).unwrap();
    assert_eq!(opened.ca_der(), made.ca_der());
    assert_eq!(opened.fingerprint(), fingerprint_hex(made.ca_der()));
    let info = CertInfo::parse(made.ca_der()).unwrap();
    assert_eq!((info.subject.as_str(), info.feed), ("CN=Liandong CA", None));
}

#[test]
fn a_second_authority_never_replaces_the_first() {
    let (dir, _first) = authority();
    let error = Authority::create(dir.path(), NOW).unwrap_err();
    assert!(matches!(error, IdentityError::Exists(_)));
    assert!(error.explain().message_zh.contains("已有"));
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let (dir, _first) = authority();
    let (other, _second) = authority();
    std::fs::copy(other.path().join("ca.key.pem"), dir.path().join("ca.key.pem")).unwrap();
    assert!(matches!(Authority::open(dir.path()), Err(IdentityError::Damaged { .. })));
}

#[cfg(unix)]
#[test]
fn the_files_of_an_authority_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, _authority) = authority();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_client_certificate_is_bound_to_its_feed_and_lives_as_long_as_asked() {
    let (_dir, authority) = authority();
    let (csr, _key) = make_csr(FEED).unwrap();
    let names = ["node.example".to_owned(), "10.0.0.7".to_owned(), "localhost".to_owned()];
    let der = authority.issue_client(&csr, FEED, &names, 90 * DAY_SECS, NOW).unwrap();
    let info = CertInfo::parse(&der).unwrap();
    assert_eq!(info.feed.as_deref(), Some(FEED));
    assert_eq!(info.not_before_ms, NOW - 300_000);
    assert_eq!(info.not_after_ms, NOW + 90 * 24 * 3_600_000);
    assert_eq!(info.issuer, "CN=Liandong CA");
    let again = authority.issue_client(&csr, FEED, &names, 90 * DAY_SECS, NOW).unwrap();
    assert_ne!(info.serial, CertInfo::parse(&again).unwrap().serial);
}

#[test]
fn a_certificate_never_outlives_its_authority() {
    let (_dir, authority) = authority();
    let (der, _key) = authority.issue_server(&["hub".into()], 100 * 365 * DAY_SECS, NOW).unwrap();
    let end = CertInfo::parse(authority.ca_der()).unwrap().not_after_ms;
    assert_eq!(CertInfo::parse(&der).unwrap().not_after_ms, end);
}

#[test]
fn names_in_a_request_are_not_taken_over() {
    let (_dir, authority) = authority();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
    let other = format!("{FEED_URI}{}", "f".repeat(32));
    params.subject_alt_names.push(rcgen::SanType::URI(other.try_into().unwrap()));
    let csr = params.serialize_request(&key).unwrap();
    let der = authority.issue_client(csr.der(), FEED, &[], DAY_SECS, NOW).unwrap();
    let text = String::from_utf8_lossy(&der).into_owned();
    assert!(!text.contains("hub.example"));
    assert_eq!(CertInfo::parse(&der).unwrap().feed.as_deref(), Some(FEED));
}

#[test]
fn a_request_that_does_not_prove_its_key_is_refused() {
    let (_dir, authority) = authority();
    let (mut csr, _key) = make_csr(FEED).unwrap();
    let last = csr.len() - 1;
    csr[last] ^= 1;
    let issue = |csr: &[u8]| authority.issue_client(csr, FEED, &[], DAY_SECS, NOW);
    assert!(matches!(issue(&csr), Err(IdentityError::Request(_))));
    assert!(matches!(issue(b"nonsense"), Err(IdentityError::Request(_))));
    assert!(matches!(issue(&[0; 9000]), Err(IdentityError::Request(_))));
    let other = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let csr = CertificateParams::default().serialize_request(&other).unwrap();
    assert!(matches!(issue(csr.der()), Err(IdentityError::Request(_))));
}

#[test]
fn a_wrong_feed_or_name_is_refused_by_what_was_given() {
    let (_dir, authority) = authority();
    for feed in ["", "0011", &FEED.to_uppercase(), &format!("{FEED}00")] {
        assert!(matches!(make_csr(feed), Err(IdentityError::Feed(given)) if given == feed));
    }
    for name in ["", "two words", "浦东", "http://x"] {
        let error = authority.issue_server(&[name.to_owned()], DAY_SECS, NOW).unwrap_err();
        assert!(matches!(error, IdentityError::Name(given) if given == name));
    }
}

#[test]
fn an_anchor_is_read_back_and_a_changed_certificate_is_noticed() {
    let (_dir, authority) = authority();
    let (_other_dir, other) = self::authority();
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Anchor::read(dir.path()).unwrap(), None);
    let anchor = Anchor {
        hub_url: "https://hub.example:7443".into(),
        ca_fingerprint: authority.fingerprint(),
        ca_pem: certificate_pem(authority.ca_der()),
        hub_feed: FEED.into(),
        hub_public_key: "00".repeat(32),
        hub_root: None,
    };
    anchor.write(dir.path()).unwrap();
    assert_eq!(Anchor::read(dir.path()).unwrap().as_ref(), Some(&anchor));
    assert_eq!(anchor.ca_der().unwrap(), authority.ca_der());
    Anchor { ca_pem: certificate_pem(other.ca_der()), ..anchor }.write(dir.path()).unwrap();
    assert!(matches!(Anchor::read(dir.path()), Err(IdentityError::Damaged { .. })));
}

fn token() -> JoinToken {
    JoinToken {
        hub_url: "https://hub.example:7443".into(),
        ca_fingerprint: [7; 32],
        secret: [9; 32],
        district_code: "310115".into(),
        district_name: "浦东新区".into(),
        expires_ms: NOW,
    }
}

#[test]
fn a_token_is_one_line_and_reads_back() {
    let text = token().to_string();
    assert!(text.starts_with("LD1-") && text.chars().all(|c| c.is_ascii_graphic()), "{text}");
    assert!(text.len() < 220, "{} letters", text.len());
    assert_eq!(text.parse::<JoinToken>().unwrap(), token());
    let folded = format!("  {}\r\n {}\n", &text[..60], &text[60..]);
    assert_eq!(folded.parse::<JoinToken>().unwrap(), token());
}

#[test]
fn any_single_wrong_letter_of_a_token_is_noticed() {
    let text = token().to_string();
    for at in 4..text.len() {
        let letter = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        let wrong = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
        assert_eq!(wrong.parse::<JoinToken>(), Err(TokenError::Mistyped), "letter {at}");
        assert!(text[..at].parse::<JoinToken>().is_err(), "cut at {at}");
    }
}

#[test]
fn what_is_no_token_is_told_from_a_newer_one() {
    assert_eq!("hello".parse::<JoinToken>(), Err(TokenError::NotAToken));
    assert_eq!("".parse::<JoinToken>(), Err(TokenError::NotAToken));
    let newer = token().to_string().replace("LD1-", "LD2-");
    assert_eq!(newer.parse::<JoinToken>(), Err(TokenError::OtherVersion("LD2".into())));
}

#[test]
fn an_expired_token_says_when_it_expired() {
    assert!(token().check_expiry(NOW).is_ok());
    let error = token().check_expiry(NOW + 1).unwrap_err();
    assert!(error.to_string().contains("2026-11-18"), "{error}");
}

#[test]
fn a_secret_is_never_printed_and_its_hash_is_stable() {
    let shown = format!("{:?}", token());
    assert!(!shown.contains("9, 9") && !shown.contains("0909"), "{shown}");
    let expected = Sha256::digest([b"liandong.token.v1".as_slice(), &[9; 32]].concat());
    assert_eq!(token_hash(&[9; 32])[..], expected[..]);
    assert_ne!(JoinToken::random_secret(), JoinToken::random_secret());
}
