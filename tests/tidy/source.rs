//! Rust source as the checks see it: without comments and literals, and without its tests.

/// The text with the contents of comments, strings and character literals turned to spaces.
/// Lines and byte positions stay where they were.
pub fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let (length, keep) = token(rest, previous);
        let (this, after) = rest.split_at(length);
        if keep {
            out.push_str(this);
        } else {
            out.extend(this.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
        previous = first;
        rest = after;
    }
    out
}

/// Length of the next token in bytes, and whether it is code.
fn token(rest: &str, previous: char) -> (usize, bool) {
    let first = rest.chars().next().expect("the caller saw a character");
    let in_word = previous.is_alphanumeric() || previous == '_';
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), false);
    }
    if !in_word && let Some(length) = raw_string(rest) {
        return (length, false);
    }
    match first {
        '"' => (1 + string_end(&rest[1..], '"'), false),
        '\'' => match character(rest) {
            Some(length) => (length, false),
            None => (1, true),
        },
        _ => (first.len_utf8(), true),
    }
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// `r"..."`, `r#"..."#`, and the same after `b` or `c`.
fn raw_string(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inner = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = inner.find(&close).map_or(inner.len(), |at| at + close.len());
    Some(rest.len() - inner.len() + end)
}

/// Past the closing quote, escapes heeded.
fn string_end(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    body.len()
}

/// A character literal; None for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        return Some(1 + string_end(&rest[1..], '\''));
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}

/// What comes before the module of tests at the end of the file; all of it when there is none.
pub fn before_tests(text: &str) -> &str {
    let mut from = 0;
    while let Some(found) = text[from..].find("#[cfg(test)]\n") {
        let at = from + found;
        let at_line_start = at == 0 || text[..at].ends_with('\n');
        let item = text[at..].lines().skip(1).find(|line| !line.starts_with("#["));
        if at_line_start && item.is_some_and(|item| item.starts_with("mod ")) {
            return &text[..at];
        }
        from = at + 1;
    }
    text
}

/// Names of the modules that are declared under `cfg(test)`. The simulation, under `test` or `sim`, is no test.
pub fn gated_modules(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_gated = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_gated |= line.starts_with("#[cfg(test)]");
            continue;
        }
        let declared = line.strip_prefix("pub mod ").or(line.strip_prefix("mod "));
        if let Some(rest) = declared.filter(|_| is_gated) {
            names.extend(rest.split([';', ' ']).next().map(str::to_string));
        }
        is_gated = false;
    }
    names
}

/// A function's name, the line it starts on (from 1), and how many lines it takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// Every function with a body in `code`, which is the output of `code_only`.
pub fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let signature = &code[at + 2..];
        let name: String = signature
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        // A trait's method or a function pointer ends, or is closed, before a body begins.
        let Some(open) = signature.find(['{', ';']) else { continue };
        if name.is_empty() || signature.as_bytes()[open] == b';' {
            continue;
        }
        let body = &signature[open..];
        let text = &code[at..at + 2 + open + balanced(body)];
        let line = code[..at].matches('\n').count() + 1;
        found.push(Function { name, line, lines: text.matches('\n').count() + 1 });
    }
    found
}

/// Length of the braced block that `code` starts with.
fn balanced(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Where `word` stands as a word of its own. A word may end in punctuation, such as `dbg!`.
pub fn words(code: &str, word: &str) -> Vec<usize> {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_';
    let ends_in_letter = word.ends_with(is_letter);
    let starts_with_letter = word.starts_with(is_letter);
    code.match_indices(word)
        .filter(|(at, _)| {
            let before = code[..*at].chars().next_back().is_some_and(is_letter);
            let after = code[at + word.len()..].chars().next().is_some_and(is_letter);
            !(starts_with_letter && before || ends_in_letter && after)
        })
        .map(|(at, _)| at)
        .collect()
}

/// Every path below `crate::` that the code names, groups opened up:
/// `use crate::{a::b, c}` gives `a::b` and `c`.
pub fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "crate") {
        let line = code[..at].matches('\n').count() + 1;
        let Some(rest) = code[at + "crate".len()..].strip_prefix("::") else { continue };
        let mut paths = Vec::new();
        open_path(rest, "", &mut paths);
        found.extend(paths.into_iter().map(|path| (line, path)));
    }
    found
}

/// Reads one path, or a group of them, after `prefix`; returns how many bytes it took.
fn open_path(code: &str, prefix: &str, paths: &mut Vec<String>) -> usize {
    let skipped = code.len() - code.trim_start().len();
    let rest = &code[skipped..];
    if let Some(mut inner) = rest.strip_prefix('{') {
        let length = inner.len();
        loop {
            inner = inner.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if inner.is_empty() || inner.starts_with('}') {
                return skipped + 2 + length - inner.len();
            }
            inner = &inner[open_path(inner, prefix, paths)..];
            // Past `as name`, to the next of the group.
            inner = &inner[inner.find([',', '}']).unwrap_or(inner.len())..];
        }
    }
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}::{name}") };
    let after = &rest[name.len()..];
    if let Some(deeper) = after.strip_prefix("::") {
        return skipped + name.len() + 2 + open_path(deeper, &path, paths);
    }
    if !name.is_empty() {
        paths.push(path);
    } else if !prefix.is_empty() {
        paths.push(prefix.to_string());
    }
    skipped + name.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        for (input, expect) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ \n */ d", "a              \n    d"),
            ("f(\"x \\\" y\") g", "f(        ) g"),
            ("f(r#\"x \" y\"#) g", "f(          ) g"),
            ("f(b\"x\", 'y', '\\'', '\"') g", "f(b   ,    ,     ,    ) g"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("\"unclosed", "         "),
            ("// é\nx", "     \nx"),
        ] {
            assert_eq!(code_only(input), expect, "{input}");
        }
    }

    #[test]
    fn tests_at_the_end_are_left_out() {
        let text = "#[cfg(test)]\nfn helper() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {}\n";
        assert_eq!(before_tests(text), "#[cfg(test)]\nfn helper() {}\n");
        assert_eq!(before_tests("a\n"), "a\n");
        assert_eq!(before_tests("#[cfg(test)]\nmod tests;\n"), "");
    }

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let code = "trait T {\n fn none(&self);\n}\nasync fn one(\n  a: fn(u8) -> u8,\n) {\n  if a {\n  }\n}\n";
        let found = functions(code);
        assert_eq!(found, [Function { name: "one".to_string(), line: 4, lines: 6 }]);
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("unsafe not_unsafe unsafely unsafe{", "unsafe"), [0, 27]);
        assert_eq!(words("dbg!(x) my_dbg!(y)", "dbg!"), [0]);
        assert_eq!(words("a.unwrap() b.unwrap_or()", ".unwrap()"), [1]);
    }

    #[test]
    fn crate_paths_open_their_groups() {
        let code = "use crate::types::{Offset, Position};\nuse crate::{\n  wire::{self, batch as b}, log,\n};\n\
            fn f() { crate::net::listen() }\npub(crate) fn g() {}\nuse crate::shard::*;";
        let found: Vec<_> = crate_paths(code);
        let expect = [
            (1, "types::Offset"),
            (1, "types::Position"),
            (2, "wire::self"),
            (2, "wire::batch"),
            (2, "log"),
            (5, "net::listen"),
            (7, "shard"),
        ];
        let expect: Vec<_> = expect.iter().map(|(line, path)| (*line, path.to_string())).collect();
        assert_eq!(found, expect);
    }
}
