//! The agents beside each other.

use core::time::Duration;

use super::load::{PAYLOAD, Rate};
use super::{MEMBERS, Measured};
use crate::document::{grouped, short, table};

/// A row's title, its figures, and whether more is better.
type Line = (String, Vec<f64>, bool);

pub(super) fn markdown(all: &[Measured], floor: &[Rate; 2]) -> String {
    let row = |title: String, more_is_better: bool, of: &dyn Fn(&Measured) -> f64| -> Line {
        (title, all.iter().map(of).collect(), more_is_better)
    };
    let rate = |of: fn(&Measured) -> Rate| move |measured: &Measured| of(measured).per_cpu_second();
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let rows = [
        row("pings and acks, 32 at a time, per CPU second".into(), true, &rate(|m| m.pings)),
        row("pings and acks, one at a time, per CPU second".into(), true, &rate(|m| m.one_ping)),
        row(
            format!("user events of {PAYLOAD} bytes, in by UDP, out by RPC, per CPU second"),
            true,
            &rate(|m| m.events),
        ),
        row("the same, per second".into(), true, &|m| m.events.done as f64 / m.events.time.as_secs_f64()),
        row("start, until it answers by RPC, best, ms".into(), false, &|m| millis(m.start.0)),
        row("the same, the one in the middle, ms".into(), false, &|m| millis(m.start.1)),
        row("resident after the start, MiB".into(), false, &|m| mib(m.resident.0)),
        row(format!("resident with {} members, MiB", grouped(MEMBERS)), false, &|m| mib(m.resident.1)),
        row("size of the program, MiB".into(), false, &|m| mib(m.file)),
    ];
    let head = [String::new()].into_iter().chain(all.iter().map(|measured| measured.name.clone())).collect();
    let lines = rows.map(|(title, figures, more_is_better)| {
        let cells = figures.iter().enumerate().map(|(place, &figure)| match place {
            0 => short(figure),
            _ => {
                let times = if more_is_better { figures[0] / figure } else { figure / figures[0] };
                let bold = if times < 0.95 { "**" } else { "" };
                format!("{} ({bold}{}×{bold})", short(figure), short(times))
            }
        });
        [title].into_iter().chain(cells).collect()
    });
    let lines: Vec<Vec<String>> = [head].into_iter().chain(lines).collect();
    let [many, one] = floor.map(|rate| short(rate.per_cpu_second()));
    format!(
        "{}\nA program that does nothing but receive pings and send acks, one system call for each, comes to {many} and {one} per CPU second.\n",
        table(&lines)
    )
}
