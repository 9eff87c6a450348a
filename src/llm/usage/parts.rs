//! Taking counts apart that a provider counts inside each other.

use super::{Finish, UsageError};

/// A count with its name.
pub(super) type Named = (&'static str, Option<u64>);

/// What is left of a count without its parts; not known where the count is not.
pub(super) fn rest((of, whole): Named, parts: &[Named]) -> Result<Option<u64>, UsageError> {
    let Some(whole) = whole else { return Ok(None) };
    let mut left = whole;
    let first = parts.iter().find(|(_, part)| part.is_some_and(|part| part > 0));
    for (field, part) in parts {
        let part = part.unwrap_or(0);
        left = left.checked_sub(part).ok_or_else(|| {
            let all = parts.iter().filter_map(|(_, part)| *part);
            let part = all.fold(0_u64, u64::saturating_add);
            UsageError::Part { field: first.map_or(*field, |(field, _)| field), part, of, whole }
        })?;
    }
    Ok(Some(left))
}

/// Takes what overlaps from the second of two counts, then from the first, so that both together
/// are at most `room`. Says whether anything did.
pub(super) fn fit(room: u64, first: &mut Option<u64>, second: &mut Option<u64>) -> bool {
    let fits = |count: &mut Option<u64>, room: u64| {
        let over = count.unwrap_or(0).saturating_sub(room);
        if let Some(count) = count {
            *count = count.saturating_sub(over);
        }
        (room.saturating_sub(count.unwrap_or(0)), over > 0)
    };
    let (room, first_is_over) = fits(first, room);
    let (_, second_is_over) = fits(second, room);
    first_is_over || second_is_over
}

/// How an answer ended, in the words of any provider.
pub(super) fn finish(word: &str) -> Finish {
    let word = word.to_ascii_lowercase();
    match &*word {
        "stop" | "stop_sequence" | "end_turn" | "complete" | "completed" | "pause_turn"
        | "done" => Finish::Stopped,
        "length"
        | "max_tokens"
        | "max_output_tokens"
        | "model_length"
        | "incomplete"
        | "model_context_window_exceeded" => Finish::Truncated,
        "tool_calls" | "function_call" | "tool_use" | "tool_call" => Finish::Tools,
        "refusal" => Finish::Refused,
        "content_filter"
        | "content_filtered"
        | "guardrail_intervened"
        | "safety"
        | "recitation"
        | "prohibited_content"
        | "blocklist"
        | "spii"
        | "image_safety"
        | "image_prohibited_content"
        | "error_toxic" => Finish::Filtered,
        "error"
        | "failed"
        | "cancelled"
        | "timeout"
        | "error_limit"
        | "malformed_function_call"
        | "unexpected_tool_call" => Finish::Failed,
        _ => Finish::Unknown,
    }
}
