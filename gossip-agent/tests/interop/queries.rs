//! Queries reach everybody, and everybody's answers come back, from either kind of agent.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::process::Process;
use crate::serf::Serf;
use crate::view::{Agent as _, assert_no_complaints, wait_for_agreement};
use crate::wait::{HEARSAY, wait_until};

/// Three agents of each kind. Those of Serf answer the query `load` by a script.
struct Six {
    serf: Vec<Serf>,
    ours: Vec<Ours>,
    /// Lines of each of ours that were looked at.
    seen: Vec<usize>,
    /// Payloads of the queries each of ours has heard.
    heard: Vec<BTreeSet<String>>,
}

impl Six {
    fn start() -> Self {
        let handler = ["-event-handler", "query:load=printf 'ok %s' \"$(cat)\""];
        let first = Serf::start("serf-1", &Place::loopback(), &handler);
        let seed = first.addr();
        let mut serf = vec![first];
        for name in ["serf-2", "serf-3"] {
            let agent = Serf::start(name, &Place::loopback(), &handler);
            agent.join(seed);
            serf.push(agent);
        }
        let start = |name: &&str| Ours::start(name, &Place::loopback(), &["--join", &seed.to_string()]);
        let ours: Vec<Ours> = ["ours-1", "ours-2", "ours-3"].iter().map(start).collect();
        let mut six = Self { seen: vec![0; 3], heard: vec![BTreeSet::new(); 3], serf, ours };
        let [s1, s2, s3] = &mut six.serf[..] else { unreachable!() };
        let [o1, o2, o3] = &mut six.ours[..] else { unreachable!() };
        wait_for_agreement(&mut [s1, s2, s3, o1, o2, o3], HEARSAY);
        six
    }

    fn names(&self) -> BTreeSet<String> {
        let serf = self.serf.iter().map(|agent| agent.name().to_owned());
        serf.chain(self.ours.iter().map(|agent| agent.name().to_owned())).collect()
    }

    /// Has ours answer what they have heard since the last time; what they printed besides.
    fn answer(&mut self) -> Vec<(usize, Value)> {
        let mut rest = Vec::new();
        for (number, agent) in self.ours.iter_mut().enumerate() {
            for line in agent.printed(&mut self.seen[number]) {
                if line["type"] != "query" {
                    rest.push((number, line));
                    continue;
                }
                let payload = line["payload"].as_str().unwrap_or_default().to_owned();
                agent.tell(json!({ "respond": line["request"], "payload": format!("ok {payload}") }));
                assert!(self.heard[number].insert(payload), "{} heard {line} twice", agent.name());
            }
        }
        rest
    }

    fn assert_no_complaints(&mut self) {
        let [s1, s2, s3] = &mut self.serf[..] else { unreachable!() };
        let [o1, o2, o3] = &mut self.ours[..] else { unreachable!() };
        assert_no_complaints(&mut [s1, s2, s3, o1, o2, o3]);
    }
}

#[derive(Debug, Default)]
struct Asked {
    acks: BTreeSet<String>,
    answers: BTreeSet<String>,
    over: bool,
}

#[test]
fn a_query_asked_here_is_acknowledged_and_answered_by_all_six() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let mut six = Six::start();
    let everybody = six.names();
    let begun = Instant::now();
    let mut full = 0;
    // One of ours after the other asks, many at once: each query waits for its end.
    for (round, asker) in [0, 1, 2, 0].into_iter().enumerate() {
        let mut asked: BTreeMap<u64, (String, Asked)> = (0..QUERIES / 4)
            .map(|number| {
                let payload = format!("{round}-{number}");
                let query = json!({
                    "query": "load", "payload": payload, "ack": true, "everybody_answers": true,
                    "timeout_ms": TIMEOUT.as_millis() as u64,
                });
                // Not all in one datagram's time.
                thread::sleep(Duration::from_millis(10));
                (six.ours[asker].tell(query), (payload, Asked::default()))
            })
            .collect();
        wait_until("all queries to be over", 3 * TIMEOUT, || {
            for (number, line) in six.answer() {
                let id = line["id"].as_u64().filter(|_| number == asker && line["command"] == "query");
                let Some((payload, asked)) = id.and_then(|id| asked.get_mut(&id)) else {
                    assert!(line["type"] != "error", "{line}");
                    continue;
                };
                let from = line["from"].as_str().unwrap_or_default().to_owned();
                match line["type"].as_str() {
                    Some("ack") => assert!(asked.acks.insert(from), "{line} came twice"),
                    Some("response") => {
                        assert_eq!(line["payload"], format!("ok {payload}"), "of {from}");
                        assert!(asked.answers.insert(from), "{line} came twice");
                    }
                    Some("done") => asked.over = true,
                    _ => panic!("{line}"),
                }
            }
            let open = asked.values().filter(|(_, asked)| !asked.over).count();
            if open == 0 { Ok(()) } else { Err(format!("{open} are open")) }
        });
        for (payload, asked) in asked.values() {
            let all = asked.acks == everybody && asked.answers == everybody;
            full += usize::from(all);
            if !all {
                println!("query {payload}: {asked:?}");
            }
        }
    }
    let resent: u64 = six.ours.iter_mut().map(|ours| ours.stat("queries_resent")).sum();
    println!(
        "queries asked by ours: {full} of {QUERIES} acknowledged and answered by all six within {:.1?}; {resent} sent \
         again",
        begun.elapsed()
    );
    assert_eq!(full, QUERIES);
    six.assert_no_complaints();
}

#[test]
fn a_query_asked_on_serf_is_answered_by_each_of_ours_that_hears_it() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let mut six = Six::start();
    let begun = Instant::now();
    // The commands run in threads of their own, since ours are to answer meanwhile.
    let (mut results, payloads): (Vec<Result<Value, String>>, Vec<String>) =
        (Vec::new(), (0..24).map(|number| format!("s{number}")).collect());
    let serf = core::mem::take(&mut six.serf);
    thread::scope(|scope| {
        let running: Vec<_> = payloads
            .iter()
            .enumerate()
            .map(|(number, payload)| {
                let agent = &serf[number % 3];
                // Serf gives two queries that it is asked at the very same moment one Lamport time, and loses the answers to
                // one. So the agent's last one is on its way first, which on a busy machine may take a while.
                let last = number.checked_sub(3).map(|last| &payloads[last]);
                let patience = Instant::now() + Duration::from_secs(2);
                loop {
                    thread::sleep(Duration::from_millis(20));
                    six.answer();
                    let on_its_way = |last| six.heard.iter().any(|known| known.contains(last));
                    if last.is_none_or(on_its_way) || Instant::now() > patience {
                        break;
                    }
                }
                scope.spawn(move || agent.query("load", payload, 4))
            })
            .collect();
        while running.iter().any(|command| !command.is_finished()) {
            six.answer();
            thread::sleep(Duration::from_millis(50));
        }
        results = running.into_iter().map(|command| command.join().expect("a thread")).collect();
    });
    six.serf = serf;
    let (mut heard, mut answered) = (0, 0);
    for (payload, result) in payloads.iter().zip(&results) {
        let result = result.as_ref().unwrap_or_else(|problem| panic!("{payload}: {problem}"));
        for (agent, known) in six.ours.iter().zip(&six.heard) {
            let answer = &result["Responses"][agent.name()];
            let acknowledged =
                result["Acks"].as_array().is_some_and(|acks| acks.iter().any(|name| *name == agent.name()));
            heard += usize::from(known.contains(payload));
            answered += usize::from(*answer == format!("ok {payload}") && acknowledged);
        }
    }
    println!(
        "queries asked on serf: {heard} of {} reached ours, {answered} were acknowledged and answered, {:.1?}",
        3 * payloads.len(),
        begun.elapsed()
    );
    assert_eq!(answered, heard);
    assert!(heard >= 3 * payloads.len() * 9 / 10, "gossip misses one in a hundred at the most");
    six.assert_no_complaints();
}

#[test]
fn a_tag_expression_means_the_same_to_both() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let tag = "v=Web-1 \u{e9}.\u{212a}";
    let mut serf = Serf::start("serf-1", &Place::loopback(), &["-tag", tag]);
    let join = serf.addr().to_string();
    let ours = Ours::start("ours-1", &Place::loopback(), &["--join", &join, "--tag", tag]);
    wait_until("the two to know each other", HEARSAY, || {
        if serf.view()?.len() == 2 { Ok(()) } else { Err("they do not".to_owned()) }
    });
    let begun = Instant::now();
    let ask = |expression: &'static str| {
        let filter = format!("-tag=v={expression}");
        // Both are there: what takes longer than this is no answer.
        (expression, serf.query_with(&["-timeout=1500ms", &filter], "probe", ""))
    };
    let results: Vec<(&str, Result<Value, String>)> = thread::scope(|scope| {
        let lanes: Vec<_> = EXPRESSIONS
            .chunks(EXPRESSIONS.len().div_ceil(8))
            .map(|lane| scope.spawn(|| lane.iter().map(|&expression| ask(expression)).collect::<Vec<_>>()))
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("a thread")).collect()
    });
    let mut matched = 0;
    let acks_of = |(expression, result): &(&str, Result<Value, String>)| -> BTreeSet<String> {
        let result = result.as_ref().unwrap_or_else(|problem| panic!("{expression}: {problem}"));
        let acks = result["Acks"].as_array().into_iter().flatten().filter_map(Value::as_str);
        acks.map(str::to_owned).collect()
    };
    let everybody = BTreeSet::from(["serf-1".to_owned(), ours.name().to_owned()]);
    for (i, answered) in results.iter().enumerate() {
        let (expression, mut acks) = (answered.0, acks_of(answered));
        // Of two queries that serf is asked at one moment it forgets one: then once more, alone.
        for _ in 0..3 {
            if i < 18 && acks != everybody {
                acks = acks_of(&ask(expression));
            }
        }
        let both = acks == everybody;
        assert!(acks.is_empty() || both, "{expression}: only {acks:?}");
        matched += usize::from(both);
    }
    println!("expressions: {matched} of {} match, for both alike, {:.1?}", results.len(), begun.elapsed());
    assert_eq!(matched, 18);
}

/// The first 18 match the tag of the test above; the last 14 are none.
const EXPRESSIONS: [&str; 40] = [
    r"^Web",
    r"(?i)wEB-\d",
    r"\bWeb\b",
    r"(?i)k$",
    r"[[:upper:]]eb",
    r"\pL-\pN",
    r"\QWeb-1 \E",
    r"^.{9}$",
    r"[^\W]eb",
    r"(?s:.)\.",
    r"\x57\x{65}b",
    r"\127eb",
    r"[[W]eb",
    r"W(?:e{1,2}?)b",
    r"(?P<n>Web)",
    r"\p{Latin}eb",
    r"b-1\s",
    r"(?U)W.*b",
    r"^web",
    r"\wb-\D",
    r"\s\w\.",
    r"\p{Greek}",
    r"[[:lower:]][[:lower:]][[:lower:]]",
    r"(?-i)WEB",
    r"e{,2}b",
    r"[a&&b]z",
    r"(",
    r"a**",
    r"(?x)W e b",
    r"(?=W)",
    r"\1",
    r"\Z",
    r"\u0057",
    r"[b-a]",
    r"\p{Letter}",
    r"(W{10}){101}",
    r"W{1001}",
    r"[[:foo:]]",
    r"\C",
    r"(?P<n-m>W)",
];

#[test]
fn whoever_comes_second_with_a_name_goes() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let mut serf_1 = Serf::start("serf-1", &Place::loopback(), &[]);
    let seed = serf_1.addr();
    let mut serf_2 = Serf::start("serf-2", &Place::loopback(), &[]);
    serf_2.join(seed);
    let mut ours_1 = Ours::start("ours-1", &Place::loopback(), &["--join", &seed.to_string()]);
    let mut ours_2 = Ours::start("ours-2", &Place::loopback(), &["--join", &seed.to_string()]);
    wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2], HEARSAY);

    let ends = |process: &mut Process, what: &str| {
        let begun = Instant::now();
        let status = process.wait_for_exit(3 * TIMEOUT);
        assert!(status.success(), "{what} ended with {status}");
        println!("{what} gave way after {:.1?}", begun.elapsed());
    };
    // One of ours with a name that is Serf's, and the reverse.
    let mut double = Ours::start("serf-2", &Place::loopback(), &[]);
    double.join(seed);
    ends(&mut double.process, "ours, with the name of a serf agent,");
    assert_eq!(double.process.count("[WARN] serf: minority in name conflict resolution, quiting [0 / "), 1);
    assert_eq!(double.process.count("[WARN] agent: Serf shutdown detected, quitting"), 1);
    let mut double = Serf::start("ours-2", &Place::loopback(), &[]);
    double.join(seed);
    ends(&mut double.process, "serf, with the name of one of ours,");
    wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2], HEARSAY);
}

const QUERIES: usize = 200;
/// Longer than it takes three scripts to answer fifty queries each on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(6);
