//! The recorded error paths of a serf agent.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use transport_tokio::gossip_proto::Expression;

use super::*;
use crate::rpc::tally::{Tally as Recorded, serf_cases, unhex};

/// The recorded error paths of a serf agent, sent to ours.
#[tokio::test]
async fn error_transcripts() {
    let mut tally = Recorded::new("serf.ipc.errors");
    for case in serf_cases("ipc").iter().filter(|case| case.name.starts_with("ipc.errors.")) {
        let sent = case.bytes("hex");
        let fields = &case.value["fields"];
        let wanted = unhex(fields["rx"].as_str().unwrap());
        let wanted_end = fields["closed_by_agent"].as_bool().unwrap();
        let facts = facts(&sent);
        // The recorded agent had a secret where it asked for one: the last that a client presents.
        let secret = wanted.windows(23).any(|window| window == b"Authentication required");
        let secret = secret.then(|| facts.secret.clone().unwrap_or_else(|| "s3cret".into()));
        let name = fields["rx_decoded"].as_array().unwrap().iter().find_map(|object| {
            object["Messages"].as_object().and_then(|messages| messages.keys().next().cloned())
        });
        let served = Served::start(name.as_deref().unwrap_or("foo"), &secret.unwrap_or_default()).await;
        let mut stream = TcpStream::connect(&served.address.rpc_addr).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        let (received, ended) = transcript(&mut stream, wanted.len()).await;
        let matches = match received == wanted && ended == wanted_end {
            true => Ok(()),
            false => Err(format!("received {}, ended: {ended}", String::from_utf8_lossy(&received))),
        };
        let text = String::from_utf8_lossy(&received);
        let ours = match &matches {
            Ok(()) => "",
            Err(_) if text.contains("Invalid expression") && !ended => "answered",
            Err(_) if text.contains("Unsupported command") && ended => "unsupported command",
            Err(_) if text.matches("Authentication required").count() == 1 && !ended => "one answer",
            Err(_) => "other",
        };
        tally.judge(case, &[("request", facts.request)], ours, matches);
    }
    tally.finish();
}

/// What is peculiar about what a client sends.
struct Facts {
    request: &'static str,
    secret: Option<String>,
}

fn facts(sent: &[u8]) -> Facts {
    let mut facts = Facts { request: "", secret: None };
    let mut reader = Reader::new(sent);
    let mut trusted = false;
    while !reader.rest().is_empty() {
        let Ok(RequestHeader { command, .. }) = RequestHeader::read(&mut reader) else { break };
        let Some(command) = Command::parse(command.as_bytes()) else {
            if command.is_empty() {
                facts.request = "without a command";
            }
            break;
        };
        let mut body = reader.clone();
        if command.has_request_body() {
            reader.skip_value().unwrap();
        }
        match command {
            Command::Auth => {
                facts.secret = Some(AuthRequest::read(&mut body).unwrap().key.to_string());
                trusted = true;
            }
            Command::MembersFiltered => {
                let filter = MembersFilteredRequest::read(&mut body).unwrap();
                let expressions = filter.tags.iter().map(|(_, expression)| expression);
                let mut all = expressions.chain([&filter.name, &filter.status]);
                if all.any(|expression| Expression::new(expression.as_bytes()).is_none()) {
                    facts.request = "with an invalid expression";
                }
            }
            Command::Event if !trusted => facts.request = "with a body before authentication",
            _ => {}
        }
    }
    facts
}

/// What comes within a while, and whether the connection ends then; `enough` bytes are not waited beyond for long.
async fn transcript(stream: &mut TcpStream, enough: usize) -> (Vec<u8>, bool) {
    let mut received = Vec::new();
    loop {
        let patience = if received.len() < enough { PATIENT } else { HASTY };
        match timeout(patience, stream.read_buf(&mut received)).await {
            Ok(Ok(0) | Err(_)) => return (received, true),
            Ok(Ok(_)) => {}
            Err(_) => return (received, false),
        }
    }
}

const PATIENT: Duration = Duration::from_secs(2);
const HASTY: Duration = Duration::from_millis(200);
