//! The documents as text: their fenced blocks with the marks before them, their headings and their links.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use auth_e2e::binary::workspace_root;

/// The languages whose blocks somebody is meant to type in.
const SHELLS: [&str; 3] = ["sh", "console", "bash"];

/// One document.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) path: String,
    pub(crate) blocks: Vec<Block>,
    /// Each with its `#` before it.
    pub(crate) headings: Vec<String>,
    /// Where links lead to, as they are written, each with its line.
    pub(crate) links: Vec<(usize, String)>,
    /// Lines of marks that no block follows.
    pub(crate) stray_marks: Vec<usize>,
}

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// The line of its fence.
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
    pub(crate) mark: Option<Mark>,
}

/// What the comment on the line before a block says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Its commands are run, together with all others of this name on the page.
    Run(String),
    /// They are not, for this reason.
    NotRun(String),
    /// It is what the block before it prints.
    Output,
}

/// What is to be typed, and what is printed then.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Where it stands.
    pub(crate) line: usize,
    pub(crate) text: String,
    /// Nothing is said about it where this is empty.
    pub(crate) output: String,
}

/// Every document that is for people who use or run the service, or change its code.
pub(crate) fn pages() -> Vec<Page> {
    let mut paths = Vec::new();
    collect(workspace_root(), 0, &mut paths);
    for folder in ["docs", "deploy"] {
        collect(&workspace_root().join(folder), usize::MAX, &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

fn collect(folder: &Path, depth: usize, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, paths);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let inside = path.strip_prefix(workspace_root()).unwrap();
            paths.push(inside.to_str().unwrap().to_owned());
        }
    }
}

impl Page {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(workspace_root().join(path)).unwrap();
        Self::of(path, &text)
    }

    pub(crate) fn of(path: &str, text: &str) -> Self {
        let mut page = Self {
            path: path.to_owned(),
            blocks: Vec::new(),
            headings: Vec::new(),
            links: Vec::new(),
            stray_marks: Vec::new(),
        };
        let mut lines = (1..).zip(text.lines());
        let mut pending: Option<(usize, Mark)> = None;
        while let Some((line, text)) = lines.next() {
            if let Some(fence) = text.trim_start().strip_prefix("```") {
                let mark = pending.take().map(|(_, mark)| mark);
                let indent = text.len() - text.trim_start().len();
                let block = Block::read(line, fence, indent, mark, &mut lines);
                page.blocks.push(block);
                continue;
            }
            page.stray_marks.extend(pending.take().map(|(line, _)| line));
            pending = Mark::of(text.trim()).map(|mark| (line, mark));
            if text.starts_with('#') {
                page.headings.push(text.to_owned());
            }
            page.links
                .extend(links(text).into_iter().map(|link| (line, link)));
        }
        page.stray_marks.extend(pending.map(|(line, _)| line));
        page
    }

    /// The blocks that somebody is meant to type in.
    pub(crate) fn shell_blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks
            .iter()
            .filter(|block| SHELLS.contains(&&*block.language))
    }

    /// The commands of all blocks of a name, in order, each with what it is said to print.
    pub(crate) fn commands(&self, name: &str) -> Vec<Command> {
        let mut commands: Vec<Command> = Vec::new();
        let mut is_before = false;
        for block in &self.blocks {
            match &block.mark {
                Some(Mark::Run(own)) if own == name => {
                    commands.extend(block.commands());
                    is_before = true;
                }
                Some(Mark::Output) if is_before => {
                    commands.last_mut().unwrap().output.clone_from(&block.text);
                }
                Some(Mark::Output) => {}
                Some(Mark::Run(_) | Mark::NotRun(_)) | None => is_before = false,
            }
        }
        commands
    }

    /// What the part of a link after `#` may be here, as GitHub makes it of headings.
    pub(crate) fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        for heading in &self.headings {
            let first = slug(heading);
            let free = (1..).map(|number| format!("{first}-{number}"));
            let anchor = std::iter::once(first.clone())
                .chain(free)
                .find(|anchor| !anchors.contains(anchor));
            anchors.extend(anchor);
        }
        anchors
    }
}

fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|kept| kept.is_alphanumeric() || matches!(kept, ' ' | '-' | '_'));
    kept.map(|kept| if kept == ' ' { '-' } else { kept }).collect()
}

/// Where the links of a line lead to; what stands between backticks is no link.
fn links(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect();
    let targets = prose.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split(')').next().map(str::to_owned))
        .collect()
}

impl Block {
    fn read<'a>(
        line: usize,
        fence: &str,
        indent: usize,
        mark: Option<Mark>,
        lines: &mut impl Iterator<Item = (usize, &'a str)>,
    ) -> Self {
        let mut text = String::new();
        for (_, content) in lines.by_ref() {
            if content.trim() == "```" {
                break;
            }
            text.push_str(content.get(indent..).unwrap_or_default());
            text.push('\n');
        }
        Self {
            line,
            language: fence.trim().to_owned(),
            text,
            mark,
        }
    }

    /// In `console` each line that begins with `$ ` is one, and with it those that begin with `> ` or follow a backslash;
    /// what stands below it is printed. Elsewhere all is one.
    fn commands(&self) -> Vec<Command> {
        if self.language != "console" {
            return vec![Command {
                line: self.line,
                text: self.text.clone(),
                output: String::new(),
            }];
        }
        let mut commands: Vec<Command> = Vec::new();
        for (line, text) in (self.line + 1..).zip(self.text.lines()) {
            if let Some(typed) = text.strip_prefix("$ ") {
                commands.push(Command {
                    line,
                    text: format!("{typed}\n"),
                    output: String::new(),
                });
                continue;
            }
            let command = commands.last_mut().unwrap();
            let continues = command.output.is_empty()
                && (text == ">" || text.starts_with("> ") || command.text.ends_with("\\\n"));
            let (to, added) = if continues {
                (&mut command.text, text.strip_prefix("> ").unwrap_or(text))
            } else {
                (&mut command.output, text)
            };
            to.push_str(added);
            to.push('\n');
        }
        commands
    }
}

impl Mark {
    fn of(line: &str) -> Option<Self> {
        let comment = line.strip_prefix("<!--")?.strip_suffix("-->")?.trim();
        if let Some(name) = comment.strip_prefix("run:") {
            return Some(Self::Run(name.trim().to_owned()));
        }
        if let Some(reason) = comment.strip_prefix("not run:") {
            return Some(Self::NotRun(reason.trim().to_owned()));
        }
        (comment == "output").then_some(Self::Output)
    }
}
