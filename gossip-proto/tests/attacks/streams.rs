//! Streams that are opened and held (al8n's audit; slow loris).

use super::*;

/// Twenty hosts hold all places for streams that a node has for others, each for as long as it is let. The node stays a
/// member, its own exchanges go on, and the streams of others displace those of who holds many.
#[test]
fn held_streams_keep_no_member_from_exchanging() {
    let mut net = cluster(&["a", "b", "c"], |config, _| {
        config.push_pull_interval(5 * SECOND).max_streams(64);
    });
    let (begun, answered, failed) = {
        let stats = net.hosts[0].machine.stats();
        (stats.exchanges_begun, stats.exchanges_answered, stats.exchanges_failed)
    };
    let mut held = 0;
    for second in 0..60u8 {
        for attacker in 0..20u8 {
            for _ in 0..5 {
                let (now, from) = (net.now, Source::unauthenticated(addr(100 + attacker)));
                held += u64::from(net.host(0).machine.accept_stream(now, from).is_ok());
            }
        }
        net.run_for(SECOND);
        assert!(all_see(&net, "a", Status::Alive), "in second {second}");
    }
    assert!(held > 300, "{held} were taken");
    let stats = net.hosts[0].machine.stats();
    assert!(stats.exchanges_begun - begun >= 10 && stats.exchanges_failed == failed, "{stats:?}");
    // The others exchange with it; one fails at most, in the second before which no place is held for long.
    assert!(stats.exchanges_answered - answered >= 5, "{stats:?}");
    assert!(stats.streams_displaced > 0);
    for host in [1, 2] {
        assert!(net.hosts[host].machine.stats().exchanges_failed <= 1);
    }
}
