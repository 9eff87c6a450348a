//! Who makes the calls. The traces name no customer, team or model, so a seeded draw gives every
//! call one of each, as unevenly as life does: a few large customers, many small ones.

use chrono::{DateTime, Utc};
use limitry::Event;
use rand::SeedableRng;
use rand::distr::Distribution;
pub use rand::distr::weighted::Error as WeightError;
use rand::distr::weighted::WeightedIndex;
use rand_pcg::Pcg64;

use crate::trace::Call;

const CUSTOMERS: u32 = 400;
/// The largest customers, by rank, are on the plan with the higher limits.
const ENTERPRISE_CUSTOMERS: u32 = 8;
const TEAMS: u32 = 12;

pub const ENTERPRISE: &str = "enterprise";
pub const STANDARD: &str = "standard";

/// The models on offer: the first is the one that has a limit of its own. Prices are near the
/// list prices of the time of the traces; they only give a budget something to count.
pub const MODELS: [Model; 5] = [
    Model::new("gpt-4", "openai", 22, 3_000, 6_000),
    Model::new("gpt-4-turbo", "openai", 18, 1_000, 3_000),
    Model::new("gpt-3.5-turbo", "openai", 40, 100, 200),
    Model::new("claude-2", "anthropic", 12, 800, 2_400),
    Model::new("llama-2-70b", "meta", 8, 100, 100),
];

#[derive(Debug)]
pub struct Model {
    pub name: &'static str,
    provider: &'static str,
    /// Calls in a hundred that go to this model.
    share: u32,
    input_cents_per_million: u64,
    output_cents_per_million: u64,
}

impl Model {
    const fn new(
        name: &'static str,
        provider: &'static str,
        share: u32,
        input_cents_per_million: u64,
        output_cents_per_million: u64,
    ) -> Self {
        Self { name, provider, share, input_cents_per_million, output_cents_per_million }
    }

    /// What a call costs, rounded up to whole cents.
    fn cost_cents(&self, input_tokens: u32, output_tokens: u32) -> u64 {
        let input = u64::from(input_tokens) * self.input_cents_per_million;
        let output = u64::from(output_tokens) * self.output_cents_per_million;
        (input + output).div_ceil(1_000_000)
    }
}

#[derive(Debug)]
pub struct Customer {
    pub id: String,
    pub team: String,
    pub plan: &'static str,
}

/// A call together with who made it and to what; the two numbers are places in a [`Cast`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub at: DateTime<Utc>,
    pub input_tokens: u32,
    pub output_tokens: u32,
    pub customer: usize,
    pub model: usize,
}

impl Request {
    pub fn cost_cents(&self) -> u64 {
        MODELS[self.model].cost_cents(self.input_tokens, self.output_tokens)
    }
}

/// Everybody who may call, and the dice that say who does.
#[derive(Debug)]
pub struct Cast {
    pub customers: Vec<Customer>,
    customer_dice: WeightedIndex<u32>,
    model_dice: WeightedIndex<u32>,
    rng: Pcg64,
}

impl Cast {
    /// The same seed gives the same customers in the same teams, and the same draws in the same
    /// order, on every machine: nothing here is a float.
    pub fn new(seed: u64) -> Result<Self, WeightError> {
        let mut rng = Pcg64::seed_from_u64(seed);
        let team_dice = WeightedIndex::new((1..=TEAMS).map(skew))?;
        let customers = (1..=CUSTOMERS).map(|rank| Customer {
            id: format!("cust_{rank:03}"),
            team: format!("team_{:02}", team_dice.sample(&mut rng) + 1),
            plan: if rank <= ENTERPRISE_CUSTOMERS { ENTERPRISE } else { STANDARD },
        });
        Ok(Self {
            customers: customers.collect(),
            customer_dice: WeightedIndex::new((1..=CUSTOMERS).map(skew))?,
            model_dice: WeightedIndex::new(MODELS.iter().map(|model| model.share))?,
            rng,
        })
    }

    pub fn draw_customer(&mut self) -> usize {
        self.customer_dice.sample(&mut self.rng)
    }

    pub fn draw_model(&mut self) -> usize {
        self.model_dice.sample(&mut self.rng)
    }

    /// Gives a call of a trace its customer and its model.
    pub fn assign(&mut self, call: Call) -> Request {
        let Call { at, input_tokens, output_tokens } = call;
        let (customer, model) = (self.draw_customer(), self.draw_model());
        Request { at, input_tokens, output_tokens, customer, model }
    }

    /// The request as the engine wants it; every string is borrowed.
    pub fn event(&self, request: &Request) -> Event<'_> {
        let (customer, model) = (&self.customers[request.customer], &MODELS[request.model]);
        Event::new(customer.id.as_str(), "model_call")
            .model(model.name)
            .provider(model.provider)
            .input_tokens(request.input_tokens.into())
            .output_tokens(request.output_tokens.into())
            .cost_cents(request.cost_cents())
            .property("team_id", customer.team.as_str())
            .property("plan", customer.plan)
    }
}

/// The weight of the customer or team of this rank, after Zipf and Mandelbrot: 1 / (rank + 1).
fn skew(rank: u32) -> u32 {
    1_000_000 / (rank + 1)
}
