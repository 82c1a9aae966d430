//! Reports as JSON text.

use super::format::{REPORT_VERSION, Report};
use serde::Deserialize;
use serde::de::Error;

impl Report {
    /// The report as JSON text, pretty-printed, with stable key order.
    pub fn to_json(&self) -> String {
        // Plain data with string keys always serialises.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads a report back.
    ///
    /// # Errors
    ///
    /// The parser's, with line and column; a report of another version is an
    /// error too.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        if version != REPORT_VERSION {
            return Err(serde_json::Error::custom(format!(
                "the report has version {version}, this program reads version {REPORT_VERSION}"
            )));
        }
        serde_json::from_str(text)
    }
}
