//! Real `serf` agents and nodes of this project in one cluster: the proof that both speak the same protocol.
//!
//! Needs `serf`, and for some tests root, `ip`, `nft` and `tshark`. A test whose needs are not met says so and passes,
//! unless `CI` or `GOSSIP_INTEROP` is set: then it fails. `cargo test -p gossip-agent --test interop -- --nocapture`
//! shows the figures.

#[path = "interop/agreement.rs"]
mod agreement;
#[path = "interop/clocks.rs"]
mod clocks;
#[path = "interop/coordinates.rs"]
mod coordinates;
#[path = "interop/discovery.rs"]
mod discovery;
#[path = "interop/events.rs"]
mod events;
#[path = "interop/failure.rs"]
mod failure;
#[path = "interop/fallback.rs"]
mod fallback;
#[path = "interop/handlers.rs"]
mod handlers;
#[path = "interop/needs.rs"]
mod needs;
#[path = "interop/ours.rs"]
mod ours;
#[path = "interop/place.rs"]
mod place;
#[path = "interop/process.rs"]
mod process;
#[path = "interop/queries.rs"]
mod queries;
#[path = "interop/rotation.rs"]
mod rotation;
#[path = "interop/rpc.rs"]
mod rpc;
#[path = "interop/secrecy.rs"]
mod secrecy;
#[path = "interop/serf.rs"]
mod serf;
#[path = "interop/snapshots.rs"]
mod snapshots;
#[path = "interop/tags.rs"]
mod tags;
#[path = "interop/view.rs"]
mod view;
#[path = "interop/wait.rs"]
mod wait;
