//! What a script is told of an event: environment and standard input (serf.md 9.5).

use std::borrow::Cow;
use std::ffi::OsString;

use transport_tokio::{Batch, MemberInfo, Notice};

/// The variables that are set beside the agent's own; `None` for what is no event.
pub(crate) fn environment(batch: &Batch, local: &MemberInfo) -> Option<Vec<(OsString, OsString)>> {
    let mut variables = Vec::new();
    let mut set = |name: &str, value: &[u8]| variables.push((OsString::from(name), variable(value)));
    match batch {
        Batch::Members { kind, .. } => set("SERF_EVENT", kind.serf_name()?.as_bytes()),
        Batch::Single(Notice::UserEvent { ltime, name, .. }) => {
            set("SERF_EVENT", b"user");
            set("SERF_USER_EVENT", name);
            set("SERF_USER_LTIME", ltime.to_string().as_bytes());
        }
        Batch::Single(Notice::Query { ltime, name, .. }) => {
            set("SERF_EVENT", b"query");
            set("SERF_QUERY_NAME", name);
            set("SERF_QUERY_LTIME", ltime.to_string().as_bytes());
        }
        _ => return None,
    }
    set("SERF_SELF_NAME", local.name.as_bytes());
    set("SERF_SELF_ROLE", local.tag("role").map_or(b"", |role| role));
    for (key, value) in &local.tags {
        set(&format!("SERF_TAG_{}", tag_name(key)), value);
    }
    Some(variables)
}

/// What stands on standard input.
pub(crate) fn input(batch: &Batch) -> Vec<u8> {
    match batch {
        Batch::Members { members, .. } => {
            let mut lines = Vec::new();
            members.iter().for_each(|member| line(member, &mut lines));
            lines
        }
        Batch::Single(Notice::UserEvent { payload, .. } | Notice::Query { payload, .. }) => {
            with_newline(payload)
        }
        _ => Vec::new(),
    }
}

fn line(member: &MemberInfo, out: &mut Vec<u8>) {
    clean(member.name.as_bytes(), out);
    out.push(b'\t');
    out.extend(member.addr.ip().to_string().bytes());
    out.push(b'\t');
    clean(member.tag("role").map_or(b"", |role| role), out);
    out.push(b'\t');
    for (index, (key, value)) in member.tags.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        clean(key, out);
        out.push(b'=');
        clean(value, out);
    }
    out.push(b'\n');
}

/// A tab or a newline in it must not be taken for the end of a field or a line: the bytes are a peer's.
fn clean(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'\t' => out.extend(b"\\t"),
            b'\n' => out.extend(b"\\n"),
            byte => out.push(byte),
        }
    }
}

fn with_newline(payload: &[u8]) -> Vec<u8> {
    let mut input = payload.to_vec();
    if !input.is_empty() && !input.ends_with(b"\n") {
        input.push(b'\n');
    }
    input
}

fn tag_name(key: &[u8]) -> String {
    let name = String::from_utf8_lossy(key).to_uppercase();
    name.chars().map(|c| if matches!(c, 'A'..='Z' | '0'..='9' | '_') { c } else { '_' }).collect()
}

/// No variable can hold a zero byte, and an event whose name has one must not be lost for it.
fn variable(value: &[u8]) -> OsString {
    let value: Cow<'_, [u8]> = match value.contains(&0) {
        true => value.split(|&byte| byte == 0).collect::<Vec<_>>().join(&b"\\0"[..]).into(),
        false => value.into(),
    };
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt as _;
        OsString::from_vec(value.into_owned())
    }
    #[cfg(not(unix))]
    {
        String::from_utf8_lossy(&value).into_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transport_tokio::ChangeKind;
    use transport_tokio::gossip_proto::Bytes;

    use crate::samples::member;

    fn user(name: &'static [u8], payload: &'static [u8]) -> Batch {
        let (name, payload) = (Bytes::from_static(name), Bytes::from_static(payload));
        Batch::Single(Notice::UserEvent { ltime: 42, name, payload, coalesce: true })
    }

    fn shown(batch: &Batch, local: &MemberInfo) -> Vec<String> {
        let variables = environment(batch, local).unwrap();
        variables.iter().map(|(key, value)| format!("{}={}", key.display(), value.display())).collect()
    }

    // upstream: TestScriptEventHandler
    #[test]
    fn members_are_lines() {
        let local = member("me", "10.0.0.1:7946", &[("role", "lb"), ("a-b.c", "1"), ("dc", "east")]);
        let members = vec![
            member("foo", "10.0.0.2:7000", &[("role", "web\tx"), ("dc", "a\nb")]),
            member("b\na\tr", "[fd00::1]:7946", &[]),
        ];
        let batch = Batch::Members { kind: ChangeKind::Joined, members };
        assert_eq!(
            shown(&batch, &local),
            [
                "SERF_EVENT=member-join",
                "SERF_SELF_NAME=me",
                "SERF_SELF_ROLE=lb",
                "SERF_TAG_ROLE=lb",
                "SERF_TAG_A_B_C=1",
                "SERF_TAG_DC=east"
            ]
        );
        let expected = "foo\t10.0.0.2\tweb\\tx\trole=web\\tx,dc=a\\nb\nb\\na\\tr\tfd00::1\t\t\n";
        assert_eq!(String::from_utf8(input(&batch)).unwrap(), expected);
    }

    // upstream: TestScriptUserEventHandler
    #[test]
    fn a_user_event_is_its_payload() {
        let local = member("me", "10.0.0.1:7946", &[]);
        let expected = [
            "SERF_EVENT=user",
            "SERF_USER_EVENT=deploy",
            "SERF_USER_LTIME=42",
            "SERF_SELF_NAME=me",
            "SERF_SELF_ROLE=",
        ];
        assert_eq!(shown(&user(b"deploy", b"v1"), &local), expected);
        assert_eq!(shown(&user(b"a\0b", b""), &local)[1], "SERF_USER_EVENT=a\\0b");
        for (payload, expected) in
            [(&b""[..], &b""[..]), (b"v1", b"v1\n"), (b"v1\n", b"v1\n"), (b"\xff", b"\xff\n")]
        {
            assert_eq!(input(&user(b"deploy", payload)), expected);
        }
    }

    #[test]
    fn what_is_no_event_runs_nothing() {
        let local = member("me", "10.0.0.1:7946", &[]);
        assert_eq!(environment(&Batch::Single(Notice::RosterFull), &local), None);
    }
}
