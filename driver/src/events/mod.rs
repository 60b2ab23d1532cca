//! What happened to containers: every one has a log of it, `events.log`, which whoever does something adds a line to. The shim
//! does for what it sees ([`holdfast_common::event_record`] has the words), the driver for what it does ([`record`]).

mod record;
