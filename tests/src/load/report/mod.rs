//! The report: what the files of results come to, as a section of the documents and as plots.
//!
//! Nothing in it is written by hand: it is made from the files again whenever they change, and a test holds the documents
//! to them.

mod plot;
mod section;
mod svg;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::goals::{self, Goal, Verdict};
use super::results::Results;
use crate::binary::workspace_root;

/// Where the files of results and the plots are, from the root of the repository.
pub const FOLDER: &str = "docs/performance";
/// The document with the section.
const DOCUMENT: &str = "docs/PERFORMANCE.md";
/// The document with the form of the files.
const FORM: &str = "docs/performance/README.md";
/// The lines between which the section stands.
const BEGIN: &str = "<!-- begin: made by `make bench-report` -->";
const END: &str = "<!-- end -->";

/// Write the goals, the figures and the plots of docs/performance/*.json into docs/PERFORMANCE.md
#[derive(Debug, Clone, Args)]
pub struct Report {
    /// The root of the repository
    #[arg(long, default_value_os_t = workspace_root().to_owned())]
    root: PathBuf,
}

/// A file of results.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its name without the ending: that of the scenario, unless it was measured in an unusual way.
    pub name: String,
    /// What it holds.
    pub results: Results,
}

/// A file as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where it belongs.
    pub path: PathBuf,
    /// What it is to hold.
    pub text: String,
}

impl Report {
    /// Writes the section and the plots.
    ///
    /// # Errors
    /// Where a file is missing, of another form, or can't be written.
    pub fn write(&self) -> io::Result<()> {
        for page in pages(&self.root)? {
            fs::write(page.path, page.text)?;
        }
        Ok(())
    }
}

/// All files of the report, as they are to be.
///
/// # Errors
/// Where results can't be read, or the document has no place for the section.
pub fn pages(root: &Path) -> io::Result<Vec<Page>> {
    let kept = read_all(&root.join(FOLDER))?;
    let with_section = |name: &str, section: &str| {
        let path = root.join(name);
        let text = replace_section(&fs::read_to_string(&path)?, section)?;
        Ok::<_, io::Error>(Page { path, text })
    };
    let mut pages = vec![
        with_section(DOCUMENT, &section::of(&kept))?,
        with_section(FORM, &section::table_of_figures())?,
    ];
    if !kept.is_empty() {
        let page = |name: &str, text| Page {
            path: root.join(FOLDER).join(name),
            text,
        };
        pages.push(page(section::PLOT_OF_GOALS, plot::of_goals(&kept)));
        pages.push(page(section::PLOT_OF_LATENCIES, plot::of_latencies(&kept)));
    }
    Ok(pages)
}

/// Reads all files of results in a folder, in the order of their names.
///
/// # Errors
/// Where one of them is of another form.
pub fn read_all(folder: &Path) -> io::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let results = Results::read(&path)
                .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
            kept.push(Kept { name, results });
        }
    }
    kept.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(kept)
}

/// What became of each goal.
pub fn verdicts(kept: &[Kept]) -> Vec<(Goal, Verdict)> {
    let verdict = |goal: &Goal| {
        let of_goal = kept.iter().find(|kept| kept.name == goal.scenario);
        of_goal.map_or(Verdict::NotMeasured, |kept| goal.verdict(&kept.results))
    };
    goals::all()
        .into_iter()
        .map(|goal| {
            let verdict = verdict(&goal);
            (goal, verdict)
        })
        .collect()
}

/// The goals as a table in Markdown, with what was measured and what became of each.
pub fn table_of_goals(kept: &[Kept]) -> String {
    section::table_of_goals(kept)
}

fn replace_section(document: &str, section: &str) -> io::Result<String> {
    let parts = || {
        let (before, rest) = document.split_once(BEGIN)?;
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    };
    let (before, after) =
        parts().ok_or_else(|| io::Error::other(format!("no place between {BEGIN} and {END}")))?;
    Ok(format!("{before}{BEGIN}\n\n{section}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::figures::{Case, Figure, Run};

    pub(super) fn kept() -> Vec<Kept> {
        let run = |ratio: f64| {
            Run::default()
                .with(Figure::RequestsPerSecond, 1_600.0)
                .with(Figure::RatioToBound, ratio)
        };
        let refresh = vec![Case::of(
            "64 connections",
            64,
            vec![run(0.83), run(0.81), run(0.82)],
        )];
        let latencies = Run::default()
            .with(Figure::P50Ms, 1.2)
            .with(Figure::P95Ms, 3.0)
            .with(Figure::P99Ms, 6.0);
        let half = vec![Case::once("half of the peak", 64, latencies)];
        let kept = |name: &str, cases| Kept {
            name: name.to_owned(),
            results: Results::sample(name, cases),
        };
        vec![kept("half-load", half), kept("refresh", refresh)]
    }

    #[test]
    fn a_goal_is_judged_by_the_file_of_its_name() {
        let of = |what: &str| {
            let verdicts = verdicts(&kept());
            let found = verdicts.into_iter().find(|(goal, _)| goal.what == what);
            found.unwrap().1
        };
        assert_eq!(of("refresh, 64 connections, of B"), Verdict::Reached(0.82));
        assert_eq!(of("refresh at half load, p99"), Verdict::Missed(6.0));
        assert_eq!(of("memory at rest"), Verdict::NotMeasured);
    }

    #[test]
    fn the_section_takes_the_place_of_the_last_one() {
        let document = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        let once = replace_section(&document, "new\n").unwrap();
        assert_eq!(once, format!("above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"));
        assert_eq!(replace_section(&once, "new\n").unwrap(), once);
        assert!(replace_section("no place", "new").is_err());
    }

    #[test]
    fn the_pages_are_made_from_the_files_in_the_folder() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(FOLDER)).unwrap();
        let document = root.path().join(DOCUMENT);
        for name in [DOCUMENT, FORM] {
            fs::write(root.path().join(name), format!("{BEGIN}\n{END}\n")).unwrap();
        }
        assert_eq!(pages(root.path()).unwrap().len(), 2);
        for kept in kept() {
            let file = root.path().join(FOLDER).join(format!("{}.json", kept.name));
            kept.results.write(&file).unwrap();
        }
        let report = Report {
            root: root.path().to_owned(),
        };
        report.write().unwrap();
        let written = fs::read_to_string(&document).unwrap();
        assert!(written.contains("82.0 % (81.0, 83.0)"), "{written}");
        assert!(root.path().join(FOLDER).join("goals.svg").exists());
        let pages = pages(root.path()).unwrap();
        assert!(
            pages
                .iter()
                .all(|page| fs::read_to_string(&page.path).unwrap() == page.text)
        );
    }
}
