//! The file in which machine code is kept for later runs, and what is to be added to it.
//!
//! ```text
//!   magic │ digest of settings and versions │ entry │ entry │ …
//!   entry: key of the definition │ digest of settings, key and content │ runs that had no use for it │ length │ content
//! ```
//!
//! Invariants:
//!
//! * *checked, or not used*: content is given out if it has the digest that was written with it, and under its own key only.
//! * *whole, or not there*: a file is written beside the old one, and takes its name when it is complete.
//! * What cannot be read, belongs to somebody else or is of other settings is as good as nothing, and a warning.
//!
//! * What no run has asked for, of the last few that added something, is left out when a file is written.
//!
//! Limitations: of two programs that save at the same time, the last one's file stays.
//!
//! Not here: what an entry is (`code::kept`), who asks for one (`pipeline::keep`).

use crate::config::warm::{Digest, WarmStart};
use regraft_executor::locks::lock;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a file begins with; the last byte is the version of the format.
const MAGIC: &[u8; 16] = b"regraft's code\0\x01";

/// Bytes before the content of an entry.
const HEAD: usize = 2 * Digest::SIZE + 1 + 4;

/// An entry that so many runs had no use for goes.
const IDLE_RUNS: u8 = 8;

/// Files do not get larger than this.
const LARGEST: usize = 256 << 20;

/// What is kept between runs, of one program with the same settings.
#[derive(Debug)]
pub(crate) struct Kept {
    pub start: WarmStart,
    /// Of settings and versions.
    settings: Digest,
    /// What an earlier run has written.
    bytes: Vec<u8>,
    /// The entries of earlier runs.
    entries: HashMap<Digest, Entry>,
    /// Which of them this run has asked for, and whether they could be used.
    used: Mutex<HashMap<Digest, bool>>,
    /// What this run adds.
    added: Mutex<BTreeMap<Digest, Vec<u8>>>,
    pub figures: Figures,
}

/// Where in a file an entry is, and what is known of it.
#[derive(Debug)]
struct Entry {
    digest: Digest,
    /// Runs in a row that had no use for it.
    idle: u8,
    content: Range<usize>,
}

/// What has been done with what is kept.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Functions whose code was taken from an earlier run.
    pub loaded: AtomicU64,
    /// Functions of which there was no code.
    pub missed: AtomicU64,
    /// Functions whose code an earlier run has left, but that could not be used.
    pub unusable: AtomicU64,
    /// Functions whose code cannot be kept, by reason.
    pub refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Figures {
    /// Counts the code of a function that cannot be kept.
    pub fn refuse(&self, reason: &'static str) {
        *lock(&self.refused).entry(reason).or_default() += 1;
    }
}

impl Kept {
    /// What an earlier run with these settings has kept, if it has.
    pub fn open(start: WarmStart, settings: Digest) -> Self {
        let mut kept = Self {
            start,
            settings,
            bytes: vec![],
            entries: HashMap::new(),
            used: Mutex::default(),
            added: Mutex::default(),
            figures: Figures::default(),
        };
        if kept.start.code
            && let Some(bytes) = read_own(&kept.path("code"))
        {
            kept.entries = entries(&bytes, &settings);
            kept.bytes = bytes;
        }
        kept
    }

    /// The saved profile of an earlier run, as text.
    #[cfg(feature = "json")]
    pub fn profile(&self) -> Option<String> {
        String::from_utf8(read_own(&self.profile_path())?).ok()
    }

    /// Where the profile is.
    #[cfg(feature = "json")]
    pub fn profile_path(&self) -> PathBuf {
        self.path("profile.json")
    }

    fn path(&self, kind: &str) -> PathBuf {
        let program = self.start.program.short();
        let name = format!("{program:016x}-{:016x}.{kind}", self.settings.short());
        self.start.directory.join(name)
    }

    /// Whether there is, or will be, code of a definition.
    pub fn has(&self, key: &Digest) -> bool {
        let usable = || lock(&self.used).get(key).copied().unwrap_or(true);
        lock(&self.added).contains_key(key) || (self.entries.contains_key(key) && usable())
    }

    /// What an earlier run has kept under a key, if it is what was written.
    pub fn find(&self, key: &Digest) -> Option<&[u8]> {
        let entry = self.entries.get(key)?;
        let content = self.content(entry);
        lock(&self.used).insert(*key, true);
        if entry_digest(&self.settings, key, content) != entry.digest {
            tracing::warn!(?key, "kept code is damaged, and not used");
            self.reject(*key);
            return None;
        }
        Some(content)
    }

    /// What is kept under a key cannot be used, and gives way to what this run adds.
    pub fn reject(&self, key: Digest) {
        lock(&self.used).insert(key, false);
        self.figures.unusable.fetch_add(1, Ordering::Relaxed);
    }

    fn content(&self, entry: &Entry) -> &[u8] {
        self.bytes.get(entry.content.clone()).unwrap_or_default()
    }

    /// Keeps something under a key.
    pub fn add(&self, key: Digest, content: Vec<u8>) {
        lock(&self.added).insert(key, content);
    }

    /// How many entries this run adds.
    pub fn added(&self) -> usize {
        lock(&self.added).len()
    }

    /// Writes what this run adds, and what earlier runs have left and is not damaged.
    pub fn save(&self) -> io::Result<()> {
        let added = lock(&self.added).clone();
        if added.is_empty() {
            return Ok(());
        }
        let mut bytes = [MAGIC.as_slice(), self.settings.as_ref()].concat();
        let mut put = |key: &Digest, idle: u8, content: &[u8]| {
            let Ok(length) = u32::try_from(content.len()) else {
                return;
            };
            if content.len() + HEAD > LARGEST - bytes.len() {
                return;
            }
            bytes.extend_from_slice(key.as_ref());
            bytes.extend_from_slice(entry_digest(&self.settings, key, content).as_ref());
            bytes.push(idle);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(content);
        };
        for (key, content) in &added {
            put(key, 0, content);
        }
        let used = lock(&self.used).clone();
        for (key, entry) in &self.entries {
            let content = self.content(entry);
            let idle = match used.get(key) {
                Some(true) => 0,
                Some(false) => continue,
                None => entry.idle.saturating_add(1),
            };
            let right = entry_digest(&self.settings, key, content) == entry.digest;
            if right && idle < IDLE_RUNS && !added.contains_key(key) {
                put(key, idle, content);
            }
        }
        write_whole(&self.path("code"), &bytes)
    }
}

/// The digest of an entry.
fn entry_digest(settings: &Digest, key: &Digest, content: &[u8]) -> Digest {
    Digest::of([settings.as_ref(), key.as_ref(), content])
}

/// Where the entries of a file are; nothing of a file of other settings. What comes after something that cannot be an entry
/// is left out.
fn entries(bytes: &[u8], settings: &Digest) -> HashMap<Digest, Entry> {
    let mut entries = HashMap::new();
    let head = [MAGIC.as_slice(), settings.as_ref()].concat();
    if !bytes.starts_with(&head) {
        tracing::warn!("kept code is of another version or other settings, and not used");
        return entries;
    }
    let mut at = head.len();
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some((key, entry)) = entry_at(at, rest) else {
            tracing::warn!(at, "kept code ends in the middle of an entry");
            break;
        };
        at = entry.content.end;
        entries.insert(key, entry);
    }
    entries
}

/// The entry that is at an offset, and its key.
fn entry_at(at: usize, bytes: &[u8]) -> Option<(Digest, Entry)> {
    let (key, rest) = bytes.split_first_chunk::<{ Digest::SIZE }>()?;
    let (digest, rest) = rest.split_first_chunk::<{ Digest::SIZE }>()?;
    let (&idle, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let start = at + HEAD;
    let entry = Entry {
        digest: Digest::from_bytes(*digest),
        idle,
        content: start..start.checked_add(length)?,
    };
    (length <= rest.len()).then_some((Digest::from_bytes(*key), entry))
}

/// What is in a file that only this user can write.
fn read_own(path: &Path) -> Option<Vec<u8>> {
    let read = || {
        let mut file = File::open(path)?;
        let found = file.metadata()?;
        // Whoever runs this has the entry of the process.
        let own = fs::metadata("/proc/self")?.uid();
        if found.uid() != own || found.mode() & 0o022 != 0 || !found.is_file() {
            return Err(io::Error::other("others can write it"));
        }
        if found.len() > LARGEST as u64 {
            return Err(io::Error::other("it is too large"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "ignored");
            None
        }
    }
}

/// Puts a file in the place of the one with this path, which has all of `bytes`, or leaves the old one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if let Some(directory) = path.parent() {
        let mut own = fs::DirBuilder::new();
        own.recursive(true).mode(0o700).create(directory)?;
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(bytes)?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests;
