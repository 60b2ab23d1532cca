//! What `list` says beyond runc: that a container needs care, or that nobody knows how it ended. The cheap part of what
//! `inspect` finds: a few files of each process, and nobody else's descriptors.

use std::path::Path;

use holdfast::inspect::command;
use holdfast::{Container, ContainerId, Error, ExitStatus, Process};
use holdfast_common::layout;
use serde::Serialize;

use super::colour::Tone;

/// Why a container is not as it should be.
#[derive(Debug, Serialize)]
pub struct Care {
    finding: Finding,
    /// Why, for people.
    reason: String,
    /// What to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

/// In one word.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Finding {
    Orphaned,
    Lost,
    Unknown,
    Corrupt,
}

impl Care {
    /// A directory that cannot be understood.
    pub fn corrupt(root: &Path, id: &str, reason: String) -> Self {
        Self {
            finding: Finding::Corrupt,
            reason,
            // Whatever is called otherwise is nobody's container.
            mend: ContainerId::new(id)
                .ok()
                .map(|id| command(root, &format!("inspect {id}"))),
        }
    }

    /// What a container needs; the first of its processes that needs any speaks for it.
    ///
    /// # Errors
    /// Its init cannot be understood.
    pub fn of(container: &Container) -> Result<Option<Self>, Error> {
        let root = container.driver().root();
        for (name, process) in container.processes()? {
            let is_init = name == layout::INIT;
            let care = match process.and_then(|process| look(root, &process)) {
                Ok(care) => care,
                Err(e) if is_init => return Err(e),
                Err(e) => Some(Self::corrupt(root, container.id().as_str(), e.to_string())),
            };
            if let Some(mut care) = care {
                if !is_init {
                    care.reason = format!("{name}: {}", care.reason);
                }
                return Ok(Some(care));
            }
        }
        Ok(None)
    }

    /// Why, for people.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// How urgent it is.
    pub fn tone(&self) -> Tone {
        match self.finding {
            Finding::Corrupt => Tone::Bad,
            Finding::Orphaned | Finding::Lost | Finding::Unknown => Tone::Care,
        }
    }

    /// In one line.
    pub fn note(&self) -> String {
        let word = match self.finding {
            Finding::Orphaned => "orphaned",
            Finding::Lost => "lost",
            Finding::Unknown => "exit status unknown",
            Finding::Corrupt => "corrupt",
        };
        let mend = self.mend.as_ref().map(|mend| format!("; {mend}"));
        format!("{word}: {}{}", self.reason, mend.unwrap_or_default())
    }
}

fn look(root: &Path, process: &Process) -> Result<Option<Care>, Error> {
    if let Some(record) = process.exit_record()? {
        return Ok(match record.status {
            ExitStatus::Unknown { reason } if process.id().is_init() => Some(Care {
                finding: Finding::Unknown,
                reason,
                mend: None,
            }),
            _ => None,
        });
    }
    // A containerd 0.2 shim has no lock, and nothing can be told of it.
    let ours = process.dir().join(layout::SHIM_LOCK_FILE).exists();
    if !ours || process.shim_lives()? || process.exit_record()?.is_some() {
        return Ok(None);
    }
    let mend = Some(command(
        root,
        &format!("recover {}", process.container_id()),
    ));
    let alive = process
        .identity()?
        .is_some_and(|identity| identity.is_alive());
    Ok(Some(if alive {
        Care {
            finding: Finding::Orphaned,
            reason: "its shim was killed".to_owned(),
            mend,
        }
    } else {
        Care {
            finding: Finding::Lost,
            reason: "its shim was killed, and it is gone".to_owned(),
            mend,
        }
    }))
}
