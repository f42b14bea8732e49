//! `gossip keygen`: a key for `--encrypt`.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cli;

/// Prints 32 bytes from the operating system, in base64.
pub(crate) fn run() -> ExitCode {
    let mut key = [0; 32];
    if let Err(error) = getrandom::fill(&mut key) {
        return cli::fail(&format!("the operating system gives no random numbers: {error}"));
    }
    cli::print(format_args!("{}", STANDARD.encode(key)));
    ExitCode::SUCCESS
}
