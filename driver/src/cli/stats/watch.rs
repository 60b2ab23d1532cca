//! `stats --watch`: a sample at each interval, until a signal ends it or nothing is left of what was named. On a terminal each
//! is drawn over the last, and the terminal is put back however it ends; elsewhere each follows the last.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use holdfast::Driver;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::low_level::emulate_default_handler;

use super::super::error::{Error, Result};
use super::super::logging::Reporter;
use super::super::session::{ENDING, Signals};
use super::screen::Screen;
use super::{Sample, StatsArgs, StatsFormat, gather, shown};

const INTERVAL: Duration = Duration::from_secs(1);

/// Shows what containers use until it is told to end.
///
/// # Errors
/// Those of the first sample; standard output cannot be written to.
pub fn watch(args: &StatsArgs, driver: &Driver, reporter: Reporter) -> Result<u8> {
    let interval = args.interval.unwrap_or(INTERVAL);
    // Before the terminal is changed: what is wrong is told as it is without --watch.
    let (mut samples, failed) = gather(args, driver, reporter)?;
    let mut signals = Signals::catch_watching().map_err(|e| Error::io("catch", "signals", e))?;
    let mut output = Output::new(args.format)?;
    let mut before: Vec<Sample> = Vec::new();
    loop {
        let text = shown(args.format, &samples, &before)?;
        match output.show(&text) {
            Ok(()) => {}
            // Whoever reads has seen enough.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => break,
            Err(e) => return Err(Error::io("write", "stdout", e)),
        }
        if output.wait(&mut signals, &text, Instant::now().checked_add(interval))? {
            break;
        }
        before = samples;
        samples = again(args, driver)?;
        if samples.is_empty() && !args.ids.is_empty() {
            break;
        }
    }
    if failed { Err(Error::Reported) } else { Ok(0) }
}

/// Of what was named, whatever is left; that one has ended is no failure by now.
fn again(args: &StatsArgs, driver: &Driver) -> Result<Vec<Sample>> {
    if args.ids.is_empty() {
        // What is wrong has been told with the first.
        return super::of_all(driver, None);
    }
    let mut samples = Vec::new();
    for id in &args.ids {
        match driver
            .load(id)
            .and_then(|container| Sample::take(&container))
        {
            Ok(sample) => samples.push(sample),
            Err(e) if super::is_gone(&e) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(samples)
}

/// Where it is shown.
enum Output {
    /// One after the other.
    Plain,
    /// One over the other.
    Drawn(Screen),
}

impl Output {
    fn new(format: StatsFormat) -> Result<Self> {
        if format == StatsFormat::Table && io::stdout().is_terminal() {
            let screen = Screen::enter().map_err(|e| Error::io("write", "stdout", e))?;
            return Ok(Self::Drawn(screen));
        }
        Ok(Self::Plain)
    }

    fn show(&self, text: &str) -> io::Result<()> {
        match self {
            Self::Drawn(screen) => screen.draw(text),
            Self::Plain => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes())?;
                stdout.flush()
            }
        }
    }

    /// Waits until it is time for the next sample; whether to end instead.
    fn wait(&mut self, signals: &mut Signals, text: &str, until: Option<Instant>) -> Result<bool> {
        loop {
            for signal in signals.take() {
                if ENDING.contains(&signal) {
                    return Ok(true);
                }
                self.obey(signal, text)?;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            // Rounded up, or the last millisecond would be spent spinning.
            let left = left.map(|left| left + Duration::from_millis(1));
            let timeout = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(Error::io("poll", "signals", e.into())),
            }
        }
    }

    /// The window has another size, or we are to stop: then the shell gets its terminal back meanwhile.
    fn obey(&mut self, signal: i32, text: &str) -> Result<()> {
        let failed = |e| Error::io("write", "stdout", e);
        if signal == libc::SIGTSTP {
            let drawn = matches!(self, Self::Drawn(_));
            *self = Self::Plain;
            emulate_default_handler(signal).map_err(|e| Error::io("stop", "ourselves", e))?;
            if drawn {
                *self = Self::Drawn(Screen::enter().map_err(failed)?);
            }
        }
        if let Self::Drawn(screen) = self {
            screen.draw(text).map_err(failed)?;
        }
        Ok(())
    }
}
