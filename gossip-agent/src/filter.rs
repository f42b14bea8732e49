//! Which events somebody wants to hear of: the filters of event handlers and of event streams (serf.md 9.4, 9.5).

use core::fmt;

use transport_tokio::{Batch, ChangeKind, Notice};

/// `member-join,user:deploy`: any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter(Vec<Item>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    All,
    Members(ChangeKind),
    UserEvents,
    UserEvent(String),
    Queries,
    Query(String),
}

impl Filter {
    /// Reads a list. Nothing is trimmed, as in Serf; an empty list is `*`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(vec![Item::All]));
        }
        text.split(',').map(item).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it lets this through.
    pub(crate) fn matches(&self, batch: &Batch) -> bool {
        self.0.iter().any(|item| item.matches(batch))
    }
}

impl Item {
    fn matches(&self, batch: &Batch) -> bool {
        match (self, batch) {
            (
                Self::All,
                Batch::Members { .. } | Batch::Single(Notice::UserEvent { .. } | Notice::Query { .. }),
            ) => true,
            (Self::Members(kind), Batch::Members { kind: of, .. }) => kind == of,
            (Self::UserEvents, Batch::Single(Notice::UserEvent { .. })) => true,
            (Self::UserEvent(name), Batch::Single(Notice::UserEvent { name: of, .. })) => {
                name.as_bytes() == of
            }
            (Self::Queries, Batch::Single(Notice::Query { .. })) => true,
            (Self::Query(name), Batch::Single(Notice::Query { name: of, .. })) => name.as_bytes() == of,
            _ => false,
        }
    }
}

fn item(text: &str) -> Result<Item, String> {
    Ok(match text.split_once(':') {
        // As in Serf, no name is any name.
        Some(("user", "")) => Item::UserEvents,
        Some(("query", "")) => Item::Queries,
        Some(("user", name)) => Item::UserEvent(name.into()),
        Some(("query", name)) => Item::Query(name.into()),
        _ => match text {
            "*" => Item::All,
            "user" => Item::UserEvents,
            "query" => Item::Queries,
            _ => Item::Members(
                KINDS.into_iter().find(|kind| kind.serf_name() == Some(text)).ok_or_else(|| {
                    format!(
                        "{text:?} is no event; give a list, without spaces, of member-join, member-leave, member-failed, \
                         member-update, member-reap, user, user:<name>, query, query:<name> and *"
                    )
                })?,
            ),
        },
    })
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match item {
                Item::All => f.write_str("*"),
                Item::Members(kind) => f.write_str(kind.serf_name().unwrap_or_default()),
                Item::UserEvents => f.write_str("user"),
                Item::UserEvent(name) => write!(f, "user:{name}"),
                Item::Queries => f.write_str("query"),
                Item::Query(name) => write!(f, "query:{name}"),
            }?;
        }
        Ok(())
    }
}

const KINDS: [ChangeKind; 5] =
    [ChangeKind::Joined, ChangeKind::Left, ChangeKind::Failed, ChangeKind::Updated, ChangeKind::Reaped];

#[cfg(test)]
mod tests {
    use super::*;
    use transport_tokio::gossip_proto::Bytes;

    fn members(kind: ChangeKind) -> Batch {
        Batch::Members { kind, members: Vec::new() }
    }

    fn user(name: &'static str) -> Batch {
        let name = Bytes::from_static(name.as_bytes());
        Batch::Single(Notice::UserEvent { ltime: 1, name, payload: Bytes::new(), coalesce: true })
    }

    // upstream: TestParseEventFilter, TestEventScriptValid
    #[test]
    fn reads_what_serf_reads() {
        for (text, shown) in [
            ("", "*"),
            ("*", "*"),
            ("member-join", "member-join"),
            ("member-join,member-leave,member-failed,member-update,member-reap", ""),
            ("user,query", ""),
            ("user:deploy,query:load", ""),
            ("user:", "user"),
            ("user:a:b", ""),
        ] {
            let filter = Filter::parse(text).unwrap();
            assert_eq!(filter.to_string(), if shown.is_empty() { text } else { shown }, "{text:?}");
        }
        for text in ["member-join, user", "bogus", "user,", ",", "member-suspect", "member-join:x", "User"] {
            let error = Filter::parse(text).unwrap_err();
            assert!(error.contains("is no event"), "{text:?}: {error}");
        }
    }

    // upstream: TestEventScriptInvoke
    #[test]
    fn lets_through_what_is_asked_for() {
        for (text, batch, wanted) in [
            ("*", members(ChangeKind::Joined), true),
            ("*", user("deploy"), true),
            ("*", Batch::Single(Notice::RosterFull), false),
            ("user", user("deploy"), true),
            ("user", members(ChangeKind::Joined), false),
            ("user:deploy", user("deploy"), true),
            ("user:deploy", user("deploys"), false),
            ("member-join", members(ChangeKind::Joined), true),
            ("member-join", members(ChangeKind::Left), false),
            ("member-join,member-leave", members(ChangeKind::Left), true),
            ("query", user("query"), false),
            ("query:deploy", user("deploy"), false),
        ] {
            assert_eq!(Filter::parse(text).unwrap().matches(&batch), wanted, "{text}: {batch:?}");
        }
    }
}
