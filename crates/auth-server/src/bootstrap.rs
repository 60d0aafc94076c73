//! The first start: the built-in clients and the user `admin`, made once. Generated secrets are handed back to be
//! printed, and kept nowhere; none is in the code.

use auth_domain::audit::AuditEvent;
use auth_domain::client::{Client, ClientAuthentication, ClientPolicy, ClientStatus, GrantType, WireProfile};
use auth_domain::id::{ClientId, RowId, UserId};
use auth_domain::password::{PasswordFault, check_new_password};
use auth_domain::ports::admin::{ClientCreated, UserCreated};
use auth_domain::ports::{Hashed, PasswordHasher, Random, Unavailable};
use auth_domain::scope::Scope;
use auth_domain::secret::{ClientSecret, ClientSecretHash, Password, PasswordHash};
use auth_domain::time::Seconds;
use auth_domain::user::{Email, User, UserStatus, Username};
use auth_storage::Store;

use crate::compose::World;
use crate::settings::Settings;

/// The built-in public client: the CodeLab application in the field.
pub const FLUTTER_CLIENT: &str = "codelab-flutter-app";
/// The built-in confidential client: the platform's own services.
pub const INTERNAL_CLIENT: &str = "codelab-internal";
/// The built-in user.
pub const ADMIN: &str = "admin";
const ADMIN_EMAIL: &str = "admin@codelab.local";

/// What this process has made that somebody must be told. Where two instances start at once, each knows of its own.
#[derive(Debug, Default)]
pub struct FirstStart {
    /// `admin`, where this process has made it.
    pub admin: Option<AdminPassword>,
    /// The secret of `codelab-internal`, where this process has made it.
    pub internal_secret: Option<ClientSecret>,
}

/// The password that `admin` was made with.
#[derive(Debug)]
pub enum AdminPassword {
    /// A random one, which nobody knows yet.
    Generated(Password),
    /// The master key of the settings, and the rule of the policy that it breaks, if any.
    MasterKey(Option<PasswordFault>),
}

/// Whether anybody could get a token from this store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inhabitants {
    /// Whether there is a user.
    pub has_users: bool,
    /// Whether there is a client.
    pub has_clients: bool,
}

/// Looks whether there is anybody.
///
/// # Errors
/// Where the store is away.
pub async fn inhabitants(store: &Store) -> Result<Inhabitants, Unavailable> {
    Ok(Inhabitants {
        has_users: !store.user_directory.list(None, 1).await?.is_empty(),
        has_clients: !store.client_directory.list(None, 1).await?.is_empty(),
    })
}

/// Makes the built-in clients and `admin` where the store holds no user and no client at all: what an operator has
/// deleted later does not come back.
///
/// # Errors
/// Where the store or the hashing pool is away, or a built-in is not well-formed.
pub async fn first_start(
    settings: &Settings,
    store: &Store,
    hasher: &dyn PasswordHasher,
    world: &World,
) -> Result<FirstStart, Unavailable> {
    let found = inhabitants(store).await?;
    if found.has_users || found.has_clients {
        return Ok(FirstStart::default());
    }
    // Hashed before anything is stored, so that all is stored within a moment.
    let random = &*world.random;
    let master_key = settings.passwords.master_key.clone();
    let password = master_key.clone().unwrap_or_else(|| generate_password(random));
    let admin = admin(hash(hasher, &password).await?, world).map_err(malformed)?;
    let is_ours = store_admin(store, &admin, world).await?;
    let internal_secret = ClientSecret::generate(random);
    let [flutter, internal] = built_in_clients(settings, &internal_secret, world).map_err(malformed)?;
    store_client(store, flutter, world).await?;
    let is_internal_ours = store_client(store, internal, world).await?;
    let told = match master_key {
        Some(key) => {
            let scheme = settings.passwords.scheme;
            AdminPassword::MasterKey(check_new_password(&key, &admin.username, &admin.email, scheme).err())
        }
        None => AdminPassword::Generated(password),
    };
    Ok(FirstStart {
        admin: is_ours.then_some(told),
        internal_secret: is_internal_ours.then_some(internal_secret),
    })
}

type Malformed = Box<dyn std::error::Error + Send + Sync>;

fn malformed(fault: Malformed) -> Unavailable {
    Unavailable::new("make the built-in clients and users", fault)
}

async fn hash(hasher: &dyn PasswordHasher, password: &Password) -> Result<PasswordHash, Unavailable> {
    match hasher.hash(password).await? {
        Hashed::Done(hash) => Ok(hash),
        Hashed::Saturated { .. } => Err(Unavailable::new(
            "hash the password of admin",
            "the queue is full",
        )),
    }
}

fn admin(password_hash: PasswordHash, world: &World) -> Result<User, Malformed> {
    let now = world.clock.now();
    Ok(User {
        id: UserId::generate(&*world.random, now),
        username: Username::parse(ADMIN)?,
        email: Email::parse(ADMIN_EMAIL)?,
        password_hash,
        status: UserStatus::Active,
        is_verified: true,
        created_at: now,
        updated_at: now,
        last_login_at: None,
    })
}

fn built_in_clients(
    settings: &Settings,
    internal_secret: &ClientSecret,
    world: &World,
) -> Result<[Client; 2], Malformed> {
    let now = world.clock.now();
    let policy = ClientPolicy {
        access_token_lifetime: settings.tokens.access_lifetime,
        refresh_token_lifetime: settings.tokens.refresh_lifetime,
        ..ClientPolicy::default()
    };
    let flutter = Client {
        id: RowId::generate(&*world.random, now),
        client_id: ClientId::parse(FLUTTER_CLIENT)?,
        name: "CodeLab Flutter App".to_owned(),
        description: Some("The CodeLab IDE".to_owned()),
        authentication: ClientAuthentication::Public,
        allowed_scopes: Scope::parse("api:read api:write")?,
        allowed_grants: [GrantType::Password, GrantType::RefreshToken].into(),
        policy,
        wire_profile: WireProfile::CodelabFlutter,
        status: ClientStatus::Active,
        created_at: now,
        updated_at: now,
    };
    let internal = Client {
        id: RowId::generate(&*world.random, now),
        client_id: ClientId::parse(INTERNAL_CLIENT)?,
        name: "CodeLab Internal Services".to_owned(),
        description: Some("Gateway, Agent Runtime and LLM Proxy".to_owned()),
        authentication: ClientAuthentication::Confidential(ClientSecretHash::of(internal_secret)),
        allowed_scopes: Scope::parse("api:admin api:read api:write")?,
        policy: ClientPolicy {
            access_token_lifetime: Seconds::new(3_600),
            refresh_token_lifetime: Seconds::new(7_776_000),
            ..policy
        },
        wire_profile: WireProfile::Rfc,
        ..flutter.clone()
    };
    Ok([flutter, internal])
}

/// Says whether it was this process that made it.
async fn store_admin(store: &Store, admin: &User, world: &World) -> Result<bool, Unavailable> {
    let event = AuditEvent::UserCreated {
        username: ADMIN.to_owned(),
    };
    let row = world.audit(event, Some(admin.id), None);
    match store.user_directory.create(admin.clone(), row).await? {
        UserCreated::Created => Ok(true),
        UserCreated::UsernameTaken | UserCreated::EmailTaken => Ok(false),
    }
}

/// Says whether it was this process that made it.
async fn store_client(store: &Store, client: Client, world: &World) -> Result<bool, Unavailable> {
    let event = AuditEvent::ClientCreated {
        confidential: client.authentication.is_confidential(),
        scope: client.allowed_scopes.clone(),
    };
    let row = world.audit(event, None, Some(client.client_id.clone()));
    match store.client_directory.create(client, row).await? {
        ClientCreated::Created => Ok(true),
        ClientCreated::Taken => Ok(false),
    }
}

const UPPER: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
const LOWER: &[u8] = b"abcdefghijkmnopqrstuvwxyz";
const DIGIT: &[u8] = b"23456789";
const SPECIAL: &[u8] = b"-_.~+=:";
/// One of each kind, as the policy asks, then these, of 6 random bits each.
const FREE_CHARACTERS: usize = 24;

/// A password that satisfies the policy for new ones, of characters that can't be taken for one another.
fn generate_password(random: &dyn Random) -> Password {
    let all = [UPPER, LOWER, DIGIT, SPECIAL].concat();
    let kinds = [UPPER, LOWER, DIGIT, SPECIAL].into_iter();
    let mut bytes = [0_u8; FREE_CHARACTERS + 4];
    random.fill(&mut bytes);
    let choices = kinds.chain(std::iter::repeat_n(all.as_slice(), FREE_CHARACTERS));
    let text = choices.zip(bytes).filter_map(|(from, byte)| {
        let choice = usize::from(byte) % from.len();
        from.get(choice).copied().map(char::from)
    });
    Password::new(text.collect())
}

#[cfg(test)]
mod tests {
    use auth_domain::password::HashScheme;
    use auth_testkit::random::SeededRandom;

    use super::*;

    #[test]
    fn a_generated_password_satisfies_the_policy_and_is_not_generated_twice() {
        let random = SeededRandom::new(7);
        let (name, email) = (
            Username::parse(ADMIN).unwrap(),
            Email::parse(ADMIN_EMAIL).unwrap(),
        );
        let first = generate_password(&random);
        assert_eq!(
            check_new_password(&first, &name, &email, HashScheme::BCRYPT_12),
            Ok(())
        );
        assert_eq!(first.expose().len(), FREE_CHARACTERS + 4);
        assert_ne!(first.expose(), generate_password(&random).expose());
    }

    #[test]
    fn each_free_character_holds_six_bits() {
        assert_eq!([UPPER, LOWER, DIGIT, SPECIAL].concat().len(), 64);
    }
}
