//! Tells cargo that the embedded migrations are part of the crate: `embed_migrations!` does not.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations/postgres");
    println!("cargo::rerun-if-changed=../../migrations/sqlite");
}
