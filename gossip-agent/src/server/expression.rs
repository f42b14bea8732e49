//! The expressions of `members-filtered`, which must match the whole value (serf.md 9.4). Upstream sets `^` before and `$`
//! behind, and so has `a|b` match by its beginning or its end (Q28).

use regex::bytes::{Regex, RegexBuilder};

/// One expression; `None` in it lets everything through.
#[derive(Debug)]
pub(super) struct Expression(Option<Regex>);

impl Expression {
    /// An empty one lets everything through.
    pub(super) fn optional(text: &[u8]) -> Result<Self, String> {
        if text.is_empty() { Ok(Self(None)) } else { Self::new(text) }
    }

    pub(super) fn new(text: &[u8]) -> Result<Self, String> {
        let shown = || String::from_utf8_lossy(&text[..text.len().min(MAX)]).into_owned();
        if text.len() > MAX {
            return Err(format!("The expression {:?}... is longer than {MAX} bytes", shown()));
        }
        let wrong =
            |why: &dyn core::fmt::Display| format!("The expression {:?} cannot be used: {why}", shown());
        let text = core::str::from_utf8(text).map_err(|error| wrong(&error))?;
        // By itself first: `a)|(b` would be one inside the parentheses.
        compile(text).map_err(|error| wrong(&error))?;
        compile(&format!("^(?:{text})$")).map(|regex| Self(Some(regex))).map_err(|error| wrong(&error))
    }

    pub(super) fn matches(&self, value: &[u8]) -> bool {
        self.0.as_ref().is_none_or(|regex| regex.is_match(value))
    }
}

/// Go's classes are those of ASCII; what an expression may cost is bounded.
fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).unicode(false).size_limit(MAX_PROGRAM).build()
}

const MAX: usize = 512;
const MAX_PROGRAM: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_value_must_match() {
        let matches = |expression: &str, value: &str| {
            Expression::new(expression.as_bytes()).unwrap().matches(value.as_bytes())
        };
        assert!(matches("a|b", "a") && matches("a|b", "b"));
        assert!(!matches("a|b", "ax") && !matches("a|b", "xb"));
        assert!(matches("r[12]", "r1") && !matches("r[12]", "r12") && !matches("r", "r1"));
        assert!(matches("", "") && !matches("", "x"));
        assert!(Expression::optional(b"").unwrap().matches(b"anything"));
        assert!(matches("(?i)WEB", "web") && matches(r"\d+", "12") && matches("é.", "éa"));
    }

    #[test]
    fn what_is_no_expression_or_costs_too_much_is_refused() {
        for text in ["(", "a)|(b", "[", "((a{100}){100}){100}", &"a".repeat(MAX + 1)] {
            let error = Expression::new(text.as_bytes()).unwrap_err();
            assert!(error.starts_with("The expression \""), "{error}");
        }
        assert!(Expression::new(b"\xff").is_err());
    }
}
