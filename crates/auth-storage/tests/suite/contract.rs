//! The rules that every store keeps, on SQLite.

auth_testkit::store_contract!(crate::file::stage());
