//! What a role of PostgreSQL's must be allowed, by the commands of the page that says so.

use auth_domain::ports::StoreReadiness;
use auth_domain::session::Rotated;
use auth_storage::{DatabaseUrl, Migrations, OpenError, StoreOptions};
use auth_testkit::server::{Database, Durability, PostgresServer};

use crate::file::stage_over;
use crate::postgres::Shared;

const PAGE: &str = include_str!("../../../../docs/POSTGRESQL.md");

/// The block of SQL of the page below a title.
fn sql_below(title: &str) -> &'static str {
    let (_, below) = PAGE.split_once(title).expect("the page has the title");
    let (_, block) = below.split_once("```sql\n").expect("there is SQL below it");
    let (sql, _) = block.split_once("```").expect("the block ends");
    sql
}

/// A server of its own, since roles belong to servers; and a database in it, owned by `auth` as the page makes it.
struct Scene {
    server: PostgresServer,
    database: Database,
}

impl Scene {
    fn new() -> Self {
        let server = PostgresServer::start(Durability::Fast);
        server
            .tell("CREATE ROLE auth LOGIN PASSWORD 'PASSWORD'")
            .expect("a new role");
        let database = server.database();
        let name = name(&database.url());
        server
            .tell(&format!("ALTER DATABASE {name} OWNER TO auth"))
            .expect("an administrator may do so");
        Self { server, database }
    }

    /// The database as a role reaches it.
    fn url(&self, role: &str) -> DatabaseUrl {
        let url = self.database.url();
        let (_, place) = url.rsplit_once('@').expect("a URL with a login");
        DatabaseUrl::parse(&format!("postgresql://{role}:PASSWORD@{place}")).expect("a good URL")
    }

    /// Makes the role that may use tables and make none, as the page does.
    fn admit_user_of_tables(&self) {
        let sql =
            sql_below("## A service that owns nothing").replace("DATABASE auth", &self.quoted_database());
        self.database.tell(&sql).expect("the page's SQL is good");
    }

    fn quoted_database(&self) -> String {
        format!("DATABASE {}", name(&self.database.url()))
    }
}

fn name(url: &str) -> String {
    let (_, name) = url.rsplit_once('/').expect("a URL names its database");
    name.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_use_tables_can_serve_a_migrated_database() {
    let scene = Scene::new();
    scene.admit_user_of_tables();
    let applied = Migrations::of(&scene.url("auth")).up().expect("the owner may");
    assert!(!applied.is_empty());

    let url = scene.url("auth_app");
    let pending = Migrations::of(&url)
        .up()
        .expect("nothing is pending, so nothing is to be made");
    assert!(pending.is_empty());
    let store = auth_storage::open(&url, None, StoreOptions::default()).expect("the database opens");
    assert_eq!(
        store.probe.check().await.expect("readable"),
        StoreReadiness::Ready
    );
    let stage = stage_over(&store, std::sync::Arc::new(Shared::of(scene.database)));
    let (_, _, id) = stage.signed_in().await;
    assert_eq!(stage.rotate(id, "s/0", "second", 1).await, Rotated::Rotated);
    store.shutdown();
    drop(scene.server);
}

#[test]
fn who_may_make_no_tables_is_told_so_where_they_are_missing() {
    let scene = Scene::new();
    scene.admit_user_of_tables();
    let refused = Migrations::of(&scene.url("auth_app"))
        .up()
        .expect_err("it may make no tables");
    assert!(
        matches!(&refused, OpenError::MayNotCreate { user, schema, .. } if user == "auth_app" && schema == "public"),
        "{refused:?}"
    );
    assert!(!refused.to_string().contains("PASSWORD"));
}
