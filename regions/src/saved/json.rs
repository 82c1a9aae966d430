//! Profiles as JSON text.

use super::{PROFILE_VERSION, Profile, ProfileError};
use serde::Deserialize;

impl Profile {
    /// The profile as JSON text.
    pub fn to_json(&self) -> String {
        // Strings, numbers and string-keyed maps are always representable, and a string takes all writes.
        serde_json::to_string_pretty(self).expect("a profile is plain data")
    }

    /// Read JSON text.
    ///
    /// # Errors
    /// [`ProfileError::BadVersion`]: the text is a profile of another version. [`ProfileError::Malformed`]: it
    /// is no profile.
    pub fn from_json(text: &str) -> Result<Profile, ProfileError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        if version != u64::from(PROFILE_VERSION) {
            return Err(ProfileError::BadVersion {
                found: version,
                supported: PROFILE_VERSION,
            });
        }
        Ok(serde_json::from_str(text)?)
    }
}

impl From<serde_json::Error> for ProfileError {
    fn from(error: serde_json::Error) -> Self {
        ProfileError::Malformed {
            line: error.line(),
            column: error.column(),
            message: error.to_string(),
        }
    }
}
