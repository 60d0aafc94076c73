//! A database full of chains, made within minutes: rows of the same form as real ones, put straight into the file of a
//! server that is down.
//!
//! Real chains are there already, and are the models of the new ones. Those are made as if they had been begun in the same
//! span of time, so that the real ones lie among them and not at the end, where everything would be in memory.

use std::fs;
use std::io;
use std::path::Path;

use super::sqlite::File;

/// Bytes of the file for each chain (its session with two entries of indexes, its token, its row of audit, a tenth of a
/// user), measured as about 700; and room to sort the indexes in, and for what the runs write.
const BYTES_EACH: u64 = 1_200;
/// How many chains a user has.
const CHAINS_OF_A_USER: u64 = 10;

/// A UUID of version 7 for the milliseconds `ms`, in 16 bytes (RFC 9562 section 5.7).
const ID: &str = "unhex(printf('%012x7%.3s%.1s%.15s', ms, hex(randomblob(2)), \
                  substr('89ab', 1 + (random() & 3), 1), hex(randomblob(8))))";
const MICROSECONDS: &str = "ms * 1000";
const HASH: &str = "randomblob(32)";

/// How much room on the disk so many take while they are made.
pub(super) const fn room_for(chains: u64) -> u64 {
    chains.saturating_mul(BYTES_EACH)
}

/// Adds so many chains, each with its session, its first token, and its row of audit; and their users.
///
/// # Errors
/// Where a server has the file open, nobody has signed in there yet, or a statement fails.
pub(super) fn fill(database: &Path, chains: u64) -> io::Result<()> {
    let mut file = File::open(database)?;
    // Nobody else is there, and what fails is thrown away.
    file.tell(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; \
         PRAGMA cache_size = -262144; PRAGMA locking_mode = EXCLUSIVE",
    )?;
    let indexes = indexes_of_sessions(&mut file)?;
    for (name, _) in &indexes {
        file.tell(&format!("DROP INDEX {name}"))?;
    }
    file.tell("BEGIN")?;
    add_users(&mut file, chains.div_ceil(CHAINS_OF_A_USER))?;
    add_chains(&mut file, chains)?;
    file.tell("COMMIT")?;
    for (_, statement) in &indexes {
        file.tell(statement)?;
    }
    file.tell("PRAGMA locking_mode = NORMAL; PRAGMA journal_mode = WAL")?;
    drop(file);
    // Else it would be written while something is measured.
    fs::File::open(database)?.sync_all()
}

/// Each by its name and the statement that makes it: one made at the end is made by sorting, which is much faster.
fn indexes_of_sessions(file: &mut File) -> io::Result<Vec<(String, String)>> {
    let of = |what: &str| {
        format!(
            "SELECT {what} AS value FROM sqlite_schema \
             WHERE type = 'index' AND tbl_name = 'sessions' AND sql IS NOT NULL ORDER BY name"
        )
    };
    let names = file.texts(&of("name"))?;
    Ok(names.into_iter().zip(file.texts(&of("sql"))?).collect())
}

fn add_users(file: &mut File, count: u64) -> io::Result<()> {
    file.tell(&format!(
        "CREATE TEMP TABLE new_users AS WITH RECURSIVE {} SELECT n, {ID} AS id FROM ( \
         SELECT n, (SELECT min(created_at) FROM main.users) / 1000 + n AS ms FROM numbers)",
        numbers(count)
    ))?;
    let names = [
        ("id", "new_users.id"),
        ("username", "printf('user-%09d', n)"),
        ("email", "printf('user-%09d@example.com', n)"),
        ("email_key", "printf('user-%09d@example.com', n)"),
    ];
    let like = Model("SELECT * FROM users ORDER BY created_at LIMIT 1");
    like.insert(file, "users", "temp.new_users", &names)
}

fn add_chains(file: &mut File, chains: u64) -> io::Result<()> {
    let first = file.number("SELECT min(created_at) / 1000 AS value FROM sessions")?;
    let last = file.number("SELECT max(created_at) / 1000 AS value FROM sessions")?;
    file.tell(&format!(
        "CREATE TEMP VIEW moments AS WITH RECURSIVE {} \
         SELECT n, {first} + n * ({last} - {first}) / {chains} AS ms FROM numbers",
        numbers(chains)
    ))?;
    let user = "(SELECT new_users.id FROM temp.new_users WHERE new_users.rowid = \
                1 + n % (SELECT max(rowid) FROM temp.new_users))";
    let session = [
        ("id", ID),
        ("user_id", user),
        ("head_token_id", ID),
        ("previous_token_id", "NULL"),
        ("head_jti_hash", HASH),
        ("previous_jti_hash", "NULL"),
        ("head_issued_at", MICROSECONDS),
        ("created_at", MICROSECONDS),
        ("last_used_at", MICROSECONDS),
    ];
    Model("SELECT * FROM sessions ORDER BY id LIMIT 1").insert(file, "sessions", "temp.moments", &session)?;
    file.tell(
        "CREATE TEMP VIEW new_sessions AS SELECT s.*, s.created_at / 1000 AS ms FROM main.sessions AS s \
         WHERE user_id <> (SELECT id FROM main.users WHERE username = 'admin') ORDER BY s.id",
    )?;
    let token = [
        ("id", "new_sessions.head_token_id"),
        ("session_id", "new_sessions.id"),
        ("parent_id", "NULL"),
        ("jti_hash", "new_sessions.head_jti_hash"),
        ("issued_at", "new_sessions.head_issued_at"),
        ("expires_at", "new_sessions.expires_at"),
    ];
    let like = Model("SELECT * FROM refresh_tokens ORDER BY id LIMIT 1");
    like.insert(file, "refresh_tokens", "temp.new_sessions", &token)?;
    let row = [
        ("id", ID),
        ("user_id", "new_sessions.user_id"),
        ("created_at", MICROSECONDS),
    ];
    let like = Model("SELECT * FROM audit_logs WHERE client_id IS NOT NULL ORDER BY id DESC LIMIT 1");
    like.insert(file, "audit_logs", "temp.new_sessions", &row)
}

/// Numbers from 0 up to but not including another.
fn numbers(end: u64) -> String {
    format!("numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {end})")
}

/// The query for a real row, whose values the new ones have wherever nothing else is said.
struct Model(&'static str);

impl Model {
    /// Puts a row into a table for each row of a source, with these values of columns.
    fn insert(&self, file: &mut File, table: &str, source: &str, own: &[(&str, &str)]) -> io::Result<()> {
        let columns = file.texts(&format!("SELECT name AS value FROM pragma_table_info('{table}')"))?;
        if let Some((unknown, _)) = own
            .iter()
            .find(|(name, _)| !columns.iter().any(|column| column == name))
        {
            return Err(io::Error::other(format!("{table} has no column {unknown}")));
        }
        let values = columns.iter().map(|column| {
            let own = own.iter().find(|(name, _)| name == column);
            own.map_or_else(|| format!("model.{column}"), |(_, value)| (*value).to_owned())
        });
        let values: Vec<String> = values.collect();
        let statement = format!(
            "INSERT INTO main.{table} ({}) SELECT {} FROM {source} CROSS JOIN ({}) AS model",
            columns.join(", "),
            values.join(", "),
            self.0
        );
        file.tell(&statement)
    }
}
