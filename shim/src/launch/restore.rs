//! A process that comes from a checkpoint: the runtime is asked to `restore` it rather than to `create` one, in the words that
//! its checkpoint and process.json say.
//!
//! The process's streams were FIFOs or files of the host's, to which its images have no path: it finds those of this launch in
//! their place, by the descriptors that CRIU inherits from us through the runtime (criu(8), `--inherit-fd`). No runtime has an option
//! for that; CRIU takes it from a configuration file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use holdfast_common::checkpoint::{Checkpoint, Extension};
use holdfast_common::process_state::{ProcessState, Restore as Wishes};
use holdfast_common::{criu, layout, state_file};

use crate::error::Error;

/// What the runtime is to restore, and how.
pub struct Restore {
    image: PathBuf,
    /// None: whoever made the checkpoint has not said how.
    checkpoint: Option<Checkpoint>,
    wishes: Wishes,
    /// Where CRIU works, and has its log.
    work: PathBuf,
    config: Option<PathBuf>,
}

impl Restore {
    /// What process.json asks for, with what it takes in place; `None` when that is no restore.
    pub fn prepare(state: &ProcessState, process_dir: &Path) -> Result<Option<Self>, Error> {
        if state.exec || state.checkpoint.is_empty() {
            return Ok(None);
        }
        let image = PathBuf::from(&state.checkpoint);
        let read = Checkpoint::read(&image);
        let Some(ours) = &state.holdfast else {
            let now = humantime::format_rfc3339_nanos(SystemTime::now());
            let work = image.join(layout::CHECKPOINT_WORK_DIR);
            return Ok(Some(Self {
                work: work.join(format!("restore-{now}")),
                checkpoint: Some(read?),
                wishes: Wishes::default(),
                config: None,
                image,
            }));
        };
        let checkpoint = match read {
            // A runtime made it, and whoever restores it says how.
            Err(e) if e.is_absent() => None,
            read => Some(read?),
        };
        let wishes = ours.restore.clone().unwrap_or_default();
        let dir = process_dir.join(layout::RESTORE_DIR);
        std::fs::create_dir(&dir).map_err(Error::io("make directory", &dir))?;
        let work = wishes.work_path.as_ref().map_or(dir.clone(), PathBuf::from);
        let mut restore = Self {
            image,
            checkpoint,
            wishes,
            work,
            config: None,
        };
        restore.config = restore.write_config(&dir)?;
        Ok(Some(restore))
    }

    fn ours(&self) -> Option<&Extension> {
        self.checkpoint.as_ref()?.holdfast.as_ref()
    }

    /// CRIU's configuration, where there is something to say in it.
    fn write_config(&self, dir: &Path) -> Result<Option<PathBuf>, Error> {
        let streams = self.ours().map(|ours| &*ours.streams).unwrap_or_default();
        if streams.is_empty() {
            return Ok(None);
        }
        let mut lines = String::new();
        for file in streams {
            // The runtime's descriptors 0 to 2 are the process's, and CRIU has them from the runtime.
            let number = file.stream as u8;
            lines.push_str(&format!("inherit-fd fd[{number}]:{}\n", file.id));
        }
        let path = dir.join(layout::CRIU_CONFIG_FILE);
        let config = criu::config(&lines).map_err(Error::io("read", "$CRIU_CONFIG_FILE"))?;
        state_file::write_bytes(&path, config.as_bytes())?;
        Ok(Some(path))
    }

    /// The options of `restore`, and CRIU's configuration.
    pub fn tell(&self, command: &mut Command) {
        command.arg("-d").arg("--image-path").arg(&self.image);
        command.arg("--work-path").arg(&self.work);
        let absent = Checkpoint::default();
        let (made, ours) = (self.checkpoint.as_ref().unwrap_or(&absent), self.ours());
        let wishes = &self.wishes;
        for (option, on) in [
            ("--shell-job", made.shell || wishes.shell),
            ("--tcp-established", made.tcp || wishes.tcp),
            ("--ext-unix-sk", made.unix_sockets || wishes.unix_sockets),
            (
                "--file-locks",
                wishes.file_locks || ours.is_some_and(|ours| ours.file_locks),
            ),
            ("--auto-dedup", wishes.auto_dedup),
        ] {
            if on {
                command.arg(option);
            }
        }
        let made_mode = ours.and_then(|ours| ours.manage_cgroups_mode.as_ref());
        for (option, value) in [
            (
                "--manage-cgroups-mode",
                wishes.manage_cgroups_mode.as_ref().or(made_mode),
            ),
            ("--lsm-profile", wishes.lsm_profile.as_ref()),
            ("--lsm-mount-context", wishes.lsm_mount_context.as_ref()),
        ] {
            if let Some(value) = value {
                command.arg(option).arg(value);
            }
        }
        for namespace in made.empty_ns.iter().chain(&wishes.empty_ns) {
            command.args(["--empty-ns", namespace]);
        }
        if let Some(config) = &self.config {
            command.env(criu::CONFIG_VARIABLE, config);
        }
    }

    /// A runtime's complaint, with what CRIU had to say.
    pub fn explain(&self, message: &str) -> String {
        criu::explain(message, &self.work.join(layout::RESTORE_LOG_FILE))
    }

    /// Whether the process had seen the end of its stdin, or was about to.
    pub fn stdin_was_closed(&self) -> bool {
        self.ours().is_some_and(|ours| ours.stdin_closed)
    }
}
