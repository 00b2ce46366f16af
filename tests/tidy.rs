//! The house rules as a test: imports, bans, sizes, dependencies, and that the docs name what exists.
//!
//! The import table and the list of dependencies are read from docs/ARCHITECTURE.md, so that what people
//! read and what is checked are the same. Each checker is a pure function with tests of its own, below.

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines of a source file before its tests, and lines of a function.
const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;

/// What may be longer, by how much, and why. These numbers only ever shrink: when the code does, the test
/// asks for the smaller number, and when it fits the limit, for the line to go.
const LONG_FILES: &[(&str, usize, &str)] = &[];
/// (`path::function`, lines, reason)
const LONG_FUNCTIONS: &[(&str, usize, &str)] = &[];

/// A word that may stand only below certain paths.
struct Ban {
    word: &'static str,
    /// Paths where it is right; a path ending in / is a folder.
    save_in: &'static [&'static str],
    /// Also inside `#[cfg(test)]` modules.
    in_tests: bool,
    reason: &'static str,
}

const fn ban(word: &'static str, save_in: &'static [&'static str], reason: &'static str) -> Ban {
    Ban { word, save_in, in_tests: false, reason }
}

const fn ban_everywhere(word: &'static str, reason: &'static str) -> Ban {
    Ban { word, save_in: &[], in_tests: true, reason }
}

const DOOR: &[&str] = &["src/runtime/"];
const TERMINAL: &[&str] = &["src/cli/"];
/// A simulation that fails prints how to replay it.
const TERMINAL_AND_SIMULATION: &[&str] = &["src/cli/", "src/runtime/sim/", "src/simulator/"];
/// The simulation replays only what goes through the door; commands and the start of a process are outside.
const OUTSIDE_SIMULATION: &[&str] = &["src/runtime/", "src/cli/", "src/broker.rs", "src/broker/"];

const BANS: &[Ban] = &[
    ban("unsafe", DOOR, "unsafe lives in the runtime only"),
    ban("glommio", DOOR, "the runtime is the only door to glommio"),
    ban("libc", DOOR, "the runtime is the only door to the kernel"),
    ban("socket2", DOOR, "the runtime is the only door to sockets"),
    ban("println!", TERMINAL, "only commands write to the terminal; others log"),
    ban("print!", TERMINAL, "only commands write to the terminal; others log"),
    ban("eprintln!", TERMINAL_AND_SIMULATION, "only commands write to the terminal; others log"),
    ban("eprint!", TERMINAL, "only commands write to the terminal; others log"),
    ban("process::exit", TERMINAL, "only commands end the process"),
    ban(
        "std::fs",
        OUTSIDE_SIMULATION,
        "files go through the runtime, so that faults can be simulated",
    ),
    ban("std::net::TcpStream", OUTSIDE_SIMULATION, "sockets go through the runtime"),
    ban("std::net::TcpListener", OUTSIDE_SIMULATION, "sockets go through the runtime"),
    ban("std::thread", OUTSIDE_SIMULATION, "threads are the runtime's"),
    ban("SystemTime::now", OUTSIDE_SIMULATION, "the clock is the runtime's, so that runs repeat"),
    ban(
        "std::time::Instant",
        OUTSIDE_SIMULATION,
        "the clock is the runtime's, so that runs repeat",
    ),
    ban(".unwrap()", &[], "say with expect() why it cannot fail, or return the error"),
    ban_everywhere("dbg!", "left over from debugging"),
    ban_everywhere("todo!", "unfinished"),
    ban_everywhere("unimplemented!", "unfinished"),
];

/// Words that mark unfinished work, in code, comments and docs alike.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

#[test]
fn sources_keep_to_the_house_rules() {
    let mut findings = Vec::new();
    let table = docs::import_table(&read("docs/ARCHITECTURE.md")).expect("the page has its table");
    let sources: BTreeMap<String, String> = files(&["src"], "rs").into_iter().collect();
    for (path, text) in &sources {
        if is_for_tests(path, &sources) {
            findings.extend(banned_in_tests(path, text));
            continue;
        }
        let code = source::code_only(source::before_tests(text));
        findings.extend(opens_with_doc(path, text));
        findings.extend(banned(path, text));
        findings.extend(imports(path, &code, &table));
        findings.extend(too_long(path, text, LONG_FILES, LONG_FUNCTIONS));
    }
    report(findings);
}

#[test]
fn exemptions_name_files_and_functions_that_exist() {
    let mut findings = Vec::new();
    for (file, _, _) in LONG_FILES {
        if !root().join(file).is_file() {
            findings.push(format!("LONG_FILES names {file}, which does not exist"));
        }
    }
    for (name, _, _) in LONG_FUNCTIONS {
        let (file, function) = name.split_once("::").expect("LONG_FUNCTIONS says path::function");
        let code = source::code_only(&read(file));
        if !source::functions(&code).iter().any(|found| found.name == function) {
            findings.push(format!("LONG_FUNCTIONS names {name}, which does not exist"));
        }
    }
    report(findings);
}

#[test]
fn no_source_file_is_dead() {
    let sources: BTreeMap<String, String> = files(&["src"], "rs").into_iter().collect();
    report(sources.keys().filter_map(|path| dead(path, &sources)).collect());
}

#[test]
fn nothing_is_marked_unfinished() {
    let mut all = files(&["src", "tests", "perf", "benches", "fuzz/fuzz_targets"], "rs");
    all.extend(pages());
    all.push(("Cargo.toml".to_string(), read("Cargo.toml")));
    report(all.iter().flat_map(|(path, text)| marks(path, text)).collect());
}

#[test]
fn every_dependency_is_on_the_list_with_a_reason() {
    let listed = docs::dependency_list(&read("docs/ARCHITECTURE.md"));
    let mut used = BTreeSet::new();
    for manifest in ["Cargo.toml", "perf/Cargo.toml"] {
        used.extend(dependencies(&read(manifest)));
    }
    report(unlisted(&used, &listed));
}

#[test]
fn every_path_in_the_docs_exists() {
    let exists = |path: &str| root().join(path).exists();
    report(
        pages().iter().flat_map(|(path, text)| docs::missing_paths(path, text, &exists)).collect(),
    );
}

/// The first line of a source file says what it is for.
fn opens_with_doc(path: &str, text: &str) -> Option<String> {
    let opens = text.starts_with("//! ");
    (!opens).then(|| format!("{path}:1: opens without a //! line that says what it is for"))
}

fn banned(path: &str, text: &str) -> Vec<String> {
    let all = source::code_only(text);
    let product = &all[..source::before_tests(text).len()];
    let mut findings = words_banned(path, product, |ban| !ban.in_tests);
    findings.extend(banned_in_tests(path, text));
    findings
}

fn banned_in_tests(path: &str, text: &str) -> Vec<String> {
    words_banned(path, &source::code_only(text), |ban| ban.in_tests)
}

fn words_banned(path: &str, code: &str, applies: impl Fn(&Ban) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for ban in BANS.iter().filter(|ban| applies(ban)) {
        if ban.save_in.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        for at in source::words(code, ban.word) {
            let line = code[..at].matches('\n').count() + 1;
            findings.push(format!("{path}:{line}: {}: {}", ban.word, ban.reason));
        }
    }
    findings
}

/// Whether a parent declares this file, or the folder it is in, under `#[cfg(test)]`.
fn is_for_tests(path: &str, sources: &BTreeMap<String, String>) -> bool {
    let Some((parents, name)) = parents_of(path) else { return false };
    let declared = parents
        .iter()
        .filter_map(|parent| sources.get(parent))
        .any(|text| source::gated_modules(text).iter().any(|gated| gated == name));
    declared
        || parents
            .iter()
            .any(|parent| sources.contains_key(parent) && is_for_tests(parent, sources))
}

/// The files that may declare this one, and under which name; none for the crate's roots.
fn parents_of(path: &str) -> Option<(Vec<String>, &str)> {
    let below = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let below = below.strip_suffix("/mod").unwrap_or(below);
    match below.rsplit_once('/') {
        _ if ["lib", "main"].contains(&below) => None,
        Some((folder, name)) => {
            Some((vec![format!("src/{folder}.rs"), format!("src/{folder}/mod.rs")], name))
        }
        None => Some((vec!["src/lib.rs".to_string(), "src/main.rs".to_string()], below)),
    }
}

/// `net` for `src/net/listener.rs` and `config` for `src/config.rs`; none for the crate's roots.
fn module_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/")?;
    match below.split_once('/') {
        Some((folder, _)) => Some(folder),
        None => below.strip_suffix(".rs").filter(|name| !["lib", "main"].contains(name)),
    }
}

fn imports(path: &str, code: &str, table: &docs::ImportTable) -> Vec<String> {
    let Some(module) = module_of(path) else { return Vec::new() };
    let Some(allowed) = table.get(module) else {
        return vec![format!("{path}:1: module {module} is not in the import table")];
    };
    let mut findings = Vec::new();
    for (line, named) in source::crate_paths(code) {
        if named.split("::").next() != Some(module) && !allowed.permits(&named) {
            findings.push(format!(
                "{path}:{line}: {module} may import {allowed}, not crate::{named} \
                 (docs/ARCHITECTURE.md, import table)"
            ));
        }
    }
    findings
}

fn too_long(
    path: &str,
    text: &str,
    long_files: &[(&str, usize, &str)],
    long_functions: &[(&str, usize, &str)],
) -> Vec<String> {
    let mut findings = Vec::new();
    let product = source::before_tests(text);
    let mut check = |name: &str,
                     what: &str,
                     lines: usize,
                     max: usize,
                     exempt: &[(&str, usize, &str)]| {
        let excuse = exempt.iter().find(|(exempted, _, _)| *exempted == name).map(|entry| entry.1);
        let finding = match excuse {
            None if lines > max => format!("{name}: {what} of {lines} lines; the limit is {max}"),
            Some(_) if lines <= max => {
                format!("{name}: fits in {max} lines now; drop its exemption")
            }
            Some(excused) if lines > excused => {
                format!("{name}: {what} grew to {lines} lines; its exemption is {excused}")
            }
            Some(excused) if lines < excused => {
                format!("{name}: {what} shrank to {lines} lines; write that into its exemption")
            }
            _ => return,
        };
        findings.push(finding);
    };
    check(path, "a file", product.lines().count(), FILE_LINES_MAX, long_files);
    for function in source::functions(&source::code_only(product)) {
        let name = format!("{path}::{}", function.name);
        check(&name, "a function", function.lines, FUNCTION_LINES_MAX, long_functions);
    }
    findings
}

/// A file that no parent declares is compiled by nobody.
fn dead(path: &str, sources: &BTreeMap<String, String>) -> Option<String> {
    let (parents, name) = parents_of(path)?;
    // By its name as a word: src/wire/api/mod.rs declares its files in a macro's list.
    let declared = parents
        .iter()
        .filter_map(|parent| sources.get(parent))
        .any(|text| !source::words(&source::code_only(text), name).is_empty());
    (!declared).then(|| format!("{path}: no parent declares `mod {name}`, so nothing compiles it"))
}

fn marks(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (line, content) in text.lines().enumerate() {
        for mark in MARKS {
            if !source::words(content, mark).is_empty() {
                findings.push(format!("{path}:{}: {mark}: finish it, or file an issue", line + 1));
            }
        }
    }
    findings
}

/// Names in all the dependency tables of a manifest, save the project's own packages.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let manifest: toml::Table = manifest.parse().expect("cargo reads the same file");
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = tables.iter().filter_map(|name| manifest.get(*name)?.as_table());
    let entries = tables.flatten().filter(|(_, value)| value.get("path").is_none());
    entries.map(|(name, _)| name.clone()).collect()
}

fn unlisted(used: &BTreeSet<String>, listed: &BTreeSet<String>) -> Vec<String> {
    let unlisted = used.difference(listed).map(|name| {
        format!(
            "dependency {name} is not listed in docs/ARCHITECTURE.md; give it a line and a reason"
        )
    });
    let unused = listed.difference(used).map(|name| {
        format!("docs/ARCHITECTURE.md lists the dependency {name}, which no Cargo.toml has")
    });
    unlisted.chain(unused).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files with that extension below the folders, by path from the root, in order; a folder that does
/// not exist has none.
fn files(folders: &[&str], extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry.expect("the folder is readable").path();
            let ignored = ["target", "node_modules"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && !ignored {
                pending.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let below = path.strip_prefix(root()).expect("it was found below the root");
                let name = below.to_string_lossy().into_owned();
                let text = read(&name);
                found.push((name, text));
            }
        }
    }
    found.sort();
    assert!(folders[0] != "src" || !found.is_empty(), "no sources found below {folders:?}");
    found
}

/// Everything written for people.
fn pages() -> Vec<(String, String)> {
    let mut pages = files(&["docs", "perf", "tests", "tuning"], "md");
    for entry in std::fs::read_dir(root()).expect("the root is readable") {
        let name = entry.expect("the root is readable").file_name();
        let name = name.to_string_lossy().into_owned();
        if name.ends_with(".md") {
            pages.push((name.clone(), read(&name)));
        }
    }
    pages
}

fn report(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# Imports\n| module | may import |\n|---|---|\n| types, limits | nothing |\n\
        | log | wire::batch, types |\n| cli | all |\n";

    #[track_caller]
    fn check(found: Vec<String>, expect: &[&str]) {
        assert_eq!(found.len(), expect.len(), "{found:#?}");
        for (found, expect) in found.iter().zip(expect) {
            assert!(found.contains(expect), "{found}\nlacks {expect}");
        }
    }

    #[test]
    fn a_forbidden_import_is_found() {
        let table = docs::import_table(TABLE).unwrap();
        let check =
            |path: &str, code: &str, expect: &[&str]| check(imports(path, code, &table), expect);
        check(
            "src/log/a.rs",
            "use crate::types::Offset; use crate::log::b; use crate::wire::batch::C;",
            &[],
        );
        check("src/log/a.rs", "use crate::{types, wire::{batch, api}};", &["not crate::wire::api"]);
        check("src/log/a.rs", "\nlet x = crate::net::y();", &["src/log/a.rs:2: log may import"]);
        check("src/log/a.rs", "use crate::wire;", &["not crate::wire"]);
        check("src/types.rs", "use crate::limits::A;", &["types may import nothing"]);
        check("src/cli/a.rs", "use crate::net::A;", &[]);
        check("src/lib.rs", "use crate::net::A;", &[]);
        check("src/new/a.rs", "", &["module new is not in the import table"]);
    }

    #[test]
    fn a_banned_word_is_found_where_it_is_banned() {
        let check = |path: &str, code: &str, expect: &[&str]| check(banned(path, code), expect);
        check("src/log/a.rs", "// unsafe\nlet s = \"unsafe\";", &[]);
        check("src/log/a.rs", "\nunsafe { f() }", &["src/log/a.rs:2: unsafe"]);
        check("src/runtime/a.rs", "unsafe { libc::f() }", &[]);
        check(
            "src/log/a.rs",
            "use glommio::X; use libc::c; use socket2::S;",
            &["glommio", "libc", "socket2"],
        );
        check("src/net/a.rs", "println!(); eprintln!()", &["println!", "eprintln!"]);
        check("src/net/a.rs", "std::fs::read(x).unwrap()", &["std::fs", ".unwrap()"]);
        check("src/net/a.rs", "#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }", &[]);
        check("src/net/a.rs", "#[cfg(test)]\nmod tests { fn f() { dbg!(x) } }", &["dbg!"]);
        check("src/cli/a.rs", "todo!(); unimplemented!()", &["todo!", "unimplemented!"]);
    }

    #[test]
    fn long_files_and_functions_are_found_and_exemptions_only_shrink() {
        let file =
            |lines: usize| format!("{}#[cfg(test)]\nmod tests {{\n}}\n", "a;\n".repeat(lines));
        let check = |text: &str, exempt: &[(&str, usize, &str)], expect: &[&str]| {
            check(too_long("src/a.rs", text, exempt, exempt), expect);
        };
        check(&file(700), &[], &[]);
        check(&file(701), &[], &["a file of 701 lines"]);
        check(&file(800), &[("src/a.rs", 800, "")], &[]);
        check(&file(801), &[("src/a.rs", 800, "")], &["grew to 801"]);
        check(&file(799), &[("src/a.rs", 800, "")], &["shrank to 799"]);
        check(&file(700), &[("src/a.rs", 800, "")], &["drop its exemption"]);
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "a;\n".repeat(lines - 2));
        check(&function(70), &[], &[]);
        check(&function(71), &[], &["src/a.rs::f: a function of 71 lines"]);
        check(&function(80), &[("src/a.rs::f", 80, "")], &[]);
    }

    #[test]
    fn a_missing_doc_a_dead_file_and_a_mark_are_found() {
        assert!(opens_with_doc("a", "//! Role.").is_none());
        assert!(opens_with_doc("a", "// Role.").is_some());
        let source = |path: &str, text: &str| (path.to_string(), text.to_string());
        let sources = BTreeMap::from([
            source("src/lib.rs", "pub mod a; // mod b;"),
            source("src/a.rs", "mod c { }\n#[cfg(test)]\nmod tests;"),
        ]);
        for (path, is_dead) in [
            ("src/a.rs", false),
            ("src/a/mod.rs", false),
            ("src/a/c.rs", false),
            ("src/a/tests.rs", false),
            ("src/b.rs", true),
            ("src/a/d.rs", true),
        ] {
            assert_eq!(dead(path, &sources).is_some(), is_dead, "{path}");
        }
        let text = format!("fine\n// {}: later\n{}S\n", MARKS[0], MARKS[0]);
        check(marks("a.rs", &text), &["a.rs:2"]);
    }

    #[test]
    fn files_that_only_tests_compile_are_known() {
        let source = |path: &str, text: &str| (path.to_string(), text.to_string());
        let sources = BTreeMap::from([
            source("src/lib.rs", "pub mod a;\n#[cfg(test)]\npub mod b;\n"),
            source(
                "src/a.rs",
                "mod c;\n#[cfg(test)]\nmod tests;\n#[cfg(any(test, feature = \"sim\"))]\nmod d;\n",
            ),
            source("src/b/mod.rs", "mod c;\n"),
        ]);
        for (path, expect) in [
            ("src/lib.rs", false),
            ("src/a.rs", false),
            ("src/a/c.rs", false),
            ("src/a/d.rs", false),
            ("src/a/tests.rs", true),
            ("src/b/mod.rs", true),
            ("src/b/c.rs", true),
        ] {
            assert_eq!(is_for_tests(path, &sources), expect, "{path}");
        }
        check(banned_in_tests("src/a/tests.rs", "x.unwrap(); dbg!(x);"), &["dbg!"]);
    }

    #[test]
    fn an_unlisted_and_an_unused_dependency_are_found() {
        let used = dependencies(
            "[dependencies]\na = \"1\"\nb = { path = \"x\" }\n[dev-dependencies]\nc = \"1\"",
        );
        assert_eq!(used, BTreeSet::from(["a", "c"].map(String::from)));
        let listed = BTreeSet::from(["a", "d"].map(String::from));
        check(unlisted(&used, &listed), &["dependency c is not listed", "lists the dependency d"]);
    }
}
