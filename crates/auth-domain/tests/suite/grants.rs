//! The grants as a whole, over the fakes: who gets what, what is written, and what every refusal leaves behind.

mod known_devices;
mod limits;
mod overtaken;
mod password;
mod refresh;
mod walks;

use auth_domain::audit::AuditRecord;
use auth_domain::client::{Client, ClientPolicy, RotationPolicy};
use auth_domain::refusal::Refusal;
use auth_domain::scope::Scope;
use auth_domain::time::Seconds;
use auth_domain::token_service::{Answer, Outcome};
use auth_testkit::{TestBed, build};

/// The refusal of an answer that is expected to have one.
pub(crate) fn refused<T>(answer: Answer<T>) -> Refusal {
    match answer.outcome {
        Outcome::Refused(refusal) => refusal,
        Outcome::Granted(_) => panic!("granted"),
        Outcome::Unavailable(outage) => panic!("unavailable: {outage:?}"),
    }
}

/// The names of the events in the audit trail.
pub(crate) fn events(bed: &TestBed) -> Vec<&'static str> {
    bed.store
        .audit_trail()
        .iter()
        .map(|row| row.event.event_type())
        .collect()
}

pub(crate) fn last_row(bed: &TestBed) -> AuditRecord {
    bed.store.audit_trail().pop().expect("there is a row")
}

fn password_form<'a>(username: &'a str, password: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "password"),
        ("client_id", build::FLUTTER),
        ("username", username),
        ("password", password),
    ]
}

fn refresh_form(token: &str) -> Vec<(&str, &str)> {
    vec![
        ("grant_type", "refresh_token"),
        ("client_id", build::FLUTTER),
        ("refresh_token", token),
    ]
}

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

/// The public client with a retry window.
pub(crate) fn client_with_window(seconds: u32) -> Client {
    let rotation = RotationPolicy::from_window(Seconds::new(seconds));
    Client {
        policy: ClientPolicy {
            rotation,
            ..ClientPolicy::default()
        },
        ..build::flutter_client()
    }
}
