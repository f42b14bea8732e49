//! What traffic is for, as a table with bars.

use core::fmt::Write;

use super::svg::escape;
use crate::measure::series::Series;
use crate::table::number;

/// A row for each kind, from most bytes to least.
pub(super) fn table(title: &str, series: &Series) -> Option<String> {
    let mut kinds: Vec<_> = series.kinds.iter().collect();
    kinds.sort_by(|a, b| b.bytes_sent.total_cmp(&a.bytes_sent));
    let most = kinds.first()?.bytes_sent.max(f64::MIN_POSITIVE);
    let sum: f64 = kinds.iter().map(|kind| kind.bytes_sent).sum();
    let mut text = format!(
        "<figure>\n<h3>{}</h3>\n<table class=\"bars\">\n<tr><th>kind<th class=\"n\">bytes/s sent<th class=\"n\">share<th>\
         <th class=\"n\">messages/s sent<th class=\"n\">received</tr>\n",
        escape(title)
    );
    for kind in kinds {
        let _ = writeln!(
            text,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{:.1} %<td><i style=\"width:{:.1}%\"></i><td class=\"n\">{}\
             <td class=\"n\">{}</tr>",
            escape(&kind.kind),
            number(kind.bytes_sent),
            if sum > 0.0 { 100.0 * kind.bytes_sent / sum } else { 0.0 },
            100.0 * kind.bytes_sent / most,
            number(kind.messages_sent),
            number(kind.messages_received),
        );
    }
    let _ = write!(
        text,
        "</table>\n<figcaption>Per node and second in the measured time, datagrams and streams; framing is what datagrams hold \
         beside their messages.</figcaption>\n</figure>\n"
    );
    Some(text)
}
