//! What must hold in every run: the invariants of `transport-mem`.

use core::time::Duration;

use gossip_proto::Machine;
use gossip_proto::wire::keyring::Keyring;
use transport_mem::net::Network;
use transport_mem::net::observe::{Bound, Invariants};

use crate::run::kind::Kind;
use crate::run::{Sim, Task, get};
use crate::scenario::{Action, Forming, MachineKind, Scenario, Step, Variant};
use crate::settings::NodeSettings;
use crate::value::Parameters;

/// So many rounds of reconnecting find whoever is lost: in each, a lost node is tried by nobody with probability 1/e.
const ROUNDS: u32 = 20;

/// After so many rounds whoever has lost a seed has been in touch with it: an attempt under way may hang, and the next one is
/// made a round later. Where somebody answers rounds are stretched as exchanges are: by two, for up to 64 nodes.
const SEED_ROUNDS: u32 = 6;

/// Begins to watch.
pub(super) fn watch<M: Machine>(
    net: &Network<M>,
    task: &Task<'_>,
    settings: &NodeSettings,
    keyring: Option<&Keyring>,
    parameters: &Parameters,
) -> Result<Invariants, String> {
    debug_assert_eq!(net.nodes().count(), 0, "pings are counted from the first on");
    let scenario = task.scenario;
    let mut rules = Invariants::new(task.line()).collecting();
    if let Some(keyring) = keyring {
        rules = rules.keyring(keyring.clone());
    }
    if let Some(budget) = get(&scenario.check.budget, parameters)? {
        rules = rules.budget(budget as u64);
    }
    let (config, _) = settings.configure("check", ([127, 0, 0, 1], 7946).into())?;
    let nodes = scenario.cluster.nodes.get(parameters)?;
    let bound = Bound::of(&config, nodes, reconnects(scenario, settings));
    let promised = || is_promised(scenario, task.variant, settings, bound, parameters);
    if scenario.check.eventually.unwrap_or_else(promised) {
        rules = rules.within(bound);
    }
    Ok(rules)
}

/// After how long those who lost each other have met again, as [`Bound::of`] wants to know it.
pub(crate) fn reconnects(scenario: &Scenario, settings: &NodeSettings) -> Duration {
    match scenario.cluster.machine {
        MachineKind::Node => settings.reconnect_interval() * ROUNDS,
        // Each attempt at a seed that runs reaches it.
        MachineKind::Membership if scenario.cluster.seeds.is_some() => settings.seed_interval() * SEED_ROUNDS,
        MachineKind::Membership => Duration::ZERO,
    }
}

/// Whether the protocol promises that all agree some time after the last fault. It does not where something goes on that it
/// may take for a fault at any time, for so long that it would be judged; where the papers' switches take parts away, or the configuration does; and where nobody
/// looks for members that were given up: [`gossip_proto::Membership`] without seeds, once it is split.
fn is_promised(
    scenario: &Scenario,
    variant: &Variant,
    settings: &NodeSettings,
    bound: Bound,
    parameters: &Parameters,
) -> bool {
    let network = &scenario.network;
    let loses = get(&network.loss, parameters).ok().flatten().is_some_and(|loss| loss.0 > 0.0);
    let slow = scenario.cluster.per_call.is_some();
    let limited = slow || network.rate.is_some() || network.mtu.is_some() || network.socket_buffer.is_some();
    let whole = scenario.cluster.experiment.is_empty() && variant.experiment.is_empty();
    let steps = || scenario.steps.iter().map(toml::Spanned::get_ref);
    let mends = match scenario.cluster.machine {
        MachineKind::Node => !settings.reconnect_interval().is_zero(),
        MachineKind::Membership => scenario.cluster.seeds.is_some() && !settings.seed_interval().is_zero(),
    };
    let lasts = |step: &Step| get(&step.lasts, parameters).ok().flatten();
    let for_ever = |step: &Step| step.hampers() && lasts(step).is_none_or(|lasts| lasts >= bound.0);
    let splits = |step: &Step| {
        step.hampers() || matches!(step.action, Action::Partition | Action::Pause | Action::StopIo)
    };
    !loses
        && !limited
        && whole
        && settings.repairs()
        && scenario.start.how != Forming::Strangers
        && !steps().any(for_ever)
        && (mends || !steps().any(splits))
}

impl<K: Kind> Sim<'_, K> {
    /// Whether no rule was broken until now.
    ///
    /// # Errors
    /// The first one that was, and what was seen.
    pub(super) fn rules_hold(&self) -> Result<(), String> {
        self.net[self.rules].broken().first().map_or(Ok(()), |broken| Err(broken.to_string()))
    }
}
