//! Ours beside the programs that a user would pick instead: `gossip-bench peers`.

mod build;
pub mod cluster;
pub mod comparison;
pub mod contender;
pub mod foca;
pub mod foca_cluster;
pub mod measure;
pub mod ours;
pub mod ours_cluster;
pub mod plot;
pub mod report;
#[cfg(test)]
mod tests;
pub mod work;

use std::path::PathBuf;

use comparison::{Comparison, LeftOut};
use contender::Contender;
use measure::Wanted;

use crate::document::{at, read, write};

/// What `gossip-bench peers` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Keep all figures in this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the rows of one node over the number of members, as SVG.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Replace the tables in this document.
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Measure nothing: take the figures from a file that --json wrote.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "members", "cluster", "repetitions", "rows"])]
    pub read: Option<PathBuf>,
    /// Only these; ours is what the others are compared with.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub only: Vec<Contender>,
    /// What is measured.
    #[command(flatten)]
    pub wanted: Wanted,
}

/// Runs the contenders and writes what is wanted. Returns the tables.
///
/// # Errors
/// A file cannot be read or written; or ours, which all others are compared with, failed.
pub fn run(options: &Options) -> Result<String, String> {
    if let Some(path) = &options.write {
        comparison::PLACE.check(path)?;
    }
    let comparison = match &options.read {
        Some(path) => Comparison::from_json(&read(path)?).map_err(|error| at(path, &error))?,
        None => measured(options)?,
    };
    let tables = comparison.markdown();
    if let Some(path) = &options.json {
        write(path, &comparison.to_json())?;
    }
    if let Some(path) = &options.svg {
        write(path, &plot::svg(&comparison).map_err(|error| at(path, &error))?)?;
    }
    if let Some(path) = &options.write {
        comparison::PLACE.write(path, &tables)?;
    }
    Ok(tables)
}

fn measured(options: &Options) -> Result<Comparison, String> {
    let mut comparison = Comparison::default();
    for contender in Contender::ALL {
        if !(options.only.is_empty() || options.only.contains(&contender)) {
            continue;
        }
        match contender.run(&options.wanted) {
            Ok(report) => comparison.contenders.push(report),
            Err(error) if contender == Contender::Ours => return Err(error),
            Err(why) => {
                eprintln!("{}: left out: {why}", contender.name());
                comparison.left_out.push(LeftOut { name: contender.name().into(), why });
            }
        }
    }
    Ok(comparison)
}
