//! The manifests: against the schemas of Kubernetes, and for what no schema says. No cluster runs them here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Environment, assert_accepted, at, carried_out, command_of, deployed, files_under, image, number, text,
    yaml,
};
use crate::support::everything_in;

/// Where pods find their secrets and keys.
const MOUNT: &str = "/run/";

/// The oldest release that is meant, and what the validator takes for the newest.
const VERSIONS: [&[&str]; 2] = [&["--kubernetes-version", "1.29"], &[]];

/// What the schemas of Kubernetes know nothing of.
const FOREIGN: [&str; 2] = ["kustomization.yaml", "podmonitor.yaml"];

fn manifests(folder: &str) -> Vec<PathBuf> {
    let mut files = files_under(&deployed("kubernetes").join(folder));
    files.retain(|file| !FOREIGN.iter().any(|foreign| file.ends_with(foreign)));
    files
}

/// The manifest of a kind in `base`.
fn of_kind(kind: &str) -> Option<Value> {
    let documents = yaml(&manifests("base"))?.into_iter();
    let mut of_kind = documents.filter(|document| document["kind"] == kind);
    let only = of_kind.next();
    assert!(only.is_some(), "no {kind}");
    only
}

fn settings() -> Option<Environment> {
    let map = of_kind("ConfigMap")?;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Some(
        map["data"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
    )
}

#[track_caller]
fn assert_valid(files: &[PathBuf], version: &[&str]) {
    let Some(mut validate) = command_of("kubernetes-validate") else {
        return;
    };
    let said = carried_out(validate.arg("--strict").args(version).args(files));
    assert!(!said.contains("WARN"), "{said}");
}

#[test]
fn every_manifest_fits_the_schemas_of_kubernetes() {
    let files: Vec<_> = ["base", "optional"].into_iter().flat_map(manifests).collect();
    assert!(files.len() > 10, "{files:?}");
    for version in VERSIONS {
        assert_valid(&files, version);
    }
}

#[test]
fn what_kustomize_builds_fits_the_schemas_as_well() {
    let scratch = TempDir::new().unwrap();
    let mut files = Vec::new();
    for overlay in ["base", "given-keys"] {
        let Some(mut kubectl) = command_of("kubectl") else {
            return;
        };
        let folder = deployed("kubernetes").join(overlay);
        let built = kubectl.arg("kustomize").arg(folder).output().unwrap();
        assert!(built.status.success(), "{}", everything_in(&built));
        let file = scratch.path().join(format!("{overlay}.yaml"));
        fs::write(&file, &built.stdout).unwrap();
        let Some(documents) = yaml(std::slice::from_ref(&file)) else {
            return;
        };
        files.push(file);
        let of_kind = |kind: &str| documents.iter().find(|document| document["kind"] == kind);
        assert_eq!(of_kind("PersistentVolumeClaim").is_some(), overlay == "base");
        let settings = &of_kind("ConfigMap").unwrap()["data"];
        assert_eq!(
            settings.get("AUTH_SERVICE__KEYS_DIR").is_some(),
            overlay == "base"
        );
    }
    assert_valid(&files, &[]);
}

#[test]
fn every_manifest_is_named_by_the_kustomization() {
    let Some(kustomization) = yaml(&[deployed("kubernetes/base/kustomization.yaml")]) else {
        return;
    };
    let mut named: Vec<_> = kustomization[0]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| deployed("kubernetes/base").join(name.as_str().unwrap()))
        .collect();
    named.sort();
    assert_eq!(named, manifests("base"));
}

#[test]
fn pods_may_do_nothing_that_they_need_not() {
    for kind in ["Deployment", "Job"] {
        let Some(workload) = of_kind(kind) else { return };
        let pod = at(&workload, "/spec/template/spec");
        assert_eq!(pod["automountServiceAccountToken"], false, "{kind}");
        assert_eq!(pod["enableServiceLinks"], false, "{kind}");
        assert_eq!(*at(pod, "/securityContext/runAsNonRoot"), true, "{kind}");
        assert_eq!(*at(pod, "/securityContext/runAsUser"), image::user(), "{kind}");
        assert_eq!(*at(pod, "/securityContext/fsGroup"), image::user(), "{kind}");
        assert_eq!(
            *at(pod, "/securityContext/seccompProfile/type"),
            "RuntimeDefault",
            "{kind}"
        );
        let container = at(pod, "/containers/0");
        assert_eq!(
            *at(container, "/securityContext/readOnlyRootFilesystem"),
            true,
            "{kind}"
        );
        assert_eq!(
            *at(container, "/securityContext/allowPrivilegeEscalation"),
            false,
            "{kind}"
        );
        assert_eq!(
            *at(container, "/securityContext/capabilities/drop/0"),
            "ALL",
            "{kind}"
        );
        assert!(at(container, "/resources/limits/memory").is_string(), "{kind}");
        assert!(at(container, "/resources/requests/cpu").is_string(), "{kind}");
    }
}

#[test]
fn a_pod_that_goes_has_the_time_that_it_takes_and_is_asked_where_it_answers() {
    let (Some(deployment), Some(settings)) = (of_kind("Deployment"), settings()) else {
        return;
    };
    let pod = at(&deployment, "/spec/template/spec");
    let grace = at(pod, "/terminationGracePeriodSeconds").as_u64().unwrap();
    let drain = number(&settings, "AUTH_SERVICE__DRAIN_DELAY");
    assert!(grace > drain + number(&settings, "AUTH_SERVICE__SHUTDOWN_TIMEOUT"));
    let container = at(pod, "/containers/0");
    // Whoever asks /ready has noticed before the pod stops to serve.
    let ready = at(container, "/readinessProbe");
    let noticed = ["periodSeconds", "failureThreshold"].map(|name| ready[name].as_u64().unwrap());
    assert!(
        noticed[0] * noticed[1] < drain,
        "noticed after {noticed:?}, gone after {drain} s"
    );
    for (probe, path) in [
        ("startupProbe", "/live"),
        ("livenessProbe", "/live"),
        ("readinessProbe", "/ready"),
    ] {
        let asked = at(container, &format!("/{probe}/httpGet"));
        assert_eq!(
            (&asked["path"], &asked["port"]),
            (&path.into(), &"operators".into()),
            "{probe}"
        );
    }
    let port = |name: &str| {
        let ports = container["ports"].as_array().unwrap().iter();
        ports.clone().find(|port| port["name"] == name).unwrap()["containerPort"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(port("http"), number(&settings, "AUTH_SERVICE__PORT"));
    let operators = settings
        .iter()
        .find(|(name, _)| name == "AUTH_SERVICE__METRICS_ADDR")
        .unwrap();
    assert!(operators.1.ends_with(&format!(":{}", port("operators"))));
}

#[test]
fn whatever_selects_pods_selects_those_of_the_deployment() {
    let Some(deployment) = of_kind("Deployment") else {
        return;
    };
    let labels = at(&deployment, "/spec/template/metadata/labels");
    let selectors = [
        ("Deployment", "/spec/selector/matchLabels"),
        ("Service", "/spec/selector"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
    ];
    for (kind, pointer) in selectors {
        let Some(manifest) = of_kind(kind) else { return };
        assert_eq!(at(&manifest, pointer), labels, "{kind}");
    }
    let Some(scaler) = of_kind("HorizontalPodAutoscaler") else {
        return;
    };
    assert_eq!(
        at(&scaler, "/spec/scaleTargetRef/name"),
        at(&deployment, "/metadata/name")
    );
    assert!(at(&scaler, "/spec/minReplicas").as_u64().unwrap() >= 2);
    assert!(
        deployment["spec"].get("replicas").is_none(),
        "the autoscaler says how many"
    );
    // The pods of a migration are not asked.
    let Some(job) = of_kind("Job") else { return };
    assert_ne!(at(&job, "/spec/template/metadata/labels"), labels);
}

#[test]
fn the_settings_are_accepted_in_production_with_a_folder_of_keys_and_with_a_given_pair() {
    let Some(settings) = settings() else { return };
    let secrets = TempDir::new().unwrap();
    write_secrets(secrets.path());
    let settings: Environment = settings
        .into_iter()
        .map(|setting| in_folder(setting, secrets.path()))
        .collect();
    assert_accepted(&settings);

    let Some(overlay) = yaml(&[deployed("kubernetes/given-keys/kustomization.yaml")]) else {
        return;
    };
    let patch = overlay[0]["patches"].as_array().unwrap().iter();
    let patch = patch
        .filter_map(|patch| patch["patch"].as_str())
        .find(|patch| patch.contains("kind: ConfigMap"));
    let file = secrets.path().join("patch.yaml");
    fs::write(&file, patch.unwrap()).unwrap();
    let Some(patch) = yaml(&[file]) else { return };
    let changes = patch[0]["data"].as_object().unwrap();
    let kept = settings
        .into_iter()
        .filter(|(name, _)| !changes.contains_key(name));
    let given = changes
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let given = given.map(|setting| in_folder(setting, secrets.path()));
    let settings: Environment = kept.chain(given).collect();
    assert!(
        settings
            .iter()
            .any(|(name, _)| name == "AUTH_SERVICE__PRIVATE_KEY_PATH"),
        "{settings:?}"
    );
    assert_accepted(&settings);
}

/// A setting whose secret lies in a folder here, by the last part of its path.
fn in_folder((name, value): (String, String), folder: &Path) -> (String, String) {
    let here = value.strip_prefix(MOUNT).and_then(|path| path.rsplit('/').next());
    let value = here.map_or(value.clone(), |file| folder.join(file).display().to_string());
    (name, value)
}

/// What the example of the Secret holds, and a pair of keys.
fn write_secrets(folder: &Path) {
    if let Some(secret) = yaml(&[deployed("kubernetes/optional/secret.example.yaml")]) {
        for (name, value) in secret[0]["stringData"].as_object().unwrap() {
            fs::write(folder.join(name), value.as_str().unwrap()).unwrap();
        }
    }
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let private = folder.join("private.pem");
    fs::write(&private, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    // As the overlay's first container puts it there.
    assert!(text("kubernetes/given-keys/kustomization.yaml").contains("- --mode=0600\n"));
    fs::set_permissions(&private, PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(folder.join("public.pem"), key.public_key_to_pem().unwrap()).unwrap();
}

/// The Prometheus Operator names a job by NAMESPACE/NAME unless told of a label.
#[test]
fn the_pod_monitor_gives_the_job_the_name_that_the_rules_ask_for() {
    let (Some(monitor), Some(deployment)) = (
        yaml(&[deployed("kubernetes/optional/podmonitor.yaml")]),
        of_kind("Deployment"),
    ) else {
        return;
    };
    let label = at(&monitor[0], "/spec/jobLabel").as_str().unwrap();
    let labels = at(&deployment, "/spec/template/metadata/labels");
    let job = labels[label].as_str().unwrap();
    let rules = text("prometheus/rules/auth-service.yml");
    let asked: std::collections::BTreeSet<_> = rules
        .split("job=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(asked, [job].into());
}
