//! Output through `execve`: the descriptors as words of argv, and what is known besides as JSON in a file in memory. A command line
//! is everybody's to read; labels are not. The round trip is tested with the rest of what a shim hands over.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use holdfast_common::layout::Stream;
use holdfast_common::output::SpillOptions;
use holdfast_common::request::RequestError;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use super::places::{Log, LogState};
use super::spill::{Descriptors, Spill};
use super::{Moving, Output, Scratch, To};
use crate::error::Error;
use crate::handover::{Words, descriptor};

/// All but the descriptors.
#[derive(Serialize, Deserialize)]
struct State {
    log: Option<LogState>,
    streams: Vec<StreamState>,
}

#[derive(Serialize, Deserialize)]
struct StreamState {
    stream: Stream,
    /// None for the log.
    spill: Option<SpillState>,
}

#[derive(Serialize, Deserialize)]
struct SpillState {
    options: SpillOptions,
    dropped: u64,
}

impl Output {
    /// The words, and the descriptors that they name.
    pub fn encode<'a>(&'a self, out: &mut Words<'a>) -> Result<(), Error> {
        let state = State {
            log: self.log.as_ref().map(Log::state),
            streams: self.moving.iter().map(Moving::state).collect(),
        };
        let write = || -> io::Result<OwnedFd> {
            let mut file = File::from(memfd_create(c"output", MFdFlags::MFD_CLOEXEC)?);
            file.write_all(&serde_json::to_vec(&state)?)?;
            Ok(file.into())
        };
        out.own_fd(
            "output-state",
            write().map_err(Error::io("hand over", "output"))?,
        );
        for moving in &self.moving {
            let name = moving.stream.name();
            if let Some(inner) = &moving.inner {
                out.fd(&format!("output-inner-{name}"), inner.as_fd());
            }
            if let To::Spill(spill) = &moving.to {
                for (what, fd) in spill.descriptors() {
                    out.fd(&format!("output-{what}-{name}"), fd);
                }
            }
        }
        Ok(())
    }
}

impl Moving {
    fn state(&self) -> StreamState {
        StreamState {
            stream: self.stream,
            spill: match &self.to {
                To::Spill(spill) => Some(SpillState {
                    options: spill.options(),
                    dropped: spill.dropped(),
                }),
                To::Log => None,
            },
        }
    }
}

/// Output's words on their way in.
#[derive(Default)]
pub struct OutputWords {
    state: Option<OwnedFd>,
    /// Of stdout and stderr.
    ends: [Ends; 2],
}

#[derive(Default)]
struct Ends {
    inner: Option<OwnedFd>,
    outer: Option<OwnedFd>,
    spill: Option<OwnedFd>,
    at: Option<OwnedFd>,
}

impl OutputWords {
    /// Takes one word.
    pub fn take(&mut self, key: &str, value: &OsStr, word: &OsStr) -> Result<(), Error> {
        let unknown = || RequestError::Unknown(word.to_owned());
        let what = key.strip_prefix("output-").unwrap_or_default();
        let place = match what.split_once('-') {
            None if what == "state" => &mut self.state,
            Some((what, stream)) => {
                let ends = match stream {
                    "stdout" => &mut self.ends[0],
                    "stderr" => &mut self.ends[1],
                    _ => return Err(unknown().into()),
                };
                match what {
                    "inner" => &mut ends.inner,
                    "outer" => &mut ends.outer,
                    "spill" => &mut ends.spill,
                    "at" => &mut ends.at,
                    _ => return Err(unknown().into()),
                }
            }
            None => return Err(unknown().into()),
        };
        *place = Some(descriptor(word, value)?);
        Ok(())
    }

    /// The output that they speak of, if they speak of any.
    pub fn output(self) -> Result<Option<Box<Output>>, Error> {
        let Some(file) = self.state else {
            return Ok(None);
        };
        let mut text = Vec::new();
        let mut file = File::from(file);
        file.rewind()
            .and_then(|()| file.read_to_end(&mut text))
            .map_err(Error::io("take over", "output"))?;
        let state: State = serde_json::from_slice(&text)
            .map_err(|e| Error::io("take over", "output")(e.into()))?;
        let [mut stdout, mut stderr] = self.ends;
        let mut moving = Vec::new();
        for StreamState { stream, spill } in state.streams {
            let ends = match stream {
                Stream::Stderr => &mut stderr,
                Stream::Stdin | Stream::Stdout => &mut stdout,
            };
            let to = match spill {
                None => To::Log,
                Some(SpillState { options, dropped }) => {
                    let missing = RequestError::Missing("output-outer-…=");
                    let descriptors = match (ends.outer.take(), ends.spill.take(), ends.at.take()) {
                        (Some(outer), Some(file), Some(at)) => Descriptors { outer, file, at },
                        _ => return Err(missing.into()),
                    };
                    let spill = Spill::resume(stream, options, descriptors, dropped);
                    To::Spill(Box::new(spill.map_err(Error::io("take over", "spill"))?))
                }
            };
            moving.push(Moving {
                stream,
                inner: ends.inner.take(),
                to,
            });
        }
        let log = state.log.map(|state| {
            let mut log = Log::resume(state);
            log.open();
            log
        });
        Ok(Some(Box::new(Output {
            log,
            moving,
            scratch: Scratch::default(),
        })))
    }
}
