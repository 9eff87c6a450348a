//! Goal: what is known of a stream is right at every chunk: at the end it is the usage of the whole
//! answer, where it breaks off it is what was told by then, and a chunk that comes twice changes
//! nothing.
//!
//! Method: for each provider the chunks of a stream as documented, pushed one by one, each twice,
//! and in server-sent events; against the parts written down by hand, at the end and at each cut.

use limitry::llm::{Finish, Usage, UsageSource, UsageStream};
use serde_json::{Value, json};

use crate::responses::parts;

type Parts = Vec<(&'static str, u64)>;

/// Pushes chunks, and returns what is known after each of them.
fn run(mut stream: UsageStream, chunks: &[Value]) -> Vec<(Parts, UsageSource)> {
    let mut again = stream.clone();
    let known = chunks.iter().map(|chunk| {
        stream.push(chunk.to_string()).expect("it is taken");
        for _ in 0..2 {
            let event = format!("event: {}\ndata: {chunk}\n\n", chunk["type"]);
            again.push(event).expect("it is taken");
        }
        let usage = stream.usage().expect("it is known");
        assert_eq!(again.usage(), Ok(usage.clone()), "{chunk}");
        assert_eq!(stream.is_complete(), usage.source == UsageSource::Reported, "{chunk}");
        (parts(&usage), usage.source)
    });
    known.collect()
}

#[test]
fn openai() {
    let known = run(
        UsageStream::openai(),
        &[
            // Azure's first chunk has no choices, and no usage either.
            json!({"choices": [], "prompt_filter_results": [{}]}),
            json!({"choices": [{"delta": {"role": "assistant"}}], "usage": null}),
            json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": null}),
            json!({"model": "m", "choices": [], "usage": {"prompt_tokens": 9,
                "completion_tokens": 2, "total_tokens": 11,
                "prompt_tokens_details": {"cached_tokens": 4}}}),
        ],
    );
    let all = vec![("input", 5), ("cached", 4), ("output", 2)];
    assert_eq!(known[2], (vec![], UsageSource::Missing));
    assert_eq!(known[3], (all, UsageSource::Reported));
}

/// A server may tell the totals so far in every chunk (case 19).
#[test]
fn totals_in_every_chunk_are_not_added_up() {
    let chunk = |output: u64, finish: Value| {
        json!({"choices": [{"delta": {"content": "x"}, "finish_reason": finish}], "usage":
            {"prompt_tokens": 6179, "completion_tokens": output, "total_tokens": 6179 + output}})
    };
    let mut chunks: Vec<_> = (1..222).map(|output| chunk(output, Value::Null)).collect();
    chunks.push(chunk(222, json!("stop")));
    let known = run(UsageStream::openai(), &chunks);
    assert_eq!(known[99], (vec![("input", 6179), ("output", 100)], UsageSource::Partly));
    assert_eq!(known[221], (vec![("input", 6179), ("output", 222)], UsageSource::Reported));
}

#[test]
fn openai_responses() {
    for (last, finish) in [
        ("completed", Finish::Stopped),
        ("incomplete", Finish::Truncated),
        ("failed", Finish::Failed),
    ] {
        let mut stream = UsageStream::openai_responses();
        stream
            .push(
                json!({"type": "response.created", "response": {"status": "in_progress",
            "usage": null}})
                .to_string(),
            )
            .unwrap();
        stream.push(r#"data: {"type":"response.output_text.delta","delta":"Hi"}"#).unwrap();
        assert_eq!(stream.usage().unwrap().source, UsageSource::Missing);
        stream
            .push(
                json!({"type": format!("response.{last}"), "response": {
            "status": last, "service_tier": "default", "model": "gpt-5", "usage": {
                "input_tokens": 9, "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 64, "output_tokens_details": {"reasoning_tokens": 60},
                "total_tokens": 73}}})
                .to_string(),
            )
            .unwrap();
        let usage = stream.usage().unwrap();
        let expected = [("input", 9), ("cached", 0), ("output", 4), ("reasoning", 60)];
        assert_eq!(parts(&usage), expected);
        assert_eq!((usage.finish, usage.service_tier.as_deref()), (finish, Some("default")));
        assert!(stream.is_complete());
    }
}

/// The output of `message_start` is a placeholder, and `message_delta` has totals (cases 3 to 5).
#[test]
fn anthropic() {
    let start = |usage: Value| {
        json!({"type": "message_start", "message":
        {"model": "claude", "stop_reason": null, "usage": usage}})
    };
    let delta = |usage: Value| {
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
        "usage": usage})
    };
    let known = run(
        UsageStream::anthropic(),
        &[
            start(json!({"input_tokens": 25, "output_tokens": 1})),
            json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}}),
            json!({"type": "ping"}),
            delta(json!({"output_tokens": 15})),
            json!({"type": "message_stop"}),
        ],
    );
    assert_eq!(known[2], (vec![("input", 25), ("output", 1)], UsageSource::Partly));
    assert_eq!(known[4], (vec![("input", 25), ("output", 15)], UsageSource::Reported));
    // What the delta repeats replaces, and lifetimes of the start hold.
    let known = run(
        UsageStream::anthropic(),
        &[
            start(
                json!({"input_tokens": 0, "cache_creation_input_tokens": 3000, "output_tokens": 2,
                "cache_creation":
                    {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 3000}}),
            ),
            delta(json!({"input_tokens": 900, "cache_creation_input_tokens": 3000,
                "cache_read_input_tokens": 10, "output_tokens": 47,
                "server_tool_use": {"web_search_requests": 1}})),
        ],
    );
    let all = vec![
        ("input", 900),
        ("cached", 10),
        ("write_5m", 0),
        ("write_1h", 3000),
        ("output", 47),
        ("searches", 1),
    ];
    assert_eq!(known[1], (all, UsageSource::Reported));
    let mut broken = UsageStream::anthropic();
    broken.push(start(json!({"input_tokens": 25, "output_tokens": 1})).to_string()).unwrap();
    broken.push(r#"{"type":"error","error":{"type":"overloaded_error"}}"#).unwrap();
    let usage = broken.usage().unwrap();
    assert_eq!((usage.finish, usage.source), (Finish::Failed, UsageSource::Partly));
}

#[test]
fn gemini() {
    let chunk = |output: u64, total: u64| {
        json!({"candidates": [{"content": {}}], "modelVersion": "gemini-2.5-flash",
            "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": output,
                "thoughtsTokenCount": 20, "totalTokenCount": total}})
    };
    let mut last = chunk(30, 57);
    last["candidates"][0]["finishReason"] = json!("STOP");
    let first = json!({"candidates": [{}], "usageMetadata": {"promptTokenCount": 7,
        "totalTokenCount": 7}});
    let known = run(UsageStream::gemini(), &[first, chunk(12, 39), last]);
    assert_eq!(known[0], (vec![("input", 7), ("output", 0)], UsageSource::Partly));
    let all = |output| vec![("input", 7), ("output", output), ("reasoning", 20)];
    assert_eq!(known[1], (all(12), UsageSource::Partly));
    assert_eq!(known[2], (all(30), UsageSource::Reported));
}

#[test]
fn bedrock_cohere_and_ollama() {
    let metadata =
        |usage: Value| json!({"metadata": {"usage": usage, "metrics": {"latencyMs": 9}}});
    let stop = json!({"messageStop": {"stopReason": "tool_use"}});
    let known = run(
        UsageStream::bedrock("eu.anthropic.claude-sonnet-4-5-v1:0"),
        &[
            json!({"contentBlockDelta": {"delta": {"text": "Hi"}}}),
            stop.clone(),
            metadata(json!({"inputTokens": 10, "cacheReadInputTokens": 50, "outputTokens": 5,
                "totalTokens": 65})),
        ],
    );
    assert_eq!(known[1], (vec![], UsageSource::Missing));
    let all = vec![("input", 10), ("cached", 50), ("output", 5)];
    assert_eq!(known[2], (all, UsageSource::Reported));
    // Models of OpenAI's have the caches in their input, and twice in their total (case 13).
    let known = run(
        UsageStream::bedrock("us.openai.gpt-6-v1:0"),
        &[
            stop,
            metadata(json!({"inputTokens": 4995, "cacheWriteInputTokens": 4993,
            "outputTokens": 19, "totalTokens": 10007})),
        ],
    );
    let all = vec![("input", 2), ("write", 4993), ("output", 19)];
    assert_eq!(known[1], (all, UsageSource::Reported));

    let known = run(
        UsageStream::cohere(),
        &[
            json!({"type": "content-delta", "index": 0, "delta": {"message": {}}}),
            json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": {
                "billed_units": {"input_tokens": 43.0, "output_tokens": 9.0},
                "tokens": {"input_tokens": 219.0, "output_tokens": 12.0}}}}),
        ],
    );
    assert_eq!(known[1], (vec![("input", 43), ("output", 9)], UsageSource::Reported));

    let known = run(
        UsageStream::ollama(),
        &[
            json!({"model": "llama3", "message": {"content": "Hi"}, "done": false}),
            json!({"model": "llama3", "done": true, "prompt_eval_count": 3, "eval_count": 2}),
        ],
    );
    assert_eq!(known[0], (vec![], UsageSource::Missing));
    assert_eq!(known[1], (vec![("input", 3), ("output", 2)], UsageSource::Reported));
}

#[test]
fn a_bad_chunk_is_an_error_and_changes_nothing() {
    let mut stream = UsageStream::gemini();
    let good = json!({"usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}}).to_string();
    stream.push(&good).unwrap();
    let before = stream.usage().unwrap();
    for bad in [
        r#"{"usageMetadata": {"promptTokenCount": -7}}"#,
        r#"{"usageMetadata""#,
        "[1]",
        "data: 7",
        r#"{"usageMetadata": {"cachedContentTokenCount": 8}}"#,
    ] {
        assert!(stream.push(bad).is_err(), "{bad}");
        assert_eq!(stream.usage().as_ref(), Ok(&before), "{bad}");
    }
    // An estimate fills in what a stream that broke off has not told, and never lowers a count.
    let mut stream = UsageStream::openai();
    stream.push(r#"{"choices": [{"delta": {"content": "400 characters"}}]}"#).unwrap();
    let usage = stream.usage().unwrap().or_estimate(120, 100);
    assert_eq!(parts(&usage), [("input", 120), ("output", 100)]);
    assert_eq!(usage, {
        let mut same = Usage::estimated(120, 100);
        same.source = UsageSource::Estimated;
        same
    });
    let known = before.or_estimate(1, 0);
    assert_eq!(known.input_tokens(), Some(7));
}
