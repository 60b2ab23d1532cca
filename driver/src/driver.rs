//! The way in: a root directory, a runtime, a shim.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use holdfast_common::container_state::{ContainerState, Extension};
use holdfast_common::id::{ContainerId, ProcessId};
use holdfast_common::layout;
use holdfast_common::process_state;
use holdfast_common::request::{Isolation, Wire};

use nix::libc::ENOTSOCK;

use crate::bundle::Bundle;
use crate::checkpoint::Restorable;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::launch::{self, Launch};
use crate::monitor::Monitor;
use crate::options::{CreateOptions, DriverBuilder, Settings};
use crate::spec::ProcessSpec;
use crate::stdio::Plan;
use crate::verdict::{self, Care, Entry, Verdict};
use crate::{exit_command, notify, restart, root, runtime, text, time_limit};

/// The shim when nobody names one.
const SHIM: &str = "holdfast-shim";

/// Creates containers, and finds them again. A copy is cheap, and is the same driver.
#[derive(Debug, Clone)]
pub struct Driver(Arc<Settings>);

impl Driver {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(settings))
    }

    /// Begins a driver.
    pub fn builder() -> DriverBuilder {
        DriverBuilder::default()
    }

    /// The state directory.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// The OCI runtime of containers that it creates.
    pub fn runtime(&self) -> &str {
        &self.0.runtime
    }

    /// What goes before that runtime's verb.
    pub fn runtime_args(&self) -> &[String] {
        &self.0.runtime_args
    }

    /// How long a runtime may take.
    pub fn start_timeout(&self) -> Duration {
        self.0.start_timeout
    }

    /// The words that tell a runtime which CRIU to use.
    pub(crate) fn criu_args(&self) -> Vec<String> {
        let criu = self.0.criu.iter();
        criu.flat_map(|criu| ["--criu".to_owned(), criu.clone()])
            .collect()
    }

    /// How its shims are kept apart from this process.
    pub(crate) fn isolation(&self) -> &Isolation {
        &self.0.isolation
    }

    /// The shim's executable.
    ///
    /// # Errors
    /// [`Error::ShimNotFound`].
    pub fn shim(&self) -> Result<PathBuf> {
        let named = self.0.shim.clone();
        let found = match &named {
            Some(shim) => runtime::find(shim),
            None => beside_this_program().or_else(|| runtime::find(Path::new(SHIM))),
        };
        match found {
            Some(shim) => text::absolute(&shim),
            None => Err(Error::ShimNotFound {
                shim: named.unwrap_or_else(|| SHIM.into()),
            }),
        }
    }

    /// Creates a container from a bundle: its process exists and waits for [`Container::start`]; one that comes from a checkpoint
    /// runs.
    ///
    /// # Errors
    /// Bad input, before anything is made; [`Error::AlreadyExists`]; [`Error::CannotRestore`]; the runtime's own message, and nothing is left then.
    pub fn create(
        &self,
        id: &ContainerId,
        bundle: &Path,
        options: &CreateOptions,
    ) -> Result<Container> {
        let preserve_fds = launch::check_preserved(
            options
                .listen_fds
                .count
                .saturating_add(options.preserve_fds),
        )?;
        restart::check(options)?;
        time_limit::check(options.time_limit)?;
        notify::check(options)?;
        let exit_command = exit_command::record(options.exit_command.as_ref())?;
        let checkpoint = options.checkpoint.as_deref();
        let checkpoint = checkpoint.map(Restorable::read).transpose()?;
        if let Some(checkpoint) = &checkpoint {
            checkpoint.check_options(options)?;
        }
        root::check(self.root())?;
        let bundle = Bundle::read(bundle)?;
        if runtime::find(Path::new(self.runtime())).is_none() {
            return Err(Error::RuntimeNotFound {
                runtime: self.runtime().to_owned(),
            });
        }
        if options.seccomp_agent_store && !bundle.has_listener_path {
            return Err(Error::NoListenerPath {
                path: bundle.path.into(),
            });
        }
        let shim = self.shim()?;
        let dir = self.root().join(id);
        if std::fs::symlink_metadata(&dir).is_ok() {
            return Err(Error::AlreadyExists { id: id.clone() });
        }

        let mut process_state = ProcessSpec::new(bundle.process.clone()).to_state();
        let plan = Plan::new(
            &options.stdio,
            process_state.terminal,
            options.console_socket.is_some(),
            &dir.join(layout::INIT),
        )?;
        options.stdio.check_new()?;
        plan.tell(&mut process_state);
        if let Some((width, height)) = options.console_size {
            let size = serde_json::json!({"height": height, "width": width});
            let key = process_state::CONSOLE_SIZE.to_owned();
            process_state.process.insert(key, size);
        }
        let mut runtime_args = self.runtime_args().to_vec();
        runtime_args.extend(self.criu_args());
        process_state.runtime_args.clone_from(&runtime_args);
        process_state.no_pivot_root = options.no_pivot_root;
        process_state.root_uid = bundle.root_uid;
        process_state.root_gid = bundle.root_gid;
        process_state.holdfast = Some(process_state::Extension {
            inherit: plan.inherit.clone(),
            output: plan.output.clone(),
            console_socket: console_socket(options.console_socket.as_deref())?,
            preserve_fds: options.preserve_fds,
            listen_fds: options.listen_fds.clone(),
            no_new_keyring: options.no_new_keyring,
            auto_remove: options.auto_remove,
            seccomp_agent_store: options.seccomp_agent_store,
            notify: options.notify.clone(),
            exit_command,
            time_limit: options.time_limit,
            launcher: options.starts.then(restart::this_process).flatten(),
            ..process_state::Extension::default()
        });
        if let Some(checkpoint) = &checkpoint {
            checkpoint.tell(&mut process_state, &plan, &options.restore)?;
        }
        let [stdin, stdout, stderr] = plan.paths.clone();
        let container_state = ContainerState {
            bundle: bundle.path.clone(),
            labels: options.labels.clone(),
            stdin,
            stdout,
            stderr,
            runtime: self.runtime().to_owned(),
            runtime_args,
            shim: text::utf8(&shim)?,
            no_pivot_root: options.no_pivot_root,
            holdfast: Some(Extension {
                created_at: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
                oci_version: bundle.oci_version,
                rootfs: bundle.rootfs,
                annotations: bundle.annotations,
                restart_policy: options.restart,
            }),
            other: serde_json::Map::default(),
        };

        root::make(self.root())?;
        let launch = Launch {
            container: id.clone(),
            process: ProcessId::init(),
            shim,
            wire: Wire {
                id: id.as_str().into(),
                bundle: bundle.path.into(),
                runtime: self.runtime().into(),
            },
            timeout: self.start_timeout(),
            place: self.root().to_owned(),
            container_state: Some(container_state.clone()),
            process_state,
            plan,
            preserve_fds,
            replace: false,
            isolation: self.isolation().clone(),
        };
        let init = launch.run()?;
        if checkpoint.is_some() {
            init.tell_started();
        }
        Ok(Container::new(
            self.clone(),
            id.clone(),
            dir,
            container_state,
        ))
    }

    /// Finds a container.
    ///
    /// # Errors
    /// [`Error::NotFound`]; its state.json cannot be understood.
    pub fn load(&self, id: &ContainerId) -> Result<Container> {
        root::check(self.root())?;
        Container::load(self.clone(), id)
    }

    /// Every directory of the root, by name. An absent root has none. A directory that is no container's is there with
    /// its error.
    ///
    /// # Errors
    /// The root cannot be read, or must not be trusted.
    pub fn list(&self) -> Result<Vec<Entry>> {
        if !root::check(self.root())? {
            return Ok(Vec::new());
        }
        let names = verdict::directories(self.root())?;
        let load = |name: String| -> Option<Entry> {
            let id = ContainerId::new(name.clone()).map_err(Error::Id);
            match id.and_then(|id| Container::load(self.clone(), &id)) {
                // It was removed since the root was read.
                Err(Error::NotFound { .. }) => None,
                container => Some(Entry {
                    id: name,
                    container,
                }),
            }
        };
        Ok(names.into_iter().filter_map(load).collect())
    }

    /// A verdict for every process of every directory. Nothing is changed by it.
    ///
    /// # Errors
    /// The root cannot be read, or must not be trusted.
    pub fn survey(&self) -> Result<Vec<Verdict>> {
        self.take_care(Care::Look)
    }

    /// What a daemon asks for when it comes back: every process whose shim was killed is adopted, and there is a verdict for
    /// every process of every directory, with what was done about it. What cannot be adopted, or understood, keeps no other from
    /// its turn.
    ///
    /// # Errors
    /// The root cannot be read, or must not be trusted.
    pub fn restore(&self) -> Result<Vec<Verdict>> {
        self.take_care(Care::Adopt)
    }

    /// As [`Driver::restore`], with everything watched that a shim holds then: in one look, what would else be a second one at each. Of
    /// what has ended the verdict tells, and no event. What cannot be watched is [`Finding::Unreadable`](crate::Finding::Unreadable), of
    /// [`Error::Unwatched`]: [`Monitor::add`] it when it can be.
    ///
    /// # Errors
    /// The root cannot be read, or must not be trusted.
    pub fn reattach(&self, monitor: &mut Monitor) -> Result<Vec<Verdict>> {
        self.take_care(Care::Watch(monitor))
    }

    fn take_care(&self, mut care: Care<'_>) -> Result<Vec<Verdict>> {
        let entries = self.list()?.into_iter();
        Ok(entries.flat_map(|entry| care.of_entry(entry)).collect())
    }
}

fn beside_this_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    runtime::find(&program.with_file_name(SHIM))
}

/// A console socket's path, for a state file. Not every runtime says which one it could not connect to.
pub(crate) fn console_socket(path: Option<&Path>) -> Result<Option<String>> {
    if let Some(path) = path {
        let failed = Error::io("connect to console socket", path);
        match std::fs::metadata(path) {
            Ok(meta) if meta.file_type().is_socket() => (),
            Ok(_) => return Err(failed(io::Error::from_raw_os_error(ENOTSOCK))),
            Err(e) => return Err(failed(e)),
        }
    }
    optional_path(path)
}

/// A path for a state file.
pub(crate) fn optional_path(path: Option<&Path>) -> Result<Option<String>> {
    path.map(text::absolute_utf8).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdio::Stdio;
    use crate::testing::{Scratch, scratch};
    use crate::verdict::Finding;

    fn driver(name: &str) -> (Scratch, Driver) {
        let dir = scratch(name);
        let driver = Driver::builder().root(dir.join("root")).build().unwrap();
        (dir, driver)
    }

    #[test]
    fn an_absent_root_has_no_containers_and_is_not_made_by_looking() {
        let (dir, driver) = driver("driver-absent");
        assert!(driver.list().unwrap().is_empty() && driver.survey().unwrap().is_empty());
        assert!(driver.restore().unwrap().is_empty());
        let id = ContainerId::new("web").unwrap();
        assert!(matches!(driver.load(&id), Err(Error::NotFound { .. })));
        assert!(!dir.join("root").exists());
    }

    #[test]
    fn bad_input_makes_nothing() {
        let (dir, driver) = driver("driver-bad-input");
        let id = ContainerId::new("web").unwrap();
        let create = |options: &CreateOptions| driver.create(&id, &dir, options).unwrap_err();
        let error = create(&CreateOptions::default());
        assert!(matches!(error, Error::BadBundle { .. }), "{error}");
        let config = r#"{"process":{"terminal":true},"root":{"path":"r"}}"#;
        std::fs::write(dir.join("config.json"), config).unwrap();
        let stdio = Stdio::all(crate::Policy::Inherit);
        let error = create(&CreateOptions {
            stdio,
            ..CreateOptions::default()
        });
        assert!(!matches!(error, Error::Io { .. }), "{error}");
        let error = create(&CreateOptions {
            preserve_fds: 5000,
            ..CreateOptions::default()
        });
        assert!(matches!(error, Error::NotOpen { .. }), "{error}");
        assert!(!dir.join("root").exists());
    }

    #[test]
    fn one_bad_directory_never_hides_the_others() {
        let (dir, driver) = driver("driver-aliens");
        let root = dir.join("root");
        root::make(&root).unwrap();
        let make = |name: &str| std::fs::create_dir_all(root.join(name)).unwrap();
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
        for name in [
            "absent",
            "empty",
            "torn",
            "not an id",
            "good/init",
            "~staging",
            "fifo",
            "lost/init",
        ] {
            make(name);
        }
        write("empty/state.json", "");
        write("torn/state.json", "{\"bundle\": ");
        write("good/state.json", "{\"bundle\":\"/b\"}");
        write("good/init/process.json", r#"{"exec":false}"#);
        write("lost/state.json", "{\"bundle\":\"/b\"}");
        write("lost/init/process.json", r#"{"exec":false}"#);
        write("a-file", "");
        nix::unistd::mkfifo(&root.join("fifo/state.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        nix::unistd::mkfifo(&root.join("lost/init/exit"), nix::sys::stat::Mode::S_IRWXU).unwrap();

        let seen: Vec<String> = driver
            .list()
            .unwrap()
            .into_iter()
            .map(|entry| match entry.container {
                Ok(container) => format!("{}: {}", entry.id, container.bundle().display()),
                Err(error) => format!("{}: {error}", entry.id),
            })
            .collect();
        let at = |name: &str| format!("{name}: read {}/{name}/state.json", root.display());
        let expected = [
            format!("{}: no such file or directory", at("absent")),
            format!("{}: is empty", at("empty")),
            format!("{}: is a fifo, not a file", at("fifo")),
            "good: /b".to_owned(),
            "lost: /b".to_owned(),
            "not an id: ".to_owned() + &crate::IdError::BadName("not an id".to_owned()).to_string(),
            format!(
                "{}: EOF while parsing a value at line 1 column 11",
                at("torn")
            ),
        ];
        assert_eq!(seen, expected);

        let verdicts = driver.survey().unwrap();
        assert_eq!(verdicts.len(), 7);
        let finding = |id: &str| {
            &verdicts
                .iter()
                .find(|verdict| verdict.id == id)
                .unwrap()
                .finding
        };
        assert!(matches!(finding("lost"), Finding::Lost { .. }));
        let Finding::Unreadable(error) = finding("good") else {
            panic!("no exit fifo")
        };
        assert!(
            error.to_string().contains("good/init/exit: no such file"),
            "{error}"
        );
    }
}
