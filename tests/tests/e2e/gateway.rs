//! The Gateway's validation, re-created with the library and the version that it has in the field.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use auth_e2e::binary::{target_directory, workspace_root};
use auth_e2e::client::Client;
use auth_e2e::installation::Installation;
use serde_json::{Value, json};

use crate::database::claims;
use crate::forged::forgeries;

/// Names a Python interpreter that has what `tests/gateway/requirements.txt` lists.
const PYTHON_VARIABLE: &str = "AUTH_E2E_PYTHON";

#[test]
fn the_gateway_accepts_an_access_token_and_nothing_else() {
    let installation = Installation::new();
    let server = installation.start();
    let http = server.http();
    let tokens = Client::flutter(http.clone()).admin_tokens();
    let forged = forgeries(&tokens.access, &http);
    let mut by_name = json!({ "access": tokens.access, "refresh": tokens.refresh });
    for (name, token) in &forged {
        by_name[*name] = json!(token);
    }

    let verdicts = validate(&json!({
        "key_set": format!("http://{}/.well-known/jwks.json", server.address()),
        "issuer": "https://auth.codelab.local",
        "audience": "codelab-api",
        "tokens": by_name,
    }));

    let user = claims(&tokens.refresh).sub.to_string();
    let read = json!({ "user": user, "scope": "api:read api:write", "client": "codelab-flutter-app" });
    assert_eq!(verdicts["access"], json!({ "accepted": read }));
    for name in forged.iter().map(|(name, _)| *name).chain(["refresh"]) {
        // A key named in the header is not looked at by the Gateway; the signature over another header is what fails.
        assert!(
            verdicts[name]["refused"].is_string(),
            "{name}: {}",
            verdicts[name]
        );
    }
}

fn validate(order: &Value) -> Value {
    let mut child = Command::new(python())
        .arg(gateway().join("validate.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(order.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn gateway() -> PathBuf {
    workspace_root().join("tests/gateway")
}

/// The interpreter that the environment names, else one in a virtual environment of our own.
fn python() -> PathBuf {
    std::env::var_os(PYTHON_VARIABLE).map_or_else(own_python, PathBuf::from)
}

/// Made once, beside what cargo builds, and put in its place only when it is whole.
fn own_python() -> PathBuf {
    let place = target_directory().join("gateway-python");
    let python = place.join("bin/python");
    if !python.exists() {
        let making = target_directory().join(format!("gateway-python-{}", std::process::id()));
        run("python3", &["-m", "venv"], &making);
        let install = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ];
        let interpreter = making.join("bin/python");
        run(
            interpreter.to_str().unwrap(),
            &install,
            &gateway().join("requirements.txt"),
        );
        // Where another process was faster, its environment is as good as ours.
        let _ = std::fs::rename(&making, &place);
    }
    python
}

fn run(program: &str, arguments: &[&str], last: &Path) {
    let status = Command::new(program).args(arguments).arg(last).status();
    let status = status.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        status.success(),
        "{program} {arguments:?}: {status}; or name a Python by {PYTHON_VARIABLE}"
    );
}
