//! A daemon that links the library: drivers over a sandbox's roots, as `holdfast` commands have them.

use holdfast::{Container, ContainerId, CreateOptions, Driver, DriverBuilder, Policy, Stdio};

use crate::{Bundle, DEADLINE, Sandbox, binaries, runtime};

impl Sandbox {
    /// A driver over this sandbox's roots and the shim under test.
    ///
    /// # Panics
    /// When it cannot be built.
    #[must_use]
    pub fn driver(&self) -> Driver {
        let driver = self.driver_builder().build();
        driver.unwrap_or_else(|e| panic!("build a driver: {e}"))
    }

    /// The same, for a test to add something.
    #[must_use]
    pub fn driver_builder(&self) -> DriverBuilder {
        let runtime_root = self.runtime_root().display().to_string();
        Driver::builder()
            .runtime(runtime::program())
            .root(self.root())
            .runtime_args(["--root".to_owned(), runtime_root])
            .shim(binaries::shim())
            .start_timeout(DEADLINE)
    }

    /// A container that has been started, its streams on /dev/null, and its id.
    ///
    /// # Panics
    /// When it cannot be created or started.
    #[track_caller]
    #[must_use]
    pub fn started(&self, driver: &Driver, bundle: &Bundle, name: &str) -> Container {
        let container = self.created(driver, bundle, name);
        if let Err(e) = container.start() {
            self.dump();
            panic!("start {name}: {e}");
        }
        container
    }

    /// A container that waits for its start, its streams on /dev/null.
    ///
    /// # Panics
    /// When it cannot be created.
    #[track_caller]
    #[must_use]
    pub fn created(&self, driver: &Driver, bundle: &Bundle, name: &str) -> Container {
        let id = ContainerId::new(self.id(name)).expect("test ids are ids");
        let container = driver.create(&id, bundle.dir(), &quiet());
        container.unwrap_or_else(|e| {
            self.dump();
            panic!("create {name}: {e}")
        })
    }
}

/// Options of a container that says nothing.
#[must_use]
pub fn quiet() -> CreateOptions {
    CreateOptions {
        stdio: Stdio::all(Policy::Null),
        ..CreateOptions::default()
    }
}
