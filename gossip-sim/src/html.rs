//! A report as a page that needs nothing else.

use crate::report::Report;

/// The page: one HTML document with everything in it.
pub fn page(report: &Report) -> String {
    let table = crate::table::report(report);
    let escaped = table.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let title = report.scenario.title.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n\
         <pre>{escaped}</pre>\n</html>\n"
    )
}
