//! Answers as gRPC gives them: the status in the headers, and no body.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::RetryAfter;

/// The content type of a gRPC call, of the web's too; `None` of any other request.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    let value = headers.get(CONTENT_TYPE)?;
    let rest = value.as_bytes().strip_prefix(b"application/grpc")?;
    matches!(rest.first(), None | Some(b'+' | b';' | b'-')).then_some(value)
}

/// The code of a status.
pub(super) fn code_of(status: StatusCode) -> u32 {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => 3,
        StatusCode::NOT_FOUND => 5,
        StatusCode::CONFLICT => 6,
        StatusCode::FORBIDDEN => 7,
        StatusCode::TOO_MANY_REQUESTS => 8,
        StatusCode::NOT_IMPLEMENTED => 12,
        StatusCode::SERVICE_UNAVAILABLE => 14,
        StatusCode::UNAUTHORIZED => 16,
        status if status.is_client_error() => 9,
        status if status.is_server_error() => 13,
        _ => 2,
    }
}

/// An answer of headers alone. `details` are there where there is a wait.
pub(super) fn answer<B: Default>(
    content_type: &HeaderValue,
    code: u32,
    message: &str,
    wait: Option<RetryAfter>,
) -> Response<B> {
    const STATUS: HeaderName = HeaderName::from_static("grpc-status");
    const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
    const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
    let mut response = Response::new(B::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type.clone());
    headers.insert(STATUS, code.into());
    // What is encoded is visible ASCII.
    if let Ok(message) = HeaderValue::try_from(percent_encoded(message)) {
        headers.insert(MESSAGE, message);
    }
    if let Some(RetryAfter::After(wait)) = wait {
        let details = base64(&status_with_retry_info(code, message, wait));
        if let Ok(details) = HeaderValue::try_from(details) {
            headers.insert(DETAILS, details);
        }
    }
    response
}

/// A message as `grpc-message` says it.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(digit.into(), 16).unwrap_or('0');
                encoded.push(digit.to_ascii_uppercase());
            }
        }
    }
    encoded
}

/// A `google.rpc.Status` in protobuf's encoding, its only detail a `google.rpc.RetryInfo`.
fn status_with_retry_info(code: u32, message: &str, wait: Duration) -> Vec<u8> {
    let mut delay = Vec::new();
    varint_field(&mut delay, 1, wait.as_secs());
    varint_field(&mut delay, 2, wait.subsec_nanos().into());
    let mut info = Vec::new();
    bytes_field(&mut info, 1, &delay);
    let mut any = Vec::new();
    bytes_field(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
    bytes_field(&mut any, 2, &info);
    let mut status = Vec::new();
    varint_field(&mut status, 1, code.into());
    bytes_field(&mut status, 2, message.as_bytes());
    bytes_field(&mut status, 3, &any);
    status
}

fn varint_field(out: &mut Vec<u8>, number: u8, value: u64) {
    // The default is left out.
    if value > 0 {
        out.push(number << 3);
        varint(out, value);
    }
}

fn bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = (value & 0x7f).to_le_bytes();
        value >>= 7;
        out.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return;
        }
    }
}

/// Base64 with the standard alphabet and without padding, as gRPC sends binary headers.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| u32::from(chunk.get(place).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        let letters = [18, 12, 6, 0].map(|shift| letter(word >> shift & 63));
        text.extend(letters.iter().take(chunk.len().saturating_add(1)));
    }
    text
}

fn letter(six_bits: u32) -> char {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let place = usize::try_from(six_bits).unwrap_or(0);
    ALPHABET.get(place).map_or('A', |byte| char::from(*byte))
}
