//! The program `gossip`; see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    gossip_agent::run()
}
