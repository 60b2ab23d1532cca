//! Running another process in a container: everything that a launch needs is put together here.

use holdfast_common::id::ProcessId;
use holdfast_common::process_state::Extension;
use holdfast_common::request::Wire;
use holdfast_common::sys::flock::Lock;

use crate::container::Container;
use crate::driver::console_socket;
use crate::error::{Error, Result};
use crate::launch::{self, Launch};
use crate::options::ExecOptions;
use crate::process::Process;
use crate::spec::ProcessSpec;
use crate::state::Status;
use crate::stdio::Plan;
use crate::{exit_command, time_limit};

impl Container {
    /// Runs another process in it, with a shim of its own.
    ///
    /// # Errors
    /// [`Error::ContainerExited`] or [`Error::ContainerNotStarted`]; [`Error::Paused`]; [`Error::ProcessAlreadyExists`]; the
    /// runtime's own message, and nothing is left then.
    pub fn exec(
        &self,
        id: &ProcessId,
        process: &ProcessSpec,
        options: &ExecOptions,
    ) -> Result<Process> {
        let preserve_fds = launch::check_preserved(options.preserve_fds)?;
        time_limit::check(options.time_limit)?;
        let exit_command = exit_command::record(options.exit_command.as_ref())?;
        let dir = self.dir().join(id);
        if id.is_init() || std::fs::symlink_metadata(&dir).is_ok() {
            return Err(Error::ProcessAlreadyExists {
                id: self.id().clone(),
                process: id.clone(),
            });
        }
        // Many may be launched at once; whoever removes the container waits for all of them.
        let _lock = self.lock(Lock::take_shared)?;
        // In a frozen cgroup it would stand still before its program runs, and its runtime wait for it.
        let (init, status) = self.must_run()?;
        if let Status::Pausing | Status::Paused = status {
            return Err(Error::Paused {
                id: self.id().clone(),
            });
        }

        let mut process_state = process.to_state();
        let console = options.console_socket.is_some();
        let plan = Plan::new(&options.stdio, process_state.terminal, console, &dir)?;
        options.stdio.check_new()?;
        plan.tell(&mut process_state);
        process_state.exec = true;
        process_state
            .runtime_args
            .clone_from(&self.container_state().runtime_args);
        process_state.root_uid = init.process_state().root_uid;
        process_state.root_gid = init.process_state().root_gid;
        process_state.holdfast = Some(Extension {
            inherit: plan.inherit.clone(),
            output: plan.output.clone(),
            console_socket: console_socket(options.console_socket.as_deref())?,
            preserve_fds: options.preserve_fds,
            auto_remove: options.auto_remove,
            exit_command,
            time_limit: options.time_limit,
            ..Extension::default()
        });
        let launch = Launch {
            container: self.id().clone(),
            process: id.clone(),
            shim: self.driver().shim()?,
            wire: Wire {
                id: self.id().as_str().into(),
                bundle: self.bundle().to_owned(),
                runtime: self.runtime(self.dir()).program.into(),
            },
            timeout: self.driver().start_timeout(),
            place: self.dir().to_owned(),
            container_state: None,
            process_state,
            plan,
            preserve_fds,
            replace: false,
            isolation: self.driver().isolation().clone(),
        };
        launch.run()
    }

    /// The process of its bundle's config.json, to derive an exec's from.
    ///
    /// # Errors
    /// Those of [`ProcessSpec::of_bundle`].
    pub fn exec_spec(&self) -> Result<ProcessSpec> {
        ProcessSpec::of_bundle(self.bundle())
    }
}
