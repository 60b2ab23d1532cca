//! The driver's own lines in a container's event log.

use holdfast_common::event_log::EventLog;
use holdfast_common::event_record::{EventRecord, EventWord};

use crate::container::Container;
use crate::error::Result;
use crate::process::Process;

impl Container {
    /// Says in the container's event log what was just done to it, as a whole: `StartContainer`, `Pause`, `Resume` or `Live`. To
    /// be called right after it was done, once, by whoever did it, with the container's lock still held if it was taken.
    ///
    /// What cannot be written is dropped with a word in the log: what was done was done. Nothing is written for a
    /// container that containerd 0.2 made, whose directory is not ours to put files in. The other words are the shim's.
    pub(crate) fn record_event(&self, word: EventWord) {
        self.record(word, |log| {
            let event = event(word, &self.init()?)?;
            match word {
                // The shim of a process that has ended already has seen to it that its start comes before its end.
                EventWord::StartContainer => log.append_once(&event).map(drop)?,
                _ => log.append(&event).map(drop)?,
            }
            Ok(())
        });
    }

    /// Says that it was found running by somebody who came back; and before that, that it was started, should whoever did that
    /// have been killed before the line.
    pub(crate) fn record_live(&self, init: &Process) {
        self.record(EventWord::Live, |log| {
            let live = event(EventWord::Live, init)?;
            if init.process_state().checkpoint.is_empty() {
                log.append_after(&event(EventWord::StartContainer, init)?, &live)?;
            } else {
                log.append(&live)?;
            }
            Ok(())
        });
    }

    fn record(&self, word: EventWord, append: impl FnOnce(&EventLog) -> Result<()>) {
        if self.container_state().holdfast.is_none() {
            return;
        }
        match append(&EventLog::of(self.dir())) {
            Ok(()) => (),
            // It went with its process, as its creator had asked, and its log with it.
            Err(e) if !self.dir().exists() => log::debug!("{e}"),
            Err(e) => log::warn!("event {word} of {}: {e}", self.id()),
        }
    }
}

fn event(word: EventWord, init: &Process) -> Result<EventRecord> {
    Ok(EventRecord::now(word, init.id().clone(), init.identity()?))
}
