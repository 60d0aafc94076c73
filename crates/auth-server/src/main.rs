//! The program `auth-service`: hands the command line to the library.

fn main() {}
