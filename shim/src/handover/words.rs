//! A command line in the making, with the descriptors that must stay open for it; and its words on their way in.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use holdfast_common::request::RequestError;
use holdfast_common::sys::fd;

/// A command line in the making, and the descriptors that must stay open for it.
#[derive(Default)]
pub(crate) struct Words<'a> {
    pub(super) words: Vec<OsString>,
    pub(super) fds: Vec<BorrowedFd<'a>>,
    pub(super) owned: Vec<OwnedFd>,
}

impl<'a> Words<'a> {
    pub(crate) fn value(&mut self, key: &str, value: &OsStr) {
        let mut word = OsString::from(format!("{key}="));
        word.push(value);
        self.words.push(word);
    }

    pub(crate) fn fd(&mut self, key: &str, fd: BorrowedFd<'a>) {
        self.value(key, OsStr::new(&fd.as_raw_fd().to_string()));
        self.fds.push(fd);
    }

    /// A descriptor that was made for the words alone.
    pub(crate) fn own_fd(&mut self, key: &str, fd: OwnedFd) {
        self.value(key, OsStr::new(&fd.as_raw_fd().to_string()));
        self.owned.push(fd);
    }

    pub(crate) fn maybe_fd(&mut self, key: &str, fd: Option<&'a OwnedFd>) {
        if let Some(fd) = fd {
            self.fd(key, fd.as_fd());
        }
    }

    /// A few thousand bytes at most, and rarely any: as hexadecimal digits.
    pub(crate) fn bytes(&mut self, key: &str, bytes: &[u8]) {
        if !bytes.is_empty() {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            self.value(key, OsStr::new(&digits));
        }
    }
}

pub(crate) fn number<N: std::str::FromStr>(word: &OsStr, value: &OsStr) -> Result<N, RequestError> {
    value
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| RequestError::BadValue(word.to_owned()))
}

pub(crate) fn descriptor(word: &OsStr, value: &OsStr) -> Result<OwnedFd, RequestError> {
    fd::take(number(word, value)?).map_err(|_| RequestError::BadValue(word.to_owned()))
}

pub(crate) fn pending(word: &OsStr, value: &OsStr) -> Result<Vec<u8>, RequestError> {
    let byte = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    let bytes: Option<Vec<u8>> = value.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| RequestError::BadValue(word.to_owned()))
}
