//! Diagnosis: the files beside the kernel's view, with a verdict and the command that mends what is broken. Made for what
//! is broken: whatever cannot be read is a finding and never an error, nothing here waits for anybody (but for the runtime's
//! word, and for that not long), and nothing is changed by looking.
//!
//! | module | its one idea |
//! |---|---|
//! | [`facts`] | what was found, as types that serialize |
//! | [`look`] | looks at one process directory |
//! | [`holders`] | who has a FIFO open: `/proc/*/fd` |
//! | [`diagnosis`] | from facts to a verdict, and to the command that mends |

mod diagnosis;
mod facts;
mod holders;
mod look;

use std::path::Path;
use std::time::Duration;

use holdfast_common::container_state::ContainerState;
use holdfast_common::id::ContainerId;
use holdfast_common::layout;

use crate::container::Container;
use crate::driver::Driver;
use crate::end::is_real_dir;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::runtime::Runtime;
use crate::state::RuntimeState;
use crate::verdict::directories;

pub use diagnosis::{Condition, Diagnosis, command};
pub use facts::{
    ContainerInspection, Descriptor, Ending, Executable, Existence, Fifo, Holder, Inspection,
    LockFacts, ProcessFacts, RuntimeFacts, Seen, ShimFacts,
};

/// How long the runtime may take to say what it knows.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(5);

impl Driver {
    /// Looks at a container, whatever state its directory is in.
    ///
    /// # Errors
    /// [`Error::NotFound`]; a root that must not be trusted.
    pub fn inspect(&self, id: &ContainerId) -> Result<ContainerInspection> {
        crate::root::check(self.root())?;
        let dir = self.root().join(id);
        if !is_real_dir(&dir)? {
            return Err(Error::NotFound { id: id.clone() });
        }
        Ok(container(self, id, &dir))
    }
}

impl Container {
    /// Looks at it, and at each of its processes.
    pub fn inspect(&self) -> ContainerInspection {
        container(self.driver(), self.id(), self.dir())
    }
}

impl Process {
    /// Looks at it.
    pub fn inspect(&self) -> Inspection {
        let dir = self.dir();
        // <root>/<id>/<process>
        let root = dir.parent().and_then(Path::parent).unwrap_or(dir);
        let names = [self.id().to_string()];
        let mut found = look::processes(root, self.container_id(), &names);
        found.remove(0)
    }
}

fn container(driver: &Driver, id: &ContainerId, dir: &Path) -> ContainerInspection {
    let state = ContainerState::read(dir);
    let mut names = directories(dir).unwrap_or_default();
    names.sort_by_key(|name| name != layout::INIT);
    let processes = look::processes(driver.root(), id, &names);
    let problem = state.as_ref().err().map(ToString::to_string);
    let state = state.unwrap_or_default();
    let runtime = runtime(driver, id, &state);
    let diagnosis = diagnosis::of_container(
        driver.root(),
        id,
        dir,
        problem.as_deref(),
        &runtime,
        &processes,
    );
    ContainerInspection {
        id: id.to_string(),
        dir: dir.to_owned(),
        problem,
        bundle: state.bundle,
        runtime,
        processes,
        diagnosis,
    }
}

/// What the runtime says. It is told no log, or asking would write into the container's.
fn runtime(driver: &Driver, id: &ContainerId, state: &ContainerState) -> RuntimeFacts {
    let unknown = state.runtime.is_empty();
    let runtime = Runtime {
        program: if unknown {
            driver.runtime()
        } else {
            &state.runtime
        },
        args: if unknown {
            driver.runtime_args()
        } else {
            &state.runtime_args
        },
        log_dir: Path::new(""),
        timeout: RUNTIME_PATIENCE,
        stdin: None,
    };
    let said = runtime.run("state", [id.as_str()]).and_then(|output| {
        serde_json::from_slice::<RuntimeState>(&output).map_err(|e| Error::Runtime {
            message: e.to_string(),
        })
    });
    let (pid, status, problem) = match said {
        Ok(said) => (Some(said.pid), Some(said.status), None),
        Err(Error::Runtime { message }) => (None, None, Some(message)),
        Err(e) => (None, None, Some(e.to_string())),
    };
    RuntimeFacts {
        program: runtime.program.to_owned(),
        args: runtime.args.to_vec(),
        status,
        pid,
        problem,
    }
}
