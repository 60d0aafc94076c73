//! The first start: the built-in clients and the user `admin`, made once. Generated secrets are handed back to be
//! printed, and kept nowhere; none is in the code.

use auth_domain::audit::{AuditEvent, AuditRecord};
use auth_domain::client::{Client, ClientAuthentication, ClientPolicy, ClientStatus, GrantType, WireProfile};
use auth_domain::id::{ClientId, RowId, UserId};
use auth_domain::password::PasswordFault;
use auth_domain::ports::admin::Founders;
use auth_domain::ports::{Hashed, PasswordHasher, Random, Unavailable, UserKey};
use auth_domain::scope::Scope;
use auth_domain::secret::{ClientSecret, ClientSecretHash, Password, PasswordHash};
use auth_domain::time::Seconds;
use auth_domain::user::{Email, Login, User, UserStatus, Username};
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
    /// The master key of the settings, and the rules for new passwords that it breaks.
    MasterKey(Vec<PasswordFault>),
}

/// Makes the built-in clients where the store holds no client at all, and `admin` where it holds no user at all; in
/// one transaction, so that a kill leaves no half of it.
///
/// # Errors
/// Where the store or the hashing pool is away, or a built-in is not well-formed.
pub async fn first_start(
    settings: &Settings,
    store: &Store,
    hasher: &dyn PasswordHasher,
    world: &World,
) -> Result<FirstStart, Unavailable> {
    if is_inhabited(store).await? {
        return Ok(FirstStart::default());
    }
    let random = &*world.random;
    let master_key = settings.passwords.master_key.clone();
    let password = master_key.clone().unwrap_or_else(|| generate_password(random));
    let admin = admin(hash(hasher, &password).await?, world).map_err(malformed)?;
    let weaknesses = settings
        .passwords
        .rules()
        .faults(&password, &admin.username, &admin.email);
    let internal_secret = ClientSecret::generate(random);
    let clients = built_in_clients(settings, &internal_secret, world).map_err(malformed)?;
    let founders = Founders {
        admin: audited_admin(admin, world),
        clients: clients.map(|client| audited_client(client, world)).into(),
    };
    let founded = store.founding.found(founders).await?;
    let told = match master_key {
        Some(_) => AdminPassword::MasterKey(weaknesses),
        None => AdminPassword::Generated(password),
    };
    Ok(FirstStart {
        admin: founded.admin.then_some(told),
        internal_secret: founded.clients.then_some(internal_secret),
    })
}

/// The rules for new passwords that the master key of the settings breaks; none where there is no master key.
///
/// # Errors
/// Where a built-in is not well-formed.
pub fn master_key_faults(settings: &Settings) -> Result<Vec<PasswordFault>, Unavailable> {
    let Some(master_key) = &settings.passwords.master_key else {
        return Ok(Vec::new());
    };
    let (username, email) = admin_names().map_err(malformed)?;
    Ok(settings.passwords.rules().faults(master_key, &username, &email))
}

fn admin_names() -> Result<(Username, Email), Malformed> {
    Ok((Username::parse(ADMIN)?, Email::parse(ADMIN_EMAIL)?))
}

/// Whether there is nothing to make, which spares each later start the hashing of a password.
async fn is_inhabited(store: &Store) -> Result<bool, Unavailable> {
    let has_users = !store.user_directory.list(None, 1).await?.is_empty();
    Ok(has_users && !store.client_directory.list(None, 1).await?.is_empty())
}

/// Whether the built-in user and the built-in public client are both there.
///
/// # Errors
/// Where the store is away.
pub async fn can_admin_sign_in(store: &Store) -> Result<bool, Unavailable> {
    let user = UserKey::Login(Login::parse(ADMIN));
    let has_admin = store.user_directory.find(&user).await?.is_some();
    let clients = store.client_directory.list(None, u32::MAX).await?;
    Ok(has_admin
        && clients
            .iter()
            .any(|client| client.client_id.as_str() == FLUTTER_CLIENT))
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
    let (username, email) = admin_names()?;
    Ok(User {
        id: UserId::generate(&*world.random, now),
        username,
        email,
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

fn audited_admin(admin: User, world: &World) -> (User, AuditRecord) {
    let event = AuditEvent::UserCreated {
        username: ADMIN.to_owned(),
    };
    let record = world.audit(event, Some(admin.id), None);
    (admin, record)
}

fn audited_client(client: Client, world: &World) -> (Client, AuditRecord) {
    let event = AuditEvent::ClientCreated {
        confidential: client.authentication.is_confidential(),
        scope: client.allowed_scopes.clone(),
    };
    let record = world.audit(event, None, Some(client.client_id.clone()));
    (client, record)
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
    use auth_domain::password::{HashScheme, NewPasswordRules, PasswordPolicy};
    use auth_testkit::random::SeededRandom;

    use super::*;

    #[test]
    fn a_generated_password_satisfies_both_policies_and_is_not_generated_twice() {
        let random = SeededRandom::new(7);
        let (name, email) = admin_names().unwrap();
        let first = generate_password(&random);
        for policy in [PasswordPolicy::Classic, PasswordPolicy::Nist] {
            let scheme = HashScheme::BCRYPT_12;
            let rules = NewPasswordRules { policy, scheme };
            assert_eq!(rules.faults(&first, &name, &email), []);
        }
        assert_eq!(first.expose().len(), FREE_CHARACTERS + 4);
        assert_ne!(first.expose(), generate_password(&random).expose());
    }

    #[test]
    fn each_free_character_holds_six_bits() {
        assert_eq!([UPPER, LOWER, DIGIT, SPECIAL].concat().len(), 64);
    }
}
