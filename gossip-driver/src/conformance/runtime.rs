//! What a driver expects of its runtime.

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use async_channel::bounded;
use gossip_proto::Instant;

use super::lab::Lab;
use super::{Factory, Outcome, ensure};
use crate::runtime::{Runtime, Timer};

pub(super) async fn keeps_time<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let runtime = &lab.runtime;
    let mut last = runtime.now();
    for _ in 0..1000 {
        let now = runtime.clone().now();
        ensure!(now >= last, "the clock went back from {last} to {now}");
        last = now;
    }
    let mut timer = runtime.timer();
    let unset = lab.until(SHORT, poll_fn(|cx| timer.poll_expired(cx))).await;
    ensure!(unset.is_none(), "a timer that was not set goes off");
    timer.set(Instant::ORIGIN);
    lab.within("a timer set to the past does not go off", poll_fn(|cx| timer.poll_expired(cx))).await?;
    let still = poll_fn(|cx| Poll::Ready(timer.poll_expired(cx).is_ready())).await;
    ensure!(still, "a timer that has gone off is not ready any more");

    let due = runtime.now() + SHORT;
    timer.set(due);
    lab.within("a timer does not go off", poll_fn(|cx| timer.poll_expired(cx))).await?;
    ensure!(runtime.now() >= due, "a timer went off at {}, before {due}", runtime.now());

    // Set again while it is waited for: earlier, then later. The time it was set to before means nothing.
    timer.set(Instant::MAX);
    poll_fn(|cx| Poll::Ready(timer.poll_expired(cx).is_ready())).await;
    let sooner = runtime.now() + SHORT;
    timer.set(sooner);
    lab.within(
        "a timer that was set to an earlier time does not go off",
        poll_fn(|cx| timer.poll_expired(cx)),
    )
    .await?;
    timer.set(runtime.now() + SHORT);
    poll_fn(|cx| Poll::Ready(timer.poll_expired(cx).is_ready())).await;
    let later = runtime.now() + SHORT * 4;
    timer.set(later);
    lab.within("a timer that was set to a later time does not go off", poll_fn(|cx| timer.poll_expired(cx)))
        .await?;
    ensure!(runtime.now() >= later, "a timer that was set to a later time goes off at the earlier one");

    let due = runtime.now() + SHORT;
    lab.within("sleep_until does not end", runtime.sleep_until(due)).await?;
    ensure!(runtime.now() >= due, "sleep_until ended at {}, before {due}", runtime.now());
    Ok(())
}

pub(super) async fn runs_tasks<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let runtime = &lab.runtime;
    let (done, ended) = bounded(TASKS);
    for number in 0..TASKS {
        let (inside, done) = (runtime.clone(), done.clone());
        runtime.spawn(async move {
            inside.sleep_until(inside.now() + Duration::from_millis(number as u64 % 20)).await;
            // The receiver is gone only if the check has failed already.
            let _ = done.send(number).await;
        });
    }
    drop(done);
    let collect = async {
        let mut sum = 0;
        while let Ok(number) = ended.recv().await {
            sum += number;
        }
        sum
    };
    let sum = lab.within("tasks that were spawned do not end", collect).await?;
    ensure!(sum == TASKS * (TASKS - 1) / 2, "not every task that was spawned has run");
    let work = runtime.blocking(|| (0..1000_u64).sum::<u64>());
    let found = lab.within("work that blocks is not done", work).await?;
    ensure!(found == 499_500, "work that blocks gave {found}");
    Ok(())
}

const SHORT: Duration = Duration::from_millis(20);
const TASKS: usize = 500;
