//! Waiting for more, or for the end: one epoll instance over what the [`Watch`] tells, what the [`Life`] of the process waits
//! for, and two timers. No time passes here that nobody asked for: one is the moment until which entries are wanted, the other
//! begins when a process has ended whose shim has not.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::chain::{Chain, Found};
use super::life::{Life, Stage};
use super::source;
use super::watch::{Names, News, Watch};
use super::{LogQuery, Missing};
use crate::deadline::Deadline;
use crate::directory::PATIENCE;
use crate::end::End;
use crate::error::{Error, Result};

/// How often files are looked for while they are being rotated, before it is said that some may be missing.
const ROUNDS: usize = 8;

/// What an event of the epoll instance is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// There was something to take when somebody looked last.
    Known,
    Watch,
    Exit,
    Pidfd,
    Until,
    Patience,
}

impl Token {
    const ALL: [Token; 6] = [
        Token::Known,
        Token::Watch,
        Token::Exit,
        Token::Pidfd,
        Token::Until,
        Token::Patience,
    ];

    fn event(self, flags: EpollFlags) -> EpollEvent {
        EpollEvent::new(flags, self as u64)
    }

    fn of(event: &EpollEvent) -> Option<Self> {
        let known = |token: &Token| *token as u64 == event.data();
        Self::ALL.into_iter().find(known)
    }
}

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Nothing: it must be waited for.
    Quiet,
    /// There may be something to read.
    Read,
    /// Nobody writes any more.
    Ended,
}

/// Whether another process is waited for, once one has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restart {
    NotExpected,
    /// Nobody has looked yet.
    Asked,
    Expected,
}

/// A log that is followed.
#[derive(Debug)]
pub(super) struct Follow {
    watch: Watch,
    life: Life,
    epoll: Epoll,
    /// Held for the epoll instance, which tells when it is time.
    _until: Option<TimerFd>,
    /// Runs once the process has ended.
    patience: Option<TimerFd>,
    shim_timeout: Duration,
    /// What was told and not yet looked at.
    news: News,
    is_due: bool,
    is_out_of_patience: bool,
    restart: Restart,
}

impl Follow {
    /// Follows a process's log. Whoever polls finds it readable while `known` is.
    pub fn new(end: End, log: &Path, query: &LogQuery, known: &EventFd) -> Result<Self> {
        let watch = Watch::new(Names {
            log: log.to_owned(),
            process: end.dir.clone(),
        })?;
        let make = || -> nix::Result<_> {
            let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let until = match query.until {
                Some(at) => Some(timer_at(at, flags)?),
                None => None,
            };
            let readable = EpollFlags::EPOLLIN;
            epoll.add(known, Token::Known.event(readable))?;
            epoll.add(&watch, Token::Watch.event(readable))?;
            if let Some(until) = &until {
                epoll.add(until, Token::Until.event(readable))?;
            }
            Ok((epoll, until))
        };
        let made = make().map_err(|e| Error::io("wait for", log)(e.into()));
        let (epoll, until) = made?;
        Ok(Self {
            watch,
            life: Life::new(end),
            epoll,
            _until: until,
            patience: None,
            shim_timeout: query.shim_timeout.unwrap_or(PATIENCE),
            // Nobody has looked yet.
            news: News {
                life: true,
                ..News::default()
            },
            is_due: false,
            is_out_of_patience: false,
            restart: Restart::NotExpected,
        })
    }

    /// Waits until there is something to look at; false when the time is over first.
    pub fn wait(&self, deadline: Deadline) -> Result<bool> {
        let happened = deadline.poll(self.as_fd(), PollFlags::POLLIN);
        let happened = happened.map_err(Error::io("wait for", self.watch.log()))?;
        Ok(!happened.is_empty())
    }

    /// Looks at what has happened.
    pub fn look(&mut self, chain: &mut Chain, missing: &mut Missing) -> Result<Outlook> {
        self.gather()?;
        if self.is_due {
            return Ok(Outlook::Ended);
        }
        let mut read = std::mem::take(&mut self.news.written);
        read |= self.extend(chain, missing)?;
        // One that was not watched before may have grown meanwhile.
        read |= self.watch.watch_files(chain.files())?;
        if std::mem::take(&mut self.news.life) {
            match self.look_at_life(chain, missing)? {
                Outlook::Quiet => {}
                other => return Ok(other),
            }
        }
        if std::mem::take(&mut self.is_out_of_patience) && self.life.stage() == Stage::Ends {
            return Err(self.life.is_stuck(self.shim_timeout));
        }
        Ok(if read { Outlook::Read } else { Outlook::Quiet })
    }

    /// Looks for new files only, while there is still something to read in those that are open: they may not be there for long.
    pub fn look_ahead(&mut self, chain: &mut Chain, missing: &mut Missing) -> Result<()> {
        self.gather()?;
        self.extend(chain, missing).map(drop)
    }

    /// Waits for another process, now that this one has ended.
    pub fn expect_restart(&mut self) {
        self.restart = Restart::Asked;
        self.news.life = true;
    }

    /// Takes in what was told; nothing is done about it.
    fn gather(&mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); Token::ALL.len()];
        let count = match self.epoll.wait(&mut events, 0u8) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(e) => return Err(self.failed(e)),
        };
        for token in events[..count].iter().filter_map(Token::of) {
            match token {
                Token::Known => {}
                Token::Watch => self.news.add(self.watch.news()?),
                Token::Exit => {
                    self.life.discard_noise()?;
                    self.news.life = true;
                }
                Token::Pidfd => self.news.life = true,
                Token::Until => self.is_due = true,
                Token::Patience => {
                    self.set_patience(false)?;
                    self.is_out_of_patience = true;
                }
            }
        }
        Ok(())
    }

    /// Opens what is new of the log, until names hold still while they are looked at; whether there was anything.
    fn extend(&mut self, chain: &mut Chain, missing: &mut Missing) -> Result<bool> {
        if !self.news.has_names() || chain.is_full() {
            return Ok(false);
        }
        let (mut arrivals, mut opened, mut apart, mut lost) = (0, 0, false, false);
        let mut still = false;
        for _ in 0..ROUNDS {
            let names = self.news.take_names();
            arrivals += names.arrivals;
            lost |= names.lost;
            let found = chain.extend();
            match found.map_err(Error::io("read", chain.path()))? {
                Found::Next(count) => opened += count,
                Found::Apart(count) => {
                    opened += count;
                    apart |= count > 0;
                }
            }
            self.gather()?;
            if !self.news.has_names() {
                still = true;
                break;
            }
        }
        if apart {
            missing.files += arrivals.saturating_sub(opened);
            missing.or_more |= lost || !still;
        }
        Ok(opened > 0)
    }

    fn look_at_life(&mut self, chain: &mut Chain, missing: &mut Missing) -> Result<Outlook> {
        if self.restart != Restart::NotExpected {
            return self.look_for_restart(chain);
        }
        let before = self.life.stage();
        let stage = self.life.look()?;
        if stage == Stage::Over {
            self.forget();
            self.set_patience(false)?;
            // What was written last may be in a file that nobody has looked for yet.
            self.news.lost = true;
            self.extend(chain, missing)?;
            return Ok(Outlook::Ended);
        }
        if (stage == Stage::Ends) != (before == Stage::Ends) {
            self.set_patience(stage == Stage::Ends)?;
        }
        self.attend()?;
        Ok(Outlook::Quiet)
    }

    fn look_for_restart(&mut self, chain: &mut Chain) -> Result<Outlook> {
        let Some((life, state)) = self.life.successor()? else {
            let gone = !crate::end::is_real_dir(self.life.dir())?;
            return Ok(match self.restart {
                Restart::Asked if !gone => {
                    self.restart = Restart::Expected;
                    Outlook::Quiet
                }
                // Something has happened to the container, and it was no restart.
                _ => Outlook::Ended,
            });
        };
        self.life = life;
        self.restart = Restart::NotExpected;
        let (id, process) = self.life.names();
        let source = source::find(id, process, self.life.dir(), &state, None)?;
        chain.go_on_at(source);
        self.watch.rename(Names {
            log: chain.path().to_owned(),
            process: self.life.dir().to_owned(),
        })?;
        // Its files may have come along, or not.
        self.news.lost = true;
        self.news.life = true;
        Ok(Outlook::Read)
    }

    /// Waits for what tells of the process's end, at the stage that it has reached.
    fn attend(&self) -> Result<()> {
        self.forget();
        let waits = self.life.waits();
        let add = || -> nix::Result<()> {
            if let Some((exit, content)) = waits.exit {
                // Its content stays there; once it is known, the hang-up alone, which is always told, is news.
                let flags = match content {
                    true => EpollFlags::EPOLLIN,
                    false => EpollFlags::empty(),
                };
                self.epoll.add(exit, Token::Exit.event(flags))?;
            }
            if let Some(pidfd) = waits.pidfd {
                self.epoll
                    .add(pidfd, Token::Pidfd.event(EpollFlags::EPOLLIN))?;
            }
            Ok(())
        };
        add().map_err(|e| self.failed(e))
    }

    /// Waits for nothing of the process any more. Before its descriptors are closed: others may have the same ones open, and the
    /// kernel would go on telling of them.
    fn forget(&self) {
        let _ = self.epoll.delete(self.life.exit());
        if let Some(pidfd) = self.life.waits().pidfd {
            let _ = self.epoll.delete(pidfd);
        }
    }

    /// Begins to wait for a shim that has something left to write, or ends it.
    fn set_patience(&mut self, begins: bool) -> Result<()> {
        // The kernel forgets it with its descriptor.
        self.patience = None;
        if !begins {
            return Ok(());
        }
        let make = || -> nix::Result<_> {
            let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            let after = Expiration::OneShot(TimeSpec::from_duration(self.shim_timeout));
            timer.set(after, TimerSetTimeFlags::empty())?;
            self.epoll
                .add(&timer, Token::Patience.event(EpollFlags::EPOLLIN))?;
            Ok(timer)
        };
        self.patience = Some(make().map_err(|e| self.failed(e))?);
        Ok(())
    }

    fn failed(&self, e: nix::Error) -> Error {
        Error::io("wait for", self.watch.log())(e.into())
    }
}

impl AsFd for Follow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// A timer that is readable from a moment on.
fn timer_at(at: SystemTime, flags: TimerFlags) -> nix::Result<TimerFd> {
    let timer = TimerFd::new(ClockId::CLOCK_REALTIME, flags)?;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = Expiration::OneShot(TimeSpec::from_duration(since));
    timer.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
    Ok(timer)
}
