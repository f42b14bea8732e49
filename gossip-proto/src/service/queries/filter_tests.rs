use alloc::vec::Vec;

use super::*;
use crate::ServiceConfig;
use crate::service::tests::Bed;
use crate::wire::serf::TagFilter;

fn nodes(names: &[&'static str]) -> Vec<u8> {
    let names: Vec<Text<'_>> = names.iter().map(|name| Cow::Borrowed(name.as_bytes())).collect();
    encoded(&Filter::Nodes(List::Lent(&names)))
}

fn tag(tag: &str, expr: &str) -> Vec<u8> {
    encoded(&Filter::Tag(TagFilter { tag: tag.as_bytes().into(), expr: expr.as_bytes().into() }))
}

fn encoded(filter: &Filter<'_>) -> Vec<u8> {
    let mut blob = Vec::new();
    filter.encode(&mut blob).unwrap();
    blob
}

fn bed() -> Bed {
    let mut config = ServiceConfig::default();
    config.tags(Vec::from([("role".into(), "webserver".into()), ("datacenter".into(), "east-aws".into())]));
    Bed::with(config)
}

/// Whether the local node is meant, and how many filters were refused on the way.
fn judge(filters: &[Vec<u8>]) -> (bool, u64) {
    let mut bed = bed();
    let raw: Vec<Raw<'_>> = filters.iter().map(|blob| Raw::from(blob.as_slice())).collect();
    let passes = bed.services.passes_filters(&mut bed.swim, LOCAL, &List::Lent(&raw), true);
    (passes, bed.swim.stats.query_filters_refused)
}

// upstream: TestSerf_ShouldProcess
#[test]
fn all_filters_must_match() {
    assert_eq!(judge(&[]), (true, 0));
    let all = [nodes(&["foo", "bar", "self"]), tag("role", "^web"), tag("datacenter", "aws$")];
    assert_eq!(judge(&all), (true, 0));
    assert_eq!(judge(&[nodes(&["foo", "bar"])]), (false, 0));
    assert_eq!(judge(&[nodes(&["sel", "selfish"])]), (false, 0));
    assert_eq!(judge(&[tag("other", "cool")]), (false, 0));
    assert_eq!(judge(&[tag("role", "db")]), (false, 0));
    // A tag that is not there is empty.
    assert_eq!(judge(&[tag("other", "^$")]), (true, 0));
    assert_eq!(judge(&[tag("role", "web"), tag("role", "db")]), (false, 0));
}

#[test]
fn what_is_no_filter_matches_nobody_and_is_counted() {
    for bad in [&[7, 0x90][..], &[0], &[0, 0x91], &[0, 0x81], &[1, 0x91], &[1, 0xdb, 0xff, 0xff, 0xff, 0xff]]
    {
        assert!(!judge(&[bad.to_vec()]).0, "{bad:?}");
    }
    assert_eq!(judge(&[alloc::vec![7, 0x90]]), (false, 1));
    assert_eq!(judge(&[alloc::vec![0, 0x91]]), (false, 1));
    for expression in ["(", "((a{100}){100}){100}", &"a".repeat(600), r"(\pL{100}){10}"] {
        assert_eq!(judge(&[tag("role", expression)]), (false, 1), "{expression}");
    }
    let many: Vec<_> = (0..17).map(|i| tag("role", &alloc::format!("web|{i}"))).collect();
    assert_eq!(judge(&many[..16]), (true, 0));
    assert_eq!(judge(&many), (false, 1));
}

#[test]
fn other_members_are_judged_by_their_tags() {
    let mut bed = bed();
    bed.alive("a", 1);
    let slot = bed.swim.roster.find(b"a").unwrap();
    let mut judge = |filter: Vec<u8>| {
        let raw = [Raw::from(filter.as_slice())];
        bed.services.passes_filters(&mut bed.swim, slot, &List::Lent(&raw), false)
    };
    assert!(judge(nodes(&["a"])) && !judge(nodes(&["self"])));
    assert!(judge(tag("role", "^$")) && !judge(tag("role", "web")));
}
