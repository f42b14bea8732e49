//! Joining at the start, once; and in the background, until it works.

use core::time::Duration;

use std::net::ToSocketAddrs;

use transport_tokio::gossip_driver::{DEFAULT_PORT, Host, Target};
use transport_tokio::{Cluster, Error, JoinReport, Node};

use crate::config::{Problem, Settings};

/// Looks the names of `--join` up before anything is started: where none of them has an address, nothing would ever come
/// of it. Whether anybody is there shows later.
pub(crate) fn check_names(settings: &Settings) -> Result<(), Problem> {
    let mut problem = None;
    for text in &settings.start_join {
        // Forms were checked with the settings.
        let Ok(Target { host: Host::Name(name), port, .. }) = Target::parse(text, DEFAULT_PORT) else {
            return Ok(());
        };
        let why = match (name.as_str(), port).to_socket_addrs().map(|mut found| found.next()) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => "it has no address".into(),
            Err(error) => error.to_string(),
        };
        problem.get_or_insert_with(|| {
            Problem::new(format!(
                "start_join (--join) {text:?}: the host name cannot be resolved ({why}); check it, give an IP \
                 address, or use --retry-join to go on trying"
            ))
        });
    }
    problem.map_or(Ok(()), Err)
}

/// Joins once. At least one target must answer.
pub(crate) async fn start_join(cluster: &Cluster<Node>, settings: &Settings) -> Result<(), Error> {
    if settings.start_join.is_empty() {
        return Ok(());
    }
    join(cluster, &settings.start_join, settings.replay_on_join).await.map(drop)
}

/// Joins, and logs how it went.
pub(crate) async fn join(
    cluster: &Cluster<Node>,
    targets: &[String],
    replay: bool,
) -> Result<JoinReport, Error> {
    tracing::info!("agent: joining: {targets:?} replay: {replay}");
    let report = match replay {
        true => cluster.join(targets).await,
        false => cluster.join_ignoring_old(targets).await,
    }?;
    for failure in &report.failed {
        tracing::warn!("agent: not joined: {failure}");
    }
    tracing::info!("agent: joined: {} nodes", report.contacted);
    Ok(report)
}

/// Joins in the background. Ends with an error when the allowed attempts are used up; without a limit, never with one.
pub(crate) async fn retry_join(cluster: Cluster<Node>, settings: Settings) -> Result<(), Error> {
    let mut failed = 0;
    while !settings.retry_join.is_empty() {
        let joined = join(&cluster, &settings.retry_join, settings.replay_on_join).await;
        let Err(error) = joined else { break };
        failed += 1;
        if settings.retry_max > 0 && failed > settings.retry_max {
            tracing::error!("agent: maximum retry join attempts made, exiting");
            return Err(error);
        }
        let pause = jitter(settings.retry_interval, fastrand::f64());
        tracing::warn!("agent: Join failed: {error}, retrying in {:.1}s", pause.as_secs_f64());
        tokio::time::sleep(pause).await;
    }
    // From here on they are where the node turns to whenever it has lost sight of them.
    cluster.set_seeds(&[settings.start_join, settings.retry_join].concat()).await
}

/// Up to a tenth longer: a fleet that started at one moment does not come back at one moment.
fn jitter(interval: Duration, random: f64) -> Duration {
    interval + interval.mul_f64(random / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_only_adds_and_at_most_a_tenth() {
        let interval = Duration::from_secs(30);
        assert_eq!(jitter(interval, 0.0), interval);
        assert_eq!(jitter(interval, 0.5), Duration::from_millis(31_500));
        assert!(jitter(interval, 0.999) < Duration::from_secs(33));
    }
}
