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

/// What a packet says of a name, in its order.
fn said<'p>(packet: &'p Packet<'p>, name: &Name<'_>) -> Vec<&'p RData<'p>> {
    let records = packet.answers.iter().chain(&packet.additional_records);
    records.filter(|record| record.name == *name).map(|record| &record.rdata).collect()
}

/// As the rules say it: for each entry the first record of its name, of those of a kind, wherever it stands.
fn looked_for(service: &Service, packet: &Packet<'_>) -> Vec<SocketAddr> {
    let entry = |instance: &Name<'_>| {
        let said_of_it = said(packet, instance);
        said_of_it.iter().find(|data| matches!(data, RData::TXT(_)))?;
        let place = said_of_it.iter().find_map(|data| match data {
            RData::SRV(place) => Some(place),
            _ => None,
        })?;
        let ip = said(packet, &place.target).iter().find_map(|data| match data {
            RData::A(A { address }) => Some(IpAddr::V4((*address).into())),
            RData::AAAA(AAAA { address }) => Some(IpAddr::V6((*address).into())),
            _ => None,
        })?;
        (place.port != 0 && !ip.is_unspecified()).then(|| SocketAddr::new(ip, place.port))
    };
    let pointers = said(packet, &service.name).into_iter();
    pointers.filter_map(|data| if let RData::PTR(PTR(to)) = data { entry(to) } else { None }).collect()
}

#[test]
fn entries_are_found_wherever_their_records_stand() {
    let service = service();
    let mut random = fastrand::Rng::with_seed(2);
    let names =
        ["a._serf_blue._tcp.local", "A._Serf_blue._tcp.LOCAL", "b._serf_blue._tcp.local", "host", "HOST"];
    let name = |random: &mut fastrand::Rng| Name::new(names[random.usize(..names.len())]).unwrap();
    let (mut most, mut none) = (0, 0);
    for _ in 0..2000 {
        let mut packet = Packet::new_reply(0);
        for _ in 0..random.usize(1..20) {
            let port = random.u16(..4);
            let target = name(&mut random);
            let (of, data) = match random.u8(..5) {
                0 => (service.name.clone(), RData::PTR(PTR(target))),
                1 => (name(&mut random), RData::SRV(SRV { priority: 0, weight: 0, port, target })),
                2 => (target, RData::TXT(TXT::new().with_string("Serf").unwrap())),
                3 => (target, RData::A(A { address: random.u32(..3) })),
                _ => (target, RData::AAAA(AAAA { address: 0xfd00 << 112 | random.u128(..3) })),
            };
            let records = if random.bool() { &mut packet.answers } else { &mut packet.additional_records };
            records.push(record(of, data));
        }
        let bytes = packet.build_bytes_vec().unwrap();
        let found = service.found(&bytes).unwrap();
        assert_eq!(found, looked_for(&service, &parse(&bytes).unwrap()), "{packet:?}");
        most = most.max(found.len());
        none += u32::from(found.is_empty());
    }
    assert!(most > 3 && (100..1900).contains(&none), "{most} {none}");
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
