//! Names that become directories: a container's id, a process's id, a checkpoint's name. Checked once, here, so that no
//! other code ever joins an unchecked name to a path.

use std::fmt;

use crate::layout;

/// Longest id, in bytes.
pub const MAX_LENGTH: usize = 128;

/// Why a name cannot be an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdError {
    /// It is empty.
    Empty,
    /// It has this many bytes, more than [`MAX_LENGTH`].
    TooLong(usize),
    /// It contains a character outside `[A-Za-z0-9_+.-]`, or is `.` or `..`.
    BadName(String),
    /// It names a file of the container's directory.
    Reserved(String),
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdError::Empty => f.write_str("an id may not be empty"),
            IdError::TooLong(length) => write!(
                f,
                "an id has at most {MAX_LENGTH} characters, this one has {length}"
            ),
            IdError::BadName(name) => {
                write!(
                    f,
                    "{name:?} is not an id: use letters, digits and any of _ + . - (but not \".\" or \"..\")"
                )
            }
            IdError::Reserved(name) => {
                write!(f, "{name:?} is reserved for a file of the state directory")
            }
        }
    }
}

impl std::error::Error for IdError {}

fn check(name: &str) -> Result<(), IdError> {
    if name.is_empty() {
        return Err(IdError::Empty);
    }
    if name.len() > MAX_LENGTH {
        return Err(IdError::TooLong(name.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+.-".contains(c);
    if name == "." || name == ".." || !name.chars().all(allowed) {
        return Err(IdError::BadName(name.to_owned()));
    }
    Ok(())
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $($check:path),+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks a name and makes it an id.
            ///
            /// # Errors
            /// [`IdError`] says what is wrong with the name.
            pub fn new(name: impl Into<String>) -> Result<Self, IdError> {
                let name = name.into();
                $($check(&name)?;)+
                Ok(Self(name))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<std::path::Path> for $name {
            fn as_ref(&self) -> &std::path::Path {
                self.0.as_ref()
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(name: &str) -> Result<Self, IdError> {
                Self::new(name)
            }
        }
    };
}

fn not_reserved(name: &str) -> Result<(), IdError> {
    if layout::RESERVED_PROCESS_NAMES.contains(&name) {
        return Err(IdError::Reserved(name.to_owned()));
    }
    Ok(())
}

id_type!(
    /// A container's id: `[A-Za-z0-9_+.-]{1,128}`, not `.` or `..`.
    ContainerId,
    check
);
id_type!(
    /// A process's id inside its container: [`layout::INIT`], or an exec's own name. Same alphabet as
    /// [`ContainerId`], without the names of the container's files.
    ProcessId,
    check,
    not_reserved
);

id_type!(
    /// A checkpoint's name, which is its directory's: same alphabet as [`ContainerId`].
    CheckpointName,
    check
);

impl ProcessId {
    /// The container's own process.
    pub fn init() -> Self {
        Self(layout::INIT.to_owned())
    }

    /// Whether this is the container's own process.
    pub fn is_init(&self) -> bool {
        self.0 == layout::INIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_ids() {
        for name in ["a", "web-1", "A.b+c_d", "--hold", "...", &"x".repeat(128)] {
            assert!(ContainerId::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_that_are_not() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "a b",
            "ä",
            "a~",
            "a\n",
            &"x".repeat(129),
        ] {
            assert!(ContainerId::new(name).is_err(), "{name}");
        }
        assert!(ProcessId::new("lock").is_err());
        assert!(ProcessId::new("init").is_ok_and(|id| id.is_init()));
    }
}
