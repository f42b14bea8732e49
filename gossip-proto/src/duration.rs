//! Durations as Go writes them: `300ms`, `1.5h`, `1h2m3.5s`. Configuration files of Serf use this form.

use core::time::Duration;

/// Reads a Go duration string. The error says what is wrong with it; it does not repeat the text.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(FORM);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).ok_or(UNIT)?;
        let after = &rest[number..];
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let nanos = scale(&rest[..number], unit(&after[..end])?)?;
        total = total.checked_add(nanos).filter(|&sum| sum <= MAX).ok_or(TOO_LONG)?;
        rest = &after[end..];
    }
    if negative && total > 0 {
        return Err("it is negative");
    }
    Ok(Duration::from_nanos(total))
}

/// `number`, with an optional fraction, times `unit` nanoseconds; what is below a nanosecond is cut off, as in Go.
fn scale(number: &str, unit: u64) -> Result<u64, &'static str> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(FORM);
    }
    let mut nanos = 0;
    if !whole.is_empty() {
        let whole: u64 = whole.parse().map_err(|_| TOO_LONG)?;
        nanos = whole.checked_mul(unit).ok_or(TOO_LONG)?;
    }
    // In floating point, as Go does it: a third of an hour with enough digits is 20 minutes. Digits that no longer fit
    // are below what a nanosecond can show.
    let (mut digits, mut scale) = (0_u64, 1.0_f64);
    for digit in fraction.bytes() {
        let Some(more) = digits.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit - b'0')))
        else {
            break;
        };
        if more > MAX {
            break;
        }
        digits = more;
        scale *= 10.0;
    }
    nanos = nanos.checked_add((digits as f64 * (unit as f64 / scale)) as u64).ok_or(TOO_LONG)?;
    Ok(nanos)
}

fn unit(name: &str) -> Result<u64, &'static str> {
    Ok(match name {
        "ns" => 1,
        // U+00B5 (micro sign) and U+03BC (Greek letter mu).
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(UNIT),
    })
}

/// Go counts nanoseconds in a signed 64-bit number: about 292 years.
const MAX: u64 = i64::MAX as u64;
const FORM: &str = "it is not a number with a unit";
const UNIT: &str = "a number needs one of the units ns, us, ms, s, m, h";
const TOO_LONG: &str = "it is longer than 292 years";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let table: &[(&str, u64)] = &[
            ("0", 0),
            ("+0", 0),
            ("-0", 0),
            ("0s", 0),
            ("-0s", 0),
            ("5s", 5_000_000_000),
            ("30s", 30_000_000_000),
            ("1478s", 1_478_000_000_000),
            ("+5s", 5_000_000_000),
            ("5.0s", 5_000_000_000),
            ("5.6s", 5_600_000_000),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("1.004s", 1_004_000_000),
            ("1.0040s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12\u{b5}s", 12_000),
            ("12\u{3bc}s", 12_000),
            ("13ms", 13_000_000),
            ("14s", 14_000_000_000),
            ("15m", 900_000_000_000),
            ("16h", 57_600_000_000_000),
            ("3h30m", 12_600_000_000_000),
            ("10.5s4m", 250_500_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("4m3.5s", 243_500_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("39h9m14.425s", 140_954_425_000_000),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("9007199254740993ns", 9_007_199_254_740_993),
            ("9223372036854775807ns", i64::MAX as u64),
            ("0.100000000000000000000h", 360_000_000_000),
            ("0.830103483285477580700h", 2_988_372_539_827),
        ];
        for &(text, nanos) in table {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "", "3", "-", "s", ".", "-.", ".s", "+.s", "1d", "1 s", " 1s", "1s ", "1.2.3s", "1e3s", "1sm",
            "0x1s", "--1s",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        for text in ["9223372036854775808ns", "3000000h", "9223372036854775.808us", "99999999999999999999s"] {
            assert_eq!(parse(text), Err(TOO_LONG), "{text:?}");
        }
        assert_eq!(parse("-1s"), Err("it is negative"));
    }
}
