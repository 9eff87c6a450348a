//! Paths and their patterns.

use std::borrow::Cow;

/// A pattern of paths, as axum's routes are written: `/v1/files/{id}`, `/static/{*rest}`.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: Cow<'static, str>,
    segments: Box<[Segment]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(Box<str>),
    /// One segment that is not empty, under its name.
    Any(Box<str>),
    /// All that is left: one segment at least.
    Rest(Box<str>),
}

impl Pattern {
    pub(super) fn new(text: Cow<'static, str>) -> Self {
        let of = |segment: &str| match segment.strip_prefix('{').and_then(|it| it.strip_suffix('}'))
        {
            Some(name) => match name.strip_prefix('*') {
                Some(name) => Segment::Rest(name.into()),
                None => Segment::Any(name.into()),
            },
            None => Segment::Text(segment.into()),
        };
        let segments = segments(&text).map(of).collect();
        Self { text, segments }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        self.walk(path, |_, _| {})
    }

    /// What stands in the place of a name, decoded.
    pub(super) fn part<'p>(&self, path: &'p str, name: &str) -> Option<Cow<'p, str>> {
        let mut found = None;
        let is_match = self.walk(path, |known, value| {
            if known == name {
                found = Some(value);
            }
        });
        found.filter(|_| is_match).and_then(decoded)
    }

    /// Whether a path is of the pattern; `each` is given the named parts of it as they stand there.
    fn walk<'p>(&self, path: &'p str, mut each: impl FnMut(&str, &'p str)) -> bool {
        let mut rest = Some(path.strip_prefix('/').unwrap_or(path));
        for segment in &self.segments {
            let Some(left) = rest else { return false };
            let (first, behind) = match left.split_once('/') {
                Some((first, behind)) => (first, Some(behind)),
                None => (left, None),
            };
            rest = behind;
            match segment {
                // A path that is written in another way is the same path.
                Segment::Text(text) if decoded(first).as_deref() == Some(text) => {}
                Segment::Any(name) if !first.is_empty() => each(name, first),
                Segment::Rest(name) if !left.is_empty() => {
                    each(name, left);
                    return true;
                }
                _ => return false,
            }
        }
        rest.is_none()
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// A part of a path without its `%` escapes, so that nobody has many names by writing one in many
/// ways; `None` of one that is no text.
fn decoded(part: &str) -> Option<Cow<'_, str>> {
    if !part.contains('%') {
        return Some(Cow::Borrowed(part));
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(part.len()), part.as_bytes());
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_first_chunk::<2>()?;
        rest = behind;
        let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
        let value = high?.checked_mul(16)?.checked_add(low?)?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}
