//! What does it cost to read what a call of a model used, and to price it?
//!
//! `price` asks a book of 3 000 models what an event costs: by a name that is in the book, by one
//! with a date behind it, and of a usage with six parts; a dear answer would be above 200 ns.
//! `read` is beside `plain`, which is serde_json reading the same bytes into a struct of the fields
//! that matter, without asking whether they fit together: at most twice as dear.
//!
//! `estimate` asks a full estimator how many tokens come out of a call: of a customer whose calls
//! it knows, of one by the model, and by all models; `learn` tells it of a call.

use std::hint::black_box;

use bench_support::smoke;
use criterion::{Criterion, criterion_group, criterion_main};
use limitry::llm::{Estimator, EventUsage, PriceBook, Usage};
use limitry::{Event, Pricer, Timestamp};
use serde::Deserialize;

const OPENAI: &str = r#"{"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
"prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
"completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}"#;
const ANTHROPIC: &str = r#"{"input_tokens": 2095, "cache_creation_input_tokens": 2051,
"cache_read_input_tokens": 9000, "cache_creation": {"ephemeral_5m_input_tokens": 51,
"ephemeral_1h_input_tokens": 2000}, "output_tokens": 503, "service_tier": "standard"}"#;

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is read to be measured")]
struct OpenAi {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<OpenAiInput>,
    completion_tokens_details: Option<OpenAiOutput>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is read to be measured")]
struct OpenAiInput {
    cached_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is read to be measured")]
struct OpenAiOutput {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is read to be measured")]
struct Anthropic {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<AnthropicWrites>,
    output_tokens: Option<u64>,
    service_tier: Option<String>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "it is read to be measured")]
struct AnthropicWrites {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

/// A book of so many models of 20 providers.
fn book(models: usize) -> PriceBook {
    let row = |number: usize| {
        format!(
            "[[price]]\nprovider = \"provider-{}\"\nmodel = \"model-{number}\"\ninput = 2.5\n\
             cached_input = 1.25\noutput = 10\n",
            number % 20
        )
    };
    let text: String = (0..models).map(row).collect();
    PriceBook::from_toml(&text).unwrap_or_else(|why| unreachable!("a book of a bench: {why}"))
}

fn price(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("price");
    let models = if smoke() { 30 } else { 3_000 };
    let book = book(models);
    let call = |number: usize, ending: &str| {
        let event = Event::new("cust_123", "model_call").input_tokens(1_000).output_tokens(200);
        let model = format!("model-{number}{ending}");
        event.provider(format!("provider-{}", number % 20)).model(model)
    };
    let every = |ending: &str| (0..models).map(|number| call(number, ending)).collect::<Vec<_>>();
    let (known, dated) = (every(""), (0..20).map(|number| call(number, "-2026-01-31")).collect());
    let usage = Usage::from_anthropic(ANTHROPIC)
        .unwrap_or_else(|why| unreachable!("the usage of a bench: {why}"));
    let parts = Event::new("cust_123", "model_call").provider("provider-7").model("model-7");
    let parts = vec![parts.usage(&usage)];
    let at = Timestamp::new(1_800_000_000, 0);
    for (name, events) in [("known", known), ("dated", dated), ("parts", parts)] {
        let mut next = events.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let price = next.next().map(|event| black_box(&book).price(event, at));
                assert!(matches!(price, Some(Ok(Some(_)))));
            });
        });
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("usage of a response");
    let mut case = |name: &str, read: &dyn Fn() -> bool| {
        group.bench_function(name, |bencher| bencher.iter(|| assert!(black_box(read()))));
    };
    case("openai", &|| Usage::from_openai(black_box(OPENAI)).is_ok());
    case("openai plain", &|| serde_json::from_str::<OpenAi>(black_box(OPENAI)).is_ok());
    case("anthropic", &|| Usage::from_anthropic(black_box(ANTHROPIC)).is_ok());
    case("anthropic plain", &|| serde_json::from_str::<Anthropic>(black_box(ANTHROPIC)).is_ok());
    group.finish();
}

fn estimate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("estimate");
    let (customers, models, calls) = if smoke() { (4, 2, 50) } else { (4_096, 256, 150) };
    let estimator = Estimator::with_room(4_096, 256);
    let name = |number: usize| format!("cust_{number}");
    let model = |number: usize| format!("model-{}", number % models);
    let call = |number: usize, tokens: u64| {
        let event = Event::new(name(number), "model_call").model(model(number));
        event.output_tokens(tokens)
    };
    for tokens in (0..calls).map(|call| 100 + call * 37 % 900) {
        (0..customers).for_each(|number| estimator.learn(&call(number, tokens)));
    }
    let known: Vec<_> = (0..customers).map(|number| call(number, 4_096)).collect();
    let by_model = |number| Event::new("cust_new", "model_call").model(model(number));
    let by_model: Vec<_> = (0..models).map(by_model).collect();
    let by_all = vec![Event::new("cust_new", "model_call").model("model-new")];
    for (name, events) in [("customer", &known), ("model", &by_model), ("all models", &by_all)] {
        let mut next = events.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| next.next().map(|event| black_box(&estimator).estimate(event)));
        });
    }
    let mut next = known.iter().cycle();
    group.bench_function("learn", |bencher| {
        bencher.iter(|| next.next().map(|event| black_box(&estimator).learn(event)));
    });
    group.finish();
}

criterion_group!(benches, price, read, estimate);
criterion_main!(benches);
