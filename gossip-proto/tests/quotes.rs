//! The documentation quotes source files; what it quotes is what is there. In front of such a block stands a line
//! `<!-- quote: path/of/the/file -->`. A page may quote a file in parts, with text between them: each part begins with its first
//! line and reaches to the first line of the next, and together they are the file. `WRITE_QUOTES=1` brings the pages up to date.

use std::path::Path;
use std::{env, fs};

#[test]
fn quoted_files_are_quoted_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    let docs = fs::read_dir(root.join("docs")).expect("the documentation");
    pages.extend(docs.map(|entry| entry.expect("an entry").path()));
    let mut found = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(page).expect("a page");
        let mut written = text.clone();
        let quotes = quotes(&text);
        let mut files: Vec<_> = quotes.iter().map(|(file, _)| *file).collect();
        files.dedup();
        for file in files {
            let source =
                fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let blocks: Vec<_> =
                quotes.iter().filter(|(of, _)| *of == file).map(|(_, block)| block.as_str()).collect();
            let parts = parts(&source, &blocks)
                .unwrap_or_else(|line| panic!("{}: {file} has no line {line:?} there", page.display()));
            for (block, part) in blocks.iter().zip(&parts) {
                found += 1;
                if env::var_os("WRITE_QUOTES").is_some() {
                    written = written.replacen(block, part, 1);
                    continue;
                }
                assert!(block == part, "{} does not quote {file} as it is: WRITE_QUOTES=1", page.display());
            }
        }
        if written != text {
            fs::write(page, &written).expect("the page can be written");
        }
    }
    assert!(found >= 2, "the README and docs/driving.md quote an example each");
}

/// The blocks of a page that quote a file, each with that file, in the order of the page.
fn quotes(page: &str) -> Vec<(&str, String)> {
    let mut lines = page.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(file) = line.strip_prefix("<!-- quote: ").and_then(|rest| rest.strip_suffix(" -->")) else {
            continue;
        };
        assert!(
            lines.next().is_some_and(|line| line.starts_with("```")),
            "{file}: a block must follow at once"
        );
        let block = lines.by_ref().take_while(|line| *line != "```");
        found.push((file, block.flat_map(|line| [line, "\n"]).collect()));
    }
    found
}

/// Cuts a source where the blocks begin that quote it; the lines left empty at a cut belong to no part. The first part begins
/// with the source. Fails with the first line of a block that is not in what is left.
fn parts<'a>(source: &str, blocks: &[&'a str]) -> Result<Vec<String>, &'a str> {
    let lines: Vec<_> = source.lines().collect();
    let mut cuts = vec![0];
    for block in &blocks[1..] {
        let first = block.lines().next().unwrap_or_default();
        let from = cuts[cuts.len() - 1] + 1;
        let cut = lines.iter().skip(from).position(|line| *line == first).ok_or(first)?;
        cuts.push(from + cut);
    }
    cuts.push(lines.len());
    let part = |range: &[usize]| {
        let text = lines[range[0]..range[1]].join("\n");
        text.trim_end_matches('\n').to_string() + "\n"
    };
    Ok(cuts.windows(2).map(part).collect())
}

#[test]
fn a_quote_is_the_block_after_its_mark() {
    let page =
        "text\n<!-- quote: a/b.rs -->\n```rust\nfn f() {}\n\n// end\n```\nmore\n```\nnot quoted\n```\n";
    assert_eq!(quotes(page), [("a/b.rs", "fn f() {}\n\n// end\n".to_string())]);
}

#[test]
fn parts_leave_nothing_out() {
    let source = "one\ntwo\n\nthree\nfour\n";
    assert_eq!(
        parts(source, &["one\ntwo\n", "three\nfour\n"]),
        Ok(vec!["one\ntwo\n".into(), "three\nfour\n".into()])
    );
    assert_eq!(parts(source, &["old\n", "four\n"]), Ok(vec!["one\ntwo\n\nthree\n".into(), "four\n".into()]));
    assert_eq!(parts(source, &[source]), Ok(vec![source.to_string()]), "a file in one part is all of it");
    assert_eq!(parts(source, &["one\n", "five\n"]), Err("five"));
    assert_eq!(parts(source, &["one\n", "four\n", "three\n"]), Err("three"), "parts stand in order");
}
