//! The timeline: colours on a terminal, plain text in a pipe.

use core::fmt::Display;
use std::time::Instant;

use anstyle::{AnsiColor, Style};

use super::stage::Sighting;
use crate::cli::print;

/// What kind of news a line is; it decides the sign and the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Action,
    Good,
    News,
    Doubt,
    Bad,
    Gone,
    Note,
}

impl Tone {
    fn sign(self) -> &'static str {
        match self {
            Self::Action => "▶",
            Self::Good => "●",
            Self::News => "»",
            Self::Doubt => "?",
            Self::Bad => "✗",
            Self::Gone => "○",
            Self::Note => " ",
        }
    }

    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Self::Action => Style::new().bold(),
            Self::Good => color(AnsiColor::Green),
            Self::News => color(AnsiColor::Cyan),
            Self::Doubt => color(AnsiColor::Yellow),
            Self::Bad => color(AnsiColor::Red),
            Self::Gone => color(AnsiColor::Blue),
            Self::Note => Style::new().dimmed(),
        }
    }
}

pub(crate) struct Screen {
    began: Instant,
    chapter: u32,
    width: usize,
    colors: Vec<(String, Style)>,
}

impl Screen {
    pub(crate) fn new(names: &[String]) -> Self {
        let colors = names.iter().zip(ACTORS.iter().cycle());
        Self {
            began: Instant::now(),
            chapter: 0,
            width: names.iter().map(String::len).max().unwrap_or(0),
            colors: colors
                .map(|(name, &color)| (name.clone(), Style::new().fg_color(Some(color.into()))))
                .collect(),
        }
    }

    pub(crate) fn title(&self, text: impl Display, remark: impl Display) {
        let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
        print(format_args!("\n{bold}{text}{bold:#}\n{dim}{remark}{dim:#}"));
    }

    pub(crate) fn chapter(&mut self, text: impl Display, remark: impl Display) {
        self.chapter += 1;
        let (style, dim) = (Style::new().bold().underline(), Style::new().dimmed());
        print(format_args!("\n{style}{}. {text}{style:#}\n{dim}{remark}{dim:#}", self.chapter));
    }

    /// One line: when, who, what.
    pub(crate) fn line(&self, at: Instant, tone: Tone, who: &str, text: impl Display) {
        let time = at.saturating_duration_since(self.began).as_secs_f64();
        let (dim, style, width) = (Style::new().dimmed(), tone.style(), self.width);
        let name = self.colors.iter().find(|(name, _)| name == who).map_or(Style::new(), |(_, style)| *style);
        print(format_args!(
            "{dim}{time:>8.3} s{dim:#}  {style}{sign}{style:#} {name}{who:<width$}{name:#}  {style}{text}{style:#}",
            sign = tone.sign()
        ));
    }

    /// A line about the whole.
    pub(crate) fn note(&self, text: impl Display) {
        self.line(Instant::now(), Tone::Note, "", text);
    }

    pub(crate) fn interrupted(&self) {
        self.line(Instant::now(), Tone::Action, "", "interrupted: all nodes say good-bye");
    }

    pub(crate) fn all_left(&self) {
        self.line(Instant::now(), Tone::Gone, "", "all have left");
    }
}

/// The lines of many nodes about one thing, of which only the first few are shown if they are too many.
pub(crate) struct Crowd<'a> {
    screen: &'a Screen,
    pub(crate) names: &'a [String],
    /// Lines so far, those not shown among them.
    pub(crate) told: usize,
    untold: usize,
}

impl<'a> Crowd<'a> {
    pub(crate) fn new(screen: &'a Screen, names: &'a [String]) -> Self {
        Self { screen, names, told: 0, untold: 0 }
    }

    pub(crate) fn say(&mut self, sighting: &Sighting, tone: Tone, text: impl Display) {
        self.say_at(sighting.at, tone, sighting.by, text);
    }

    pub(crate) fn say_at(&mut self, at: Instant, tone: Tone, who: usize, text: impl Display) {
        self.told += 1;
        if self.names.len() > MANY && self.told > SHOWN {
            self.untold += 1;
        } else {
            self.screen.line(at, tone, &self.names[who], text);
        }
    }

    pub(crate) fn rest(self) {
        match self.untold {
            0 => {}
            1 => self.screen.note("and one more like these"),
            untold => self.screen.note(format_args!("and {untold} more like these")),
        }
    }
}

/// With more nodes than this, not everybody's lines are shown.
pub(crate) const MANY: usize = 8;
/// So many are, of each kind.
const SHOWN: usize = 5;
const ACTORS: [AnsiColor; 6] = [
    AnsiColor::BrightCyan,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightBlue,
    AnsiColor::BrightRed,
];
