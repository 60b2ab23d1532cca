//! The files of a cgroup and their few formats (the kernel's admin-guide/cgroup-v2.rst, "Interface Files"). A file that is not
//! there is `None`: kernels differ in what they have. One that does not say what it should is an error, never a zero.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;

use crate::error::{Error, Result};

/// What a file says; `None` when there is no such file, its cgroup is gone, or the kernel has it switched off.
pub(crate) fn text(dir: &Path, name: &str) -> Result<Option<String>> {
    let path = dir.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

/// ENODEV: the cgroup was removed while we had the file open. EOPNOTSUPP: pressure on a kernel that does not measure it.
fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::ENOENT, Errno::ENODEV, Errno::EOPNOTSUPP];
    let number = error.raw_os_error().map(Errno::from_raw);
    number.is_some_and(|number| absent.contains(&number))
}

/// A file of one number.
pub(crate) fn number(dir: &Path, name: &str) -> Result<Option<u64>> {
    let text = text(dir, name)?;
    text.map(|text| parse(dir, name, text.trim())).transpose()
}

/// A file of one number or the word `max`, which is `u64::MAX` here.
pub(crate) fn limit(dir: &Path, name: &str) -> Result<Option<u64>> {
    match text(dir, name)? {
        Some(text) if text.trim() == "max" => Ok(Some(u64::MAX)),
        Some(text) => parse(dir, name, text.trim()).map(Some),
        None => Ok(None),
    }
}

/// A file of numbers in one line.
pub(crate) fn numbers(dir: &Path, name: &str) -> Result<Option<Vec<u64>>> {
    let Some(text) = text(dir, name)? else {
        return Ok(None);
    };
    let words = text.split_whitespace();
    words
        .map(|word| parse(dir, name, word))
        .collect::<Result<_>>()
        .map(Some)
}

/// A *flat keyed* file: lines of `KEY NUMBER`.
pub(crate) fn keyed(dir: &Path, name: &str) -> Result<Option<BTreeMap<String, u64>>> {
    let Some(text) = text(dir, name)? else {
        return Ok(None);
    };
    let mut values = BTreeMap::new();
    for line in text.lines() {
        let (key, value) = line
            .split_once(' ')
            .ok_or_else(|| malformed(dir, name, line))?;
        values.insert(key.to_owned(), parse(dir, name, value)?);
    }
    Ok(Some(values))
}

/// A word of a file as what it stands for.
pub(crate) fn parse<T: FromStr>(dir: &Path, name: &str, word: &str) -> Result<T> {
    word.parse().map_err(|_| malformed(dir, name, word))
}

/// The error that says that a file is of no format that we know.
pub(crate) fn malformed(dir: &Path, name: &str, text: &str) -> Error {
    let path: PathBuf = dir.join(name);
    Error::BadCgroupFile {
        path,
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn every_format_is_read_and_an_absent_file_is_none() {
        let dir = scratch("cgroup-formats");
        for (name, text) in [
            ("number", "4096\n"),
            ("max", "max\n"),
            ("numbers", "1 2 \n"),
            ("keyed", "low 0\nhigh 7\n"),
            ("empty", ""),
        ] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        assert_eq!(number(&dir, "number").unwrap(), Some(4096));
        assert_eq!(limit(&dir, "number").unwrap(), Some(4096));
        assert_eq!(limit(&dir, "max").unwrap(), Some(u64::MAX));
        assert_eq!(numbers(&dir, "numbers").unwrap(), Some(vec![1, 2]));
        assert_eq!(keyed(&dir, "keyed").unwrap().unwrap()["high"], 7);
        assert_eq!(keyed(&dir, "empty").unwrap(), Some(BTreeMap::new()));
        assert_eq!(number(&dir, "nope").unwrap(), None);
        assert_eq!(limit(&dir, "nope").unwrap(), None);
        assert_eq!(numbers(&dir, "nope").unwrap(), None);
        assert_eq!(keyed(&dir, "nope").unwrap(), None);
    }

    #[test]
    fn what_is_no_number_is_an_error_that_names_the_file() {
        let dir = scratch("cgroup-malformed");
        std::fs::write(dir.join("memory.current"), "lots\n").unwrap();
        std::fs::write(dir.join("memory.stat"), "anon 1\nfile\n").unwrap();
        for error in [
            number(&dir, "memory.current").unwrap_err(),
            limit(&dir, "memory.current").unwrap_err(),
            numbers(&dir, "memory.current").unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.ends_with("memory.current: cannot understand \"lots\""),
                "{error}"
            );
        }
        let error = keyed(&dir, "memory.stat").unwrap_err().to_string();
        assert!(
            error.ends_with("memory.stat: cannot understand \"file\""),
            "{error}"
        );
    }
}
