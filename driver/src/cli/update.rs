//! `update`: flags or a file in, limits out. What they mean and whether they can be, the library knows.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use holdfast::{ContainerId, Resources};

use super::error::{Error, Result};
use super::globals::Globals;
use super::logging::Reporter;
use super::size::limit as size;

/// More than this is no resources object, bytes.
const MOST: u64 = 1 << 20;

/// Flags of `update`, with runc's names.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// OCI resources object (JSON) to take the limits from; - is our stdin
    #[arg(short, long, value_name = "FILE", conflicts_with = "Limits")]
    resources: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
}

/// One flag a limit.
#[derive(Debug, Args)]
#[group(multiple = true)]
struct Limits {
    /// Weight among users of block devices: 10 to 1000
    #[arg(long, value_name = "N")]
    blkio_weight: Option<u16>,
    /// Period in which --cpu-quota counts, in microseconds
    #[arg(long, value_name = "N")]
    cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds; -1 for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Weight among others that want to run: 2 to 262144
    #[arg(long, value_name = "N", alias = "cpu-shares")]
    cpu_share: Option<u64>,
    /// Period in which --cpu-rt-runtime counts, in microseconds
    #[arg(long, value_name = "N")]
    cpu_rt_period: Option<u64>,
    /// Processor time of realtime processes in each period, in microseconds
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,
    /// Processors to use, such as 0-2,5
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use, such as 0
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory of the kernel, in bytes or such as 64M; kernels since Linux 5.16 do not limit it
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = size)]
    kernel_memory: Option<i64>,
    /// Memory of TCP's buffers, in bytes or such as 64M; in version 1 of cgroups
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = size)]
    kernel_memory_tcp: Option<i64>,
    /// Memory, in bytes or such as 64M; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = size)]
    memory: Option<i64>,
    /// Memory that is left to it when there is little, in bytes or such as 64M; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = size)]
    memory_reservation: Option<i64>,
    /// Memory and swap together, in bytes or such as 64M; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = size)]
    memory_swap: Option<i64>,
    /// Number of processes and threads; -1 for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
}

/// Changes the limits of a container.
///
/// # Errors
/// The library's; there is nothing to change; the file cannot be read.
pub fn update(args: &UpdateArgs, globals: &Globals, reporter: Reporter) -> Result<u8> {
    let resources = match &args.resources {
        Some(file) => Resources::from_json(&read(file)?, file)?,
        None => args.limits.resources(),
    };
    if args.resources.is_none() && resources == Resources::default() {
        return Err(Error::NothingToUpdate);
    }
    let container = globals.driver()?.load(&args.id)?;
    for limit in container.update(&resources)? {
        reporter.warning(&format!(
            "container {}: {limit} is not limited on this system",
            args.id
        ));
    }
    Ok(0)
}

impl Limits {
    fn resources(&self) -> Resources {
        Resources {
            cpu_shares: self.cpu_share,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_realtime_period: self.cpu_rt_period,
            cpu_realtime_runtime: self.cpu_rt_runtime,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            blkio_weight: self.blkio_weight,
            memory: self.memory,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
            kernel_memory: self.kernel_memory,
            kernel_tcp_memory: self.kernel_memory_tcp,
            pids_limit: self.pids_limit,
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(MOST + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|it| it.take(MOST + 1).read_to_end(&mut bytes))
    };
    read.map_err(|e| Error::io("read resources", file, e))?;
    if bytes.len() as u64 > MOST {
        let cause = io::Error::from(io::ErrorKind::FileTooLarge);
        return Err(Error::io("read resources", file, cause));
    }
    Ok(bytes)
}
