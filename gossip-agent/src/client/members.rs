//! `gossip members`

use core::net::{IpAddr, SocketAddr};

use clap::Args;
use serde_json::{Value as Json, json};

use super::columns::columns;
use super::connection::Connection;
use super::{AgentAddress, Failure, Format, pairs, print_json, say};
use crate::rpc::{Command, Member, MembersFilteredRequest, MembersResponse};

#[derive(Args, Clone, Debug)]
pub(crate) struct MembersArgs {
    /// Also show the protocol versions; JSON always does
    #[arg(long)]
    detailed: bool,
    /// How it is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Only members whose whole name matches this expression
    #[arg(long, value_name = "REGEX", default_value = "")]
    name: String,
    /// Deprecated: --tag role=REGEX
    #[arg(long, value_name = "REGEX", hide = true)]
    role: Option<String>,
    /// Only members whose status matches, such as alive or 'failed|left'
    #[arg(long, value_name = "REGEX", default_value = "")]
    status: String,
    /// Only members whose tag matches (repeatable)
    #[arg(long, value_name = "KEY=REGEX")]
    tag: Vec<String>,
    #[command(flatten)]
    agent: AgentAddress,
}

pub(super) async fn run(arguments: MembersArgs) -> Result<(), Failure> {
    let MembersArgs { detailed, format, name, role, status, tag, agent } = arguments;
    let mut tags = pairs(&tag)?;
    if let Some(role) = &role {
        eprintln!("Deprecation warning: --role has been replaced with --tag role={role}");
        tags.push(("role", role));
    }
    let mut connection = Connection::open(&agent).await?;
    let filter = MembersFilteredRequest {
        name: name.into(),
        status: status.into(),
        tags: tags.into_iter().map(|(key, expression)| (key, expression.into())).collect(),
    };
    let MembersResponse { members } = connection
        .ask(Command::MembersFiltered, &filter)
        .await
        .map_err(|failure| failure.during("retrieving members"))?;
    let mut members = members.unwrap_or_default();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    match format {
        Format::Text => say!("{}", text(&members, detailed)),
        Format::Json => print_json(&json!({ "members": members.iter().map(shown).collect::<Json>() })),
    }
}

fn text(members: &[Member], detailed: bool) -> String {
    let row = |member: &Member| {
        let tags: Vec<String> =
            member.tags.sorted().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut row =
            vec![member.name.to_string(), address(member), member.status.to_string(), tags.join(",")];
        if detailed {
            row.push(format!("Protocol Version: {}", member.delegate_cur));
            row.push(format!("Available Protocol Range: [{}, {}]", member.delegate_min, member.delegate_max));
        }
        row
    };
    columns(&members.iter().map(row).collect::<Vec<_>>())
}

fn shown(member: &Member) -> Json {
    let tags = member.tags.sorted().into_iter();
    let tags: Json = tags.map(|(key, value)| (key.to_string_lossy(), value.to_string_lossy())).collect();
    json!({
        "name": member.name.to_string_lossy(),
        "addr": address(member),
        "port": member.port,
        "tags": tags,
        "status": member.status.to_string_lossy(),
        "protocol": {
            "max": member.delegate_max,
            "min": member.delegate_min,
            "version": member.delegate_cur,
        },
    })
}

/// As Go prints it.
fn address(member: &Member) -> String {
    let bytes = member.addr.as_bytes();
    let ip = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(octets), _) => IpAddr::from(octets),
        (_, Ok(octets)) => IpAddr::from(octets).to_canonical(),
        _ => return format!("?:{}", member.port),
    };
    SocketAddr::new(ip, member.port).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::Blob;

    fn member(addr: &[u8]) -> Member {
        Member {
            addr: Blob(Some(addr.into())),
            name: "a".into(),
            port: 7946,
            status: "alive".into(),
            tags: [("b", "2".into()), ("a", "1".into())].into_iter().collect(),
            delegate_cur: 5,
            delegate_max: 5,
            delegate_min: 2,
            ..Member::default()
        }
    }

    #[test]
    fn addresses_are_printed_as_go_does() {
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
        let v6 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        for (bytes, text) in [
            (&[10, 0, 0, 1][..], "10.0.0.1:7946"),
            (&mapped, "10.0.0.1:7946"),
            (&v6, "[::1]:7946"),
            (&[1], "?:7946"),
        ] {
            assert_eq!(address(&member(bytes)), text);
        }
    }

    #[test]
    fn a_row_has_what_serf_prints() {
        let members = [member(&[10, 0, 0, 1])];
        assert_eq!(text(&members, false), "a  10.0.0.1:7946  alive  a=1,b=2");
        assert_eq!(
            text(&members, true),
            "a  10.0.0.1:7946  alive  a=1,b=2  Protocol Version: 5  Available Protocol Range: [2, 5]"
        );
    }
}
