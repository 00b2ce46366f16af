//! The docs as the checks see them: two tables of docs/ARCHITECTURE.md, and the paths that pages name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// By module, what it may import.
pub type ImportTable = BTreeMap<String, Allowed>;

#[derive(Debug, PartialEq, Eq)]
pub enum Allowed {
    All,
    /// Paths below `crate::`; each allows itself and what is below it.
    Only(Vec<String>),
}

impl Allowed {
    pub fn permits(&self, path: &str) -> bool {
        match self {
            Allowed::All => true,
            Allowed::Only(allowed) => allowed.iter().any(|allowed| {
                path.strip_prefix(allowed.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            }),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::All => f.write_str("all"),
            Allowed::Only(allowed) if allowed.is_empty() => f.write_str("nothing"),
            Allowed::Only(allowed) => f.write_str(&allowed.join(", ")),
        }
    }
}

/// The table whose head is `| module | may import |`.
pub fn import_table(page: &str) -> Result<ImportTable, String> {
    let mut table = ImportTable::new();
    for (modules, imports) in rows(page, ["module", "may import"]) {
        for module in list(&modules) {
            let allowed = match imports.as_str() {
                "all" => Allowed::All,
                "nothing" => Allowed::Only(Vec::new()),
                imports => Allowed::Only(list(imports)),
            };
            if table.insert(module.clone(), allowed).is_some() {
                return Err(format!("the import table has {module} twice"));
            }
        }
    }
    if table.is_empty() { Err("no import table was found".to_string()) } else { Ok(table) }
}

/// The first column of the table whose head is `| crate | why |`.
pub fn dependency_list(page: &str) -> BTreeSet<String> {
    rows(page, ["crate", "why"])
        .filter(|(_, why)| !why.is_empty())
        .flat_map(|(names, _)| list(&names))
        .collect()
}

/// The first two columns of the tables with that head.
fn rows(page: &str, head: [&str; 2]) -> impl Iterator<Item = (String, String)> {
    let mut inside = false;
    page.lines().filter_map(move |line| {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if !line.trim_start().starts_with('|') || cells.len() < 2 {
            inside = false;
        } else if cells[..2] == head {
            inside = true;
        } else if inside && !cells[0].starts_with("--") {
            return Some((cells[0].replace('`', ""), cells[1].replace('`', "")));
        }
        None
    })
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|item| item.trim().to_string()).filter(|item| !item.is_empty()).collect()
}

/// Folders and files at the root, by which a path of ours is known from other code spans.
const OURS: &[&str] =
    &["src", "tests", "docs", "perf", "benches", "fuzz", "tuning", ".ci", ".cargo", "examples"];

/// Paths that `text` names, in code spans or links, and that do not exist.
pub fn missing_paths(page: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut fenced = false;
    for (line, content) in text.lines().enumerate() {
        if content.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let mut named: Vec<String> = Vec::new();
        if !fenced {
            named.extend(code_spans(content).filter_map(our_path));
            named.extend(links(content).map(|link| joined(folder, link)));
        }
        for path in named.iter().filter(|path| !exists(path.as_str())) {
            findings.push(format!("{page}:{}: {path} does not exist", line + 1));
        }
    }
    findings
}

fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// A span that names a file or folder of this repository; patterns and commands do not.
fn our_path(span: &str) -> Option<String> {
    let path = span.strip_prefix("./").unwrap_or(span);
    let (first, rest) = path.split_once('/')?;
    let plain = !path.contains([' ', '*', '<', '{', '$', '?']);
    let path = path.trim_end_matches('/');
    (plain && OURS.contains(&first) && !rest.contains("//")).then(|| path.to_string())
}

/// Targets of `[text](target)` that lie in the repository, without their `#section`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        (!target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
            .then_some(target)
    })
}

/// `docs` and `../src/a.rs` make `src/a.rs`.
fn joined(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_by_their_heads() {
        let page = "| a | b |\n|---|---|\n| x | y |\n\n| module | may import |\n|---|---|\n\
            | `a`, b | nothing |\n| c | a, d::e |\n| f | all |\n\ntext\n| crate | why |\n|--|--|\n\
            | g, h | good |\n| i | |\n";
        let table = import_table(page).unwrap();
        assert_eq!(table.len(), 4);
        assert_eq!(table["a"], Allowed::Only(vec![]));
        assert!(
            table["c"].permits("a::x") && table["c"].permits("d::e") && table["f"].permits("q")
        );
        assert!(!table["c"].permits("ab") && !table["c"].permits("d") && !table["b"].permits("a"));
        assert_eq!(dependency_list(page), BTreeSet::from(["g", "h"].map(String::from)));
        assert!(import_table("nothing here").is_err());
        assert!(import_table("| module | may import |\n| a | b |\n| a | c |\n").is_err());
    }

    #[test]
    fn paths_that_do_not_exist_are_found() {
        let exists = |path: &str| ["src/a.rs", "docs/b.md", "src/log"].contains(&path);
        let check = |text: &str, expect: &[&str]| {
            let found = missing_paths("docs/page.md", text, &exists);
            assert_eq!(found.len(), expect.len(), "{text}: {found:?}");
            for (found, expect) in found.iter().zip(expect) {
                assert!(found.contains(expect), "{found} lacks {expect}");
            }
        };
        check("`src/a.rs` and `./src/log/` and [b](b.md#part) and [a](../src/a.rs)", &[]);
        check("`src/gone.rs`", &["docs/page.md:1: src/gone.rs does not exist"]);
        check("x\n[gone](gone.md)", &["docs/page.md:2: docs/gone.md"]);
        check("`src/*.rs` `src/<name>.rs` `cat src/gone.rs` [web](https://x.org/src/y)", &[]);
        check("`other/thing` `a/b`", &[]);
        check("```\n`src/gone.rs`\n```", &[]);
    }
}
