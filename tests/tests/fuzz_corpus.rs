//! The properties that `scripts/fuzz` tries on bytes of its own making hold for the corpora that it begins with: every entry
//! is a case that somebody thought of, or one that was once found to break something.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
mod properties;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("read an entry").file_name())
        .map(|name| name.into_string().expect("a readable name"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_entry_of_every_corpus_has_its_property() {
    let mut broken = Vec::new();
    for (name, property) in properties::TARGETS {
        let dir = corpora().join(name);
        let entries = names(&dir);
        assert!(entries.len() >= 5, "{name}: {} entries", entries.len());
        for entry in entries {
            let bytes = fs::read(dir.join(&entry)).expect("read an entry");
            if panic::catch_unwind(|| property(&bytes)).is_err() {
                broken.push(format!("{name}/{entry}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_target_has_a_corpus_and_can_be_built() {
    let mut targets: Vec<&str> = properties::TARGETS.map(|(name, _)| name).into();
    targets.sort_unstable();
    assert_eq!(names(&corpora()), targets);
    let manifest = corpora().with_file_name("Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("read the manifest");
    for name in targets {
        let file = format!("targets/{name}.rs");
        assert!(manifest.contains(&format!("path = \"{file}\"")), "{name}");
        let source = fs::read_to_string(corpora().with_file_name(&file)).expect("read a target");
        assert!(source.contains(&format!("::{name}(bytes)")), "{file}");
    }
}
