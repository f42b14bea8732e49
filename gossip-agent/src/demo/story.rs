//! What happens in the demo, chapter by chapter, and what is measured on the way.

use core::time::Duration;
use std::time::Instant;

use transport_tokio::{ChangeKind, Notice, Status};

use super::crash;
use super::screen::{Crowd, MANY, Screen, Tone};
use super::stage::{Sighting, Stage};
use crate::cause::short;
use crate::config::Problem;

/// What the story measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// For each join, until all knew each other.
    pub(crate) joins: Vec<Duration>,
    /// When each node heard the event, the sender left out, in that order.
    pub(crate) event: Vec<Duration>,
    /// From the crash to the first suspicion, and who had it.
    pub(crate) suspected: Option<(Duration, String)>,
    /// From the crash to the first verdict.
    pub(crate) declared: Option<Duration>,
    /// From the crash until nobody took it for a member any more.
    pub(crate) failed_everywhere: Option<Duration>,
    /// Who suspected it when the verdict fell.
    pub(crate) accusers: Vec<String>,
    /// From the restart until all took it for alive again.
    pub(crate) returned: Duration,
    /// From the farewell until all knew.
    pub(crate) farewell: Duration,
    /// Suspicions of nodes that were well.
    pub(crate) false_suspicions: usize,
}

/// Tells it. Fails if the machine is too busy for the cluster to get anywhere.
pub(crate) async fn tell(stage: &mut Stage, screen: &mut Screen) -> Result<Numbers, Problem> {
    let mut numbers = Numbers::default();
    screen.title(
        format_args!("gossip demo: {} nodes in one process", stage.len()),
        "Each has a UDP and a TCP port of its own on 127.0.0.1; nothing is simulated. Ctrl-C leaves.",
    );
    gather(stage, screen, &mut numbers).await?;
    spread(stage, screen, &mut numbers).await?;
    // The last but one crashes and returns, the last one leaves.
    let (victim, leaver) = (stage.len() - 2, stage.len() - 1);
    crash::tell(stage, screen, &mut numbers, victim).await?;
    come_back(stage, screen, &mut numbers, victim).await?;
    farewell(stage, screen, &mut numbers, leaver).await?;
    numbers.false_suspicions = stage.false_alarms();
    Ok(numbers)
}

async fn gather(stage: &mut Stage, screen: &mut Screen, numbers: &mut Numbers) -> Result<(), Problem> {
    screen.chapter(
        "They find each other",
        "Who joins exchanges all it knows with one member over TCP; the others hear of it by gossip over UDP.",
    );
    let pause = if stage.len() > MANY { 60 } else { 600 };
    for node in 0..stage.len() {
        let name = stage.names()[node].clone();
        let began = Instant::now();
        let addr = stage.start(node).await?;
        if node == 0 {
            screen.line(began, Tone::Action, &name, format_args!("starts at {addr}, alone"));
        } else {
            let through = stage.names()[node - 1].clone();
            screen.line(
                began,
                Tone::Action,
                &name,
                format_args!("starts at {addr}, joins through {through}"),
            );
            join(stage, node, node - 1).await?;
            let took =
                until(stage, "a join to reach all", began, |stage, _| stage.all_know_each_other()).await?;
            numbers.joins.push(took);
            let who = if node == 1 { "both know".into() } else { format!("all {} know", node + 1) };
            screen.line(
                Instant::now(),
                Tone::Good,
                &name,
                format_args!("{who} each other after {}", short(took)),
            );
        }
        stage.pause(pause).await;
    }
    Ok(())
}

async fn spread(stage: &mut Stage, screen: &mut Screen, numbers: &mut Numbers) -> Result<(), Problem> {
    screen.chapter(
        "An event reaches everyone",
        "Each node passes on what is new to three others, picked at random, a few times over.",
    );
    let sender = stage.len() / 2;
    let Some(cluster) = stage.cluster(sender).cloned() else { return Ok(()) };
    let began = Instant::now();
    screen.line(
        began,
        Tone::Action,
        &stage.names()[sender],
        "sends the user event \"deploy\" with the payload \"v42\"",
    );
    let sending = tokio::spawn(async move { cluster.user_event("deploy", "v42", false).await });
    let names = stage.names().to_vec();
    let mut heard = vec![false; names.len()];
    heard[sender] = true;
    let mut order = Vec::new();
    let mut crowd = Crowd::new(screen, &names);
    until(stage, "an event to reach all", began, |_, sighting| {
        if let Notice::UserEvent { name, payload, .. } = &sighting.notice
            && (&name[..], &payload[..]) == (b"deploy", b"v42")
            && !core::mem::replace(&mut heard[sighting.by], true)
        {
            let after = sighting.at.saturating_duration_since(began);
            order.push(after);
            crowd.say(sighting, Tone::News, format_args!("heard it after {}", short(after)));
        }
        heard.iter().all(|&heard| heard)
    })
    .await?;
    crowd.rest();
    sending
        .await
        .map_err(|error| Problem::new(error.to_string()))?
        .map_err(|error| Problem::new(format!("the event could not be sent: {error}")))?;
    numbers.event = order;
    stage.pause(BREATH).await;
    Ok(())
}

async fn come_back(
    stage: &mut Stage,
    screen: &mut Screen,
    numbers: &mut Numbers,
    victim: usize,
) -> Result<(), Problem> {
    screen.chapter(
        "It comes back",
        "Its name is on record as failed: it must claim a higher incarnation to be believed.",
    );
    let names = stage.names().to_vec();
    let began = Instant::now();
    let addr = stage.start(victim).await?;
    screen.line(
        began,
        Tone::Action,
        &names[victim],
        format_args!("starts again at {addr}, joins through {}", names[0]),
    );
    join(stage, victim, 0).await?;
    let mut crowd = Crowd::new(screen, &names);
    let took = until(stage, "the return to be noticed", began, |stage, sighting| {
        if let Notice::Change { member, kind: ChangeKind::Joined, .. } = &sighting.notice
            && member.name == names[victim].as_str()
            && sighting.by != victim
        {
            let after = short(sighting.at.saturating_duration_since(began));
            let text =
                format!("takes {} back after {after} (incarnation {})", member.name, member.incarnation);
            crowd.say(sighting, Tone::Good, text);
        }
        stage.all_know_each_other()
    })
    .await?;
    crowd.rest();
    numbers.returned = took;
    stage.pause(BREATH).await;
    Ok(())
}

async fn farewell(
    stage: &mut Stage,
    screen: &mut Screen,
    numbers: &mut Numbers,
    leaver: usize,
) -> Result<(), Problem> {
    screen.chapter(
        "One leaves in good order",
        "A farewell is news like any other, and nobody has to find anything out.",
    );
    let names = stage.names().to_vec();
    let Some(cluster) = stage.cluster(leaver).cloned() else { return Ok(()) };
    let alarms = stage.false_alarms();
    let began = Instant::now();
    screen.line(began, Tone::Action, &names[leaver], "says good-bye");
    let leaving = tokio::spawn(async move { cluster.leave().await });
    let mut crowd = Crowd::new(screen, &names);
    numbers.farewell = until(stage, "the farewell to be heard", began, |stage, sighting| {
        if let Notice::Change { member, kind: ChangeKind::Left, .. } = &sighting.notice
            && member.name == names[leaver].as_str()
            && sighting.by != leaver
        {
            let after = short(sighting.at.saturating_duration_since(began));
            crowd.say(
                sighting,
                Tone::Gone,
                format_args!("knows after {after} that {} has left", member.name),
            );
        }
        stage.all_believe(leaver, Status::Left)
    })
    .await?;
    crowd.rest();
    let _ = leaving.await;
    stage.kill(leaver).await;
    if stage.false_alarms() == alarms {
        screen.note(format_args!("{} nodes go on, and nobody took it for a crash", stage.running()));
    }
    Ok(())
}

async fn join(stage: &Stage, node: usize, through: usize) -> Result<(), Problem> {
    let (Some(cluster), Some(seed)) = (stage.cluster(node), stage.cluster(through)) else { return Ok(()) };
    let target = seed.local_addr().to_string();
    cluster.join(&[target]).await.map(drop).map_err(|error| Problem::new(format!("the join failed: {error}")))
}

/// Waits until `done`, which sees everything that is noticed meanwhile; how long that took since `began`.
async fn until(
    stage: &mut Stage,
    what: &str,
    began: Instant,
    mut done: impl FnMut(&Stage, &Sighting) -> bool,
) -> Result<Duration, Problem> {
    let patience = patience(stage);
    let deadline = Instant::now() + patience;
    while let Some(sighting) = stage.next(deadline).await {
        if done(stage, &sighting) {
            return Ok(sighting.at.saturating_duration_since(began));
        }
    }
    Err(late(what, patience))
}

/// However fast the story goes, a busy machine is given some time for each step.
pub(crate) fn patience(stage: &Stage) -> Duration {
    stage.pace().millis(30_000).max(Duration::from_secs(20))
}

pub(crate) fn late(what: &str, waited: Duration) -> Problem {
    Problem::new(format!(
        "waited {} for {what}; is this machine very busy? try again with --speed 0.5",
        short(waited)
    ))
}

/// Time to read between two chapters, in milliseconds.
pub(crate) const BREATH: u64 = 2300;
