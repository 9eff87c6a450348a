//! Goal: a cost is the exact sum of tokens times prices, rounded once, up, at a millionth of a
//! cent, by the price that holds for the model, the time, the tier and the size; and what has no
//! price is an error, never 0.
//!
//! Method: costs that were got wrong elsewhere, by hand; random books and usages against fractions
//! that know nothing of fixed point; sizes one below, at and above a bound; rows of the lists that
//! are kept, and random texts into every reader.

use limitry::llm::{EventUsage, PriceBook, Usage};
use limitry::{Amount, Event, Pricer, Timestamp};
use proptest::prelude::*;
use serde_json::json;

fn at(text: &str) -> Timestamp {
    text.parse().expect("it is a time")
}

fn now() -> Timestamp {
    at("2026-11-27T12:00:00Z")
}

/// What a usage costs, the same by the usage and by an event that has it.
fn cost(book: &PriceBook, provider: &str, model: &str, usage: &Usage) -> String {
    let by_usage = book.cost(Some(provider), model, usage, now());
    let event = Event::new("c", "model_call").provider(provider).model(model).usage(usage);
    let by_event = book.price(&event, now()).map(Option::unwrap_or_default);
    assert_eq!(by_event, by_usage, "{usage:?}");
    by_usage.map_or_else(|why| why.to_string(), |cost| cost.to_string())
}

fn toml(text: &str) -> PriceBook {
    PriceBook::from_toml(text).expect("it is a book")
}

const BOOK: &str = r#"
[[price]]
provider = "anthropic"
model = ["claude-3-5-sonnet*", "claude-sonnet-4"]
input = 3
cache_write = 3.75
cache_write_1h = 6
cached_input = 0.30
output = 15

[[price]]
provider = "xai"
model = "grok-4"
input = 1.25
cached_input = 0.20
output = 2.50
above = [{ input_tokens = 200_000, inclusive = true, input = 2.5, output = 5 }]

[[price]]
provider = "google"
model = "gemini-2.5-flash"
input = 0.30
output = "2.50"
search = 0.014
image = 0.039
request = 0.001

[[price]]
provider = "openai"
model = "gpt-5.6"
input = 5
cached_input = 0.5
output = 30
above = [{ input_tokens = 272_000, input = 10, cached_input = 1, output = 45 }]
tiers.batch = { input = 2.5, output = 15 }

[[price]]
provider = "openai"
model = "gpt-6"
input = 10
cached_input = 1
cache_write = 12.5
output = 40
"#;

#[test]
fn costs_that_were_got_wrong_elsewhere() {
    let book = toml(BOOK);
    let sonnet = |usage: &Usage| cost(&book, "anthropic", "claude-sonnet-4", usage);
    let read = |json: serde_json::Value| Usage::from_anthropic(json.to_string()).unwrap();
    let usage = read(json!({"input_tokens": 3, "cache_creation_input_tokens": 12304,
        "cache_read_input_tokens": 0, "output_tokens": 550}));
    assert_eq!(sonnet(&usage), "5.4399");
    let usage = read(json!({"input_tokens": 0, "cache_creation_input_tokens": 3000,
        "output_tokens": 0, "cache_creation":
            {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000}}));
    assert_eq!(sonnet(&usage), "1.575");
    let usage = read(json!({"type": "message", "stop_reason": "refusal",
        "usage": {"input_tokens": 900, "output_tokens": 0}}));
    assert_eq!(book.cost(None, "claude-sonnet-4", &usage, now()), Ok(Amount::ZERO));

    let grok = json!({"prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428,
        "prompt_tokens_details": {"cached_tokens": 128},
        "completion_tokens_details": {"reasoning_tokens": 2809}});
    let usage = Usage::from_openai(grok.to_string()).unwrap();
    assert_eq!(cost(&book, "xai", "grok-4", &usage), "2.32856");

    let flash = json!({"promptTokenCount": 41, "candidatesTokenCount": 5,
        "thoughtsTokenCount": 343, "totalTokenCount": 389});
    let mut usage = Usage::from_gemini(flash.to_string()).unwrap();
    // A tenth of a cent a request beside the tokens.
    assert_eq!(cost(&book, "google", "gemini-2.5-flash", &usage), "0.18823");
    (usage.searches, usage.images, usage.requests) = (Some(2), Some(3), Some(2));
    assert_eq!(cost(&book, "google", "gemini-2.5-flash", &usage), "14.78823");

    let written = json!({"prompt_tokens": 2000, "completion_tokens": 0, "total_tokens": 2000,
        "prompt_tokens_details": {"cached_tokens": 500, "cache_write_tokens": 1200}});
    let usage = Usage::from_openai(written.to_string()).unwrap();
    assert_eq!(cost(&book, "openai", "gpt-6", &usage), "1.85");
}

#[test]
fn a_size_is_one_of_the_whole_request_at_its_exact_edge() {
    let book = toml(BOOK);
    let of = |input: u64, cached: u64, output: u64| {
        let mut usage = Usage::default();
        (usage.input, usage.cached_input, usage.output) = (Some(input), Some(cached), Some(output));
        usage
    };
    let large = cost(&book, "openai", "gpt-5.6", &of(270_540, 7_936, 630));
    assert_eq!(large, "274.1686");
    // Exactly so many are not above it at OpenAI, and are at xAI.
    for (input, cached, cents) in
        [(271_999, 0, "135.9995"), (200_000, 72_000, "103.6"), (200_000, 72_001, "207.2001")]
    {
        assert_eq!(cost(&book, "openai", "gpt-5.6", &of(input, cached, 0)), cents);
    }
    for (input, cents) in [(199_999, "24.999875"), (200_000, "50"), (200_001, "50.00025")] {
        assert_eq!(cost(&book, "xai", "grok-4", &of(input, 0, 0)), cents);
    }
    // A tier has prices of its own, and the standard ones where it says nothing.
    let mut usage = of(100_000, 100_000, 1_000);
    assert_eq!(cost(&book, "openai", "gpt-5.6", &usage), "58");
    usage.service_tier = Some("batch".to_owned());
    assert_eq!(cost(&book, "openai", "gpt-5.6", &usage), "31.5");
    usage.service_tier = Some("default".to_owned());
    assert_eq!(cost(&book, "openai", "gpt-5.6", &usage), "58");
    usage.service_tier = Some("priority".to_owned());
    assert_eq!(
        cost(&book, "openai", "gpt-5.6", &usage),
        "service_tier: \"priority\" has no price for model \"gpt-5.6\" in the price book"
    );
}

#[test]
fn the_price_of_a_name_is_found() {
    let book = toml(
        r#"
        [[price]]
        model = "own*"
        input = 1
        [[price]]
        provider = "openai"
        model = ["gpt-4o", "gpt-4o-2024-05-13"]
        input = 2
        [[price]]
        provider = ["azure", "openai"]
        model = "gpt-4*"
        input = 3
        [[price]]
        model = "gpt-4o-mini"
        input = 4
        "#,
    );
    let mut usage = Usage::default();
    usage.input = Some(10_000);
    for (provider, model, cents) in [
        (Some("openai"), "gpt-4o", "2"),
        (None, "GPT-4o", "2"),
        (Some("OpenAI"), "gpt-4o-2024-05-13", "2"),
        (Some("azure"), "gpt-4o", "3"),
        // A name for itself comes before a pattern, and a pattern before a name without its date.
        (Some("openai"), "gpt-4o-mini", "4"),
        (Some("openai"), "gpt-4o-2024-08-06", "3"),
        (Some("any"), "gpt-4o-mini-2024-07-18", "4"),
        (Some("any"), "own-model", "1"),
    ] {
        for _ in 0..2 {
            let cost = book.cost(provider, model, &usage, now()).map(|cost| cost.to_string());
            assert_eq!(cost.as_deref(), Ok(cents), "{provider:?} {model}");
        }
    }
    let why = book.cost(Some("groq"), "gpt-4o", &usage, now()).unwrap_err();
    assert_eq!(
        why.to_string(),
        "model: \"gpt-4o\" has no price of provider \"groq\" in the price book"
    );
    let book = book.unknown_models_like("own").unwrap();
    assert_eq!(book.cost(Some("groq"), "gpt-4o", &usage, now()), Ok(1.into()));
    assert!(toml("").unknown_models_like("own").is_err());
    // A book in front amends one behind it.
    let both = toml("[[price]]\nmodel = \"gpt-4o\"\ninput = 9").or(book);
    assert_eq!(both.cost(Some("openai"), "gpt-4o", &usage, now()), Ok(9.into()));
    assert_eq!(both.cost(None, "nobody's", &usage, now()), Ok(1.into()));
}

#[test]
fn prices_hold_for_their_time() {
    let book = toml(
        r#"
        [[price]]
        model = "m"
        until = 2026-03-01
        input = 1
        [[price]]
        model = "m"
        from = 2026-03-01
        input = 2
        [[price]]
        model = "m"
        from = 2026-06-01T08:00:00+02:00
        until = 2026-07-01
        input = 3
        "#,
    );
    let mut usage = Usage::default();
    usage.input = Some(10_000);
    for (time, cents) in [
        ("1970-01-01T00:00:00Z", 1),
        ("2026-02-28T23:59:59.999999999Z", 1),
        ("2026-03-01T00:00:00Z", 2),
        ("2026-06-01T05:59:59Z", 2),
        ("2026-06-01T06:00:00Z", 3),
        ("2026-07-01T00:00:00Z", 2),
    ] {
        assert_eq!(book.cost(None, "m", &usage, at(time)), Ok(cents.into()), "{time}");
    }
    let later = toml("[[price]]\nmodel = \"m\"\nfrom = 2027-01-01\ninput = 1");
    let why = later.cost(None, "m", &usage, now()).unwrap_err().to_string();
    assert_eq!(why, "model: \"m\" has no price at 2026-11-27T12:00:00Z in the price book");
}

#[test]
fn what_cannot_be_priced_is_an_error_and_what_has_no_price_has_none() {
    let book = toml("[[price]]\nmodel = \"m\"\ninput = 1\n[[price]]\nmodel = \"r\"\nrequest = 0.5");
    let price = |event: Event<'_>| match book.price(&event, now()) {
        Ok(cost) => cost.map_or("none".to_owned(), |cost| cost.to_string()),
        Err(why) => why.to_string(),
    };
    let call = |model: &'static str| Event::new("c", "model_call").model(model);
    assert_eq!(price(Event::new("c", "tool_run").input_tokens(5)), "none");
    assert_eq!(price(call("m")), "none");
    assert_eq!(price(call("nobody's")), "none");
    assert_eq!(price(call("r")), "50");
    assert_eq!(price(call("r").value("requests", 3)), "150");
    assert_eq!(price(call("m").input_tokens(0).output_tokens(0)), "none");
    assert_eq!(price(call("m").input_tokens(1)), "0.0001");
    for (event, says) in [
        (call("x").input_tokens(1), "model: \"x\" has no price in the price book"),
        (
            call("m").output_tokens(1),
            "output: \"1\" have no price for model \"m\" in the price book",
        ),
        (
            call("m").total_tokens(7),
            "total_tokens: \"7\" must be told as input_tokens and output_tokens, whose prices \
             differ",
        ),
        (
            call("m").input_tokens(5).value("cached_input_tokens", 6),
            "input_tokens: \"5\" must be at least 6, which its parts are together",
        ),
        (
            call("m").input_tokens(5).value("audio_input_tokens", "0.5"),
            "audio_input_tokens: \"0.5\" must be a whole number from 0 on, to be priced",
        ),
    ] {
        assert_eq!(price(event), says);
    }
    for (text, says) in [
        ("price = 7", "price book"),
        ("[[price]]\ninput = 1", "model"),
        ("[[price]]\nmodel = \"m\"\ninpt = 1", "inpt"),
        ("[[price]]\nmodel = \"m\"\ninput = -1", "price of m: input"),
        (
            "[[price]]\nmodel = \"m\"\ninput = \"1,5\"",
            "price of m: input: \"1,5\" must be a number",
        ),
        ("[[price]]\nmodel = \"m\"\ninput = 1e-10", "must be a multiple of"),
        ("[[price]]\nmodel = \"m\"\ninput = 1e12", "must be at most 18446 dollars"),
        ("[[price]]\nmodel = \"m\"\nabove = [{input = 1}]", "above.input_tokens"),
        ("[[price]]\nmodel = \"m\"\nfrom = 08:00:00", "price of m: from"),
        ("unknown = \"x\"", "unknown: \"x\" must be a model of the book"),
    ] {
        let why = PriceBook::from_toml(text).unwrap_err().to_string();
        assert!(why.contains(says), "{text}: {why}");
    }
}

#[test]
fn many_small_costs_add_up_to_the_digit() {
    let book = toml("[[price]]\nmodel = \"m\"\ninput = 0.15\noutput = 0.6");
    let mut usage = Usage::default();
    usage.input = Some(500);
    let one = book.cost(None, "m", &usage, now()).unwrap();
    assert_eq!(one.to_string(), "0.0075");
    let mut sum = Amount::ZERO;
    for _ in 0..10_000_000 {
        sum = sum.checked_add(one).unwrap();
    }
    assert_eq!(sum, 75_000);
}

/// Rows as LiteLLM's map has them, 2026-11.
#[test]
fn litellm() {
    let book = PriceBook::from_litellm(
        json!({
            "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of https://..."},
            "gpt-4o-mini": {"litellm_provider": "openai", "mode": "chat",
                "input_cost_per_token": 1.5e-07, "input_cost_per_token_batches": 7.5e-08,
                "output_cost_per_token": 6e-07, "output_cost_per_token_batches": 3e-07,
                "cache_read_input_token_cost": 7.500000000000001e-08, "max_tokens": 16384,
                "search_context_cost_per_query": {"search_context_size_low": 0.025}},
            "azure/gpt-4o-mini": {"litellm_provider": "azure", "input_cost_per_token": "1.65e-07",
                "output_cost_per_token": 6.6e-07},
            "xai/grok-4": {"litellm_provider": "xai", "input_cost_per_token": 3e-06,
                "input_cost_per_token_above_200k_tokens": 6e-06, "output_cost_per_token": 1.5e-05},
            "gemini-2.5-pro": {"litellm_provider": "vertex_ai-language-models",
                "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
                "input_cost_per_token_above_200k_tokens": 2.5e-06,
                "cache_creation_input_token_cost_above_1hr_above_200k_tokens_priority": 1e-05},
            "whisper": {"litellm_provider": "openai", "input_cost_per_second": 0.0001},
            "broken": {"litellm_provider": "x", "input_cost_per_token": -1,
                "output_cost_per_token": 1e-06},
        })
        .to_string(),
    )
    .unwrap();
    let of = |input: u64, cached: u64, output: u64| {
        let mut usage = Usage::default();
        (usage.input, usage.cached_input, usage.output) = (Some(input), Some(cached), Some(output));
        usage
    };
    let mini = of(1_000, 1_000, 1_000);
    assert_eq!(cost(&book, "openai", "gpt-4o-mini", &mini), "0.0825");
    let mut batch = mini.clone();
    batch.service_tier = Some("batch".to_owned());
    assert_eq!(cost(&book, "openai", "gpt-4o-mini-2024-07-18", &batch), "0.045");
    assert_eq!(cost(&book, "azure", "gpt-4o-mini", &of(1_000, 0, 0)), "0.0165");
    assert_eq!(cost(&book, "azure", "azure/gpt-4o-mini", &of(1_000, 0, 0)), "0.0165");
    assert_eq!(cost(&book, "xai", "grok-4", &of(200_000, 0, 0)), "120");
    assert_eq!(cost(&book, "vertex_ai", "gemini-2.5-pro", &of(200_000, 0, 0)), "25");
    assert_eq!(cost(&book, "vertex_ai", "gemini-2.5-pro", &of(200_001, 0, 0)), "50.00025");
    let skipped: Vec<_> = book.skipped().iter().map(|it| &*it.model).collect();
    assert_eq!(skipped, ["broken", "gpt-4o-mini", "whisper", "whisper"]);
    // A price that is none is no price of 0.
    assert!(cost(&book, "x", "broken", &of(1, 0, 0)).contains("no price"));
    for text in ["", "[]", "{\"m\": 1}", "{\"m\""] {
        assert!(PriceBook::from_litellm(text).is_err(), "{text}");
    }
}

/// Rows as genai-prices has them, 2026-08-21.
#[test]
fn genai_prices() {
    let book = PriceBook::from_genai_prices(
        json!([
            {"id": "google", "name": "Google", "api_pattern": "x",
                "model_match": {"contains": "gemini"}, "models": [
                {"id": "gemini-3.6-flash", "match": {"starts_with": "gemini-3.6-flash"}, "prices": [
                    {"prices": {"input_mtok": 0.75, "cache_read_mtok": 0.075, "output_mtok": 3.75}},
                    {"constraint": {"start_date": "2027-01-01"}, "prices":
                        {"input_mtok": 1.5, "cache_read_mtok": 0.15, "output_mtok": 7.5}}]},
                {"id": "gemini-2.5-pro", "match": {"or": [{"equals": "gemini-2.5-pro"},
                    {"and": [{"starts_with": "gemini-2.5"}, {"ends_with": "-pro-exp"}]}]},
                    "prices": {"input_mtok":
                            {"base": 1.25, "tiers": [{"start": 200000, "price": 2.5}]},
                        "output_mtok": 10, "web_searches_kcount": 35, "output_citation_mtok": 2}}]},
            {"id": "azure", "name": "Azure", "provider_match": {"contains": "azure"},
                "fallback_model_providers": ["openai"], "models": []},
            {"id": "openai", "name": "OpenAI", "model_match": {"or": [{"starts_with": "gpt-"},
                {"regex": "^o[134]"}]}, "models": [
                {"id": "gpt-5.6-luna", "match": {"regex": "^gpt-5\\.6-luna-\\d{4}"}, "prices":
                    {"input_mtok": 1, "output_mtok": 6, "requests_kcount": 10}}]},
            {"id": "deepseek", "name": "DeepSeek", "models": [
                {"id": "deepseek-chat", "match": {"starts_with": "deepseek-chat"}, "prices": [
                    {"prices": {"input_mtok": 0.135, "output_mtok": 0.55}},
                    {"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"},
                        "prices": {"input_mtok": 0.27, "output_mtok": 1.1}}]}]},
        ])
        .to_string(),
    )
    .unwrap();
    let mut usage = Usage::default();
    usage.input = Some(200_000);
    let cents = |provider: Option<&str>, model: &str, time: &str| {
        let cost = book.cost(provider, model, &usage, at(time));
        cost.map_or_else(|why| why.to_string(), |cost| cost.to_string())
    };
    let noon = "2026-11-27T12:00:00Z";
    assert_eq!(cents(None, "gemini-3.6-flash", noon), "15");
    assert_eq!(cents(Some("google"), "gemini-3.6-flash-001", "2027-01-01T00:00:00Z"), "30");
    assert_eq!(cents(None, "gemini-2.5-pro", noon), "25");
    assert_eq!(cents(None, "Gemini-2.5-pro-exp", noon), "25");
    // A cent a request, beside 20 cents.
    assert_eq!(cents(Some("Azure-EU"), "gpt-5.6-luna-2026-07-30", noon), "21");
    assert_eq!(cents(None, "gpt-5.6-luna", noon), "21");
    for (time, due) in
        [("00:29:59", "2.7"), ("00:30:00", "5.4"), ("16:29:59", "5.4"), ("16:30:00", "2.7")]
    {
        let time = format!("2026-11-27T{time}Z");
        assert_eq!(cents(Some("deepseek"), "deepseek-chat", &time), due, "{time}");
    }
    assert!(cents(None, "deepseek-chat", noon).contains("has no price"));
    assert_eq!(book.skipped().len(), 1, "{:?}", book.skipped());
    for text in ["", "{}", "[{}]", "[{\"id\": 1}]"] {
        assert!(PriceBook::from_genai_prices(text).is_err(), "{text}");
    }
}

/// A fraction, to add up by.
#[derive(Clone, Copy)]
struct Fraction(u128, u128);

impl Fraction {
    fn plus(self, other: Self) -> Self {
        fn gcd(a: u128, b: u128) -> u128 {
            if b == 0 { a } else { gcd(b, a % b) }
        }
        let common = gcd(self.1, other.1);
        let (numerator, denominator) =
            (self.0 * (other.1 / common) + other.0 * (self.1 / common), self.1 / common * other.1);
        let shared = gcd(numerator, denominator).max(1);
        Self(numerator / shared, denominator / shared)
    }
}

const TOKENS: [(&str, &str); 10] = [
    ("input", "input_cost_per_token"),
    ("cached_input", "cache_read_input_token_cost"),
    ("cache_write", "cache_creation_input_token_cost"),
    ("cache_write_1h", "cache_creation_input_token_cost_above_1hr"),
    ("audio_input", "input_cost_per_audio_token"),
    ("image_input", "input_cost_per_image_token"),
    ("output", "output_cost_per_token"),
    ("reasoning", "output_cost_per_reasoning_token"),
    ("audio_output", "output_cost_per_audio_token"),
    ("image_output", "output_cost_per_image_token"),
];

fn usage_of(counts: &[u64]) -> Usage {
    let mut usage = Usage::default();
    let parts = [
        &mut usage.input,
        &mut usage.cached_input,
        &mut usage.cache_write_5m,
        &mut usage.cache_write_1h,
        &mut usage.audio_input,
        &mut usage.image_input,
        &mut usage.output,
        &mut usage.reasoning,
        &mut usage.audio_output,
        &mut usage.image_output,
    ];
    for (part, count) in parts.into_iter().zip(counts) {
        *part = Some(*count);
    }
    usage
}

proptest! {
    /// Prices have up to nine digits after the point of a dollar a million tokens, which is
    /// thirteen of a cent a token, and up to twelve in all.
    #[test]
    fn costs_are_those_of_fractions(
        rates in prop::collection::vec((0_u64..1_000_000_000_000, 0_u32..3), 10),
        counts in prop::collection::vec(prop_oneof![0..5_u64, 0..3_000_000_u64], 10),
        more in prop::collection::vec(0..1_000_u64, 10),
    ) {
        let mut book = "[[price]]\nmodel = \"m\"\n".to_owned();
        let mut list = serde_json::Map::new();
        list.insert("litellm_provider".into(), "p".into());
        let mut due = Fraction(0, 1);
        for (((name, field), (rate, form)), count) in TOKENS.iter().zip(&rates).zip(&counts) {
            // The rate is so many billionths of a dollar a million tokens.
            let text = match form {
                0 => format!("\"{}.{:09}\"", rate / 1_000_000_000, rate % 1_000_000_000),
                1 => format!("{rate}e-9"),
                _ => format!("{}.{:09}", rate / 1_000_000_000, rate % 1_000_000_000),
            };
            book += &format!("{name} = {text}\n");
            list.insert((*field).to_owned(), serde_json::from_str(&format!("{rate}e-15")).unwrap());
            let dollars = Fraction(u128::from(*count) * u128::from(*rate), 10_u128.pow(15));
            due = due.plus(dollars);
        }
        // A dollar is a hundred million millionths of a cent.
        let millionths = (due.0 * 100_000_000).div_ceil(due.1);
        let due = Amount::from_millionths(i128::try_from(millionths).unwrap()).to_string();
        let (book, usage) = (toml(&book), usage_of(&counts));
        prop_assert_eq!(&cost(&book, "p", "m", &usage), &due);
        let list = PriceBook::from_litellm(json!({"m": list}).to_string()).unwrap();
        prop_assert_eq!(list.skipped(), &[]);
        prop_assert_eq!(&cost(&list, "p", "m", &usage), &due);
        // More tokens of any kind never cost less.
        let mut counts = counts;
        let mut before = book.cost(None, "m", &usage, now()).unwrap();
        for (count, more) in more.into_iter().enumerate() {
            counts[count] += more;
            let after = book.cost(None, "m", &usage_of(&counts), now()).unwrap();
            prop_assert!(after >= before);
            before = after;
        }
    }

    #[test]
    fn any_text_is_a_book_or_an_error(
        text in "[\\[\\]{}\"=,.:0-9a-z_\n -]{0,60}",
        place in any::<prop::sample::Index>(),
        byte in 0x20_u8..0x7f,
    ) {
        let spoilt = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            String::from_utf8(bytes).unwrap()
        };
        let list = r#"{"m": {"litellm_provider": "x",
            "input_cost_per_token_above_128k_tokens": 1e-7,
            "output_cost_per_token": 6E-07, "cost": {"a": [null]}}}"#;
        let genai = r#"[{"id": "x", "models": [{"id": "m", "match": {"or": [{"equals": "m"}]},
            "prices": [{"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"},
            "prices": {"input_mtok": {"base": 1.5, "tiers": [{"start": 2, "price": 1}]}}}]}]}]"#;
        for text in [&text, &spoilt(BOOK), &spoilt(list), &spoilt(genai)] {
            let read = [
                PriceBook::from_toml(text),
                PriceBook::from_litellm(text),
                PriceBook::from_genai_prices(text),
            ];
            for book in read {
                match book {
                    Ok(book) => {
                        let _ = book.cost(None, "m", &usage_of(&[u64::MAX; 10]), now());
                        let _ = book.cost(Some("xai"), "grok-4", &usage_of(&[3; 10]), now());
                    }
                    Err(why) => assert!(why.to_string().len() < 2_000, "{why}"),
                }
            }
        }
    }
}
