//! The program `auth-service`: hands the command line to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    auth_server::cli::main()
}
