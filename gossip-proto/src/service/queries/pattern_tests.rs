use super::*;

fn found(expression: &str, value: &str) -> Option<bool> {
    Patterns::default().is_match(expression.as_bytes(), value.as_bytes())
}

/// Expression, values it is found in, values it is not found in.
type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

fn check(rows: &[Row<'_>]) {
    for (expression, matching, others) in rows {
        for value in *matching {
            assert_eq!(found(expression, value), Some(true), "{expression:?} in {value:?}");
        }
        for value in *others {
            assert_eq!(found(expression, value), Some(false), "{expression:?} in {value:?}");
        }
    }
}

#[test]
fn it_means_what_it_means_in_go() {
    check(&[
        ("", &["", "x"], &[]),
        ("^$", &[""], &["x", "\n"]),
        ("web", &["web", "a web b"], &["we", "WEB"]),
        ("^web|db$", &["webs", "a db"], &["a web", "dbs"]),
        ("a||b", &["", "c"], &[]),
        (".", &["x", "é", "\r"], &["", "\n"]),
        ("(?s).", &["\n"], &[""]),
        // Go's `$` is the very end, without a newline before it.
        ("a$", &["a"], &["a\n"]),
        ("(?m)^b$", &["a\nb\nc", "b"], &["ab", "b\r\n"]),
        ("(?m:^b)$", &["a\nb"], &["a\nb\n"]),
        (r"\Ab\z", &["b"], &["a\nb", "b\n"]),
        ("(?i)WeB", &["web", "WEB"], &["wep"]),
        ("(?i:w)eb", &["Web", "web"], &["WEB"]),
        ("(?i)w(?-i)eb", &["Web"], &["WEB"]),
        ("((?i)w)eb", &["Web"], &["wEb"]),
        ("(?i)k", &["\u{212a}", "K"], &[]),
        ("(?i)é", &["É"], &["e"]),
        ("(?i)[^a]", &["b"], &["a", "A", ""]),
        ("(?U)a+?b", &["aab"], &["b"]),
        ("(?)a", &["a"], &["b"]),
        ("a(?i)*b", &["b", "aB"], &["a"]),
        ("^(?P<n>a)(?<m>b)(c)$", &["abc"], &["ab"]),
        ("^(?P<n>a)(?P<n>b)$", &["ab"], &["a"]),
    ]);
}

#[test]
fn classes_are_ascii_and_escapes_are_go_s() {
    check(&[
        (r"^\d$", &["7"], &["\u{663}", "a"]),
        (r"^\D$", &["\u{663}", "a"], &["7"]),
        (r"^\w$", &["a", "_", "9"], &["é", "-"]),
        (r"^\W$", &["é", "-"], &["a"]),
        // Vertical tab is no white space in Go.
        (r"^\s$", &[" ", "\t", "\n", "\r", "\u{c}"], &["\u{b}", "\u{a0}"]),
        (r"^\S$", &["\u{b}", "\u{a0}"], &[" "]),
        (r"(?i)^\w$", &["\u{17f}", "\u{212a}"], &["é"]),
        (r"\bweb\b", &["a web", "éweb"], &["aweb"]),
        (r"é\Bn", &[], &["én"]),
        (r"a\Bb", &["ab"], &["a b"]),
        (r"^\Qa.*[\E$", &["a.*["], &["abc["]),
        (r"^\Qab\E+$", &["abb"], &["abab"]),
        (r"\Q.", &["."], &["a"]),
        (r"^\x41\x{e9}\101\0$", &["AéA\0"], &["A"]),
        (r"^\a\f\n\r\t\v$", &["\u{7}\u{c}\n\r\t\u{b}"], &[]),
        (r"^\.\_\-\ \<\>\&$", &["._- <>&"], &[]),
        ("^#a b$", &["#a b"], &["ab"]),
        (r"\b{start}+", &["a{start}}"], &["a", "{start}"]),
        (r"\x{D800}", &[], &["\u{fffd}", "a"]),
    ]);
}

#[test]
fn bracket_classes() {
    check(&[
        ("^[a-c]$", &["b"], &["d", "-"]),
        ("^[^a-c]$", &["d", "\n"], &["a"]),
        ("^[]a]$", &["]", "a"], &["b"]),
        ("^[^]a]$", &["b"], &["]"]),
        ("^[a-]$", &["a", "-"], &["b"]),
        ("^[-a]$", &["a", "-"], &["b"]),
        ("^[a-b-d]$", &["-", "d", "b"], &["c"]),
        ("^[--/]$", &["-", ".", "/"], &[","]),
        // What is syntax to the regex crate is a character to Go.
        ("^[a&&b]$", &["a", "b", "&"], &["c"]),
        ("^[a~~b]$", &["~"], &["c"]),
        ("^[[a]$", &["[", "a"], &["]"]),
        ("^[[a]]$", &["[]", "a]"], &["a"]),
        ("^[[:a]$", &["[", ":", "a"], &["b"]),
        ("^[[:alpha:]_]$", &["x", "_"], &["1", "é"]),
        ("^[[:^alpha:]]$", &["1", "é"], &["x"]),
        ("^[^[:digit:]x]$", &["a"], &["1", "x"]),
        ("^[[:word:]]$", &["_"], &["-"]),
        (r"^[\d-z]$", &["1", "-", "z"], &["a"]),
        (r"^[\W\d]$", &["-", "1", "é"], &["a"]),
        (r"^[\]\\^]$", &["]", "\\", "^"], &["a"]),
        (r"^[\x{D7FF}-\x{E000}]$", &["\u{d7ff}", "\u{e000}"], &["a"]),
        (r"^[^\x00-\x{10FFFF}]$", &[], &["a", ""]),
        (r"^\pL\p{Lu}\p{Greek}\P{Greek}\p{^L}$", &["éAλb1"], &["éAλλ1"]),
        (r"^[\pN\p{Han}]$", &["1", "漢"], &["a"]),
        (r"^\p{Any}$", &["\n", "a"], &[""]),
    ]);
}

#[test]
fn repetitions() {
    check(&[
        ("^a{2}$", &["aa"], &["a", "aaa"]),
        ("^a{2,}$", &["aa", "aaaa"], &["a"]),
        ("^a{1,2}?$", &["a", "aa"], &["", "aaa"]),
        ("^a{0}$", &[""], &["a"]),
        // Not a repetition to Go, but braces.
        ("^a{,2}$", &["a{,2}"], &["a", "aa"]),
        ("^a{$", &["a{"], &["a"]),
        ("^a{x}$", &["a{x}"], &["a"]),
        ("^{x}{2}$", &["{x}}"], &["{x}"]),
        ("^a{01}$", &["a{01}"], &["a"]),
        ("^(?:a{10}){100}$", &[], &["a"]),
        ("^((a{1000}){0}){2}b$", &["b"], &["a"]),
        ("^(ab*)+?$", &["aabb"], &["b"]),
    ]);
}

#[test]
fn what_go_refuses_matches_nothing() {
    let refused = [
        "(",
        ")",
        "a)",
        "(a",
        "[",
        "[]",
        "[a",
        "*",
        "+a",
        "?",
        "|*",
        "(*)",
        "a**",
        "a+*",
        "a??*",
        "a{2}{3}",
        "a*{2}",
        "a{1001}",
        "a{2,1}",
        "a{1,1001}",
        "a{99999999999}",
        "(a{10}){101}",
        "((a{10}){10}){11}",
        "{2}",
        "[b-a]",
        r"[a-\d]",
        r"\",
        r"\8",
        r"\1",
        r"\Z",
        r"\C",
        r"\E",
        r"\G",
        r"\h",
        r"\u0041",
        r"\U00000041",
        r"\R",
        r"\X",
        r"\é",
        r"\x",
        r"\x4",
        r"\x{}",
        r"\x{110000}",
        r"\x{g}",
        r"[\b]",
        r"[\Q]",
        "[[:foo:]]",
        "(?x)a",
        "(?u)a",
        "(?R)a",
        "(?i",
        "(?i-)a",
        "(?--i)a",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?P=n)",
        "(?P<>a)",
        "(?P<a-b>c)",
        r"\p",
        r"\pX",
        r"\p{}",
        r"\p{Greek",
        r"\p{greek}",
        r"\p{Grek}",
        r"\p{Letter}",
        r"\p{sc=Greek}",
        r"\p{Alphabetic}",
        r"\p{^}",
    ];
    for expression in refused {
        assert_eq!(found(expression, ""), None, "{expression:?}");
    }
    assert_eq!(Patterns::default().is_match(b"\xff", b"\xff"), None);
}

#[test]
fn what_costs_too_much_is_refused() {
    // Go would take these; here they come to more than an expression may.
    for expression in [r"(\pL{100}){10}", r"(?i)[\pL\pN]{1000}", &"(".repeat(300)] {
        assert_eq!(found(expression, "a"), None, "{expression:?}");
    }
    assert_eq!(found(&"a".repeat(513), "a"), None);
    assert_eq!(found(&"a".repeat(512), "a"), Some(false));
    // Nothing overflows the stack: as deep as an expression can be.
    let deep = alloc::format!("{}a{}", "(".repeat(255), ")".repeat(255));
    let _ = found(&deep, "a");
    let _ = found(&"(?i:".repeat(128), "a");
}

/// Each would take the `regex` crate longer than the rest of a query altogether, whatever it comes to in the end.
#[test]
fn what_takes_long_to_compile_is_refused() {
    for (class, many) in [(r"[\x00-\x{10FFFF}]", 27), (r"\p{Any}", 70), (r"\pL", 160), ("[!-\u{10ffff}]", 60)]
    {
        let folded = alloc::format!("(?i){}", class.repeat(many));
        assert_eq!((found(&folded, "a"), translate(&folded)), (None, None), "{class}");
        assert!(translate(&class.repeat(many)).is_some(), "{class}");
        assert!(found(&alloc::format!("(?i){class}"), "a").is_some(), "{class}");
    }
    // In one class as well as in many.
    assert_eq!(translate(&alloc::format!("(?i)[{}]", r"\pL".repeat(160))), None);
    assert_eq!(found("(?i)[a-zà-ÿ]{30}|[^a-f]", "X"), Some(true));
}

#[test]
fn others_have_so_many_turns() {
    let mut patterns = Patterns::default();
    let mut now = Instant::from_nanos(5_000_000_000);
    let mut ask = |now, i: u32, value: &[u8]| {
        patterns.is_match_for_others(now, alloc::format!("a{i}").as_bytes(), value)
    };
    let took = (0..100).filter(|&i| ask(now, i, b"a7").is_some()).count() as u32;
    assert_eq!(took, TURNS);
    // What is known costs none, unless it is to be looked for elsewhere.
    assert_eq!((ask(now, TURNS - 1, b"a7"), ask(now, TURNS - 1, b"a31")), (Some(false), None));
    now += TURN;
    assert_eq!((ask(now, TURNS - 1, b"a31"), ask(now, 200, b"")), (Some(true), None));
    now += TURN * TURNS * 2;
    let took = (0..100).filter(|&i| ask(now, 300 + i, b"a7").is_some()).count() as u32;
    assert_eq!(took, TURNS);
    // This node itself has as many as it wants.
    assert_eq!(patterns.is_match(b"b", b"b"), Some(true));
    assert_eq!(patterns.is_match_for_others(now, b"(", b""), None);
}

#[test]
fn bytes_that_are_no_text_are_one_character_each() {
    let mut patterns = Patterns::default();
    assert_eq!(patterns.is_match(b"^..$", b"\xe2\x82"), Some(true));
    assert_eq!(patterns.is_match(br"^\x{FFFD}a$", b"\xffa"), Some(true));
}

#[test]
fn the_last_ones_are_kept() {
    let mut patterns = Patterns::default();
    for i in 0..40u32 {
        let expression = alloc::format!("a{i}");
        assert_eq!(patterns.is_match(expression.as_bytes(), b"a39"), Some(i == 39 || i == 3));
        assert_eq!(patterns.is_match(b"(", b"a"), None);
        assert!(patterns.recent.len() <= KEPT);
    }
    assert_eq!(patterns.recent.iter().filter(|kept| *kept.expression == *b"(").count(), 1);
}

#[test]
fn a_whole_value_matches_or_does_not() {
    let matches = |expression: &str, value: &str| {
        Expression::new(expression.as_bytes()).unwrap().is_match(value.as_bytes())
    };
    assert!(matches("a|b", "a") && matches("a|b", "b"));
    assert!(!matches("a|b", "ax") && !matches("a|b", "xb"));
    assert!(matches("r[12]", "r1") && !matches("r[12]", "r12") && !matches("r", "r1"));
    assert!(matches("", "") && !matches("", "x"));
    assert!(matches("(?i)WEB|db", "web") && matches("(?i)WEB|db", "DB") && matches("é.", "éa"));
    for text in ["(", "a)|(b", "[", "((a{100}){100}){100}", &"a".repeat(Expression::MAX + 1)] {
        assert!(Expression::new(text.as_bytes()).is_none(), "{text}");
    }
    assert!(Expression::new(b"\xff").is_none());
}
