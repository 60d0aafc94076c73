//! The page at `/docs` in a real browser: it gets tokens from the server by itself, and talks to nobody else.

mod browser;

use auth_e2e::installation::{ADMIN_PASSWORD, Installation};
use auth_e2e::server::Server;
use serde_json::{Value, json};

use browser::Browser;

#[test]
fn a_reader_of_the_page_gets_tokens_by_it_and_it_talks_to_nobody_else() {
    let installation = Installation::new().with("AUTH_SERVICE__BASE_PATH", "/auth");
    let server = installation.start();
    let browser = Browser::start();
    for prefix in ["", "/auth"] {
        open(&browser, &server, prefix);
        sign_in(&browser);
        assert_shows_tokens(&browser);
        assert_is_content(&browser, &server, prefix);
    }
    refresh_with_what_was_handed_on(&browser);
    assert_asks_no_password_of_its_own(&browser);
}

#[test]
fn a_page_without_its_document_says_so() {
    let installation = Installation::new();
    let server = installation.start();
    let browser = Browser::start();
    browser.refuse(&["*/openapi.json"]);
    browser.open(&page(&server, ""));
    let told = browser.wait_for("return document.querySelector('#failure:not([hidden])')?.textContent");
    assert!(
        told.as_str().unwrap().contains("openapi.json can't be read"),
        "{told}"
    );
}

fn page(server: &Server, prefix: &str) -> String {
    format!("http://{}{prefix}/docs", server.address())
}

fn open(browser: &Browser, server: &Server, prefix: &str) {
    browser.open(&page(server, prefix));
    browser.wait_for("return document.body.dataset.drawn");
    let shown = browser
        .run("return [...document.querySelectorAll('.endpoint .path')].map((path) => path.textContent)");
    let document = server.http().get("/openapi.json").unwrap().json();
    let shown: Vec<&str> = shown
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(
            shown.contains(&path.as_str()),
            "{path} is not on the page: {shown:?}"
        );
    }
}

/// As a reader would: by the keyboard and the button.
fn sign_in(browser: &Browser) {
    browser.type_into("#issueToken [name=username]", "admin");
    browser.type_into("#issueToken [name=password]", ADMIN_PASSWORD);
    browser.click("#issueToken button");
}

fn answer_of(browser: &Browser, endpoint: &str) -> (String, Value) {
    let title = browser.wait_for(&format!(
        "return document.querySelector('#{endpoint} .answer:not([hidden]) h4')?.textContent"
    ));
    let body = browser.run(&format!(
        "return document.querySelector('#{endpoint} .answer .body').textContent"
    ));
    let body = serde_json::from_str(body.as_str().unwrap()).unwrap();
    (title.as_str().unwrap().to_owned(), body)
}

fn assert_shows_tokens(browser: &Browser) {
    let (title, body) = answer_of(browser, "issueToken");
    assert!(title.starts_with("200 "), "{title}: {body}");
    assert!(
        body["access_token"].as_str().unwrap().starts_with("eyJ"),
        "{body}"
    );
    let claims = browser.run("return document.querySelector('#issueToken .claims pre').textContent");
    let claims: Value = serde_json::from_str(claims.as_str().unwrap()).unwrap();
    assert_eq!(claims["type"], "access");
    assert_eq!(claims["client_id"], "codelab-flutter-app");
    let command = browser.run("return document.querySelector('#issueToken .command code').textContent");
    let command = command.as_str().unwrap();
    assert!(command.contains("\"password=$PASSWORD\""), "{command}");
    assert!(
        !command.contains(ADMIN_PASSWORD),
        "a secret is not put into a command: {command}"
    );
}

/// Nothing came from elsewhere, nothing was refused, nothing was kept.
fn assert_is_content(browser: &Browser, server: &Server, prefix: &str) {
    let own = format!("http://{}{prefix}/", server.address());
    for address in browser.asked_for() {
        assert!(address.starts_with(&own), "asked for {address}, not below {own}");
    }
    let faults = browser.faults();
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(browser.run("return document.cookie"), "");
    assert_eq!(
        browser.cookies(),
        json!([]),
        "not even one that scripts can't see"
    );
    assert_eq!(
        browser.run("return localStorage.length + sessionStorage.length"),
        0
    );
}

/// The refresh token of a good answer is where the next request needs it.
fn refresh_with_what_was_handed_on(browser: &Browser) {
    browser.run(
        "const example = document.querySelector('#issueToken .example'); \
         example.value = '2_refresh'; example.dispatchEvent(new Event('change')); \
         document.querySelector('#issueToken [name=password]').value = ''; \
         document.querySelector('#issueToken .answer').hidden = true",
    );
    browser.click("#issueToken button");
    assert_shows_tokens_again(browser);
    browser.click("#revokeToken button");
    let (title, body) = answer_of(browser, "revokeToken");
    assert!(title.starts_with("200 "), "{title}");
    assert_eq!(body, json!({"revoked": true}));
}

fn assert_shows_tokens_again(browser: &Browser) {
    let (title, body) = answer_of(browser, "issueToken");
    assert!(title.starts_with("200 "), "{title}: {body}");
}

/// A wrong secret by HTTP Basic is shown on the page: no dialog of the browser's own covers it.
fn assert_asks_no_password_of_its_own(browser: &Browser) {
    browser.type_into("#introspectToken .basic-id", "nobody");
    browser.type_into("#introspectToken .basic-secret", "wrong");
    browser.run("document.querySelector('#introspectToken [name=client_id]').value = ''");
    browser.click("#introspectToken button");
    let (title, body) = answer_of(browser, "introspectToken");
    assert!(title.starts_with("401 "), "{title}");
    assert_eq!(body["error"], "invalid_client");
}
