//! The database: there, of this version, writable, with room to grow, on a server that is new enough and a role that may
//! not do everything.

use std::io;
use std::path::{Path, PathBuf};

use auth_domain::ports::Clock as _;
use auth_storage::{
    DatabaseUrl, Examination, MigrationStatus, Migrations, OpenError, ServerExamination, Writing, examine,
};

use super::clock::{self, Reading};
use super::finding::Finding;
use super::place;
use crate::cli::failure::Failure;
use crate::cli::output::place_of;
use crate::compose::StartError;
use crate::system::SystemClock;

const SUBJECT: &str = "database";
/// The oldest server that the statements are written for.
const OLDEST: u32 = 15;
/// Less room than this fills while an operator sleeps.
const LITTLE: u64 = 1 << 30;
/// Less than this and the next checkpoint may fail.
const NONE_TO_SPEAK_OF: u64 = 64 << 20;

/// What the database came to.
pub(super) struct Examined {
    pub(super) findings: Vec<Finding>,
    /// Whether it can be opened to be read.
    pub(super) is_usable: bool,
    /// The file that is not there.
    pub(super) missing: Option<PathBuf>,
}

impl Examined {
    fn only(finding: Finding) -> Self {
        Self {
            findings: vec![finding],
            is_usable: false,
            missing: None,
        }
    }

    /// The same beside what only a server with a database leaves behind: where there is none, there was one.
    pub(super) fn beside(self, left_behind: &str) -> Self {
        match &self.missing {
            Some(file) => Self {
                findings: vec![lost(file, left_behind)],
                ..self
            },
            None => self,
        }
    }
}

/// Looks at the database of the settings.
pub(super) fn look(url: &DatabaseUrl) -> Examined {
    if let Some(examined) = url.path().and_then(missing) {
        return examined;
    }
    let before = SystemClock.now();
    let found = match examine(url) {
        Ok(found) => found,
        Err(error) => return Examined::only(unusable(url, error)),
    };
    let after = SystemClock.now();
    let mut findings = vec![Finding::ok(
        SUBJECT,
        format!("{} at {}", found.version, place_of(url)),
    )];
    let migrations = migrations(url);
    let is_usable = matches!(&migrations, Ok((pending, _)) if pending.is_empty());
    findings.push(match migrations {
        Ok((pending, later)) => versions(&pending, &later),
        Err(error) => unusable(url, error),
    });
    findings.push(writing(&found));
    if let Some(server) = &found.server {
        let theirs = server.clock;
        let reading = Reading {
            before,
            theirs,
            after,
        };
        findings.extend([
            version(server),
            role(server),
            clock::judge(SUBJECT, "the database server", reading.ahead()),
        ]);
    }
    if let Some(file) = url.path() {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        findings.push(room(place::free_bytes(folder.unwrap_or(Path::new(".")))));
    }
    Examined {
        findings,
        is_usable,
        missing: None,
    }
}

type Names = Vec<String>;

/// The pending migrations, and those of a later version of this program.
fn migrations(url: &DatabaseUrl) -> Result<(Names, Names), OpenError> {
    let migrations = Migrations::of(url);
    let pending = |migration: MigrationStatus| (!migration.is_applied).then_some(migration.name);
    Ok((
        migrations.status()?.into_iter().filter_map(pending).collect(),
        migrations.later()?,
    ))
}

/// What there is to say of a file that is not there, or in a folder that can't be looked into.
fn missing(file: &Path) -> Option<Examined> {
    match file.try_exists() {
        Ok(true) => None,
        Ok(false) => Some(Examined {
            missing: Some(file.to_owned()),
            ..Examined::only(none_yet(&file.display().to_string()))
        }),
        Err(error) => Some(Examined::only(place::unreadable(SUBJECT, file, &error))),
    }
}

fn lost(file: &Path, left_behind: &str) -> Finding {
    Finding::fail(
        SUBJECT,
        format!("there is none at {}, though {left_behind}", file.display()),
        "It was moved or deleted, or AUTH_SERVICE__DB_URL names another place. Stop the server and put it back, or the newest \
         backup (docs/BACKUP.md): `auth-service serve` would make a new one in which nobody is known, and what a server \
         that still runs stores now is gone when it ends.",
    )
}

fn none_yet(place: &str) -> Finding {
    Finding::warn(
        SUBJECT,
        format!("there is none at {place} yet"),
        "`auth-service serve` makes it at its first start. AUTH_SERVICE__DB_URL says where it is.",
    )
}

pub(super) fn unusable(url: &DatabaseUrl, error: OpenError) -> Finding {
    match (&error, url.path()) {
        (OpenError::File { source, .. }, Some(path)) => place::unreadable(SUBJECT, path, source),
        _ => Finding::of_failure(SUBJECT, Failure::from(StartError::Store(error))),
    }
}

fn versions(pending: &[String], later: &[String]) -> Finding {
    if !pending.is_empty() {
        return Finding::fail(
            "migrations",
            format!("pending: {}", pending.join(", ")),
            "`auth-service migrate up` applies them; `serve` does at its start, unless AUTO_MIGRATE is false.",
        );
    }
    if later.is_empty() {
        return Finding::ok("migrations", "all are applied, and no others");
    }
    Finding::warn(
        "migrations",
        format!("a later version of this program has applied {}", later.join(", ")),
        "This version can go on beside it for a while: bring every instance to the later version.",
    )
}

fn writing(found: &Examination) -> Finding {
    match &found.writing {
        Writing::Works => Finding::ok(SUBJECT, "takes writes"),
        Writing::Untried => Finding::ok(SUBJECT, "writes were not tried: its tables are not all there yet"),
        Writing::Refused(said) if said.contains("permission denied") => Finding::fail(
            SUBJECT,
            format!("takes no writes: {said}"),
            "Grant this role what docs/POSTGRESQL.md lists, or let it own the database.",
        ),
        Writing::Refused(said) => Finding::fail(
            SUBJECT,
            format!("takes no writes: {said}"),
            "Is it a replica, on a read-only disk, another user's file, or locked by a program that hangs? No sign-in and \
             no refresh works until it takes writes.",
        ),
    }
}

fn version(server: &ServerExamination) -> Finding {
    if server.major >= OLDEST {
        return Finding::ok(SUBJECT, format!("PostgreSQL {} is new enough", server.major));
    }
    Finding::fail(
        SUBJECT,
        format!("PostgreSQL {} is older than {OLDEST}", server.major),
        format!("Bring the server to PostgreSQL {OLDEST} or later."),
    )
}

fn role(server: &ServerExamination) -> Finding {
    if !server.is_superuser {
        return Finding::ok(SUBJECT, format!("the role {} is no superuser", server.role));
    }
    Finding::warn(
        SUBJECT,
        format!(
            "the role {} is a superuser: who takes this service over has the whole server",
            server.role
        ),
        "Make a role of its own for it; docs/POSTGRESQL.md has the statements.",
    )
}

fn room(free: io::Result<u64>) -> Finding {
    let free = match free {
        Ok(free) => free,
        Err(error) => {
            return Finding::warn(
                "disk",
                format!("it can't be found out how much room is left: {error}"),
                "`df` may tell.",
            );
        }
    };
    let said = format!("{} MiB are free where the database is", free >> 20);
    let mend = "Make room: where the disk is full no sign-in and no refresh works. AUDIT_RETENTION says how long audit rows \
                are kept.";
    match free {
        ..NONE_TO_SPEAK_OF => Finding::fail("disk", said, mend),
        NONE_TO_SPEAK_OF..LITTLE => Finding::warn("disk", said, mend),
        _ => Finding::ok("disk", said),
    }
}

#[cfg(test)]
mod tests {
    use auth_domain::time::Timestamp;
    use rstest::rstest;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    fn server(major: u32, is_superuser: bool) -> ServerExamination {
        ServerExamination {
            major,
            clock: Timestamp::default(),
            role: "auth".to_owned(),
            is_superuser,
        }
    }

    #[rstest]
    #[case(14, Verdict::Fail)]
    #[case(15, Verdict::Ok)]
    #[case(18, Verdict::Ok)]
    fn servers_of_version_15_and_later_will_do(#[case] major: u32, #[case] verdict: Verdict) {
        assert_eq!(version(&server(major, false)).verdict, verdict);
    }

    #[test]
    fn a_superuser_is_advised_against() {
        assert_eq!(role(&server(15, false)).verdict, Verdict::Ok);
        assert_eq!(role(&server(15, true)).verdict, Verdict::Warn);
    }

    #[rstest]
    #[case(0, Verdict::Fail)]
    #[case((64 << 20) - 1, Verdict::Fail)]
    #[case(64 << 20, Verdict::Warn)]
    #[case((1 << 30) - 1, Verdict::Warn)]
    #[case(1 << 30, Verdict::Ok)]
    fn a_disk_that_is_nearly_full_is_told_in_time(#[case] free: u64, #[case] verdict: Verdict) {
        assert_eq!(room(Ok(free)).verdict, verdict);
    }

    #[rstest]
    #[case(&[], &[], Verdict::Ok)]
    #[case(&["one"], &[], Verdict::Fail)]
    #[case(&[], &["later"], Verdict::Warn)]
    #[case(&["one"], &["later"], Verdict::Fail)]
    fn what_is_pending_fails_and_what_is_ahead_is_warned_of(
        #[case] pending: &[&str],
        #[case] later: &[&str],
        #[case] verdict: Verdict,
    ) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(versions(&owned(pending), &owned(later)).verdict, verdict);
    }

    #[test]
    fn a_database_that_is_not_there_yet_is_lost_beside_what_it_left_behind() {
        let file = Path::new("/does/not/exist/auth.db");
        let examined = missing(file).unwrap();
        assert_eq!(examined.findings[0].verdict, Verdict::Warn);
        let lost = examined.beside("there are keys");
        let [finding] = lost.findings.as_slice() else {
            panic!("one finding")
        };
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.said.contains("though there are keys"), "{finding:?}");
        let there = Examined::only(Finding::ok(SUBJECT, "x")).beside("there are keys");
        assert_eq!(there.findings[0].verdict, Verdict::Ok);
    }

    #[rstest]
    #[case(Writing::Works, Verdict::Ok, "")]
    #[case(Writing::Untried, Verdict::Ok, "")]
    #[case(Writing::Refused("permission denied for table users".to_owned()), Verdict::Fail, "Grant")]
    #[case(Writing::Refused("attempt to write a readonly database".to_owned()), Verdict::Fail, "read-only disk")]
    fn a_database_that_takes_no_writes_fails(
        #[case] writes: Writing,
        #[case] verdict: Verdict,
        #[case] mend: &str,
    ) {
        let finding = writing(&Examination {
            version: "SQLite 3".to_owned(),
            writing: writes,
            server: None,
        });
        assert_eq!(finding.verdict, verdict);
        assert!(finding.mend.unwrap_or_default().contains(mend));
    }
}
