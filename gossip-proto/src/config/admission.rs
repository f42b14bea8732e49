//! Who may be a member: rules over metadata, which are what upstream asks of a delegate.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::wire::serf::Tags;

/// A rule that every other member must satisfy to be admitted; the same for all nodes of a cluster, or views differ.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// The metadata must begin with these bytes.
    MetadataPrefix(Bytes),
    /// A Serf tag must be there, with any value.
    TagRequired(Bytes),
    /// A Serf tag, if it is there, must have this value; a member without it is admitted only with
    /// [`Admission::TagRequired`] absent.
    TagEquals(Bytes, Bytes),
    /// A Serf tag must be there and have this value, for members whose tag `of` has one of the values `among`; others may
    /// be what they want.
    TagEqualsAmong {
        /// The tag.
        tag: Bytes,
        /// Its value.
        value: Bytes,
        /// The tag that says whether the rule is about a member.
        of: Bytes,
        /// The values of `of` for which it is.
        among: Vec<Bytes>,
    },
    /// No member of another name may have the value that this node has of a Serf tag, upper and lower case alike. Does
    /// not ask it of those that have left.
    TagUnique(Bytes),
    /// The name must be plain: letters of ASCII, digits, hyphens and dots, at most 128 bytes (serf.md 1.8).
    PlainName,
}

/// Whom a rule is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) metadata: &'a [u8],
    /// Known as one that has left.
    pub(crate) left: bool,
}

impl Admission {
    /// Whether a member keeps the rule, in the eyes of `own`.
    pub(crate) fn admits(&self, own: Candidate<'_>, member: Candidate<'_>) -> bool {
        match self {
            Self::MetadataPrefix(prefix) => member.metadata.starts_with(prefix),
            Self::TagRequired(tag) => member.tag(tag, |found| found.is_some()),
            Self::TagEquals(tag, value) => member.tag(tag, |found| found.is_none_or(|found| found == value)),
            Self::TagEqualsAmong { tag, value, of, among } => {
                let asked = member.tag(of, |of| of.is_some_and(|of| among.iter().any(|one| one == of)));
                !asked || member.tag(tag, |found| found.is_some_and(|found| found == value))
            }
            Self::PlainName => is_plain_name(member.name),
            Self::TagUnique(tag) => {
                let alike = |ours: &[u8]| {
                    member.tag(tag, |theirs| theirs.is_some_and(|theirs| theirs.eq_ignore_ascii_case(ours)))
                };
                member.left || member.name == own.name || !own.tag(tag, |ours| ours.is_some_and(alike))
            }
        }
    }
}

/// Whether a name is one that [`Admission::PlainName`] admits.
pub fn is_plain_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (1..=MAX_PLAIN_NAME).contains(&name.len()) && name.iter().all(plain)
}

const MAX_PLAIN_NAME: usize = 128;

impl Candidate<'_> {
    /// Looks at a tag: the last of that name, if there are several.
    fn tag(&self, name: &[u8], look: impl FnOnce(Option<&[u8]>) -> bool) -> bool {
        let tags = Tags::of(self.metadata).map_while(Result::ok);
        let found = tags.filter(|(key, _)| **key == *name).last();
        look(found.as_ref().map(|(_, value)| &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::serf::encode_tags;

    fn metadata(tags: &[(&str, &str)]) -> Vec<u8> {
        let mut metadata = Vec::new();
        encode_tags(&mut metadata, tags.iter().copied()).unwrap();
        metadata
    }

    fn candidate<'a>(name: &'a str, metadata: &'a [u8]) -> Candidate<'a> {
        Candidate { name: name.as_bytes(), metadata, left: false }
    }

    #[test]
    fn a_rule_for_some_roles_is_asked_of_these_only() {
        let rule = Admission::TagEqualsAmong {
            tag: "dc".into(),
            value: "east".into(),
            of: "role".into(),
            among: ["node", "consul"].map(Bytes::from).into(),
        };
        let own = metadata(&[]);
        for (tags, admitted) in [
            (&[("role", "node"), ("dc", "east")][..], true),
            (&[("role", "consul"), ("dc", "west")], false),
            (&[("role", "node")], false),
            (&[("role", "node"), ("dc", "")], false),
            (&[("role", "router"), ("dc", "west")], true),
            (&[("dc", "west")], true),
        ] {
            let theirs = metadata(tags);
            assert_eq!(rule.admits(candidate("a", &own), candidate("b", &theirs)), admitted, "{tags:?}");
        }
    }

    #[test]
    fn an_own_value_is_nobody_elses() {
        let rule = Admission::TagUnique("id".into());
        let (own, same, other) =
            (metadata(&[("id", "AB-1")]), metadata(&[("id", "ab-1")]), metadata(&[("id", "ab-2")]));
        assert!(!rule.admits(candidate("a", &own), candidate("b", &same)));
        assert!(rule.admits(candidate("a", &own), candidate("b", &other)));
        assert!(rule.admits(candidate("a", &own), candidate("a", &same)), "the same node");
        assert!(rule.admits(candidate("a", &own), Candidate { left: true, ..candidate("b", &same) }));
        let none = metadata(&[]);
        assert!(rule.admits(candidate("a", &none), candidate("b", &same)), "nothing to be unique");
        assert!(rule.admits(candidate("a", &own), candidate("b", &none)));
    }
    // upstream: TestSerf_ValidateNodeName
    #[test]
    fn a_plain_name_is_what_the_dns_could_hold() {
        let (none, longest) = (metadata(&[]), "a".repeat(128));
        for (name, plain) in [
            ("web-1.example", true),
            ("WEB", true),
            (longest.as_str(), true),
            (&"a".repeat(129), false),
            ("web_1", false),
            ("web 1", false),
            ("web\n1", false),
            ("wéb", false),
            ("", false),
        ] {
            let admitted = Admission::PlainName.admits(candidate("a", &none), candidate(name, &none));
            assert_eq!(admitted, plain, "{name:?}");
        }
    }
}
