//! What errors say.

use super::*;

#[test]
fn dockers_exit_codes_are_told_from_the_runtimes_words() {
    for (message, not_found, not_executable) in [
        (
            r#"runc create failed: unable to start container process: exec: "nope": executable file not found in $PATH"#,
            true,
            false,
        ),
        (
            r#"exec failed: unable to start container process: exec: "/nope": stat /nope: no such file or directory"#,
            true,
            false,
        ),
        (
            r#"runc create failed: unable to start container process: exec: "/etc/passwd": permission denied"#,
            false,
            true,
        ),
        (
            r#"runc create failed: unable to start container process: exec: "/etc": is a directory"#,
            false,
            true,
        ),
        (
            "executable file `nope` not found in $PATH: No such file or directory",
            true,
            false,
        ),
        ("open executable: Permission denied", false, true),
        ("open executable: Operation not permitted", false, true),
        (
            "error in executing command: failed to create container: exec process failed with error error in executing process : executable 'nope' not found in $PATH",
            true,
            false,
        ),
        (
            r#"exec process failed with error error in executing process : executable '/etc' at path '"/etc"' does not have correct permissions"#,
            false,
            true,
        ),
        (
            "open executable: Too many levels of symbolic links",
            false,
            false,
        ),
        (
            "runc create failed: rootfs (/x) does not exist: no such file or directory",
            false,
            false,
        ),
        ("container does not exist", false, false),
    ] {
        let error = Error::Runtime {
            message: message.to_owned(),
        };
        assert_eq!(error.is_command_not_found(), not_found, "{message}");
        assert_eq!(error.is_not_executable(), not_executable, "{message}");
    }
    assert!(!Error::NoRoot.is_command_not_found());
}

#[test]
fn errors_read_as_operation_path_cause() {
    let path = "/run/holdfast/web/init/control";
    let error = Error::io("open control fifo", path)(io::Error::from_raw_os_error(2));
    assert_eq!(
        error.to_string(),
        format!("open control fifo {path}: no such file or directory")
    );
}
