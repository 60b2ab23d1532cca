//! How far a log was read, as a text that outlives its reader: whoever comes next goes on there. A place is a file, known by what it
//! is, and an offset in it, so that rotations in between change nothing.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_common::layout::Stream;

use super::file::FileId;
use super::tail::index;

/// A place in a log. [`LogQuery::after`](super::LogQuery::after) goes on with what comes after it. As text it has no blanks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCursor {
    /// Before this, everything was taken …
    pub(super) here: Spot,
    /// … but these streams are gone on with somewhere else: before it, where a line begins that had not ended; or after it.
    pub(super) apart: [Option<Spot>; 2],
}

/// An offset in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub file: FileId,
    pub offset: u64,
}

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLogCursor(String);

impl fmt::Display for BadLogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no place in a log", self.0)
    }
}

impl std::error::Error for BadLogCursor {}

impl LogCursor {
    /// Where a stream is to be gone on with.
    pub(super) fn of(&self, stream: Stream) -> Spot {
        self.apart[index(stream)].unwrap_or(self.here)
    }
}

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.here)?;
        for spot in &self.apart {
            match spot {
                Some(spot) => write!(f, ",{spot}")?,
                None => write!(f, ",")?,
            }
        }
        Ok(())
    }
}

impl FromStr for LogCursor {
    type Err = BadLogCursor;

    fn from_str(text: &str) -> Result<Self, BadLogCursor> {
        let bad = || BadLogCursor(text.to_owned());
        let spot = |text: &str| match text {
            "" => Ok(None),
            text => spot(text).map(Some).ok_or_else(bad),
        };
        match text.split(',').collect::<Vec<_>>()[..] {
            [here, stdout, stderr] => Ok(Self {
                here: spot(here)?.ok_or_else(bad)?,
                apart: [spot(stdout)?, spot(stderr)?],
            }),
            _ => Err(bad()),
        }
    }
}

/// `DEVICE.INODE.BORN.OFFSET`, the birth in nanoseconds since 1970, or nothing where the file system keeps none.
impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileId {
            device,
            inode,
            born,
        } = self.file;
        let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        write!(f, "{device}.{inode}.")?;
        if let Some(born) = born {
            write!(f, "{}", born.as_nanos())?;
        }
        write!(f, ".{}", self.offset)
    }
}

fn spot(text: &str) -> Option<Spot> {
    let [device, inode, born, offset] = text.split('.').collect::<Vec<_>>()[..] else {
        return None;
    };
    let born = match born {
        "" => None,
        nanos => Some(time(nanos.parse().ok()?)?),
    };
    Some(Spot {
        file: FileId {
            device: device.parse().ok()?,
            inode: inode.parse().ok()?,
            born,
        },
        offset: offset.parse().ok()?,
    })
}

fn time(nanos: u128) -> Option<SystemTime> {
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    let nanos = u32::try_from(nanos % 1_000_000_000).ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let spot = |born, offset| Spot {
            file: FileId {
                device: 65024,
                inode: 7,
                born,
            },
            offset,
        };
        let born = UNIX_EPOCH + Duration::new(1_767_323_045, 5);
        for cursor in [
            LogCursor {
                here: spot(Some(born), 12),
                apart: [None, None],
            },
            LogCursor {
                here: spot(None, 0),
                apart: [Some(spot(Some(born), 3)), Some(spot(None, u64::MAX))],
            },
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
            assert!(!cursor.to_string().contains(' '));
        }
        for text in [
            "",
            ",,",
            "1.2.3.4",
            "1.2..4,",
            "1.2..4,,,",
            "1.2.-3.4,,",
            "1.2.3,,",
            "a.2.3.4,,",
        ] {
            assert!(text.parse::<LogCursor>().is_err(), "{text}");
        }
    }
}
