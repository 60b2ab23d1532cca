//! Checkpoints: a container's processes as files, by the runtime and CRIU. As numbered in docs/architecture.md,
//!
//! 1. the container is locked, and looked at: what cannot be done is refused before anything is made;
//! 2. a directory is staged beside the checkpoint's place, with what says how it is made ([`staging`]);
//! 3. the runtime has CRIU write into it ([`dump`]), which is told of the container's streams ([`external`]);
//! 4. when all is written, and the container stands still, the directory is given its place: this is the commit point;
//! 5. the line in the event log, and the container goes on, or ends.
//!
//! Restoring is a launch like any other ([`restore`] has what is checked before).

mod dump;
mod external;
mod options;
mod restore;
mod staging;
mod store;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use holdfast_common::checkpoint::{Checkpoint, Extension};
use holdfast_common::event_record::EventWord;
use holdfast_common::id::CheckpointName;
use holdfast_common::identity::Stat;
use holdfast_common::layout;
use holdfast_common::restart::RestartPolicy;
use holdfast_common::sys::flock::Lock;

use crate::cgroup::{Cgroups, Version};
use crate::container::Container;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::state::Status;
use crate::{directory, text};
use dump::Dump;
use options::Watcher;
use staging::{Over, Staging};

pub use options::{
    CgroupsMode, CheckpointOptions, CheckpointPlace, CheckpointProgress, RestoreOptions,
    UnknownCgroupsMode,
};
pub(crate) use restore::Restorable;
pub use store::CheckpointStore;

/// How long the end of a container that ended with its checkpoint may take to be on record.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);

impl Container {
    /// Makes a checkpoint of it. It goes on afterwards, or ends with it, as the options say; if it cannot be made, it goes on, and
    /// nothing is left. Its execs are not in it, and end when it does.
    ///
    /// # Errors
    /// [`Error::CannotCheckpoint`]: it does not run; [`Error::CheckpointExists`]; [`Error::CheckpointTimeout`]; the runtime's own
    /// message, with CRIU's.
    pub fn checkpoint(
        &self,
        place: &CheckpointPlace,
        options: &CheckpointOptions,
    ) -> Result<Checkpoint> {
        self.make_checkpoint(place, options, None)
    }

    /// As [`Container::checkpoint`]; `watch` is called ten times a second meanwhile, and gives it up by
    /// [`ControlFlow::Break`](std::ops::ControlFlow::Break).
    ///
    /// # Errors
    /// Those of [`Container::checkpoint`]; [`Error::CheckpointCancelled`].
    pub fn checkpoint_watched(
        &self,
        place: &CheckpointPlace,
        options: &CheckpointOptions,
        watch: &mut dyn FnMut(CheckpointProgress) -> std::ops::ControlFlow<()>,
    ) -> Result<Checkpoint> {
        self.make_checkpoint(place, options, Some(watch))
    }

    /// Its bundle's checkpoints, or those in another directory, by name; what cannot be understood, as its error.
    ///
    /// # Errors
    /// Those of [`CheckpointStore::list`].
    pub fn checkpoints(&self, dir: Option<&Path>) -> Result<Vec<(String, Result<Checkpoint>)>> {
        self.store(dir).list()
    }

    /// Takes one of them away.
    ///
    /// # Errors
    /// Those of [`CheckpointStore::delete`].
    pub fn delete_checkpoint(&self, name: &CheckpointName, dir: Option<&Path>) -> Result<()> {
        self.store(dir).delete(name)
    }

    fn store(&self, dir: Option<&Path>) -> CheckpointStore {
        dir.map_or_else(
            || CheckpointStore::of_bundle(self.bundle()),
            CheckpointStore::at,
        )
    }

    /// What goes before the runtime's verb when CRIU has to do with it: the driver may name another.
    pub(crate) fn criu_args(&self) -> Vec<String> {
        let mut args = self.container_state().runtime_args.clone();
        args.extend(self.driver().criu_args());
        args
    }

    fn make_checkpoint(
        &self,
        place: &CheckpointPlace,
        options: &CheckpointOptions,
        watcher: Option<Watcher<'_>>,
    ) -> Result<Checkpoint> {
        let target = text::absolute(&place.path(self.bundle()))?;
        let over = match place {
            CheckpointPlace::Named { .. } => Over::Nothing,
            CheckpointPlace::Path(_) => Over::AnotherOne,
        };
        let _lock = self.lock(Lock::take)?;
        match self.status()? {
            Status::Running | Status::Paused => (),
            status @ (Status::Creating | Status::Created | Status::Pausing | Status::Stopped) => {
                return Err(Error::CannotCheckpoint {
                    id: self.id().clone(),
                    status,
                });
            }
        }
        check_target(&target, over)?;
        let init = self.init()?;
        let work_path = options
            .work_path
            .as_deref()
            .map(make_work_path)
            .transpose()?;
        let area = target.parent().unwrap_or(Path::new("/")).to_owned();
        make_area(&area, place)?;
        let staging = Staging::make(&area)?;
        let made = self.dump(&init, &staging, &target, over, options, watcher);
        if let Some(work_path) = work_path {
            let written = if made.is_ok() { &target } else { staging.dir() };
            if let Err(e) = dump::copy_work(written, &work_path) {
                log::warn!("{e}");
            }
        }
        let checkpoint = match made {
            Ok(checkpoint) => checkpoint,
            Err(e) => {
                staging.discard();
                // Only where it was made for this.
                let _ = std::fs::remove_dir(&area);
                return Err(e);
            }
        };
        if checkpoint.exit {
            // What comes next may well need it; and if nobody is there to record it, that is said when it does.
            let _ = init.wait(Some(RECORD_PATIENCE));
        }
        Ok(checkpoint)
    }

    /// Steps 2 to 5.
    fn dump(
        &self,
        init: &Process,
        staging: &Staging,
        target: &Path,
        over: Over,
        options: &CheckpointOptions,
        watcher: Option<Watcher<'_>>,
    ) -> Result<Checkpoint> {
        let checkpoint = self.describe(init, target, options)?;
        checkpoint.write(staging.dir())?;
        let streams = checkpoint.holdfast.iter().flat_map(|ours| &ours.streams);
        let config = streams.map(|file| format!("external {}\n", file.id));
        let dump = Dump {
            container: self,
            staging,
            config: config.collect(),
            words: words(staging.dir(), self.id().as_str(), options)?,
            timeout: options.timeout,
            watcher,
        };
        let commit = || {
            dump::remove_tools(staging.dir());
            staging.place(target, over)?;
            // Whoever sees its end must know that it was meant.
            if checkpoint.exit
                && self.restart_policy() == RestartPolicy::UnlessStopped
                && let Err(e) = self.mark_stopped()
            {
                log::warn!("{e}");
            }
            if !options.pre_dump {
                self.record_event(EventWord::Checkpoint);
            }
            Ok(())
        };
        let undo = || {
            if let Err(e) = directory::remove(target) {
                log::warn!("{e}");
            }
        };
        dump.run(commit, undo)?;
        Ok(checkpoint)
    }

    /// Makes sure that nothing in it is stopped that is going to be frozen: see [`Error::StoppedProcess`].
    fn check_stopped(&self, init: i32, pids: &[i32]) -> Result<()> {
        let freezer = Cgroups::of(init)
            .ok()
            .and_then(|own| own.controller("freezer"));
        if freezer.is_none_or(|place| place.version != Version::V1) {
            return Ok(());
        }
        let is_stopped = |pid: &&i32| Stat::read(**pid).is_ok_and(|stat| stat.is_stopped());
        match pids.iter().find(is_stopped) {
            Some(&pid) => Err(Error::StoppedProcess {
                id: self.id().clone(),
                pid,
            }),
            None => Ok(()),
        }
    }

    /// What its `config.json` will say.
    fn describe(
        &self,
        init: &Process,
        target: &Path,
        options: &CheckpointOptions,
    ) -> Result<Checkpoint> {
        let name = target.file_name().unwrap_or_default();
        let state = init.process_state();
        let Some(identity) = init.alive()? else {
            return Err(init.exited());
        };
        let pids = self.pids()?;
        self.check_stopped(identity.pid, &pids)?;
        let streams = if state.terminal {
            Vec::new()
        } else {
            external::of(state, init.dir(), identity.pid, &pids)
        };
        Ok(Checkpoint {
            created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
            name: text::utf8(Path::new(name))?,
            tcp: options.tcp,
            unix_sockets: options.unix_sockets,
            shell: options.shell,
            exit: options.exit && !options.pre_dump,
            empty_ns: options.empty_ns.clone(),
            holdfast: Some(Extension {
                container: self.id().to_string(),
                terminal: state.terminal,
                stdin_closed: init.dir().join(layout::STDIN_CLOSED_FILE).exists(),
                file_locks: options.file_locks,
                manage_cgroups_mode: options.manage_cgroups_mode.map(|mode| mode.to_string()),
                pre_dump: options.pre_dump,
                streams,
            }),
            ..Checkpoint::default()
        })
    }
}

/// The runtime's words after `checkpoint`.
fn words(images: &Path, id: &str, options: &CheckpointOptions) -> Result<Vec<String>> {
    let mut words = vec!["--image-path".to_owned(), text::utf8(images)?];
    words.push("--work-path".to_owned());
    words.push(text::utf8(&images.join(layout::CHECKPOINT_WORK_DIR))?);
    let flags = [
        ("--leave-running", !options.exit && !options.pre_dump),
        ("--tcp-established", options.tcp),
        ("--ext-unix-sk", options.unix_sockets),
        ("--shell-job", options.shell),
        ("--file-locks", options.file_locks),
        ("--pre-dump", options.pre_dump),
        ("--auto-dedup", options.auto_dedup),
    ];
    let set = flags.into_iter().filter(|(_, on)| *on);
    words.extend(set.map(|(flag, _)| flag.to_owned()));
    let parent = options.parent_path.as_deref().map(text::utf8).transpose()?;
    let mode = options.manage_cgroups_mode.map(|mode| mode.to_string());
    let namespaces = options.empty_ns.iter().cloned();
    for (flag, value) in [
        ("--parent-path", parent),
        ("--page-server", options.page_server.clone()),
        ("--manage-cgroups-mode", mode),
    ]
    .into_iter()
    .chain(namespaces.map(|namespace| ("--empty-ns", Some(namespace))))
    {
        words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    }
    words.extend(["--".to_owned(), id.to_owned()]);
    Ok(words)
}

/// Makes sure that nothing is in a checkpoint's place that is not to go.
fn check_target(target: &Path, over: Over) -> Result<()> {
    let exists = || Error::CheckpointExists {
        path: target.to_owned(),
    };
    let mut entries = match std::fs::read_dir(target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Err(exists()),
        entries => entries.map_err(Error::io("make checkpoint", target))?,
    };
    match over {
        Over::AnotherOne if entries.next().is_none() || store::has_images(target) => Ok(()),
        Over::AnotherOne | Over::Nothing => Err(exists()),
    }
}

/// Makes the directory of checkpoints; that of a path must be there, as for any file.
fn make_area(area: &Path, place: &CheckpointPlace) -> Result<()> {
    match place {
        CheckpointPlace::Path(_) => Ok(()),
        CheckpointPlace::Named { .. } => {
            let mut builder = std::fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(area);
            made.map_err(Error::io("make directory", area))
        }
    }
}

/// Makes the directory for what CRIU has to say, as runtimes do.
fn make_work_path(path: &Path) -> Result<PathBuf> {
    match std::fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => (),
        made => made.map_err(Error::io("make directory", path))?,
    }
    Ok(path.to_owned())
}
