//! Goal: signatures are those of Standard Webhooks, to the byte, and nothing else is taken for one.
//!
//! Method: the known answers of the product's verifier and of the standard's library; and what
//! differs from them in one thing.

use limitry::Timestamp;
use limitry::alerts::{StandardWebhook, WebhookError};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const BODY: &[u8] = br#"{"id":"evt_1","type":"ping","createdAt":"2023-11-14T22:13:20Z","data":{}}"#;
const SIGNED: &str = "v1,ses/+X6lm31xMLdh8my/o+rWgr6gkRXoZmgOeUbtrBM=";
const STAMP: &str = "1700000000";

fn at(second: i64) -> Timestamp {
    Timestamp::new(second, 999_999_999)
}

fn webhook() -> StandardWebhook {
    StandardWebhook::new(SECRET).expect("a secret")
}

#[test]
fn the_known_answers_are_signed() {
    assert_eq!(webhook().sign("dlv_1", at(1_700_000_000), BODY).as_deref(), Ok(SIGNED));
    let other = StandardWebhook::new(OTHER).expect("a secret");
    let body = br#"{"email":"test@example.com","username":"test_user"}"#;
    let signed = other.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", at(1_649_367_553), body);
    assert_eq!(signed.as_deref(), Ok("v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="));
}

#[test]
fn the_time_may_be_five_minutes_off() {
    let verify = |now| webhook().verify("dlv_1", STAMP, SIGNED, BODY, at(now));
    for now in [1_699_999_700, 1_700_000_000, 1_700_000_300] {
        assert_eq!(verify(now), Ok(()));
    }
    for (now, seconds) in [(1_700_000_301, 301), (1_699_999_699, 301), (-5, 1_700_000_005)] {
        assert_eq!(verify(now), Err(WebhookError::TooFarFromNow { seconds }));
    }
}

#[test]
fn whatever_differs_is_refused() {
    let now = at(1_700_000_000);
    let verify = |id: &str, stamp: &str, signed: &str, body: &[u8]| {
        webhook().verify(id, stamp, signed, body, now)
    };
    let wrong = Err(WebhookError::Signature);
    assert_eq!(verify("dlv_2", STAMP, SIGNED, BODY), wrong);
    assert_eq!(verify("dlv_1", "1700000001", SIGNED, BODY), wrong);
    assert_eq!(verify("dlv_1", STAMP, SIGNED, &BODY[1..]), wrong);
    for place in 0..BODY.len() {
        let mut body = BODY.to_vec();
        body[place] ^= 1;
        assert_eq!(verify("dlv_1", STAMP, SIGNED, &body), wrong);
    }
    let short = &SIGNED[..SIGNED.len() - 4];
    let v2 = SIGNED.replace("v1,", "v1a,");
    for signed in ["", " ", "v1,", "v1", "v1,????", short, &v2, &SIGNED[3..]] {
        assert_eq!(verify("dlv_1", STAMP, signed, BODY), wrong, "{signed}");
    }
    for stamp in ["", "+1700000000", "-1", "1700000000.0", "17000000000000000000000", " 1700000000"]
    {
        assert_eq!(verify("dlv_1", stamp, SIGNED, BODY), Err(WebhookError::Timestamp), "{stamp}");
    }
    for id in ["", "a.b", "."] {
        assert_eq!(verify(id, STAMP, SIGNED, BODY), Err(WebhookError::Id));
        assert_eq!(webhook().sign(id, now, BODY), Err(WebhookError::Id));
    }
    assert_eq!(webhook().sign("dlv_1", at(-1), BODY), Err(WebhookError::Timestamp));
}

#[test]
fn one_secret_takes_the_place_of_another() {
    let now = at(1_700_000_000);
    let both = StandardWebhook::new(OTHER).and_then(|it| it.and_secret(SECRET)).expect("secrets");
    let signed = both.sign("dlv_1", now, BODY).expect("signed");
    assert_eq!(signed.split(' ').nth(1), Some(SIGNED));
    // Either side may be the one that has only the old or the new one.
    for one in [SECRET, OTHER] {
        let one = StandardWebhook::new(one).expect("a secret");
        assert_eq!(one.verify("dlv_1", STAMP, &signed, BODY, now), Ok(()));
        let alone = one.sign("dlv_1", now, BODY).expect("signed");
        assert_eq!(both.verify("dlv_1", STAMP, &alone, BODY, now), Ok(()));
        let among_others = format!("v2,AAAA v1,AAAA {alone}");
        assert_eq!(both.verify("dlv_1", STAMP, &among_others, BODY, now), Ok(()));
    }
    let many = format!("{}{SIGNED}", "v1,AAAA ".repeat(32));
    let found = both.verify("dlv_1", STAMP, &many, BODY, now);
    assert_eq!(found, Err(WebhookError::Signature), "32 are looked at");
}

#[test]
fn a_secret_is_24_to_64_bytes_and_is_not_shown() {
    let plain = &SECRET["whsec_".len()..];
    let short = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY=";
    let long = format!("whsec_{}", "AAAA".repeat(22));
    for secret in ["", "whsec_", plain, short, &long, "whsec_????", "whsk_AAAA"] {
        assert_eq!(StandardWebhook::new(secret).err(), Some(WebhookError::Secret), "{secret}");
        assert!(webhook().and_secret(secret).is_err());
    }
    assert_eq!(format!("{:?}", webhook()), "StandardWebhook { secrets: 1, .. }");
    assert!(!WebhookError::Secret.to_string().contains("MDEy"));
}
