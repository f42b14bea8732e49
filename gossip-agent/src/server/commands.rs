//! The commands that are answered at once.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use transport_tokio::gossip_proto::{Bytes, CommandError, Expression, QueryParams};
use transport_tokio::{Answers, Error, MemberInfo, Name};

use super::asked::Asked;
use super::session::{Farewell, decode};
use super::{Shared, figures, keys, records};
use crate::joining;
use crate::rpc::{
    Command, Coordinate, CoordinateRequest, CoordinateResponse, EventRequest, ForceLeaveRequest, JoinRequest,
    JoinResponse, KeyRequest, MembersFilteredRequest, MembersResponse, QueryRequest, RespondRequest,
    TagsRequest, Text, Value,
};

pub(super) struct Commands(pub(super) Arc<Shared>);

/// The error, empty if there is none, and the encoded body.
pub(super) type Answer = (String, Vec<u8>);

impl Commands {
    /// Runs a command that is over when it is answered.
    pub(super) async fn run(&self, command: Command, body: &[u8]) -> Result<Answer, Farewell> {
        Ok(match command {
            Command::Event => answer(self.event(decode(body)?).await),
            Command::ForceLeave => answer(self.force_leave(decode(body)?).await),
            Command::Join => answer(self.join(decode(body)?).await),
            Command::Members => answer(Ok(self.members(|_| true).await)),
            Command::MembersFiltered => answer(self.members_filtered(decode(body)?).await),
            Command::Tags => answer(self.tags(decode(body)?).await),
            Command::GetCoordinate => answer(Ok(self.coordinate(decode(body)?).await)),
            Command::Stats => answer(figures::collect(&self.0).await.map_err(|error| error.to_string())),
            Command::ListKeys => self.keys(command, &Text::default()).await,
            Command::InstallKey | Command::UseKey | Command::RemoveKey => {
                let KeyRequest { key } = decode(body)?;
                self.keys(command, &key).await
            }
            // The session does these itself.
            Command::Handshake
            | Command::Auth
            | Command::Stream
            | Command::Monitor
            | Command::Stop
            | Command::Leave
            | Command::Query
            | Command::Respond => ("Unsupported command".into(), Vec::new()),
        })
    }

    /// Asks the cluster.
    pub(super) async fn query(&self, request: QueryRequest) -> Result<Answers, String> {
        let QueryRequest { nodes, tags, name, payload, relay_factor, ack, timeout } = request;
        let internal = name.as_bytes().starts_with(INTERNAL);
        if internal && (name.as_bytes() != PING || !payload.as_bytes().is_empty()) {
            return Err("Queries cannot contain the '_serf_' prefix".into());
        }
        tracing::debug!("agent: Requesting query send: {name}");
        let bytes = |text: &Text| Bytes::copy_from_slice(text.as_bytes());
        let timeout = u64::try_from(timeout).ok().filter(|&timeout| timeout > 0).map(Duration::from_nanos);
        let mut params = QueryParams::default();
        params
            .nodes(nodes.iter().flatten().map(|name| Name::new(name.as_bytes())).collect())
            .tags(
                tags.sorted().into_iter().map(|(tag, expression)| (bytes(tag), bytes(expression))).collect(),
            )
            .ack(ack)
            .relay_factor(relay_factor)
            .timeout(timeout);
        let asked = self.0.local.cluster.query(name.as_bytes(), payload.as_bytes(), params).await;
        asked.map_err(|error| {
            tracing::warn!("agent: failed to start query: {error}");
            error.to_string()
        })
    }

    /// Answers a query that a stream of this client told of.
    pub(super) async fn respond(&self, asked: &Asked, request: RespondRequest) -> Result<(), String> {
        let RespondRequest { id, payload } = request;
        let unknown = || String::from("No pending queries matching ID");
        let query = asked.get(id).ok_or_else(unknown)?;
        match self.0.local.cluster.respond(query, payload.as_bytes()).await {
            Ok(()) => Ok(()),
            Err(Error::Command(CommandError::UnknownRequest)) => {
                asked.remove(id);
                Err(unknown())
            }
            // Such as an answer that is too long: a shorter one may follow.
            Err(error) => Err(error.to_string()),
        }
    }

    async fn event(&self, request: EventRequest) -> Result<(), String> {
        let EventRequest { coalesce, name, payload } = request;
        tracing::debug!("agent: Requesting user event send: {name}. Coalesced: {coalesce}");
        let cluster = &self.0.local.cluster;
        cluster.post_user_event(name.as_bytes(), payload.as_bytes(), coalesce).await.map_err(|error| {
            tracing::warn!("agent: failed to send user event: {error}");
            error.to_string()
        })
    }

    async fn force_leave(&self, request: ForceLeaveRequest) -> Result<(), String> {
        let ForceLeaveRequest { node, prune } = request;
        tracing::info!("agent: Force leaving node: {node}");
        match self.0.local.cluster.force_leave(node.as_bytes(), prune).await {
            // As Serf answers: whoever wants it gone has what they want (Q16).
            Err(Error::Command(CommandError::UnknownMember)) => {
                tracing::warn!("agent: no member is named {node}");
                Ok(())
            }
            // As Serf says it (serf.md 4.9).
            Ok(false) => Err("timed out broadcasting node removal".into()),
            told => told.map(drop).map_err(|error| error.to_string()),
        }
    }

    async fn join(&self, request: JoinRequest) -> Result<JoinResponse, String> {
        let JoinRequest { existing, replay } = request;
        let targets: Vec<String> = existing.iter().flatten().map(Text::to_string_lossy).collect();
        let report = joining::join(&self.0.local.cluster, &targets, replay).await.map_err(|error| {
            tracing::warn!("agent: error joining: {error}");
            error.to_string()
        })?;
        Ok(JoinResponse { num: i32::try_from(report.contacted).unwrap_or(i32::MAX) })
    }

    async fn members(&self, wanted: impl Fn(&MemberInfo) -> bool) -> MembersResponse {
        // The node looks through all of its members for this, and does nothing else meanwhile: one client at a time.
        let turn = self.0.listing.lock().await;
        let members = self.0.local.cluster.members().await;
        drop(turn);
        let members = members.iter().filter(|&member| wanted(member)).map(records::member);
        MembersResponse { members: Some(members.collect()) }
    }

    async fn members_filtered(&self, request: MembersFilteredRequest) -> Result<MembersResponse, String> {
        let name = optional(&request.name)?;
        let status = optional(&request.status)?;
        let expressions = request.tags.sorted().into_iter();
        let tags: Vec<(&Text, Expression)> = expressions
            .map(|(tag, expression)| Ok((tag, compile(expression)?)))
            .collect::<Result<_, String>>()?;
        let matches = |expression: &Option<Expression>, value: &[u8]| {
            expression.as_ref().is_none_or(|expression| expression.is_match(value))
        };
        Ok(self
            .members(|member| {
                let value = |tag: &Text| member.tag(tag.as_bytes()).map_or(&[][..], |value| value);
                matches(&name, member.name.as_bytes())
                    && matches(&status, records::status(member.status).as_bytes())
                    && tags.iter().all(|(tag, expression)| expression.is_match(value(tag)))
            })
            .await)
    }

    async fn keys(&self, command: Command, key: &Text) -> Answer {
        let (error, response) = keys::run(&self.0.local.cluster, command, key).await;
        let mut body = Vec::new();
        response.write(&mut body);
        (error, body)
    }

    async fn coordinate(&self, request: CoordinateRequest) -> CoordinateResponse {
        let name = Name::new(request.node.as_bytes());
        let Some(found) = self.0.local.cluster.coordinate(&name).await else {
            return CoordinateResponse::default();
        };
        let (adjustment, error, height) = (found.adjustment, found.error, found.height);
        let vec = Some(found.vec.to_vec());
        CoordinateResponse { coordinate: Coordinate { adjustment, error, height, vec }, ok: true }
    }

    async fn tags(&self, request: TagsRequest) -> Result<(), String> {
        // The configuration and the tags file hold text.
        let text = |text: &Text| {
            let text = String::from_utf8(text.as_bytes().into());
            text.map_err(|_| String::from("a tag that is not UTF-8 cannot be set"))
        };
        let delete: Vec<String> = request.delete.iter().flatten().map(text).collect::<Result<_, _>>()?;
        let set: BTreeMap<String, String> = request
            .set
            .iter()
            .map(|(key, value)| Ok((text(key)?, text(value)?)))
            .collect::<Result<_, String>>()?;
        match self.0.local.tags.change(&delete, set).await? {
            true => Ok(()),
            // The tags have changed all the same, as in Serf (serf.md 1.2).
            false => Err("timeout waiting for update broadcast".into()),
        }
    }
}

const INTERNAL: &[u8] = b"_serf_";
const PING: &[u8] = b"_serf_ping";

/// With the body that comes although there is an error.
fn answer<T: Value + Default>(result: Result<T, String>) -> Answer {
    let (error, value) = match result {
        Ok(value) => (String::new(), value),
        Err(error) => (error, T::default()),
    };
    let mut body = Vec::new();
    value.write(&mut body);
    (error, body)
}

/// An empty expression lets everything through.
fn optional(text: &Text) -> Result<Option<Expression>, String> {
    if text.is_empty() { Ok(None) } else { compile(text).map(Some) }
}

/// Upstream closes the connection over one that is none (Q28).
fn compile(text: &Text) -> Result<Expression, String> {
    Expression::new(text.as_bytes()).ok_or_else(|| {
        let shown: String = text.to_string().chars().take(64).collect();
        format!(
            "Invalid expression {shown:?}: it must be one of Go's, at most {} bytes, and not explode",
            Expression::MAX
        )
    })
}
