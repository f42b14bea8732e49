//! Tag expressions: the regular expressions of Go, which is what Serf nodes agree on (serf.md 5.3, Q22).
//!
//! Go's syntax is read here and written anew in that of the `regex` crate, so that what one side only knows is either
//! translated or refused: an expression must match on this node whenever it matches on its Serf neighbours. Both run
//! in time linear in the value; what an expression may cost beyond that is bounded by its length, by the size of the
//! program it becomes, and by how many of them are kept.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;

use regex::{Regex, RegexBuilder};

use crate::Instant;
use crate::ration::Ration;

/// Longest expression.
const MAX_EXPRESSION: usize = 512;
/// Most bytes of a compiled expression: one that explodes is refused when it gets there.
const MAX_PROGRAM: usize = 64 << 10;
/// Most characters in ranges and Unicode classes that upper and lower case are alike for: the `regex` crate goes through
/// them one by one, before it knows how large the program will be.
const MAX_FOLDED: u32 = 0x11_0000;
/// What a Unicode class counts for among these: none of Go's has more.
const UNICODE_CLASS: u32 = 0x2_4000;
/// Compiled expressions kept; those that do not compile as well, or a flood of one would be compiled each time.
pub(super) const KEPT: usize = 16;
/// Expressions of others that are compiled or run at once, and the time after which there may be one more. One can cost
/// milliseconds, and a datagram inflates to hundreds.
const TURNS: u32 = 32;
const TURN: Duration = Duration::from_millis(100);

/// An expression in Go's syntax that a whole value must match, as where members are chosen by name, status and tags
/// (serf.md 9.4). Upstream sets `^` before and `$` behind it, and so has `a|b` match by its beginning or its end (Q28).
#[derive(Clone, Debug)]
pub struct Expression(Regex);

impl Expression {
    /// Longest expression, in bytes.
    pub const MAX: usize = MAX_EXPRESSION;

    /// `None` if Go would not take it, it is too long, or it costs too much.
    pub fn new(expression: &[u8]) -> Option<Self> {
        if expression.len() > MAX_EXPRESSION {
            return None;
        }
        // By itself first: `a)|(b` would be one inside the parentheses.
        compile(expression)?;
        compile(&[b"^(?:", expression, b")$"].concat()).map(Self)
    }

    /// Whether the whole value matches.
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.0.is_match(&text(value))
    }
}

/// The expressions used last.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    recent: VecDeque<Kept>,
    /// What others have had compiled or run lately.
    turns: Ration,
}

#[derive(Debug)]
struct Kept {
    expression: Box<[u8]>,
    regex: Option<Regex>,
    /// What others had it looked for in last, and whether it was there: it is the same tag of this node's each time.
    last: Option<(Box<[u8]>, bool)>,
}

impl Patterns {
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn len(&self) -> usize {
        self.recent.len()
    }

    /// Whether the expression is found in the value; `None` if it is none, or costs too much.
    pub(crate) fn is_match(&mut self, expression: &[u8], value: &[u8]) -> Option<bool> {
        if expression.len() > MAX_EXPRESSION {
            return None;
        }
        if self.find(expression).is_none() {
            self.recent.truncate(KEPT - 1);
            let regex = compile(expression);
            self.recent.push_front(Kept { expression: expression.into(), regex, last: None });
        }
        let regex = self.recent.front()?.regex.as_ref();
        regex.map(|regex| regex.is_match(&text(value)))
    }

    /// As [`Patterns::is_match`], on somebody else's word: `None` also if there was too much of that lately.
    pub(crate) fn is_match_for_others(
        &mut self,
        now: Instant,
        expression: &[u8],
        value: &[u8],
    ) -> Option<bool> {
        if let Some(kept) = self.find(expression) {
            let regex = kept.regex.as_ref();
            if let Some((_, found)) = kept.last.as_ref().filter(|(last, _)| **last == *value) {
                return Some(*found);
            }
            // That it is none is known as well.
            regex?;
        }
        if expression.len() > MAX_EXPRESSION || !self.turns.take(now, TURNS, TURN) {
            return None;
        }
        let found = self.is_match(expression, value)?;
        if let Some(kept) = self.recent.front_mut() {
            kept.last = Some((value.into(), found));
        }
        Some(found)
    }

    /// Looks for an expression among those kept, and moves it to the front.
    fn find(&mut self, expression: &[u8]) -> Option<&Kept> {
        let index = self.recent.iter().position(|kept| *kept.expression == *expression)?;
        let kept = self.recent.remove(index)?;
        self.recent.push_front(kept);
        self.recent.front()
    }
}

/// The value as Go sees it: each byte that is not UTF-8 is one replacement character.
fn text(value: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = core::str::from_utf8(value) {
        return text.into();
    }
    let mut text = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text.into()
}

fn compile(expression: &[u8]) -> Option<Regex> {
    let translated = translate(core::str::from_utf8(expression).ok()?)?;
    RegexBuilder::new(&translated).size_limit(MAX_PROGRAM).build().ok()
}

/// Whether repetition counts, multiplied through all levels, stay within what Go allows.
const MAX_REPEAT: u32 = 1000;
/// Matches no character at all.
const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";

#[derive(Clone, Copy, Default)]
struct Flags {
    fold: bool,
    lines: bool,
    dot_newline: bool,
}

/// An open group.
struct Group {
    /// In force before it, and again after it.
    outer: Flags,
    /// What a repetition would apply to, by how often it repeats something itself.
    atom: Option<u32>,
    /// The largest of these among those before it.
    repeats: u32,
}

impl Group {
    /// What was last in it will not be repeated any more.
    fn settle(&mut self) -> u32 {
        self.repeats = self.repeats.max(self.atom.take().unwrap_or(1));
        self.repeats
    }
}

struct Translator<'e> {
    rest: &'e str,
    out: String,
    flags: Flags,
    groups: Vec<Group>,
    /// Characters that [`MAX_FOLDED`] is about.
    folded: u32,
}

/// The expression in the `regex` crate's syntax; `None` if Go would not take it.
fn translate(expression: &str) -> Option<String> {
    let group = Group { outer: Flags::default(), atom: None, repeats: 1 };
    let mut translator = Translator {
        rest: expression,
        out: String::new(),
        flags: Flags::default(),
        groups: Vec::from([group]),
        folded: 0,
    };
    translator.run()?;
    (translator.groups.len() == 1).then_some(translator.out)
}

impl<'e> Translator<'e> {
    fn run(&mut self) -> Option<()> {
        let mut after_repeat = false;
        while let Some(c) = self.next() {
            let mut repeated = false;
            match c {
                '(' if self.rest.starts_with('?') => self.flags_or_group()?,
                '(' => self.open(self.flags),
                ')' => self.close()?,
                '|' => {
                    self.top()?.settle();
                    self.out.push('|');
                }
                '^' => self.atom(if self.flags.lines { "(?m:^)" } else { r"\A" }),
                '$' => self.atom(if self.flags.lines { "(?m:$)" } else { r"\z" }),
                '.' => self.atom(if self.flags.dot_newline { "(?s:.)" } else { "." }),
                '[' => self.class()?,
                '\\' => self.escape()?,
                '*' | '+' | '?' => {
                    self.repeat(c, None, after_repeat)?;
                    repeated = true;
                }
                '{' => match self.counts() {
                    Some(counts) => {
                        self.repeat(c, Some(counts?), after_repeat)?;
                        repeated = true;
                    }
                    None => self.literal(c),
                },
                c => self.literal(c),
            }
            after_repeat = repeated;
        }
        Some(())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A class has so many characters, or is added to others of these.
    fn fold(&mut self, characters: u32) -> Option<()> {
        self.folded += if self.flags.fold { characters } else { 0 };
        (self.folded <= MAX_FOLDED).then_some(())
    }

    fn top(&mut self) -> Option<&mut Group> {
        self.groups.last_mut()
    }

    fn push(&mut self, repeats: u32) {
        if let Some(group) = self.groups.last_mut() {
            group.settle();
            group.atom = Some(repeats);
        }
    }

    fn atom(&mut self, translated: &str) {
        self.out.push_str(translated);
        self.push(1);
    }

    fn literal(&mut self, c: char) {
        let folds = self.flags.fold && c.is_alphabetic();
        self.out.push_str(if folds { "(?i:" } else { "" });
        put_char(&mut self.out, c);
        self.out.push_str(if folds { ")" } else { "" });
        self.push(1);
    }

    fn open(&mut self, inner: Flags) {
        self.groups.push(Group { outer: self.flags, atom: None, repeats: 1 });
        self.flags = inner;
        self.out.push_str("(?:");
    }

    fn close(&mut self) -> Option<()> {
        let mut group = self.groups.pop()?;
        if self.groups.is_empty() {
            return None;
        }
        self.flags = group.outer;
        self.out.push(')');
        self.push(group.settle());
        Some(())
    }

    /// After `(`: a group with flags or a name, or flags for the rest of the group at hand.
    fn flags_or_group(&mut self) -> Option<()> {
        self.eat("?");
        if self.eat("P<") || self.eat("<") {
            let (name, rest) = self.rest.split_once('>')?;
            let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !valid {
                return None;
            }
            self.rest = rest;
            self.open(self.flags);
            return Some(());
        }
        let (mut flags, mut on, mut any) = (self.flags, true, false);
        loop {
            let c = self.next()?;
            match c {
                'i' => flags.fold = on,
                'm' => flags.lines = on,
                's' => flags.dot_newline = on,
                // Lazy and greedy are the same to a search that only asks whether there is a match.
                'U' => {}
                '-' if on => {
                    (on, any) = (false, false);
                    continue;
                }
                ':' | ')' if on || any => {
                    if c == ':' {
                        self.open(flags);
                    } else {
                        self.flags = flags;
                    }
                    return Some(());
                }
                _ => return None,
            }
            any = true;
        }
    }

    /// After `{`: the counts of a repetition, and whether Go takes them; `None` if the brace is a brace.
    fn counts(&mut self) -> Option<Option<(u32, Option<u32>)>> {
        let mut rest = self.rest;
        let min = number(&mut rest)?;
        let max = match rest.strip_prefix(',') {
            None => min,
            Some(after) => {
                rest = after;
                if rest.starts_with('}') { Some(u32::MAX) } else { number(&mut rest)? }
            }
        };
        self.rest = rest.strip_prefix('}')?;
        Some(match (min, max) {
            (Some(min), Some(u32::MAX)) => Some((min, None)),
            (Some(min), Some(max)) if min <= max => Some((min, Some(max))),
            _ => None,
        })
    }

    fn repeat(
        &mut self,
        operator: char,
        counts: Option<(u32, Option<u32>)>,
        after_repeat: bool,
    ) -> Option<()> {
        self.eat("?");
        let mut repeats = self.top()?.atom.filter(|_| !after_repeat)?;
        match counts {
            None => self.out.push(operator),
            Some((min, max)) => {
                repeats = if max == Some(0) { 1 } else { repeats * max.unwrap_or(min).max(1) };
                if repeats > MAX_REPEAT {
                    return None;
                }
                // Writing to a string cannot fail.
                let _ = match max {
                    Some(max) => write!(self.out, "{{{min},{max}}}"),
                    None => write!(self.out, "{{{min},}}"),
                };
            }
        }
        self.top()?.atom = Some(repeats);
        Some(())
    }

    /// After `\`, outside a class.
    fn escape(&mut self) -> Option<()> {
        let before = self.rest;
        match self.next()? {
            'A' => self.atom(r"\A"),
            'z' => self.atom(r"\z"),
            'b' => self.atom(r"(?-u:\b)"),
            'B' => self.atom(r"(?-u:\B)"),
            'Q' => {
                let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                self.rest = rest;
                quoted.chars().for_each(|c| self.literal(c));
            }
            c @ ('d' | 'D' | 's' | 'S' | 'w' | 'W') => {
                let class = in_class(perl_class(c)?, self.flags.fold);
                self.atom(&class);
            }
            c @ ('p' | 'P') => {
                let mut items = String::new();
                self.unicode_class(c == 'P', &mut items)?;
                let class = in_class(&items, self.flags.fold);
                self.atom(&class);
            }
            _ => {
                self.rest = before;
                match char::from_u32(self.character()?) {
                    Some(c) => self.literal(c),
                    // Half of a surrogate pair is in no text.
                    None => self.atom(NOTHING),
                }
            }
        }
        Some(())
    }

    /// After `\`: an escape that stands for one character.
    fn character(&mut self) -> Option<u32> {
        let c = self.next()?;
        let digits = |text: &str, radix| u32::from_str_radix(text, radix).ok();
        Some(match c {
            '0'..='7' => {
                let more = self.rest.bytes().take(2).take_while(|b| matches!(b, b'0'..=b'7')).count();
                // A single digit other than 0 would refer back, which Go does not know.
                if c != '0' && more == 0 {
                    return None;
                }
                let (octal, rest) = self.rest.split_at(more);
                self.rest = rest;
                let high = c.to_digit(8)?;
                octal.chars().filter_map(|c| c.to_digit(8)).fold(high, |value, digit| value * 8 + digit)
            }
            'x' if self.eat("{") => {
                let (hex, rest) = self.rest.split_once('}')?;
                self.rest = rest;
                if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                digits(hex, 16).filter(|&value| value <= u32::from(char::MAX))?
            }
            'x' => {
                let hex = self.rest.get(..2).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
                self.rest = &self.rest[2..];
                digits(hex, 16)?
            }
            'a' => 7,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
            _ => return None,
        })
    }

    /// After `\p` or `\P`: a category or script by the names that Go knows.
    fn unicode_class(&mut self, negated: bool, items: &mut String) -> Option<()> {
        let name = if self.eat("{") {
            let (name, rest) = self.rest.split_once('}')?;
            self.rest = rest;
            name
        } else {
            let rest = self.rest;
            let len = self.next()?.len_utf8();
            &rest[..len]
        };
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, !negated),
            None => (name, negated),
        };
        let outer = if negated { "^" } else { "" };
        let many = negated || matches!(name, "Any" | "Cs");
        self.fold(if many { MAX_FOLDED } else { UNICODE_CLASS })?;
        let _ = match name {
            "Any" => write!(items, r"[{outer}\x{{0}}-\x{{10FFFF}}]"),
            // Unassigned characters are in none of Go's categories.
            "C" => write!(items, r"[{outer}\p{{Cc}}\p{{Cf}}\p{{Co}}]"),
            "Cs" => write!(items, "{}", if negated { r"[\x{0}-\x{10FFFF}]" } else { NOTHING }),
            name if CATEGORIES.split(' ').any(|known| known == name) => {
                write!(items, r"[{outer}\p{{gc={name}}}]")
            }
            name if is_script(name) => write!(items, r"[{outer}\p{{sc={name}}}]"),
            _ => return None,
        };
        Some(())
    }

    /// After `[`.
    fn class(&mut self) -> Option<()> {
        let negated = self.eat("^");
        let mut items = String::new();
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if self.rest.starts_with("[:") && self.posix_class(&mut items)? {
                continue;
            }
            let mut ahead = self.rest.chars();
            if let (Some('\\'), Some(c)) = (ahead.next(), ahead.next()) {
                if let Some(class) = perl_class(c) {
                    self.rest = ahead.as_str();
                    self.fold(if c.is_ascii_uppercase() { MAX_FOLDED } else { 0 })?;
                    items.push_str(class);
                    continue;
                }
                if matches!(c, 'p' | 'P') {
                    self.rest = ahead.as_str();
                    self.unicode_class(c == 'P', &mut items)?;
                    continue;
                }
            }
            let low = self.class_character()?;
            let mut high = low;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.eat("-");
                high = self.class_character()?;
                if high < low {
                    return None;
                }
            }
            self.fold(high - low)?;
            put_range(&mut items, low, high);
        }
        self.eat("]");
        let class = match (items.is_empty(), negated) {
            (true, false) => NOTHING.into(),
            (true, true) => r"[\x{0}-\x{10FFFF}]".into(),
            (false, _) => {
                in_class(&alloc::format!("{}{items}", if negated { "^" } else { "" }), self.flags.fold)
            }
        };
        self.atom(&class);
        Some(())
    }

    fn class_character(&mut self) -> Option<u32> {
        match self.next()? {
            '\\' => self.character(),
            c => Some(u32::from(c)),
        }
    }

    /// At `[:`: whether it is one of POSIX's named classes; if not, it is two characters.
    fn posix_class(&mut self, items: &mut String) -> Option<bool> {
        let Some((name, rest)) = self.rest[2..].split_once(":]") else { return Some(false) };
        let (negated, name) = match name.strip_prefix('^') {
            Some(name) => ("^", name),
            None => ("", name),
        };
        if !POSIX.split(' ').any(|known| known == name) {
            return None;
        }
        self.rest = rest;
        self.fold(if negated.is_empty() { 0 } else { MAX_FOLDED })?;
        let _ = write!(items, "[:{negated}{name}:]");
        Some(true)
    }
}

/// A number of a repetition: `None` if there is none, `Some(None)` if it is too large.
fn number(rest: &mut &str) -> Option<Option<u32>> {
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, after) = rest.split_at(len);
    if digits.is_empty() || (len > 1 && digits.starts_with('0')) {
        return None;
    }
    *rest = after;
    Some(digits.parse().ok().filter(|&number| number <= MAX_REPEAT))
}

/// A character that is never taken for syntax.
fn put_char(out: &mut String, c: char) {
    if c.is_alphanumeric() {
        out.push(c);
    } else {
        let _ = write!(out, r"\x{{{:X}}}", u32::from(c));
    }
}

/// A range; halves of surrogate pairs are in no text and drop out of it.
fn put_range(out: &mut String, low: u32, high: u32) {
    let low = if (0xd800..0xe000).contains(&low) { 0xe000 } else { low };
    let high = if (0xd800..0xe000).contains(&high) { 0xd7ff } else { high };
    if low <= high {
        let _ = write!(out, r"\x{{{low:X}}}-\x{{{high:X}}}");
    }
}

fn in_class(items: &str, fold: bool) -> String {
    if fold { alloc::format!("(?i:[{items}])") } else { alloc::format!("[{items}]") }
}

/// Go's classes know ASCII only.
fn perl_class(c: char) -> Option<&'static str> {
    Some(match c {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\x0C\r ]",
        'S' => r"[^\t\n\x0C\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// Whether Go knows a script by that name. Abbreviations, which are of four letters, it does not know.
fn is_script(name: &str) -> bool {
    let mut words = name.split('_');
    let proper = words.all(|word| {
        let mut letters = word.bytes();
        letters.next().is_some_and(|b| b.is_ascii_uppercase()) && letters.all(|b| b.is_ascii_lowercase())
    });
    (proper || name == "SignWriting")
        && (name.len() != 4 || SHORT_SCRIPTS.split(' ').any(|known| known == name))
}

const CATEGORIES: &str =
    "Cc Cf Co L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs";
const SHORT_SCRIPTS: &str = "Ahom Cham Kawi Lisu Miao Modi Newa Thai Toto";
const POSIX: &str = "alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit";

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
