//! A drawing in SVG, with a few kinds of shapes, readable on light and on dark pages.

use std::fmt::Write as _;

/// Colours by the reader's own theme; shapes name a class.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.faint{fill:#57606a;font-size:12px}\
.grid{stroke:#d0d7de}.good{fill:#1a7f37;stroke:#1a7f37}.bad{fill:#bc4c00;stroke:#bc4c00}\
.goal{stroke:#24292f;stroke-width:2}.range{stroke:#24292f}.low{fill:#0969da}.mid{fill:#8250df}.high{fill:#bc4c00}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9198a1}.grid{stroke:#3d444d}\
.good{fill:#3fb950;stroke:#3fb950}.bad{fill:#f0883e;stroke:#f0883e}.goal,.range{stroke:#e6edf3}\
.low{fill:#58a6ff}.mid{fill:#bc8cff}.high{fill:#f0883e}}";

/// How a text stands to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// A drawing of some size.
#[derive(Debug)]
pub(super) struct Drawing {
    width: f64,
    height: f64,
    title: String,
    shapes: String,
}

impl Drawing {
    /// An empty one; the title is for those who hear it.
    pub(super) fn new(width: f64, height: f64, title: &str) -> Self {
        Self {
            width,
            height,
            title: escaped(title),
            shapes: String::new(),
        }
    }

    /// A text.
    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.shape(&format!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    /// A line.
    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.shape(&format!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// A rectangle, by its upper left corner and its size.
    pub(super) fn rectangle(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        self.shape(&format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        ));
    }

    /// A dot.
    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64)) {
        self.shape(&format!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>"
        ));
    }

    /// The file.
    pub(super) fn finish(self) -> String {
        let (width, height, title) = (self.width, self.height, self.title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n{}</svg>\n",
            self.shapes
        )
    }

    fn shape(&mut self, shape: &str) {
        // Writing into a text can't fail.
        let _ = writeln!(self.shapes, "{shape}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_text_is_no_markup() {
        let mut drawing = Drawing::new(10.0, 20.0, "a < b & c");
        drawing.text("faint", (1.0, 2.0), Anchor::End, "<script>");
        let file = drawing.finish();
        assert!(file.contains("<title>a &lt; b &amp; c</title>"), "{file}");
        assert!(
            file.contains("text-anchor=\"end\">&lt;script&gt;</text>"),
            "{file}"
        );
        assert!(!file.contains("<script>"), "{file}");
    }

    #[test]
    fn a_drawing_has_colours_for_dark_pages() {
        let file = Drawing::new(10.0, 20.0, "empty").finish();
        assert!(file.contains("@media(prefers-color-scheme:dark)"), "{file}");
        assert!(
            file.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 10 20\""),
            "{file}"
        );
    }
}
