//! Settings: named when wrong, shown with their source, masked where they are secret.

use crate::desk::Desk;

#[test]
fn an_unknown_setting_stops_every_command_and_is_named_with_what_was_meant() {
    let desk = Desk::new().with("AUTH_SERVICE__ACCESS_TOKEN_LIFETIM", "900");
    for command in [&["serve"] as &[&str], &["config", "check"], &["user", "list"]] {
        let ran = desk
            .run(command)
            .failed(2, "AUTH_SERVICE__ACCESS_TOKEN_LIFETIM: ");
        assert!(
            ran.err
                .contains("did you mean AUTH_SERVICE__ACCESS_TOKEN_LIFETIME?"),
            "{}",
            ran.err
        );
    }
    assert!(desk.is_empty());
}

#[test]
fn a_wrong_value_is_named_with_its_source_and_what_would_be_right() {
    let desk = Desk::new();
    desk.write("settings.toml", "access_token_lifetime = \"soon\"\n");
    let arguments = [
        "config",
        "check",
        "--config",
        "settings.toml",
        "--set",
        "workers=none",
    ];
    let ran = desk.run(&arguments).failed(
        2,
        "access_token_lifetime in settings.toml: 'soon' must be a whole number of seconds",
    );
    assert!(
        ran.err
            .contains("--set: 'none' must be a whole number from 1 to 256"),
        "{}",
        ran.err
    );
}

#[test]
fn each_source_goes_over_the_one_before_and_is_told() {
    let desk = Desk::new()
        .with("AUTH_SERVICE__CONFIG_FILE", "settings.toml")
        .with("AUTH_SERVICE__CLOCK_SKEW", "22")
        .with("PORT", "1002");
    desk.write(
        "settings.toml",
        "clock_skew = 11\nport = 1001\nworkers = 2\njwt_audience = 'api'\n",
    );
    let answer = desk.json(&["config", "check", "--set", "port=1003"]);
    let shown = |name: &str| {
        let lines = answer["settings"].as_array().unwrap();
        let line = lines.iter().find(|line| line["name"] == name).unwrap();
        format!(
            "{} ({})",
            line["value"].as_str().unwrap(),
            line["source"].as_str().unwrap()
        )
    };
    assert_eq!(shown("PORT"), "1003 (flag --set)");
    assert_eq!(shown("CLOCK_SKEW"), "22 (environment, AUTH_SERVICE__CLOCK_SKEW)");
    assert_eq!(shown("JWT_AUDIENCE"), "api (file settings.toml)");
    assert_eq!(shown("HOST"), "127.0.0.1 (default)");
}

#[test]
fn a_secret_setting_is_masked_wherever_it_comes_from() {
    let desk = Desk::new()
        .with("AUTH_SERVICE__MASTER_KEY_FILE", "master-key")
        .with("AUTH_SERVICE__REDIS_URL", "redis://:pencil-2@cache/0");
    desk.write("master-key", "pencil-1-pencil\n");
    for arguments in [&["config", "check"] as &[&str], &["config", "check", "--json"]] {
        let ran = desk.run(arguments).succeeded();
        assert!(
            ran.out.contains("******") && ran.out.contains("cache/0"),
            "{}",
            ran.out
        );
        assert!(
            !ran.out.contains("pencil") && !ran.err.contains("pencil"),
            "{}{}",
            ran.out,
            ran.err
        );
        assert!(
            ran.out.contains("AUTH_SERVICE__REDIS_URL") && ran.out.contains("is not used by this version")
        );
    }
}

#[test]
fn a_setting_of_a_later_version_is_refused_and_not_ignored() {
    let desk = Desk::new().with("AUTH_SERVICE__TLS_CERT_PATH", "/cert.pem");
    desk.run(&["serve"])
        .failed(2, "AUTH_SERVICE__TLS_CERT_PATH: is not available in this version");
    assert!(desk.is_empty());
}

#[test]
fn production_refuses_to_serve_plain_http() {
    let desk = Desk::new().with("ENVIRONMENT", "production");
    desk.run(&["serve"]).failed(2, "AUTH_SERVICE__TRUSTED_PROXIES");
    desk.run(&["config", "check"])
        .failed(2, "AUTH_SERVICE__TRUSTED_PROXIES");
    assert!(desk.is_empty());
}

#[test]
fn without_a_command_the_program_says_how_to_begin() {
    Desk::new().run(&[]).failed(2, "auth-service serve");
}

#[test]
fn the_reference_lists_every_setting() {
    let reference = Desk::new().run(&["config", "reference"]).succeeded().out;
    let lines = Desk::new().json(&["config", "check"]);
    for line in lines["settings"].as_array().unwrap() {
        assert!(
            reference.contains(&format!("| `{}`", line["name"].as_str().unwrap())),
            "{line}"
        );
    }
}

#[test]
fn the_openapi_document_is_json() {
    assert_eq!(Desk::new().json(&["openapi"])["openapi"], "3.1.0");
    let text = Desk::new().run(&["openapi"]).succeeded().out;
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
}
