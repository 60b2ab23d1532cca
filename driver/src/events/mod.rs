//! What happened to containers: every one has a log of it, `events.log`, which whoever does something adds a line to. The shim
//! does for what it sees ([`holdfast_common::event_record`] has the words), the driver for what it does ([`record`]). [`stream`]
//! merges the logs of a root, woken by a [`watch`], [`reader`] reads one, and a [`cursor`] says how far.

mod cursor;
mod reader;
mod record;
mod stream;
mod watch;

pub use cursor::{BadCursor, Cursor};
pub use stream::{Backend, Events, Since, StateChange};
