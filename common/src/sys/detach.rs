//! Leaving the launcher: a process goes on as its own child, in a session of its own.

use std::io;

/// Goes on as a child in a session of its own, while the calling process ends with status 0: nobody's zombie, and out
/// of reach of the launcher's terminal. Only for a process with one thread, and before it has given a signal a handler. Not inlined: it has
/// two callers, and code is pages of memory.
///
/// # Errors
/// fork(2)'s; the caller then goes on as it was.
#[inline(never)]
pub fn detach() -> io::Result<()> {
    #[cfg(all(target_env = "musl", target_arch = "x86_64"))]
    let gone_on = shared::go_on_as_child();
    #[cfg(not(all(target_env = "musl", target_arch = "x86_64")))]
    let gone_on = go_on_as_child();
    gone_on?;
    nix::unistd::setsid()?;
    Ok(())
}

/// fork(2), whose parent ends.
fn go_on_as_child() -> io::Result<()> {
    use nix::unistd::ForkResult;
    // SAFETY: there is one thread, so the child may do whatever the parent could.
    match unsafe { nix::unistd::fork() }? {
        // SAFETY: _exit takes an integer; buffers and destructors are the child's to run.
        ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
        ForkResult::Child => Ok(()),
    }
}

/// The same without a copy: the child has the parent's memory (`CLONE_VM`, clone(2)), and the parent is no more before it touches it
/// again. What a fork copies, page tables above all, and what both then fault in once more, is a hundredth of an exec's time.
#[cfg(all(target_env = "musl", target_arch = "x86_64"))]
mod shared {
    use std::io;

    pub(super) fn go_on_as_child() -> io::Result<()> {
        let Some(number) = thread_number() else {
            return super::go_on_as_child();
        };
        let flags = i64::from(libc::CLONE_VM | libc::SIGCHLD);
        let result: i64;
        // SAFETY: set_tid_address(2) takes the address that the kernel is to write to when the parent has ended: none. There is one thread, and
        // no signal has a handler, so the parent executes nothing but these instructions: it makes another system call and is no
        // more, and never touches the stack, which is the child's from here on.
        unsafe {
            libc::syscall(libc::SYS_set_tid_address, 0);
            std::arch::asm!(
                "syscall",
                "test rax, rax",
                "jle 2f",
                "xor edi, edi",
                "mov eax, {exit_group}",
                "syscall",
                "2:",
                exit_group = const libc::SYS_exit_group,
                inlateout("rax") libc::SYS_clone => result,
                inlateout("rdi") flags => _,
                in("rsi") 0,
                in("rdx") 0,
                in("r10") 0,
                in("r8") 0,
                lateout("rcx") _,
                lateout("r11") _,
            );
        }
        if let Ok(errno @ 1..) = i32::try_from(-result) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        // SAFETY: it is where the C library keeps this thread's number, which nobody else has a reference to.
        unsafe { number.write(nix::unistd::getpid().as_raw()) };
        Ok(())
    }

    /// Where the C library keeps this thread's number: abort(3) goes by it, and would end a stranger that has the parent's by then. A fork of
    /// its own sets it. `None` where that is not plain to see.
    fn thread_number() -> Option<*mut i32> {
        /// How far to look, in numbers. musl's thread (`struct pthread`) is longer, and has it near its beginning.
        const FAR: usize = 24;
        let own = nix::unistd::getpid().as_raw();
        // SAFETY: it has no conditions.
        let thread = unsafe { libc::pthread_self() } as *mut i32;
        let mut found = None;
        for at in 0..FAR {
            // SAFETY: all of it is in the thread's own descriptor, which is aligned, written to and nobody else's.
            let number = unsafe { thread.add(at) };
            // SAFETY: as above. Volatile, so that one loop does: code is pages of memory, too.
            if unsafe { number.read_volatile() } == own && found.replace(number).is_some() {
                return None;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitStatus, wait};
    use nix::unistd::{ForkResult, fork, getpid, getsid};

    /// What a process has to say when it ends well.
    const WELL: i32 = 23;

    /// Runs it in a process of its own, which has one thread, and must end with [`WELL`].
    fn apart(run: fn() -> i32) {
        // SAFETY: the child makes system calls, and ends without returning.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = run();
                // SAFETY: it takes an integer.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => {
                let ended = nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(ended, WaitStatus::Exited(child, WELL));
            }
        }
    }

    /// Forks a process that detaches and then goes on so; what both ended with, the one that was left first.
    fn ends(then: fn()) -> Option<[WaitStatus; 2]> {
        crate::sys::process::become_subreaper().ok()?;
        // SAFETY: as in `apart`.
        match unsafe { fork() }.ok()? {
            ForkResult::Child => {
                if detach().is_ok() {
                    then();
                }
                // SAFETY: it takes an integer.
                unsafe { libc::_exit(1) }
            }
            ForkResult::Parent { child } => {
                let ends = [wait().ok()?, wait().ok()?];
                let first = ends.iter().position(|end| end.pid() == Some(child))?;
                Some([ends[first], ends[1 - first]])
            }
        }
    }

    #[test]
    fn the_child_goes_on_in_a_session_of_its_own_and_its_parent_ends() {
        apart(|| {
            let ends = ends(|| {
                let own = getsid(None) == Ok(getpid());
                // SAFETY: it takes an integer.
                unsafe { libc::_exit(if own { WELL } else { 2 }) }
            });
            match ends {
                Some([WaitStatus::Exited(_, 0), WaitStatus::Exited(_, code)]) => code,
                _ => 3,
            }
        });
    }

    #[test]
    fn the_child_is_who_the_c_library_takes_it_for() {
        apart(|| {
            // By its number, as abort(3) does.
            let ends = ends(|| {
                // SAFETY: it takes an integer.
                unsafe { libc::raise(libc::SIGTERM) };
            });
            match ends {
                Some(
                    [
                        WaitStatus::Exited(_, 0),
                        WaitStatus::Signaled(_, Signal::SIGTERM, _),
                    ],
                ) => WELL,
                _ => 3,
            }
        });
    }
}
