//! The summary at the end.

use core::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use super::stage::Traffic;
use super::story::Numbers;
use crate::cause::short;
use crate::cli;

/// Prints what was measured.
pub(crate) fn print(numbers: &Numbers, traffic: &Traffic) {
    cli::print(format_args!("\n{}", table(numbers, traffic)));
}

fn table(numbers: &Numbers, traffic: &Traffic) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(["Measured", "Time", "What that is"]);
    let mut row = |what: &str, time: String, detail: String| {
        table.add_row([what.to_owned(), time, detail]);
    };
    row(
        "Join",
        numbers.joins.iter().max().map_or_else(String::new, |&slowest| short(slowest)),
        format!("start of a node until all know each other; slowest of {}", numbers.joins.len()),
    );
    row(
        "Event",
        numbers.event.last().map_or_else(String::new, |&last| short(last)),
        match numbers.event.first() {
            Some(&first) => format!(
                "until the last of {} heard it; the first after {}",
                numbers.event.len(),
                short(first)
            ),
            None => "until all heard it".into(),
        },
    );
    if let Some((after, by)) = &numbers.suspected {
        row("Suspicion", short(*after), format!("crash until the first doubt, by {by}"));
    }
    if let Some(declared) = numbers.declared {
        row(
            "Verdict",
            short(declared),
            format!("crash until declared failed; accused by {}", numbers.accusers.join(", ")),
        );
    }
    if let Some(everywhere) = numbers.failed_everywhere {
        row("Agreement", short(everywhere), "crash until everybody had the verdict".into());
    }
    row("Return", short(numbers.returned), "restart until everybody took it back".into());
    row("Farewell", short(numbers.farewell), "good-bye until everybody knew".into());
    row("False alarms", numbers.false_suspicions.to_string(), "suspicions of nodes that were well".into());
    row(
        "Traffic",
        size(traffic.bytes),
        format!(
            "in {} datagrams by {} nodes in {}: {}/s each; {} probes, {} full exchanges",
            traffic.datagrams,
            traffic.nodes,
            short(traffic.lasted),
            size(per_node_second(traffic)),
            traffic.probes,
            traffic.exchanges
        ),
    );
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn per_node_second(traffic: &Traffic) -> u64 {
    let node_seconds =
        traffic.lasted.max(Duration::from_millis(1)).as_secs_f64() * traffic.nodes.max(1) as f64;
    (traffic.bytes as f64 / node_seconds) as u64
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_every_number() {
        let numbers = Numbers {
            joins: vec![Duration::from_millis(12), Duration::from_millis(34)],
            event: vec![Duration::from_millis(20), Duration::from_millis(56)],
            suspected: Some((Duration::from_millis(780), "ben".into())),
            declared: Some(Duration::from_millis(2910)),
            failed_everywhere: Some(Duration::from_millis(3040)),
            accusers: vec!["ben".into(), "anna".into()],
            returned: Duration::from_millis(89),
            farewell: Duration::from_millis(99),
            false_suspicions: 0,
        };
        let traffic = Traffic {
            datagrams: 1234,
            bytes: 90_000,
            exchanges: 7,
            probes: 42,
            nodes: 3,
            lasted: Duration::from_secs(15),
        };
        let text = table(&numbers, &traffic).to_string();
        for part in [
            "34 ms",
            "56 ms",
            "20 ms",
            "780 ms",
            "ben, anna",
            "2.91 s",
            "3.04 s",
            "89 ms",
            "99 ms",
            "90.0 kB",
            "2.0 kB/s",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
