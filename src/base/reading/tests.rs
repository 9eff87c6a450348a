//! Goal: an error says where a value stands, what it is and what it must be, for every shape that
//! serde reads. Method: types that serde derives, read through the names, from JSON and TOML.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::read;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Shapes {
    #[serde(alias = "small_number")]
    small_number: Option<u32>,
    #[serde(default)]
    flag: bool,
    #[serde(default)]
    list: Vec<Self>,
    #[serde(default)]
    map: BTreeMap<String, Choice>,
    choice: Option<Choice>,
    pair: Option<(u64, String)>,
    own: Option<Own>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Choice {
    Plain,
    Other(u64),
    Fields { number: u64 },
}

/// Reads a text by itself, and says what is wrong in its own words.
#[derive(Debug, PartialEq)]
struct Own;

impl<'de> Deserialize<'de> for Own {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "own" { Ok(Self) } else { Err(serde::de::Error::custom("own is not so")) }
    }
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    read(&mut reader).map_err(|why| why.to_string())
}

#[test]
fn what_is_good_is_read_as_without_names() {
    let text = r#"{"smallNumber":7,"flag":true,"list":[{"flag":true},{"own":"own"}],
        "map":{"a":"plain","b":{"other":3},"c":{"fields":{"number":4}}},"pair":[1,"x"]}"#;
    assert_eq!(json::<Shapes>(text), serde_json::from_str(text).map_err(|why| why.to_string()));
    assert!(json::<Shapes>(text).is_ok());
}

#[test]
fn a_list_is_no_fields() {
    for (text, told) in [
        ("[7]", "a list must be an object"),
        (r#"{"list":[[7, true]]}"#, "list[0]: a list must be an object"),
    ] {
        let why = json::<Shapes>(text).expect_err(text);
        assert!(why.starts_with(told), "{why}");
    }
}

#[test]
fn every_shape_has_a_name() {
    for (text, expected) in [
        (r#"{"smallNumber":-1}"#, "smallNumber: -1 must be a whole number from 0 to 4294967295"),
        (
            r#"{"small_number":1.5}"#,
            "small_number: 1.5 must be a whole number from 0 to 4294967295",
        ),
        (r#"{"flag":"yes"}"#, "flag: \"yes\" must be true or false"),
        (r#"{"list":7}"#, "list: 7 must be a list"),
        (
            r#"{"list":[{},{"list":[{"flag":null}]}]}"#,
            "list[1].list[0].flag: null must be true or false",
        ),
        (r#"{"list":[{},"x"]}"#, "list[1]: \"x\" must be an object"),
        (
            r#"{"map":{"a":"plan"}}"#,
            "map.a: unknown variant `plan`, expected one of `plain`, `other`, `fields`; did you \
             mean `plain`?",
        ),
        (
            r#"{"map":{"a":{"other":"x"}}}"#,
            "map.a: \"x\" must be a whole number from 0 to 18446744073709551615",
        ),
        (
            r#"{"map":{"a":{"fields":{"number":true}}}}"#,
            "map.a.number: true must be a whole number from 0 to 18446744073709551615",
        ),
        (r#"{"pair":[1,2]}"#, "pair[1]: 2 must be a string"),
        (r#"{"own":"owner"}"#, "own: is not so"),
        (
            r#"{"list":[{"smalNumber":1}]}"#,
            "list[0]: unknown field `smalNumber`, expected one of `smallNumber`, `flag`, `list`, \
             `map`, `choice`, `pair`, `own`; did you mean `smallNumber`?",
        ),
        (r#"{"flag":true,"flag":true}"#, "duplicate field `flag`"),
        ("7", "7 must be an object"),
    ] {
        let told = json::<Shapes>(text).expect_err(text);
        let told = told.rsplit_once(" at line ").map_or(&*told, |(told, _)| told);
        assert_eq!(told, expected, "{text}");
    }
}

#[test]
fn what_is_no_json_is_told_as_the_reader_tells_it() {
    for text in ["", "{", r#"{"flag":tru}"#, r#"{"list":[{}"#, r#"{"map":{"a":"pl"#, "{}}"] {
        let mut reader = serde_json::Deserializer::from_str(text);
        let named = read::<Shapes, _>(&mut reader).and_then(|_| reader.end());
        let plain = serde_json::from_str::<Shapes>(text).expect_err(text);
        let named = named.expect_err(text);
        assert_eq!(named.to_string(), plain.to_string());
        assert_eq!(named.classify(), plain.classify());
    }
}

#[test]
fn another_reader_names_as_well() {
    let text = "smallNumber = 1\n[[list]]\nflag = 'x'";
    let why = read::<Shapes, _>(toml::Deserializer::parse(text).expect("TOML")).expect_err("bad");
    assert!(why.to_string().contains("flag"), "{why}");
}
