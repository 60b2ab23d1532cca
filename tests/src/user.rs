//! A user without privileges: a uid that nobody else has, a home and an `$XDG_RUNTIME_DIR` in the sandbox, and copies of the two
//! programs and of the root file system, which may stand where only root may look.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::command::{behind, show, text};
use crate::{Sandbox, binaries, rootfs, runtime};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// How many ids a user may have mapped beside its own (subuid(5)).
pub const MAPPED: u32 = 8;

/// The user of one sandbox. Dropping it kills whatever it still runs.
#[derive(Debug)]
pub struct User<'a> {
    sandbox: &'a Sandbox,
    number: u32,
    home: PathBuf,
    bundles: AtomicU32,
}

impl<'a> User<'a> {
    /// A user of its own for a sandbox.
    ///
    /// # Panics
    /// When its files cannot be made.
    #[must_use]
    pub fn new(sandbox: &'a Sandbox) -> Self {
        // pids have 22 bits.
        let number = std::process::id() * 16 + NEXT.fetch_add(1, Ordering::Relaxed);
        let home = sandbox.path().join("home");
        let user = Self {
            sandbox,
            number,
            home,
            bundles: AtomicU32::new(0),
        };
        fs::set_permissions(sandbox.path(), Permissions::from_mode(0o755))
            .expect("open the sandbox up");
        user.make_dir(&user.home, 0o755);
        for dir in [user.runtime_dir(), user.bundles_dir()] {
            user.make_dir(&dir, 0o700);
        }
        let bin = sandbox.path().join("bin");
        DirBuilder::new()
            .mode(0o755)
            .create(&bin)
            .expect("make bin");
        for program in [binaries::holdfast(), binaries::shim()] {
            copy(&program, &bin);
        }
        copy(rootfs::path(), &sandbox.path().join("rootfs"));
        user
    }

    /// Its uid, and the gid of its only group.
    #[must_use]
    pub fn uid(&self) -> u32 {
        1_000_000_000 + self.number
    }

    /// The first of the uids and gids that it may have mapped.
    #[must_use]
    pub fn first_mapped(&self) -> u32 {
        2_000_000_000 + self.number * MAPPED
    }

    /// Its `$XDG_RUNTIME_DIR`.
    #[must_use]
    pub fn runtime_dir(&self) -> PathBuf {
        self.home.join("run")
    }

    /// Holdfast's root, where it is by itself.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.runtime_dir().join("holdfast")
    }

    /// The directory of a process of one of its containers.
    #[must_use]
    pub fn process_dir(&self, id: &str, process: &str) -> PathBuf {
        self.root().join(id).join(process)
    }

    /// A `holdfast` command of this user's, over the roots that it has by itself.
    #[must_use]
    pub fn holdfast<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command(&self.sandbox.path().join("bin/holdfast"));
        if runtime::name() != runtime::RUNC {
            command.args(["--runtime", runtime::name()]);
        }
        command.args(args);
        command
    }

    /// Any program, run by this user. What else its environment is to have can be set, in the one that is given on.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let id = self.uid().to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        command.arg("env").args(["-u", "LD_LIBRARY_PATH"]);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"HOLDFAST_") {
                command.arg("-u").arg(name);
            }
        }
        // As in a sandbox of root's.
        command.arg("HOLDFAST_STDIO=fifo").arg(program);
        command.env("HOME", &self.home);
        command.env("XDG_RUNTIME_DIR", self.runtime_dir());
        command.current_dir(&self.home);
        match runtime::mounts() {
            "" => command,
            // A user cannot do that.
            mounts => self.in_mounts(mounts, &command),
        }
    }

    /// Runs `holdfast ARGS` without input, to its end.
    ///
    /// # Panics
    /// As [`Sandbox::output`].
    #[track_caller]
    pub fn output<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        self.sandbox.output_of(self.holdfast(args))
    }

    /// Runs `holdfast ARGS` without input and returns what it printed.
    ///
    /// # Panics
    /// As [`Sandbox::output`], and when it fails.
    #[track_caller]
    pub fn run_ok<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        self.ok(self.holdfast(args))
    }

    /// Runs any command without input and returns what it printed.
    ///
    /// # Panics
    /// As [`Sandbox::output`], and when it fails.
    #[track_caller]
    pub fn ok(&self, command: Command) -> String {
        let shown = format!("{command:?}");
        let output = self.sandbox.output_of(command);
        if !output.status.success() {
            self.sandbox.dump();
            panic!("{shown}: {}", show(&output));
        }
        text(&output.stdout)
    }

    /// Asserts that `holdfast ARGS` is refused; see [`Sandbox::refused`].
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn refused<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        words: &[&str],
    ) -> String {
        self.sandbox.refused_command(self.holdfast(args), words)
    }

    /// A command of this user's in mounts of its own, which `mount`, a shell script that root runs, has changed.
    #[must_use]
    pub fn in_mounts(&self, mount: &str, command: &Command) -> Command {
        let mut wrapper = Command::new("unshare");
        wrapper.args(["--mount", "--propagation", "private", "sh", "-e", "-c"]);
        wrapper.arg(format!("{mount}\nexec \"$@\"")).arg("sh");
        behind(wrapper, command)
    }

    /// A bundle as `holdfast spec --rootless` makes it, for `args`, without a terminal.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    #[must_use]
    pub fn bundle(&self, args: &[&str], edit: impl FnOnce(&mut Value)) -> PathBuf {
        let n = self.bundles.fetch_add(1, Ordering::Relaxed);
        let dir = self.bundles_dir().join(n.to_string());
        self.make_dir(&dir, 0o700);
        self.run_ok([
            OsStr::new("spec"),
            OsStr::new("--rootless"),
            OsStr::new("-b"),
            dir.as_os_str(),
        ]);
        let file = dir.join("config.json");
        let config = fs::read(&file).expect("read config.json");
        let mut config: Value = serde_json::from_slice(&config).expect("config.json is JSON");
        config["process"]["args"] = json!(args);
        config["process"]["terminal"] = json!(false);
        config["root"]["path"] = json!(self.sandbox.path().join("rootfs"));
        edit(&mut config);
        fs::write(&file, config.to_string()).expect("write config.json");
        dir
    }

    /// Maps [`MAPPED`] more ids into a bundle's user namespace, from 1 on.
    pub fn map_range(&self, config: &mut Value) {
        for key in ["uidMappings", "gidMappings"] {
            config["linux"][key] = json!([
                { "containerID": 0, "hostID": self.uid(), "size": 1 },
                { "containerID": 1, "hostID": self.first_mapped(), "size": MAPPED },
            ]);
        }
    }

    /// Mounts for [`User::in_mounts`] in which this user has a name, and may map [`MAPPED`] ids.
    ///
    /// # Panics
    /// When the files cannot be written.
    #[must_use]
    pub fn with_subordinate_ids(&self) -> String {
        let dir = self.sandbox.path();
        let passwd = fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
        let uid = self.uid();
        let line = format!("hf-user:x:{uid}:{uid}::{}:/bin/sh\n", self.home.display());
        fs::write(dir.join("passwd"), passwd + &line).expect("write passwd");
        let range = format!("hf-user:{}:{MAPPED}\n", self.first_mapped());
        fs::write(dir.join("subid"), range).expect("write subid");
        let dir = dir.display();
        format!(
            "mount --bind {dir}/passwd /etc/passwd\nfor file in subuid subgid; do mount --bind {dir}/subid /etc/$file; done"
        )
    }

    /// Asserts that nothing of this user's runs any more, and that its roots are empty.
    ///
    /// # Panics
    /// When something is still there at the deadline.
    #[track_caller]
    pub fn assert_clean(&self) {
        let mut left = Vec::new();
        let clean = crate::wait::until(crate::DEADLINE, || {
            left = self.processes();
            for dir in [self.root(), self.runtime_dir().join(runtime::name())] {
                let entries = fs::read_dir(dir).into_iter().flatten().flatten();
                left.extend(entries.map(|entry| entry.path().display().to_string()));
            }
            left.is_empty()
        });
        if !clean {
            self.sandbox
                .give_up(&format!("everything to be gone, but: {left:#?}"));
        }
    }

    /// What runs under its uid, or one of those that it may have mapped.
    fn processes(&self) -> Vec<String> {
        let first = self.first_mapped();
        let is_ours = |uid: u32| uid == self.uid() || (first..first + MAPPED).contains(&uid);
        let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status")).ok();
        let uid = |status: &str| -> Option<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let entries = fs::read_dir("/proc").expect("read /proc").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
        pids.filter(|pid| status(pid).and_then(|it| uid(&it)).is_some_and(is_ours))
            .map(|pid| format!("process {pid}"))
            .collect()
    }

    fn bundles_dir(&self) -> PathBuf {
        self.home.join("bundles")
    }

    fn make_dir(&self, dir: &Path, mode: u32) {
        DirBuilder::new()
            .mode(mode)
            .create(dir)
            .unwrap_or_else(|e| panic!("make {}: {e}", dir.display()));
        chown(dir, Some(self.uid()), Some(self.uid())).expect("give a directory away");
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        // Everything that this uid may signal, namespaces of its own included; nobody else has the uid.
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -9 -1"]).stderr(Stdio::null());
        let _ = kill.uid(self.uid()).gid(self.uid()).status();
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "copy {}",
        from.display()
    );
}
