//! What the tests on real sockets share: each runs on every runtime that is compiled in.
#![allow(dead_code, unused_imports, reason = "not every test needs all of it")]

mod relay;

use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant;

pub(crate) use relay::Relay;
use transport_quic::{
    Authorities, Authority, Bind, Cluster, Config, Credentials, Node, Notice, ServiceConfig, Status,
    Subscription, start_node,
};

/// Makes a test of an async function, for each runtime.
#[macro_export]
macro_rules! on_each_runtime {
    ($($(#[$attribute:meta])* $name:ident)*) => {
        #[cfg(feature = "runtime-tokio")]
        mod on_tokio {
            $($(#[$attribute])* #[test] fn $name() { $crate::common::on_tokio(super::$name()) })*
        }
        #[cfg(feature = "runtime-async-std")]
        mod on_async_std {
            $($(#[$attribute])* #[test] fn $name() { async_std::task::block_on(super::$name()) })*
        }
    };
}

#[cfg(feature = "runtime-tokio")]
pub(crate) fn on_tokio<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}

/// Lets go of the thread for a moment, on any runtime.
pub(crate) async fn pause(millis: u64) {
    async_io::Timer::after(Duration::from_millis(millis)).await;
}

/// Waits until it is so; panics with the text after a minute.
pub(crate) async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !check().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "never seen: {what}");
        pause(20).await;
    }
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn trusting(authority: &Authority) -> Authorities {
    authority.trust().unwrap()
}

pub(crate) fn member(authority: &Authority, name: &str) -> Credentials {
    authority.member(name).unwrap()
}

/// A configuration that finds failures within seconds.
pub(crate) fn quick(name: &str, advertise: SocketAddr) -> (Config, ServiceConfig) {
    let mut config = Config::local(name, advertise);
    config.probe_interval(Duration::from_millis(500)).push_pull_interval(Duration::from_secs(5));
    let mut services = ServiceConfig::default();
    services.leave_propagate_delay(Duration::from_millis(200)).reconnect_interval(Duration::from_secs(1));
    services.fixed_tags(vec![("zone".into(), "a".into())]);
    (config, services)
}

pub(crate) async fn node(name: &str, credentials: Credentials) -> Cluster<Node> {
    node_at(loopback(), name, credentials).await
}

pub(crate) async fn node_at(addr: SocketAddr, name: &str, credentials: Credentials) -> Cluster<Node> {
    let name = name.to_owned();
    start_node(Bind::at(addr, credentials), move |advertise| quick(&name, advertise)).await.unwrap()
}

pub(crate) async fn status_of(node: &Cluster<Node>, name: &str) -> Option<Status> {
    let members = node.members().await;
    members.into_iter().find(|member| member.name.as_bytes() == name.as_bytes()).map(|member| member.status)
}

pub(crate) async fn alive(node: &Cluster<Node>) -> usize {
    node.members().await.iter().filter(|member| member.status == Status::Alive).count()
}

/// The next notice that `wanted` takes something from.
pub(crate) async fn notice<T>(
    news: &mut Subscription,
    what: &str,
    mut wanted: impl FnMut(Notice) -> Option<T>,
) -> T {
    let begun = Instant::now();
    while let Some(notice) = news.recv().await {
        if let Some(found) = wanted(notice) {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "never told: {what}");
    }
    panic!("the node ended before it told: {what}");
}
