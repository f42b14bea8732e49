//! `gossip rtt`

use clap::Args;

use super::connection::Connection;
use super::{AgentAddress, Failure, say};
use crate::rpc::{Command, Coordinate, CoordinateRequest, CoordinateResponse, Stats};

#[derive(Args, Clone, Debug)]
pub(crate) struct RttArgs {
    #[command(flatten)]
    agent: AgentAddress,
    /// Name of a member
    node1: String,
    /// Name of the other [default: the agent's own node]
    node2: Option<String>,
}

pub(super) async fn run(arguments: RttArgs) -> Result<(), Failure> {
    let RttArgs { agent, node1, node2 } = arguments;
    let mut connection = Connection::open(&agent).await?;
    let node2 = match node2 {
        Some(name) => name,
        None => own_name(&mut connection).await?,
    };
    let one = coordinate(&mut connection, &node1).await?;
    let other = coordinate(&mut connection, &node2).await?;
    let millis = distance(&one, &other)? * 1000.0;
    say!("Estimated {node1} <-> {node2} rtt: {millis:.3} ms")
}

async fn own_name(connection: &mut Connection) -> Result<String, Failure> {
    let stats: Stats =
        connection.ask(Command::Stats, &()).await.map_err(|failure| failure.during("querying agent"))?;
    let name = stats.get("agent").and_then(|agent| agent.get("name"));
    name.map(|name| name.to_string_lossy())
        .ok_or_else(|| Failure::new("the agent does not tell its name; give both names"))
}

async fn coordinate(connection: &mut Connection, node: &str) -> Result<Coordinate, Failure> {
    let request = CoordinateRequest { node: node.into() };
    let CoordinateResponse { coordinate, ok } = connection
        .ask(Command::GetCoordinate, &request)
        .await
        .map_err(|failure| failure.during("getting coordinates"))?;
    if ok {
        Ok(coordinate)
    } else {
        Err(Failure::new(format!("Could not find a coordinate for node {node:?}")))
    }
}

/// In seconds (serf.md 6.2).
fn distance(one: &Coordinate, other: &Coordinate) -> Result<f64, Failure> {
    let (a, b) = (one.vec.as_deref().unwrap_or_default(), other.vec.as_deref().unwrap_or_default());
    if a.len() != b.len() {
        return Err(Failure::new("the coordinates have different dimensions; the members differ in version"));
    }
    let square: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    let raw = square.sqrt() + one.height + other.height;
    let adjusted = raw + one.adjustment + other.adjustment;
    Ok(if adjusted > 0.0 { adjusted } else { raw })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_the_one_of_serf() {
        let at = |x: f64, adjustment| Coordinate {
            vec: Some(vec![x, 2.0, 3.0]),
            height: 0.25,
            adjustment,
            error: 1.0,
        };
        assert_eq!(distance(&at(1.0, 0.0), &at(5.0, 0.0)).unwrap(), 4.5);
        assert_eq!(distance(&at(1.0, 0.5), &at(5.0, 0.25)).unwrap(), 5.25);
        assert_eq!(distance(&at(1.0, -3.0), &at(5.0, -2.0)).unwrap(), 4.5, "not below zero");
        assert!(distance(&at(1.0, 0.0), &Coordinate::default()).is_err());
    }
}
