//! Checks of docs against the tree: files that they name exist, and every layer table equals that of `tidy.rs`.

use super::{LAYERS, root};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Paths in backticks that begin with one of these must exist.
const FOLDERS: &[&str] = &["src/", "tests/", "docs/", "scripts/", "benches/", "fuzz/", "contrib/"];

/// The quoted texts of a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether `path` exists; a `*` matches anything in its last part.
fn exists(root: &Path, path: &str) -> bool {
    if !path.contains('*') {
        return root.join(path).exists();
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parts: Vec<&str> = name.split('*').collect();
    let fits = |entry: &str| entry.starts_with(parts[0]) && parts.last().is_some_and(|last| entry.ends_with(last));
    fs::read_dir(root.join(folder))
        .is_ok_and(|folder| folder.filter_map(Result::ok).any(|entry| entry.file_name().to_str().is_some_and(fits)))
}

#[test]
fn files_that_docs_name_exist() {
    let root = root();
    let folder = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = folder.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let tops = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name));
    let mut report = String::new();
    for path in pages.chain(tops).filter(|path| path.exists()) {
        for (at, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            // In a table row, a name without a folder is in the folder of the path before it.
            let mut last = String::new();
            for name in quoted(line) {
                let name = name.split([' ', '(', ',']).next().unwrap_or(name);
                let is_pattern = name.split('/').any(|part| part.len() > 2 && part.chars().all(char::is_uppercase));
                let is_path = !is_pattern && FOLDERS.iter().any(|folder| name.starts_with(folder));
                let found = if is_path {
                    last = name.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
                    exists(&root, name)
                } else if name.ends_with(".rs") && !last.is_empty() && !name.contains(['*', '{']) {
                    let mut place = Path::new(&last);
                    loop {
                        if root.join(place).join(name).exists() {
                            break true;
                        }
                        let Some(above) = place.parent().filter(|above| above.as_os_str() != "") else { break false };
                        place = above;
                    }
                } else {
                    true
                };
                if !found {
                    writeln!(report, "{}:{}: `{name}`", path.file_name().unwrap().display(), at + 1).unwrap();
                }
            }
        }
    }
    assert!(report.is_empty(), "no such files:\n{report}");
}

#[test]
fn the_layer_table_of_the_crate_is_that_of_the_rule() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (number, row) in LAYERS.iter().enumerate() {
        let begin = format!("//! | {number} | ");
        let line = text.lines().find(|line| line.starts_with(&begin)).unwrap_or_else(|| panic!("no layer {number}"));
        let told: BTreeSet<&str> = quoted(line).map(|name| name.trim_matches(['[', ']'])).collect();
        let rule: BTreeSet<&str> = row.iter().copied().filter(|name| *name != "lib").collect();
        assert_eq!(told, rule, "layer {number} of src/lib.rs");
    }
}
