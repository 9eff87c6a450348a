//! When a delivery is tried again.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// The waits between one attempt and the next, before jitter: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h,
/// 14 h, 20 h and 24 h, as Standard Webhooks has them. So there are ten attempts in about 76 hours.
pub(super) const USUAL: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * MINUTE),
    Duration::from_secs(30 * MINUTE),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(14 * HOUR),
    Duration::from_secs(20 * HOUR),
    Duration::from_secs(24 * HOUR),
];

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// What a receiver may ask for with `Retry-After`, at the most.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * HOUR);

/// What is added to a wait, at the most: a fifth of it.
const JITTER: u32 = 5;

/// How long to wait after this many failed attempts, of which there is one at least, or `None`
/// where there is no other attempt. To the wait of the schedule a part of up to a fifth is added:
/// which one follows from the delivery and the attempt, so that deliveries that failed together are
/// not tried together. What the receiver asked for is waited for where it is longer, up to a day.
pub(super) fn wait(
    schedule: &[Duration],
    delivery: &str,
    failed: u32,
    asked: Option<Duration>,
) -> Option<Duration> {
    let place = usize::try_from(failed.checked_sub(1)?).ok()?;
    let wait = *schedule.get(place)?;
    let mut hash = Sha256::new_with_prefix(delivery);
    hash.update(failed.to_le_bytes());
    let [first, second, ..] = <[u8; 32]>::from(hash.finalize());
    let share = u32::from(u16::from_le_bytes([first, second]));
    // A fifth of the wait in 65 536 parts, and so many of them.
    let most = wait.checked_div(JITTER).unwrap_or_default();
    let jitter = most.checked_div(1 << 16).unwrap_or_default().saturating_mul(share);
    let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
    Some(wait.saturating_add(jitter).max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_differ_and_end() {
        let waits = |delivery: &str| -> Vec<Duration> {
            (1..).map_while(|failed| wait(&USUAL, delivery, failed, None)).collect()
        };
        let (ours, theirs) = (waits("dlv_1"), waits("dlv_2"));
        assert_eq!((ours.len(), &waits("dlv_1")), (9, &ours));
        assert_ne!(ours, theirs);
        for waits in [&ours, &theirs] {
            assert!(waits.is_sorted());
            for (wait, usual) in waits.iter().zip(USUAL) {
                assert!((usual..usual + usual / 5).contains(wait), "{wait:?}");
            }
        }
        assert_eq!(wait(&USUAL, "dlv_1", 0, None), None);
    }

    #[test]
    fn a_receiver_may_ask_for_more_time() {
        let after = |asked| wait(&USUAL, "dlv_1", 1, Some(Duration::from_secs(asked)));
        assert_eq!(after(90), Some(Duration::from_secs(90)));
        assert_eq!(after(1), wait(&USUAL, "dlv_1", 1, None));
        assert_eq!(after(u64::MAX), Some(Duration::from_secs(86_400)));
    }
}
