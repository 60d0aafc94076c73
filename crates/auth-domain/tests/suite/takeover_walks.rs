//! The take-over and the way back as a whole, over tables in memory: pages, users whose tokens span pages, and what
//! an operator is told.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use auth_domain::audit::AuditEvent;
use auth_domain::client::{Client, ClientStatus};
use auth_domain::context::RequestContext;
use auth_domain::id::{ClientId, JtiHash, RowId, SessionId};
use auth_domain::password::{HashScheme, Reach, StoredHash};
use auth_domain::ports::Unavailable;
use auth_domain::ports::admin::{AuditEntry, ClientDirectory, UserDirectory};
use auth_domain::secret::{ClientSecret, PasswordHash};
use auth_domain::session::TokenRow;
use auth_domain::takeover::{
    ChainFate, EmptyTarget, ExportPorts, ExportReport, Fate, HeldChain, HeldToken, Holdings, ImportPorts,
    ImportReport, LegacyAudit, LegacyClient, LegacySink, LegacySource, LegacyTable, LegacyToken, LegacyUser,
    Mode, PlannedChain, Reason, Takeover, Target, Watcher, export, import, when,
};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::user::{User, UserStatus};
use auth_testkit::build;
use auth_testkit::fake::{FakeHasher, FakeStore};
use auth_testkit::random::SeededRandom;

const MADE: &str = "2026-11-22 18:49:22.109118";
const LATER: &str = "2036-11-19 18:49:22.000000";
const HASH: &str = "$2b$12$berupwSBPD3BhWUtoPM.iOL3H4DYUxopEY017diq/fvfs4ylGML1C";

fn now() -> Timestamp {
    when::parse("2026-11-23 00:00:00").unwrap()
}

/// The older service's tables in memory, in the order of their keys.
#[derive(Default)]
struct Tables {
    users: BTreeMap<String, LegacyUser>,
    clients: BTreeMap<String, LegacyClient>,
    tokens: BTreeMap<(String, String), LegacyToken>,
    audit: BTreeMap<String, LegacyAudit>,
    committed: bool,
}

fn page<K: Ord + Clone, V: Clone>(of: &BTreeMap<K, V>, after: &K, limit: u32) -> Vec<V> {
    let rest = of.iter().filter(|(key, _)| *key > after);
    rest.map(|(_, row)| row.clone())
        .take(usize::try_from(limit).unwrap())
        .collect()
}

impl LegacySource for Tables {
    fn users(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyUser>, Unavailable> {
        Ok(page(&self.users, &after.to_owned(), limit))
    }

    fn clients(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyClient>, Unavailable> {
        Ok(page(&self.clients, &after.to_owned(), limit))
    }

    fn tokens(&mut self, after: (&str, &str), limit: u32) -> Result<Vec<LegacyToken>, Unavailable> {
        Ok(page(
            &self.tokens,
            &(after.0.to_owned(), after.1.to_owned()),
            limit,
        ))
    }

    fn audit(&mut self, after: &str, limit: u32) -> Result<Vec<LegacyAudit>, Unavailable> {
        Ok(page(&self.audit, &after.to_owned(), limit))
    }
}

impl LegacySink for Tables {
    fn user(&mut self, id: &str) -> Result<Option<LegacyUser>, Unavailable> {
        Ok(self.users.get(id).cloned())
    }

    fn put_user(&mut self, user: &LegacyUser) -> Result<bool, Unavailable> {
        let is_taken = |other: &LegacyUser| other.id != user.id && other.username == user.username;
        if self.users.values().any(is_taken) {
            return Ok(false);
        }
        self.users.insert(user.id.clone(), user.clone());
        Ok(true)
    }

    fn put_client(&mut self, client: &LegacyClient) -> Result<(), Unavailable> {
        self.clients.insert(client.id.clone(), client.clone());
        Ok(())
    }

    fn has_client(&mut self, client_id: &str) -> Result<bool, Unavailable> {
        Ok(self.clients.values().any(|client| client.client_id == client_id))
    }

    fn put_token(&mut self, token: &LegacyToken) -> Result<bool, Unavailable> {
        let key = (token.user_id.clone(), token.id.clone());
        Ok(self.tokens.insert(key, token.clone()).as_ref() != Some(token))
    }

    fn commit(&mut self) -> Result<(), Unavailable> {
        self.committed = true;
        Ok(())
    }
}

impl Tables {
    fn with_user(mut self, name: &str) -> Self {
        let row = LegacyUser {
            id: build::user_id(name).to_string(),
            username: name.to_owned(),
            email: format!("{name}@example.com"),
            password_hash: PasswordHash::new(HASH.to_owned()),
            is_active: true,
            is_verified: true,
            created_at: MADE.to_owned(),
            updated_at: MADE.to_owned(),
            last_login_at: None,
        };
        self.users.insert(row.id.clone(), row);
        self
    }

    fn with_client(mut self, client_id: &str, is_confidential: bool) -> Self {
        let row = LegacyClient {
            id: build::uuid(client_id).to_string(),
            client_id: client_id.to_owned(),
            client_secret_hash: None,
            name: "A client".to_owned(),
            description: None,
            is_confidential,
            allowed_scopes: "api:read".to_owned(),
            allowed_grant_types: Some(vec!["password".to_owned(), "implicit".to_owned()]),
            access_token_lifetime: 900,
            refresh_token_lifetime: 900,
            is_active: true,
            created_at: MADE.to_owned(),
            updated_at: MADE.to_owned(),
        };
        self.clients.insert(row.id.clone(), row);
        self
    }

    /// A chain of so many tokens, the last of which is live.
    fn with_chain(mut self, user: &str, client_id: &str, length: usize) -> Self {
        for place in 0..length {
            let hash = |place: usize| {
                format!(
                    "{:064x}",
                    u128::from(build::uuid(user).as_u64_pair().0) + place as u128
                )
            };
            let row = LegacyToken {
                id: build::uuid(&format!("{user} {place}")).to_string(),
                jti_hash: hash(place),
                user_id: build::user_id(user).to_string(),
                client_id: client_id.to_owned(),
                scope: "api:read".to_owned(),
                expires_at: LATER.to_owned(),
                revoked: place + 1 < length,
                revoked_at: None,
                parent_jti_hash: place.checked_sub(1).map(hash),
                created_at: format!("2026-11-22 00:{:02}:{:02}", place / 60 % 60, place % 60),
            };
            self.tokens.insert((row.user_id.clone(), row.id.clone()), row);
        }
        self
    }

    /// So many rows of the audit trail.
    fn with_events(mut self, number: u64) -> Self {
        for place in 0..number {
            let row = LegacyAudit {
                id: build::uuid(&format!("event {place}")).to_string(),
                user_id: None,
                client_id: None,
                event_type: "login_success".to_owned(),
                event_data: "{}".to_owned(),
                ip_address: None,
                user_agent: None,
                success: true,
                error_message: None,
                created_at: MADE.to_owned(),
                garbled: None,
            };
            self.audit.insert(row.id.clone(), row);
        }
        self
    }

    /// Another head for a user's only chain: its last token was given twice.
    fn with_twin_head(mut self, user: &str) -> Self {
        let owner = build::user_id(user).to_string();
        let is_head = |row: &&LegacyToken| row.user_id == owner && !row.revoked;
        let mut twin = self.tokens.values().find(is_head).unwrap().clone();
        twin.id = build::uuid("twin").to_string();
        twin.jti_hash = "f".repeat(64);
        self.tokens.insert((owner, twin.id.clone()), twin);
        self
    }
}

#[derive(Default)]
struct Told {
    secrets: Vec<(ClientId, ClientSecret)>,
    progress: BTreeMap<LegacyTable, u64>,
}

impl Watcher for Told {
    fn progress(&mut self, table: LegacyTable, rows: u64) {
        self.progress.insert(table, rows);
    }

    fn secret(&mut self, client_id: &ClientId, secret: &ClientSecret) -> Result<(), Unavailable> {
        self.secrets.push((client_id.clone(), secret.clone()));
        Ok(())
    }
}

/// Notes what it is given, and answers as told.
struct Ledger {
    fate: Fate,
    chains: Mutex<Vec<PlannedChain>>,
}

#[async_trait]
impl Target for Ledger {
    async fn take_users(&self, users: Vec<User>, _: &Takeover) -> Result<Vec<Fate>, Unavailable> {
        Ok(users.iter().map(|_| self.fate.clone()).collect())
    }

    async fn take_clients(&self, clients: Vec<Client>, _: &Takeover) -> Result<Vec<Fate>, Unavailable> {
        Ok(clients.iter().map(|_| self.fate.clone()).collect())
    }

    async fn take_chains(
        &self,
        chains: Vec<PlannedChain>,
        _: &Takeover,
    ) -> Result<Vec<ChainFate>, Unavailable> {
        let fate = |chain: &PlannedChain| ChainFate {
            not_taken: Some((vec![chain.head.row.clone()], Reason::MovedOn)),
            updated: 2,
            already_there: chain.history.len() as u64,
            ..ChainFate::default()
        };
        let fates = chains.iter().map(fate).collect();
        self.chains.lock().unwrap().extend(chains);
        Ok(fates)
    }

    async fn take_trail(&self, rows: Vec<AuditEntry>, _: &Takeover) -> Result<u64, Unavailable> {
        Ok(rows.len() as u64 / 2)
    }
}

async fn imported(source: &mut Tables, target: &dyn Target) -> (ImportReport, Told) {
    let takeover = Takeover {
        mode: Mode::Take,
        at: now(),
        context: RequestContext::default(),
    };
    let mut told = Told::default();
    let ports = ImportPorts {
        source,
        target,
        random: &SeededRandom::new(1),
        watcher: &mut told,
    };
    let report = import(ports, &takeover, Seconds::new(1)).await.unwrap();
    (report, told)
}

fn counts(report: &ImportReport, table: LegacyTable) -> [u64; 4] {
    let tally = report.tallies.get(&table).copied().unwrap_or_default();
    assert_eq!(
        tally.total(),
        tally.taken + tally.updated + tally.already_there + tally.not_taken
    );
    [tally.taken, tally.updated, tally.already_there, tally.not_taken]
}

#[tokio::test]
async fn chains_that_span_pages_are_taken_whole() {
    let mut source = Tables::default().with_client("app", false);
    for name in ["ivan", "maria", "anna"] {
        source = source.with_user(name).with_chain(name, "app", 1_100);
    }
    let ledger = Ledger {
        fate: Fate::Taken,
        chains: Mutex::default(),
    };
    let (report, told) = imported(&mut source, &ledger).await;
    let chains = ledger.chains.into_inner().unwrap();
    assert_eq!(
        chains.iter().map(|chain| chain.history.len()).collect::<Vec<_>>(),
        [1_099; 3]
    );
    assert_eq!(counts(&report, LegacyTable::Tokens), [0, 3 * 2, 3 * 1_099, 3]);
    assert_eq!(told.progress[&LegacyTable::Tokens], 3_300);
    assert_eq!(told.progress[&LegacyTable::Users], 3);
    assert_eq!(told.progress[&LegacyTable::Clients], 1);
}

#[tokio::test]
async fn what_is_new_is_counted_and_its_secrets_are_told() {
    let mut source = Tables::default()
        .with_client("backend", true)
        .with_client("app", false)
        .with_user("ivan")
        .with_chain("ivan", "app", 3);
    let (report, told) = imported(&mut source, &EmptyTarget).await;
    assert_eq!(counts(&report, LegacyTable::Users), [1, 0, 0, 0]);
    assert_eq!(counts(&report, LegacyTable::Clients), [2, 0, 0, 0]);
    assert_eq!(counts(&report, LegacyTable::Tokens), [3, 0, 0, 0]);
    assert_eq!((report.live_chains, report.branches, report.expired), (1, 0, 0));
    let secrets: Vec<_> = told.secrets.iter().map(|(client, _)| client.as_str()).collect();
    assert_eq!(secrets, ["backend"]);
    assert_eq!(report.live_until, when::parse(LATER));
    let of_left_out_grants = report.remarks.iter().filter(|remark| remark.contains("implicit"));
    assert_eq!((of_left_out_grants.count(), report.remarks.len()), (2, 2));
}

#[tokio::test]
async fn the_audit_trail_is_taken_page_by_page() {
    let mut source = Tables::default().with_events(1_500);
    let (report, told) = imported(&mut source, &EmptyTarget).await;
    assert_eq!(counts(&report, LegacyTable::Audit), [1_500, 0, 0, 0]);
    assert_eq!(told.progress[&LegacyTable::Audit], 1_500);
    let ledger = Ledger {
        fate: Fate::Taken,
        chains: Mutex::default(),
    };
    source.audit.first_entry().unwrap().get_mut().event_type.clear();
    let (report, _) = imported(&mut source, &ledger).await;
    assert_eq!(counts(&report, LegacyTable::Audit), [749, 0, 750, 1]);
}

#[tokio::test]
async fn of_clients_that_were_made_here_those_with_a_secret_are_told_to_keep_it() {
    let mut source = Tables::default()
        .with_client("backend", true)
        .with_client("app", false);
    for (fate, told) in [
        (Fate::MadeHere(None), 1),
        (Fate::AlreadyThere, 0),
        (Fate::Updated, 0),
    ] {
        let ledger = Ledger {
            fate,
            chains: Mutex::default(),
        };
        let (report, _) = imported(&mut source, &ledger).await;
        assert_eq!(report.remarks.len(), told);
        assert!(report.remarks.iter().all(|remark| remark.contains("backend")));
    }
}

#[tokio::test]
async fn a_branch_is_counted_where_it_was_taken() {
    let mut source = Tables::default()
        .with_client("app", false)
        .with_user("ivan")
        .with_chain("ivan", "app", 3)
        .with_twin_head("ivan");
    let (report, _) = imported(&mut source, &EmptyTarget).await;
    assert_eq!((report.live_chains, report.branches), (2, 1));
    let ledger = Ledger {
        fate: Fate::Taken,
        chains: Mutex::default(),
    };
    let (report, _) = imported(&mut source, &ledger).await;
    assert_eq!(report.branches, 0, "it was here before");
}

#[tokio::test]
async fn who_was_refused_takes_the_tokens_along() {
    let mut source = Tables::default()
        .with_client("app", true)
        .with_user("ivan")
        .with_chain("ivan", "app", 2);
    for (fate, users, reason) in [
        (
            Fate::Refused(Reason::UsernameTaken),
            [0, 0, 0, 1],
            Reason::UnknownUser,
        ),
        (Fate::Kept(Reason::MovedOn), [0, 0, 0, 1], Reason::MovedOn),
        (Fate::AlreadyThere, [0, 0, 1, 0], Reason::MovedOn),
        (Fate::Updated, [0, 1, 0, 0], Reason::MovedOn),
    ] {
        let ledger = Ledger {
            fate: fate.clone(),
            chains: Mutex::default(),
        };
        let (report, told) = imported(&mut source, &ledger).await;
        assert_eq!(counts(&report, LegacyTable::Users), users);
        assert_eq!(report.not_taken.last().unwrap().reason, reason, "{fate:?}");
        assert!(told.secrets.is_empty(), "a client that was here keeps its secret");
    }
}

#[tokio::test]
async fn tokens_that_expired_long_ago_are_counted_and_not_named() {
    let mut source = Tables::default()
        .with_client("app", false)
        .with_user("ivan")
        .with_chain("ivan", "app", 1);
    for token in source.tokens.values_mut() {
        token.expires_at = "2026-11-22 23:59:59".to_owned();
    }
    let (report, _) = imported(&mut source, &EmptyTarget).await;
    assert_eq!((report.expired, report.not_taken.len()), (1, 0));
    assert_eq!(counts(&report, LegacyTable::Tokens), [0, 0, 0, 1]);
}

/// Chains in the order of their ids.
struct Chains(Vec<HeldChain>);

#[async_trait]
impl Holdings for Chains {
    async fn chains(&self, after: Option<SessionId>, limit: u32) -> Result<Vec<HeldChain>, Unavailable> {
        let rest = self
            .0
            .iter()
            .filter(|chain| after.is_none_or(|after| chain.id > after));
        Ok(rest.take(usize::try_from(limit).unwrap()).cloned().collect())
    }
}

fn held(id: u128, user: &str) -> HeldChain {
    let token = |name: &str| TokenRow {
        id: RowId::from_uuid(build::uuid(name)),
        jti_hash: JtiHash::from_bytes([0xab; 32]),
        issued_at: now(),
        expires_at: now().plus(Seconds::new(60)),
    };
    HeldChain {
        id: SessionId::from_uuid(uuid::Uuid::from_u128(id)),
        user_id: build::user_id(user),
        client_id: build::client_id("app"),
        scope: build::scope("api:read"),
        expires_at: now().plus(Seconds::new(60)),
        revoked_at: None,
        has_legacy_head: true,
        tokens: vec![HeldToken {
            token: token(&format!("{user} {id}")),
            parent: None,
            consumed_at: None,
        }],
    }
}

async fn exported(store: &FakeStore, chains: Vec<HeldChain>, sink: &mut Tables) -> ExportReport {
    let ports = ExportPorts {
        users: store,
        clients: store,
        holdings: &Chains(chains),
        sink,
        hasher: &FakeHasher::default(),
        random: &SeededRandom::new(1),
    };
    export(ports, now()).await.unwrap()
}

async fn with_user(store: &FakeStore, name: &str, hash: &str) {
    let user = User {
        password_hash: PasswordHash::new(hash.to_owned()),
        updated_at: when::parse(MADE).unwrap(),
        ..build::user(name)
    };
    let record = build::audit(name, AuditEvent::UserBlocked {});
    UserDirectory::create(store, user, record).await.unwrap();
}

const RENEWED: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g";

#[tokio::test]
async fn a_hash_that_the_older_service_knows_goes_back_without_its_mark() {
    let store = FakeStore::default();
    with_user(&store, "ivan", &format!("$bcrypt-cut{HASH}")).await;
    with_user(&store, "maria", HASH).await;
    let mut sink = Tables::default();
    let report = exported(&store, Vec::new(), &mut sink).await;
    assert_eq!((report.users, report.without_password.len()), (2, 0));
    assert!(
        sink.users
            .values()
            .all(|user| user.password_hash.expose() == HASH)
    );
    assert!(sink.committed);
}

#[tokio::test]
async fn users_go_back_as_they_are_here() {
    let store = FakeStore::default();
    with_user(&store, "ivan", HASH).await;
    let locked = User {
        status: UserStatus::Inactive,
        is_verified: false,
        last_login_at: when::parse(LATER),
        ..build::user("maria")
    };
    let record = build::audit("maria", AuditEvent::UserBlocked {});
    UserDirectory::create(&store, locked, record).await.unwrap();
    let mut sink = Tables::default();
    let report = exported(&store, Vec::new(), &mut sink).await;
    let back = |name| &sink.users[&build::user_id(name).to_string()];
    let (ivan, maria) = (back("ivan"), back("maria"));
    assert_eq!(
        (ivan.username.as_str(), ivan.email.as_str()),
        ("ivan", "ivan@example.com")
    );
    assert_eq!((ivan.is_active, ivan.is_verified), (true, true));
    assert_eq!(
        (ivan.updated_at.as_str(), ivan.last_login_at.as_deref()),
        (MADE, None)
    );
    assert_eq!((maria.is_active, maria.is_verified), (false, false));
    assert_eq!(maria.last_login_at.as_deref(), Some(LATER));
    assert_eq!(report.names[&build::user_id("maria")], "maria");
}

#[tokio::test]
async fn clients_go_back_as_they_are_here() {
    let store = FakeStore::default();
    let client = Client {
        status: ClientStatus::Disabled,
        ..build::public_client("app")
    };
    let record = build::audit("app", AuditEvent::ClientUpdated {});
    ClientDirectory::create(&store, client.clone(), record)
        .await
        .unwrap();
    let mut sink = Tables::default();
    let report = exported(&store, Vec::new(), &mut sink).await;
    assert_eq!(
        (report.clients, report.secrets.len(), report.kept_secrets.len()),
        (1, 0, 0)
    );
    let row = &sink.clients[&client.id.to_string()];
    assert!(!row.is_active && !row.is_confidential && row.client_secret_hash.is_none());
    assert_eq!(
        (row.client_id.as_str(), row.allowed_scopes.as_str()),
        ("app", "api:read api:write")
    );
    let lifetimes = [row.access_token_lifetime, row.refresh_token_lifetime];
    let ours = [
        client.policy.access_token_lifetime,
        client.policy.refresh_token_lifetime,
    ];
    assert_eq!(lifetimes.map(i64::from), ours.map(|span| i64::from(span.get())));
    assert_eq!(
        row.allowed_grant_types.as_deref().unwrap(),
        ["password", "refresh_token"]
    );
}

#[tokio::test]
async fn a_hash_that_was_renewed_leaves_the_one_that_lies_there_unless_more_was_changed() {
    let store = FakeStore::default();
    with_user(&store, "ivan", RENEWED).await;
    let mut sink = Tables::default().with_user("ivan");
    let report = exported(&store, Vec::new(), &mut sink).await;
    assert_eq!(report.without_password, []);
    let id = build::user_id("ivan").to_string();
    assert_eq!(sink.users[&id].password_hash.expose(), HASH);
    sink.users.get_mut(&id).unwrap().updated_at = LATER.to_owned();
    let report = exported(&store, Vec::new(), &mut sink).await;
    assert_eq!(report.without_password, [build::user_id("ivan")]);
    let unusable = &sink.users[&id].password_hash;
    assert_ne!(unusable.expose(), HASH);
    assert_eq!(unusable.expose().len(), 60);
    let stored = StoredHash::of(unusable).unwrap();
    assert_eq!(stored.scheme, HashScheme::BCRYPT_12);
    assert_eq!(stored.reach, Reach::Whole);
    let digits = unusable.expose().as_bytes();
    assert!(
        b".Oeu".contains(&digits[28]),
        "the salt's last digit has two bits"
    );
    assert!(
        b".CGKOSWaeimquy26".contains(&digits[59]),
        "the digest's last digit has four"
    );
}

#[tokio::test]
async fn a_user_whose_name_is_taken_there_is_told_with_the_tokens() {
    let store = FakeStore::default();
    with_user(&store, "ivan", HASH).await;
    let mut sink = Tables::default().with_user("ivan");
    let mut other = sink.users.pop_first().unwrap().1;
    other.id = build::uuid("another").to_string();
    sink.users.insert(other.id.clone(), other);
    let report = exported(&store, vec![held(1, "ivan")], &mut sink).await;
    let reasons: Vec<_> = report.not_written.iter().map(|row| row.reason.clone()).collect();
    assert_eq!(reasons, [Reason::UsernameTaken, Reason::UnknownUser]);
    assert_eq!((report.users, report.tokens, report.live_chains), (0, 0, 0));
}

#[tokio::test]
async fn only_a_live_head_of_the_older_service_is_usable_there() {
    let store = FakeStore::default();
    with_user(&store, "ivan", HASH).await;
    let mut consumed = held(2, "ivan");
    consumed.has_legacy_head = false;
    consumed.tokens[0].consumed_at = Some(now());
    let mut ended = held(3, "ivan");
    ended.revoked_at = Some(now());
    let mut expired = held(4, "ivan");
    (expired.expires_at, expired.has_legacy_head) = (now(), false);
    expired.tokens.clear();
    let mut sink = Tables::default();
    let chains = vec![held(1, "ivan"), consumed, ended, expired];
    let report = exported(&store, chains, &mut sink).await;
    assert_eq!((report.tokens, report.live_chains), (3, 1));
    let again: Vec<_> = report
        .sign_in_again
        .iter()
        .map(|chain| chain.session_id)
        .collect();
    assert_eq!(again, [held(2, "ivan").id]);
    assert_eq!(report.sign_in_again[0].client_id, build::client_id("app"));
    let live: Vec<_> = sink.tokens.values().filter(|token| !token.revoked).collect();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].id, build::uuid("ivan 1").to_string());
    assert_eq!(live[0].jti_hash, "ab".repeat(32));
    assert_eq!(live[0].revoked_at, None);
    let revoked = sink.tokens.values().filter(|token| token.revoked);
    let since: Vec<_> = revoked.map(|token| token.revoked_at.clone().unwrap()).collect();
    assert_eq!(since, ["2026-11-23 00:00:00.000000"; 2]);
}

#[tokio::test]
async fn a_client_that_is_not_there_gets_a_secret_and_one_that_is_keeps_its_own() {
    let store = FakeStore::default();
    let client = Client {
        name: "n".repeat(300),
        ..build::confidential_client("backend", "a secret")
    };
    let record = build::audit("backend", AuditEvent::ClientUpdated {});
    ClientDirectory::create(&store, client, record).await.unwrap();
    let mut sink = Tables::default();
    let report = exported(&store, Vec::new(), &mut sink).await;
    assert_eq!(
        (report.clients, report.secrets.len(), report.kept_secrets.len()),
        (1, 1, 0)
    );
    let row = sink.clients.values().next().unwrap();
    assert!(row.client_secret_hash.is_some() && row.is_confidential && row.is_active);
    assert_eq!(row.name.len(), 255);
    let report = exported(&store, Vec::new(), &mut sink).await;
    assert_eq!((report.secrets.len(), report.kept_secrets.len()), (0, 1));
}
