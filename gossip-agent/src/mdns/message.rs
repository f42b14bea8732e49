//! What agents ask and answer: DNS messages about the service of one cluster (serf.md 9.6).

use core::net::{IpAddr, SocketAddr};

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
        let mut found = Vec::new();
        for instance in records().filter(|record| record.name == self.name) {
            let RData::PTR(PTR(instance)) = &instance.rdata else { continue };
            let of = |record: &&ResourceRecord<'_>| record.name == *instance;
            let described = records().filter(of).any(|record| matches!(record.rdata, RData::TXT(_)));
            let place = records().filter(of).find_map(|record| match &record.rdata {
                RData::SRV(place) => Some(place),
                _ => None,
            });
            let Some(place) = place.filter(|place| described && place.port != 0) else { continue };
            let ip = records().filter(|record| record.name == place.target).find_map(|record| {
                match record.rdata {
                    RData::A(A { address }) => Some(IpAddr::V4(address.into())),
                    RData::AAAA(AAAA { address }) => Some(IpAddr::V6(address.into())),
                    _ => None,
                }
            });
            // An IPv4 address in the form of IPv6 is not seen to be unspecified before it is brought back.
            let ip = ip.map(|ip| ip.to_canonical());
            if let Some(ip) = ip.filter(|ip| !ip.is_unspecified() && !ip.is_multicast()) {
                found.push(SocketAddr::new(ip, place.port));
            }
        }
        Some(found)
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
mod tests {
    use super::*;

    fn service() -> Service {
        Service::new("blue").unwrap()
    }

    fn answerer(addr: &str) -> Answerer {
        Answerer::new(service(), b"web-1", "host.example", addr.parse().unwrap())
    }

    fn ask(name: &str, kind: TYPE, unicast: bool) -> Vec<u8> {
        let mut packet = Packet::new_query(77);
        let (name, class) = (Name::new(name).unwrap(), QCLASS::CLASS(CLASS::IN));
        packet.questions.push(Question::new(name, kind.into(), class, unicast));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn who_asks_finds_who_answers() {
        for addr in ["10.0.0.7:7946", "[fd00::7]:7000"] {
            let reply = answerer(addr).answer(&service().question()).unwrap();
            assert_eq!(service().found(&reply), Some(vec![addr.parse().unwrap()]));
            assert_eq!(Service::new("green").unwrap().found(&reply), Some(vec![]));
        }
        assert!(answerer("10.0.0.7:7946").answer(&Service::new("green").unwrap().question()).is_none());
    }

    #[test]
    fn the_answer_is_serfs() {
        let reply = answerer("10.0.0.7:7946").answer(&service().question()).unwrap();
        let packet = Packet::parse(&reply).unwrap();
        assert_eq!(packet.id(), 0);
        assert!(packet.has_flags(PacketFlag::RESPONSE | PacketFlag::AUTHORITATIVE_ANSWER));
        assert!(packet.questions.is_empty() && packet.additional_records.is_empty());
        let names: Vec<_> = packet.answers.iter().map(|record| record.name.to_string()).collect();
        let instance = "web-1._serf_blue._tcp.local";
        assert_eq!(names, ["_serf_blue._tcp.local", instance, "host.example", instance]);
        assert!(packet.answers.iter().all(|record| record.ttl == 120 && !record.cache_flush));
        let [RData::PTR(PTR(pointer)), RData::SRV(place), RData::A(address), RData::TXT(text)] =
            [0, 1, 2, 3].map(|index| &packet.answers[index].rdata)
        else {
            panic!("{packet:?}")
        };
        assert_eq!(pointer.to_string(), instance);
        assert_eq!((place.priority, place.weight, place.port), (10, 1, 7946));
        assert_eq!(place.target.to_string(), "host.example");
        assert_eq!(address.address, u32::from_be_bytes([10, 0, 0, 7]));
        assert_eq!(text.iter_raw().next().unwrap().0, b"Serf 'blue' cluster");
    }

    #[test]
    fn single_records_can_be_asked_for() {
        let answerer = answerer("10.0.0.7:7946");
        for (name, kind, count) in [
            ("_SERF_blue._tcp.local", TYPE::PTR, 4),
            ("_serf_blue._tcp.local", TYPE::A, 0),
            ("_services._dns-sd._udp.local", TYPE::PTR, 1),
            ("web-1._serf_blue._tcp.local", TYPE::SRV, 2),
            ("web-1._serf_blue._tcp.local", TYPE::TXT, 1),
            ("host.example", TYPE::A, 1),
            ("host.example", TYPE::AAAA, 0),
            ("other._serf_blue._tcp.local", TYPE::SRV, 0),
        ] {
            let reply = answerer.answer(&ask(name, kind, true));
            let answers = reply.map_or(0, |reply| {
                let packet = Packet::parse(&reply).unwrap();
                assert_eq!(packet.id(), 77, "asked for by unicast");
                packet.answers.len()
            });
            assert_eq!(answers, count, "{name} {kind:?}");
        }
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        let answerer = answerer("10.0.0.7:7946");
        let reply = answerer.answer(&service().question()).unwrap();
        assert!(answerer.answer(&reply).is_none(), "two agents must not talk for ever");
        assert!(service().found(&service().question()).is_none());
        let question = service().question();
        for (byte, bits) in [(2, 0x80), (2, 0x08), (2, 0x02), (3, 0x01)] {
            let mut strange = question.clone();
            strange[byte] |= bits;
            assert!(answerer.answer(&strange).is_none(), "{byte}: {bits:x}");
        }
    }

    #[test]
    fn an_entry_must_be_complete() {
        let reply = answerer("10.0.0.7:7946").answer(&service().question()).unwrap();
        for missing in 0..4 {
            let mut packet = Packet::parse(&reply).unwrap();
            packet.answers.remove(missing);
            let bytes = packet.build_bytes_vec().unwrap();
            assert_eq!(service().found(&bytes), Some(vec![]), "{missing}");
        }
    }

    #[test]
    fn any_bytes_can_be_read() {
        let (answerer, service) = (answerer("10.0.0.7:7946"), service());
        let reply = answerer.answer(&service.question()).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        for valid in [reply, service.question()] {
            for _ in 0..20_000 {
                let mut packet = valid.clone();
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(..packet.len());
                    packet[at] = random.u8(..);
                }
                packet.truncate(random.usize(..=valid.len()));
                let _ = (service.found(&packet), answerer.answer(&packet));
            }
        }
        // 65,535 records of each kind, and none of them there.
        let mut packet = vec![0; 12];
        packet[4..].fill(0xff);
        assert!(parse(&packet).is_none());
    }

    #[test]
    fn names_that_the_dns_cannot_hold_are_cut() {
        for name in
            ["n".repeat(512), "ü".repeat(200), "a.".repeat(200), "..".into(), String::new(), "a\\b c".into()]
        {
            let answerer = Answerer::new(service(), name.as_bytes(), &name, ([10, 0, 0, 7], 7946).into());
            let reply = answerer.answer(&service().question()).unwrap();
            assert_eq!(service().found(&reply).unwrap().len(), 1, "{name}");
        }
    }

    #[test]
    fn the_name_of_a_cluster_fits_a_label() {
        assert!(Service::new("a.b-c_d").is_ok() && Service::new(&"x".repeat(57)).is_ok());
        for name in [&"x".repeat(58), "", "a b", "a\\b", "a\n", "a..b"] {
            assert!(Service::new(name).is_err(), "{name:?}");
        }
    }
}
