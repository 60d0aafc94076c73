//! The unit and what belongs to it: read by systemd's own tools, and the program told from outside to be the service that
//! the unit describes. No systemd starts it here.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use auth_e2e::binary::auth_service;
use auth_e2e::installation::Installation;
use auth_e2e::scale;
use tempfile::TempDir;

use super::{assert_accepted, carried_out, command_of, deployed, text};
use crate::support::everything_in;

const UNIT: &str = "auth-service.service";
/// What `systemd-analyze security` may find at most, in tenths of its scale from 0 (best) to 10. What is left is that it
/// speaks to the network, with whatever address a database may have.
const EXPOSURE: &str = "--threshold=15";

/// The unit in a folder of its own, with the program that was built.
fn unit() -> TempDir {
    let folder = TempDir::new().unwrap();
    let program = auth_service().display().to_string();
    let unit = text(&format!("systemd/{UNIT}"));
    assert!(unit.contains("ExecStart=/usr/bin/auth-service serve\n"));
    fs::write(
        folder.path().join(UNIT),
        unit.replace("/usr/bin/auth-service", &program),
    )
    .unwrap();
    folder
}

/// What the unit says of something.
#[track_caller]
fn value(of: &str) -> String {
    let unit = text(&format!("systemd/{UNIT}"));
    let found = unit
        .lines()
        .find_map(|line| line.strip_prefix(of)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {of}")).to_owned()
}

#[test]
fn systemd_understands_the_unit_with_its_drop_ins_and_without() {
    let folder = unit();
    for drop_in in ["", "credentials.conf", "low-port.conf"] {
        let Some(mut analyze) = command_of("systemd-analyze") else {
            return;
        };
        if !drop_in.is_empty() {
            let drop_ins = folder.path().join(format!("{UNIT}.d"));
            fs::create_dir_all(&drop_ins).unwrap();
            let shipped = deployed(&format!("systemd/auth-service.{drop_in}"));
            fs::copy(shipped, drop_ins.join(drop_in)).unwrap();
        }
        let output = analyze
            .args(["verify", "--man=no", UNIT])
            .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
            .output()
            .unwrap();
        let said = everything_in(&output);
        assert!(
            output.status.success() && !said.contains("auth-service"),
            "{said}"
        );
    }
}

#[test]
fn the_unit_leaves_the_service_little_of_the_system() {
    let folder = unit();
    let Some(mut analyze) = command_of("systemd-analyze") else {
        return;
    };
    let said = carried_out(
        analyze
            .args(["security", "--offline=true", "--no-pager", EXPOSURE])
            .arg(folder.path().join(UNIT)),
    );
    let overall = said.lines().find(|line| line.contains("Overall exposure level"));
    scale::say(overall.unwrap_or_else(|| panic!("{said}")));
}

/// The settings file, with its examples in force where asked.
fn settings_file(with_examples: bool) -> toml::Table {
    let mut lines = Vec::new();
    for line in text("systemd/auth-service.toml").lines() {
        match line.strip_prefix('#') {
            Some(example) if !example.starts_with(' ') && with_examples => lines.push(example.to_owned()),
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n").parse().unwrap()
}

/// The settings file as `config check` is to read it: whatever secret it names is there.
fn check(mut settings: toml::Table) {
    let folder = TempDir::new().unwrap();
    let secrets = [
        ("db_url_file", "postgresql://auth:PASSWORD@127.0.0.1:5432/auth"),
        ("redis_url_file", "redis://127.0.0.1:6379/0"),
        ("master_key_file", "Correct-Horse-7-Battery"),
    ];
    for (name, content) in secrets {
        if settings.contains_key(name) {
            let file = folder.path().join(name);
            fs::write(&file, content).unwrap();
            settings.insert(name.to_owned(), file.display().to_string().into());
        }
    }
    let file = folder.path().join("auth-service.toml");
    let lines: Vec<_> = settings
        .iter()
        .map(|(name, value)| match value {
            toml::Value::String(text) => format!("{name} = '{text}'"),
            toml::Value::Integer(number) => format!("{name} = {number}"),
            other => panic!("{name}: {other:?}"),
        })
        .collect();
    fs::write(&file, lines.join("\n")).unwrap();
    assert_accepted(&[("AUTH_SERVICE__CONFIG_FILE".to_owned(), file.display().to_string())]);
}

#[test]
fn the_settings_file_is_accepted_once_it_has_an_issuer_and_so_is_each_of_its_examples() {
    assert!(value("Environment").ends_with("=/etc/auth-service/auth-service.toml"));
    let plain = settings_file(false);
    assert_eq!(plain["environment"].as_str(), Some("production"));
    assert!(
        !plain.contains_key("jwt_issuer"),
        "nobody starts by an issuer that is not theirs"
    );
    let examples = settings_file(true);
    let names = ["jwt_issuer", "db_url_file", "redis_url_file", "master_key_file"];
    let mut with_issuer = plain;
    with_issuer.insert("jwt_issuer".to_owned(), examples["jwt_issuer"].clone());
    check(with_issuer.clone());
    for name in names {
        let mut settings = with_issuer.clone();
        if name == "db_url_file" {
            settings.remove("db_url");
        }
        settings.insert(name.to_owned(), examples[name].clone());
        check(settings);
    }
    let known = examples.keys().all(|name| {
        with_issuer.contains_key(name) || names.contains(&name.as_str()) || name.starts_with("tls_")
    });
    assert!(known, "an example that is not tried: {examples:?}");
}

#[test]
fn a_stop_has_the_time_that_it_takes() {
    let seconds: u64 = value("TimeoutStopSec").parse().unwrap();
    let settings = settings_file(true);
    let of = |name: &str| u64::try_from(settings[name].as_integer().unwrap()).unwrap();
    assert!(seconds > of("drain_delay") + of("shutdown_timeout"));
}

/// The kernel asks for the capability in the namespace of users that the network belongs to, so the service must not have
/// one of its own.
#[test]
fn the_drop_in_for_low_ports_gives_a_capability_that_counts_on_the_machine() {
    assert_eq!(value("PrivateUsers"), "yes");
    let drop_in = text("systemd/auth-service.low-port.conf");
    for line in [
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "PrivateUsers=no",
    ] {
        assert!(drop_in.lines().any(|own| own == line), "{line}");
    }
}

/// A database that comes back later than this machine must find a service that still tries.
#[test]
fn however_often_a_start_fails_the_next_one_is_tried() {
    assert_eq!(value("Restart"), "on-failure");
    assert_eq!(value("StartLimitIntervalSec"), "0");
}

#[test]
fn a_wrong_setting_ends_the_program_by_the_status_that_is_not_tried_again() {
    let status: i32 = value("RestartPreventExitStatus").parse().unwrap();
    let installation = Installation::new().with("AUTH_SERVICE__ACCESS_TOKEN_LIFETIME", "soon");
    let output = installation.run(&["serve"], "").unwrap();
    assert_eq!(output.status.code(), Some(status), "{}", everything_in(&output));
}

#[test]
fn the_supervisor_is_told_when_the_server_is_ready_and_when_it_stops() {
    assert_eq!(value("Type"), "notify");
    let installation = Installation::new();
    let path = installation.directory().join("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let told = || {
        let mut message = [0; 64];
        let length = supervisor.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let installation = installation.with("NOTIFY_SOCKET", path.to_str().unwrap());
    let server = installation.start();
    assert_eq!(told(), "READY=1");
    assert!(server.stop().is_some_and(|status| status.success()));
    assert_eq!(told(), "STOPPING=1");
}

/// Lets systemd make the user and the folders of a file system that is not this one's.
pub(super) fn make_user_and_folders(root: &Path) -> bool {
    if !rustix::process::geteuid().is_root() {
        scale::left_out("the user and the folders of the service, which only root can make");
        return false;
    }
    let (Some(mut users), Some(mut folders)) =
        (command_of("systemd-sysusers"), command_of("systemd-tmpfiles"))
    else {
        return false;
    };
    let root = format!("--root={}", root.display());
    carried_out(users.arg(&root).arg("auth-service.conf"));
    carried_out(folders.arg(&root).args(["--create", "auth-service.conf"]));
    true
}
