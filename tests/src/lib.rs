//! The harness of the black-box tests: the two real binaries, a real runtime, and nothing left behind.
//!
//! A test makes a [`Sandbox`], [`Bundle`]s in it, and runs `holdfast` through it. Every wait has a deadline and
//! prints the state directory when it passes. File names are spelled out here and not taken from
//! `holdfast-common`: what a test repeats word by word is what others rely on.
//!
//! | module | its one idea |
//! |---|---|
//! | [`binaries`] | where `scripts/build` put the driver and the shim |
//! | [`runtime`] | runc, or another that is to be tested with |
//! | [`sandbox`] | directories, ids and presets of one test |
//! | [`cleanup`] | kills, unmounts and removes what a sandbox left, and nothing else |
//! | [`bundle`], [`spec`], [`rootfs`] | OCI bundles over one shared busybox |
//! | [`gate`] | where a container waits for the test |
//! | [`command`] | runs `holdfast` with a deadline |
//! | [`refusal`] | what a refused command must look like |
//! | [`daemon`] | drivers of the library, as a daemon has them |
//! | [`terminal`] | runs a command on a terminal of its own |
//! | [`strace`] | kills a command at an exact point of its own doing |
//! | [`syscalls`] | counts the system calls of commands and shims |
//! | [`budget`] | what a container may cost, in one table |
//! | [`matrix`] | somebody is killed; what must hold afterwards |
//! | [`orphan`] | shims killed under their processes, and what is done about it |
//! | [`user`] | somebody without privileges |
//! | [`wait`], [`fifo`] | waiting on conditions and descriptors; reading and writing FIFOs |
//! | [`random`] | choices that can be made again |
//! | [`at_end`] | what a test must not leave undone when it fails |
//! | [`dump`] | what a failing test prints |
//! | [`limits`] | what limits a container has, and which have changed |
//! | [`worker`] | a container that has used something of everything |
//! | [`pages`] | the project's own pages, and the commands on them |
//! | [`writer`] | a container that writes numbered words and measures how long it waits |
//! | [`entries`], [`logged`] | a log's files and the entries in them; containers that are logged |
//! | [`events`] | what `holdfast events` says |
//! | [`disk`] | one that is small, and full |
//! | [`snapshot`] | shows that nobody changed a tree |
//! | [`process`] | a process seen through `/proc`: threads, switches, memory, descriptors |
//! | [`fake_runtime`] | a runtime that misbehaves on purpose |
//! | [`daemon02`] | plays a containerd 0.2 daemon |
//! | [`beside_runc`] | the same script with runc and with us |
//! | [`supervisor`] | `holdfast supervise`, and its events |
//! | [`criu`] | checkpoints by a real CRIU, which may be halted on its way |
//! | [`service_manager`] | plays one: what it is told by datagrams |
//! | [`systemd`] | a real one, in namespaces of its own |
//! | [`seccomp`] | containers whose system calls wait for an agent |
//! | [`cgroup`] | where a container is in them, and what the two versions call things |
//! | [`kernel`] | what this kernel can do, and others cannot |
//! | [`conmon`] | a container under conmon, for figures beside ours |

#![forbid(unsafe_code)]

pub mod at_end;
pub mod beside_runc;
pub mod binaries;
pub mod budget;
pub mod bundle;
pub mod cgroup;
pub mod cleanup;
pub mod command;
pub mod conmon;
pub mod criu;
pub mod daemon;
pub mod daemon02;
pub mod disk;
pub mod dump;
pub mod entries;
pub mod events;
pub mod fake_runtime;
pub mod fifo;
pub mod gate;
pub mod kernel;
pub mod limits;
pub mod logged;
pub mod matrix;
pub mod orphan;
pub mod pages;
pub mod process;
pub mod random;
pub mod refusal;
pub mod rootfs;
pub mod runtime;
pub mod sandbox;
pub mod seccomp;
pub mod service_manager;
pub mod snapshot;
pub mod spec;
pub mod strace;
pub mod supervisor;
pub mod syscalls;
pub mod systemd;
pub mod terminal;
pub mod user;
pub mod wait;
pub mod worker;
pub mod writer;

pub use at_end::AtEnd;
pub use bundle::Bundle;
pub use command::Running;
pub use criu::Criu;
pub use fake_runtime::FakeRuntime;
pub use gate::Gate;
pub use process::Proc;
pub use random::Random;
pub use sandbox::Sandbox;
pub use snapshot::Snapshot;
pub use supervisor::Supervisor;
pub use terminal::Terminal;
pub use user::User;
pub use wait::DEADLINE;
