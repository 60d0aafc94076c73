//! The command line as people and scripts meet it: the built program, in a folder of its own.

mod administration;
mod desk;
mod first_start;
mod settings;
mod tokens_and_keys;
