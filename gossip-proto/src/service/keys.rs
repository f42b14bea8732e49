//! Keys of the cluster: changed and listed by queries (serf.md 8).

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::queries::{Insist, Purpose};
use super::{Life, Services};
use crate::error::{CommandError, KeyringError};
use crate::keys::{KeyCommand, KeyReport};
use crate::machine::QueryParams;
use crate::output::{OperationId, Outcome, RequestId};
use crate::swim::{KeyChange, Swim};
use crate::wire::field::{List, Text};
use crate::wire::keyring::{Key, MAX_KEYS};
use crate::wire::serf::{KeyRequest, KeyResponse, SerfType};

/// Key operations under way, of this node and of others.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Operations of this node that wait for others of it; those that run, and whether they change something.
    queued: VecDeque<Queued>,
    running: BTreeMap<u64, bool>,
    starting: bool,
    /// What came back so far, by operation.
    reports: BTreeMap<u64, KeyReport>,
    /// The change that waits for the keyring file, and who is answered then.
    storing: Option<(u64, RequestId)>,
    /// Those after it.
    waiting: VecDeque<Waiting>,
}

impl Keys {
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn held(&self) -> crate::output::Depth {
        crate::output::Depth { what: "changes of keys that wait", len: self.waiting.len(), cap: MAX_WAITING }
    }
}

#[derive(Debug)]
struct Queued {
    operation: u64,
    command: KeyCommand,
    relay_factor: u8,
}

#[derive(Debug)]
struct Waiting {
    request: RequestId,
    change: KeyChange,
    key: Key,
}

/// Numbers only: what answers say is text, with keys in it.
impl Hash for Keys {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for (operation, report) in &self.reports {
            (operation, report.nodes, report.responses, report.errors).hash(hasher);
        }
        (self.queued.len(), &self.running).hash(hasher);
        (self.storing.map(|(number, request)| (number, request.0)), self.waiting.len()).hash(hasher);
    }
}

impl Services {
    /// Has all nodes do something with a key (serf.md 8.2). Operations of this node that would disturb each other run one
    /// after the other: who is asked to use a key must have been asked to install it.
    pub(crate) fn ask_keys(
        &mut self,
        swim: &mut Swim,
        command: &KeyCommand,
        relay_factor: u8,
    ) -> Result<OperationId, CommandError> {
        if self.config.serf_protocol < 4 {
            return Err(CommandError::Unsupported);
        }
        if self.life != Life::Alive {
            return Err(CommandError::Left);
        }
        let operation = swim.begin_query()?;
        self.keys.queued.push_back(Queued { operation, command: command.clone(), relay_factor });
        self.start_keys(swim);
        Ok(OperationId(operation))
    }

    /// Begins what may run now: changes alone, lists beside each other.
    fn start_keys(&mut self, swim: &mut Swim) {
        // One that ends at once, as those of a node that is alone do, comes here from within.
        if core::mem::replace(&mut self.keys.starting, true) {
            return;
        }
        while let Some(next) = self.keys.queued.front() {
            let changes = next.command != KeyCommand::List;
            if self.keys.running.values().any(|&other| changes || other) {
                break;
            }
            let Some(Queued { operation, command, relay_factor }) = self.keys.queued.pop_front() else {
                break;
            };
            self.keys.running.insert(operation, changes);
            let nodes = swim.roster.num_members();
            match self.issue_keys(swim, operation, &command, relay_factor) {
                // A node that is alone has answered itself and is done.
                Ok(serial) if !self.queries.is_asking(serial) => {}
                // Whoever waited hears that nobody was reached.
                Err(_) => {
                    self.keys.reports.insert(operation, report_of(nodes));
                    self.keys_answered(swim, operation, 0);
                }
                Ok(_) => {
                    self.keys.reports.entry(operation).or_insert_with(|| report_of(nodes));
                }
            }
        }
        self.keys.starting = false;
    }

    fn issue_keys(
        &mut self,
        swim: &mut Swim,
        operation: u64,
        command: &KeyCommand,
        relay_factor: u8,
    ) -> Result<u32, CommandError> {
        let (name, key) = match command {
            KeyCommand::Install(key) => ("_serf_install-key", key.as_bytes()),
            KeyCommand::Use(key) => ("_serf_use-key", key.as_bytes()),
            KeyCommand::Remove(key) => ("_serf_remove-key", key.as_bytes()),
            KeyCommand::List => ("_serf_list-keys", &[][..]),
        };
        let mut payload = Vec::from([SerfType::KeyRequest.byte()]);
        // Writing to a vector cannot run out of room.
        let _ = KeyRequest { key: key.into() }.encode(&mut payload);
        let mut params = QueryParams::default();
        params.relay_factor(relay_factor);
        let begin = |_: &mut Swim| Ok(Purpose::Keys(operation));
        self.issue(swim, name.as_bytes(), &payload, &params, Insist::Answered, begin)
    }

    /// Takes a node's answer; whether there are as many as there were nodes.
    pub(super) fn key_answer(&mut self, swim: &mut Swim, operation: u64, from: u32, payload: &[u8]) -> bool {
        let nodes = swim.roster.num_members();
        let report = self.keys.reports.entry(operation).or_insert_with(|| report_of(nodes));
        report.responses += 1;
        let name = swim.roster.get(from).name.clone();
        let response = match payload.split_first() {
            Some((&kind, body)) if kind == SerfType::KeyResponse.byte() => KeyResponse::decode(body)
                .map_err(|error| format!("Failed to decode key query response: {error}")),
            _ => Err("Invalid key query response type".to_string()),
        };
        match response {
            Err(why) => {
                report.errors += 1;
                report.messages.push((name, why));
            }
            Ok((response, _)) => {
                report.errors += usize::from(!response.ok);
                if !response.ok || !response.message.is_empty() {
                    let message = &response.message[..response.message.len().min(MAX_MESSAGE)];
                    report.messages.push((name, String::from_utf8_lossy(message).into_owned()));
                }
                let decoded = |text: Text<'_>| Key::new(&STANDARD.decode(&text[..]).ok()?).ok();
                let keys = response.keys.iter().take(MAX_KEYS).filter_map(decoded);
                let mut complete = KeyReport::count(&mut report.keys, keys);
                let primary = decoded(response.primary_key).into_iter();
                complete &= KeyReport::count(&mut report.primary_keys, primary);
                swim.stats.query_answers_refused += u64::from(!complete);
            }
        }
        report.responses >= report.nodes
    }

    /// All have answered, or the time is over and so many have not. Who came while it was asked has answered too, and must not stand
    /// for one that has not: the next step of a rotation would cut that one off.
    pub(super) fn keys_answered(&mut self, swim: &mut Swim, operation: u64, missing: usize) {
        if let Some(mut report) = self.keys.reports.remove(&operation) {
            report.nodes = report.nodes.max(report.responses + missing);
            self.keys.running.remove(&operation);
            swim.complete(operation, Outcome::Keys(report));
            self.start_keys(swim);
        }
    }

    /// Carries out a key query (serf.md 8.3). The answer leaves when the keyring file has the change.
    pub(super) fn key_query(&mut self, swim: &mut Swim, id: RequestId, kind: &[u8], payload: &[u8]) {
        let change = match kind {
            b"install-key" => KeyChange::Install,
            b"use-key" => KeyChange::Use,
            b"remove-key" => KeyChange::Remove,
            _ => return self.list_keys(swim, id),
        };
        // The type byte is not looked at, as upstream does; that there is none crashes it (Q2).
        let request = payload.get(1..).and_then(|body| KeyRequest::decode(body).ok());
        let Some((request, _)) = request else { return self.answer_key(swim, id, Err(String::new())) };
        if swim.keyring().is_none() {
            return self.answer_key(swim, id, Err("No keyring to modify (encryption not enabled)".into()));
        }
        // While a cluster is on its way to being sealed anybody can ask, and the key would stay.
        if !swim.config.verify_incoming {
            return self.answer_key(
                swim,
                id,
                Err("no key changes while what is not sealed is accepted".into()),
            );
        }
        match Key::new(&request.key) {
            Ok(key) => self.change_key(swim, Waiting { request: id, change, key }),
            // Such a key is in no ring.
            Err(error) => {
                let text = match change {
                    KeyChange::Install => Err(error.to_string()),
                    KeyChange::Use => Err(KeyringError::NotPresent.to_string()),
                    KeyChange::Remove => Ok(()),
                };
                self.answer_key(swim, id, text);
            }
        }
    }

    fn change_key(&mut self, swim: &mut Swim, wanted: Waiting) {
        match swim.change_keyring(wanted.change, wanted.key.as_bytes()) {
            Ok(None) => self.answer_key(swim, wanted.request, Ok(())),
            Ok(Some(number)) => self.keys.storing = Some((number, wanted.request)),
            Err(CommandError::KeyringBusy) if self.keys.waiting.len() < MAX_WAITING => {
                self.keys.waiting.push_back(wanted);
            }
            Err(error) => self.answer_key(swim, wanted.request, Err(error.to_string())),
        }
    }

    /// The file has the change that was made last, or it was taken back; then the next one is due.
    pub(super) fn key_stored(&mut self, swim: &mut Swim, number: u64, result: Result<(), String>) {
        if let Some((_, request)) = self.keys.storing.take_if(|(storing, _)| *storing == number) {
            self.answer_key(swim, request, result);
        }
        while !swim.is_storing_keyring()
            && let Some(next) = self.keys.waiting.pop_front()
        {
            self.change_key(swim, next);
        }
    }

    fn answer_key(&mut self, swim: &mut Swim, id: RequestId, result: Result<(), String>) {
        let text = result.as_ref().err().map_or(&[][..], |text| text.as_bytes());
        let response = KeyResponse {
            ok: result.is_ok(),
            message: Cow::Borrowed(&text[..text.len().min(MAX_MESSAGE)]),
            ..KeyResponse::default()
        };
        if self.respond_key(swim, id, &response).is_err() {
            swim.stats.query_answers_unsent += 1;
        }
    }

    /// Tells all keys, or as many of the first ones as an answer has room for, and that there are more.
    fn list_keys(&mut self, swim: &mut Swim, id: RequestId) {
        let Some(ring) = swim.keyring() else {
            return self.answer_key(swim, id, Err("Keyring is empty (encryption not enabled)".into()));
        };
        if !swim.is_sealing() {
            return self.answer_key(swim, id, Err("no keys are told while answers are not sealed".into()));
        }
        let keys: Vec<Text<'_>> =
            ring.keys().iter().map(|key| Cow::Owned(STANDARD.encode(key.as_bytes()).into_bytes())).collect();
        let primary = keys.first().cloned().unwrap_or_default();
        let all = keys.len();
        // The first attempt has them all; then it is tried from this many downward (serf.md 8.3).
        let fewer = (self.config.query_response_size_limit / MIN_KEY_LEN).min(all);
        for shown in core::iter::once(all).chain((0..=fewer).rev()) {
            let message = format!("truncated key list response, showing first {shown} of {all} keys");
            let response = KeyResponse {
                ok: true,
                message: if shown == all { Cow::default() } else { Cow::Borrowed(message.as_bytes()) },
                keys: List::Lent(&keys[..shown]),
                primary_key: primary.clone(),
            };
            match self.respond_key(swim, id, &response) {
                Err(CommandError::TooBig { .. }) => {}
                Ok(()) => return,
                Err(_) => break,
            }
        }
        swim.stats.query_answers_unsent += 1;
    }

    fn respond_key(
        &mut self,
        swim: &mut Swim,
        id: RequestId,
        response: &KeyResponse<'_>,
    ) -> Result<(), CommandError> {
        let mut payload = swim.buffers.take();
        payload.push(SerfType::KeyResponse.byte());
        // Writing to a vector cannot run out of room.
        let _ = response.encode(&mut payload);
        let result = self.respond(swim, id, &payload);
        swim.buffers.give(payload);
        result
    }
}

fn report_of(nodes: usize) -> KeyReport {
    KeyReport { nodes, ..KeyReport::default() }
}

/// Changes that may wait for the file; who asks for more is refused.
const MAX_WAITING: usize = 16;
/// Longest text of an answer, made and kept; upstream's have less.
const MAX_MESSAGE: usize = 512;
/// What a key takes in an answer at least.
const MIN_KEY_LEN: usize = 25;

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
