//! Every command of the documents that can run here is run, and every link leads somewhere.
//!
//! In each document (`*.md` in the root, `docs/**`, `deploy/**`) a fenced block of `sh`, `console` or `bash` has a comment
//! on the line before it:
//!
//! - `<!-- run: NAME -->`: the blocks of one page with the same NAME are run in order in one `bash -euo pipefail`, in a
//!   scratch folder, with `auth-service` in the path. `127.0.0.1:8003` becomes the address of the scene's own server.
//! - `<!-- not run: REASON -->`.
//!
//! In `console` the lines that begin with `$ ` are commands (`> ` goes on), and what stands below one must be what it
//! prints; `<!-- output -->` before a block of another language says the same of what the block before it prints. There
//! `…` within a line is anything, and `…` alone any number of lines.
//!
//! To add a NAME, add a line to `scenes!`: the name of a test, the page, the NAME, and the [`Stage`] with what a reader
//! has by then: `Stage::bare()` has no settings but the port, `Stage::serving()` a server that runs and whose `admin`
//! signs in by `Correct-Horse-7-Battery`; `.with_service()` adds a stand-in for `systemctl`, and `Stage::machine()` is a
//! machine of its own, with root's rights on it. The rest is in `stage.rs`. Where a test elsewhere carries the commands out
//! by itself, as [`commands`] gives them, name it in `BY_OTHER_TESTS`. The Russian README has the same blocks as the
//! English one, which a test compares, and needs no line.

mod page;
mod stage;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use auth_e2e::binary::{self, workspace_root};
use auth_e2e::installation::Installation;
use auth_testkit::server::{Durability, PostgresServer};

pub(crate) use page::pages;
use page::{Command, Mark, Page};
use stage::{Stage, is_like};

/// A scene is a test of its own, and a row of [`SCENES`].
macro_rules! scenes {
    ($($test:ident: $page:literal $name:literal => $stage:expr;)*) => {
        /// Pages, and the names of the blocks on them that are run here.
        const SCENES: &[(&str, &str)] = &[$(($page, $name)),*];

        mod scenes {
            use super::*;

            $(#[test]
            fn $test() {
                $stage.play($page, $name);
            })*
        }
    };
}

scenes! {
    the_first_token: "README.md" "first-token" => Stage::serving()
        .typing("Correct-Horse-7-Battery\nZebra-Lamp-42-Quartz\n");
    a_machine: "docs/DEPLOYMENT.md" "machine" => Stage::machine()
        .holding("deploy")
        .typing("Correct-Horse-7-Battery\n")
        .with("COMPRESSION", "none")
        .replacing("target/release/auth-service", binary::auth_service().to_str().unwrap());
    the_interface: "docs/API.md" "api" => Stage::serving();
    limits_of_the_interface: "docs/API.md" "limits" => Stage::serving_by(Installation::new());
    pages_of_other_origins: "docs/API.md" "origins" => Stage::serving_by(
        Installation::new().with("AUTH_SERVICE__CORS_ALLOWED_ORIGINS", "https://app.example.com"),
    );
    a_client: "docs/CLIENTS.md" "client" => Stage::serving_by(Installation::new()).typing("Correct-Horse-7-Battery\n");
    what_to_look_at: "docs/TROUBLESHOOTING.md" "look" => Stage::serving();
    an_upgrade: "docs/UPGRADING.md" "upgrade" => with_backup_folder(Stage::of(Installation::new()).with_service());
    backup_on_sqlite: "docs/BACKUP.md" "sqlite" => with_backup_folder(Stage::of(Installation::new()).with_service());
    backup_on_postgresql: "docs/BACKUP.md" "postgresql" => with_database_of_postgresql();
    a_role_and_a_database_of_postgresql: "docs/POSTGRESQL.md" "role-and-database" => with_postgresql()
        .typing("PASSWORD\nPASSWORD\n");
}

/// Pages or folders of pages, names of blocks, and the test that carries them out: its file beside this one, and its function.
const BY_OTHER_TESTS: &[(&str, &str, &str, &str)] = &[
    (
        "docs/runbooks/",
        "runbook",
        "alerts.rs",
        "every_command_of_the_runbooks_that_can_run_here_does",
    ),
    (
        "docs/TAKEOVER.md",
        "takeover",
        "takeover.rs",
        "the_commands_of_the_guide_do_what_it_says",
    ),
    (
        "docs/TRANSFER.md",
        "transfer",
        "transfer.rs",
        "by_the_commands_of_the_page_everybody_moves_to_postgresql_and_back",
    ),
];

fn with_backup_folder(stage: Stage) -> Stage {
    let folder = stage.folder().join("backups").display().to_string();
    let own = stage.folder().display().to_string();
    stage
        .after("install -d -m 0700 backups")
        .after("auth() { auth-service \"$@\"; }")
        .replacing("/var/backups/auth-service", &folder)
        .replacing("/var/lib/auth-service", &own)
}

/// With a PostgreSQL of its own in place of `db.internal`, whose administrator needs to give no password.
fn with_postgresql() -> Stage {
    let server = PostgresServer::start(Durability::Fast);
    server
        .tell("CREATE ROLE administrator SUPERUSER LOGIN PASSWORD 'administrator'")
        .unwrap();
    let url = server.database().url();
    let (place, _) = url.rsplit_once('/').unwrap();
    let (_, port) = place.rsplit_once(':').unwrap();
    let stage = Stage::bare().beside(server);
    let passwords = stage.folder().join("pgpass");
    fs::write(
        &passwords,
        "*:*:*:administrator:administrator\n*:*:*:auth:PASSWORD\n",
    )
    .unwrap();
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o600)).unwrap();
    stage
        .replacing("db.internal", "127.0.0.1")
        .with("PGHOST", "127.0.0.1")
        .with("PGPORT", port)
        .with("PGUSER", "administrator")
        .with("PGPASSFILE", passwords.to_str().unwrap())
}

/// With the database that `docs/POSTGRESQL.md` makes, and the service's tables in it.
fn with_database_of_postgresql() -> Stage {
    with_postgresql()
        .after("psql --quiet --command=\"CREATE ROLE auth LOGIN PASSWORD 'PASSWORD'\" postgres")
        .after("createdb --owner=auth auth")
        .after(
            "AUTH_SERVICE__DB_URL=postgresql://auth@127.0.0.1:$PGPORT/auth auth-service migrate up >migrated",
        )
}

/// The commands of a page under a name, in order: for tests that carry them out by themselves.
pub(crate) fn commands(page: &str, name: &str) -> Vec<String> {
    let commands = Page::read(page).commands(name);
    commands.into_iter().map(|command| command.text).collect()
}

/// All that is wrong with the marks of a page.
fn faults(page: &Page) -> Vec<String> {
    let at = |line: usize, fault: &str| format!("{}:{line}: {fault}", page.path);
    let stray = page.stray_marks.iter();
    let mut faults: Vec<String> = stray.map(|line| at(*line, "a mark without a block")).collect();
    for block in &page.blocks {
        let is_shell = page.shell_blocks().any(|shell| shell.line == block.line);
        let fault = match &block.mark {
            None if is_shell => "neither run nor said why not",
            Some(Mark::Output) if is_shell => "what is printed is no commands",
            Some(Mark::NotRun(reason)) if reason.split_whitespace().count() < 2 => "no reason",
            Some(Mark::Run(_) | Mark::NotRun(_)) if !is_shell => "no commands",
            Some(Mark::Run(name)) if !is_run(&page.path, name) => "nobody runs this name",
            None | Some(Mark::Output | Mark::NotRun(_) | Mark::Run(_)) => continue,
        };
        faults.push(at(block.line, fault));
    }
    faults
}

fn is_run(page: &str, name: &str) -> bool {
    let page = page.replace(".ru.md", ".md");
    let mut here = SCENES.iter();
    let mut elsewhere = BY_OTHER_TESTS.iter();
    here.any(|scene| *scene == (&page, name))
        || elsewhere.any(|(place, its_name, ..)| is_at(&page, place) && *its_name == name)
}

/// Whether a page is the one that is named, or in the folder that is.
fn is_at(page: &str, place: &str) -> bool {
    page == place || (place.ends_with('/') && page.starts_with(place))
}

#[test]
fn every_command_of_the_documents_is_run_or_says_why_not() {
    let faults: Vec<String> = pages().iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_name_that_is_run_stands_in_its_document() {
    for (page, name) in SCENES {
        assert!(!commands(page, name).is_empty(), "{page} has no block {name}");
    }
    for (place, name, file, test) in BY_OTHER_TESTS {
        let mut there = pages().into_iter().filter(|page| is_at(&page.path, place));
        assert!(
            there.any(|page| !page.commands(name).is_empty()),
            "{place} has no block {name}"
        );
        let source = fs::read_to_string(workspace_root().join("tests/tests/e2e").join(file)).unwrap();
        let is_there = source.contains(&format!("fn {test}(")) && source.contains("documents::commands(");
        assert!(is_there, "{file} has no {test}");
    }
}

#[test]
fn a_block_without_a_mark_a_mark_without_a_block_and_a_name_that_nobody_runs_are_found() {
    let page = "# A page\n\n```sh\ntrue\n```\n<!-- run: sqlite -->\n\n<!-- run: nobody -->\n```console\n$ true\n```\n\
                <!-- not run: why -->\n```bash\ntrue\n```\n<!-- run: sqlite -->\n```json\n{}\n```\n\
                <!-- run: sqlite -->\n  ```sh\n  true\n  ```\n<!-- not run: it takes an hour -->\n```sh\n```\n";
    let faults = faults(&Page::of("docs/BACKUP.md", page));
    let expected = [
        "6: a mark without a block",
        "3: neither run nor said why not",
        "9: nobody runs this name",
        "13: no reason",
        "17: no commands",
    ];
    assert_eq!(faults, expected.map(|fault| format!("docs/BACKUP.md:{fault}")));
}

#[test]
fn a_console_tells_commands_from_what_they_print() {
    let page = Page::of(
        "a.md",
        "<!-- run: x -->\n```console\n$ echo a \\\n  b\na b\n$ cat <<END\n> c\n> END\nc\n```\n<!-- output -->\n```text\nd…\n```\n",
    );
    let command = |line, text: &str, output: &str| Command {
        line,
        text: text.to_owned(),
        output: output.to_owned(),
    };
    let expected = [
        command(3, "echo a \\\n  b\n", "a b\n"),
        command(6, "cat <<END\nc\nEND\n", "d…\n"),
    ];
    assert_eq!(page.commands("x"), expected);
}

#[test]
fn an_ellipsis_stands_for_anything_and_nothing_else_does() {
    assert!(is_like("a … c\n…\nend", "a b c\n1\n2\nend\n"));
    assert!(is_like("…\nend", "end"));
    for (documented, printed) in [
        ("a…c", "a b"),
        ("a", "a\nb"),
        ("a\nb", "a"),
        ("…\nend", "end\nafter"),
    ] {
        assert!(!is_like(documented, printed), "{documented} {printed}");
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for (line, link) in &page.links {
            if !link.contains("://") && !link.starts_with("mailto:") && !leads_somewhere(&page, link) {
                broken.push(format!("{}:{line}: {link}", page.path));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_russian_readme_has_the_same_headings_and_commands_as_the_english_one() {
    let shape = |page: &Page| -> (Vec<usize>, Vec<String>) {
        let levels = page.headings.iter();
        let levels = levels.map(|heading| heading.chars().take_while(|sign| *sign == '#').count());
        let commands = page.blocks.iter().filter(|block| block.language != "mermaid");
        let commands = commands.map(|block| format!("{:?} {}\n{}", block.mark, block.language, block.text));
        (levels.collect(), commands.collect())
    };
    let [english, russian] = ["README.md", "README.ru.md"].map(|path| shape(&Page::read(path)));
    assert_eq!(english, russian);
}

#[test]
fn the_readme_lists_every_document() {
    for readme in ["README.md", "README.ru.md"] {
        let listed = Page::read(readme).links;
        for page in pages() {
            let is_document = Path::new(&page.path).parent() == Some(Path::new("docs"));
            let is_listed = listed.iter().any(|(_, link)| *link == page.path);
            assert!(!is_document || is_listed, "{readme} does not list {}", page.path);
        }
    }
}

/// Messages are the code on the page that is longer than three words and no command line.
#[test]
fn the_messages_that_troubleshooting_explains_are_those_of_the_program() {
    let mut source = String::new();
    append_sources(&workspace_root().join("crates"), &mut source);
    let text = fs::read_to_string(workspace_root().join("docs/TROUBLESHOOTING.md")).unwrap();
    let prose = text
        .split("```")
        .step_by(2)
        .collect::<String>()
        .replace('\n', " ");
    let spans = prose.split('`').skip(1).step_by(2);
    let messages: Vec<&str> = spans
        .filter(|span| {
            span.split_whitespace().count() > 3 && !span.contains(" -") && !span.starts_with("auth")
        })
        .collect();
    assert!(messages.len() > 30, "{messages:?}");
    let unknown: Vec<&str> = messages
        .into_iter()
        .filter(|message| !is_said(&source, message))
        .collect();
    assert!(
        unknown.is_empty(),
        "the program never says\n{}",
        unknown.join("\n")
    );
    assert!(!is_said(&source, "the database … has no tables of that program"));
}

/// The text of all sources, with the strings that go over several lines in one.
fn append_sources(folder: &Path, source: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            append_sources(&path, source);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            for line in text.lines() {
                source.push_str(line.trim_start().trim_end_matches('\\'));
                if !line.ends_with('\\') {
                    source.push('\n');
                }
            }
        }
    }
}

/// Whether the parts of a message stand in the source, one soon after the other.
fn is_said(source: &str, message: &str) -> bool {
    let parts: Vec<&str> = message
        .split('…')
        .filter(|part| !part.trim().is_empty())
        .collect();
    source.match_indices(parts[0]).any(|(at, first)| {
        let mut rest = source[at..]
            .split_once("\n\n")
            .map_or(&source[at..], |(rest, _)| rest);
        rest = &rest[first.len()..];
        parts[1..].iter().all(|part| {
            let found = rest.find(part);
            rest = found.map_or(rest, |at| &rest[at + part.len()..]);
            found.is_some()
        })
    })
}

fn leads_somewhere(page: &Page, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let folder = Path::new(&page.path).parent().unwrap();
    let target = if path.is_empty() {
        PathBuf::from(&page.path)
    } else {
        without_dots(&folder.join(path))
    };
    let is_there = workspace_root().join(&target).exists();
    is_there && (anchor.is_empty() || Page::read(target.to_str().unwrap()).anchors().contains(anchor))
}

pub(crate) fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    plain
}
