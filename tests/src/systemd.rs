//! A real systemd, as process 1 of namespaces of its own: units that start `holdfast`, and scopes for `--systemd-cgroup`. It sees the host's
//! files, so sandboxes and binaries are where they are; `/run` is its own, its part of the cgroups is its own, and it can
//! change nothing of the host's.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use holdfast_common::sys::exec;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{behind, show, text};
use crate::{DEADLINE, Proc, Sandbox, binaries, wait};

/// Enters a cgroup of its own ($1) in each hierarchy, and then the namespaces: the top of whatever is mounted in there is that cgroup.
const OUTSIDE: &str = r#"
    set -e
    cd /sys/fs/cgroup
    [ -e cgroup.procs ] || [ -e systemd/cgroup.procs ] || { echo 'no hierarchy name=systemd'; exit 1; }
    for top in . */; do
        [ -e "$top/cgroup.procs" ] || continue
        mkdir -p "$top/$1"
        for file in cpuset.cpus cpuset.mems; do
            if [ ! -e cgroup.procs ] && [ -e "$top/$file" ]; then cat "$top/$file" > "$top/$1/$file"; fi
        done
        echo $$ > "$top/$1/cgroup.procs"
    done
    cd /
    exec unshare --mount --pid --cgroup --uts --ipc --fork --kill-child --propagation private sh -c "$2"
"#;

/// Inside: a /run, a /proc and the cgroups of its own, and no way to the kernel's settings or to /etc, which systemd would change as
/// it begins. What lies at /sys/fs/cgroup is mounted anew, and never the host's: systemd mounts that file system read-only, which
/// is no matter of a mount's but of the file system, and so of everybody who has it.
const INSIDE: &str = r#"
    set -e
    mount -t tmpfs tmpfs /run
    mkdir -p /run/systemd/system
    mount -t proc proc /proc
    for settings in /proc/sys /etc; do
        mount --bind "$settings" "$settings"
        mount -o remount,ro,bind "$settings"
    done
    mount --bind /dev/null /dev/console
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
    else
        mount -t tmpfs cgroups /sys/fs/cgroup
        while IFS=: read -r _ controllers _; do
            case $controllers in
            '') continue ;;
            name=*) dir=${controllers#name=} options=none,$controllers ;;
            *) dir=$controllers options=$controllers ;;
            esac
            mkdir "/sys/fs/cgroup/$dir"
            mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/$dir"
        done < /proc/self/cgroup
    fi
    printf '[Unit]\nDefaultDependencies=no\n' > /run/systemd/system/holdfast-tests.target
    exec env -i PATH="$PATH" container=holdfast /lib/systemd/systemd --unit=holdfast-tests.target --show-status=0
"#;

/// In there, for a command ($@) beside the services: it goes where process 1 is, or to the top. In some hierarchies there is a cgroup for
/// process 1 now and then.
const BESIDE: &str = r#"
    for top in /sys/fs/cgroup /sys/fs/cgroup/*; do
        [ -e "$top/cgroup.procs" ] || continue
        { echo $$ > "$top/init.scope/cgroup.procs"; } 2>/dev/null || echo $$ > "$top/cgroup.procs" || exit 1
    done
    exec "$@"
"#;

/// What it and its services have to say, in the sandbox.
const LOG: &str = "systemd.log";

/// A systemd that runs. It ends, and all that it has started, when this is dropped.
#[derive(Debug)]
pub struct Systemd<'a> {
    sandbox: &'a Sandbox,
    outside: Child,
    /// Process 1, by its pid here, once it is there.
    init: Option<Proc>,
    /// Its cgroup, in each hierarchy.
    cgroup: String,
}

impl Sandbox {
    /// Starts a systemd.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn systemd(&self) -> Systemd<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("hf_systemd_{}_{n}", std::process::id());
        let log = fs::File::create(self.path().join(LOG)).expect("make a log");
        let mut command = Command::new("sh");
        command.args(["-c", OUTSIDE, "sh", &cgroup, INSIDE]);
        command.current_dir("/").stdin(Stdio::null());
        command
            .stdout(log.try_clone().expect("duplicate"))
            .stderr(log);
        // Also when nobody is left to drop it.
        exec::die_with_us(&mut command);
        let mut systemd = Systemd {
            sandbox: self,
            outside: command.spawn().expect("start systemd"),
            init: None,
            cgroup,
        };
        let pid = i32::try_from(systemd.outside.id()).expect("pids are small");
        let unshare = Proc::new(Pid::from_raw(pid));
        let child = || {
            let child = unshare.children().into_iter().next()?;
            (child.comm() == "systemd").then_some(child)
        };
        if !wait::until(DEADLINE, || child().is_some()) {
            systemd.give_up("systemd does not begin");
        }
        systemd.init = child();
        let listens = || {
            let listens = ["test", "-S", "/run/systemd/private"];
            let mut command = systemd.inside();
            command.args(listens);
            command.status().is_ok_and(|status| status.success())
        };
        if !wait::until(DEADLINE, listens) {
            systemd.give_up("systemd does not listen");
        }
        systemd
    }
}

impl Systemd<'_> {
    /// A command that runs what its arguments say beside the services.
    fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init().pid().to_string()]);
        command.args(["--mount", "--pid", "--cgroup", "--uts", "--ipc", "--"]);
        command.args(["sh", "-c", BESIDE, "sh"]);
        command
    }

    /// `holdfast ARGS`, beside the services.
    #[must_use]
    pub fn holdfast(&self, args: &[&str]) -> Command {
        behind(self.inside(), &self.sandbox.holdfast(args))
    }

    /// Runs `holdfast ARGS` beside the services; what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run_ok(&self, args: &[&str]) -> String {
        let output = self.sandbox.output_of(self.holdfast(args));
        if !output.status.success() {
            self.give_up(&format!("holdfast {args:?}: {}", show(&output)));
        }
        text(&output.stdout)
    }

    /// `systemctl ARGS`.
    #[must_use]
    pub fn systemctl(&self, args: &[&str]) -> Command {
        let mut command = self.inside();
        command.arg("systemctl").args(args);
        command
    }

    /// Runs `systemctl ARGS`; what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> String {
        let output = self.sandbox.output_of(self.systemctl(args));
        if !output.status.success() {
            self.give_up(&format!("systemctl {args:?}: {}", show(&output)));
        }
        text(&output.stdout)
    }

    /// A property of a unit's.
    ///
    /// # Panics
    /// As [`Systemd::ctl`].
    #[track_caller]
    #[must_use]
    pub fn property(&self, unit: &str, name: &str) -> String {
        let value = self.ctl(&["show", "--property", name, "--value", unit]);
        value.trim_end().to_owned()
    }

    /// Writes a unit, with the environment of this sandbox's `holdfast` commands; `@HOLDFAST@` is the command.
    ///
    /// # Panics
    /// When that fails.
    pub fn unit(&self, name: &str, content: &str) {
        let mut text = content.replace("@HOLDFAST@", binaries::holdfast().to_str().unwrap_or("?"));
        if name.ends_with(".service") {
            let log = self.sandbox.path().join(LOG);
            text += &format!("StandardError=append:{}\n", log.display());
            for (variable, value) in self.sandbox.environment() {
                text += &format!("Environment={variable}={}\n", value.display());
            }
        }
        let draft = self.sandbox.path().join(name);
        fs::write(&draft, format!("[Unit]\nDefaultDependencies=no\n{text}")).expect("write a unit");
        let mut copy = self.inside();
        let to = format!("/run/systemd/system/{name}");
        let copied = copy.arg("cp").arg(draft).arg(to).status();
        assert!(copied.is_ok_and(|status| status.success()));
        self.ctl(&["daemon-reload"]);
    }

    /// The pid here of a process by its pid in there.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn process(&self, pid: &str) -> Proc {
        self.sandbox.wait_for("a process of systemd's", || {
            let entries = fs::read_dir("/proc").ok()?.flatten();
            let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            pids.map(|pid| Proc::new(Pid::from_raw(pid)))
                .find(|process| {
                    // Its pids, from ours inwards; in our own namespace it has one, and no more.
                    let inner = process.status("NSpid").unwrap_or_default();
                    let mut inner = inner.split_whitespace().skip(1);
                    inner.next() == Some(pid) && self.owns(*process)
                })
        })
    }

    fn init(&self) -> Proc {
        self.init.expect("it has begun")
    }

    fn owns(&self, process: Proc) -> bool {
        let namespace = |process: Proc| fs::read_link(format!("/proc/{}/ns/mnt", process.pid()));
        matches!((namespace(process), namespace(self.init())), (Ok(its), Ok(ours)) if its == ours)
    }

    #[track_caller]
    fn give_up(&self, what: &str) -> ! {
        let log = fs::read_to_string(self.sandbox.path().join(LOG)).unwrap_or_default();
        self.sandbox.dump();
        panic!("{what}\nsystemd and its services said: {log}");
    }
}

impl Drop for Systemd<'_> {
    fn drop(&mut self) {
        // With its first process the kernel ends all of a pid namespace; and with the one outside, the first.
        if let Some(init) = self.init {
            let _ = kill(init.pid(), Signal::SIGKILL);
        }
        let _ = self.outside.kill();
        let _ = self.outside.wait();
        let top = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(top).into_iter().flatten().flatten();
        let tops = hierarchies.map(|hierarchy| hierarchy.path());
        let left: Vec<_> = tops
            .chain([top.to_owned()])
            .map(|top| top.join(&self.cgroup))
            .collect();
        // Those who have been killed are in them until they have ended.
        wait::until(DEADLINE, || {
            left.iter().for_each(|dir| remove_cgroups(dir));
            !left.iter().any(|dir| dir.exists())
        });
    }
}

fn remove_cgroups(dir: &Path) {
    let below = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.path().is_dir()) {
        remove_cgroups(&entry.path());
    }
    let _ = fs::remove_dir(dir);
}
