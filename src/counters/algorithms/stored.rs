//! How parts of states are stored. Instants are near the decision's, and take few bytes as their
//! distance from it; distances wrap, so that every instant comes back.

use super::periods::Bounds;
use crate::base::codec::{Malformed, Numbers, Reader};
use crate::base::format::Version;
use crate::counters::time::{At, Moment};
use crate::rules::Units;

/// A stored charge as it is put together: a byte, its rule in 5, its cost in 19, and a state, of
/// which a sliding window's takes the most, 39.
pub(in crate::counters) type ChargeBytes = Numbers<80>;

pub(super) fn put_moment(moment: Moment, now: Moment, out: &mut ChargeBytes) {
    out.signed(moment.0.wrapping_sub(now.0).cast_signed());
}

pub(super) fn moment(from: &mut Reader<'_>, now: Moment) -> Result<Moment, Malformed> {
    Ok(Moment(now.0.wrapping_add(from.signed()?.cast_unsigned())))
}

pub(super) fn put_bounds(Bounds { length, start }: Bounds, at: &At, out: &mut ChargeBytes) {
    out.signed(at.second.wrapping_sub(start));
    out.varint(length.into());
}

pub(super) fn bounds(from: &mut Reader<'_>, at: &At) -> Result<Bounds, Malformed> {
    let start = at.second.wrapping_sub(from.signed()?);
    Ok(Bounds { start, length: from.varint_u32()? })
}

/// Units, which `put_wide` appended. In format 1 they had no sign.
#[inline]
pub(in crate::counters) fn units(from: &mut Reader<'_>) -> Result<Units, Malformed> {
    if from.version() == Version::One { from.varint().map(Units::from) } else { from.wide() }
}
