//! Tags that change while a cluster runs.

use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::serf::Serf;
use crate::view::{Agent as _, Tags, assert_no_complaints, wait_for_agreement, wait_for_tags};
use crate::wait::HEARSAY;

#[test]
fn tags_change() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let mut serf = Serf::start(SERF, &Place::loopback(), &[]);
    let seed = serf.addr().to_string();
    let mut ours_1 = Ours::start(OURS, &Place::loopback(), &["--join", &seed]);
    let mut ours_2 = Ours::start("ours-2", &Place::loopback(), &["--join", &seed]);
    wait_for_agreement(&mut [&mut serf, &mut ours_1, &mut ours_2], HEARSAY);

    // A value of 40 bytes needs the longer form of a string, in the dialect that old decoders know.
    let long = "a value of forty bytes, not one byte more".get(..40).unwrap_or_default();
    serf.set_tag("long", long);
    serf.delete_tag("role");
    let tags = serf.tags().clone();
    let took = wait_for_tags(&mut [&mut serf, &mut ours_1, &mut ours_2], SERF, &tags, HEARSAY);
    println!("tags: set at serf, seen at our nodes after {took:.2?}");

    let tags: Tags = [("long", long), ("empty", ""), ("größe", "zwölf")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    ours_1.set_tags(&tags);
    let took = wait_for_tags(&mut [&mut serf, &mut ours_1, &mut ours_2], OURS, &tags, HEARSAY);
    println!("tags: set at our node, seen at serf after {took:.2?}");

    ours_2.set_tags(&Tags::new());
    wait_for_tags(&mut [&mut serf, &mut ours_1, &mut ours_2], "ours-2", &Tags::new(), HEARSAY);
    assert_no_complaints(&mut [&mut serf, &mut ours_1, &mut ours_2]);
}

/// Names of more than 31 bytes, which the old dialect of MessagePack writes in another form, and not all ASCII.
const SERF: &str = "serf-with-a-name-of-more-than-31-bytes-größer";
const OURS: &str = "ours-with-a-name-of-more-than-31-bytes-größer";
