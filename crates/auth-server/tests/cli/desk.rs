//! A folder with one installation of the program, and ways to run it there.

use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_auth-service");

/// A password that satisfies the policy.
pub(crate) const PASSWORD: &str = "Correct-Horse-7-Battery";

/// An installation; gone when this is.
pub(crate) struct Desk {
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
}

/// What a run of the program came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// With a database of the present schema, and nobody in it.
    pub(crate) fn migrated(self) -> Self {
        self.run(&["migrate", "up"]).succeeded();
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Whether the program has left anything behind.
    pub(crate) fn is_empty(&self) -> bool {
        std::fs::read_dir(self.folder.path()).unwrap().next().is_none()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that wants no input may have gone before it is written.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::from(child.wait_with_output().unwrap())
    }

    /// Starts the program, and does not wait for its end.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null());
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs the program as somebody who may look into this folder and no deeper; gives the user's number too.
    pub(crate) fn run_as_a_stranger(&self, arguments: &[&str]) -> (u32, Ran) {
        let mode =
            |path: PathBuf, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let mine = std::fs::metadata(self.folder.path()).unwrap().uid();
        // By its descriptor: the folder it was built in may be closed to strangers.
        let program = File::open(PROGRAM).unwrap();
        let mut command = self.command_of(&PathBuf::from(format!("/proc/self/fd/{}", program.as_raw_fd())));
        command.arg0(PROGRAM).args(arguments).stdin(Stdio::null());
        mode(self.path(""), 0o755);
        let user = if mine == 0 {
            const NOBODY: u32 = 65_534;
            command.uid(NOBODY);
            NOBODY
        } else {
            // Only root can be somebody else, and only root reads what it may not.
            mode(self.path("data"), 0o000);
            mine
        };
        let ran = Ran::from(command.output().unwrap());
        mode(self.path("data"), 0o700);
        (user, ran)
    }

    /// The answer to a command in JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat()).succeeded();
        serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("no JSON: {}", ran.out))
    }

    /// What a command in JSON fails with.
    pub(crate) fn json_failure(&self, code: i32, arguments: &[&str]) -> Value {
        let ran = self
            .run(&[arguments, &["--json"]].concat())
            .failed(code, "\"error\"");
        serde_json::from_str(&ran.err).unwrap_or_else(|_| panic!("no JSON: {}", ran.err))
    }

    /// Starts the server on a free port.
    pub(crate) fn serve(&self) -> Server {
        let mut child = self
            .command()
            .args(["serve", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut printed = String::new();
        out.read_line(&mut printed).unwrap();
        let base = printed.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(
            base.starts_with("http://"),
            "{printed}{}",
            Ran::from(child.wait_with_output().unwrap()).err
        );
        // The address is told before it is listened on; a server that can't start never does.
        let address = base.trim_start_matches("http://");
        while TcpStream::connect(address).is_err() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        Server {
            child,
            out,
            printed,
            base,
        }
    }

    fn command(&self) -> Command {
        self.command_of(Path::new(PROGRAM))
    }

    fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AUTH_SERVICE") || text == "ENVIRONMENT" || text == "PORT" {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(self.folder.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self
    }

    /// Failed with that code, wrote no result, and said this.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, said: &str) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.contains(said), "{}", self.err);
        assert_eq!(self.out, "");
        self
    }
}

/// A running server; killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    printed: String,
    pub(crate) base: String,
}

/// What a server that was stopped has left.
pub(crate) struct Stopped {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Server {
    /// Asks it to stop by `SIGTERM`, and waits until it has.
    pub(crate) fn stop(mut self) -> Stopped {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let mut err = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        self.out.read_to_string(&mut self.printed).unwrap();
        Stopped {
            status: self.child.wait().unwrap(),
            out: std::mem::take(&mut self.printed),
            err,
        }
    }

    /// Signs in, and gives the status and the body.
    pub(crate) fn sign_in(&self, username: &str, password: &str) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut answer = agent
            .post(format!("{}/oauth/token", self.base))
            .send_form([
                ("grant_type", "password"),
                ("client_id", "codelab-flutter-app"),
                ("username", username),
                ("password", password),
            ])
            .unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bytes of a file and of those beside it whose names begin like it.
pub(crate) fn bytes_of(path: &Path) -> Vec<u8> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with(&name) {
            bytes.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    bytes
}

/// Whether a text stands somewhere among bytes.
pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
