//! How far long work has come: a line on the terminal that is drawn over, and gone when the work is done.
//!
//! It is on standard error, and only where that is a terminal and nobody asked for JSON: it never gets into an answer,
//! and a log has none of it. It is drawn ten times a second at most, so the work is as fast as without it.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::visible;

/// How far apart drawings are, at least.
const PAUSE: Duration = Duration::from_millis(100);
const PER_SECOND: u8 = 10;

/// Whether progress is shown, where there is a terminal to show it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Showing {
    /// To people.
    Wanted,
    /// A program reads the answer, or the terminal is taken by the answer itself.
    Unwanted,
}

impl Showing {
    /// As the command line says.
    pub(super) const fn with(json: bool) -> Self {
        if json { Self::Unwanted } else { Self::Wanted }
    }

    /// Work that tells how much of it is done.
    pub(super) fn measured(self) -> Progress {
        self.begin("{msg} {wide_bar} {percent} %")
    }

    /// Work that nobody knows the end of.
    pub(super) fn counted(self) -> Progress {
        self.begin("{spinner} {wide_msg} {elapsed}")
    }

    /// Work that says nothing until it is done.
    pub(super) fn silent(self, doing: &str) -> Progress {
        let mut progress = self.counted();
        progress.say(|| doing.to_owned());
        progress.bar.enable_steady_tick(PAUSE);
        progress
    }

    fn begin(self, template: &str) -> Progress {
        let target = match self {
            Self::Wanted => ProgressDrawTarget::stderr_with_hz(PER_SECOND),
            Self::Unwanted => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress { bar, drawn: None }
    }
}

/// The progress of one piece of work; what was shown of it is gone when this is.
pub(super) struct Progress {
    bar: ProgressBar,
    drawn: Option<Instant>,
}

impl Progress {
    /// Says what is being done; the text is only made where it is drawn.
    pub(super) fn say(&mut self, text: impl FnOnce() -> String) {
        if self.is_due() {
            self.bar.set_message(visible(&text()));
            self.bar.tick();
        }
    }

    /// Says how much of something is done.
    pub(super) fn reach(&mut self, doing: &'static str, done: u64, of: u64) {
        if self.is_due() {
            self.bar.set_length(of);
            self.bar.set_position(done);
            self.bar.set_message(doing);
            self.bar.tick();
        }
    }

    fn is_due(&mut self) -> bool {
        let is_due = !self.bar.is_hidden() && self.drawn.is_none_or(|drawn| drawn.elapsed() >= PAUSE);
        if is_due {
            self.drawn = Some(Instant::now());
        }
        is_due
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that remembers all that was ever written to it.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl Paper {
        fn add(&self, text: &str) {
            self.0.lock().unwrap().push_str(text);
        }

        fn text(&self) -> String {
            self.0.lock().unwrap().clone()
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            40
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.add(text);
            Ok(())
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.add(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.add("<cleared>");
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn on(paper: &Paper, progress: Progress) -> Progress {
        progress
            .bar
            .set_draw_target(ProgressDrawTarget::term_like(Box::new(paper.clone())));
        progress
    }

    #[test]
    fn what_is_told_is_shown_until_the_work_is_done() {
        let paper = Paper::default();
        let mut progress = on(&paper, Showing::Wanted.measured());
        progress.reach("copying", 50, 200);
        let shown = paper.text();
        assert!(shown.contains("copying ") && shown.contains(" 25 %"), "{shown:?}");
        drop(progress);
        assert!(paper.text().ends_with("<cleared>"), "{:?}", paper.text());
    }

    #[test]
    fn what_comes_too_soon_is_not_even_put_into_words() {
        let mut progress = on(&Paper::default(), Showing::Wanted.counted());
        let begun = Instant::now();
        let mut texts = 0;
        for _ in 0..1_000 {
            progress.say(|| {
                texts += 1;
                "rows".to_owned()
            });
        }
        assert!(
            texts >= 1 && texts <= 1 + begun.elapsed().as_millis() / 100,
            "{texts}"
        );
    }

    #[test]
    fn nothing_is_shown_that_nobody_wants() {
        let mut progress = Showing::with(true).counted();
        progress.say(|| unreachable!("it is hidden"));
        assert!(progress.bar.is_hidden());
    }
}
