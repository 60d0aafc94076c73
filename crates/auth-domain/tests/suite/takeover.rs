//! The take-over's rules: every row of the older service is taken or refused by its reason, and what was consumed
//! there never works again.

use std::collections::{BTreeSet, HashMap, HashSet};

use auth_domain::client::{ClientAuthentication, ClientStatus, GrantType, WireProfile};
use auth_domain::id::{JtiHash, UserId};
use auth_domain::secret::PasswordHash;
use auth_domain::session::{RevocationReason, SessionState};
use auth_domain::takeover::{
    ChainTerms, Fate, Ground, LegacyAudit, LegacyClient, LegacyTable, LegacyToken, LegacyUser, Owners,
    Planned, PlannedChain, Reason, plan_chains, plan_clients, plan_trail, plan_users, reconcile_client,
    reconcile_user, when,
};
use auth_domain::time::{Seconds, Timestamp};
use auth_domain::user::{NameFault, User, UserStatus};
use auth_testkit::build;
use auth_testkit::random::SeededRandom;
use proptest::prelude::*;
use rstest::rstest;
use sha2::{Digest, Sha256};

const HASH: &str = "$2b$12$berupwSBPD3BhWUtoPM.iOL3H4DYUxopEY017diq/fvfs4ylGML1C";
/// As long as one of bcrypt, but of another scheme.
const ARGON2: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hhc2hoY";
/// As long as one of bcrypt, by a mark that the older service never set.
const MARKED: &str = "$bcrypt-cut$2b$12$berupwSBPD3BhWUtoPM.iOL3H4DYUxopEY017diq/f";
const MADE: &str = "2026-11-22 18:49:22.109118";
const NOW: &str = "2026-11-23 00:00:00";
const LATER: &str = "2036-11-19 18:49:22.000000";

fn id(text: &str) -> String {
    build::uuid(text).to_string()
}

fn jti(name: &str) -> String {
    let digits = Sha256::digest(name.as_bytes())
        .into_iter()
        .flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from_digit(digit.into(), 16).unwrap())
        .collect()
}

fn jti_hash(name: &str) -> JtiHash {
    JtiHash::from_bytes(Sha256::digest(name.as_bytes()).into())
}

fn at(text: &str) -> Timestamp {
    when::parse(text).unwrap()
}

fn terms() -> ChainTerms {
    ChainTerms {
        now: at(NOW),
        kept_after_expiry: Seconds::new(7 * 86_400),
    }
}

fn user(name: &str) -> LegacyUser {
    LegacyUser {
        id: id(name),
        username: name.to_owned(),
        email: format!("{name}@example.com"),
        password_hash: PasswordHash::new(HASH.to_owned()),
        is_active: true,
        is_verified: true,
        created_at: MADE.to_owned(),
        updated_at: MADE.to_owned(),
        last_login_at: None,
    }
}

fn client(client_id: &str) -> LegacyClient {
    LegacyClient {
        id: id(client_id),
        client_id: client_id.to_owned(),
        client_secret_hash: None,
        name: "A client".to_owned(),
        description: None,
        is_confidential: false,
        allowed_scopes: "api:read  api:write".to_owned(),
        allowed_grant_types: Some(vec!["password".to_owned(), "refresh_token".to_owned()]),
        access_token_lifetime: 900,
        refresh_token_lifetime: 315_360_000,
        is_active: true,
        created_at: MADE.to_owned(),
        updated_at: MADE.to_owned(),
    }
}

/// A live token of `ivan` at `app`, made in the order of the names' last letters.
fn token(name: &str, parent: Option<&str>) -> LegacyToken {
    let second = name.bytes().last().unwrap_or_default() % 60;
    LegacyToken {
        id: id(&format!("row {name}")),
        jti_hash: jti(name),
        user_id: id("ivan"),
        client_id: "app".to_owned(),
        scope: "api:read".to_owned(),
        expires_at: LATER.to_owned(),
        revoked: false,
        revoked_at: None,
        parent_jti_hash: parent.map(jti),
        created_at: format!("2026-11-22 18:50:{second:02}.000000"),
    }
}

fn revoked(token: LegacyToken) -> LegacyToken {
    LegacyToken {
        revoked: true,
        revoked_at: Some("2026-11-22 19:00:00.5".to_owned()),
        ..token
    }
}

fn owners() -> Owners {
    let user = |name| (UserId::from_uuid(build::uuid(name)), UserStatus::Active);
    let client = |name| (build::client_id(name), ClientStatus::Active);
    Owners {
        users: ["ivan", "maria"].map(user).into(),
        clients: ["app", "other"].map(client).into(),
    }
}

fn chains(rows: &[LegacyToken]) -> Planned<PlannedChain> {
    plan_chains(rows, &owners(), terms())
}

/// The names of a chain's tokens, in order.
fn names(chain: &PlannedChain, of: &[&'static str]) -> Vec<&'static str> {
    let named: HashMap<_, _> = of.iter().map(|name| (jti_hash(name), *name)).collect();
    chain.tokens().map(|token| named[&token.token.jti_hash]).collect()
}

fn reasons<T>(planned: &Planned<T>) -> Vec<Reason> {
    planned
        .rejected
        .iter()
        .map(|rejection| rejection.reason.clone())
        .collect()
}

#[rstest]
#[case("2026-11-22 18:49:20.372859", 1_795_373_360_372_859)]
#[case("2026-11-22T18:49:20.372859Z", 1_795_373_360_372_859)]
#[case("2026-11-22 18:49:20.37", 1_795_373_360_370_000)]
#[case("2026-11-22 18:49:20", 1_795_373_360_000_000)]
#[case("2026-11-22 21:49:20+03", 1_795_373_360_000_000)]
#[case("2026-11-22 14:19:20-04:30", 1_795_373_360_000_000)]
#[case("2026-11-22 14:19:20-0430", 1_795_373_360_000_000)]
#[case("1970-01-01 00:00:00", 0)]
#[case("1969-12-31 23:59:59.999999", -1)]
#[case("2000-02-29 00:00:00", 951_782_400_000_000)]
#[case("9999-12-31 23:59:59.999999", 253_402_300_799_999_999)]
fn a_time_is_read_as_the_older_service_wrote_it(#[case] text: &str, #[case] micros: i64) {
    assert_eq!(when::parse(text), Some(Timestamp::from_micros(micros)));
}

#[rstest]
#[case("")]
#[case("now")]
#[case("infinity")]
#[case("2026-11-22")]
#[case("2026-02-29 00:00:00")]
#[case("1900-02-29 00:00:00")]
#[case("2026-04-31 00:00:00")]
#[case("2026-13-01 00:00:00")]
#[case("2026-00-01 00:00:00")]
#[case("2026-01-00 00:00:00")]
#[case("0000-01-01 00:00:00")]
#[case("2026-11-22-01 00:00:00")]
#[case("2026-11-22 24:00:00")]
#[case("2026-11-22 23:60:00")]
#[case("2026-11-22 23:00:60")]
#[case("2026-11-22 23:00")]
#[case("2026-11-22 23:00:00:00")]
#[case("2026-11-22 23:00:00.")]
#[case("2026-11-22 23:00:00.1234567")]
#[case("2026-11-22 23:00:00.+1")]
#[case("2026-11-22 23:00:00+24")]
#[case("2026-11-22 23:00:00+01:60")]
#[case("2026-11-22 23:00:00+1")]
#[case("2026-11-22 23:00:00+01:0")]
#[case("2026-11-22 23:00:00ZZ")]
#[case("+026-11-22 23:00:00")]
fn what_is_no_time_is_none(#[case] text: &str) {
    assert_eq!(when::parse(text), None);
}

#[test]
fn times_beyond_four_digits_of_a_year_are_not_written() {
    let last = at("9999-12-31 23:59:59.999999").as_micros();
    assert_eq!(when::write(Timestamp::from_micros(last + 1)), None);
    let first = at("0001-01-01 00:00:00").as_micros();
    assert_eq!(when::write(Timestamp::from_micros(first - 1)), None);
    assert_eq!(
        when::write(Timestamp::from_micros(first)).unwrap(),
        "0001-01-01 00:00:00.000000"
    );
}

#[test]
fn a_user_is_taken_with_id_password_and_times() {
    let row = LegacyUser {
        is_active: false,
        last_login_at: Some(LATER.to_owned()),
        ..user("ivan_petrov")
    };
    let planned = plan_users(vec![row]);
    let [taken] = &planned.taken[..] else {
        panic!("{:?}", planned.rejected)
    };
    assert_eq!(taken.id.to_string(), id("ivan_petrov"));
    assert_eq!(taken.username.as_str(), "ivan_petrov");
    assert_eq!(taken.email.as_str(), "ivan_petrov@example.com");
    assert_eq!(taken.status, UserStatus::Inactive);
    assert_eq!(taken.password_hash.expose(), format!("$bcrypt-cut{HASH}"));
    assert_eq!((taken.created_at, taken.updated_at), (at(MADE), at(MADE)));
    assert_eq!(taken.last_login_at, Some(at(LATER)));
}

type Bend<T> = fn(&mut T);

#[rstest]
#[case(|user: &mut LegacyUser| user.id = "no id".to_owned(), Reason::Id)]
#[case(|user: &mut LegacyUser| user.id = user.id.to_uppercase().replace('-', ""), Reason::Id)]
#[case(|user: &mut LegacyUser| user.username = "ab".to_owned(), Reason::Name(NameFault::UsernameLength))]
#[case(|user: &mut LegacyUser| user.username = "a@b.example".to_owned(), Reason::Name(NameFault::UsernameCharacter))]
#[case(|user: &mut LegacyUser| user.email = "nobody".to_owned(), Reason::Name(NameFault::Email))]
#[case(|user: &mut LegacyUser| user.password_hash = PasswordHash::new("pencil".to_owned()), Reason::PasswordHash)]
#[case(|user: &mut LegacyUser| user.password_hash = PasswordHash::new(HASH[..59].to_owned()), Reason::PasswordHash)]
#[case(|user: &mut LegacyUser| user.password_hash = PasswordHash::new(ARGON2.to_owned()), Reason::PasswordHash)]
#[case(|user: &mut LegacyUser| user.password_hash = PasswordHash::new(MARKED.to_owned()), Reason::PasswordHash)]
#[case(|user: &mut LegacyUser| user.created_at = "soon".to_owned(), Reason::Time("created_at"))]
#[case(|user: &mut LegacyUser| user.updated_at = String::new(), Reason::Time("updated_at"))]
#[case(|user: &mut LegacyUser| user.last_login_at = Some("never".to_owned()), Reason::Time("last_login_at"))]
fn a_user_who_does_not_fit_is_named_with_the_reason(#[case] bend: Bend<LegacyUser>, #[case] reason: Reason) {
    let mut row = user("ivan_petrov");
    bend(&mut row);
    let (row_id, planned) = (row.id.clone(), plan_users(vec![row]));
    assert!(planned.taken.is_empty());
    let [rejected] = &planned.rejected[..] else {
        panic!()
    };
    assert_eq!((rejected.table, &rejected.row), (LegacyTable::Users, &row_id));
    assert_eq!(rejected.reason, reason);
}

#[test]
fn a_refused_row_is_told_by_its_table_its_id_and_the_reason() {
    let row = LegacyUser {
        created_at: "soon".to_owned(),
        ..user("ivan")
    };
    let planned = plan_users(vec![row]);
    let told = format!("users {}: created_at is no time", id("ivan"));
    assert_eq!(planned.rejected[0].to_string(), told);
}

#[test]
fn of_two_users_who_are_the_same_here_the_older_one_is_taken() {
    let younger = LegacyUser {
        created_at: LATER.to_owned(),
        ..user("younger")
    };
    let same_email = LegacyUser {
        email: "IVAN@Example.COM".to_owned(),
        ..younger.clone()
    };
    let same_name = LegacyUser {
        username: "ivan".to_owned(),
        ..younger.clone()
    };
    let same_id = LegacyUser {
        id: id("ivan"),
        ..younger
    };
    for (row, reason) in [
        (same_email, Reason::SameEmail),
        (same_name, Reason::SameUsername),
        (same_id, Reason::SameId),
    ] {
        let planned = plan_users(vec![row, user("ivan")]);
        assert_eq!(reasons(&planned), [reason]);
        assert_eq!(planned.taken[0].username.as_str(), "ivan");
    }
}

#[test]
fn a_refused_user_blocks_nobody() {
    let first = LegacyUser {
        id: "broken".to_owned(),
        ..user("ivan")
    };
    let planned = plan_users(vec![first, user("ivan")]);
    assert_eq!((planned.taken.len(), reasons(&planned)), (1, vec![Reason::Id]));
}

fn ours(change: impl FnOnce(&mut User)) -> User {
    let mut ours = plan_users(vec![user("ivan")]).taken.remove(0);
    change(&mut ours);
    ours
}

#[test]
fn a_user_follows_the_older_service_only_while_this_one_has_not_moved_on() {
    let same = ours(|_| {});
    let newer = ours(|user| user.updated_at = at(LATER));
    let used_there = ours(|user| {
        user.updated_at = at(LATER);
        user.last_login_at = Some(at(NOW));
    });
    let signed_in_here = ours(|user| user.last_login_at = Some(at(NOW)));
    let renewed = ours(|user| user.password_hash = PasswordHash::new("$argon2id$v=19$x".to_owned()));
    assert_eq!(reconcile_user(&same, &same), Fate::AlreadyThere);
    assert_eq!(reconcile_user(&newer, &same), Fate::AlreadyThere);
    assert_eq!(reconcile_user(&same, &newer), Fate::Updated);
    assert_eq!(
        reconcile_user(&signed_in_here, &newer),
        Fate::Kept(Reason::MovedOn)
    );
    assert_eq!(reconcile_user(&signed_in_here, &used_there), Fate::Updated);
    assert_eq!(reconcile_user(&renewed, &newer), Fate::Kept(Reason::MovedOn));
    assert_eq!(reconcile_user(&renewed, &same), Fate::AlreadyThere);
    let locked_here = ours(|user| user.status = UserStatus::Inactive);
    let left_there = ours(|user| {
        user.updated_at = at(LATER);
        user.status = UserStatus::Inactive;
    });
    assert_eq!(
        reconcile_user(&locked_here, &used_there),
        Fate::Kept(Reason::OffHere)
    );
    assert_eq!(reconcile_user(&same, &left_there), Fate::Updated);
    assert_eq!(reconcile_user(&locked_here, &left_there), Fate::Updated);
}

#[test]
fn a_client_is_taken_with_its_terms() {
    let planned = plan_clients(vec![client("some-client")], &SeededRandom::new(1));
    let taken = &planned.taken[0];
    let terms = &taken.client;
    assert_eq!(terms.id.to_string(), id("some-client"));
    assert_eq!(terms.allowed_scopes.to_string(), "api:read api:write");
    assert_eq!(
        terms.allowed_grants,
        BTreeSet::from([GrantType::Password, GrantType::RefreshToken])
    );
    assert_eq!(terms.policy.access_token_lifetime, Seconds::new(900));
    assert_eq!(terms.policy.refresh_token_lifetime, Seconds::new(315_360_000));
    assert_eq!(
        (terms.wire_profile, terms.status),
        (WireProfile::Rfc, ClientStatus::Active)
    );
    assert_eq!(terms.authentication, ClientAuthentication::Public);
    assert!(taken.secret.is_none());
}

#[test]
fn the_application_in_the_field_keeps_its_wire_profile() {
    let planned = plan_clients(vec![client("codelab-flutter-app")], &SeededRandom::new(1));
    assert_eq!(planned.taken[0].client.wire_profile, WireProfile::CodelabFlutter);
}

#[test]
fn each_confidential_client_gets_a_secret_of_its_own() {
    let confidential = |name| LegacyClient {
        is_confidential: true,
        client_secret_hash: Some(PasswordHash::new(HASH.to_owned())),
        ..client(name)
    };
    let rows = vec![confidential("codelab-internal"), confidential("other")];
    let planned = plan_clients(rows, &SeededRandom::new(1));
    let secrets: Vec<_> = planned
        .taken
        .iter()
        .map(|taken| taken.secret.as_ref().unwrap())
        .collect();
    assert_ne!(secrets[0].expose(), secrets[1].expose());
    for taken in &planned.taken {
        let ClientAuthentication::Confidential(hash) = &taken.client.authentication else {
            panic!()
        };
        assert!(hash.matches(taken.secret.as_ref().unwrap()));
    }
}

#[test]
fn a_grant_that_is_not_known_here_is_left_out_and_told() {
    let row = LegacyClient {
        allowed_grant_types: Some(vec!["password".to_owned(), "client_credentials".to_owned()]),
        ..client("some-client")
    };
    let planned = plan_clients(vec![row], &SeededRandom::new(1));
    assert_eq!(planned.taken[0].left_out, ["client_credentials"]);
    assert_eq!(
        planned.taken[0].client.allowed_grants,
        [GrantType::Password].into()
    );
}

#[rstest]
#[case(|client: &mut LegacyClient| client.id = "1".to_owned(), Reason::Id)]
#[case(|client: &mut LegacyClient| client.allowed_grant_types = None, Reason::Grants)]
#[case(|client: &mut LegacyClient| client.allowed_grant_types = Some(vec!["implicit".to_owned()]), Reason::NoGrant)]
#[case(|client: &mut LegacyClient| client.access_token_lifetime = 0, Reason::Lifetime)]
#[case(|client: &mut LegacyClient| client.refresh_token_lifetime = -1, Reason::Lifetime)]
#[case(|client: &mut LegacyClient| client.created_at = "x".to_owned(), Reason::Time("created_at"))]
#[case(|client: &mut LegacyClient| client.updated_at = "x".to_owned(), Reason::Time("updated_at"))]
fn a_client_that_does_not_fit_is_named_with_the_reason(
    #[case] bend: Bend<LegacyClient>,
    #[case] reason: Reason,
) {
    let mut row = client("some-client");
    bend(&mut row);
    let planned = plan_clients(vec![row], &SeededRandom::new(1));
    assert_eq!((planned.taken.len(), reasons(&planned)), (0, vec![reason]));
}

#[rstest]
#[case(|client: &mut LegacyClient| client.client_id = "x".to_owned())]
#[case(|client: &mut LegacyClient| client.allowed_scopes = "api:\"read".to_owned())]
fn a_client_with_names_that_are_none_here_is_refused(#[case] bend: Bend<LegacyClient>) {
    let mut row = client("some-client");
    bend(&mut row);
    let planned = plan_clients(vec![row], &SeededRandom::new(1));
    assert!(matches!(
        reasons(&planned)[..],
        [Reason::ClientId(_) | Reason::Scope(_)]
    ));
}

#[test]
fn of_two_clients_that_are_the_same_here_the_older_one_is_taken() {
    let same_id = LegacyClient {
        id: id("some-client"),
        created_at: LATER.to_owned(),
        ..client("another")
    };
    let same_client_id = LegacyClient {
        client_id: "some-client".to_owned(),
        created_at: LATER.to_owned(),
        ..client("another")
    };
    for (row, reason) in [(same_id, Reason::SameId), (same_client_id, Reason::SameClientId)] {
        let planned = plan_clients(vec![row, client("some-client")], &SeededRandom::new(1));
        assert_eq!((planned.taken.len(), reasons(&planned)), (1, vec![reason]));
    }
}

#[test]
fn a_client_that_was_made_here_stays_and_one_that_was_taken_follows() {
    let theirs = |change: Bend<LegacyClient>| {
        let mut row = client("some-client");
        change(&mut row);
        let planned = plan_clients(vec![row], &SeededRandom::new(1));
        planned.taken[0].client.clone()
    };
    let taken = theirs(|_| {});
    let changed = theirs(|row| row.updated_at = LATER.to_owned());
    let made_here = theirs(|row| row.id = id("made here"));
    assert_eq!(reconcile_client(&taken, &taken), Fate::AlreadyThere);
    assert_eq!(reconcile_client(&taken, &changed), Fate::Updated);
    assert_eq!(reconcile_client(&changed, &taken), Fate::AlreadyThere);
    assert_eq!(reconcile_client(&made_here, &made_here), Fate::AlreadyThere);
    assert_eq!(reconcile_client(&made_here, &changed), Fate::MadeHere(None));
    let narrowed = theirs(|row| {
        row.allowed_scopes = "api:read".to_owned();
        row.is_active = false;
    });
    let differs = Reason::Differs {
        client_id: taken.client_id.clone(),
        what: "scopes, whether it is active".to_owned(),
    };
    assert_eq!(
        reconcile_client(&made_here, &narrowed),
        Fate::MadeHere(Some(differs.clone()))
    );
    assert_eq!(reconcile_client(&taken, &narrowed), Fate::Kept(differs));
    let disabled = theirs(|row| row.is_active = false);
    let left_off_there = theirs(|row| {
        row.updated_at = LATER.to_owned();
        row.is_active = false;
    });
    assert_eq!(reconcile_client(&disabled, &changed), Fate::Kept(Reason::OffHere));
    assert_eq!(reconcile_client(&taken, &left_off_there), Fate::Updated);
    assert_eq!(reconcile_client(&disabled, &left_off_there), Fate::Updated);
}

#[test]
fn a_chain_is_built_by_its_parents_and_its_last_token_is_the_head() {
    let rows = [
        token("c", Some("b")),
        revoked(token("a", None)),
        revoked(token("b", Some("a"))),
    ];
    let planned = chains(&rows);
    assert_eq!(reasons(&planned), []);
    let [chain] = &planned.taken[..] else { panic!() };
    assert_eq!(names(chain, &["a", "b", "c"]), ["a", "b", "c"]);
    assert_eq!(chain.state, SessionState::Live);
    assert_eq!(chain.created_at(), at(&rows[1].created_at));
    assert_eq!(chain.head.row, rows[0].id);
    assert!(!chain.is_branch);
    let ids: Vec<_> = chain.tokens().map(|token| token.token.id).collect();
    assert!(ids.is_sorted(), "keys sort by time");
}

#[test]
fn a_missing_parent_begins_the_chain() {
    let planned = chains(&[token("b", Some("gone"))]);
    assert_eq!(planned.taken[0].state, SessionState::Live);
    assert!(planned.taken[0].history.is_empty());
}

#[test]
fn a_revoked_leaf_is_an_ended_session() {
    let planned = chains(&[revoked(token("a", None))]);
    let ended = SessionState::Revoked {
        at: at("2026-11-22 19:00:00.5"),
        reason: RevocationReason::Requested,
    };
    assert_eq!(planned.taken[0].state, ended);
    let undated = LegacyToken {
        revoked_at: None,
        ..revoked(token("a", None))
    };
    let SessionState::Revoked { at: since, .. } = chains(std::slice::from_ref(&undated)).taken[0].state
    else {
        panic!()
    };
    assert_eq!(since, at(&undated.created_at));
}

#[test]
fn a_tree_with_several_leaves_is_a_session_for_each_and_the_trunk_belongs_to_the_newest_live_one() {
    let rows = [
        revoked(token("a", None)),
        token("b", Some("a")),
        token("c", Some("a")),
        revoked(token("d", Some("a"))),
    ];
    let planned = chains(&rows);
    let seen: Vec<_> = planned
        .taken
        .iter()
        .map(|chain| (names(chain, &["a", "b", "c", "d"]), chain.is_branch))
        .collect();
    assert_eq!(
        seen,
        [(vec!["a", "c"], false), (vec!["b"], true), (vec!["d"], true)]
    );
    let live = planned.taken.iter().map(|chain| chain.is_live(at(NOW)));
    assert_eq!(live.collect::<Vec<_>>(), [true, true, false]);
}

#[rstest]
#[case::hours_ago("2026-11-22 20:00:00")]
#[case::right_now(NOW)]
fn an_expired_leaf_gets_no_trunk_while_another_lives(#[case] expiry: &str) {
    let expired = LegacyToken {
        expires_at: expiry.to_owned(),
        ..token("c", Some("a"))
    };
    let planned = chains(&[token("a", None), token("b", Some("a")), expired]);
    assert_eq!(names(&planned.taken[0], &["a", "b", "c"]), ["a", "b"]);
    assert_eq!(planned.taken[1].state, SessionState::Live);
    assert!(!planned.taken[1].is_live(at(NOW)));
}

#[test]
fn a_token_whose_successor_can_not_be_taken_does_not_come_back_to_life() {
    let broken_successors: [Bend<LegacyToken>; 6] = [
        |row| row.jti_hash = "x".to_owned(),
        |row| row.created_at = "x".to_owned(),
        |row| row.client_id = "unknown".to_owned(),
        |row| row.expires_at = "2026-11-01 00:00:00".to_owned(),
        |row| row.client_id = "other".to_owned(),
        |row| row.scope = String::new(),
    ];
    for bend in broken_successors {
        let mut successor = token("b", Some("a"));
        bend(&mut successor);
        let planned = chains(&[token("a", None), successor]);
        let old = planned
            .taken
            .iter()
            .find(|chain| chain.head.token.jti_hash == jti_hash("a"));
        assert!(matches!(old.unwrap().state, SessionState::Revoked { .. }));
    }
}

#[test]
fn a_circle_of_parents_is_refused_and_what_hangs_on_it_begins_anew() {
    let rows = [
        token("a", Some("b")),
        token("b", Some("a")),
        token("c", Some("b")),
        token("s", Some("s")),
    ];
    let planned = chains(&rows);
    assert_eq!(reasons(&planned), vec![Reason::Cycle; 3]);
    assert_eq!(names(&planned.taken[0], &["c"]), ["c"]);
}

#[test]
fn a_chain_never_goes_from_one_client_to_another() {
    let other = LegacyToken {
        client_id: "other".to_owned(),
        ..token("b", Some("a"))
    };
    let planned = chains(&[token("a", None), other]);
    assert_eq!(planned.taken.len(), 2);
    assert!(planned.taken.iter().all(|chain| chain.history.is_empty()));
}

#[test]
fn tokens_are_kept_for_as_long_as_expired_ones_are_here() {
    let expiring = |expires_at: &str| LegacyToken {
        expires_at: expires_at.to_owned(),
        ..token("a", None)
    };
    assert_eq!(
        reasons(&chains(&[expiring("2026-11-16 00:00:00")])),
        [Reason::Expired]
    );
    assert_eq!(chains(&[expiring("2026-11-16 00:00:00.000001")]).taken.len(), 1);
}

#[rstest]
#[case(|row: &mut LegacyToken| row.id = "x".to_owned(), Reason::Id)]
#[case(|row: &mut LegacyToken| row.jti_hash = jti("a").to_uppercase(), Reason::Hash("jti_hash"))]
#[case(|row: &mut LegacyToken| row.jti_hash.truncate(62), Reason::Hash("jti_hash"))]
#[case(|row: &mut LegacyToken| row.parent_jti_hash = Some("x".repeat(64)), Reason::Hash("parent_jti_hash"))]
#[case(|row: &mut LegacyToken| row.user_id = id("nobody"), Reason::UnknownUser)]
#[case(|row: &mut LegacyToken| row.user_id = "x".to_owned(), Reason::UnknownUser)]
#[case(|row: &mut LegacyToken| row.client_id = "nothing".to_owned(), Reason::UnknownClient)]
#[case(|row: &mut LegacyToken| row.scope = " ".to_owned(), Reason::NoScope)]
#[case(|row: &mut LegacyToken| row.expires_at = "x".to_owned(), Reason::Time("expires_at"))]
#[case(|row: &mut LegacyToken| row.created_at = "x".to_owned(), Reason::Time("created_at"))]
#[case(|row: &mut LegacyToken| { row.revoked = true; row.revoked_at = Some("x".to_owned()) }, Reason::Time("revoked_at"))]
fn a_token_that_does_not_fit_is_named_with_the_reason(
    #[case] bend: Bend<LegacyToken>,
    #[case] reason: Reason,
) {
    let mut row = token("a", None);
    bend(&mut row);
    let planned = chains(std::slice::from_ref(&row));
    assert_eq!((planned.taken.len(), reasons(&planned)), (0, vec![reason]));
    assert_eq!(planned.rejected[0].row, row.id);
}

#[test]
fn of_two_rows_of_one_token_the_revoked_one_counts() {
    let again = LegacyToken {
        id: id("again"),
        created_at: LATER.to_owned(),
        ..revoked(token("a", None))
    };
    let planned = chains(&[token("a", None), again]);
    assert_eq!(reasons(&planned), [Reason::SameToken]);
    assert!(matches!(planned.taken[0].state, SessionState::Revoked { .. }));
}

#[test]
fn tokens_of_an_inactive_user_are_taken_as_ended() {
    let mut owners = owners();
    owners
        .users
        .values_mut()
        .for_each(|status| *status = UserStatus::Inactive);
    let planned = plan_chains(&[token("a", None)], &owners, terms());
    let ended = SessionState::Revoked {
        at: at(NOW),
        reason: RevocationReason::UserDeactivated,
    };
    assert_eq!(planned.taken[0].state, ended);
}

#[test]
fn a_chain_dies_with_its_user_and_its_client() {
    let (now, live) = (at(NOW), SessionState::Live);
    let ended = |reason| SessionState::Revoked { at: now, reason };
    assert_eq!(Ground::Firm.state(live, now), live);
    assert_eq!(
        Ground::UserInactive.state(live, now),
        ended(RevocationReason::UserDeactivated)
    );
    assert_eq!(
        Ground::ClientDisabled.state(live, now),
        ended(RevocationReason::ClientDisabled)
    );
    let before = SessionState::Revoked {
        at: at(MADE),
        reason: RevocationReason::Requested,
    };
    assert_eq!(Ground::UserInactive.state(before, now), before);
    let (user, client) = (UserStatus::Active, ClientStatus::Active);
    assert_eq!(Ground::of(user, client), Ground::Firm);
    assert_eq!(Ground::of(user, ClientStatus::Disabled), Ground::ClientDisabled);
    assert_eq!(Ground::of(UserStatus::Inactive, client), Ground::UserInactive);
    assert_eq!(
        Ground::of(UserStatus::Inactive, ClientStatus::Disabled),
        Ground::UserInactive
    );
}

fn event() -> LegacyAudit {
    LegacyAudit {
        id: id("event"),
        user_id: Some(id("ivan")),
        client_id: Some("app".to_owned()),
        event_type: "login_success".to_owned(),
        event_data: "{}".to_owned(),
        ip_address: Some("127.0.0.1".to_owned()),
        user_agent: Some("a\0b".to_owned()),
        success: true,
        error_message: None,
        created_at: MADE.to_owned(),
        garbled: None,
    }
}

#[test]
fn a_row_of_the_audit_trail_is_kept_as_it_was_written() {
    let planned = plan_trail(&[event()]);
    let entry = &planned.taken[0];
    assert_eq!((entry.at, entry.event_type.as_str()), (at(MADE), "login_success"));
    assert_eq!(entry.correlation_id, id("event"));
    assert_eq!(entry.user_agent.as_deref(), Some("a\u{fffd}b"));
    assert_eq!(entry.user_id.unwrap().to_string(), id("ivan"));
}

#[test]
fn keys_of_the_audit_trail_sort_by_time_and_are_the_same_each_time() {
    let later = LegacyAudit {
        id: id("0"),
        created_at: LATER.to_owned(),
        ..event()
    };
    let first = plan_trail(&[event(), later.clone()]);
    let again = plan_trail(&[later, event()]);
    assert!(first.taken[0].id < first.taken[1].id);
    assert_eq!(first.taken[0], again.taken[1]);
}

#[rstest]
#[case(|row: &mut LegacyAudit| row.id = "x".to_owned(), Reason::Id)]
#[case(|row: &mut LegacyAudit| row.user_id = Some("x".to_owned()), Reason::Id)]
#[case(|row: &mut LegacyAudit| row.event_type = String::new(), Reason::NoEvent)]
#[case(|row: &mut LegacyAudit| row.garbled = Some("event_data"), Reason::NoText("event_data"))]
#[case(|row: &mut LegacyAudit| row.created_at = "x".to_owned(), Reason::Time("created_at"))]
fn a_row_of_the_audit_trail_that_does_not_fit_is_refused(
    #[case] bend: Bend<LegacyAudit>,
    #[case] reason: Reason,
) {
    let mut row = event();
    bend(&mut row);
    assert_eq!(reasons(&plan_trail(&[row])), [reason]);
}

#[test]
fn an_event_is_taken_once() {
    assert_eq!(reasons(&plan_trail(&[event(), event()])), [Reason::SameId]);
}

/// Any soup of tokens: few names, so that parents are often there, in circles, or named by several.
fn soup() -> impl Strategy<Value = Vec<LegacyToken>> {
    let row = (
        0_u8..12,
        prop::option::weighted(0.7, 0_u8..12),
        prop::bool::weighted(0.3),
        0_u8..20,
        0_u32..3,
    );
    let rows = prop::collection::vec(row, 0..16);
    rows.prop_map(|rows| {
        rows.into_iter()
            .enumerate()
            .map(|(place, row)| ingredient(place, row))
            .collect()
    })
}

fn ingredient(
    place: usize,
    (own, parent, is_revoked, flavour, day): (u8, Option<u8>, bool, u8, u32),
) -> LegacyToken {
    let mut row = token(
        &format!("t{own}"),
        parent.map(|parent| format!("t{parent}")).as_deref(),
    );
    row.id = id(&format!("row {place}"));
    row.created_at = format!("2026-11-1{day} 00:00:00");
    if is_revoked {
        row = revoked(row);
    }
    match flavour {
        0 => row.jti_hash = String::from("?"),
        1 => row.user_id = id("nobody"),
        2 => row.client_id = String::from("other"),
        3 => row.expires_at = String::from("2026-11-01 00:00:00"),
        4 => row.expires_at = String::from("2026-11-20 00:00:00"),
        5 => row.scope = String::from("\""),
        6 => row.id = String::from("?"),
        _ => {}
    }
    row
}

proptest! {
    #[test]
    fn a_time_that_is_written_reads_the_same(micros in -62_135_596_800_000_000_i64..=253_402_300_799_999_999) {
        let moment = Timestamp::from_micros(micros);
        prop_assert_eq!(when::parse(&when::write(moment).unwrap()), Some(moment));
    }

    #[test]
    fn no_text_breaks_the_reading_of_times(text in "[-0-9:. TZ+\u{e9}]{0,32}") {
        let _ = when::parse(&text);
    }

    #[test]
    fn each_token_is_taken_or_refused_exactly_once(rows in soup()) {
        let planned = chains(&rows);
        let taken = planned.taken.iter().flat_map(|chain| chain.tokens().map(|token| token.row.clone()));
        let mut seen: Vec<_> = taken.chain(planned.rejected.iter().map(|rejected| rejected.row.clone())).collect();
        let mut given: Vec<_> = rows.iter().map(|row| row.id.clone()).collect();
        seen.sort();
        given.sort();
        prop_assert_eq!(seen, given);
        let hashes: Vec<_> = planned.taken.iter().flat_map(PlannedChain::tokens).map(|token| token.token.jti_hash).collect();
        prop_assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        let sessions: HashSet<_> = planned.taken.iter().map(|chain| chain.session_id).collect();
        prop_assert_eq!(sessions.len(), planned.taken.len());
    }

    #[test]
    fn only_what_was_neither_revoked_nor_consumed_is_a_live_head(rows in soup()) {
        let consumed: HashSet<_> = rows.iter().filter_map(|row| row.parent_jti_hash.clone()).collect();
        let revoked: HashSet<_> = rows.iter().filter(|row| row.revoked).map(|row| row.id.clone()).collect();
        let row_of: HashMap<_, _> = rows.iter().map(|row| (row.id.clone(), row)).collect();
        let planned = chains(&rows);
        let mut live_heads = HashSet::new();
        for chain in planned.taken.iter().filter(|chain| chain.state == SessionState::Live) {
            let head = row_of[&chain.head.row];
            prop_assert!(!revoked.contains(&head.id));
            prop_assert!(!consumed.contains(&head.jti_hash));
            live_heads.insert(head.id.clone());
        }
        // The other way round: whoever holds a live token keeps it.
        let refused: HashSet<_> = planned.rejected.iter().map(|rejected| rejected.row.clone()).collect();
        for row in &rows {
            let is_live = !row.revoked && !consumed.contains(&row.jti_hash) && !refused.contains(&row.id);
            prop_assert_eq!(is_live, live_heads.contains(&row.id), "{:?}", row);
        }
    }

    #[test]
    fn the_order_of_rows_changes_nothing(rows in soup().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))) {
        let (rows, shuffled) = rows;
        // Rows without an id of their own can't be told apart.
        let known = |rows: &[LegacyToken]| rows.iter().filter(|row| row.id != "?").cloned().collect::<Vec<_>>();
        let (one, other) = (chains(&known(&rows)), chains(&known(&shuffled)));
        prop_assert_eq!(one.taken, other.taken);
    }

    #[test]
    fn each_user_is_taken_or_refused_exactly_once(
        rows in prop::collection::vec(("[a-d]{2,4}", "[A-Da-d]{1,2}@x", 0_u8..6, 0_u8..3), 0..12)
    ) {
        let rows: Vec<_> = rows.into_iter().map(|(name, email, own, day)| LegacyUser {
            id: id(&format!("user {own}")),
            email,
            created_at: format!("2026-11-1{day} 00:00:00"),
            ..user(&name)
        }).collect();
        let mut given: Vec<_> = rows.iter().map(|row| row.id.clone()).collect();
        let planned = plan_users(rows);
        let taken = planned.taken.iter().map(|user| user.id.to_string());
        let mut seen: Vec<_> = taken.chain(planned.rejected.iter().map(|rejected| rejected.row.clone())).collect();
        seen.sort();
        given.sort();
        prop_assert_eq!(seen, given);
        let addresses: HashSet<_> = planned.taken.iter().map(|user| user.email.folded()).collect();
        let names: HashSet<_> = planned.taken.iter().map(|user| user.username.as_str()).collect();
        prop_assert_eq!((addresses.len(), names.len()), (planned.taken.len(), planned.taken.len()));
    }
}
