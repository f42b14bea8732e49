//! `gossip rtt`

use clap::Args;

use transport_tokio::gossip_proto::coordinate::{self, distance};
use transport_tokio::gossip_proto::wire::serf::Vector;

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
    let one = position(&mut connection, &node1).await?;
    let other = position(&mut connection, &node2).await?;
    let Some(rtt) = distance(&one, &other) else {
        return Err(Failure::new(
            "the two coordinates do not belong to one space; the members differ in version",
        ));
    };
    let millis = rtt.as_secs_f64() * 1000.0;
    say!("Estimated {node1} <-> {node2} rtt: {millis:.3} ms")
}

async fn own_name(connection: &mut Connection) -> Result<String, Failure> {
    let stats: Stats =
        connection.ask(Command::Stats, &()).await.map_err(|failure| failure.during("querying agent"))?;
    let name = stats.get("agent").and_then(|agent| agent.get("name"));
    name.map(|name| name.to_string_lossy())
        .ok_or_else(|| Failure::new("the agent does not tell its name; give both names"))
}

async fn position(connection: &mut Connection, node: &str) -> Result<coordinate::Coordinate, Failure> {
    let request = CoordinateRequest { node: node.into() };
    let CoordinateResponse { coordinate, ok } = connection
        .ask(Command::GetCoordinate, &request)
        .await
        .map_err(|failure| failure.during("getting coordinates"))?;
    if !ok {
        return Err(Failure::new(format!("Could not find a coordinate for node {node:?}")));
    }
    let Coordinate { adjustment, error, height, vec } = coordinate;
    let vec = Vector(vec.unwrap_or_default().into_iter().collect());
    Ok(coordinate::Coordinate { vec, error, adjustment, height })
}
