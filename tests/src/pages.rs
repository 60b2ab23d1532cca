//! The project's own pages, and the blocks of commands in them.

use std::fs;
use std::path::{Path, PathBuf};

/// Languages of blocks that somebody is meant to type.
pub const COMMANDS: [&str; 4] = ["sh", "bash", "console", "shell"];

/// The repository's top.
#[must_use]
pub fn top() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let top = tests
        .parent()
        .expect("the tests' crate is in the workspace");
    top.to_owned()
}

/// Every page for people: what is at the top, and what is in docs/.
///
/// # Panics
/// When they cannot be read.
#[must_use]
pub fn all() -> Vec<Page> {
    let mut names = Vec::new();
    for dir in ["", "docs"] {
        for entry in fs::read_dir(top().join(dir)).expect("read a directory of pages") {
            let name = Path::new(dir).join(entry.expect("read an entry").file_name());
            if name.extension().is_some_and(|extension| extension == "md") {
                names.push(name);
            }
        }
    }
    names.sort();
    names.iter().map(Page::read).collect()
}

/// A page of Markdown.
#[derive(Debug)]
pub struct Page {
    /// Its path from the top.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// A fenced block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// What stands after the fence.
    pub language: &'a str,
    /// The line of the fence, from 1.
    pub line: usize,
    /// What is in it, with the end of its last line.
    pub text: &'a str,
}

impl Page {
    /// Reads a page by its path from the top.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn read(name: impl AsRef<Path>) -> Self {
        let name = name.as_ref();
        let text = fs::read_to_string(top().join(name));
        Self {
            name: name.display().to_string(),
            text: text.unwrap_or_else(|e| panic!("read {}: {e}", name.display())),
        }
    }

    /// Its fenced blocks, in order.
    ///
    /// # Panics
    /// When a fence is left open.
    #[must_use]
    pub fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<(&str, usize, usize)> = None;
        let mut offset = 0;
        for (number, line) in self.text.split_inclusive('\n').enumerate() {
            let fence = line.trim_end().strip_prefix("```");
            match (fence, open) {
                (Some(language), None) => {
                    open = Some((language, number + 1, offset + line.len()));
                }
                (Some(_), Some((language, line, begin))) => {
                    let text = &self.text[begin..offset];
                    blocks.push(Block {
                        language,
                        line,
                        text,
                    });
                    open = None;
                }
                (None, _) => {}
            }
            offset += line.len();
        }
        assert!(open.is_none(), "{}: {open:?} is left open", self.name);
        blocks
    }

    /// The blocks of one language.
    #[must_use]
    pub fn blocks_of(&self, language: &str) -> Vec<Block<'_>> {
        let mut blocks = self.blocks();
        blocks.retain(|block| block.language == language);
        blocks
    }

    /// What stands between single backquotes outside of blocks.
    #[must_use]
    pub fn code(&self) -> Vec<&str> {
        let mut is_block = false;
        let prose = self.text.lines().filter(|line| {
            let is_fence = line.starts_with("```");
            is_block ^= is_fence;
            !is_block && !is_fence
        });
        prose
            .flat_map(|line| line.split('`').skip(1).step_by(2))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_code_are_told_apart() {
        let page = Page {
            name: "page.md".to_owned(),
            text: "Type `ls -l`, or `ps`:\n\n```sh\nls `pwd`\n```\n```text\n```\n`id`\n".to_owned(),
        };
        let found = page.blocks();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].language, found[0].line), ("sh", 3));
        assert_eq!(found[0].text, "ls `pwd`\n");
        assert_eq!((found[1].language, found[1].text), ("text", ""));
        assert_eq!(page.blocks_of("text"), found[1..]);
        assert_eq!(page.code(), ["ls -l", "ps", "id"]);
    }
}
