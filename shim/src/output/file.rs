//! A log's file: whole entries at its end, and another file when it is full. Nothing here knows what an entry says.
//!
//! Invariant: the file ends where an entry ends, whatever happens: a write that was cut short is taken back as far as the last
//! whole entry, and what a shim that was killed had written of one is taken back by the next that opens the file.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;

/// The longest entry that can be torn, bytes: a read's worth, escaped.
const LONGEST_ENTRY: u64 = 1 << 20;

/// When a file is full, and how many there are.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In bytes; 0 for never.
    pub max_size: u64,
    /// The present one among them.
    pub max_files: u32,
}

impl Limits {
    /// A file that is never full.
    pub const NONE: Self = Self {
        max_size: 0,
        max_files: 1,
    };
}

/// An open file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    limits: Limits,
}

/// Why entries were not written, or not all of them.
#[derive(Debug)]
pub struct Cut {
    /// How many bytes were: those of whole entries.
    pub written: usize,
    /// Why no more.
    pub cause: io::Error,
}

impl LogFile {
    /// Opens it (makes it), and takes back what is no whole entry at its end.
    pub fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o640);
        // Something else may have got its name: no FIFO or device is waited for.
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let mut file = options.open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let size = mend(&mut file, meta.len())?;
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            limits,
        })
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it has no entry yet.
    pub fn is_new(&self) -> bool {
        self.size == 0
    }

    /// How many bytes more it may have. What alone is more than that gets a file of its own.
    pub fn room(&self) -> usize {
        match self.limits.max_size {
            0 => usize::MAX,
            max => usize::try_from(max.saturating_sub(self.size)).unwrap_or(usize::MAX),
        }
    }

    /// Appends whole entries, each with a line end, in one write.
    pub fn append(&mut self, entries: &[u8]) -> Result<(), Cut> {
        let mut done = 0;
        while done < entries.len() {
            match self.file.write(&entries[done..]) {
                Ok(0) => {
                    return Err(self.take_back(entries, done, io::ErrorKind::WriteZero.into()));
                }
                // A disk that fills up takes a part; the rest says why.
                Ok(count) => done += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                Err(e) => return Err(self.take_back(entries, done, e)),
            }
        }
        self.size += done as u64;
        Ok(())
    }

    fn take_back(&mut self, entries: &[u8], done: usize, cause: io::Error) -> Cut {
        let whole = memchr::memrchr(b'\n', &entries[..done]).map_or(0, |end| end + 1);
        let torn = (done - whole) as u64;
        // Its size as it is, not as it should be: somebody may have emptied it.
        let cut = |file: &File| {
            let size = file.metadata()?.len();
            file.set_len(size.saturating_sub(torn))
        };
        if torn > 0
            && let Err(e) = cut(&self.file)
        {
            log::warn!(
                "{}: {torn} bytes of an entry stay: {e}",
                self.path.display()
            );
        }
        self.size += whole as u64;
        Cut {
            written: whole,
            cause,
        }
    }

    /// Gives way to an empty file of its name; it becomes `.1`, and so on. When the last step fails, there is no file of that
    /// name, and the next [`LogFile::open`] takes it.
    pub fn rotate(self) -> io::Result<Self> {
        let Self {
            path,
            file,
            size: expected,
            limits,
        } = self;
        // Somebody may have emptied it, and there is room.
        let size = file.metadata()?.len();
        if size != expected {
            return Ok(Self {
                path,
                file,
                size,
                limits,
            });
        }
        drop(file);
        let numbered = |number: u32| {
            let mut name = OsString::from(&path);
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        if limits.max_files <= 1 {
            fs::remove_file(&path)?;
            return Self::open(&path, limits);
        }
        // Where a number is free, a shim was killed in between: those behind it have moved already.
        let oldest = limits.max_files - 1;
        let last = (1..oldest)
            .find(|&number| !numbered(number).exists())
            .unwrap_or(oldest);
        if last == oldest {
            // A file that another is renamed over has ext4 bring that one to the disk there and then (ext4(5), `auto_da_alloc`).
            match fs::remove_file(numbered(oldest)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                Ok(()) | Err(_) => (),
            }
        }
        for number in (1..last).rev() {
            fs::rename(numbered(number), numbered(number + 1))?;
        }
        fs::rename(&path, numbered(1))?;
        Self::open(&path, limits)
    }
}

/// Takes back what follows the last line end; returns the size that is left.
fn mend(file: &mut File, size: u64) -> io::Result<u64> {
    if size == 0 {
        return Ok(0);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(size - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(size);
    }
    let from = size.saturating_sub(LONGEST_ENTRY);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(LONGEST_ENTRY).read_to_end(&mut tail)?;
    match memchr::memrchr(b'\n', &tail) {
        Some(end) => {
            let whole = from + end as u64 + 1;
            file.set_len(whole)?;
            Ok(whole)
        }
        None if from == 0 => {
            file.set_len(0)?;
            Ok(0)
        }
        // None of ours is so long: it stays, and ends here.
        None => {
            file.write_all(b"\n")?;
            Ok(size + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let name = format!("holdfast-shim-{}-{name}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir(&dir).unwrap();
            Self(dir)
        }

        fn content(&self) -> Vec<(String, String)> {
            let mut files: Vec<_> = fs::read_dir(&self.0)
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    let text = fs::read_to_string(entry.path()).unwrap();
                    (entry.file_name().into_string().unwrap(), text)
                })
                .collect();
            files.sort();
            files
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |&(name, text): &(&str, &str)| (name.to_owned(), text.to_owned());
        files.iter().map(owned).collect()
    }

    #[test]
    fn a_full_file_gives_way_and_the_oldest_goes() {
        let dir = Dir::new("rotate");
        let limits = Limits {
            max_size: 2,
            max_files: 3,
        };
        let mut log = LogFile::open(&dir.0.join("log"), limits).unwrap();
        for entry in ["a\n", "b\n", "c\n", "d\n"] {
            if log.room() < entry.len() {
                log = log.rotate().unwrap();
            }
            log.append(entry.as_bytes()).unwrap();
        }
        let wanted = owned(&[("log", "d\n"), ("log.1", "c\n"), ("log.2", "b\n")]);
        assert_eq!(dir.content(), wanted);
        // A gap that a killed shim left closes, and costs nothing.
        fs::remove_file(dir.0.join("log.1")).unwrap();
        let mut log = log.rotate().unwrap();
        log.append(b"e\n").unwrap();
        let wanted = owned(&[("log", "e\n"), ("log.1", "d\n"), ("log.2", "b\n")]);
        assert_eq!(dir.content(), wanted);
    }

    #[test]
    fn one_file_is_enough_for_who_asks_for_one() {
        let dir = Dir::new("one");
        let limits = Limits {
            max_size: 2,
            max_files: 1,
        };
        let mut log = LogFile::open(&dir.0.join("log"), limits).unwrap();
        assert!(log.is_new() && log.room() == 2);
        log.append(b"a\n").unwrap();
        assert!(!log.is_new() && log.room() == 0);
        let mut log = log.rotate().unwrap();
        log.append(b"b\n").unwrap();
        assert_eq!(dir.content(), owned(&[("log", "b\n")]));
    }

    #[test]
    fn what_somebody_emptied_is_not_rotated() {
        let dir = Dir::new("emptied");
        let path = dir.0.join("log");
        let limits = Limits {
            max_size: 4,
            max_files: 3,
        };
        let mut log = LogFile::open(&path, limits).unwrap();
        log.append(b"abc\n").unwrap();
        File::create(&path).unwrap();
        let mut log = log.rotate().unwrap();
        log.append(b"d\n").unwrap();
        assert_eq!(dir.content(), owned(&[("log", "d\n")]));
    }

    #[test]
    fn an_entry_that_was_torn_is_taken_back() {
        for (before, after) in [("a\nb", "a\n"), ("b", ""), ("a\n", "a\n"), ("", "")] {
            let dir = Dir::new("torn");
            let path = dir.0.join("log");
            fs::write(&path, before).unwrap();
            let mut log = LogFile::open(&path, Limits::NONE).unwrap();
            assert_eq!(log.size(), after.len() as u64);
            log.append(b"c\n").unwrap();
            assert_eq!(dir.content(), owned(&[("log", &format!("{after}c\n"))]));
        }
    }

    #[test]
    fn what_is_no_file_is_no_log() {
        let failed = LogFile::open(Path::new("/dev/null"), Limits::NONE).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::InvalidInput);
    }
}
