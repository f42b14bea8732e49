//! The modules of the core form layers, and a module imports only from its own layer and those below. This resolves
//! every path in the sources, re-exports followed to where the name is defined, and checks it against the table.
//! docs/architecture.md explains the layers.
//!
//! What it cannot see are calls of methods on a value whose type is not named. Code under `cfg(test)` may import anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// Bottom to top. Between modules of one layer, and between the files of one module, any order without a cycle will do. A
/// module's own `mod.rs` stands outside of that: it holds the state that the files beside it extend.
const LAYERS: &[&[&str]] = &[
    &["time", "duration", "rng", "hash", "name", "stats", "timer", "slab", "ration"],
    &["wire"],
    &["error", "nonce", "keys", "output", "config"],
    &["roster", "coordinate"],
    &["view", "machine"],
    &["tap"],
    &["swim"],
    &["contract", "replay", "membership"],
    &["service"],
    &["node"],
    &["playback"],
    &["testing"],
];

#[test]
fn imports_point_downward() {
    let violations = check(&sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")));
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

type ModulePath = Vec<String>;

/// A source file: its path below `src`, and its text.
type Source = (String, String);

fn sources(src: &Path) -> Vec<Source> {
    let (mut found, mut dirs) = (Vec::new(), vec![src.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(src).expect("below src").display().to_string();
                found.push((name, fs::read_to_string(&path).expect("a source file")));
            }
        }
    }
    found.sort();
    found
}

/// The complaints about a set of sources, none if all is well.
fn check(sources: &[Source]) -> Vec<String> {
    let modules: BTreeMap<ModulePath, Module> = sources
        .iter()
        .filter(|(file, _)| !is_test(file))
        .map(|(file, text)| {
            let path = module_path(file);
            (path.clone(), Module::parse(file, path, text))
        })
        .collect();
    let known: BTreeSet<ModulePath> = modules.keys().cloned().collect();
    let mut violations = Vec::new();
    let mut edges: BTreeMap<ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
    for (path, module) in &modules {
        let Some(top) = path.first() else { continue };
        let Some(layer) = layer(top) else {
            violations.push(format!("{}: module `{top}` is in no layer", module.file));
            continue;
        };
        for import in &module.imports {
            let target = match resolve(&modules, &known, import) {
                Ok(target) => target,
                Err(why) => {
                    violations.push(format!("{}: {}: {why}", module.file, import.join("::")));
                    continue;
                }
            };
            // Standing for the crate as a whole, as in `pub(crate)`.
            let Some(target_top) = target.first() else { continue };
            match self::layer(target_top) {
                Some(target_layer) if target_layer > layer => violations.push(format!(
                    "{}: {} is in `{target_top}`, above `{top}`",
                    module.file,
                    import.join("::")
                )),
                _ => {
                    let (from, to) = (unit(path), unit(&target));
                    let beside = (from.len() == 2 && to.len() == 2) || from[0] != to[0];
                    if from != to && beside {
                        edges.entry(from).or_default().insert(to);
                    }
                }
            }
        }
    }
    if let Some(cycle) = cycle(&edges) {
        let names: Vec<_> = cycle.iter().map(|module| module.join("::")).collect();
        violations.push(format!("a cycle: {}", names.join(" -> ")));
    }
    violations
}

fn is_test(file: &str) -> bool {
    file.ends_with("tests.rs") || file.contains("tests/")
}

fn module_path(file: &str) -> ModulePath {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" { Vec::new() } else { path.split('/').map(Into::into).collect() }
}

fn layer(top: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&top))
}

/// What the order within a layer is about: a top-level module, or a file of one with all that is below it.
fn unit(path: &[String]) -> ModulePath {
    path[..path.len().min(2)].to_vec()
}

fn cycle(edges: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> Option<Vec<ModulePath>> {
    fn visit(
        at: &ModulePath,
        edges: &BTreeMap<ModulePath, BTreeSet<ModulePath>>,
        done: &mut BTreeSet<ModulePath>,
        trail: &mut Vec<ModulePath>,
    ) -> Option<Vec<ModulePath>> {
        if let Some(start) = trail.iter().position(|module| module == at) {
            let mut cycle = trail[start..].to_vec();
            cycle.push(at.clone());
            return Some(cycle);
        }
        if !done.insert(at.clone()) {
            return None;
        }
        trail.push(at.clone());
        let found = edges.get(at).into_iter().flatten().find_map(|next| visit(next, edges, done, trail));
        trail.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| visit(start, edges, &mut done, &mut Vec::new()))
}

/// Finds the module that defines what an absolute path names.
fn resolve(
    modules: &BTreeMap<ModulePath, Module>,
    known: &BTreeSet<ModulePath>,
    path: &[String],
) -> Result<ModulePath, &'static str> {
    let mut path = path.to_vec();
    // Each re-export leads to another one at most so often.
    for _ in 0..8 {
        let len = (0..=path.len()).rev().find(|len| known.contains(&path[..*len])).unwrap_or(0);
        let (module, rest) = path.split_at(len);
        let (Some(name), Some(found)) = (rest.first(), modules.get(module)) else {
            return Ok(module.to_vec());
        };
        if name == "*" && module.is_empty() {
            return Err("imports everything");
        }
        if found.items.contains(name) || name == "*" {
            return Ok(module.to_vec());
        }
        let explicit = found.exports.iter().find(|(exported, _)| exported == name);
        let by_glob = || {
            let globs = found.exports.iter().filter(|(exported, _)| exported == "*");
            globs.map(|(_, target)| target).find(|target| {
                let defines = modules.get(&target[..target.len() - 1]);
                defines.is_some_and(|module| module.items.contains(name) || module.in_macros.contains(name))
            })
        };
        path = match (explicit, by_glob()) {
            (Some((_, target)), _) => target.clone(),
            (None, Some(target)) => target[..target.len() - 1].to_vec(),
            // Out of a macro that declares it.
            (None, None) if found.in_macros.contains(name) => return Ok(module.to_vec()),
            // An associated item, a variant, or the like of a module that is known: its layer is what counts.
            (None, None) if !module.is_empty() => return Ok(module.to_vec()),
            (None, None) => return Err("leads nowhere"),
        };
    }
    Err("is re-exported in a circle")
}

/// What a source file says about names.
struct Module {
    file: String,
    path: ModulePath,
    /// Where it was found in a nested `mod`: names of those around it.
    nested: Vec<String>,
    /// Names it defines.
    items: BTreeSet<String>,
    /// Identifiers in macro calls that stand where items do.
    in_macros: BTreeSet<String>,
    /// What it re-exports: under which name, and from which absolute path.
    exports: Vec<(String, ModulePath)>,
    /// The absolute paths it uses.
    imports: BTreeSet<ModulePath>,
    children: BTreeSet<String>,
}

impl Module {
    fn parse(file: &str, path: ModulePath, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut module = Self {
            file: file.into(),
            path,
            nested: Vec::new(),
            items: BTreeSet::new(),
            in_macros: BTreeSet::new(),
            exports: Vec::new(),
            imports: BTreeSet::new(),
            children: BTreeSet::new(),
        };
        for item in &syntax.items {
            module.declare(item);
        }
        module.visit_file(&syntax);
        module
    }

    fn declare(&mut self, item: &syn::Item) {
        let name = match item {
            syn::Item::Const(item) => &item.ident,
            syn::Item::Enum(item) => &item.ident,
            syn::Item::Fn(item) => &item.sig.ident,
            syn::Item::Static(item) => &item.ident,
            syn::Item::Struct(item) => &item.ident,
            syn::Item::Trait(item) => &item.ident,
            syn::Item::Type(item) => &item.ident,
            syn::Item::Union(item) => &item.ident,
            syn::Item::Mod(item) => {
                if item.content.is_none() {
                    self.children.insert(item.ident.to_string());
                }
                return;
            }
            syn::Item::Macro(item) => {
                match &item.ident {
                    Some(name) => drop(self.items.insert(name.to_string())),
                    None => identifiers(item.mac.tokens.clone(), &mut self.in_macros),
                }
                return;
            }
            _ => return,
        };
        self.items.insert(name.to_string());
    }

    /// Makes a path absolute; `None` if it leads out of the crate or to a name that an import has brought in.
    fn absolute(&self, segments: &[String]) -> Option<ModulePath> {
        let mut base: ModulePath = self.path.iter().chain(&self.nested).cloned().collect();
        let mut rest = segments;
        match segments.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &segments[1..];
            }
            "self" => rest = &segments[1..],
            "super" => {}
            child if self.nested.is_empty() && self.children.contains(child) => {}
            _ => return None,
        }
        while rest.first().is_some_and(|segment| segment == "super") {
            base.pop()?;
            rest = &rest[1..];
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    fn import(&mut self, segments: &[String]) {
        if segments.len() > 1
            && let Some(path) = self.absolute(segments)
        {
            self.imports.insert(path);
        }
    }

    fn use_tree(&mut self, tree: &syn::UseTree, prefix: &mut Vec<String>, exported: bool) {
        let (name, last) = match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.use_tree(&path.tree, prefix, exported);
                prefix.pop();
                return;
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.use_tree(tree, prefix, exported));
                return;
            }
            syn::UseTree::Name(name) => (name.ident.to_string(), name.ident.to_string()),
            syn::UseTree::Rename(rename) => (rename.rename.to_string(), rename.ident.to_string()),
            syn::UseTree::Glob(_) => ("*".into(), "*".into()),
        };
        let mut full = prefix.clone();
        if last != "self" {
            full.push(last);
        }
        let Some(path) = self.absolute(&full) else { return };
        if exported && self.nested.is_empty() {
            self.exports.push((name, path.clone()));
        }
        self.imports.insert(path);
    }

    /// Paths in the arguments of a macro, which are only tokens here: `a::b`, and `a::{b, c::d}` as imports have it.
    fn scan(&mut self, tokens: TokenStream, prefix: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            if let TokenTree::Group(group) = &tokens[at] {
                self.scan(group.stream(), &[]);
            }
            let (mut path, mut end) = (prefix.to_vec(), at);
            while let Some(TokenTree::Ident(segment)) = tokens.get(end) {
                path.push(segment.to_string());
                end += 1;
                if !(is_colon(tokens.get(end)) && is_colon(tokens.get(end + 1))) {
                    break;
                }
                end += 2;
                if let Some(TokenTree::Group(list)) = tokens.get(end) {
                    self.scan(list.stream(), &path);
                    path.clear();
                    end += 1;
                    break;
                }
            }
            self.import(&path);
            at = end.max(at + 1);
        }
    }
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

fn identifiers(tokens: TokenStream, found: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => drop(found.insert(name.to_string())),
            TokenTree::Group(group) => identifiers(group.stream(), found),
            _ => {}
        }
    }
}

fn only_in_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !only_in_tests(&item.attrs) {
            self.nested.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.nested.pop();
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !only_in_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !only_in_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !only_in_tests(&item.attrs) {
            let exported = !matches!(item.vis, syn::Visibility::Inherited);
            self.use_tree(&item.tree, &mut Vec::new(), exported);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.import(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.scan(call.tokens.clone(), &[]);
        visit::visit_macro(self, call);
    }

    /// `pub(in crate::swim)` says who may look, not what is used.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

/// A small crate, correct unless a file of it is replaced.
fn example(replaced: &[(&str, &str)]) -> Vec<String> {
    let mut files = BTreeMap::from([
        (
            "lib.rs",
            "mod node; pub mod wire; mod time; mod swim; mod output; pub use node::Node; pub use output::*; pub use time::Instant as Now;",
        ),
        ("time.rs", "pub struct Instant;"),
        ("wire/mod.rs", "pub mod packet; pub mod seal;"),
        ("wire/packet.rs", "use super::seal::open; pub struct Packet;"),
        ("wire/seal.rs", "pub fn open() -> crate::Now { crate::time::Instant }"),
        ("output.rs", "macro_rules! ids { ($a:ident) => { pub struct $a; } } ids! { Key }"),
        (
            "swim/mod.rs",
            "mod probe; mod claims; use crate::{Key, wire::packet::Packet}; pub struct Swim { packet: Packet }",
        ),
        ("swim/probe.rs", "use super::{Swim, claims}; impl Swim { fn probe() { claims::run() } }"),
        ("swim/claims.rs", "use super::Swim; #[cfg(test)] mod tests { use crate::node::Node; }"),
        ("node.rs", "use crate::swim::Swim; pub struct Node(Swim);"),
    ]);
    files.extend(replaced.iter().copied());
    check(&files.into_iter().map(|(file, text)| (file.into(), text.into())).collect::<Vec<_>>())
}

#[test]
fn the_example_is_in_order() {
    assert_eq!(example(&[]), [""; 0]);
}

#[test]
fn an_import_from_above_is_found_in_every_form() {
    for text in [
        "use crate::node::Node;",
        "use crate::Node;",
        "use crate::{Now, node::{self, Node as N}};",
        "use super::super::node::Node;",
        "fn f(_: &crate::node::Node) {}",
        "fn f() { let _ = crate::Node::default(); }",
        "fn f() { println!(\"{}\", crate::node::COUNT); }",
        "macro_rules! m { () => { $crate::node::Node } }",
        "macro_rules! m { () => { use $crate::{time::Instant, node::{Node as N}}; } }",
        "mod inner { pub use super::super::super::node::Node; }",
    ] {
        let violations = example(&[("wire/seal.rs", text)]);
        assert!(
            violations.iter().any(|violation| violation.contains("above `wire`")),
            "{text}: {violations:?}"
        );
    }
}

#[test]
fn a_cycle_between_files_is_found() {
    let violations = example(&[("wire/seal.rs", "use super::packet::Packet; pub fn open() {}")]);
    assert_eq!(violations, ["a cycle: wire::packet -> wire::seal -> wire::packet"]);
    let violations = example(&[("swim/claims.rs", "use super::probe::probe; pub fn run() {}")]);
    assert_eq!(violations, ["a cycle: swim::claims -> swim::probe -> swim::claims"]);
}

#[test]
fn what_cannot_be_placed_is_a_violation() {
    assert!(example(&[("shortcut.rs", "")])[0].contains("in no layer"));
    assert!(example(&[("node.rs", "use crate::Nowhere;")])[0].contains("leads nowhere"));
    assert!(example(&[("node.rs", "use crate::*;")])[0].contains("imports everything"));
}
