//! Goal: documented responses give documented counts: nothing is counted twice, nothing left out, a
//! field that is not known is ignored, and one that is missing is not guessed.
//!
//! Method: for each provider responses in the shapes that it documents, of every kind, most with
//! figures of threads where somebody had counted wrongly (`facts` beside each), against the parts
//! written down by hand.

use limitry::llm::{EventUsage, Finish, Usage, UsageError, UsageSource};
use limitry::{Amount, Event};
use serde_json::json;

type Reader = fn(String) -> Result<Usage, UsageError>;

const OPENAI: Reader = |json| Usage::from_openai(json);
const RESPONSES: Reader = |json| Usage::from_openai_responses(json);
const ANTHROPIC: Reader = |json| Usage::from_anthropic(json);
const GEMINI: Reader = |json| Usage::from_gemini(json);
const BEDROCK: Reader = |json| Usage::from_bedrock(json);
const COHERE: Reader = |json| Usage::from_cohere(json);
const OLLAMA: Reader = |json| Usage::from_ollama(json);

/// The parts of a usage that are there, in the order of the struct.
pub(crate) fn parts(usage: &Usage) -> Vec<(&'static str, u64)> {
    let all = [
        ("input", usage.input),
        ("cached", usage.cached_input),
        ("write_5m", usage.cache_write_5m),
        ("write_1h", usage.cache_write_1h),
        ("write", usage.cache_write_other),
        ("audio_in", usage.audio_input),
        ("image_in", usage.image_input),
        ("output", usage.output),
        ("reasoning", usage.reasoning),
        ("audio_out", usage.audio_output),
        ("image_out", usage.image_output),
        ("images", usage.images),
        ("searches", usage.searches),
    ];
    all.into_iter().filter_map(|(name, part)| Some((name, part?))).collect()
}

/// Reads a usage object alone and in its response, which say the same.
fn check(read: Reader, within: &str, usage: serde_json::Value, expected: &[(&'static str, u64)]) {
    let alone = read(usage.to_string()).expect("it is read");
    assert_eq!(parts(&alone), expected, "{usage}");
    assert_eq!(alone.source, UsageSource::Reported, "{usage}");
    let response = json!({"id": "x", within: usage, "a_field_of_tomorrow": [{"b": null}]});
    let whole = read(response.to_string()).expect("it is read");
    assert_eq!(whole, alone, "{response}");
    if let Some(total) = alone.reported_total {
        assert_eq!(alone.total_tokens(), Some(total), "{usage}");
    }
}

#[test]
fn openai_and_who_speaks_like_it() {
    check(
        OPENAI,
        "usage",
        json!({"prompt_tokens": 120, "completion_tokens": 40, "total_tokens": 160}),
        &[("input", 120), ("output", 40)],
    );
    // Cached, written and reasoning tokens are parts (case 24).
    check(
        OPENAI,
        "usage",
        json!({
            "prompt_tokens": 2000, "completion_tokens": 50, "total_tokens": 2050,
            "prompt_tokens_details":
                {"cached_tokens": 500, "cache_write_tokens": 1200, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 30, "audio_tokens": 5,
                "accepted_prediction_tokens": 3, "rejected_prediction_tokens": 2
            },
        }),
        &[
            ("input", 300),
            ("cached", 500),
            ("write", 1200),
            ("audio_in", 0),
            ("output", 15),
            ("reasoning", 30),
            ("audio_out", 5),
        ],
    );
    // Reasoning lies within the completion, or beside it (cases 7 and 6, of xAI).
    check(
        OPENAI,
        "usage",
        json!({
            "prompt_tokens": 500, "completion_tokens": 500, "total_tokens": 1000,
            "completion_tokens_details": {"reasoning_tokens": 200},
        }),
        &[("input", 500), ("output", 300), ("reasoning", 200)],
    );
    check(
        OPENAI,
        "usage",
        json!({
            "prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428,
            "prompt_tokens_details": {"cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 2809},
        }),
        &[("input", 9992), ("cached", 128), ("output", 1499), ("reasoning", 2809)],
    );
    // Embeddings have no output, and their total says so.
    check(OPENAI, "usage", json!({"prompt_tokens": 8, "total_tokens": 8}), &[("input", 8)]);
    // DeepSeek's and Mistral's words for what came from a cache.
    check(
        OPENAI,
        "usage",
        json!({
            "prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107,
            "prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40,
        }),
        &[("input", 40), ("cached", 60), ("output", 7)],
    );
    check(
        OPENAI,
        "usage",
        json!({
            "prompt_tokens": 1200, "completion_tokens": 30, "total_tokens": 1230,
            "prompt_token_details": {"cached_tokens": 1152}, "num_cached_tokens": 1152,
            "prompt_audio_seconds": null,
        }),
        &[("input", 48), ("cached", 1152), ("output", 30)],
    );
    // A transcription, and audio of which some came from a cache.
    check(
        OPENAI,
        "usage",
        json!({
            "type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
        }),
        &[("input", 0), ("audio_in", 14), ("output", 45)],
    );
    check(
        OPENAI,
        "usage",
        json!({
            "total_tokens": 253, "input_tokens": 132, "output_tokens": 121,
            "input_token_details": {
                "text_tokens": 119, "audio_tokens": 13, "cached_tokens": 64,
                "cached_tokens_details": {"text_tokens": 56, "audio_tokens": 8},
            },
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
        }),
        &[("input", 63), ("cached", 64), ("audio_in", 5), ("output", 30), ("audio_out", 91)],
    );
    check(
        RESPONSES,
        "usage",
        json!({
            "input_tokens": 36, "input_tokens_details": {"cached_tokens": 6}, "output_tokens": 87,
            "output_tokens_details": {"reasoning_tokens": 64}, "total_tokens": 123,
        }),
        &[("input", 30), ("cached", 6), ("output", 23), ("reasoning", 64)],
    );
}

#[test]
fn what_responses_of_openai_say_beside_their_counts() {
    let response = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-2024-08-06",
        "service_tier": "flex", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": null, "tool_calls": [{"id": "call_1"}]}}],
        "usage":
            {"prompt_tokens": 82, "completion_tokens": 17, "total_tokens": 99, "cost": 0.00014},
    });
    let usage = Usage::from_openai(response.to_string()).unwrap();
    assert_eq!(usage.model.as_deref(), Some("gpt-4o-2024-08-06"));
    assert_eq!(usage.service_tier.as_deref(), Some("flex"));
    assert_eq!((usage.finish, usage.requests), (Finish::Tools, Some(1)));
    assert_eq!(usage.reported_cost_cents, Some("0.014".parse().unwrap()));
    // Ten billion ticks are a dollar; what is beyond a millionth of a cent is rounded up (case 6).
    let ticks =
        json!({"prompt_tokens": 1, "completion_tokens": 1, "cost_in_usd_ticks": 232_856_001});
    let usage = Usage::from_openai(ticks.to_string()).unwrap();
    assert_eq!(usage.reported_cost_cents, Some("2.328561".parse().unwrap()));
    let images = json!({
        "created": 1, "data": [{"b64_json": "..."}, {"b64_json": "..."}],
        "usage": {
            "input_tokens": 50, "output_tokens": 2112, "total_tokens": 2162,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        },
    });
    let usage = Usage::from_openai(images.to_string()).unwrap();
    assert_eq!(parts(&usage), [("input", 10), ("image_in", 40), ("output", 2112), ("images", 2)]);
    // An answer that a filter took was paid for; one whose prompt it took has no usage.
    let filtered = json!({
        "choices": [{"finish_reason": "content_filter", "message": {"content": ""}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    });
    let usage = Usage::from_openai(filtered.to_string()).unwrap();
    assert_eq!((usage.finish, usage.total_tokens()), (Finish::Filtered, Some(12)));
    let refused = json!({"error": {"code": "content_filter", "status": 400, "message": "..."}});
    let usage = Usage::from_openai(refused.to_string()).unwrap();
    assert_eq!((usage.finish, usage.source), (Finish::Failed, UsageSource::Missing));
    assert_eq!((parts(&usage), usage.requests), (vec![], None));
    // An answer that was cut (case 18).
    let cut = json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"},
        "usage": {"input_tokens": 9, "output_tokens": 1024, "total_tokens": 1033}});
    let usage = Usage::from_openai_responses(cut.to_string()).unwrap();
    assert_eq!((usage.finish, usage.output_tokens()), (Finish::Truncated, Some(1_024)));
}

#[test]
fn anthropic_counts_caches_beside_the_input() {
    // Cases 1, 2, 23.
    check(
        ANTHROPIC,
        "usage",
        json!({"input_tokens": 3, "cache_creation_input_tokens": 12304,
            "cache_read_input_tokens": 0, "output_tokens": 550}),
        &[("input", 3), ("cached", 0), ("write_5m", 12304), ("output", 550)],
    );
    check(
        ANTHROPIC,
        "usage",
        json!({
            "input_tokens": 100, "cache_creation_input_tokens": 3000,
            "cache_read_input_tokens": 200, "cache_creation":
                {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
            "output_tokens": 71, "output_tokens_details": {"thinking_tokens": 60},
            "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
        }),
        &[
            ("input", 100),
            ("cached", 200),
            ("write_5m", 1000),
            ("write_1h", 2000),
            ("output", 11),
            ("reasoning", 60),
            ("searches", 2),
        ],
    );
    // A split that leaves something over: the rest is of five minutes.
    check(
        ANTHROPIC,
        "usage",
        json!({
            "input_tokens": 1, "cache_creation_input_tokens": 3000, "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 2000},
        }),
        &[("input", 1), ("write_5m", 1000), ("write_1h", 2000), ("output", 1)],
    );
}

#[test]
fn anthropic_leaves_iterations_out_of_its_top_level() {
    let response = json!({
        "type": "message", "model": "claude-opus-4-6", "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 23000, "output_tokens": 1000, "service_tier": "priority",
            "iterations": [
                {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3500},
                {"type": "message", "input_tokens": 23000, "output_tokens": 1000,
                    "model": "claude-haiku-4-5"},
            ],
        },
    });
    let usage = Usage::from_anthropic(response.to_string()).unwrap();
    assert_eq!(parts(&usage), [("input", 203_000), ("output", 4500)]);
    assert_eq!(usage.service_tier.as_deref(), Some("priority"));
    let each = Usage::iterations_from_anthropic(response.to_string()).unwrap();
    let models: Vec<_> = each.iter().map(|it| (it.model.as_deref(), it.input)).collect();
    let expected = [("claude-opus-4-6", 180_000), ("claude-haiku-4-5", 23_000)];
    assert_eq!(models, expected.map(|(model, input)| (Some(model), Some(input))));
    let one = json!({"input_tokens": 5, "output_tokens": 2}).to_string();
    let each = Usage::iterations_from_anthropic(&one).unwrap();
    assert_eq!(each, [Usage::from_anthropic(&one).unwrap()]);
}

#[test]
fn a_refusal_without_output_is_free_and_keeps_its_counts() {
    let refused = |output: u64| {
        let response = json!({"type": "message", "stop_reason": "refusal",
            "usage": {"input_tokens": 900, "output_tokens": output}});
        Usage::from_anthropic(response.to_string()).unwrap()
    };
    let event = |usage: &Usage| Event::new("c", "model_call").usage(usage);
    let free = refused(0);
    assert!(free.is_free && free.finish == Finish::Refused);
    assert_eq!(event(&free).amount("cost_cents"), Some(Amount::ZERO));
    assert_eq!(event(&free).amount("input_tokens"), Some(900.into()));
    let paid = refused(5);
    assert!(!paid.is_free);
    assert_eq!(event(&paid).amount("cost_cents"), None);
}

#[test]
fn gemini_counts_thoughts_and_tools_beside_the_rest() {
    // Cases 8, 9, 10.
    check(
        GEMINI,
        "usageMetadata",
        json!({"promptTokenCount": 41, "candidatesTokenCount": 5, "thoughtsTokenCount": 343,
            "totalTokenCount": 389}),
        &[("input", 41), ("output", 5), ("reasoning", 343)],
    );
    check(
        GEMINI,
        "usageMetadata",
        json!({"promptTokenCount": 100, "cachedContentTokenCount": 60,
            "toolUsePromptTokenCount": 50, "candidatesTokenCount": 20, "thoughtsTokenCount": 30,
            "totalTokenCount": 200}),
        &[("input", 90), ("cached", 60), ("output", 20), ("reasoning", 30)],
    );
    check(
        GEMINI,
        "usageMetadata",
        json!({"promptTokenCount": 10, "candidatesTokenCount": 30, "thoughtsTokenCount": 20,
            "totalTokenCount": 40}),
        &[("input", 10), ("output", 10), ("reasoning", 20)],
    );
    check(
        GEMINI,
        "usageMetadata",
        json!({
            "promptTokenCount": 1000, "cachedContentTokenCount": 400, "candidatesTokenCount": 1300,
            "totalTokenCount": 2300, "trafficType": "ON_DEMAND",
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 300}, {"modality": "AUDIO", "tokenCount": 500},
                {"modality": "IMAGE", "tokenCount": 150}, {"modality": "VIDEO", "tokenCount": 50},
            ],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 400}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
        }),
        &[
            ("input", 350),
            ("cached", 400),
            ("audio_in", 100),
            ("image_in", 150),
            ("output", 10),
            ("image_out", 1290),
        ],
    );
    // A prompt that is blocked has no candidates (case 11).
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 12, "totalTokenCount": 12}});
    let usage = Usage::from_gemini(blocked.to_string()).unwrap();
    assert_eq!(parts(&usage), [("input", 12), ("output", 0)]);
    assert_eq!((usage.finish, usage.source), (Finish::Refused, UsageSource::Reported));
}

#[test]
fn bedrock_cohere_and_ollama() {
    // Case 12.
    check(
        BEDROCK,
        "usage",
        json!({"inputTokens": 10, "cacheReadInputTokens": 5000, "cacheWriteInputTokens": 200,
            "outputTokens": 50, "totalTokens": 5260,
            "cacheDetails": [{"ttl": "5m", "inputTokens": 150}, {"ttl": "1h", "inputTokens": 50}]}),
        &[("input", 10), ("cached", 5000), ("write_5m", 150), ("write_1h", 50), ("output", 50)],
    );
    // What is billed, and not all tokens (case 15); a rerank has search units alone (case 16).
    check(
        COHERE,
        "usage",
        json!({"billed_units": {"input_tokens": 431.0, "output_tokens": 9.0},
            "tokens": {"input_tokens": 2190.0, "output_tokens": 12.0}}),
        &[("input", 431), ("output", 9)],
    );
    check(COHERE, "meta", json!({"billed_units": {"search_units": 1.0}}), &[("searches", 1)]);
    let done = json!({"model": "llama3", "done": true, "done_reason": "length",
        "prompt_eval_count": 31, "prompt_eval_cached_count": 30, "eval_count": 120,
        "total_duration": 2_000_000_000_u64});
    let usage = OLLAMA(done.to_string()).unwrap();
    assert_eq!(parts(&usage), [("input", 1), ("cached", 30), ("output", 120)]);
    assert_eq!((usage.finish, usage.source), (Finish::Truncated, UsageSource::Reported));
    // A prompt that is not told is not 0 (case 14).
    let usage = OLLAMA(json!({"done": true, "eval_count": 120}).to_string()).unwrap();
    assert_eq!((parts(&usage), usage.source), (vec![("output", 120)], UsageSource::Partly));
    assert_eq!(usage.input_tokens(), None);
}

#[test]
fn what_is_wrong_is_said_by_the_name_of_the_field() {
    let says = |read: Reader, json: serde_json::Value| match read(json.to_string()) {
        Ok(usage) => panic!("{json} is {usage:?}"),
        Err(why) => why.to_string(),
    };
    const WHOLE: &str = "must be a whole number from 0 to 18446744073709551615";
    for (value, shown) in [
        (json!(43.5), "43.5"),
        (json!(-1), "-1"),
        (json!("12"), "\"12\""),
        (json!(true), "true"),
        (json!([1]), "a list"),
        (json!({"a": 1}), "an object"),
        (json!(1e30), "1000000000000000000000000000000"),
    ] {
        let json = json!({"usage": {"prompt_tokens": value}});
        assert_eq!(says(OPENAI, json), format!("prompt_tokens: {shown} {WHOLE}"));
    }
    let part = json!({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 11}});
    assert_eq!(
        says(OPENAI, part),
        "prompt_tokens_details.cached_tokens: 11 must be at most 10, which is all of prompt_tokens"
    );
    let split = json!({"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 3}});
    assert_eq!(
        says(ANTHROPIC, split),
        "cache_creation.ephemeral_5m_input_tokens: 6 must be at most 5, which is all of \
         cache_creation_input_tokens"
    );
    let cost = json!({"prompt_tokens": 1, "completion_tokens": 1, "cost": -0.5});
    assert_eq!(says(OPENAI, cost), "cost: below 0 must be a number of dollars from 0 on");
    let shape = says(OPENAI, json!({"usage": 7}));
    assert!(shape.contains("usage or response: an object"), "{shape}");
    assert!(says(OPENAI, json!([1])).contains("must be an object"));
    assert!(says(OPENAI, json!({"choices": vec![json!({}); 257]})).contains("at most 256 items"));
}

#[test]
fn an_event_has_each_token_once_and_keeps_a_cost_that_it_has() {
    let mut usage = Usage::default();
    (usage.input, usage.cached_input, usage.cache_write_1h) = (Some(1), Some(20), Some(300));
    (usage.cache_write_5m, usage.audio_input) = (Some(4_000), Some(50_000));
    (usage.output, usage.reasoning) = (Some(0), Some(600_000));
    (usage.images, usage.requests, usage.searches) = (Some(2), Some(1), Some(0));
    usage.reported_cost_cents = Some(7.into());
    usage.service_tier = Some("batch".to_owned());
    let event = Event::new("c", "model_call").usage(&usage);
    for (name, amount) in [
        ("input_tokens", 54_321_u64),
        ("output_tokens", 600_000),
        ("total_tokens", 654_321),
        ("cached_input_tokens", 20),
        ("cache_write_tokens", 4_300),
        ("cache_write_1h_tokens", 300),
        ("audio_input_tokens", 50_000),
        ("reasoning_tokens", 600_000),
        ("images", 2),
        ("cost_cents", 7),
    ] {
        assert_eq!(event.amount(name), Some(amount.into()), "{name}");
    }
    assert_eq!((event.amount("searches"), event.amount("requests")), (None, None));
    assert_eq!(event.dimension("service_tier"), Some("batch"));
    assert_eq!(event.validate(), Ok(()));
    let event = Event::new("c", "model_call").cost_cents(9).usage(&usage);
    assert_eq!(event.amount("cost_cents"), Some(9.into()));
    let unknown = Event::new("c", "model_call").usage(&Usage::default());
    assert_eq!(unknown, Event::new("c", "model_call"));
}
