//! docs/coverage.md says which test shows which promise. A page that names tests that are not there promises nothing, and
//! a test that stands on no line of it is one that nobody will look for.

use std::fs;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("the crate is in the workspace")
        .to_owned()
}

/// What stands between single backticks and names a test: `FILE::TEST`, where FILE is a file of black-box tests
/// or a path from the top.
fn named() -> Vec<(String, String)> {
    let page = fs::read_to_string(top().join("docs/coverage.md")).expect("read docs/coverage.md");
    let code = page.split('`').skip(1).step_by(2);
    code.filter_map(|code| code.split_once("::"))
        .map(|(file, test)| (file.to_owned(), test.to_owned()))
        .collect()
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let named = named();
    assert!(named.len() > 50, "{} tests", named.len());
    for (file, test) in named {
        let path = match file.contains('/') {
            true => top().join(format!("{file}.rs")),
            false => top().join(format!("tests/tests/{file}.rs")),
        };
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(
            text.contains(&format!("fn {test}()")),
            "{file} has no test {test}"
        );
    }
}

#[test]
fn every_file_of_black_box_tests_is_on_the_page() {
    let named = named();
    for entry in fs::read_dir(top().join("tests/tests")).expect("read tests/tests") {
        let path = entry.expect("read an entry").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.file_stem().unwrap_or_default();
            let found = named.iter().any(|(name, _)| name.as_str() == file);
            assert!(found, "{} is not on the page", path.display());
        }
    }
}
