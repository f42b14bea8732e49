//! The documentation quotes source files; what it quotes is what is there. In front of such a block stands a line
//! `<!-- quote: path/of/the/file -->`. `WRITE_QUOTES=1` brings the pages up to date.

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
        let mut text = fs::read_to_string(page).expect("a page");
        for (file, block) in quotes(&text.clone()) {
            let source =
                fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            found += 1;
            if block != source && env::var_os("WRITE_QUOTES").is_some() {
                text = text.replace(&block, &source);
                fs::write(page, &text).expect("the page can be written");
                continue;
            }
            assert!(block == source, "{} does not quote {file} as it is: WRITE_QUOTES=1", page.display());
        }
    }
    assert!(found >= 2, "the README and docs/driving.md quote an example each");
}

/// The quoted files of a page, each with the text of its block.
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

#[test]
fn a_quote_is_the_block_after_its_mark() {
    let page =
        "text\n<!-- quote: a/b.rs -->\n```rust\nfn f() {}\n\n// end\n```\nmore\n```\nnot quoted\n```\n";
    assert_eq!(quotes(page), [("a/b.rs", "fn f() {}\n\n// end\n".to_string())]);
}
