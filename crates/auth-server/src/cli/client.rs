//! `client`: applications that may ask for tokens.

use std::collections::BTreeSet;

use auth_domain::audit::AuditEvent;
use auth_domain::client::{
    AccessTokenType, Client, ClientAuthentication, ClientPolicy, ClientStatus, GrantType, RotationPolicy,
    WireProfile,
};
use auth_domain::id::{ClientId, RowId};
use auth_domain::ports::admin::{Changed, ClientChange, ClientCreated};
use auth_domain::scope::Scope;
use auth_domain::secret::{ClientSecret, ClientSecretHash};
use auth_domain::time::Seconds;
use clap::{ArgAction, Args, Subcommand};
use serde_json::{Value, json};

use super::announce;
use super::ask::Consent;
use super::desk::Desk;
use super::failure::Failure;
use super::output::{Report, Table, fields, moment};
use crate::settings::Settings;

/// How many rows one query brings.
const PAGE: u32 = 500;

/// What to do about clients.
#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Register a client; a confidential one's secret is printed once
    #[command(mut_arg("grants", |grants| grants.required(true)), mut_arg("scope", |scope| scope.required(true)))]
    Create(CreateArguments),
    /// List all clients
    List,
    /// Show one client
    Show(Which),
    /// Give a confidential client a new secret, printed once; the old one ceases to work at once
    RotateSecret(Which),
    /// Change a client; what is not named stays as it is
    Update {
        #[command(flatten)]
        which: Which,
        /// The name for people
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        terms: Terms,
    },
    /// Switch a client off; ends every session of the client
    Disable {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        consent: Consent,
    },
    /// Switch a client on again
    Enable(Which),
    /// Delete a client for good, with its sessions
    ///
    /// A client with many sessions takes a while, during which nothing else is written: `client disable` ends them
    /// at once, and a deletion can wait for a quiet hour.
    Delete {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        consent: Consent,
    },
}

/// A new client.
#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    #[command(flatten)]
    which: Which,
    /// The name for people
    #[arg(long)]
    name: String,
    /// The client can keep a secret, and gets one
    #[arg(long)]
    confidential: bool,
    #[command(flatten)]
    terms: Terms,
}

/// A client.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The client's identifier
    #[arg(value_name = "ID", value_parser = ClientId::parse)]
    client_id: ClientId,
}

/// What a client may do, and how it is spoken to.
#[derive(Debug, Args)]
pub(super) struct Terms {
    /// What it is, for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A grant it may use, such as password or refresh_token; may be repeated
    #[arg(long = "grant", value_name = "GRANT", value_parser = GrantType::parse)]
    grants: Vec<GrantType>,
    /// The most its tokens may be good for, such as 'api:read api:write'
    #[arg(long, value_parser = Scope::parse)]
    scope: Option<Scope>,
    /// How long its access tokens are valid, in seconds [a new client: as ACCESS_TOKEN_LIFETIME says, 900]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    access_token_lifetime: Option<u32>,
    /// How long its refresh tokens are valid, in seconds [a new client: as REFRESH_TOKEN_LIFETIME says, 2592000]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=31_622_400))]
    refresh_token_lifetime: Option<u32>,
    /// For how long a used refresh token gives the same successor again, in seconds; 0 is never [a new client: 0]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=3_600))]
    refresh_retry_window: Option<u32>,
    /// How long a session may last however often it is refreshed, in seconds; 0 is no limit [a new client: 0]
    #[arg(long, value_name = "SECONDS")]
    chain_lifetime: Option<u32>,
    /// How refusals look to it: rfc or codelab-flutter [a new client: rfc]
    #[arg(long, value_name = "PROFILE", value_parser = WireProfile::parse)]
    wire_profile: Option<WireProfile>,
    /// The `typ` header of its access tokens: at+jwt or JWT [a new client: at+jwt]
    #[arg(long, value_name = "TYPE", value_parser = AccessTokenType::parse)]
    access_token_type: Option<AccessTokenType>,
    /// Whether its access tokens carry the session's id [a new client: false]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    session_id_in_access_token: Option<bool>,
}

/// Carries it out.
///
/// # Errors
/// Where it can't be, and why.
pub(super) async fn run(command: ClientCommand, settings: &Settings) -> Result<Report, Failure> {
    let desk = Desk::open(settings).await?;
    match command {
        ClientCommand::Create(arguments) => create(&desk, settings, arguments).await,
        ClientCommand::List => list(&desk).await,
        ClientCommand::Show(which) => find(&desk, &which).await.map(|client| shown(&client)),
        ClientCommand::RotateSecret(which) => rotate_secret(&desk, settings, &which).await,
        ClientCommand::Update { which, name, terms } => update(&desk, settings, &which, name, terms).await,
        ClientCommand::Disable { which, consent } => disable(&desk, settings, &which, &consent).await,
        ClientCommand::Enable(which) => {
            change(&desk, settings, &which, ClientChange::Enable, "enabled").await
        }
        ClientCommand::Delete { which, consent } => {
            find(&desk, &which).await?;
            consent.obtain(&format!("Delete client {} for good?", which.client_id))?;
            change(&desk, settings, &which, ClientChange::Delete, "deleted").await
        }
    }
}

async fn create(desk: &Desk, settings: &Settings, arguments: CreateArguments) -> Result<Report, Failure> {
    let secret = arguments
        .confidential
        .then(|| ClientSecret::generate(desk.random()));
    let now = desk.now();
    let mut client = Client {
        id: RowId::generate(desk.random(), now),
        client_id: arguments.which.client_id,
        name: arguments.name,
        description: None,
        authentication: secret.as_ref().map_or(ClientAuthentication::Public, |secret| {
            ClientAuthentication::Confidential(ClientSecretHash::of(secret))
        }),
        allowed_scopes: Scope::default(),
        allowed_grants: BTreeSet::new(),
        policy: ClientPolicy {
            access_token_lifetime: settings.tokens.access_lifetime,
            refresh_token_lifetime: settings.tokens.refresh_lifetime,
            ..ClientPolicy::default()
        },
        wire_profile: WireProfile::Rfc,
        status: ClientStatus::Active,
        created_at: now,
        updated_at: now,
    };
    arguments.terms.apply(&mut client);
    check(&client)?;
    let event = AuditEvent::ClientCreated {
        confidential: arguments.confidential,
        scope: client.allowed_scopes.clone(),
    };
    let audit = desk.audit(event, None, Some(client.client_id.clone()));
    match desk.store.client_directory.create(client.clone(), audit).await? {
        ClientCreated::Created => {
            announce::client_created(settings, &client.client_id).await;
            Ok(with_secret(&client, "created", secret.as_ref()))
        }
        ClientCreated::Taken => Err(Failure::refused(format!(
            "there is a client {} already",
            client.client_id
        ))),
    }
}

impl Terms {
    fn apply(self, client: &mut Client) {
        if self.description.is_some() {
            client.description = self.description.filter(|text| !text.is_empty());
        }
        if !self.grants.is_empty() {
            client.allowed_grants = self.grants.into_iter().collect();
        }
        if let Some(scope) = self.scope {
            client.allowed_scopes = scope;
        }
        if let Some(profile) = self.wire_profile {
            client.wire_profile = profile;
        }
        let policy = &mut client.policy;
        if let Some(lifetime) = self.access_token_lifetime {
            policy.access_token_lifetime = Seconds::new(lifetime);
        }
        if let Some(lifetime) = self.refresh_token_lifetime {
            policy.refresh_token_lifetime = Seconds::new(lifetime);
        }
        if let Some(window) = self.refresh_retry_window {
            policy.rotation = RotationPolicy::from_window(Seconds::new(window));
        }
        if let Some(lifetime) = self.chain_lifetime {
            policy.chain_lifetime = (lifetime > 0).then_some(Seconds::new(lifetime));
        }
        if let Some(kind) = self.access_token_type {
            policy.access_token_type = kind;
        }
        if let Some(carries) = self.session_id_in_access_token {
            policy.session_id_in_access_token = carries;
        }
    }
}

/// Refuses a client that could never get a token.
fn check(client: &Client) -> Result<(), Failure> {
    if client.allowed_grants.is_empty() {
        return Err(Failure::usage("a client needs a grant")
            .advise("Such as --grant password --grant refresh_token."));
    }
    if client.allowed_scopes.is_empty() {
        return Err(Failure::usage("a client needs a scope").advise("Such as --scope 'api:read api:write'."));
    }
    if client.name.is_empty() || client.name.len() > 255 {
        return Err(Failure::usage("a client's name has 1 to 255 characters"));
    }
    Ok(())
}

async fn update(
    desk: &Desk,
    settings: &Settings,
    which: &Which,
    name: Option<String>,
    terms: Terms,
) -> Result<Report, Failure> {
    let mut client = find(desk, which).await?;
    if let Some(name) = name {
        client.name = name;
    }
    terms.apply(&mut client);
    check(&client)?;
    let new = ClientChange::Update(Box::new(client));
    change(desk, settings, which, new, "changed").await?;
    find(desk, which).await.map(|client| shown(&client))
}

async fn disable(
    desk: &Desk,
    settings: &Settings,
    which: &Which,
    consent: &Consent,
) -> Result<Report, Failure> {
    find(desk, which).await?;
    consent.obtain(&format!(
        "Switch client {} off and end every session of it?",
        which.client_id
    ))?;
    let done = "disabled; every session of it has ended";
    change(desk, settings, which, ClientChange::Disable, done).await
}

async fn rotate_secret(desk: &Desk, settings: &Settings, which: &Which) -> Result<Report, Failure> {
    let client = find(desk, which).await?;
    if !client.authentication.is_confidential() {
        return Err(Failure::refused(format!(
            "client {} is public: it has no secret",
            client.client_id
        )));
    }
    let secret = ClientSecret::generate(desk.random());
    let new = ClientChange::RotateSecret(ClientSecretHash::of(&secret));
    change(desk, settings, which, new, "").await?;
    Ok(with_secret(&client, "has a new secret", Some(&secret)))
}

/// Makes a change, and tells running servers of it once it is committed, or may be: after an outage nobody knows.
async fn change(
    desk: &Desk,
    settings: &Settings,
    which: &Which,
    change: ClientChange,
    done: &str,
) -> Result<Report, Failure> {
    let client_id = &which.client_id;
    let event = match &change {
        ClientChange::RotateSecret(_) => AuditEvent::ClientSecretRotated {},
        ClientChange::Update(_) => AuditEvent::ClientUpdated {},
        ClientChange::Enable => AuditEvent::ClientEnabled {},
        ClientChange::Disable => AuditEvent::ClientDisabled {},
        ClientChange::Delete => AuditEvent::ClientDeleted {},
    };
    let audit = desk.audit(event, None, Some(client_id.clone()));
    let directory = &desk.store.client_directory;
    let changed = directory.change(client_id, change, desk.now(), audit).await;
    if !matches!(changed, Ok(Changed::NotFound | Changed::Overtaken)) {
        announce::client_changed(settings, client_id).await;
    }
    match changed? {
        Changed::Changed => Ok(Report::new(
            format!("Client {client_id} {done}."),
            json!({ "client_id": client_id, "done": done }),
        )),
        Changed::NotFound => Err(unknown(client_id)),
        Changed::Overtaken => Err(Failure::refused(format!(
            "client {client_id} has just been changed by somebody else: nothing was done; try again"
        ))),
    }
}

async fn find(desk: &Desk, which: &Which) -> Result<Client, Failure> {
    find_named(desk, &which.client_id).await
}

/// The client of an identifier.
///
/// # Errors
/// Where there is none.
pub(super) async fn find_named(desk: &Desk, client_id: &ClientId) -> Result<Client, Failure> {
    let found = desk.store.clients.find(client_id).await?;
    found.ok_or_else(|| unknown(client_id))
}

fn unknown(client_id: &ClientId) -> Failure {
    Failure::refused(format!("there is no client {client_id}"))
        .advise("`auth-service client list` lists them.")
}

async fn list(desk: &Desk) -> Result<Report, Failure> {
    let mut clients: Vec<Client> = Vec::new();
    loop {
        let after = clients.last().map(|client| client.client_id.clone());
        let page = desk.store.client_directory.list(after.as_ref(), PAGE).await?;
        if page.is_empty() {
            break;
        }
        clients.extend(page);
    }
    let mut table = Table::new(&["id", "name", "kind", "status", "grants", "scope"]);
    for client in &clients {
        table.row([
            client.client_id.to_string(),
            client.name.clone(),
            kind(client).to_owned(),
            status(client).to_owned(),
            grants(client).join(" "),
            client.allowed_scopes.to_string(),
        ]);
    }
    let views: Vec<_> = clients.iter().map(view).collect();
    Ok(Report::new(table.to_string(), Value::Array(views)))
}

/// The one time that a secret is seen.
fn with_secret(client: &Client, done: &str, secret: Option<&ClientSecret>) -> Report {
    let mut people = format!("Client {} {done}.", client.client_id);
    let mut programs = view(client);
    if let Some(secret) = secret {
        people = format!(
            "{people}\n\nclient secret  {}\n\nIt is not kept and not shown again: put it where the client finds it.",
            secret.expose()
        );
        if let Value::Object(members) = &mut programs {
            members.insert("client_secret".to_owned(), secret.expose().into());
        }
    }
    Report::new(people, programs)
}

fn shown(client: &Client) -> Report {
    let policy = &client.policy;
    let seconds = |span: Seconds| format!("{} s", span.get());
    let people = fields(&[
        ("id", client.client_id.to_string()),
        ("name", client.name.clone()),
        ("description", client.description.clone().unwrap_or_default()),
        ("kind", kind(client).to_owned()),
        ("status", status(client).to_owned()),
        ("grants", grants(client).join(" ")),
        ("scope", client.allowed_scopes.to_string()),
        ("access token lifetime", seconds(policy.access_token_lifetime)),
        ("refresh token lifetime", seconds(policy.refresh_token_lifetime)),
        ("refresh retry window", seconds(policy.rotation.window())),
        (
            "chain lifetime",
            policy
                .chain_lifetime
                .map_or_else(|| "no limit".to_owned(), seconds),
        ),
        ("access token type", policy.access_token_type.to_string()),
        (
            "session id in access token",
            policy.session_id_in_access_token.to_string(),
        ),
        ("wire profile", client.wire_profile.to_string()),
        ("created", moment(client.created_at)),
        ("changed", moment(client.updated_at)),
    ]);
    Report::new(people, view(client))
}

fn view(client: &Client) -> Value {
    json!({
        "client_id": client.client_id,
        "name": client.name,
        "description": client.description,
        "confidential": client.authentication.is_confidential(),
        "status": client.status,
        "grants": grants(client),
        "scope": client.allowed_scopes,
        "access_token_lifetime": client.policy.access_token_lifetime,
        "refresh_token_lifetime": client.policy.refresh_token_lifetime,
        "refresh_retry_window": client.policy.rotation.window(),
        "chain_lifetime": client.policy.chain_lifetime,
        "access_token_type": client.policy.access_token_type,
        "session_id_in_access_token": client.policy.session_id_in_access_token,
        "wire_profile": client.wire_profile,
        "created_at": moment(client.created_at),
        "updated_at": moment(client.updated_at),
    })
}

fn grants(client: &Client) -> Vec<&'static str> {
    client.allowed_grants.iter().map(|grant| grant.as_str()).collect()
}

const fn kind(client: &Client) -> &'static str {
    match client.authentication {
        ClientAuthentication::Public => "public",
        ClientAuthentication::Confidential(_) => "confidential",
    }
}

const fn status(client: &Client) -> &'static str {
    match client.status {
        ClientStatus::Active => "active",
        ClientStatus::Disabled => "disabled",
    }
}
