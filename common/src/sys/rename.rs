//! Renames that look at what has the name already (renameat2(2), Linux 3.15). nix has the call for glibc alone.

use std::ffi::{CString, c_uint};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Gives a file the name `to`, if nothing has it.
///
/// # Errors
/// renameat2(2)'s; `EEXIST` if something has the name.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    rename(from, to, libc::RENAME_NOREPLACE)
}

/// Has two files change their names, at once.
///
/// # Errors
/// renameat2(2)'s; `ENOENT` if one of them is not there.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    rename(one, other, libc::RENAME_EXCHANGE)
}

fn rename(from: &Path, to: &Path, flags: c_uint) -> io::Result<()> {
    let [from, to] = [from, to].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (from, to) = (from?, to?);
    // SAFETY: both paths are C strings that outlive the call, which only reads them.
    let renamed = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            flags,
        )
    };
    if renamed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_has_the_name_stays_or_changes_its_own() {
        let dir = std::env::temp_dir().join(format!("holdfast-rename-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let [one, other] = ["one", "other"].map(|name| dir.join(name));
        fs::write(&one, "1").unwrap();
        fs::write(&other, "2").unwrap();

        let refused = rename_new(&one, &other).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EEXIST));
        exchange(&one, &other).unwrap();
        assert_eq!(fs::read_to_string(&one).unwrap(), "2");
        fs::remove_file(&one).unwrap();
        assert_eq!(
            exchange(&one, &other).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        rename_new(&other, &one).unwrap();
        assert_eq!(fs::read_to_string(&one).unwrap(), "1");
        fs::remove_dir_all(&dir).unwrap();
    }
}
