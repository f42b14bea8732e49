//! Tables and numbers in Markdown, and where they stand in a document.

use core::fmt::{Display, Write};
use core::ops::Range;
use std::fs;
use std::path::Path;

/// A part of a document that is written by a program.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The mark before it.
    pub begin: &'static str,
    /// The mark behind it.
    pub end: &'static str,
}

impl Place {
    /// The document with another text between the marks.
    ///
    /// # Errors
    /// It has no marks.
    pub fn replaced(&self, document: &str, text: &str) -> Result<String, String> {
        let Range { start, end } = self.find(document)?;
        Ok(format!("{}\n\n{}\n{}", &document[..start], text.trim_end(), &document[end..]))
    }

    /// Whether a file has the marks: to be known before minutes are spent on what is to be written there.
    ///
    /// # Errors
    /// It has not, or cannot be read; says which file.
    pub fn check(&self, path: &Path) -> Result<(), String> {
        self.replaced(&read(path)?, "").map(drop).map_err(|error| at(path, &error))
    }

    /// Writes another text between the marks in a file.
    ///
    /// # Errors
    /// As [`Place::check`], or the file cannot be written.
    pub fn write(&self, path: &Path, text: &str) -> Result<(), String> {
        let document = self.replaced(&read(path)?, text).map_err(|error| at(path, &error))?;
        write(path, &document)
    }

    fn find(&self, document: &str) -> Result<Range<usize>, String> {
        let Self { begin, end } = self;
        let missing = || format!("no place for the tables: write `{begin}` and, below it, `{end}`");
        let start = document.find(begin).ok_or_else(missing)? + begin.len();
        let end = start + document[start..].find(end).ok_or_else(missing)?;
        Ok(start..end)
    }
}

/// What a file says; the error names it.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| at(path, &error))
}

/// Writes a file; the error names it.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| at(path, &error))
}

/// An error, and the file that it is about.
pub(crate) fn at(path: &Path, error: &dyn Display) -> String {
    format!("{}: {error}", path.display())
}

/// Three digits that matter, or two below ten.
pub(crate) fn short(value: f64) -> String {
    match value {
        _ if value >= 1000.0 => grouped(value.round() as usize),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => trimmed(format!("{value:.1}")),
        _ => trimmed(format!("{value:.2}")),
    }
}

fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A table of Markdown that can be read as it is, too.
pub(crate) fn table(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let (dashes, end) = ("-".repeat(width + 1), if column == 0 { "-" } else { ":" });
                let _ = write!(text, "|{dashes}{end}");
            }
            text.push_str("|\n");
        }
    }
    text
}
