//! Where the commands of a document are tried: a scratch folder, a shell in it, and what a reader has by then.

use std::any::Any;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitStatus};

use auth_e2e::binary;
use auth_e2e::installation::Installation;
use auth_e2e::scale;
use rustix::process::{Pid, Signal, kill_process_group};

use super::page::{Command, Page};

/// How long all commands of one name may take together, on a machine that is busy with other tests.
const PATIENCE: &str = "240s";
/// The address that documents name for the server.
const DOCUMENTED_ADDRESS: &str = "127.0.0.1:8003";
const SYSTEMCTL: &str = include_str!("systemctl.sh");
/// What a machine has of its own; it ends with whoever started it.
const APART: [&str; 6] = [
    "--mount",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];
const MACHINE: &str = include_str!("machine.sh");
const SYSTEMCTL_OF_A_MACHINE: &str = include_str!("machine-systemctl.sh");

/// A scratch folder with what the commands of a document need to be there already.
#[derive(Debug)]
pub(crate) struct Stage {
    /// What has to be there for as long as the stage, and ends before its folder goes.
    kept: Vec<Box<dyn Any>>,
    installation: Installation,
    kind: Kind,
    first: String,
    typed: String,
    environment: Vec<(String, String)>,
    replaced: Vec<(String, String)>,
}

/// What is given beside the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The installation's settings, and the built program in the path.
    Installed,
    /// The port alone, and the built program in the path.
    Bare,
    /// Nothing: a machine of its own, and root's rights on it.
    Machine,
}

impl Stage {
    /// The folder of an installation, by whose settings the commands are run; the user `admin` gets
    /// [`ADMIN_PASSWORD`](auth_e2e::installation::ADMIN_PASSWORD).
    pub(crate) fn of(installation: Installation) -> Self {
        let address = installation.address().to_string();
        Self {
            installation,
            kind: Kind::Installed,
            first: String::new(),
            typed: String::new(),
            environment: Vec::new(),
            replaced: vec![(DOCUMENTED_ADDRESS.to_owned(), address)],
            kept: Vec::new(),
        }
    }

    /// A folder in which no setting is given but the port.
    pub(crate) fn bare() -> Self {
        Self {
            kind: Kind::Bare,
            ..Self::of(Installation::new())
        }
    }

    /// A machine of its own, as [`MACHINE`] makes it, with what is installed on this one: what is written to `/etc`,
    /// `/usr` and `/var` there, and who listens on which port, is not seen outside. Units are started by a stand-in for
    /// systemd.
    pub(crate) fn machine() -> Self {
        let mut stage = Self::of(Installation::new());
        stage.kind = Kind::Machine;
        stage.replaced.clear();
        let programs = stage.programs();
        program(&programs.join("systemctl"), SYSTEMCTL_OF_A_MACHINE);
        symlink("systemctl", programs.join("journalctl")).unwrap();
        program(&stage.own().join("machine"), MACHINE);
        stage
    }

    /// With a server that runs from the beginning, and limits nobody.
    pub(crate) fn serving() -> Self {
        Self::serving_by(Installation::new().unlimited())
    }

    /// The same by an installation's settings.
    pub(crate) fn serving_by(installation: Installation) -> Self {
        let stage = Self::of(installation);
        let server = stage.installation.start();
        stage.beside(server)
    }

    /// With `systemctl start|stop|restart auth-service`, which works on a process of the installation; it runs.
    pub(crate) fn with_service(self) -> Self {
        program(&self.programs().join("systemctl"), SYSTEMCTL);
        self.after("systemctl start auth-service")
    }

    /// With commands that are run before those of the document.
    pub(crate) fn after(mut self, commands: &str) -> Self {
        self.first.push_str(commands);
        self.first.push('\n');
        self
    }

    /// With lines that somebody types when they are asked for.
    pub(crate) fn typing(mut self, lines: &str) -> Self {
        self.typed.push_str(lines);
        self
    }

    /// With something that a document has to name in another way than this machine, such as an absolute path.
    pub(crate) fn replacing(mut self, documented: &str, here: &str) -> Self {
        self.replaced.push((documented.to_owned(), here.to_owned()));
        self
    }

    /// With a variable of the environment.
    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// With a copy of a file or folder of the repository, at the same path.
    pub(crate) fn holding(self, path: &str) -> Self {
        let to = self.installation.directory().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        symlink(binary::workspace_root().join(path), to).unwrap();
        self
    }

    /// With something that is there until the end, such as a database's server.
    pub(crate) fn beside(mut self, other: impl Any) -> Self {
        self.kept.push(Box::new(other));
        self
    }

    /// The scratch folder.
    pub(crate) fn folder(&self) -> &Path {
        self.installation.directory()
    }

    /// Runs all commands of a name in one shell, and compares what they print with what the document says.
    #[track_caller]
    pub(crate) fn play(&self, page: &str, name: &str) {
        if self.kind == Kind::Machine && !may_have_a_machine() {
            scale::left_out("a machine of a document's own takes root's rights, and namespaces");
            return;
        }
        let commands = Page::read(page).commands(name);
        let commands: Vec<Command> = commands.into_iter().map(|command| self.fitted(command)).collect();
        self.run(page, &commands);
        for (number, command) in commands.iter().enumerate() {
            let printed = fs::read_to_string(self.printed_by(number)).unwrap();
            assert!(
                command.output.is_empty() || is_like(&command.output, &printed),
                "{page}:{}: the document says\n{}\nand here it is\n{printed}",
                command.line,
                command.output
            );
        }
    }

    /// A command with what this machine has in place of what the document names.
    fn fitted(&self, command: Command) -> Command {
        let replace = |text: String| {
            let pairs = self.replaced.iter();
            pairs.fold(text, |text, (documented, here)| text.replace(documented, here))
        };
        Command {
            line: command.line,
            text: replace(command.text),
            output: replace(command.output),
        }
    }

    fn run(&self, page: &str, commands: &[Command]) {
        let script = self.own().join("commands.sh");
        fs::write(&script, self.script(page, commands)).unwrap();
        let status = ended(&mut self.shell(&script));
        let said = fs::read_to_string(self.own().join("said")).unwrap();
        assert!(
            status.success(),
            "{page}: {status} (124 is more than {PATIENCE})\n{said}{}",
            self.everything_printed(commands.len())
        );
    }

    /// The commands, each with its output in a file of its own.
    fn script(&self, page: &str, commands: &[Command]) -> String {
        let mut script = self.first.clone();
        for (number, command) in commands.iter().enumerate() {
            let Command { line, text, .. } = command;
            let printed = self.printed_by(number).display().to_string();
            writeln!(script, "echo {page}:{line} >&2\n{{\n{text}}} > '{printed}' 2>&1").unwrap();
        }
        script
    }

    fn shell(&self, script: &Path) -> Process {
        let typed = self.own().join("typed");
        fs::write(&typed, &self.typed).unwrap();
        let said = File::create(self.own().join("said")).unwrap();
        // In a session of its own nobody is at a terminal: what asks for a password reads what is typed here.
        let mut shell = Process::new("setsid");
        for (name, _) in std::env::vars_os() {
            let foreign = name.to_string_lossy();
            if foreign.starts_with("AUTH_SERVICE") || ["ENVIRONMENT", "PORT"].contains(&&*foreign) {
                shell.env_remove(&name);
            }
        }
        let settings = self.installation.settings().iter();
        shell.args(["timeout", "--kill-after=5s", PATIENCE]);
        if self.kind == Kind::Machine {
            shell.arg("unshare").args(APART).arg(self.own().join("machine"));
        }
        shell
            .args(["bash", "-euo", "pipefail"])
            .arg(script)
            .envs(settings.filter(|(name, _)| match self.kind {
                Kind::Installed => true,
                Kind::Bare => *name == "PORT",
                Kind::Machine => false,
            }))
            .env("PATH", self.path())
            .env("HOME", self.folder())
            .env("STAGE", self.own())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder())
            .stdin(File::open(typed).unwrap())
            .stdout(said.try_clone().unwrap())
            .stderr(said);
        shell
    }

    fn everything_printed(&self, commands: usize) -> String {
        (0..commands)
            .map(|number| fs::read_to_string(self.printed_by(number)).unwrap_or_default())
            .chain([self.installation.printed()])
            .collect()
    }

    fn printed_by(&self, number: usize) -> PathBuf {
        self.own().join(format!("printed-{number}"))
    }

    /// Where the stage keeps what is its own, out of the commands' way.
    fn own(&self) -> PathBuf {
        let folder = self.folder().join(".stage");
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A folder of programs that comes first in the path.
    fn programs(&self) -> PathBuf {
        let folder = self.own().join("bin");
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn path(&self) -> String {
        let programs = self.programs();
        if self.kind != Kind::Machine && !programs.join("auth-service").exists() {
            symlink(binary::auth_service(), programs.join("auth-service")).unwrap();
        }
        let newest = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path().join("bin").display().to_string())
            .max()
            .unwrap_or_default();
        let inherited = std::env::var("PATH").unwrap();
        format!("{}:{newest}:{inherited}:/usr/sbin:/sbin", programs.display())
    }
}

/// Whether this process may make namespaces, and mount in them.
fn may_have_a_machine() -> bool {
    let tried = Process::new("unshare")
        .args(APART)
        .args(["mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}

fn program(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// How a shell ended. What it has left running is ended as well.
fn ended(shell: &mut Process) -> ExitStatus {
    let mut child = shell.spawn().unwrap();
    let group = Pid::from_child(&child);
    let status = child.wait().unwrap();
    // As a rule nothing is left.
    let _ = kill_process_group(group, Signal::KILL);
    status
}

/// Whether something was printed as the document says: `…` in a line is anything, `…` alone any number of lines.
pub(crate) fn is_like(documented: &str, printed: &str) -> bool {
    let lines = |text: &str| -> Vec<String> { text.lines().map(|line| line.trim_end().to_owned()).collect() };
    lines_are_like(&lines(documented), &lines(printed))
}

fn lines_are_like(documented: &[String], printed: &[String]) -> bool {
    match documented {
        [] => printed.is_empty(),
        [any, rest @ ..] if any == "…" => {
            (0..=printed.len()).any(|skipped| lines_are_like(rest, &printed[skipped..]))
        }
        [line, rest @ ..] => printed
            .split_first()
            .is_some_and(|(first, others)| line_is_like(line, first) && lines_are_like(rest, others)),
    }
}

fn line_is_like(documented: &str, printed: &str) -> bool {
    let Some((head, tail)) = documented.split_once('…') else {
        return documented == printed;
    };
    printed.strip_prefix(head).is_some_and(|rest| {
        let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
        ends.any(|at| line_is_like(tail, &rest[at..]))
    })
}
