//! `scripts/bench`: measures Holdfast and its peers on this machine, keeps every value in docs/benchmarks.json, and writes
//! docs/benchmarks.md and its pictures from that. Contents:
//!
//! - [`keeper`]: who cleans up;
//! - [`rows`]: what is measured; [`peers`]: of whom; [`world`]: where; [`meter`], [`counter`]: by what account;
//! - [`figures`]: the values; [`machine`]: where they come from;
//! - [`page`], [`targets`], [`plot`]: what is written.

#![forbid(unsafe_code)]

mod counter;
mod figures;
mod keeper;
mod machine;
mod meter;
mod page;
mod peers;
mod plot;
mod rows;
mod targets;
mod turns;
mod world;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use holdfast_common::sys::process::become_subreaper;
use holdfast_tests::{binaries, pages};

use figures::{Report, Row};
use rows::{ALL, Bench, Kind};
use world::World;

const USAGE: &str = "\
usage: bench [--quick] [--into DIR] [--runtime PATH] [ROW…]
       bench --write                 write the page again from the figures that are kept
rows:";

/// What is asked for.
struct Asked {
    quick: bool,
    write: bool,
    into: PathBuf,
    runtime: PathBuf,
    rows: Vec<&'static Kind>,
}

impl Asked {
    fn understand(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self {
            quick: false,
            write: false,
            into: PathBuf::new(),
            runtime: binaries::installed("runc").unwrap_or_default(),
            rows: Vec::new(),
        };
        let mut into = None;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word}: needs a value"));
            match word.as_str() {
                "--quick" => asked.quick = true,
                "--write" => asked.write = true,
                "--into" => into = Some(PathBuf::from(value()?)),
                "--runtime" => {
                    let path = PathBuf::from(value()?);
                    let found = if path.is_absolute() {
                        Some(path.clone())
                    } else {
                        binaries::installed(&path.to_string_lossy())
                    };
                    asked.runtime = found.ok_or(format!("{}: not found", path.display()))?;
                }
                name => match ALL.iter().find(|kind| kind.name == name) {
                    Some(kind) => asked.rows.push(kind),
                    None => return Err(format!("{name}: no such row")),
                },
            }
        }
        if asked.rows.is_empty() {
            asked.rows = ALL.iter().collect();
        }
        let usual = if asked.quick {
            binaries::shared_dir().join("bench")
        } else {
            pages::top().join("docs")
        };
        asked.into = into.unwrap_or(usual);
        Ok(asked)
    }

    /// Every value.
    fn raw(&self) -> PathBuf {
        self.into.join("benchmarks.json")
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((counter::WORD, rest)) = words.split_first().map(|(one, rest)| (one.as_str(), rest))
    {
        return match counter::count(rest) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let asked = match Asked::understand(words.into_iter()) {
        Ok(asked) => asked,
        Err(e) => {
            let names: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
            eprintln!("bench: {e}\n{USAGE} {}", names.join(" "));
            return ExitCode::FAILURE;
        }
    };
    let done = match keeper::place() {
        Some(place) => measure(&asked, &place),
        None if asked.write => Report::read(&asked.raw()).and_then(|report| {
            write(&asked, &report)?;
            Ok(ExitCode::SUCCESS)
        }),
        None => keeper::keep(),
    };
    match done {
        Ok(code) => code,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn measure(asked: &Asked, place: &Path) -> Result<ExitCode, String> {
    // A short run stands alone; a part of a whole one takes the place of what was measured before.
    let mut report = if asked.quick {
        Report::default()
    } else {
        Report::read(&asked.raw())?
    };
    // What the bare runtime leaves behind is ours to collect, as it would be a shim's.
    become_subreaper().map_err(|e| format!("become a subreaper: {e}"))?;
    let world = Arc::new(World::new(place, asked.runtime.clone()));
    let bench = Bench {
        peers: peers::all(&world),
        world,
        quick: asked.quick,
    };
    for kind in &asked.rows {
        println!("== {}", kind.title);
        let mut row = Row::new(machine::taken(&bench));
        (kind.measure)(&bench, &mut row);
        row.taken.load[1] = machine::load();
        report.rows.insert(kind.name.to_owned(), row);
        // What was measured is kept, whatever becomes of the next row.
        write(asked, &report)?;
    }
    // Whoever reads has perhaps had enough.
    let _ = writeln!(std::io::stdout(), "{}", page::page(&report));
    Ok(ExitCode::SUCCESS)
}

/// Keeps the figures, and writes what is made of them.
fn write(asked: &Asked, report: &Report) -> Result<(), String> {
    let put = |path: &Path, text: &str| {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(path, text))
            .map_err(|e| format!("write {}: {e}", path.display()))
    };
    put(&asked.raw(), &report.encode())?;
    put(&asked.into.join("benchmarks.md"), &page::page(report))?;
    for kind in ALL {
        let row = report.rows.get(kind.name);
        if let Some(plot) = row.and_then(|row| plot::of(kind, row)) {
            let name = format!("img/bench-{}.svg", kind.name);
            put(&asked.into.join(name), &plot)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_its_pictures_are_what_the_figures_say() {
        let docs = pages::top().join("docs");
        let report = Report::read(&docs.join("benchmarks.json")).unwrap();
        let read = |path: &str| std::fs::read_to_string(docs.join(path)).unwrap_or_default();
        assert_eq!(
            read("benchmarks.json"),
            report.encode(),
            "scripts/bench --write"
        );
        assert_eq!(
            read("benchmarks.md"),
            page::page(&report),
            "scripts/bench --write"
        );
        for kind in ALL {
            let plot = report
                .rows
                .get(kind.name)
                .and_then(|row| plot::of(kind, row));
            if let Some(plot) = plot {
                let path = format!("img/bench-{}.svg", kind.name);
                assert_eq!(read(&path), plot, "scripts/bench --write");
            }
        }
    }

    #[test]
    fn words_are_understood_or_refused() {
        let understand = |words: &[&str]| Asked::understand(words.iter().map(ToString::to_string));
        let asked = understand(&["--quick", "launch"]).unwrap();
        assert!(asked.quick && asked.rows.len() == 1);
        assert_eq!(understand(&[]).unwrap().rows.len(), ALL.len());
        for wrong in [&["lanch"][..], &["--into"], &["--runtime", "nope"]] {
            assert!(understand(wrong).is_err(), "{wrong:?}");
        }
    }
}
