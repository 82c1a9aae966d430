//! The modules of `core` and `executor` are layers: no import leads round in a circle, but between parent and child.
//!
//! The graph is made of the sources: a module imports another where a path in its code begins with `crate::`, `super::` or
//! `self::` and goes through it. Tests are left out. Methods that are called are not paths: a type with `impl` blocks in
//! several modules can hide an import. The engine's state has none: what is done with it are functions.
//!
//! The drawing in `ARCHITECTURE.md` is made of the same graph. After a change, `UPDATE_ARCHITECTURE=1` writes it anew.

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The modules of a crate, by path (`units::table`), and what each imports.
#[derive(Debug, Default)]
struct Imports(BTreeMap<String, BTreeSet<String>>);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sources below a folder, by the path of their module; the crate's root and tests are left out.
fn sources(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.to_path_buf()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let inner = path.strip_prefix(folder).expect("it is below");
            let module = inner
                .with_extension("")
                .to_string_lossy()
                .replace('/', "::");
            let is_test = module.split("::").any(|part| part.contains("test"));
            if path.extension().is_some_and(|ext| ext == "rs") && module != "lib" && !is_test {
                let text = std::fs::read_to_string(&path).expect("a source");
                found.insert(module, text);
            }
        }
    }
    found
}

/// Code without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// All paths that begin with `crate`, `super` or `self`, with trees of `use` multiplied out.
fn paths(code: &str) -> Vec<String> {
    let mut found = vec![];
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':' && c != '$') {
                expand("", &code[at..], &mut found);
            }
        }
    }
    found
}

/// Multiplies out the tree at the beginning of `code`; returns how much of it that was.
fn expand(prefix: &str, code: &str, found: &mut Vec<String>) -> usize {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let end = end.unwrap_or(code.len());
    let path = format!("{prefix}{}", &code[..end]);
    if !code[end..].starts_with('{') || !path.ends_with("::") {
        found.push(path);
        return end;
    }
    let mut at = end + 1;
    while let Some(next) = code[at..].chars().next() {
        match next {
            '}' => return at + 1,
            _ if next.is_alphanumeric() || next == '_' => {
                at += expand(&path, &code[at..], found).max(1);
            }
            _ => at += next.len_utf8(),
        }
    }
    at
}

impl Imports {
    fn of(sources: &BTreeMap<String, String>) -> Self {
        let mut imports = BTreeMap::new();
        for (module, text) in sources {
            let targets = paths(&code(text)).into_iter();
            let targets = targets.filter_map(|path| target(sources, module, &path));
            let targets = targets.filter(|to| !is_kin(module, to)).collect();
            imports.insert(module.clone(), targets);
        }
        Self(imports)
    }

    /// The groups of modules that import each other in circles.
    fn circles(&self) -> Vec<Vec<&str>> {
        let mut graph = DiGraphMap::<&str, ()>::new();
        for (from, targets) in &self.0 {
            graph.add_node(from.as_str());
            for to in targets {
                graph.add_edge(from.as_str(), to.as_str(), ());
            }
        }
        let mut circles = tarjan_scc(&graph);
        circles.retain(|circle| circle.len() > 1);
        circles.iter_mut().for_each(|circle| circle.sort_unstable());
        circles
    }

    /// The same of folders: a module stands for all that is below it.
    fn folders(&self) -> Self {
        let top = |module: &str| module.split("::").next().unwrap_or_default().to_string();
        let mut folders = BTreeMap::<String, BTreeSet<String>>::new();
        for (from, targets) in &self.0 {
            let targets = targets.iter().map(|to| top(to));
            let from = top(from);
            let targets: Vec<_> = targets.filter(|to| *to != from).collect();
            folders.entry(from).or_default().extend(targets);
        }
        Self(folders)
    }

    /// Layers from the top to the bottom: each module imports from lower layers only. Modules of a circle are one.
    fn layers(&self) -> Vec<Vec<String>> {
        let mut groups = self.circles();
        let in_circles: BTreeSet<&str> = groups.iter().flatten().copied().collect();
        let alone = self.0.keys().map(String::as_str);
        let alone = alone.filter(|module| !in_circles.contains(module));
        groups.extend(alone.map(|module| vec![module]));
        groups.sort_unstable();
        let mut placed = BTreeSet::new();
        let mut layers = vec![];
        while !groups.is_empty() {
            let (ready, waiting): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| {
                let mut targets = group.iter().flat_map(|module| &self.0[*module]);
                targets.all(|to| placed.contains(to.as_str()) || group.contains(&to.as_str()))
            });
            assert!(!ready.is_empty(), "what is in no circle has an order");
            placed.extend(ready.iter().flatten().copied());
            layers.push(ready.iter().map(|group| group.join("+")).collect());
            groups = waiting;
        }
        layers.reverse();
        layers
    }
}

/// The module that a path in `module` goes through, the innermost one.
fn target(sources: &BTreeMap<String, String>, module: &str, path: &str) -> Option<String> {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut parts = path.split("::").filter(|part| !part.is_empty()).peekable();
    match parts.next()? {
        "crate" => base.clear(),
        "super" => drop(base.pop()),
        _ => {}
    }
    while parts.peek() == Some(&"super") {
        base.pop();
        parts.next();
    }
    base.extend(parts);
    (1..=base.len())
        .rev()
        .map(|len| base[..len].join("::"))
        .find(|found| sources.contains_key(found))
}

/// Whether one is the other, or around it.
fn is_kin(one: &str, other: &str) -> bool {
    let around = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    around(one, other) || around(other, one)
}

fn imports(folder: &str) -> Imports {
    Imports::of(&sources(&root().join(folder)))
}

#[test]
fn no_import_leads_in_a_circle() {
    for folder in ["core/src", "executor/src"] {
        let imports = imports(folder);
        assert!(imports.0.len() > 30, "the sources are found");
        let circles = imports.circles();
        assert!(circles.is_empty(), "{circles:#?}");
        let folders = imports.folders();
        let circles = folders.circles();
        assert!(circles.is_empty(), "folders: {circles:#?}");
    }
}

#[test]
fn the_state_of_an_engine_has_methods_in_one_place() {
    let sources = sources(&root().join("core/src"));
    let with_methods = sources.iter().filter(|(_, text)| {
        let code = code(text);
        code.lines().any(|line| line.starts_with("impl Inner"))
    });
    let with_methods: Vec<_> = with_methods.map(|(module, _)| module).collect();
    assert_eq!(with_methods, ["context"]);
}

#[test]
fn a_circle_is_seen() {
    let mut sources = sources(&root().join("core/src"));
    let below = sources
        .get_mut("passes::names")
        .expect("a module at the bottom");
    below.push_str("\nuse crate::{pacing, pipeline::{first::{A, B}}};\n");
    let imports = Imports::of(&sources);
    let circles = imports.circles();
    assert!(
        circles
            .iter()
            .flatten()
            .any(|module| *module == "passes::names"),
        "{circles:?}"
    );
    assert!(
        circles
            .iter()
            .flatten()
            .any(|module| module.starts_with("pipeline")),
        "{circles:?}"
    );
    assert!(!imports.folders().circles().is_empty());
}

#[test]
fn paths_are_multiplied_out_and_resolved() {
    let text = "use crate::{a, b::{self, c::D}};\nlet x = super::e::f();\n// crate::no\n";
    let found = paths(&code(text));
    assert_eq!(
        found,
        [
            "crate::a",
            "crate::b::self",
            "crate::b::c::D",
            "super::e::f"
        ]
    );
    let sources =
        ["b", "b::c", "z", "z::e", "z::y"].map(|module| (module.to_string(), String::new()));
    let sources = BTreeMap::from(sources);
    let to = |path| target(&sources, "z::y", path);
    assert_eq!(to("crate::b::c::D").as_deref(), Some("b::c"));
    assert_eq!(to("super::e::f").as_deref(), Some("z::e"));
    assert_eq!(to("crate::a"), None);
}

/// The drawing: one line for each layer.
fn drawing() -> String {
    let mut text = String::from("```text\n");
    for folder in ["core/src", "executor/src"] {
        text.push_str(&format!("{folder}\n"));
        for layer in imports(folder).folders().layers() {
            text.push_str(&format!("    {}\n", layer.join("  ")));
        }
    }
    text.push_str("```\n");
    text
}

#[test]
fn the_drawing_of_the_modules_is_true() {
    const BEGIN: &str = "<!-- layers: made by tests/all/layers.rs -->\n";
    const END: &str = "<!-- end of layers -->";
    let path = root().join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).expect("the map");
    let (before, rest) = text.split_once(BEGIN).expect("the drawing begins");
    let (drawn, after) = rest.split_once(END).expect("the drawing ends");
    let drawing = drawing();
    if std::env::var_os("UPDATE_ARCHITECTURE").is_some() {
        let text = format!("{before}{BEGIN}{drawing}{END}{after}");
        return std::fs::write(&path, text).expect("the map can be written");
    }
    assert_eq!(drawn, drawing, "UPDATE_ARCHITECTURE=1 writes it anew");
}
