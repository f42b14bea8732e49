//! What agents ask and answer: DNS messages about the service of one cluster (serf.md 9.6).

use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;

use simple_dns::rdata::{A, AAAA, PTR, RData, SRV, TXT};
use simple_dns::{
    CLASS, Label, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
};

/// The service of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    cluster: String,
    name: Name<'static>,
}

impl Service {
    /// Reads the name given with `--discover`.
    pub(crate) fn new(cluster: &str) -> Result<Self, String> {
        let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
        if cluster.contains(odd) || cluster.split('.').any(str::is_empty) {
            return Err(
                "it must not be empty, nor have spaces, control characters, backslashes or dots in a row"
                    .into(),
            );
        }
        let text = format!("_serf_{cluster}._tcp.local");
        let name =
            Name::new(&text).map_err(|_| "the part before each dot has at most 57 bytes".to_owned())?;
        Ok(Self { cluster: cluster.into(), name: name.into_owned() })
    }

    /// Asks everybody for it.
    pub(crate) fn question(&self) -> Vec<u8> {
        let mut packet = Packet::new_query(0);
        let kind = QTYPE::TYPE(TYPE::PTR);
        packet.questions.push(Question::new(self.name.clone(), kind, QCLASS::CLASS(CLASS::IN), false));
        // Into a vector, and one name: nothing can go wrong.
        packet.build_bytes_vec().unwrap_or_default()
    }

    /// The nodes that a message tells of, each complete in itself; `None` if it is no answer at all.
    pub(crate) fn found(&self, packet: &[u8]) -> Option<Vec<SocketAddr>> {
        let packet = parse(packet)?;
        if !packet.has_flags(PacketFlag::RESPONSE) || packet.rcode() != RCODE::NoError {
            return None;
        }
        let records = || packet.answers.iter().chain(&packet.additional_records);
        let told = Told::of(records());
        let mut found = Vec::new();
        for record in records().filter(|record| record.name == self.name) {
            let RData::PTR(PTR(instance)) = &record.rdata else { continue };
            let Some(Told { place: Some(place), described: true, .. }) = told.get(instance) else { continue };
            let ip = told.get(&place.target).and_then(|host| host.ip);
            // An IPv4 address in the form of IPv6 is not seen to be unspecified before it is brought back.
            let ip = ip.map(|ip| ip.to_canonical());
            if let Some(ip) = ip.filter(|ip| place.port != 0 && !ip.is_unspecified() && !ip.is_multicast()) {
                found.push(SocketAddr::new(ip, place.port));
            }
        }
        Some(found)
    }
}

/// What a message tells of a name; the first of several counts.
#[derive(Default)]
struct Told<'a> {
    described: bool,
    place: Option<&'a SRV<'a>>,
    ip: Option<IpAddr>,
}

impl<'a> Told<'a> {
    /// Every record is looked at once: to look for each entry's among all of them would take millions of steps for a packet.
    fn of(records: impl Iterator<Item = &'a ResourceRecord<'a>>) -> HashMap<&'a Name<'a>, Self> {
        let mut names: HashMap<_, Self> = HashMap::new();
        for record in records {
            let told = names.entry(&record.name).or_default();
            match &record.rdata {
                RData::TXT(_) => told.described = true,
                RData::SRV(place) => told.place = told.place.or(Some(place)),
                RData::A(A { address }) => told.ip = told.ip.or_else(|| Some(IpAddr::V4((*address).into()))),
                RData::AAAA(AAAA { address }) => {
                    told.ip = told.ip.or_else(|| Some(IpAddr::V6((*address).into())))
                }
                _ => {}
            }
        }
        names
    }
}

/// What this node answers.
#[derive(Clone, Debug)]
pub(crate) struct Answerer {
    service: Service,
    instance: Name<'static>,
    host: Name<'static>,
    addr: SocketAddr,
    text: String,
}

impl Answerer {
    pub(crate) fn new(service: Service, node: &[u8], host: &str, addr: SocketAddr) -> Self {
        let node = String::from_utf8_lossy(node);
        let mut instance = labels(&node);
        instance.extend_from_slice(service.name.get_labels());
        // Longer ones are left out.
        let text = format!("Serf '{}' cluster", service.cluster);
        Self {
            instance: Name::new_with_labels(&instance).into_owned(),
            host: Name::new_with_labels(&labels(host)).into_owned(),
            service,
            addr,
            text,
        }
    }

    /// The answer to a message, if it asks for what this node knows.
    pub(crate) fn answer(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let packet = parse(packet)?;
        let strange = packet.has_flags(PacketFlag::RESPONSE) || packet.has_flags(PacketFlag::TRUNCATION);
        if strange || packet.opcode() != OPCODE::StandardQuery || packet.rcode() != RCODE::NoError {
            return None;
        }
        let mut answers: Vec<ResourceRecord<'_>> = Vec::new();
        let mut unicast = false;
        for question in &packet.questions {
            if !matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY) {
                continue;
            }
            for record in self.about(question) {
                unicast |= question.unicast_response;
                if !answers.contains(&record) {
                    answers.push(record);
                }
            }
        }
        if answers.is_empty() {
            return None;
        }
        let mut reply = Packet::new_reply(if unicast { packet.id() } else { 0 });
        reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        reply.answers = answers;
        reply.build_bytes_vec_compressed().ok()
    }

    fn about(&self, question: &Question<'_>) -> Vec<ResourceRecord<'_>> {
        let wanted = |kind: TYPE| question.qtype == QTYPE::ANY || question.qtype == QTYPE::TYPE(kind);
        let name = &question.qname;
        if *name == self.service.name && wanted(TYPE::PTR) {
            return vec![self.pointer(), self.place(), self.address(), self.description()];
        }
        if *name == self.instance {
            let place = wanted(TYPE::SRV).then(|| [self.place(), self.address()]);
            let description = wanted(TYPE::TXT).then(|| self.description());
            return place.into_iter().flatten().chain(description).collect();
        }
        if *name == self.host && wanted(if self.addr.is_ipv4() { TYPE::A } else { TYPE::AAAA }) {
            return vec![self.address()];
        }
        let services = Name::new_unchecked("_services._dns-sd._udp.local");
        if *name == services && wanted(TYPE::PTR) {
            return vec![record(services, RData::PTR(PTR(self.service.name.clone())))];
        }
        Vec::new()
    }

    fn pointer(&self) -> ResourceRecord<'_> {
        record(self.service.name.clone(), RData::PTR(PTR(self.instance.clone())))
    }

    fn place(&self) -> ResourceRecord<'_> {
        let place = SRV { priority: 10, weight: 1, port: self.addr.port(), target: self.host.clone() };
        record(self.instance.clone(), RData::SRV(place))
    }

    fn address(&self) -> ResourceRecord<'_> {
        let address = match self.addr.ip() {
            IpAddr::V4(ip) => RData::A(A { address: ip.into() }),
            IpAddr::V6(ip) => RData::AAAA(AAAA { address: ip.into() }),
        };
        record(self.host.clone(), address)
    }

    fn description(&self) -> ResourceRecord<'_> {
        let text = TXT::new();
        let text = text.with_string(&self.text).unwrap_or_default();
        record(self.instance.clone(), RData::TXT(text))
    }
}

fn record<'a>(name: Name<'a>, data: RData<'a>) -> ResourceRecord<'a> {
    ResourceRecord::new(name, CLASS::IN, TTL, data)
}

/// The labels of a name that was not made for the DNS: cut to what fits.
fn labels(name: &str) -> Vec<Label<'static>> {
    let mut room = MAX_NAME;
    let mut labels = Vec::new();
    for part in name.split('.').filter(|part| !part.is_empty()) {
        let mut end = part.len().min(MAX_LABEL).min(room);
        while !part.is_char_boundary(end) {
            end -= 1;
        }
        // Each label has its length in front.
        room = room.saturating_sub(end + 1);
        if end > 0 {
            labels.push(Label::new_unchecked(part.as_bytes()[..end].to_vec()));
        }
    }
    if labels.is_empty() {
        labels.push(Label::new_unchecked(b"node".to_vec()));
    }
    labels
}

/// Reads a message. The parser reserves room for as many records as the head announces.
fn parse(packet: &[u8]) -> Option<Packet<'_>> {
    let counts = packet.get(4..12)?.chunks(2).map(|count| usize::from(count[0]) << 8 | usize::from(count[1]));
    if counts.sum::<usize>() > MAX_RECORDS {
        return None;
    }
    Packet::parse(packet).ok()
}

const TTL: u32 = 120;
const MAX_LABEL: usize = 63;
/// Of a node's or host's name, which leaves room for the service.
const MAX_NAME: usize = 120;
/// Questions and records of one message.
const MAX_RECORDS: usize = 512;

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
