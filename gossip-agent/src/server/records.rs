//! Members and events in the form in which they are sent.

use core::net::IpAddr;

use transport_tokio::{Batch, MemberInfo, Notice, Status};

use super::asked::Asked;
use crate::rpc::{Blob, Member, MemberRecord, QueryRecord, UserRecord, Value};

/// A member as Serf shows it.
pub(super) fn member(info: &MemberInfo) -> Member {
    let octets = match info.addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let [protocol_min, protocol_max, protocol_cur, delegate_min, delegate_max, delegate_cur] = info.versions;
    Member {
        addr: Blob(Some(octets)),
        delegate_cur,
        delegate_max,
        delegate_min,
        name: info.name.as_bytes().into(),
        port: info.addr.port(),
        protocol_cur,
        protocol_max,
        protocol_min,
        status: status(info.status).into(),
        tags: info.tags.iter().map(|(key, value)| (key, value.into())).collect(),
    }
}

/// Serf has no word for a suspect: it is alive until it is not.
pub(super) fn status(status: Status) -> &'static str {
    match status {
        Status::Suspect => Status::Alive.as_str(),
        status => status.as_str(),
    }
}

/// What a stream tells of news; `None` for what Serf has no event for. Queries become ones that the client can answer.
pub(super) fn event(batch: &Batch, asked: &Asked) -> Option<Vec<u8>> {
    let mut record = Vec::new();
    match batch {
        Batch::Members { kind, members } => {
            let members = Some(members.iter().map(member).collect());
            MemberRecord { event: kind.serf_name()?.into(), members }.write(&mut record);
        }
        Batch::Single(Notice::UserEvent { ltime, name, payload, coalesce }) => {
            let (ltime, coalesce) = (*ltime, *coalesce);
            let payload = Blob::payload(payload);
            UserRecord { coalesce, event: "user".into(), ltime, name: name.into(), payload }
                .write(&mut record);
        }
        Batch::Single(Notice::Query { id, ltime, name, payload, .. }) => {
            let (ltime, id) = (*ltime, asked.add(*id));
            let payload = Blob::payload(payload);
            QueryRecord { event: "query".into(), id, ltime, name: name.into(), payload }.write(&mut record);
        }
        _ => return None,
    }
    Some(record)
}
