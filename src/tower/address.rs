//! Whose address a request comes from, where proxies stand before the service.
//!
//! A proxy adds what it saw at the right end of a header; what stands further left is what it was
//! sent, and may be made up. So entries are counted and read from the right, and nothing to the
//! left of the one that is asked for is looked at: whatever it is, it changes nothing.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName};

/// The name of an address as an id: of IPv6 its /64, which is what one subscriber gets, so that
/// nobody has 2^64 names.
pub(super) fn name_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let (mut name, mut digits) = (String::with_capacity(15), itoa::Buffer::new());
            for part in address.octets() {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(digits.format(part));
            }
            name
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// The address that the outermost of so many proxies saw, by `X-Forwarded-For`.
pub(super) fn x_forwarded_for(headers: &HeaderMap, proxies: usize) -> Option<IpAddr> {
    const NAME: HeaderName = HeaderName::from_static("x-forwarded-for");
    let mut left = proxies;
    for line in headers.get_all(NAME).iter().rev() {
        for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
            let entry = entry.trim_ascii();
            // An empty entry is none (RFC 9110, section 5.6.1).
            if entry.is_empty() {
                continue;
            }
            left = left.checked_sub(1)?;
            if left == 0 {
                return node(str::from_utf8(entry).ok()?);
            }
        }
    }
    None
}

/// The address that the outermost of so many proxies saw, by `Forwarded` (RFC 7239).
pub(super) fn forwarded(headers: &HeaderMap, proxies: usize) -> Option<IpAddr> {
    let mut left = proxies;
    for line in headers.get_all(http::header::FORWARDED).iter().rev() {
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let (before, element) = split_last(rest, b',')?;
            rest = before;
            if element.trim_ascii().is_empty() {
                continue;
            }
            left = left.checked_sub(1)?;
            if left == 0 {
                return node(&for_of(element)?);
            }
        }
    }
    None
}

/// Splits at the last separator that is in no quoted string; nothing is before the only part.
///
/// Read from the right, so that a quote which somebody left open further left swallows nothing. A
/// string that has no beginning makes its element unreadable: `None`.
fn split_last(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let mut end = text.len();
    while let Some(place) = end.checked_sub(1) {
        let (before, from_here) = text.split_at_checked(place)?;
        match from_here.first() {
            Some(b'"') => end = start_of_quoted(before)?,
            Some(byte) if *byte == separator => return Some((before, from_here.get(1..)?)),
            _ => end = place,
        }
    }
    Some((&[], text))
}

/// Where the quoted string begins whose closing quote stood right behind `text`.
fn start_of_quoted(text: &[u8]) -> Option<usize> {
    let mut end = text.len();
    loop {
        let place = text.get(..end)?.iter().rposition(|byte| *byte == b'"')?;
        let escapes = text.get(..place)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 0 {
            return Some(place);
        }
        end = place;
    }
}

/// The value of `for` in an element; `None` where it is missing, given twice or unreadable.
fn for_of(element: &[u8]) -> Option<Cow<'_, str>> {
    let (mut rest, mut found) = (element, None);
    while !rest.is_empty() {
        let (before, pair) = split_last(rest, b';')?;
        rest = before;
        let pair = str::from_utf8(pair).ok()?.trim_matches([' ', '\t']);
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        if name.eq_ignore_ascii_case("for") && found.replace(unquoted(value)?).is_some() {
            return None;
        }
    }
    found
}

/// What a token or a quoted string says.
fn unquoted(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then_some(Cow::Borrowed(value));
    };
    let inner = inner.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let (mut said, mut letters) = (String::with_capacity(inner.len()), inner.chars());
    while let Some(letter) = letters.next() {
        said.push(if letter == '\\' { letters.next()? } else { letter });
    }
    Some(Cow::Owned(said))
}

/// The address of a node: IPv4, or IPv6 with or without brackets, each also with a port. What is no
/// address (`unknown`, `_hidden`) names nobody.
fn node(text: &str) -> Option<IpAddr> {
    if let Some(inner) = text.strip_prefix('[') {
        let (address, port) = inner.split_once(']')?;
        let is_good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return if is_good { address.parse::<Ipv6Addr>().ok().map(IpAddr::V6) } else { None };
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    let (address, port) = text.split_once(':')?;
    if is_port(port) { address.parse::<Ipv4Addr>().ok().map(IpAddr::V4) } else { None }
}

/// A port's number, or the name that hides one (RFC 7239, section 6).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !name.is_empty() && name.bytes().all(is_good)
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}
