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
            .contains("--set WORKERS: 'none' must be a whole number from 1 to 256"),
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
    }
}

#[test]
fn production_refuses_to_serve_plain_http() {
    let desk = Desk::new().with("ENVIRONMENT", "production");
    for arguments in [&["serve"][..], &["config", "check"]] {
        desk.run(arguments)
            .failed(2, "AUTH_SERVICE__TLS_CERT_PATH: must name a certificate");
    }
    assert!(desk.is_empty());
}

#[test]
fn the_check_reads_the_files_that_settings_name() {
    let tls = Desk::new()
        .with("AUTH_SERVICE__TLS_CERT_PATH", "nope.pem")
        .with("AUTH_SERVICE__TLS_KEY_PATH", "nope.key");
    tls.run(&["config", "check"]).failed(1, "nope.pem can't be used");
    let keys = Desk::new()
        .with("AUTH_SERVICE__PRIVATE_KEY_PATH", "/nope/private.pem")
        .with("AUTH_SERVICE__PUBLIC_KEY_PATH", "/nope/public.pem");
    keys.run(&["config", "check"]).failed(1, "/nope/private.pem");
    let url = "postgresql://auth:pencil@127.0.0.1/auth?sslmode=verify-full&sslrootcert=nope-ca.pem";
    let database = Desk::new().with("AUTH_SERVICE__DB_URL", url);
    database.run(&["config", "check"]).failed(
        1,
        "AUTH_SERVICE__DB_URL: sslrootcert names nope-ca.pem, which can't be read",
    );
    database.write("nope-ca.pem", "");
    database.run(&["config", "check"]).succeeded();
}

#[test]
fn the_check_refuses_what_no_connection_could_be_made_by() {
    for wrong in [
        "sslmode=verify_full",
        "target_session_attrs=master",
        "connect_timeout=abc",
    ] {
        let url = format!("postgresql://auth:pencil@127.0.0.1/auth?{wrong}");
        let desk = Desk::new().with("AUTH_SERVICE__DB_URL", &url);
        let (parameter, _) = wrong.split_once('=').unwrap();
        desk.run(&["config", "check"]).failed(
            2,
            &format!("AUTH_SERVICE__DB_URL: the parameter {parameter} of a PostgreSQL URL must be "),
        );
    }
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

#[test]
fn every_source_is_searched_for_faults_before_the_first_is_told() {
    let desk = Desk::new()
        .with("AUTH_SERVICE__PORTT", "1")
        .with("AUTH_SERVICE__LOG_LEVEL", "loud")
        .with("AUTH_SERVICE__PASSWORD_HASH", "md5")
        .with("AUTH_SERVICE__MASTER_KEY", "short");
    desk.write("settings.toml", "wokers = 2\nclock_skew = 'long'\n");
    let arguments = ["config", "check", "--config", "settings.toml"];
    let set = ["--set", "wat", "--set", "rsa_bits=1", "--set", "hostt=::1"];
    let failure = desk.json_failure(2, &[&arguments as &[&str], &set].concat());
    let problems = failure["problems"].as_array().unwrap();
    let places: Vec<_> = problems
        .iter()
        .map(|problem| problem["place"].as_str().unwrap())
        .collect();
    for place in [
        "AUTH_SERVICE__PORTT",
        "AUTH_SERVICE__LOG_LEVEL",
        "AUTH_SERVICE__PASSWORD_HASH",
        "AUTH_SERVICE__MASTER_KEY",
        "wokers in settings.toml",
        "clock_skew in settings.toml",
        "--set",
        "--set RSA_BITS",
        "--set hostt",
    ] {
        assert!(places.contains(&place), "{place} is not among {places:?}");
    }
    assert_eq!(places.len(), 9, "{places:?}");
    assert!(
        problems
            .iter()
            .all(|problem| problem["fault"].as_str().is_some_and(|fault| !fault.is_empty()))
    );
}

#[test]
fn a_file_with_sections_or_with_names_of_variables_is_told_how_it_is_written() {
    let desk = Desk::new();
    let check = |text: &str, said: &str| {
        desk.write("settings.toml", text);
        desk.run(&["config", "check", "--config", "settings.toml"])
            .failed(2, said);
    };
    let no_sections =
        "is not a setting but a section, and there are none: write the names at the top of the file";
    check(
        "[server]\nport = 9",
        &format!("server in settings.toml: {no_sections}"),
    );
    check(
        "[port]\nvalue = 9",
        &format!("port in settings.toml: {no_sections}"),
    );
    check(
        "[[keys]]\nfile = 'a'",
        &format!("keys in settings.toml: {no_sections}"),
    );
    check(
        "AUTH_SERVICE__PORT = 9",
        "AUTH_SERVICE__PORT in settings.toml: is not a setting; did you mean port?",
    );
    check(
        "auth_service__log_level = 'info'",
        "is not a setting; did you mean log_level?",
    );
}

#[test]
fn a_variable_with_one_underscore_too_few_is_refused() {
    for (name, meant) in [
        ("AUTH_SERVICE_PORT", "AUTH_SERVICE__PORT"),
        ("AUTH_SERVICE_LOG_LEVL", "AUTH_SERVICE__LOG_LEVEL"),
        ("AUTH_SERVICE_MASTER_KEY_FILE", "AUTH_SERVICE__MASTER_KEY_FILE"),
        ("AUTH_SERVICE_CONFIG_FILE", "AUTH_SERVICE__CONFIG_FILE"),
    ] {
        Desk::new()
            .with(name, "9")
            .run(&["config", "check"])
            .failed(2, &format!("{name}: is not a setting; did you mean {meant}?"));
    }
}

#[test]
fn what_is_nobodys_mistake_is_left_alone() {
    Desk::new()
        .with("AUTH_SERVICE_PORT", "tcp://10.0.0.1:8003")
        .with("AUTH_SERVICE_PORT_8003_TCP_ADDR", "10.0.0.1")
        .with("AUTH_SERVICE_SERVICE_HOST", "10.0.0.1")
        .with("AUTH_SERVICE_SERVICE_PORT", "8003")
        .with("AUTH_SERVICE_OWNER", "somebody")
        .with("AUTH_SERVICES_PORT", "9")
        .run(&["config", "check"])
        .succeeded();
}

#[test]
fn a_setting_given_twice_on_the_command_line_is_refused() {
    let desk = Desk::new();
    desk.run(&["config", "check", "--set", "port=1", "--set", "PORT=2"])
        .failed(2, "--set: PORT is set twice on the command line");
    desk.run(&["serve", "--set", "port=1", "--port", "2"])
        .failed(2, "--port: PORT is set twice on the command line");
    assert!(desk.is_empty());
}

#[test]
fn the_reference_for_programs_is_a_list_of_all_settings() {
    let desk = Desk::new();
    let reference = desk.json(&["config", "reference"]);
    let names = |list: &serde_json::Value| -> Vec<String> {
        let lines = list.as_array().unwrap().iter();
        lines
            .map(|line| line["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&reference),
        names(&desk.json(&["config", "check"])["settings"])
    );
    let find = |name: &str| {
        let lines = reference.as_array().unwrap();
        lines.iter().find(|line| line["name"] == name).unwrap()
    };
    assert_eq!(find("PORT")["default"], "8003");
    assert_eq!(find("MASTER_KEY")["file"], true);
}
