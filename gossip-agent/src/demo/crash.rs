//! The chapter about the crash: who doubts, why, who confirms, and when the verdict falls.

use core::time::Duration;
use std::time::Instant;

use transport_tokio::{Cause, ChangeKind, Name, Notice, Status};

use super::screen::{Crowd, Screen, Tone};
use super::stage::{Sighting, Stage};
use super::story::{BREATH, Numbers, late, patience};
use crate::cause::{self, list, short};
use crate::config::Problem;

/// Lets `victim` crash, and tells how the others find out.
pub(crate) async fn tell(
    stage: &mut Stage,
    screen: &mut Screen,
    numbers: &mut Numbers,
    victim: usize,
) -> Result<(), Problem> {
    screen.chapter(
        "One crashes",
        "Each node pings one other at a time. Without an answer it asks helpers to try, and tries TCP, before it doubts.",
    );
    let names = stage.names().to_vec();
    let began = Instant::now();
    screen.line(began, Tone::Bad, &names[victim], "crashes: its ports close, without a farewell");
    stage.kill(victim).await;
    let mut tally = Tally::new(Crowd::new(screen, &names), victim, began);
    let mut doubters = Doubters::new(stage).await;
    let deadline = Instant::now() + patience(stage);
    while !stage.all_believe(victim, Status::Failed) {
        if Instant::now() >= deadline {
            return Err(late("the crash to be found out", patience(stage)));
        }
        // Between two sightings there is time to look whose own pings fail.
        match stage.next(Instant::now() + Duration::from_millis(20)).await {
            Some(sighting) => tally.hear(&sighting),
            None => tally.confirm(&doubters.new_ones(stage).await),
        }
    }
    numbers.failed_everywhere = Some(began.elapsed());
    let (suspected, declared, accusers) = tally.finish();
    let since = suspected.as_ref().map_or(Duration::ZERO, |(after, _)| *after);
    numbers.suspected = suspected;
    numbers.declared = declared;
    numbers.accusers = accusers.iter().map(ToString::to_string).collect();
    if let (Some(declared), [first, others @ ..]) = (declared, accusers.as_slice())
        && !others.is_empty()
    {
        let longest = stage.longest_suspicion();
        screen.note(format_args!(
            "{first} alone would have waited up to {}; {} agreed, and so it took {}",
            short(longest),
            list(others),
            short(declared.saturating_sub(since))
        ));
    }
    stage.pause(BREATH).await;
    Ok(())
}

/// Notices which nodes have got no answer to a ping of their own.
struct Doubters(Vec<u64>);

impl Doubters {
    async fn new(stage: &Stage) -> Self {
        Self(stage.failed_probes().await)
    }

    async fn new_ones(&mut self, stage: &Stage) -> Vec<usize> {
        let now = stage.failed_probes().await;
        let grown = (0..now.len()).filter(|&node| now[node] > self.0[node]).collect();
        self.0 = now;
        grown
    }
}

/// What is told and measured while a crash is found out.
struct Tally<'a> {
    crowd: Crowd<'a>,
    victim: usize,
    began: Instant,
    suspected: Option<(Duration, usize)>,
    declared: Option<Duration>,
    accusers: Vec<Name>,
    /// Who said already that its own ping failed.
    doubted: Vec<usize>,
}

impl<'a> Tally<'a> {
    fn new(crowd: Crowd<'a>, victim: usize, began: Instant) -> Self {
        Self {
            crowd,
            victim,
            began,
            suspected: None,
            declared: None,
            accusers: Vec::new(),
            doubted: Vec::new(),
        }
    }

    fn hear(&mut self, sighting: &Sighting) {
        let Notice::Change { member, kind, cause } = &sighting.notice else { return };
        if member.name != self.crowd.names[self.victim].as_str() {
            return;
        }
        let after = sighting.at.saturating_duration_since(self.began);
        let who = &member.name;
        match (kind, cause) {
            (ChangeKind::Suspected, cause) => {
                self.suspected.get_or_insert((after, sighting.by));
                match cause {
                    Cause::Accused { by, .. } => {
                        self.crowd.say(sighting, Tone::Note, format!("hears that {by} suspects {who}"));
                    }
                    cause => {
                        self.doubted.push(sighting.by);
                        self.crowd.say(
                            sighting,
                            Tone::Doubt,
                            format!("suspects {who}: {}", cause::text(cause)),
                        );
                    }
                }
            }
            (ChangeKind::Refuted, _) => {
                self.crowd.say(sighting, Tone::Good, format!("hears that {who} is well"))
            }
            (ChangeKind::Failed, cause) => {
                if self.declared.is_none() {
                    // Those who hear it next fill the screen anew.
                    self.crowd.told = 0;
                }
                self.declared.get_or_insert(after);
                if let Cause::Expired { accusers, .. } = cause
                    && self.accusers.is_empty()
                {
                    self.accusers = accusers.to_vec();
                }
                match cause {
                    Cause::Declared { by } => {
                        self.crowd.say(
                            sighting,
                            Tone::Note,
                            format!("hears from {by} that {who} has failed"),
                        );
                    }
                    cause => {
                        self.crowd.say(
                            sighting,
                            Tone::Bad,
                            format!("declares {who} failed: {}", cause::text(cause)),
                        );
                    }
                }
            }
            _ => {}
        }
    }

    /// Nodes whose own pings failed as well: to the first suspicion they add theirs.
    fn confirm(&mut self, doubters: &[usize]) {
        if self.suspected.is_none() || self.declared.is_some() {
            return;
        }
        for &by in doubters {
            if !self.doubted.contains(&by) {
                self.doubted.push(by);
                let text = "confirms: no answer to its own ping either";
                self.crowd.say_at(Instant::now(), Tone::Doubt, by, text);
            }
        }
    }

    fn finish(self) -> (Option<(Duration, String)>, Option<Duration>, Vec<Name>) {
        let suspected = self.suspected.map(|(after, by)| (after, self.crowd.names[by].clone()));
        self.crowd.rest();
        (suspected, self.declared, self.accusers)
    }
}
