//! Switches with which the models of papers are run on this machine.

use crate::error::ConfigError;

/// What a suspicion timeout and a transmit limit grow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logarithm {
    /// As memberlist has it: `mult * log10(n)` intervals, cut to thousandths and at least one, and
    /// `mult * ceil(log10(n + 1))` transmissions (spec 4.7, 4.11).
    Ten,
    /// As SWIM's paper has it: `mult * ceil(ln(n + 1))` of both, with 3 for `mult` (DSN 2002, section 5).
    Natural,
}

config! {
    /// For reproducing papers only: switches that take rules of this machine away, or put a paper's in their place.
    ///
    /// These are no options for users. They make a node worse at its work or unlike its neighbours, may change or go with
    /// any version, and no configuration file of the agent knows them. The defaults are the machine as it ships.
    ///
    /// What a paper calls for and [`crate::Config`] has already is not here: SWIM's K (`indirect_checks`), Lifeguard's α and β
    /// (`suspicion_mult`, `suspicion_max_mult`), and its highest score, which is 8 in the paper and 7 in its authors'
    /// code (`awareness_max`, which the score stays below); probes, gossip and push/pull are off when their interval is
    /// zero, and with gossip off rumors only ride on probes and their answers.
    ///
    /// ```
    /// use gossip_proto::{Config, Experiment, Logarithm};
    ///
    /// let mut swim = Experiment::default();
    /// swim.lha_probe(false).lha_suspicion(false).buddy_system(false);
    /// swim.logarithm(Logarithm::Natural).max_updates(6).lockstep(true).stall_rule(false).healing(false);
    /// let mut config = Config::lan("node-a", "10.0.0.1:7946".parse().unwrap());
    /// config.suspicion_mult(3).retransmit_mult(3).indirect_checks(1).experiment(swim);
    /// ```
    #[derive(PartialEq, Eq)]
    pub struct Experiment / ExperimentValues {
        /// LHA-Probe of Lifeguard: a local health score that probes slow down by, and nacks that help to judge it. Without
        /// it the score stays 0 and no helper is asked for nacks.
        lha_probe: bool = true,
        /// LHA-Suspicion of Lifeguard: suspicions that begin long and get shorter with each independent accuser. Without it
        /// they last the shortest time, and further accusers are neither counted nor passed on.
        lha_suspicion: bool = true,
        /// The buddy system of Lifeguard: a ping to a suspected member tells it so. Without it that ping carries rumors as
        /// any other.
        buddy_system: bool = true,
        /// The probe timeout grows with the local health score as the interval does: the paper says so, its authors' code and
        /// the machine as it ships keep it (spec 4.8). Helpers still answer by their own timeout.
        scaled_probe_timeout: bool = false,
        /// The clock of a probe starts with its tick, and a ping or request to a helper that cannot be sent yet holds up the
        /// prober, as in memberlist, whose prober sits in a blocked call and then finds its time over. Otherwise it starts
        /// when the ping leaves, and one that never left says nothing (contract rule 4).
        probe_from_tick: bool = false,
        /// A gossip tick that finds packets of an earlier one still waiting for the socket is made up for once they have left,
        /// as in memberlist, whose ticker keeps one tick while the gossip sits in a blocked send. Otherwise it is left out.
        gossip_keeps_tick: bool = false,
        /// Independent accusers after which a suspicion is as short as can be, Lifeguard's K: 3 in the paper. `None` is
        /// `suspicion_mult - 2` (spec 4.4). At most 1,024. In clusters too small for so many it counts as 0 either way.
        suspicion_k: Option<u32> = None,
        /// Whether a member that does not answer is suspected first, as opposed to declared dead at once (SWIM without its
        /// suspicion subprotocol).
        suspicion: bool = true,
        /// Deaths are final, as in SWIM's paper: no alive message brings back who is held for dead, and who is declared dead
        /// does not refute it. They are forgotten after `gossip_to_the_dead`, which should then outlast the run.
        final_deaths: bool = false,
        /// What timeouts of suspicions and transmit limits grow with.
        logarithm: Logarithm = Logarithm::Ten,
        /// How often each rumor is sent, however large the cluster is. `None` is by `retransmit_mult`; 0 counts as once.
        transmit_limit: Option<u32> = None,
        /// Whether rumors ride on pings, acks and the like. Without it only gossip carries them.
        piggyback: bool = true,
        /// Most rumors in one packet; SWIM's paper has 6. What a packet is for does not count.
        max_updates: usize = usize::MAX,
        /// All rumors about members share one lane, in memberlist's order (spec 4.11), instead of refutations going first
        /// and joins last.
        one_lane: bool = false,
        /// Whether a node that was stalled gives running probes and suspicions that time back (rule 6 of the contract).
        stall_rule: bool = true,
        /// Whether wrongly accused and cut-off members are helped back beyond what memberlist does: acks that tell who asks
        /// that it is accused, refutations said again to who missed them, exchanges after a contradiction or a return,
        /// or when very many become known at once, whom gossip then passes on once instead of as often as anything else.
        healing: bool = true,
        /// Ticks begin at whole multiples of their interval on this node's clock, so that all nodes with one clock tick at
        /// the same instants, as the papers' models have it. Otherwise each begins at a random point (spec 4.8). Push/pull
        /// goes by multiples of its scaled interval.
        lockstep: bool = false,
    }
    required {}
}

impl Default for Experiment {
    fn default() -> Self {
        Self::with_defaults()
    }
}

impl Experiment {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match self.suspicion_k {
            Some(1025..) => {
                Err(ConfigError::OutOfRange { parameter: "experiment.suspicion_k", allowed: "0 to 1024" })
            }
            _ => Ok(()),
        }
    }
}
