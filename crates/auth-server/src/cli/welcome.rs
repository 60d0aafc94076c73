//! What the program says where no command is given: where this installation stands, and what comes next.

use std::net::TcpStream;
use std::time::Duration;

use super::serve::{callable, token_endpoint};
use crate::settings::{Settings, WrongSettings};

/// A server of this machine takes connections at once.
const PATIENCE: Duration = Duration::from_millis(300);

/// Where an installation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Nothing can begin by these settings.
    WrongSettings,
    /// There is no database yet.
    New,
    /// Somebody listens where the server would.
    Running {
        /// Where that is.
        base: String,
        /// Where it gives tokens.
        tokens: String,
    },
    /// Nobody does.
    Stopped,
}

/// The page for these settings.
pub(super) fn page(settings: Result<Settings, WrongSettings>) -> String {
    let next = next(&standing(settings));
    format!(
        "CodeLab Auth Service {}: an OAuth 2.0 authorization server\n\n{next}\n\n{HELP}",
        env!("CARGO_PKG_VERSION")
    )
}

/// A look without a trace: nothing is opened but a connection that says nothing.
fn standing(settings: Result<Settings, WrongSettings>) -> Standing {
    let Ok(settings) = settings else {
        return Standing::WrongSettings;
    };
    let address = callable(settings.listen.address());
    if TcpStream::connect_timeout(&address, PATIENCE).is_ok() {
        Standing::Running {
            base: format!("{}://{address}", settings.listen.scheme()),
            tokens: token_endpoint(&settings, address),
        }
    } else if settings.database.url.path().is_some_and(|file| !file.exists()) {
        Standing::New
    } else {
        Standing::Stopped
    }
}

fn next(standing: &Standing) -> String {
    match standing {
        Standing::WrongSettings => "\
A setting is wrong, so nothing can begin:
  auth-service config check       says which, and what would be right"
            .to_owned(),
        Standing::New => "\
There is no database here yet. To begin, with no setting at all:
  auth-service serve              makes database, keys, the user admin and two clients, and says how to get a token
What it makes it prints once: keep it."
            .to_owned(),
        Standing::Stopped => "\
No server runs here by these settings:
  auth-service serve              runs it
  auth-service doctor             looks whether all it needs is there, and says what to mend"
            .to_owned(),
        Standing::Running { base, tokens } => format!(
            "\
Somebody answers at {base}. Next:
  auth-service doctor             looks at this installation, and says what to mend
  auth-service user create NAME --email ADDRESS
  auth-service client create ID --name NAME --grant password --grant refresh_token --scope api:read
  curl {tokens} -d grant_type=password -d client_id=codelab-flutter-app \\
       -d username=admin --data-urlencode 'password=…'     gets a token"
        ),
    }
}

const HELP: &str = "\
More:
  auth-service --help             lists all commands; auth-service COMMAND --help tells about one
  auth-service config reference   lists all settings
  auth-service man | man -l -     is the manual; README.md and docs/ have the rest";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_standing_names_its_next_command_and_none_is_left_without_help() {
        for (standing, command) in [
            (Standing::WrongSettings, "auth-service config check"),
            (Standing::New, "auth-service serve"),
            (Standing::Stopped, "auth-service serve"),
            (
                Standing::Running {
                    base: "http://[::1]:1".to_owned(),
                    tokens: "https://auth.example.com/oauth/token".to_owned(),
                },
                "auth-service doctor",
            ),
        ] {
            assert!(next(&standing).contains(command), "{standing:?}");
        }
        let wrong = page(Err(WrongSettings(Vec::new())));
        assert!(wrong.ends_with(HELP), "{wrong}");
    }
}
