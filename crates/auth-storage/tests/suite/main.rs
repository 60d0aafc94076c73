//! The store on each database: the ports' contracts, what is durable, and what happens when the disk or a lock says no.
#![expect(clippy::expect_used, reason = "a test stops at what it did not expect")]

mod backups;
mod company;
mod contract;
mod durability;
mod file;
mod foreign;
mod legacy;
mod migrations;
mod outages;
mod place;
mod postgres;
mod rights;
mod secrecy;
mod tls;
mod transfer;
