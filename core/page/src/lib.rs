//! One self-contained HTML page from a report of `regraft`: what got hot, what became of it, what was refused and why.
//!
//! ```text
//!   report (JSON) ── model ──▶ what the page needs ── view ──▶ what it shows ── template ──▶ HTML
//!                    checked                          limited, laid out          escaped
//! ```
//!
//! Invariants:
//!
//! * The page loads nothing: style, script and data are in it, and its content security policy says so.
//! * Nothing of the report gets into the page but as data, in which no character has a meaning to HTML; the script
//!   makes text of it, never markup.
//! * What is broken, or no report, or one of another version, is refused with line and column.
//! * Whatever the report's size, the page's is limited ([`Limits`]), and it says what was left out.
//!
//! Limitations: where a report has no detail (`Observe::inspect`), there are neither graphs nor text nor a timeline.
//! Edges are drawn as curves between blocks, not around those in between.
//!
//! Not here: how a report comes to be; where the page is written to.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod graph;
mod model;
mod view;

use askama::Template;
use model::Report;

/// How much of a report the page shows: the hottest first.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Rows of the table of functions, and of that of regions.
    pub rows: usize,
    /// Functions with text and graph.
    pub functions: usize,
    /// Bytes of text of all of them.
    pub text: usize,
    /// Blocks that are drawn of a function.
    pub blocks: usize,
    /// Blocks that are drawn in all, each as often as there are blocks beside it: what layout takes grows like that.
    pub drawn: usize,
    /// Events on the timeline.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 1_000,
            functions: 200,
            text: 12 << 20,
            blocks: 100,
            drawn: 250_000,
            events: 5_000,
        }
    }
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// It is not JSON, or not that of a report. The message says where: line and column.
    #[error("this is no region report: {0}")]
    NoReport(#[from] serde_json::Error),
    /// The report is of another version.
    #[error(
        "line {line}, column {column}: the report has version {found}, this program reads version {known}; \
         make the report anew with this program"
    )]
    Version {
        /// The version that it has.
        found: u64,
        /// The version that can be read.
        known: u64,
        /// Where it says so.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// The template failed: a defect.
    #[error("the page cannot be written: {0}")]
    Template(#[from] askama::Error),
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    title: &'a str,
    style: &'a str,
    script: &'a str,
    data: &'a str,
}

const STYLE: &str = include_str!("../assets/page.css");
const SCRIPT: &str = concat!(
    include_str!("../assets/dom.js"),
    include_str!("../assets/overview.js"),
    include_str!("../assets/graph.js"),
    include_str!("../assets/function.js"),
    include_str!("../assets/timeline.js"),
    include_str!("../assets/main.js"),
);

/// The page of a report.
///
/// # Errors
///
/// [`PageError`]: for text that is no report of the version that this program reads.
pub fn page(report: &str, title: &str, limits: &Limits) -> Result<String, PageError> {
    let report = Report::parse(report)?;
    let view = view::View::new(&report, title, limits);
    let data = embeddable(&serde_json::to_string(&view)?);
    let page = Page {
        title,
        style: STYLE,
        script: SCRIPT,
        data: &data,
    };
    Ok(page.render()?)
}

/// JSON with no character that ends or begins anything in HTML.
fn embeddable(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            c => text.push(c),
        }
    }
    text
}
