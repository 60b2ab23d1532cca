//! What the shim and the driver must agree on, and nothing else: names ([`layout`], [`id`]), formats (a
//! module for each file of the state directory and each message), process [`identity`], and safe system
//! calls ([`sys`]). No policy: who may do what, and when, is decided in the other crates.

#![deny(unsafe_code)]

pub mod checkpoint;
pub mod container_state;
pub mod control;
pub mod criu;
pub mod event_log;
pub mod event_record;
pub mod exit_command;
pub mod exit_record;
pub mod id;
pub mod identity;
pub mod kernel_file;
pub mod layout;
pub mod listen_fds;
pub mod log_entry;
pub mod log_line;
pub mod notify;
pub mod oci;
pub mod output;
pub mod process_state;
pub mod ready;
pub mod request;
pub mod restart;
pub mod seccomp;
pub mod shim_record;
pub mod shim_version;
pub mod state_file;
pub mod sys;
#[cfg(test)]
mod testing;
pub mod time_limit;
