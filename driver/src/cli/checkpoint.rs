//! `checkpoint`, `checkpoints`, `delete-checkpoint`: containers as files. Bringing them back is [`super::restore`]'s.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use holdfast::{
    CgroupsMode, Checkpoint, CheckpointName, CheckpointOptions, CheckpointPlace, CheckpointStore,
    ContainerId, IdError,
};

use super::error::{Error, Result};
use super::globals::{Globals, absolute};
use super::logging::{Reporter, one_line};
use super::output::{Format, print, print_json, table};
use super::progress::Progress;
use super::run::signals_failed;
use super::session::Impatience;

/// Where runtimes put a checkpoint when nobody says.
const DEFAULT_PATH: &str = "checkpoint";

/// Which checkpoint: a name in a directory of them, or a path.
#[derive(Debug, Clone)]
pub enum NameOrPath {
    /// A name.
    Name(CheckpointName),
    /// A path: there is a slash in it.
    Path(PathBuf),
}

impl FromStr for NameOrPath {
    type Err = IdError;

    fn from_str(text: &str) -> std::result::Result<Self, IdError> {
        if text.contains('/') {
            return Ok(Self::Path(text.into()));
        }
        CheckpointName::new(text).map(Self::Name)
    }
}

impl NameOrPath {
    /// The checkpoint's path, for a container of this bundle.
    ///
    /// # Errors
    /// It cannot be made absolute.
    pub fn path(&self, bundle: &Path, dir: Option<&Path>) -> Result<PathBuf> {
        absolute(&match self {
            Self::Path(path) => path.clone(),
            Self::Name(name) => {
                let name = name.clone();
                let dir = dir.map(Path::to_owned);
                CheckpointPlace::Named { name, dir }.path(bundle)
            }
        })
    }
}

/// Flags that say which checkpoint is meant.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Name of the checkpoint, in the bundle's directory of them
    #[arg(long, value_name = "NAME")]
    name: Option<CheckpointName>,
    /// Directory of checkpoints [default: checkpoints in the bundle]
    #[arg(long, value_name = "DIR", requires = "name")]
    checkpoint_dir: Option<PathBuf>,
    /// Directory of CRIU's images, in place of a name [default: checkpoint]
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    image_path: Option<PathBuf>,
}

impl PlaceArgs {
    /// The place.
    ///
    /// # Errors
    /// A path cannot be made absolute.
    pub fn place(&self) -> Result<CheckpointPlace> {
        Ok(match &self.name {
            Some(name) => CheckpointPlace::Named {
                name: name.clone(),
                dir: self.checkpoint_dir.as_deref().map(absolute).transpose()?,
            },
            None => {
                let path = self.image_path.as_deref();
                CheckpointPlace::Path(absolute(path.unwrap_or(Path::new(DEFAULT_PATH)))?)
            }
        })
    }
}

/// Flags that `checkpoint` and `restore` share, with runc's names.
#[derive(Debug, Args)]
pub struct CriuArgs {
    /// Directory for CRIU's log [default: criu.work in a directory of ours]
    #[arg(long, value_name = "DIR")]
    pub work_path: Option<PathBuf>,
    /// Allow established TCP connections
    #[arg(long)]
    pub tcp_established: bool,
    /// Allow unix sockets whose other end is outside of the container
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Allow a container that is a job of a shell's, on its terminal
    #[arg(long)]
    pub shell_job: bool,
    /// Keep file locks
    #[arg(long)]
    pub file_locks: bool,
    /// What becomes of its cgroups: soft, full, strict or ignore [default: soft]
    #[arg(long, value_name = "MODE")]
    pub manage_cgroups_mode: Option<CgroupsMode>,
    /// Restore this namespace empty: network; may be repeated
    #[arg(long, value_name = "NAMESPACE")]
    pub empty_ns: Vec<String>,
    /// Leave out, or drop, memory that is there twice
    #[arg(long)]
    pub auto_dedup: bool,
    /// Refused: memory that is fetched later is no checkpoint that is whole
    #[arg(long, hide = true)]
    lazy_pages: bool,
}

impl CriuArgs {
    /// Refuses what cannot be had.
    ///
    /// # Errors
    /// [`Error::LazyPages`].
    pub fn check(&self, verb: &'static str) -> Result<()> {
        match self.lazy_pages {
            true => Err(Error::LazyPages {
                verb,
                flag: "--lazy-pages",
            }),
            false => Ok(()),
        }
    }
}

/// Flags of `checkpoint`.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Let the container go on afterwards
    #[arg(long)]
    leave_running: bool,
    #[command(flatten)]
    criu: CriuArgs,
    /// Write memory alone, for a later checkpoint to build upon, and let the container go on
    #[arg(long, conflicts_with = "name")]
    pre_dump: bool,
    /// Earlier checkpoint to build upon, relative to this one's directory
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// CRIU page server that takes the memory
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Refused: it belongs to --lazy-pages
    #[arg(long, hide = true, value_name = "FD", allow_negative_numbers = true)]
    status_fd: Option<i32>,
    /// How long it may take, such as 30s; then the container goes on without
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

/// Flags of `checkpoints`.
#[derive(Debug, Args)]
pub struct CheckpointsArgs {
    /// table or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    format: Format,
    /// Bundle whose checkpoints to list, also of containers that are gone
    #[arg(short, long, value_name = "DIR", conflicts_with = "id")]
    bundle: Option<PathBuf>,
    /// Directory of checkpoints [default: checkpoints in the bundle]
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,
    /// The container
    #[arg(value_name = "ID")]
    id: Option<ContainerId>,
}

/// Flags of `delete-checkpoint`.
#[derive(Debug, Args)]
pub struct DeleteCheckpointArgs {
    /// Bundle whose checkpoint to delete, in place of a container
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Directory of checkpoints [default: checkpoints in the bundle]
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,
    /// The container, unless a bundle is named, and the checkpoint
    #[arg(value_names = ["ID", "NAME"], num_args = 1..=2, required = true)]
    words: Vec<String>,
}

/// Makes a checkpoint.
///
/// # Errors
/// The library's.
pub fn checkpoint(args: &CheckpointArgs, globals: &Globals) -> Result<u8> {
    args.criu.check("checkpoint")?;
    if args.status_fd.is_some_and(|fd| fd >= 0) {
        return Err(Error::LazyPages {
            verb: "checkpoint",
            flag: "--status-fd",
        });
    }
    let container = globals.driver()?.load(&args.id)?;
    let options = CheckpointOptions {
        exit: !args.leave_running,
        tcp: args.criu.tcp_established,
        unix_sockets: args.criu.ext_unix_sk,
        shell: args.criu.shell_job,
        empty_ns: args.criu.empty_ns.clone(),
        file_locks: args.criu.file_locks,
        manage_cgroups_mode: args.criu.manage_cgroups_mode,
        auto_dedup: args.criu.auto_dedup,
        pre_dump: args.pre_dump,
        parent_path: args.parent_path.clone(),
        page_server: args.page_server.clone(),
        work_path: args.criu.work_path.as_deref().map(absolute).transpose()?,
        timeout: args.timeout,
    };
    let place = args.place.place()?;
    // The first signal gives it up, and what was begun is undone; the second ends us, and leaves that to who comes next.
    let impatience = Impatience::begin().map_err(signals_failed)?;
    let progress = Progress::begin(format!("checkpoint {}", args.id));
    container.checkpoint_watched(&place, &options, &mut |so_far| {
        progress.written(so_far.written);
        match impatience.was_asked() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    Ok(0)
}

/// Lists checkpoints. One that cannot be understood is reported and hides no other.
///
/// # Errors
/// The library's.
pub fn checkpoints(args: &CheckpointsArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let store = store(
        "checkpoints",
        globals,
        args.id.as_ref(),
        args.bundle.as_deref(),
        args.checkpoint_dir.as_deref(),
    )?;
    let mut found = Vec::new();
    for (name, checkpoint) in store.list()? {
        match checkpoint {
            // It may have been moved since.
            Ok(checkpoint) => found.push(Checkpoint { name, ..checkpoint }),
            Err(e) => reporter.warning(&format!("checkpoint {}: {e}", one_line(&name))),
        }
    }
    match args.format {
        Format::Json => print_json(&found)?,
        Format::Table => {
            let header = ["NAME", "CREATED", "CONTAINER", "OPTIONS"];
            print(&table(header, found.iter().map(cells), &[]))?;
        }
    }
    Ok(0)
}

/// Takes a checkpoint away.
///
/// # Errors
/// The library's.
pub fn delete_checkpoint(args: &DeleteCheckpointArgs, globals: &Globals) -> Result<u8> {
    let (id, name) = match (&args.bundle, &*args.words) {
        (None, [id, name]) => (Some(ContainerId::new(&**id)), name),
        (Some(_), [name]) => (None, name),
        _ if args.checkpoint_dir.is_some() && args.words.len() == 1 => (None, &args.words[0]),
        _ => {
            return Err(Error::WhoseCheckpoints {
                verb: "delete-checkpoint",
            });
        }
    };
    let id = id.transpose().map_err(holdfast::Error::Id)?;
    let name = CheckpointName::new(&**name).map_err(holdfast::Error::Id)?;
    let store = store(
        "delete-checkpoint",
        globals,
        id.as_ref(),
        args.bundle.as_deref(),
        args.checkpoint_dir.as_deref(),
    )?;
    store.delete(&name)?;
    Ok(0)
}

/// Whose checkpoints are meant.
fn store(
    verb: &'static str,
    globals: &Globals,
    id: Option<&ContainerId>,
    bundle: Option<&Path>,
    dir: Option<&Path>,
) -> Result<CheckpointStore> {
    let container = id.map(|id| globals.driver()?.load(id).map_err(Error::from));
    let container = container.transpose()?;
    Ok(match (dir, bundle, container) {
        (Some(dir), _, _) => CheckpointStore::at(absolute(dir)?),
        (None, Some(bundle), _) => CheckpointStore::of_bundle(&absolute(bundle)?),
        (None, None, Some(container)) => CheckpointStore::of_bundle(container.bundle()),
        (None, None, None) => return Err(Error::WhoseCheckpoints { verb }),
    })
}

fn cells(checkpoint: &Checkpoint) -> [String; 4] {
    let ours = checkpoint.holdfast.as_ref();
    let options = [
        ("exit", checkpoint.exit),
        ("tcp", checkpoint.tcp),
        ("unix-sockets", checkpoint.unix_sockets),
        ("shell", checkpoint.shell),
    ];
    let set = options.into_iter().filter(|(_, on)| *on);
    let mut set: Vec<String> = set.map(|(word, _)| word.to_owned()).collect();
    set.extend(
        checkpoint
            .empty_ns
            .iter()
            .map(|ns| format!("empty-ns={ns}")),
    );
    let or_dash = |text: String| match text.is_empty() {
        true => "-".to_owned(),
        false => one_line(&text),
    };
    [
        one_line(&checkpoint.name),
        one_line(&checkpoint.created),
        or_dash(ours.map(|ours| ours.container.clone()).unwrap_or_default()),
        or_dash(set.join(",")),
    ]
}
