//! The command: flags in, verbs out, one line for every failure. It uses nothing of the library but its public
//! interface; what a verb does stands in the verb's own file.

mod attach;
mod care;
mod checkpoint;
mod colour;
mod complete;
mod control;
mod create;
mod ending;
mod error;
mod events;
mod exec;
mod globals;
mod help;
mod inspect;
mod launch;
mod list;
mod listen;
mod logging;
mod logs;
mod man;
mod mistake;
mod moment;
mod output;
mod processes;
mod progress;
mod ps;
mod recover;
mod restore;
mod run;
mod session;
mod signal_name;
mod size;
mod spec;
mod stats;
mod stdio;
mod supervise;
mod top;
mod update;
mod version;

use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};
use holdfast_common::sys::signal;

use error::{Error, Result};
use globals::Globals;
use logging::Reporter;

/// Keeps containers running, talking and accounted for, whoever started them
#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version = version::line(),
    disable_version_flag = true,
    disable_help_subcommand = false,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    globals: Globals,
    /// Print the version
    #[arg(short, long, short_alias = 'V', action = ArgAction::Version)]
    version: (),
}

const EXAMPLES: &str = "\
Examples:
  holdfast run -b BUNDLE web          run a container in the foreground; its exit code is ours
  holdfast run -d -b BUNDLE web       leave it to its shim
  holdfast attach web                 come back to it (leave a terminal with Ctrl-P Ctrl-Q)
  holdfast exec -t web sh             a shell beside it
  holdfast wait web                   its exit status, during or after
  holdfast delete -f web              end it and forget it

Exit codes: the container's own (128 + signal), 125 for a failure of holdfast,
126 when the command cannot be executed, 127 when it is not found.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create and start a container
    ///
    /// In the foreground its streams are ours, signals go on to it, and its exit code is ours. It is its shim's all the
    /// same: when this command is killed the container runs on, and `holdfast attach` comes back to it.
    #[command(after_help = "\
Examples:
  holdfast run -b BUNDLE web              foreground; removed at its end, unless --keep
  holdfast run -d --stdio file:log web    background, output appended to a file
  holdfast run -d --restart always web    started again whenever it ends, by `holdfast supervise`")]
    Run(run::RunArgs),
    /// Create a container; its process waits for `start`
    ///
    /// The runtime prepares everything, up to the moment before the bundle's own program is executed.
    #[command(after_help = "\
Examples:
  holdfast create -b BUNDLE --pid-file pid web
  holdfast start web")]
    Create(create::CreateArgs),
    /// Start a created container
    Start(create::StartArgs),
    /// Run another process in a container
    ///
    /// What follows the ID is the command with its own flags; ours stand before the ID. In the foreground its exit code is
    /// ours. In the background it goes by its --exec-id.
    #[command(
        override_usage = "holdfast exec [OPTIONS] <ID> <COMMAND> [ARGS]...\n       holdfast exec [OPTIONS] --process <FILE> <ID>",
        after_help = "\
Examples:
  holdfast exec web ps                        in the foreground; its exit code is ours
  holdfast exec -t web sh                     with a terminal
  holdfast exec -d --exec-id job web make     in the background; see `holdfast wait web job`"
    )]
    Exec(exec::ExecArgs),
    /// Attach to a running process
    ///
    /// Its output comes here and our input goes there, until it ends, with its exit code, or until we leave.
    #[command(after_help = "\
Examples:
  holdfast attach web                 input, output and, without a terminal, signals
  holdfast attach --no-stdin web      output only
  holdfast attach web job             an exec named job

The end of our input closes the process's stdin. With a terminal, detach with Ctrl-P Ctrl-Q.")]
    Attach(attach::AttachArgs),
    /// Show what a process has written, where its output is logged
    ///
    /// Its stdout comes on ours and its stderr on ours, byte for byte; nobody else misses what is shown. Of a process that
    /// has ended and was not logged, what nobody had read is shown.
    #[command(after_help = "\
Examples:
  holdfast logs web                   everything that is kept
  holdfast logs -f --tail 100 web     the last 100 lines, and what comes until it ends
  holdfast logs --since 10m -t web    of the last ten minutes, each line with its time
  holdfast logs web job               of its exec named job")]
    Logs(logs::LogsArgs),
    /// Wait for processes to end and print their exit status
    ///
    /// Each is printed as soon as it is on record, also long after the process ended.
    #[command(after_help = "\
Examples:
  holdfast wait web                   a number: the code, 128 + signal, or 255 when nobody knows
  holdfast wait -f json web           how and when it ended, and how that is known
  holdfast wait web job               its exec named job")]
    Wait(control::WaitArgs),
    /// Send a signal to a container
    ///
    /// A pid that is somebody else's by now is never signalled. What is stopped so is not restarted under the policy
    /// unless-stopped.
    #[command(after_help = "\
Examples:
  holdfast kill web                   TERM to its own process
  holdfast kill -a web KILL           to every process in it
  holdfast kill --process job web     to its exec named job")]
    Kill(control::KillArgs),
    /// Freeze all processes of a container
    Pause(control::PauseArgs),
    /// Let a paused container go on
    Resume(control::PauseArgs),
    /// Remove containers
    ///
    /// One that still runs is refused, unless it is to be killed first.
    #[command(after_help = "\
Examples:
  holdfast delete web db          two that have ended
  holdfast delete -f web          killed first, if it runs; no failure if it is not there")]
    Delete(control::DeleteArgs),
    /// List containers
    ///
    /// The columns and keys are runc's; what needs care has one more, with the command that mends.
    #[command(after_help = "\
Examples:
  holdfast list                       all, whoever started them
  holdfast list -q                    the ids
  holdfast list -f json | jq -r '.[] | select(.status == \"running\").id'")]
    List(list::ListArgs),
    /// List the processes in a container, by ps(1)
    #[command(
        override_usage = "holdfast ps [OPTIONS] <ID> [PS OPTIONS]...",
        after_help = "\
Examples:
  holdfast ps web                     as ps -ef
  holdfast ps web -o pid,rss,args     with ps's own options"
    )]
    Ps(ps::PsArgs),
    /// Show what containers use
    #[command(after_help = "\
Examples:
  holdfast stats                      of all that run
  holdfast stats --watch web          again each second, until Ctrl-C
  holdfast stats -f json web | jq .data.memory.usage
  holdfast stats -f prometheus > DIR/.new && mv DIR/.new DIR/holdfast.prom

CPU % is a share of one processor, since the container began or, with --watch, since the last time;
MEMORY is without the page cache that would be given up first.")]
    Stats(stats::StatsArgs),
    /// Show the processes of a container and what they use
    Top(top::TopArgs),
    /// Change the limits of a container
    #[command(after_help = "\
Examples:
  holdfast update --memory 64M --pids-limit 100 web
  holdfast update --cpu-quota -1 web            no limit any more
  holdfast update -r - web < resources.json     an OCI resources object

A limit that is not named, or 0, stays as it is. If one is refused, none is changed.")]
    Update(update::UpdateArgs),
    /// Write a container's processes to the disk, by CRIU
    ///
    /// It ends with that, unless it is left running, and `holdfast restore` brings it back where it was. What cannot be written
    /// leaves it running, and nothing behind.
    #[command(after_help = "\
Examples:
  holdfast checkpoint --name first web            in the bundle: checkpoints/first
  holdfast checkpoint --leave-running --name second web
  holdfast checkpoint --image-path DIR web        in a directory of its own, as runc does

Its execs are not in it. Ctrl-C gives it up.")]
    Checkpoint(checkpoint::CheckpointArgs),
    /// Bring a container back from a checkpoint
    ///
    /// It goes on where the checkpoint was made. One that has ended and is still on record comes back in its own place, with its
    /// streams and labels; any other is made anew.
    #[command(
        after_help = "\
Examples:
  holdfast restore -d --name first web                  after `holdfast checkpoint --name first web`
  holdfast restore -d -b BUNDLE --name first web2       another, from the same checkpoint
  holdfast restore -d -b BUNDLE --image-path DIR web    as runc does
  holdfast run -d --checkpoint first -b BUNDLE web3",
        // A runtime that restores has no such options.
        mut_arg("preserve_fds", |arg| arg.hide(true)),
        mut_arg("no_new_keyring", |arg| arg.hide(true)),
        mut_arg("no_subreaper", |arg| arg.hide(true))
    )]
    Restore(restore::RestoreArgs),
    /// List checkpoints
    ///
    /// Those in the container's bundle, or in another directory of them.
    #[command(after_help = "\
Examples:
  holdfast checkpoints web
  holdfast checkpoints -f json -b BUNDLE      also when the container is gone")]
    Checkpoints(checkpoint::CheckpointsArgs),
    /// Remove a checkpoint
    #[command(
        override_usage = "holdfast delete-checkpoint [OPTIONS] <ID> <NAME>\n       holdfast delete-checkpoint [OPTIONS] --bundle <DIR> <NAME>",
        after_help = "\
Examples:
  holdfast delete-checkpoint web first
  holdfast delete-checkpoint -b BUNDLE first"
    )]
    DeleteCheckpoint(checkpoint::DeleteCheckpointArgs),
    /// List a container's own process and its execs
    Processes(processes::ProcessesArgs),
    /// Print the OCI state of a container
    ///
    /// What is created, running, paused or stopped is told from the kernel's files; no runtime is run.
    #[command(after_help = "\
Examples:
  holdfast state web | jq -r .status
  holdfast state --oci-version 0.3 web    the four keys of 2016")]
    State(list::StateArgs),
    /// Set the size of a process's terminal
    Resize(control::ResizeArgs),
    /// Let a process see the end of its stdin
    ///
    /// It comes after what was written to it before.
    CloseStdin(control::CloseStdinArgs),
    /// Show what happened to containers and, with -f, what happens
    ///
    /// In docker's words: start-container, exit, oom, pause … Each container keeps its own log, so that nothing is missed
    /// while nobody looks.
    #[command(after_help = "\
Examples:
  holdfast events                                  everything that is still on record
  holdfast events -f --since 10m web               of one container, and what comes
  holdfast events -f --format json --cursor-file seen
                                                   killed and started again, it goes on where it was

With --format json each line has a cursor of its container; several, with commas between, are one.")]
    Events(events::EventsArgs),
    /// Compare the files with the kernel, and tell what mends
    ///
    /// It looks at whatever is there, however broken, changes nothing, and waits for nobody.
    #[command(after_help = "\
Examples:
  holdfast inspect web                what is the matter with it?
  holdfast inspect web job            with its exec named job?
  holdfast inspect -f json web | jq .verdict")]
    Inspect(inspect::InspectArgs),
    /// Write a config.json to start from, or upgrade one of 2016
    #[command(after_help = "\
Examples:
  holdfast spec                       in the current directory: sh on a terminal, over ./rootfs
  holdfast spec --rootless -b BUNDLE  for a container of our own, without privileges
  holdfast spec --upgrade BUNDLE      from OCI 0.3 (to 1.0.0-rc) to 1.0.2")]
    Spec(spec::SpecArgs),
    /// Print what the runtime, holdfast and the kernel can do, as JSON
    Features(spec::FeaturesArgs),
    /// Let new shims adopt what killed ones left
    ///
    /// The processes run on, and their exit status will be exact. What ended meanwhile is put on record and finished.
    #[command(after_help = "\
Examples:
  holdfast recover                    every container that needs it
  holdfast recover web                this one")]
    Recover(recover::RecoverArgs),
    /// Watch all containers: restore, adopt, restart
    ///
    /// What it does it tells, as JSON lines on stdout. It may be killed and started again at any moment.
    #[command(after_help = "\
Examples:
  holdfast supervise                           until SIGTERM; containers run on
  holdfast run -d --restart always web         restarted by it, with a growing delay
  holdfast kill web                            with --restart unless-stopped: for good

There is a unit file for systemd, holdfast.service.")]
    Supervise(supervise::SuperviseArgs),
    /// Replace shims by a new executable, in place
    ///
    /// Their containers notice nothing. A shim that cannot be replaced goes on as it was, and says why.
    #[command(after_help = "\
Examples:
  holdfast upgrade --all                        after a new holdfast-shim was installed over the old one
  holdfast upgrade --shim /opt/new/holdfast-shim web")]
    Upgrade(recover::UpgradeArgs),
    /// Print the versions of holdfast, its shim and the runtime
    ///
    /// The shim and the runtime are asked themselves, as they would be used: those that --shim and --runtime name.
    #[command(after_help = "\
Examples:
  holdfast version                       what to write into a report
  holdfast version -f json | jq -r .runtime.version")]
    Version(version::VersionArgs),
    /// Print what makes a shell complete our words
    ///
    /// Verbs, flags, files and signals, and the containers and processes that are there. Packages bring it along.
    #[command(after_help = "\
Examples:
  source <(holdfast completions bash)        in ~/.bashrc
  source <(holdfast completions zsh)         in ~/.zshrc, after compinit
  holdfast completions fish | source         in ~/.config/fish/config.fish")]
    Completions(complete::CompletionsArgs),
    /// Write the pages of the manual
    #[command(hide = true)]
    ManPages(man::ManPagesArgs),
}

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    if let Some(answered) = complete::answer() {
        return answered;
    }
    signal::keep_children();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return mistake::explain(&e),
    };
    let globals = &cli.globals;
    let reporter = match Reporter::open(globals.log.as_deref(), globals.log_format, globals.debug) {
        Ok(reporter) => reporter,
        Err(e) => {
            Reporter::BARE.failure(&e.to_string());
            return ExitCode::from(e.exit_code());
        }
    };
    match dispatch(&cli.verb, globals, reporter) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            if !matches!(e, Error::Reported) {
                reporter.failure(&e.to_string());
            }
            ExitCode::from(e.exit_code())
        }
    }
}

fn dispatch(verb: &Verb, globals: &Globals, reporter: Reporter) -> Result<u8> {
    match verb {
        Verb::Run(args) => run::run(args, globals, reporter),
        Verb::Create(args) => create::create(args, globals),
        Verb::Start(args) => create::start(args, globals),
        Verb::Exec(args) => exec::exec(args, globals, reporter),
        Verb::Attach(args) => attach::attach(args, globals, reporter),
        Verb::Logs(args) => logs::logs(args, globals, reporter),
        Verb::Wait(args) => control::wait(args, globals, reporter),
        Verb::Kill(args) => control::kill(args, globals),
        Verb::Pause(args) => control::pause(args, globals),
        Verb::Resume(args) => control::resume(args, globals),
        Verb::Delete(args) => control::delete(args, globals, reporter),
        Verb::List(args) => list::list(args, globals, reporter),
        Verb::Ps(args) => ps::ps(args, globals),
        Verb::Stats(args) => stats::stats(args, globals, reporter),
        Verb::Top(args) => top::top(args, globals),
        Verb::Update(args) => update::update(args, globals, reporter),
        Verb::Checkpoint(args) => checkpoint::checkpoint(args, globals),
        Verb::Restore(args) => restore::restore(args, globals, reporter),
        Verb::Checkpoints(args) => checkpoint::checkpoints(args, globals, reporter),
        Verb::DeleteCheckpoint(args) => checkpoint::delete_checkpoint(args, globals),
        Verb::Processes(args) => processes::processes(args, globals, reporter),
        Verb::Spec(args) => spec::spec(args),
        Verb::Features(args) => spec::features(args, globals),
        Verb::State(args) => list::state(args, globals),
        Verb::Resize(args) => control::resize(args, globals),
        Verb::CloseStdin(args) => control::close_stdin(args, globals),
        Verb::Events(args) => events::events(args, globals, reporter),
        Verb::Inspect(args) => inspect::inspect(args, globals),
        Verb::Recover(args) => recover::recover(args, globals, reporter),
        Verb::Supervise(args) => supervise::supervise(args, globals),
        Verb::Upgrade(args) => recover::upgrade(args, globals, reporter),
        Verb::Version(args) => version::version(args, globals),
        Verb::Completions(args) => complete::completions(args),
        Verb::ManPages(args) => man::man_pages(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_command_of_an_exec_is_its_own() {
        let cli = Cli::try_parse_from(["holdfast", "exec", "-t", "web", "ls", "-d", "--root", "x"]);
        let Verb::Exec(args) = cli.unwrap().verb else {
            panic!("not exec");
        };
        assert!(format!("{args:?}").contains(r#"words: ["web", "ls", "-d", "--root", "x"]"#));
    }
}
