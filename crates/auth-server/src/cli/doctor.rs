//! `doctor`: looks at a configuration and at the deployment that runs by it, and says what to mend.
//!
//! Gathers first, judges then: each judgement is a function of what was gathered. It makes nothing, and what it writes to
//! find out whether that can be done is taken back. No secret is said.

mod asked;
mod clock;
mod consumers;
mod database;
mod devices;
mod finding;
mod instances;
mod issuer;
mod keys;
mod place;
mod redis;
mod settings;
mod tls;

use std::path::PathBuf;

use auth_domain::client::Client;
use auth_domain::ports::{Clock as _, Unavailable};
use clap::Args;

use super::failure::Failure;
use super::health::base_url;
use super::output::Report;
use super::serve::callable;
use crate::compose;
use crate::settings::{Layers, Settings, Sources, WrongSettings};
use crate::system::SystemClock;
use asked::Asker;
use finding::Finding;
use instances::Instance;
use issuer::Seen;

/// What the help says about what it looks at.
pub(super) const LOOKED_AT: &str = "It looks at the settings, the database (reachable, migrated, writable, room on its disk), Redis, the keys, the \
    certificate, the clocks, the server by the settings or those of --url, the issuer's URL as services see it, and what the \
    platform's programs rely on. It changes nothing. Run it as the server's user, in the server's folder or with the same \
    settings: another user may not be able to read all of it, and is told so.\n\
    Each line says ok, warn or fail, and below it what to do.\n\
    Exit codes: 0 nothing failed, whatever it warns of; 1 something did; 2 with such settings no server would start.";

/// What is looked at besides the settings.
#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// An instance's base URL; can be repeated, then they are compared [default: the address of the settings]
    #[arg(long = "url", value_name = "URL", value_parser = base_url)]
    urls: Vec<String>,
    /// Trust the certificates in this PEM file, in place of those the system trusts
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Looks at everything, and says what was found.
///
/// # Errors
/// Where the settings are such that no server would start, or the file of --ca can't be read.
pub(super) async fn run(arguments: &DoctorArguments, sources: &Sources) -> Result<Report, Failure> {
    let settings = Settings::load_to_serve(sources)?;
    let layers = Layers::read(sources).map_err(WrongSettings)?;
    let issuer = settings.tokens.issuer.url.as_str();
    let issuer = settings::is_issuer_chosen(&layers).then_some(issuer);

    let mut findings = settings::examine(&settings, &layers);
    let (instances, untold) = ask_instances(arguments, &settings)?;
    let own_answers = arguments.urls.is_empty() && !instances.is_empty();
    let mut keys = keys::look(&settings);
    let mut database = database::look(&settings.database.url);
    if own_answers {
        database = database.beside("a server answers by these settings");
    } else if keys.are_kept {
        database = database.beside("there are signing keys, which were made beside one");
    }
    let inside = if database.is_usable {
        Inside::read(&settings).await
    } else {
        Ok(Inside::default())
    };
    if inside.as_ref().is_ok_and(|inside| inside.has_sessions) {
        keys = keys.beside_sessions(&settings.keys.place);
    }
    findings.extend(database.findings);
    findings.extend(redis::look(settings.redis.as_ref(), arguments.urls.len()).await);
    findings.extend(keys.findings);
    findings.push(devices::look(&settings));
    findings.extend(tls::look(&settings, issuer));
    findings.extend(untold);
    let url = &settings.tokens.issuer.url;
    findings.extend(instances::judge(&instances, url, keys.published.as_ref()));
    if let Some(issuer) = issuer {
        let seen = Seen::ask(
            &Asker::new(arguments.ca.as_deref(), Some(issuer))?.of_public_name(),
            issuer,
        );
        findings.extend(issuer::judge(&seen, issuer, &instances, &settings.listen));
    }
    let key_set = instances.first().map(|instance| &instance.key_set.body);
    findings.extend(consumers::gateway(&settings.tokens.issuer, key_set));
    match inside {
        Ok(Inside {
            clients: Some(clients),
            ..
        }) => findings.extend(consumers::built_in(&clients, &settings.tokens)),
        Ok(_) => {}
        Err(finding) => findings.push(finding),
    }
    Ok(finding::report(&findings))
}

/// Asks the instances that were named, each of which has to answer; or that of the settings, which need not run.
fn ask_instances(
    arguments: &DoctorArguments,
    settings: &Settings,
) -> Result<(Vec<Instance>, Vec<Finding>), Failure> {
    if arguments.urls.is_empty() {
        let address = callable(settings.listen.address());
        let base = format!("{}://{address}", settings.listen.scheme());
        // By its address, which no certificate names as a rule.
        let asker = Asker::new(None, None)?;
        return Ok(match Instance::ask(&asker, &base) {
            Ok(instance) => (vec![instance], Vec::new()),
            Err(failure) => (Vec::new(), vec![not_running(&base, failure)]),
        });
    }
    let mut instances = Vec::new();
    let mut untold = Vec::new();
    for base in &arguments.urls {
        let asker = Asker::new(arguments.ca.as_deref(), Some(base))?;
        match Instance::ask(&asker, base) {
            Ok(instance) => instances.push(instance),
            Err(failure) => untold.push(Finding::of_failure("instance", failure)),
        }
    }
    Ok((instances, untold))
}

fn not_running(base: &str, failure: Failure) -> Finding {
    let (_, mend) = failure.into_parts();
    Finding::warn(
        "instance",
        format!("no server answers at {base}"),
        mend.unwrap_or_default(),
    )
}

/// What stands in a database that is there and up to date.
#[derive(Default)]
struct Inside {
    /// All of them; `None` where nobody has looked.
    clients: Option<Vec<Client>>,
    has_sessions: bool,
}

impl Inside {
    async fn read(settings: &Settings) -> Result<Self, Finding> {
        let store = compose::open_store(settings)
            .map_err(|error| database::unusable(&settings.database.url, error))?;
        let outage = |outage: Unavailable| Finding::of_failure("database", outage.into());
        Ok(Self {
            clients: Some(
                store
                    .client_directory
                    .list(None, u32::MAX)
                    .await
                    .map_err(outage)?,
            ),
            has_sessions: store
                .founding
                .has_live_chains(SystemClock.now())
                .await
                .map_err(outage)?,
        })
    }
}
