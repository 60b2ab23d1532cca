//! The log of a process's output: the same to each of several places, of which each may fail alone.

use std::path::Path;
use std::time::SystemTime;

use holdfast_common::layout::Stream;
use holdfast_common::log_entry::Stamp;
use holdfast_common::output::{LogDriver, LogOptions};
use holdfast_common::process_state::ProcessState;
use holdfast_common::sys::pty::Size;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cast::{Cast, CastState};
use super::file::Limits;
use super::health::Health;
use super::journal::Journal;
use super::lines::{Format, Lines, LinesState};

/// What the log needs to know of its process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The container's id.
    pub id: String,
    /// An exec's name.
    pub process: Option<String>,
    /// What kind of terminal it has, as its programs know it (`$TERM`).
    pub terminal: Option<String>,
}

impl Names {
    /// Those of the process in the working directory.
    pub fn of(id: &str, state: &ProcessState) -> Self {
        let dir = std::env::current_dir().unwrap_or_default();
        let name = dir.file_name().map(|it| it.to_string_lossy().into_owned());
        let environment = state.process.get("env").and_then(Value::as_array);
        let variables = environment.into_iter().flatten().filter_map(Value::as_str);
        let mut kinds = variables.filter_map(|variable| variable.strip_prefix("TERM="));
        Self {
            id: id.to_owned(),
            process: name.filter(|_| state.exec),
            terminal: kinds.next().map(str::to_owned),
        }
    }
}

/// A log.
#[derive(Debug)]
pub struct Log {
    options: LogOptions,
    names: Names,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    driver: &'static str,
    health: Health,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Lines(Lines),
    Journal(Journal),
    Cast(Cast),
}

/// What another shim needs to go on with one place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlaceState {
    dropped: u64,
    lines: LinesState,
    cast: CastState,
}

/// What another shim needs to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    options: LogOptions,
    names: Names,
    places: Vec<PlaceState>,
}

impl Log {
    /// A log of the process in the working directory. Nothing is opened yet.
    pub fn new(options: LogOptions, names: Names) -> Self {
        let places = vec![PlaceState::default(); options.drivers.len()];
        Self::resume(LogState {
            options,
            names,
            places,
        })
    }

    /// One that another shim has begun.
    pub fn resume(state: LogState) -> Self {
        let LogState {
            options,
            names,
            places,
        } = state;
        let states = places
            .into_iter()
            .chain(std::iter::repeat_with(PlaceState::default));
        let places = options
            .drivers
            .iter()
            .zip(states)
            .map(|(driver, state)| Place::new(driver, &options, &names, state))
            .collect();
        Self {
            options,
            names,
            places,
        }
    }

    /// For the next shim.
    pub fn state(&self) -> LogState {
        LogState {
            options: self.options.clone(),
            names: self.names.clone(),
            places: self.places.iter().map(Place::state).collect(),
        }
    }

    /// A process begins, and not a shim.
    pub fn begin(&mut self) {
        for Place { kind, .. } in &mut self.places {
            if let Kind::Lines(lines) = kind {
                lines.begin();
            }
        }
    }

    /// Opens the files, or opens them again, by their names.
    pub fn open(&mut self) {
        for Place { health, kind, .. } in &mut self.places {
            match kind {
                Kind::Lines(lines) => lines.open(health),
                // Its header has the size that the terminal has at its first word.
                Kind::Cast(cast) => cast.reopen(health),
                Kind::Journal(_) => (),
            }
        }
    }

    /// Takes what was read at one moment.
    pub fn take(&mut self, stream: Stream, bytes: &[u8], scratch: &mut Vec<u8>) {
        let stamp = Stamp::of(SystemTime::now());
        for Place { health, kind, .. } in &mut self.places {
            match kind {
                Kind::Lines(lines) => lines.take(stream, bytes, &stamp, scratch, health),
                Kind::Journal(journal) => journal.take(stream, bytes, scratch, health),
                Kind::Cast(cast) => cast.take(bytes, health),
            }
        }
    }

    /// The terminal has this size, from the beginning or from now on.
    pub fn resize(&mut self, size: Size) {
        for Place { health, kind, .. } in &mut self.places {
            if let Kind::Cast(cast) = kind {
                cast.resize(size, health);
            }
        }
    }

    /// Nothing comes any more.
    pub fn finish(&mut self) {
        for Place { health, kind, .. } in &mut self.places {
            if let Kind::Cast(cast) = kind {
                cast.finish(health);
            }
        }
    }

    /// Of each place: its driver's name, how many bytes it has not been given, and whether there is trouble now.
    pub fn places(&self) -> impl Iterator<Item = (&'static str, u64, bool)> {
        self.places
            .iter()
            .map(|it| (it.driver, it.health.dropped(), it.health.is_troubled()))
    }
}

impl Place {
    fn new(driver: &LogDriver, options: &LogOptions, names: &Names, state: PlaceState) -> Self {
        let file = driver.file(Path::new(""));
        let name = match &file {
            Some(file) => format!("log {}", file.display()),
            None => "journal".to_owned(),
        };
        let limits = Limits {
            max_size: options.max_size,
            max_files: options.max_files,
        };
        let lines = |format| {
            let file = file.clone().unwrap_or_default();
            Kind::Lines(Lines::new(file, limits, format, state.lines))
        };
        let kind = match driver {
            LogDriver::Cri { .. } => lines(Format::Cri),
            LogDriver::JsonFile { .. } => lines(Format::JsonFile(attrs(options))),
            LogDriver::Journald { path } => {
                let process = names.process.as_deref();
                Kind::Journal(Journal::new(path.as_deref(), &names.id, process, options))
            }
            LogDriver::Asciicast { path } => {
                Kind::Cast(Cast::new(path.clone(), names.terminal.clone(), state.cast))
            }
        };
        Self {
            driver: driver.word(),
            health: Health::new(name, state.dropped),
            kind,
        }
    }

    fn state(&self) -> PlaceState {
        let mut state = PlaceState {
            dropped: self.health.dropped(),
            ..PlaceState::default()
        };
        match &self.kind {
            Kind::Lines(lines) => state.lines = lines.state(),
            Kind::Cast(cast) => state.cast = cast.state(),
            Kind::Journal(_) => (),
        }
        state
    }
}

/// What docker's format says of the container in each entry: nothing, unless it was asked for.
fn attrs(options: &LogOptions) -> Vec<u8> {
    let mut attrs = options.labels.clone();
    if !options.tag.is_empty() {
        attrs.insert("tag".to_owned(), options.tag.clone());
    }
    if attrs.is_empty() {
        return Vec::new();
    }
    // Text, all of it.
    serde_json::to_vec(&attrs).unwrap_or_default()
}
