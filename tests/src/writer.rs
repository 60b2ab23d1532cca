//! A container that writes numbered words as fast as it can, and measures how long it is kept waiting: `writer.c`, compiled once,
//! because no shell can do either.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::binaries::shared_dir;
use crate::{Bundle, Sandbox, rootfs};

/// The bytes of the sequence of words: 0, 1, 2 …, each eight bytes, least significant first.
#[derive(Debug, Default)]
pub struct Sequence {
    at: u64,
}

impl Sequence {
    /// Takes what comes next.
    ///
    /// # Panics
    /// When it is anything else: a byte is missing, comes twice, or at another's place.
    #[track_caller]
    pub fn take(&mut self, bytes: &[u8]) {
        let begin = self.at / 8;
        let mut wanted = Vec::with_capacity(bytes.len() + 16);
        let skip = usize::try_from(self.at % 8).expect("less than 8");
        for word in begin.. {
            if wanted.len() >= bytes.len() + skip {
                break;
            }
            wanted.extend_from_slice(&word.to_le_bytes());
        }
        let wanted = &wanted[skip..][..bytes.len()];
        if bytes != wanted {
            let at = bytes
                .iter()
                .zip(wanted)
                .position(|(is, wanted)| is != wanted);
            let at = at.expect("they differ");
            let end = bytes.len().min(at + 16);
            panic!(
                "byte {} is {:?}, and not {:?}",
                self.at + at as u64,
                &bytes[at..end],
                &wanted[at..end]
            );
        }
        self.at += bytes.len() as u64;
    }

    /// How many bytes came so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.at
    }
}

/// What a writer has seen, at its end.
#[derive(Debug)]
pub struct Report {
    /// How many bytes it wrote.
    pub bytes: u64,
    /// The longest that one write took, without the time that it was not given a processor.
    pub longest: Duration,
    /// How many took more than a tenth of a second.
    pub frozen: u64,
}

/// A writer's bundle and directory.
#[derive(Debug)]
pub struct Writer {
    bundle: Bundle,
    dir: PathBuf,
}

impl Sandbox {
    /// A container that writes `burst` bytes for each byte that it reads.
    ///
    /// # Panics
    /// When it cannot be compiled.
    #[must_use]
    pub fn writer(&self, name: &str, burst: usize) -> Writer {
        self.writer_of(name, &[&burst.to_string()])
    }

    /// A container that writes so many lines of a hundred bytes, each with a write of its own, and ends.
    ///
    /// # Panics
    /// When it cannot be compiled.
    #[must_use]
    pub fn line_writer(&self, name: &str, lines: usize) -> Writer {
        self.writer_of(name, &["lines", &lines.to_string()])
    }

    fn writer_of(&self, name: &str, words: &[&str]) -> Writer {
        let dir = self.path().join(format!("writer-{name}"));
        fs::create_dir(&dir).expect("make a directory");
        fs::copy(compiled(), dir.join("writer")).expect("copy the writer");
        let program = format!("{}/writer", rootfs::HOST);
        let words = [program.as_str()].into_iter().chain(words.iter().copied());
        let bundle = self.bundle(words).bind(&dir);
        Writer { bundle, dir }
    }
}

impl Writer {
    /// What to run.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// What it has seen, once it has ended.
    ///
    /// # Panics
    /// When it has not ended well.
    #[must_use]
    pub fn report(&self) -> Report {
        let text = fs::read_to_string(self.dir.join("report")).expect("a report");
        let mut numbers = text
            .split_whitespace()
            .map(|word| word.parse().expect("a number"));
        let mut next = || -> u64 { numbers.next().expect("three numbers") };
        Report {
            bytes: next(),
            longest: Duration::from_nanos(next()),
            frozen: next(),
        }
    }
}

/// The program, static, as it must run where there is no C library.
fn compiled() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/writer.c");
        let meta = fs::metadata(&source).expect("look at writer.c");
        let path = shared_dir().join(format!("writer-{}-{}", meta.size(), meta.mtime()));
        if !path.exists() {
            // Several may come here at once: each makes its own, and each rename is as good.
            let draft = path.with_extension(std::process::id().to_string());
            let compiled = Command::new("cc")
                .args(["-O2", "-Wall", "-Werror", "-static", "-o"])
                .args([&draft, &source])
                .status();
            let compiled = compiled.expect("cc is missing: scripts/test installs it");
            assert!(compiled.success(), "cc: {compiled}");
            fs::rename(draft, &path).expect("rename the writer");
        }
        path
    })
}

/// Takes all that a file has.
///
/// # Panics
/// As [`Sequence::take`], and when it cannot be read.
#[track_caller]
pub fn take_file(sequence: &mut Sequence, mut file: &File) {
    use std::io::Read;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).expect("read a file") {
            0 => return,
            count => sequence.take(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_knows_its_bytes_however_they_are_cut() {
        let bytes: Vec<u8> = (0u64..100).flat_map(u64::to_le_bytes).collect();
        for size in [1, 3, 8, 17, 800] {
            let mut sequence = Sequence::default();
            bytes.chunks(size).for_each(|piece| sequence.take(piece));
            assert_eq!(sequence.bytes(), 800);
        }
        for wrong in [&bytes[1..], &bytes[..799], &[7][..]] {
            let mut sequence = Sequence::default();
            let taken = std::panic::catch_unwind(move || {
                sequence.take(wrong);
                sequence.take(&[1]);
            });
            assert!(taken.is_err());
        }
    }
}
