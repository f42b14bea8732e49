//! What others can make grow in the services, against its cap: for tests and fuzz targets.

use super::Services;
use crate::output::Depth;
use crate::swim::Swim;

impl Services {
    pub(crate) fn held(&self, swim: &Swim) -> [Depth; 9] {
        let of = |what, len, cap| Depth { what, len, cap };
        let [open, patterns] = self.queries.held(&self.config);
        let [states, gone] = self.states_held(swim);
        [
            self.events.held(),
            open,
            patterns,
            states,
            gone,
            self.keys.held(),
            of("recent intents", self.recent.len(), self.config.max_recent_intents),
            of("learnt addresses", self.learnt.len(), self.config.max_learnt),
            of("service members", self.members.len(), swim.roster.slots() as usize),
        ]
    }
}
