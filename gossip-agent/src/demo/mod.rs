//! `gossip demo`: a cluster in one process lives through a day, and tells what it sees.

mod crash;
mod screen;
mod stage;
mod story;
mod table;

use core::time::Duration;
use std::process::ExitCode;

use transport_tokio::gossip_tls::Authority;

use crate::cli::{self, DemoArgs, DemoTransport};
use crate::signals::Signals;
use screen::Screen;
use stage::{Network, Stage};

/// Plays the demo to its end, or to the first signal.
pub(crate) fn run(arguments: &DemoArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(play(arguments));
    runtime.shutdown_background();
    code
}

async fn play(arguments: &DemoArgs) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return cli::fail(&format!("cannot listen to signals: {error}")),
    };
    let pace = Pace(arguments.speed);
    let network = match arguments.transport {
        DemoTransport::Udp => Network::Udp,
        DemoTransport::Quic => match Authority::new("gossip demo") {
            Ok(authority) => Network::Quic(Box::new(authority)),
            Err(error) => return cli::fail(&error),
        },
    };
    let mut stage = Stage::new(arguments.nodes.into(), pace, network);
    let mut screen = Screen::new(stage.names());
    let told = tokio::select! {
        told = story::tell(&mut stage, &mut screen) => Some(told),
        _ = signals.next_end() => None,
    };
    match told {
        Some(Ok(numbers)) => {
            let traffic = stage.close().await;
            table::print(&numbers, &traffic);
            ExitCode::SUCCESS
        }
        Some(Err(problem)) => {
            stage.close().await;
            cli::fail(&problem)
        }
        None => {
            screen.interrupted();
            tokio::select! {
                () = stage.leave_all() => {}
                _ = signals.next_end() => return ExitCode::FAILURE,
            }
            stage.close().await;
            screen.all_left();
            ExitCode::SUCCESS
        }
    }
}

/// How fast time goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace(f64);

impl Pace {
    /// So many milliseconds of the story in real time.
    fn millis(self, millis: u64) -> Duration {
        Duration::from_millis(millis).div_f64(self.0)
    }
}
