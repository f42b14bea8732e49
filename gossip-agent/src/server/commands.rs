//! The commands that are answered at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use transport_tokio::gossip_proto::CommandError;
use transport_tokio::{Error, MemberInfo, Name};

use super::expression::Expression;
use super::places::Busy;
use super::session::{Farewell, Outbox, decode};
use super::{Shared, figures, records};
use crate::joining;
use crate::rpc::{
    Command, Coordinate, CoordinateRequest, CoordinateResponse, EventRequest, ForceLeaveRequest, JoinRequest,
    JoinResponse, MembersFilteredRequest, MembersResponse, TagsRequest, Text, Value,
};

pub(super) struct Commands {
    shared: Arc<Shared>,
    outbox: Outbox,
}

/// The error, empty if there is none, and the encoded body.
pub(super) type Answer = (String, Vec<u8>);

impl Commands {
    pub(super) fn new(shared: Arc<Shared>, outbox: Outbox) -> Self {
        Self { shared, outbox }
    }

    pub(super) async fn run(
        &mut self,
        command: Command,
        seq: u64,
        body: &[u8],
        busy: Busy,
    ) -> Result<Answer, Farewell> {
        let _ = (seq, busy, &self.outbox);
        Ok(match command {
            Command::Event => answer(self.event(decode(body)?).await),
            Command::ForceLeave => answer(self.force_leave(decode(body)?).await),
            Command::Join => answer(self.join(decode(body)?).await),
            Command::Members => answer(Ok(self.members(|_| true).await)),
            Command::MembersFiltered => answer(self.members_filtered(decode(body)?).await),
            Command::Tags => answer(self.tags(decode(body)?).await),
            Command::GetCoordinate => answer(Ok(self.coordinate(decode(body)?).await)),
            Command::Stats => answer(figures::collect(&self.shared).await.map_err(|error| error.to_string())),
            _ => ("Unsupported command".into(), Vec::new()),
        })
    }

    async fn event(&self, request: EventRequest) -> Result<(), String> {
        let EventRequest { coalesce, name, payload } = request;
        tracing::debug!("agent: Requesting user event send: {name}. Coalesced: {coalesce}");
        let cluster = &self.shared.local.cluster;
        cluster.post_user_event(name.as_bytes(), payload.as_bytes(), coalesce).await.map_err(|error| {
            tracing::warn!("agent: failed to send user event: {error}");
            error.to_string()
        })
    }

    async fn force_leave(&self, request: ForceLeaveRequest) -> Result<(), String> {
        let ForceLeaveRequest { node, prune } = request;
        tracing::info!("agent: Force leaving node: {node}");
        match self.shared.local.cluster.force_leave(node.as_bytes(), prune).await {
            // As Serf answers: whoever wants it gone has what they want (Q16).
            Err(Error::Command(CommandError::UnknownMember)) => {
                tracing::warn!("agent: no member is named {node}");
                Ok(())
            }
            told => told.map(drop).map_err(|error| error.to_string()),
        }
    }

    async fn join(&self, request: JoinRequest) -> Result<JoinResponse, String> {
        let JoinRequest { existing, replay } = request;
        let targets: Vec<String> = existing.iter().flatten().map(Text::to_string_lossy).collect();
        let report = joining::join(&self.shared.local.cluster, &targets, replay).await.map_err(|error| {
            tracing::warn!("agent: error joining: {error}");
            error.to_string()
        })?;
        Ok(JoinResponse { num: i32::try_from(report.contacted).unwrap_or(i32::MAX) })
    }

    async fn members(&self, wanted: impl Fn(&MemberInfo) -> bool) -> MembersResponse {
        // The node looks through all of its members for this, and does nothing else meanwhile: one client at a time.
        let turn = self.shared.listing.lock().await;
        let members = self.shared.local.cluster.members().await;
        drop(turn);
        let members = members.iter().filter(|&member| wanted(member)).map(records::member);
        MembersResponse { members: Some(members.collect()) }
    }

    async fn members_filtered(&self, request: MembersFilteredRequest) -> Result<MembersResponse, String> {
        let name = Expression::optional(request.name.as_bytes())?;
        let status = Expression::optional(request.status.as_bytes())?;
        let expressions = request.tags.sorted().into_iter();
        let tags: Vec<(&Text, Expression)> = expressions
            .map(|(tag, expression)| Ok((tag, Expression::new(expression.as_bytes())?)))
            .collect::<Result<_, String>>()?;
        Ok(self
            .members(|member| {
                let value = |tag: &Text| member.tag(tag.as_bytes()).map_or(&[][..], |value| value);
                name.matches(member.name.as_bytes())
                    && status.matches(records::status(member.status).as_bytes())
                    && tags.iter().all(|(tag, expression)| expression.matches(value(tag)))
            })
            .await)
    }

    async fn coordinate(&self, request: CoordinateRequest) -> CoordinateResponse {
        let name = Name::new(request.node.as_bytes());
        let Some(found) = self.shared.local.cluster.coordinate(&name).await else {
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
        self.shared.local.tags.change(&delete, set).await.map(drop)
    }
}

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
