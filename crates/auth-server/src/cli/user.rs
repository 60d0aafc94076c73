//! `user`: people who can sign in.

use auth_domain::audit::AuditEvent;
use auth_domain::id::UserId;
use auth_domain::ports::UserKey;
use auth_domain::ports::admin::{Changed, UserChange, UserCreated};
use auth_domain::user::{Email, Login, User, UserStatus, Username};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ask::{Consent, PasswordSource};
use super::desk::{Desk, hash_new_password};
use super::failure::Failure;
use super::output::{Report, Table, fields, moment};
use crate::settings::Settings;

/// How many rows one query brings.
const PAGE: u32 = 500;

const PASSWORD_RULES: &str = "A password has at least 8 characters and at most 1024 bytes (72 where new hashes are bcrypt's), \
    among them an upper-case letter, a lower-case letter, a digit and a character that is neither a letter nor a digit, \
    and no NUL. Where AUTH_SERVICE__PASSWORD_POLICY is nist it has at least 15 characters, of any kind. It is none that \
    many people use, nor the user name, the e-mail address or the service's name, nor one of those with a few \
    digits or signs before or behind, or letters exchanged for what looks like them.";

/// What to do about users.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Create a user
    #[command(after_help = PASSWORD_RULES)]
    Create(CreateArguments),
    /// List all users
    List,
    /// Show one user
    Show(Whom),
    /// Give a user a new password; ends every session of the user
    #[command(after_help = PASSWORD_RULES)]
    SetPassword {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Let a user sign in again
    Activate(Whom),
    /// Keep a user from signing in; ends every session of the user
    Deactivate {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        consent: Consent,
    },
    /// Delete a user for good, with the user's sessions
    ///
    /// `user deactivate` ends them at once as well, and can be taken back.
    Delete {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        consent: Consent,
    },
}

/// A new user.
#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    /// The user name
    #[arg(value_name = "NAME")]
    username: String,
    /// The e-mail address
    #[arg(long)]
    email: String,
    #[command(flatten)]
    password: PasswordSource,
}

/// An existing user.
#[derive(Debug, Args)]
pub(super) struct Whom {
    /// The user's name, e-mail address or id
    #[arg(value_name = "USER")]
    user: String,
}

/// Carries it out.
///
/// # Errors
/// Where it can't be, and why.
pub(super) async fn run(command: UserCommand, settings: &Settings) -> Result<Report, Failure> {
    let desk = Desk::open(settings).await?;
    match command {
        UserCommand::Create(arguments) => create(&desk, settings, &arguments).await,
        UserCommand::List => list(&desk).await,
        UserCommand::Show(whom) => find(&desk, &whom).await.map(|user| shown(&user)),
        UserCommand::SetPassword { whom, password } => set_password(&desk, settings, &whom, &password).await,
        UserCommand::Activate(whom) => {
            change(
                &desk,
                &find(&desk, &whom).await?,
                UserChange::Activate,
                "activated",
            )
            .await
        }
        UserCommand::Deactivate { whom, consent } => deactivate(&desk, &whom, &consent).await,
        UserCommand::Delete { whom, consent } => delete(&desk, &whom, &consent).await,
    }
}

async fn create(desk: &Desk, settings: &Settings, arguments: &CreateArguments) -> Result<Report, Failure> {
    let username = Username::parse(&arguments.username).map_err(|fault| Failure::usage(fault.to_string()))?;
    let email = Email::parse(&arguments.email).map_err(|fault| Failure::usage(fault.to_string()))?;
    let password = arguments.password.read()?;
    let password_hash = hash_new_password(desk, settings, &password, &username, &email).await?;
    let now = desk.now();
    let user = User {
        id: UserId::generate(desk.random(), now),
        username,
        email,
        password_hash,
        status: UserStatus::Active,
        is_verified: false,
        created_at: now,
        updated_at: now,
        last_login_at: None,
    };
    let event = AuditEvent::UserCreated {
        username: user.username.as_str().to_owned(),
    };
    let audit = desk.audit(event, Some(user.id), None);
    match desk.store.user_directory.create(user.clone(), audit).await? {
        UserCreated::Created => Ok(Report::new(
            format!("User {} created, with id {}.", user.username.as_str(), user.id),
            view(&user),
        )),
        UserCreated::UsernameTaken => Err(Failure::refused(format!(
            "there is a user named {} already",
            user.username.as_str()
        ))),
        UserCreated::EmailTaken => Err(Failure::refused(
            "there is a user with this e-mail address already",
        )),
    }
}

async fn list(desk: &Desk) -> Result<Report, Failure> {
    let mut users: Vec<User> = Vec::new();
    loop {
        let after = users.last().map(|user| user.username.as_str().to_owned());
        let page = desk.store.user_directory.list(after.as_deref(), PAGE).await?;
        if page.is_empty() {
            break;
        }
        users.extend(page);
    }
    let mut table = Table::new(&["name", "email", "status", "last sign-in", "id"]);
    for user in &users {
        table.row([
            user.username.as_str().to_owned(),
            user.email.as_str().to_owned(),
            status(user).to_owned(),
            last_login(user),
            user.id.to_string(),
        ]);
    }
    let views: Vec<_> = users.iter().map(view).collect();
    Ok(Report::new(table.to_string(), Value::Array(views)))
}

async fn set_password(
    desk: &Desk,
    settings: &Settings,
    whom: &Whom,
    password: &PasswordSource,
) -> Result<Report, Failure> {
    let user = find(desk, whom).await?;
    let password = password.read()?;
    let hash = hash_new_password(desk, settings, &password, &user.username, &user.email).await?;
    let done = "has a new password; every session of the user has ended";
    change(desk, &user, UserChange::SetPassword(hash), done).await
}

async fn deactivate(desk: &Desk, whom: &Whom, consent: &Consent) -> Result<Report, Failure> {
    let user = find(desk, whom).await?;
    consent.obtain(&format!(
        "Keep user {} from signing in and end every session of the user?",
        user.username.as_str()
    ))?;
    let done = "deactivated; every session of the user has ended";
    change(desk, &user, UserChange::Deactivate, done).await
}

async fn delete(desk: &Desk, whom: &Whom, consent: &Consent) -> Result<Report, Failure> {
    let user = find(desk, whom).await?;
    consent.obtain(&format!("Delete user {} for good?", user.username.as_str()))?;
    change(desk, &user, UserChange::Delete, "deleted").await
}

async fn change(desk: &Desk, user: &User, change: UserChange, done: &str) -> Result<Report, Failure> {
    let name = user.username.as_str();
    let event = match &change {
        UserChange::SetPassword(_) => AuditEvent::PasswordChange {},
        UserChange::Activate => AuditEvent::UserUnblocked {},
        UserChange::Deactivate => AuditEvent::UserBlocked {},
        UserChange::Delete => AuditEvent::UserDeleted {
            username: name.to_owned(),
        },
    };
    let audit = desk.audit(event, Some(user.id), None);
    match desk
        .store
        .user_directory
        .change(user.id, change, desk.now(), audit)
        .await?
    {
        Changed::Changed => Ok(Report::new(
            format!("User {name} {done}."),
            json!({ "id": user.id, "username": name, "done": done }),
        )),
        Changed::NotFound | Changed::Overtaken => Err(Failure::refused(format!(
            "user {name} is gone: somebody has just deleted it"
        ))),
    }
}

async fn find(desk: &Desk, whom: &Whom) -> Result<User, Failure> {
    find_named(desk, &whom.user).await
}

/// The user of a name, an e-mail address or an id.
///
/// # Errors
/// Where there is none.
pub(super) async fn find_named(desk: &Desk, name: &str) -> Result<User, Failure> {
    let key = uuid::Uuid::try_parse(name).map_or_else(
        |_| UserKey::Login(Login::parse(name)),
        |id| UserKey::Id(UserId::from_uuid(id)),
    );
    desk.store.user_directory.find(&key).await?.ok_or_else(|| {
        Failure::refused(format!("there is no user {name}")).advise("`auth-service user list` lists them.")
    })
}

fn shown(user: &User) -> Report {
    let people = fields(&[
        ("id", user.id.to_string()),
        ("name", user.username.as_str().to_owned()),
        ("email", user.email.as_str().to_owned()),
        ("email verified", user.is_verified.to_string()),
        ("status", status(user).to_owned()),
        ("created", moment(user.created_at)),
        ("changed", moment(user.updated_at)),
        ("last sign-in", last_login(user)),
    ]);
    Report::new(people, view(user))
}

fn view(user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "is_verified": user.is_verified,
        "status": user.status,
        "created_at": moment(user.created_at),
        "updated_at": moment(user.updated_at),
        "last_login_at": user.last_login_at.map(moment),
    })
}

fn last_login(user: &User) -> String {
    user.last_login_at.map_or_else(|| "never".to_owned(), moment)
}

const fn status(user: &User) -> &'static str {
    match user.status {
        UserStatus::Active => "active",
        UserStatus::Inactive => "inactive",
    }
}
