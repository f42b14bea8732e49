//! User events (serf.md 2.3, 3.4, 3.11).

use super::ring::Seen;
use super::{Life, Services};
use crate::error::CommandError;
use crate::output::OperationId;
use crate::swim::{Lane, Swim, Waiter};
use crate::wire::serf::{SerfType, UserEvent};

impl Services {
    /// Handles a user event; whether to pass it on.
    pub(crate) fn user_event(&mut self, swim: &mut Swim, event: &UserEvent<'_>) -> bool {
        // No Serf node lets a larger one out (serf.md 3.11).
        if event.name.len() + event.payload.len() > MAX_USER_EVENT {
            swim.stats.user_events_refused += 1;
            return false;
        }
        self.event_clock.witness(event.ltime);
        let now = self.event_clock.time();
        let ring = self.events.len();
        if event.ltime < self.event_min || (now > ring && event.ltime < now - ring) {
            swim.stats.user_events_old += 1;
            return false;
        }
        match self.events.insert(event.ltime, &event.name, &event.payload) {
            Seen::New => {
                swim.stats.user_events += 1;
                swim.emit_user_event(event.ltime, &event.name, &event.payload, event.coalesce);
                true
            }
            Seen::Duplicate => {
                swim.stats.user_events_duplicate += 1;
                false
            }
            Seen::Full => {
                swim.stats.user_events_refused += 1;
                false
            }
        }
    }

    /// Fires a user event of the application's.
    pub(crate) fn fire(
        &mut self,
        swim: &mut Swim,
        name: &[u8],
        payload: &[u8],
        coalesce: bool,
    ) -> Result<OperationId, CommandError> {
        if self.life != Life::Alive {
            return Err(CommandError::Left);
        }
        let ltime = self.event_clock.time();
        let event = UserEvent { ltime, name: name.into(), payload: payload.into(), coalesce };
        let len = 1 + event.encoded_len();
        // Beyond a datagram gossip would carry it nowhere, whatever the limit says (serf.md 3.11).
        let (max, limit) = swim.broadcast_limit(self.config.user_event_size_limit, "user_event_size_limit");
        let raw = name.len() + payload.len();
        if raw > max || len > max {
            return Err(CommandError::TooBig { len: raw.max(len), max, limit });
        }
        let key = swim.begin_announcement()?;
        self.event_clock.take();
        let mut message = swim.buffers.take();
        message.push(SerfType::UserEvent.byte());
        let encoded = event.encode(&mut message);
        self.user_event(swim, &event);
        if encoded.is_ok() {
            swim.broadcast(Lane::Event, &[&message], Some(Waiter::Operation(key)));
        }
        swim.buffers.give(message);
        swim.end_lonely_announcement(key);
        Ok(OperationId(key))
    }
}

/// The largest user event there is: name and payload (serf.md 3.11).
const MAX_USER_EVENT: usize = 9216;
