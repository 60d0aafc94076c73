//! An OAuth client as the applications in the field are: it signs users in and refreshes their tokens.

use crate::http::{Answer, Http};
use crate::installation::ADMIN_PASSWORD;

/// The path of the token endpoint.
pub const TOKEN: &str = "/oauth/token";
/// The client id of the CodeLab Flutter application, one of the built-in clients.
pub const FLUTTER: &str = "codelab-flutter-app";

/// A public client of one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: Http,
    client_id: String,
}

/// The tokens of a successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
}

impl Client {
    /// The CodeLab Flutter application.
    pub fn flutter(http: Http) -> Self {
        Self::new(http, FLUTTER)
    }

    /// A public client.
    pub fn new(http: Http, client_id: &str) -> Self {
        Self {
            http,
            client_id: client_id.to_owned(),
        }
    }

    /// The password grant.
    ///
    /// # Panics
    /// Where there is no answer.
    pub fn sign_in(&self, username: &str, password: &str) -> Answer {
        self.token(&[
            ("grant_type", "password"),
            ("client_id", &self.client_id),
            ("username", username),
            ("password", password),
        ])
    }

    /// The refresh grant.
    ///
    /// # Panics
    /// Where there is no answer.
    pub fn refresh(&self, refresh_token: &str) -> Answer {
        self.token(&[
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("refresh_token", refresh_token),
        ])
    }

    /// A form sent to the token endpoint.
    ///
    /// # Panics
    /// Where there is no answer.
    #[expect(
        clippy::panic,
        reason = "a server that gives no answer at all fails every test"
    )]
    pub fn token(&self, form: &[(&str, &str)]) -> Answer {
        match self.http.post_form(TOKEN, &[], form) {
            Ok(answer) => answer,
            Err(error) => panic!("no answer from the token endpoint: {error}"),
        }
    }

    /// The tokens of the built-in user `admin`, who signs in by [`ADMIN_PASSWORD`].
    ///
    /// # Panics
    /// Where the sign-in fails.
    pub fn admin_tokens(&self) -> Tokens {
        Tokens::of(&self.sign_in("admin", ADMIN_PASSWORD))
    }

    /// The tokens of a refresh.
    ///
    /// # Panics
    /// Where the refresh fails.
    pub fn refreshed(&self, tokens: &Tokens) -> Tokens {
        Tokens::of(&self.refresh(&tokens.refresh))
    }
}

impl Tokens {
    /// The tokens of an answer.
    ///
    /// # Panics
    /// Where it holds none.
    #[expect(clippy::panic, reason = "a test that needs tokens stops here, and says why")]
    pub fn of(answer: &Answer) -> Self {
        let tokens = || {
            Some(Self {
                access: answer.member("access_token")?,
                refresh: answer.member("refresh_token")?,
            })
        };
        match tokens() {
            Some(tokens) if answer.status == 200 => tokens,
            Some(_) | None => panic!("no tokens: {} {}", answer.status, answer.text()),
        }
    }
}
