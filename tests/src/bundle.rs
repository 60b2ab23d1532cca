//! An OCI bundle, changed step by step: every step is on disk at once, so nothing needs to be saved at the end.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{rootfs, spec};

/// A bundle directory with its `config.json`. It lives as long as its sandbox.
#[derive(Debug)]
pub struct Bundle {
    dir: PathBuf,
    config: Value,
}

impl Bundle {
    /// A bundle in the new directory `dir` that runs `args`; [`crate::Sandbox::bundle`] names the directory.
    pub(crate) fn new<A: AsRef<str>>(dir: PathBuf, args: impl IntoIterator<Item = A>) -> Self {
        let args: Vec<A> = args.into_iter().collect();
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        fs::create_dir(&dir).unwrap_or_else(|e| panic!("make {}: {e}", dir.display()));
        let config = spec::default(&args, rootfs::path());
        Self { dir, config }.edit(|_| {})
    }

    /// The bundle's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The bundle's directory as an argument, for `-b`.
    ///
    /// # Panics
    /// Never: sandboxes have plain names.
    #[must_use]
    pub fn arg(&self) -> &str {
        self.dir.to_str().expect("sandboxes have plain names")
    }

    /// The configuration as it is on disk.
    #[must_use]
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Changes anything in the configuration.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        let path = self.dir.join("config.json");
        fs::write(&path, format!("{:#}\n", self.config))
            .unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        self
    }

    /// Gives the process a terminal.
    #[must_use]
    pub fn terminal(self) -> Self {
        self.edit(|config| config["process"]["terminal"] = json!(true))
    }

    /// Adds `KEY=VALUE` to the environment.
    ///
    /// # Panics
    /// When an earlier edit removed the environment.
    #[must_use]
    pub fn env(self, key_value: &str) -> Self {
        self.edit(|config| list(config, "/process/env").push(json!(key_value)))
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(self, cwd: &str) -> Self {
        self.edit(|config| config["process"]["cwd"] = json!(cwd))
    }

    /// Lets the container share the host's pid namespace: nobody kills its processes when its init ends.
    ///
    /// # Panics
    /// When an earlier edit removed the namespaces.
    #[must_use]
    pub fn host_pid(self) -> Self {
        self.edit(|config| list(config, "/linux/namespaces").retain(|ns| ns["type"] != "pid"))
    }

    /// Gives the container a file system of its own at `/run`, where runtimes put things in its way.
    ///
    /// # Panics
    /// When an earlier edit removed the mounts.
    #[must_use]
    pub fn run(self) -> Self {
        let mount = spec::mount("/run", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=755"]);
        self.edit(|config| list(config, "/mounts").push(mount))
    }

    /// Shows the directory `host` in the container as [`rootfs::HOST`], writable.
    ///
    /// # Panics
    /// When an earlier edit removed the mounts.
    #[must_use]
    pub fn bind(self, host: &Path) -> Self {
        let source = host.to_str().expect("sandboxes have plain names");
        let mount = spec::mount(rootfs::HOST, "bind", source, &["bind", "rw"]);
        self.edit(|config| list(config, "/mounts").push(mount))
    }
}

fn list<'a>(config: &'a mut Value, pointer: &str) -> &'a mut Vec<Value> {
    let value = config.pointer_mut(pointer).and_then(Value::as_array_mut);
    value.unwrap_or_else(|| panic!("config.json has no list {pointer}"))
}

#[cfg(test)]
mod tests {
    use crate::Sandbox;
    use std::process::Stdio;

    #[test]
    fn a_bundle_runs_under_the_bare_runtime() {
        let sandbox = Sandbox::new("bundle");
        let shared = sandbox.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        let bundle = sandbox
            .sh("echo $GREETING from $(pwd), $$ > /host/out; cat; exit 7")
            .env("GREETING=hello")
            .cwd("/tmp")
            .bind(&shared);
        let id = sandbox.id("bundle");
        let status = sandbox
            .runtime(["run", "--bundle", bundle.arg(), &id])
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(7));
        let out = std::fs::read_to_string(shared.join("out")).unwrap();
        assert_eq!(out, "hello from /tmp, 1\n");
        sandbox.assert_clean();
    }

    #[test]
    fn a_container_without_a_pid_namespace_sees_host_pids() {
        let sandbox = Sandbox::new("hostpid");
        let bundle = sandbox.sh("test $$ != 1").host_pid();
        let id = sandbox.id("hostpid");
        let mut run = sandbox.runtime(["run", "--bundle", bundle.arg(), &id]);
        let status = run.stdin(Stdio::null()).status().unwrap();
        assert!(status.success());
    }
}
