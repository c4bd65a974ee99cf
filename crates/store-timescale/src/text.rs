//! Domain values as they stand in columns.

use std::borrow::Cow;

use forecare_domain::{
    EventSeverity, InvalidName, Priority, RejectReason, ReservationState, Timestamp,
};
use forecare_store::{CredentialRole, DeliveryState, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;

use crate::fault::{Outcome, unreadable};
use crate::instant::Instant;

/// `text` as PostgreSQL can keep it: it has no U+0000, which becomes the replacement character. JSON needs
/// nothing done, where it is escaped.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

pub(crate) fn event_severity(severity: EventSeverity) -> &'static str {
    match severity {
        EventSeverity::Info => "info",
        EventSeverity::Warning => "warning",
        EventSeverity::Error => "error",
    }
}

pub(crate) fn role(role: CredentialRole) -> &'static str {
    match role {
        CredentialRole::Device => "device",
        CredentialRole::Gateway => "gateway",
        CredentialRole::Api => "api",
        CredentialRole::Viewer => "viewer",
    }
}

pub(crate) fn priority(priority: Priority) -> i32 {
    match priority {
        Priority::P1 => 1,
        Priority::P2 => 2,
        Priority::P3 => 3,
        Priority::P4 => 4,
    }
}

/// `value` as JSON; `None` where it could not be read back: JSON has no number that is not finite.
pub(crate) fn json<T: Serialize + DeserializeOwned>(value: &T) -> Outcome<Option<String>> {
    let body = serde_json::to_string(value)?;
    let is_sound = !body.contains("null") || serde_json::from_str::<T>(&body).is_ok();
    Ok(is_sound.then_some(body))
}

/// As [`json`], where such a value is an error of the caller.
pub(crate) fn sound_json<T: Serialize + DeserializeOwned>(
    value: &T,
    what: &str,
) -> Outcome<String> {
    let body = json(value)?;
    Ok(body.ok_or_else(|| {
        StoreError::Conflict(format!("the {what} has a number that is not finite"))
    })?)
}

/// The one of `all` whose text is `text`.
fn of<T: Copy>(text: &str, all: &[T], label: impl Fn(T) -> &'static str) -> Outcome<T> {
    let found = all.iter().copied().find(|value| label(*value) == text);
    found.ok_or_else(|| unreadable(format!("\"{text}\" is not known here")))
}

pub(crate) fn to_event_severity(text: &str) -> Outcome<EventSeverity> {
    let all = [
        EventSeverity::Info,
        EventSeverity::Warning,
        EventSeverity::Error,
    ];
    of(text, &all, event_severity)
}

pub(crate) fn to_role(text: &str) -> Outcome<CredentialRole> {
    let all = [
        CredentialRole::Device,
        CredentialRole::Gateway,
        CredentialRole::Api,
        CredentialRole::Viewer,
    ];
    of(text, &all, role)
}

pub(crate) fn to_reason(text: &str) -> Outcome<RejectReason> {
    of(text, &RejectReason::ALL, RejectReason::label)
}

pub(crate) fn to_reservation_state(text: &str) -> Outcome<ReservationState> {
    use ReservationState::{Consumed, Expired, Hard, PartlyUsed, Released, Soft};
    let all = [Soft, Hard, PartlyUsed, Consumed, Released, Expired];
    of(text, &all, ReservationState::label)
}

pub(crate) fn to_delivery_state(text: &str) -> Outcome<DeliveryState> {
    of(text, &DeliveryState::ALL, DeliveryState::label)
}

pub(crate) fn to_priority(number: i32) -> Outcome<Priority> {
    let all = [Priority::P1, Priority::P2, Priority::P3, Priority::P4];
    let found = all.into_iter().find(|p| priority(*p) == number);
    found.ok_or_else(|| unreadable(format!("priority {number} is not known here")))
}

/// The name in column `column`.
pub(crate) fn name<T: TryFrom<String, Error = InvalidName>>(
    row: &Row,
    column: usize,
) -> Outcome<T> {
    let text: String = row.try_get(column)?;
    T::try_from(text).map_err(|e| unreadable(format!("a name cannot be used: {e}")))
}

pub(crate) fn optional_name<T: TryFrom<String, Error = InvalidName>>(
    row: &Row,
    column: usize,
) -> Outcome<Option<T>> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| {
        T::try_from(text).map_err(|e| unreadable(format!("a name cannot be used: {e}")))
    })
    .transpose()
}

pub(crate) fn time(row: &Row, column: usize) -> Outcome<Timestamp> {
    let Instant(ts) = row.try_get(column)?;
    Ok(ts)
}

pub(crate) fn count<T: TryFrom<i64>>(row: &Row, column: usize) -> Outcome<T> {
    let n: i64 = row.try_get(column)?;
    T::try_from(n)
        .ok()
        .ok_or_else(|| unreadable(format!("the count {n} is out of range")))
}
