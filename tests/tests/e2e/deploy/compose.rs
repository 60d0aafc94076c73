//! `compose.yaml`, as Compose itself understands it; no container is started.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use auth_e2e::scale;
use serde_json::Value;
use tempfile::TempDir;

use super::{Environment, at, carried_out, command_of, deployed, files_under, image, number};
use crate::support::tool;

const FILE: &str = "compose/compose.yaml";
const NAME: &str = "auth.example.org";
const INSTANCES: [&str; 2] = ["auth-a", "auth-b"];

/// A copy of `deploy/` whose secrets have been made.
struct Prepared(TempDir);

impl Prepared {
    fn new() -> Option<Self> {
        if tool("openssl").is_none() {
            scale::left_out("the secrets of Compose, which openssl makes: it is missing");
            return None;
        }
        let folder = TempDir::new().unwrap();
        for file in files_under(&deployed("")) {
            let copy = folder.path().join(file.strip_prefix(deployed("")).unwrap());
            // Whatever was made here by hand is not what is tested.
            if !copy.starts_with(folder.path().join("compose/secrets")) {
                fs::create_dir_all(copy.parent().unwrap()).unwrap();
                fs::copy(file, copy).unwrap();
            }
        }
        let prepared = Self(folder);
        prepared.prepare();
        Some(prepared)
    }

    fn prepare(&self) {
        carried_out(Command::new(self.0.path().join("compose/prepare")).arg(NAME));
    }

    fn secrets(&self) -> std::path::PathBuf {
        self.0.path().join("compose/secrets")
    }

    fn secret(&self, name: &str) -> String {
        fs::read_to_string(self.secrets().join(name)).unwrap()
    }

    /// What Compose makes of the file: anchors, `env_file` and defaults resolved, the optional services included.
    fn resolved(&self) -> Option<Value> {
        let file = self.0.path().join(FILE);
        let mut compose = command_of("docker-compose")?;
        let output = compose
            .arg("--file")
            .arg(file)
            .args(["--profile", "*", "config", "--format", "json"])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(serde_json::from_slice(&output.stdout).unwrap())
    }
}

fn services(compose: &Value) -> impl Iterator<Item = (&String, &Value)> {
    compose["services"].as_object().unwrap().iter()
}

/// The settings of an instance: those of the image, and over them those of the file.
fn settings(compose: &Value, instance: &str) -> Environment {
    let given = at(compose, &format!("/services/{instance}/environment"));
    let given: Environment = given
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    let image = image::settings().into_iter();
    let left = image.filter(|(name, _)| given.iter().all(|(other, _)| other != name));
    left.chain(given.clone()).collect()
}

#[test]
fn no_container_may_do_more_than_it_needs() {
    let Some(compose) = Prepared::new().and_then(|prepared| prepared.resolved()) else {
        return;
    };
    for (name, service) in services(&compose) {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert!(service.get("cap_add").is_none(), "{name}");
        assert_eq!(
            service["security_opt"],
            serde_json::json!(["no-new-privileges:true"]),
            "{name}"
        );
        for limit in ["mem_limit", "pids_limit"] {
            assert!(service.get(limit).is_some(), "{name} has no {limit}");
        }
        let (_, tag) = service["image"].as_str().unwrap().split_once(':').unwrap();
        assert!(
            tag.starts_with(|c: char| c == 'v' || c.is_ascii_digit()),
            "{name}: {tag}"
        );
    }
}

#[test]
fn only_nginx_is_called_from_outside_and_only_the_instances_reach_the_data() {
    let Some(compose) = Prepared::new().and_then(|prepared| prepared.resolved()) else {
        return;
    };
    let mut with_data = Vec::new();
    for (name, service) in services(&compose) {
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(
                name == "nginx" || port["host_ip"] == "127.0.0.1",
                "{name} listens on {port}"
            );
        }
        let networks = service["networks"].as_object().unwrap();
        assert!(!networks.contains_key("outside") || name == "nginx", "{name}");
        if networks.contains_key("data") {
            with_data.push(name.as_str());
        }
    }
    assert_eq!(with_data, ["auth-a", "auth-b", "postgres", "redis"]);
    for network in ["inside", "data", "watch"] {
        assert_eq!(compose["networks"][network]["internal"], true, "{network}");
    }
}

#[test]
fn nginx_asks_the_instances_at_their_addresses_and_is_the_one_that_they_trust() {
    let Some(compose) = Prepared::new().and_then(|prepared| prepared.resolved()) else {
        return;
    };
    let address = |service: &str| {
        let pointer = format!("/services/{service}/networks/inside/ipv4_address");
        at(&compose, &pointer).as_str().unwrap()
    };
    let upstream = super::text("compose/upstream.conf");
    for instance in INSTANCES {
        let settings = settings(&compose, instance);
        let server = format!(
            "server {}:{} ",
            address(instance),
            number(&settings, "AUTH_SERVICE__PORT")
        );
        assert!(upstream.contains(&server), "{server}");
        let trusted = (
            "AUTH_SERVICE__TRUSTED_PROXIES".to_owned(),
            format!("{}/32", address("nginx")),
        );
        assert!(settings.contains(&trusted), "{trusted:?}");
        let grace = at(&compose, &format!("/services/{instance}/stop_grace_period"));
        let grace: u64 = grace
            .as_str()
            .unwrap()
            .strip_suffix('s')
            .unwrap()
            .parse()
            .unwrap();
        let needed = number(&settings, "AUTH_SERVICE__DRAIN_DELAY")
            + number(&settings, "AUTH_SERVICE__SHUTDOWN_TIMEOUT");
        assert!(grace > needed, "killed after {grace} s, done after {needed}");
    }
    assert_eq!(upstream.matches("server 1").count(), INSTANCES.len());
    // The two upstreams are the same but for their servers.
    let other = super::text("nginx/upstream.conf");
    let rest = |text: &str| {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.contains(" server "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rest(&upstream), rest(&other));
}

#[test]
fn the_settings_of_an_instance_are_accepted_in_production() {
    let Some(prepared) = Prepared::new() else { return };
    let Some(compose) = prepared.resolved() else {
        return;
    };
    for instance in INSTANCES {
        let mounted = at(&compose, &format!("/services/{instance}/secrets"))
            .as_array()
            .unwrap();
        let mut settings = settings(&compose, instance);
        for (name, value) in &mut settings {
            if let Some(secret) = value.strip_prefix("/run/secrets/") {
                assert!(
                    mounted.iter().any(|mount| mount["source"] == secret),
                    "{name}: {secret} is not mounted"
                );
                *value = prepared.secrets().join(secret).display().to_string();
            }
        }
        assert!(settings.contains(&("ENVIRONMENT".to_owned(), "production".to_owned())));
        super::assert_accepted(&settings);
    }
}

#[test]
fn secrets_are_made_once_and_only_their_owner_may_enter_their_folder() {
    let Some(prepared) = Prepared::new() else { return };
    let all = || {
        let files = files_under(&prepared.secrets());
        files
            .iter()
            .map(|file| (file.clone(), fs::read(file).unwrap()))
            .collect::<Vec<_>>()
    };
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let first = all();
    prepared.prepare();
    assert!(first == all(), "a second run changed something");
    assert_eq!(mode(&prepared.secrets()), 0o700);
    for (file, _) in &first {
        assert_eq!(mode(file), 0o444, "{}", file.display());
    }
    let passwords = [
        "admin-password",
        "database-password",
        "redis-password",
        "postgres-password",
        "grafana-password",
    ];
    let passwords = passwords.map(|name| prepared.secret(name));
    let different: std::collections::BTreeSet<_> = passwords.iter().collect();
    assert_eq!(different.len(), passwords.len());
    assert!(
        prepared
            .secret("database-url")
            .contains(&prepared.secret("database-password"))
    );
    assert!(
        prepared
            .secret("redis-configuration")
            .contains(&prepared.secret("redis-password"))
    );
}

/// Compose itself merges what is mounted twice before it says what it has read.
#[test]
fn nothing_is_mounted_twice_in_one_place() {
    let Some(compose) = super::yaml(&[deployed(FILE)]) else {
        return;
    };
    for (name, service) in services(&compose[0]) {
        let volumes: Vec<_> = service["volumes"].as_array().into_iter().flatten().collect();
        let targets: std::collections::BTreeSet<_> = volumes
            .iter()
            .filter_map(|volume| volume.as_str()?.split(':').nth(1))
            .collect();
        assert_eq!(targets.len(), volumes.len(), "{name}: {volumes:?}");
    }
}
