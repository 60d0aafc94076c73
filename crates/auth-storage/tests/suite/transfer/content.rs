//! Content by chance, in every column of every table what is hard to carry.

use std::fmt::Write as _;

use auth_domain::ports::Random;
use auth_testkit::random::SeededRandom;

use crate::file::File;

/// Values by chance, as SQLite takes them in a statement.
pub(super) struct Draw(SeededRandom);

const TEXTS: [&str; 8] = [
    "",
    " ",
    "plain",
    "it''s",
    "Zoë Ünïcode ☃ 😀 漢字 \u{202e}",
    "line\nfeed\ttab\\n",
    "null",
    "e\u{301} is not \u{e9}",
];
/// To the microsecond: before and at 1970, about now, and the last of the year 9999.
const MOMENTS: [i64; 7] = [
    -1,
    0,
    1,
    946_684_800_000_000,
    1_795_305_600_123_456,
    1_795_305_600_999_999,
    253_402_300_799_999_999,
];
const DOCUMENTS: [&str; 6] = [
    "{}",
    r#"{"b":1,"a":{"z":[1,2,{"y":null}],"x":true}}"#,
    r#"{"type":"login_failed","reason":"unknown_user","n":-9007199254740993}"#,
    r#"{"text":"Zoë \"quoted\" \\ \u001f ☃"}"#,
    r#"{"empty":"","list":[],"half":0.5}"#,
    r#"{ "blanks" : [ 1 , 2 ] }"#,
];

impl Draw {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) >> 1).expect("63 bits") % bound
    }

    fn one_of<T: Copy>(&self, of: &[T]) -> T {
        *of.get(self.below(of.len())).expect("one of those there are")
    }

    fn bytes(&self, length: usize) -> String {
        let mut bytes = vec![0; length];
        self.0.fill(&mut bytes);
        let digits = bytes
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        format!("x'{digits}'")
    }

    fn id(&self) -> String {
        self.bytes(16)
    }

    fn hash(&self) -> String {
        self.bytes(32)
    }

    fn text(&self) -> String {
        format!("'{}'", self.one_of(&TEXTS))
    }

    /// One that nobody else has.
    fn name(&self) -> String {
        format!("'{} ' || hex({})", self.one_of(&TEXTS), self.bytes(8))
    }

    fn moment(&self) -> String {
        self.one_of(&MOMENTS).to_string()
    }

    fn flag(&self) -> String {
        self.below(2).to_string()
    }

    fn seconds(&self) -> String {
        self.one_of(&[0, 1, 900, i64::from(u32::MAX)]).to_string()
    }

    fn document(&self) -> String {
        if self.below(10) == 0 {
            let long = "long ".repeat(20_000);
            return format!(r#"'{{"text":"{long}"}}'"#);
        }
        format!("'{}'", self.one_of(&DOCUMENTS))
    }

    /// A column of some row of a table.
    fn some(&self, column: &str, table: &str) -> String {
        let place = self.below(1_000);
        format!(
            "(SELECT {column} FROM {table} ORDER BY id LIMIT 1 OFFSET {place} % (SELECT count(*) FROM {table}))"
        )
    }

    fn perhaps(&self, value: String) -> String {
        if self.below(3) == 0 {
            "NULL".to_owned()
        } else {
            value
        }
    }
}

pub(super) type Row = Vec<(&'static str, String)>;

fn user(draw: &Draw) -> Row {
    vec![
        ("id", draw.id()),
        ("username", draw.name()),
        ("email", draw.text()),
        ("email_key", draw.name()),
        ("password_hash", draw.text()),
        ("is_active", draw.flag()),
        ("is_verified", draw.flag()),
        ("created_at", draw.moment()),
        ("updated_at", draw.moment()),
        ("last_login_at", draw.perhaps(draw.moment())),
    ]
}

fn client(draw: &Draw) -> Row {
    let secret = draw.perhaps(draw.hash());
    let is_confidential = u8::from(secret != "NULL").to_string();
    vec![
        ("id", draw.id()),
        ("client_id", draw.name()),
        ("client_secret_hash", secret),
        ("name", draw.text()),
        ("description", draw.perhaps(draw.text())),
        ("is_confidential", is_confidential),
        ("allowed_scopes", draw.text()),
        ("allowed_grant_types", draw.text()),
        ("access_token_lifetime", draw.seconds()),
        ("refresh_token_lifetime", draw.seconds()),
        ("wire_profile", draw.text()),
        ("refresh_retry_window", draw.seconds()),
        ("refresh_chain_lifetime", draw.perhaps(draw.seconds())),
        ("access_token_type", draw.text()),
        ("access_token_has_sid", draw.flag()),
        ("is_active", draw.flag()),
        ("created_at", draw.moment()),
        ("updated_at", draw.moment()),
    ]
}

fn session(draw: &Draw) -> Row {
    let (revoked_at, revoked_reason) = match draw.below(2) {
        0 => ("NULL".to_owned(), "NULL".to_owned()),
        _ => (draw.moment(), draw.text()),
    };
    vec![
        ("id", draw.id()),
        ("user_id", draw.some("id", "users")),
        ("client_id", draw.some("client_id", "oauth_clients")),
        ("scope", draw.text()),
        ("amr", draw.text()),
        ("head_token_id", draw.id()),
        ("previous_token_id", draw.perhaps(draw.id())),
        ("head_jti_hash", draw.hash()),
        ("previous_jti_hash", draw.perhaps(draw.hash())),
        ("head_issued_at", draw.moment()),
        ("expires_at", draw.moment()),
        ("revoked_at", revoked_at),
        ("revoked_reason", revoked_reason),
        ("created_at", draw.moment()),
        ("last_used_at", draw.moment()),
    ]
}

fn legacy_token(draw: &Draw) -> Row {
    vec![
        ("jti_hash", draw.hash()),
        ("session_id", draw.some("id", "sessions")),
    ]
}

fn refresh_token(draw: &Draw) -> Row {
    vec![
        ("id", draw.id()),
        ("session_id", draw.id()),
        ("parent_id", draw.perhaps(draw.id())),
        ("jti_hash", draw.hash()),
        ("issued_at", draw.moment()),
        ("expires_at", draw.moment()),
    ]
}

fn denied_token(draw: &Draw) -> Row {
    vec![("jti_hash", draw.hash()), ("expires_at", draw.moment())]
}

fn audit_row(draw: &Draw) -> Row {
    vec![
        ("id", draw.id()),
        ("user_id", draw.perhaps(draw.id())),
        ("client_id", draw.perhaps(draw.text())),
        ("event_type", draw.text()),
        ("event_data", draw.document()),
        ("ip_address", draw.perhaps(draw.text())),
        ("user_agent", draw.perhaps(draw.text())),
        ("correlation_id", draw.text()),
        ("success", draw.flag()),
        ("error_message", draw.perhaps(draw.text())),
        ("created_at", draw.moment()),
    ]
}

/// A table, and how a row of it is drawn.
pub(super) type Drawn = (&'static str, fn(&Draw) -> Row);

/// All tables, each behind those that its foreign keys name.
pub(super) const DRAWN: [Drawn; 7] = [
    ("users", user),
    ("oauth_clients", client),
    ("sessions", session),
    ("legacy_tokens", legacy_token),
    ("refresh_tokens", refresh_token),
    ("denied_tokens", denied_token),
    ("audit_logs", audit_row),
];

/// So many rows in each table.
pub(super) fn fill(file: &File, seed: u64, rows: usize) {
    let draw = Draw::seeded(seed);
    let mut sql = String::from("BEGIN;");
    for (table, drawn) in DRAWN {
        for _ in 0..rows {
            let (names, values): (Vec<_>, Vec<_>) = drawn(&draw).into_iter().unzip();
            let (names, values) = (names.join(", "), values.join(", "));
            write!(sql, "INSERT INTO {table} ({names}) VALUES ({values});").expect("a text takes everything");
        }
    }
    sql.push_str("COMMIT;");
    file.execute(&sql);
}

pub(super) fn filled(seed: u64, rows: usize) -> File {
    let file = File::new();
    fill(&file, seed, rows);
    file
}
