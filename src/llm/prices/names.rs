//! Which names a price is for.

/// What a name must be. Letters of either case are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Matcher {
    Any,
    Never,
    /// In lower case, as all texts here.
    Exact(Box<str>),
    StartsWith(Box<str>),
    EndsWith(Box<str>),
    Contains(Box<str>),
    /// With `*` for any text.
    Glob(Box<str>),
    OneOf(Vec<Self>),
    AllOf(Vec<Self>),
}

impl Matcher {
    /// A name, or a pattern with `*`.
    pub(super) fn pattern(text: &str) -> Self {
        let text = text.to_ascii_lowercase().into_boxed_str();
        if text.contains('*') { Self::Glob(text) } else { Self::Exact(text) }
    }

    /// Whether it is for a name in lower case.
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Never => false,
            Self::Exact(text) => **text == *name,
            Self::StartsWith(text) => name.starts_with(&**text),
            Self::EndsWith(text) => name.ends_with(&**text),
            Self::Contains(text) => name.contains(&**text),
            Self::Glob(pattern) => glob(pattern, name),
            Self::OneOf(matchers) => matchers.iter().any(|it| it.matches(name)),
            Self::AllOf(matchers) => matchers.iter().all(|it| it.matches(name)),
        }
    }

    /// Calls with every name that it is for by itself.
    pub(super) fn each_exact<'m>(&'m self, call: &mut impl FnMut(&'m str)) {
        match self {
            Self::Exact(text) => call(text),
            Self::OneOf(matchers) => matchers.iter().for_each(|it| it.each_exact(call)),
            _ => {}
        }
    }

    /// Whether it is for more than the names that it has.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Exact(_) | Self::Never => false,
            Self::OneOf(matchers) => matchers.iter().any(Self::is_open),
            _ => true,
        }
    }
}

/// Whether a text is what a pattern with `*` says: each part behind the one before it, the first at
/// the beginning and the last at the end.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in between.split('*').filter(|part| !part.is_empty()) {
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(last)
}

/// The name without a date or `latest` at its end: `-2024-08-06`, `-20240806`, `@20240806`.
pub(super) fn undated(name: &str) -> Option<&str> {
    if let Some(name) = name.strip_suffix("-latest") {
        return Some(name);
    }
    [("-dddd-dd-dd", 11), ("-dddddddd", 9), ("@dddddddd", 9)].iter().find_map(|(form, length)| {
        let (name, date) = name.split_at_checked(name.len().checked_sub(*length)?)?;
        let fits = date.bytes().zip(form.bytes()).all(|(byte, of)| match of {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        });
        (fits && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::{Matcher, undated};

    #[test]
    fn a_star_is_any_text() {
        for (pattern, yes, no) in [
            ("gpt-4o*", &["gpt-4o", "GPT-4o-mini"][..], &["gpt-4", "xgpt-4o"][..]),
            ("*-mini", &["o3-mini", "-mini"], &["o3-mini-x", "mini"]),
            ("a*b*c", &["abc", "a-b-b-c"], &["acb", "ab", "bc"]),
            ("a*a", &["aa", "aba"], &["a"]),
            ("*", &["", "x"], &[]),
            ("a**b", &["ab", "axb"], &["a"]),
            ("gpt-5", &["gpt-5"], &["gpt-5-mini"]),
        ] {
            let matcher = Matcher::pattern(pattern);
            for name in yes {
                assert!(matcher.matches(&name.to_ascii_lowercase()), "{pattern} {name}");
            }
            for name in no {
                assert!(!matcher.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn a_date_at_the_end_is_left_out() {
        for (name, without) in [
            ("gpt-4o-2024-08-06", Some("gpt-4o")),
            ("claude-3-5-haiku-20241022", Some("claude-3-5-haiku")),
            ("claude-sonnet-4@20250514", Some("claude-sonnet-4")),
            ("claude-3-7-sonnet-latest", Some("claude-3-7-sonnet")),
            ("gpt-4o", None),
            ("-20240101", None),
            ("gpt-4-0613", None),
            ("x-2024-8-6", None),
        ] {
            assert_eq!(undated(name), without, "{name}");
        }
    }
}
