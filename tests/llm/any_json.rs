//! Goal: no JSON and no other text makes a reader panic, take more memory than the text is long, or
//! count more than is there.
//!
//! Method: random objects of the fields that providers have, nested in each other and with values
//! of any type, and documented bodies with bytes changed, through every reader and every stream.
//! What is an error says something; what is a value can go into an event. The same of the fields
//! that lists of prices have, through the readers of books.

use limitry::llm::{EventUsage, PriceBook, PriceBookError, Usage, UsageError, UsageStream};
use limitry::{Event, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const FIELDS: [&str; 44] = [
    "usage",
    "response",
    "x_groq",
    "message",
    "delta",
    "meta",
    "metadata",
    "usageMetadata",
    "iterations",
    "choices",
    "data",
    "candidates",
    "billed_units",
    "tokens",
    "cache_creation",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "input_tokens",
    "output_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
    "output_tokens_details",
    "input_tokens_details",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "audio_tokens",
    "image_tokens",
    "cached_tokens_details",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "ephemeral_1h_input_tokens",
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "promptTokensDetails",
    "inputTokens",
    "cacheDetails",
    "search_units",
    "prompt_eval_count",
    "eval_count",
    "cost",
    "$serde_json::private::Number",
];

/// What price lists say of models.
const OF_PRICES: [&str; 40] = [
    "id",
    "name",
    "models",
    "match",
    "or",
    "and",
    "equals",
    "starts_with",
    "ends_with",
    "contains",
    "regex",
    "prices",
    "constraint",
    "start_date",
    "start_time",
    "end_time",
    "input_mtok",
    "cache_read_mtok",
    "output_mtok",
    "requests_kcount",
    "base",
    "tiers",
    "start",
    "price",
    "provider_match",
    "model_match",
    "fallback_model_providers",
    "litellm_provider",
    "input_cost_per_token",
    "output_cost_per_token",
    "input_cost_per_token_above_128k_tokens",
    "cache_read_input_token_cost",
    "output_cost_per_token_batches",
    "provider",
    "model",
    "from",
    "above",
    "input_tokens",
    "input",
    "unknown",
];

fn any_value() -> impl Strategy<Value = Value> {
    value_of(&FIELDS)
}

/// A value whose objects have these fields.
fn value_of(fields: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        3 => (0_u64..5_000).prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => "[a-z0-9.\\-\\PC]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |within| {
        let field = prop::sample::select(fields.to_vec());
        let object = prop::collection::vec((field, within.clone()), 0..9).prop_map(|entries| {
            let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value));
            Value::Object(entries.collect::<Map<_, _>>())
        });
        prop_oneof![4 => object, 1 => prop::collection::vec(within, 0..4).prop_map(Value::from)]
    })
}

/// Every reader, and every stream.
fn read_by_all(json: &[u8]) -> Vec<Result<Usage, UsageError>> {
    let mut read = vec![
        Usage::from_openai(json),
        Usage::from_openai_responses(json),
        Usage::from_anthropic(json),
        Usage::from_gemini(json),
        Usage::from_bedrock(json),
        Usage::from_cohere(json),
        Usage::from_ollama(json),
    ];
    for mut stream in [
        UsageStream::openai(),
        UsageStream::openai_responses(),
        UsageStream::anthropic(),
        UsageStream::gemini(),
        UsageStream::bedrock("openai.x"),
        UsageStream::cohere(),
        UsageStream::ollama(),
    ] {
        read.push(stream.push(json).and_then(|()| stream.usage()));
        read.push(stream.push(json).and_then(|()| stream.usage()));
    }
    read.extend(Usage::iterations_from_anthropic(json).into_iter().flatten().map(Ok));
    read
}

fn check(json: &[u8]) {
    for read in read_by_all(json) {
        match read {
            Ok(usage) => {
                let event = Event::new("c", "model_call").usage(&usage);
                let total = usage.total_tokens();
                if event.validate().is_ok() {
                    assert_eq!(event.amount("total_tokens"), total.map(Into::into), "{usage:?}");
                }
                let again = serde_json::to_string(&usage).expect("it is printed");
                assert_eq!(serde_json::from_str::<Usage>(&again).expect("it is read"), usage);
            }
            Err(why) => assert!(why.to_string().len() < 600, "{why}"),
        }
    }
}

/// A book prices any usage or says why not; an error says something, and not everything.
fn check_book(book: Result<PriceBook, PriceBookError>) {
    match book {
        Ok(book) => {
            let at = Timestamp::new(1_800_000_000, 0);
            for tokens in [0, 1, 128_001, u64::MAX] {
                let cost = book.cost(None, "m", &Usage::estimated(tokens, tokens), at);
                cost.err().iter().for_each(|why| assert!(why.to_string().len() < 600, "{why}"));
            }
        }
        Err(why) => assert!((1..2_000).contains(&why.to_string().len()), "{why}"),
    }
}

proptest! {
    #[test]
    fn any_object_is_a_value_or_an_error(value in any_value()) {
        check(value.to_string().as_bytes());
        check(json!({"usage": value}).to_string().as_bytes());
    }

    #[test]
    fn any_list_of_prices_is_a_book_or_an_error(value in value_of(&OF_PRICES)) {
        let model = json!({"id": "m", "match": value, "prices": value});
        for list in [
            value.clone(),
            json!({ "m": value }),
            json!({"m": {"litellm_provider": "p", "input_cost_per_token": value}}),
            json!([value]),
            json!([{"id": "x", "models": value}]),
            json!([{"id": "x", "models": [model], "model_match": value}]),
            json!([{"id": "x", "models":
                [{"id": "m", "match": {"equals": "m"}, "prices": {"input_mtok": value}}]}]),
            json!({ "price": value }),
            json!({ "price": [value] }),
            json!({"price": [{"model": "m", "input": value}]}),
            json!({"price": [{"model": "m", "input": 1, "above": value}]}),
        ] {
            let json = list.to_string();
            let (map, genai) =
                (PriceBook::from_litellm(&json), PriceBook::from_genai_prices(&json));
            let mut read = vec![map, genai];
            read.extend(toml::to_string(&list).ok().map(|text| PriceBook::from_toml(&text)));
            for book in read {
                check_book(book);
            }
        }
    }

    #[test]
    fn any_text_is_a_value_or_an_error(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        check(&bytes);
        let body = json!({"usage": {"prompt_tokens": 12, "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 1}, "cost": 1.5e-7}});
        let mut body = body.to_string().into_bytes();
        let place = place.index(body.len());
        body[place] = byte;
        check(&body);
    }
}

#[test]
fn deep_and_wide_bodies_are_read_in_bounded_space() {
    let deep = format!("{}1{}", r#"{"usage":"#.repeat(100_000), "}".repeat(100_000));
    let ignored =
        format!(r#"{{"x":{}{},"prompt_tokens":1}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!(r#"{{"iterations":[{}{{}}]}}"#, "{},".repeat(100_000));
    for body in [&deep, &wide] {
        assert!(read_by_all(body.as_bytes()).iter().any(Result::is_err));
    }
    check(ignored.as_bytes());
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let either = format!("{}1{}", r#"{"or":["#.repeat(50_000), "]}".repeat(50_000));
    for (toml, json) in [
        (format!("price = {nested}"), format!(r#"{{"m":{nested}}}"#)),
        (format!("[[price]]\nmodel = \"m\"\ninput = {nested}"), nested.clone()),
        (
            format!("price{} = 1", ".a".repeat(100_000)),
            format!(r#"[{{"id":"x","models":[{{"id":"m","match":{either},"prices":{{}}}}]}}]"#),
        ),
    ] {
        check_book(PriceBook::from_toml(&toml));
        check_book(PriceBook::from_litellm(&json));
        check_book(PriceBook::from_genai_prices(&json));
    }
    // What comes in passes no bound unsaid: the event refuses it.
    let huge = json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX}).to_string();
    let usage = Usage::from_openai(huge).unwrap();
    assert_eq!(usage.total_tokens(), Some(u64::MAX));
    assert!(Event::new("c", "t").usage(&usage).validate().is_err());
}
