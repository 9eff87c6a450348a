//! The promise of [`Estimator`]: at most 4 kilobytes, its names with them, for a customer with a
//! model, and 24 kilobytes a model, whatever calls bring; and to estimate asks nothing of the heap.

use allocation_counter::measure;
use limitry::Event;
use limitry::llm::Estimator;

/// What one keeps before it has learned: its groups, of 64 places.
const BASE_BYTES: u64 = 10_000;
const CUSTOMER_BYTES: u64 = 4 * 1_024;
const MODEL_BYTES: u64 = 24 * 1_024;

fn call<'a>(customer: &'a str, model: &'a str) -> Event<'a> {
    Event::new(customer, "model_call").model(model)
}

/// Numbers of tokens of every size, which fill a sketch with as many buckets as calls can.
fn tokens(number: u64) -> u64 {
    let (size, part) = (1_u64 << (4 + number % 36), number * 37 % 64);
    size + size / 64 * part
}

#[test]
fn an_estimator_keeps_no_more_bytes_than_it_states_and_estimates_without_any() {
    let (customers, models, calls) = (512_u64, 2_u64, 199_u64);
    let names: Vec<String> = (0..customers).map(|number| format!("customer-{number:08}")).collect();
    let model_names: Vec<String> = (0..models).map(|number| format!("model-{number}")).collect();
    let mut kept = None;
    let taken = measure(|| {
        let estimator = Estimator::with_room(4_096, 256);
        for number in 0..calls {
            for (customer, at) in names.iter().zip(0_u64..) {
                let model = usize::try_from(at % models).map_or("", |at| model_names[at].as_str());
                estimator.learn(&call(customer, model).output_tokens(tokens(number * 31 + at)));
            }
        }
        kept = Some(estimator);
    });
    let estimator = kept.expect("it was made");
    let size = estimator.size();
    let places = (u64::try_from(size.customers), u64::try_from(size.models));
    assert_eq!(places, (Ok(customers), Ok(models)));
    let bytes = u64::try_from(taken.bytes_current).expect("it keeps something");
    // All models together are one more.
    let most = BASE_BYTES + customers * CUSTOMER_BYTES + (models + 1) * MODEL_BYTES;
    assert!(bytes <= most, "{bytes} bytes, and at most {most} are stated");
    // The figure is no guess.
    assert!(bytes > most / 2, "{bytes} bytes, and {most} are stated");
    let asked = [call(&names[0], &model_names[0]), call("new", &model_names[1]), call("new", "x")];
    let estimates = measure(|| {
        for event in &asked {
            assert!(estimator.estimate(event).output_tokens.is_some());
        }
    });
    assert_eq!(estimates.count_total, 0, "to estimate asks nothing of the heap");
}
