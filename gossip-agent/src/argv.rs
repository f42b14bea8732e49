//! Serf's commands take flags as Go programs do: `-node x`, `-node=x`, `--node x`, `-replay=false`. Here they are brought
//! into the one form that the parser knows, so that what runs `serf agent` today needs no change.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

use crate::cli::go_bool;
use crate::config::{Problem, refuse_flag};

/// Rewrites the arguments for `command`, program name first. Values are never looked at: `-node -x` names a node `-x`.
///
/// Go's flags end at the first argument that is none. Here they may also follow it, where Go would see one argument too
/// many, or the address of a member; a payload is a payload whatever it looks like.
pub(crate) fn normalize(command: &Command, arguments: &[OsString]) -> Result<Vec<OsString>, Problem> {
    let mut arguments = arguments.iter();
    let mut current = command;
    let mut normal: Vec<OsString> = arguments.next().cloned().into_iter().collect();
    let mut positionals: Vec<OsString> = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            positionals.extend(arguments.cloned());
            break;
        }
        let flag = flag(argument);
        if positionals.len() == 1 && current.get_positionals().any(|known| known.get_id() == "payload") {
            if let Some((name, _)) = flag
                && (matches!(name, "h" | "help")
                    || current.get_arguments().any(|known| answers_to(known, name)))
            {
                return Err(Problem::new(format!(
                    "{argument:?} after the name would be the payload; write flags before the name, or -- before \
                     the name if that is the payload"
                )));
            }
            positionals.push(argument.clone());
            continue;
        }
        let Some((name, value)) = flag else {
            if let Some(subcommand) = argument.to_str().and_then(|name| current.find_subcommand(name)) {
                current = subcommand;
            } else if current.get_positionals().next().is_some() {
                positionals.push(argument.clone());
                continue;
            }
            normal.push(argument.clone());
            continue;
        };
        // Serf prints its version wherever it is asked.
        if name == "v" || name == "version" {
            normal.push("--version".into());
            continue;
        }
        match current.get_arguments().find(|known| answers_to(known, name)) {
            // A switch that is on when nothing is said takes its value only after an equals sign, as all of Go's do.
            Some(known) if known.is_require_equals_set() => normal.push(long(name, value)),
            Some(known) if known.get_action().takes_values() => {
                normal.push(long(name, value.or_else(|| arguments.next().map(AsRef::as_ref))));
            }
            Some(_) => match value.map(|value| value.to_str().and_then(|text| go_bool(text).ok())) {
                None | Some(Some(true)) => normal.push(long(name, None)),
                Some(Some(false)) => {}
                Some(None) => normal.push(long(name, value)),
            },
            None => {
                if current.get_name() == "agent"
                    && let Some(problem) = refuse_flag(name)
                {
                    return Err(problem);
                }
                // Short flags as they are; others in the form in which the parser's error will show them.
                normal.push(if name.len() == 1 { argument.clone() } else { long(name, value) });
            }
        }
    }
    if !positionals.is_empty() {
        normal.push("--".into());
        normal.extend(positionals);
    }
    Ok(normal)
}

/// Name and value of an argument that is a flag.
fn flag(argument: &OsStr) -> Option<(&str, Option<&OsStr>)> {
    let bytes = argument.as_encoded_bytes();
    let body = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
    let end = body.iter().position(|&byte| byte == b'=').unwrap_or(body.len());
    let name = core::str::from_utf8(&body[..end]).ok().filter(|name| !name.is_empty())?;
    // The part after an ASCII character of an argument is an argument again.
    let value =
        || argument.to_str().and_then(|text| text.split_once('=')).map(|(_, value)| OsStr::new(value));
    Some((name, if end < body.len() { value() } else { None }))
}

fn answers_to(argument: &Arg, name: &str) -> bool {
    argument.get_long() == Some(name)
        || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
}

fn long(name: &str, value: Option<&OsStr>) -> OsString {
    let mut text = OsString::from("--");
    text.push(name);
    if let Some(value) = value {
        text.push("=");
        text.push(value);
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn normal(line: &str) -> String {
        let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let normal = normalize(&Cli::command(), &arguments).unwrap_or_else(|problem| panic!("{problem}"));
        normal.iter().map(|argument| argument.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_form_of_go_becomes_one() {
        for (go, expected) in [
            ("gossip agent -node x", "gossip agent --node=x"),
            ("gossip agent -node=x", "gossip agent --node=x"),
            ("gossip agent --node x", "gossip agent --node=x"),
            ("gossip agent --node=x", "gossip agent --node=x"),
            ("gossip agent -node=", "gossip agent --node="),
            ("gossip agent -tag a=b -tag=c=d", "gossip agent --tag=a=b --tag=c=d"),
            ("gossip agent -join a -retry-join b", "gossip agent --join=a --retry-join=b"),
            ("gossip agent -replay", "gossip agent --replay"),
            ("gossip agent -replay=true -node x", "gossip agent --replay --node=x"),
            ("gossip agent -replay=0 -node x", "gossip agent --node=x"),
            ("gossip agent -config-dir d", "gossip agent --config-dir=d"),
            ("gossip agent -node", "gossip agent --node"),
            ("gossip agent -nodes x", "gossip agent --nodes x"),
            ("gossip agent -h", "gossip agent -h"),
            ("gossip agent -help", "gossip agent --help"),
            ("gossip -v", "gossip --version"),
            ("gossip agent -node x -v", "gossip agent --node=x --version"),
            ("gossip keygen", "gossip keygen"),
            ("gossip event -coalesce=0 a b", "gossip event --coalesce=0 -- a b"),
            ("gossip event -coalesce a", "gossip event --coalesce -- a"),
            ("gossip members -status alive", "gossip members --status=alive"),
            ("gossip join -replay=f -rpc-addr a b c", "gossip join --rpc-addr=a -- b c"),
            ("gossip join b c -rpc-addr a", "gossip join --rpc-addr=a -- b c"),
            ("gossip force-leave b --prune", "gossip force-leave --prune -- b"),
            ("gossip rtt b -rpc-addr=a c", "gossip rtt --rpc-addr=a -- b c"),
            ("gossip event b c -rpc-addr a", "gossip event --rpc-addr=a -- b c"),
        ] {
            assert_eq!(normal(go), expected, "{go}");
        }
    }

    #[test]
    fn values_are_left_alone() {
        assert_eq!(normal("gossip agent -node -bind -bind x"), "gossip agent --node=-bind --bind=x");
        assert_eq!(normal("gossip agent -node -- -bind x"), "gossip agent --node=-- --bind=x");
        assert_eq!(normal("gossip agent -- -node x"), "gossip agent -- -node x");
        assert_eq!(normal("gossip event deploy -v"), "gossip event -- deploy -v");
        assert_eq!(normal("gossip event deploy -1 -v"), "gossip event --version -- deploy -1");
        assert_eq!(normal("gossip event -- deploy -rpc-addr=x"), "gossip event -- deploy -rpc-addr=x");
        assert_eq!(normal("gossip join a -- -rpc-addr"), "gossip join -- a -rpc-addr");
        assert_eq!(normal("gossip agent -replay=maybe"), "gossip agent --replay=maybe");
    }

    // Serf sends them as the payload, to the agent at the default address.
    #[test]
    fn flags_in_the_place_of_a_payload_are_refused() {
        for (line, flag) in [
            ("gossip event deploy -rpc-addr=x", "-rpc-addr=x"),
            ("gossip event deploy --coalesce=false v1", "--coalesce=false"),
            ("gossip query load -timeout 5s", "-timeout"),
            ("gossip query load --help", "--help"),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
            let problem = normalize(&Cli::command(), &arguments).unwrap_err().to_string();
            assert!(problem.starts_with(&format!("{flag:?} after the name")), "{line}: {problem}");
        }
    }

    #[test]
    fn flags_of_serf_that_are_not_supported_are_refused() {
        let arguments = ["gossip", "agent", "-syslog"].map(OsString::from);
        let problem = normalize(&Cli::command(), &arguments).unwrap_err().to_string();
        assert!(problem.starts_with("--syslog is not supported: "), "{problem}");
        assert_eq!(normal("gossip keygen -syslog x"), "gossip keygen --syslog x");
    }
}
