//! Customers as a store has them: rows beside those of the spaces of applications, whose names
//! have a letter at least.

use super::Customer;
use crate::event::Dimension;

/// What stands before the key of a customer's row: no name of a space, and what it is.
const PREFIX: [u8; 2] = [0, b'c'];

/// The first key that a customer's row may have.
pub(crate) fn first_key() -> &'static [u8] {
    &PREFIX
}

/// The key of a row, and its value.
pub(crate) fn row_of(
    dimension: &Dimension,
    id: &str,
    customer: Option<&Customer>,
) -> (Box<[u8]>, Option<Vec<u8>>) {
    // No name of a dimension and no value has a control character.
    let key = [&PREFIX[..], dimension.as_str().as_bytes(), &[0], id.as_bytes()].concat();
    // Writing to memory fails for no customer: every key is a text.
    (key.into(), customer.map(|customer| serde_json::to_vec(customer).unwrap_or_default()))
}

/// The customer of a row; `None` of another's row, and an error of one that does not say what it
/// should.
pub(crate) fn customer_of_row(
    key: &[u8],
    value: &[u8],
) -> Option<Result<(Dimension, Customer), String>> {
    let own = key.strip_prefix(&PREFIX)?;
    let read = || {
        let zero = own.iter().position(|byte| *byte == 0)?;
        let (dimension, id) = own.split_at_checked(zero)?;
        let id = str::from_utf8(id.get(1..)?).ok()?;
        Some((Dimension::parse(str::from_utf8(dimension).ok()?), id))
    };
    Some(match (read(), serde_json::from_slice::<Customer>(value)) {
        (Some((dimension, id)), Ok(customer)) if customer.id == id => Ok((dimension, customer)),
        (_, Err(why)) => Err(why.to_string()),
        _ => Err("its key is that of another one".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_customer_that_it_is_made_of() {
        for dimension in [Dimension::CustomerId, Dimension::parse("team_id")] {
            let customer = Customer::new("cust 1").name("Acme").metadata("plan", "pro");
            let (key, value) = row_of(&dimension, "cust 1", Some(&customer));
            let value = value.expect("it is there");
            let read = customer_of_row(&key, &value).expect("a customer's");
            assert_eq!(read, Ok((dimension.clone(), customer)));
            let (other, _) = row_of(&dimension, "cust 2", None);
            assert!(customer_of_row(&other, &value).expect("a customer's").is_err());
            assert!(customer_of_row(&key, b"{").expect("a customer's").is_err());
        }
        assert!(customer_of_row(b"\x05space", b"").is_none());
    }
}
