//! Functions and their definitions.
//!
//! A function holds its definition, and a definition the functions that it refers to.

mod references;

pub(crate) use references::References;

use crate::code::codemap::{CodeUnit, Origin};
use crate::code::externals::Externals;
use crate::code::generate::instruction_count;
use crate::code::lines::Lines;
use crate::config::warm::Digest;
use crate::units::copies::Copies;
use crate::units::exchange;
use crate::units::exchange::{Current, Publish, Removed, Slot};
use crate::units::lazy::Lazy;
use crate::units::made::Made;
use crate::units::tiering::{Baseline, Tiering};
use cranelift_codegen::ir::{Function, Signature};
use regraft_executor::arena::OwnedCode;
use regraft_executor::locks::{lock, read, write};
use regraft_executor::slots::OwnedSlot;
use regraft_regions::function_hash;
use regraft_symbols::Shown;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

/// A function of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionId(u32);

impl FunctionId {
    /// The function with this number, as CLIF names it: `u0:<number>`.
    pub fn from_u32(number: u32) -> Self {
        Self(number)
    }

    /// The number of the function.
    pub fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u0:{}", self.0)
    }
}

/// What a function of the table is, and what is known of it.
///
/// Whoever may call it holds it: the unit table until it is removed, bodies that refer to it, handles of the
/// client. Its slot goes back with the last of them.
#[derive(Debug)]
pub(crate) struct FunctionUnit {
    pub unit: u32,
    pub name: String,
    pub signature: Signature,
    pub slot: OwnedSlot,
    /// Whether its name means nothing outside of the module that owns it.
    pub local: bool,
    /// Its definition, once there is one; replaced by a redefinition. What the slot leads to changes under this lock,
    /// and what the slots of its regions lead to. The tiering state may be locked inside, but not outside of it.
    current: RwLock<Current<Body>>,
    /// How it is defined when it is first called.
    pub lazy: Lazy,
    /// The generation of definitions in which all that it reaches was known to be callable; 0 if that was never so.
    pub resolvable: AtomicU64,
    /// Whether its first version was asked for ahead of its first call.
    pub expected: AtomicBool,
    /// Its code, where that is the client's and no module keeps it any more.
    machine_code: Mutex<Option<MachineCode>>,
    /// Held while the function is defined, redefined or removed.
    pub changing: Mutex<()>,
}

impl FunctionUnit {
    pub fn new(unit: u32, name: String, signature: Signature, slot: OwnedSlot) -> Self {
        Self {
            unit,
            name,
            signature,
            slot,
            local: false,
            current: RwLock::new(Current::new()),
            lazy: Lazy::default(),
            resolvable: AtomicU64::new(0),
            expected: AtomicBool::new(false),
            machine_code: Mutex::default(),
            changing: Mutex::default(),
        }
    }

    /// The definition, if there is one.
    pub fn body(&self) -> Option<Arc<Body>> {
        read(&self.current).definition()
    }

    /// Whether `body` is the definition.
    pub fn is_current(&self, body: &Arc<Body>) -> bool {
        read(&self.current).is(Some(body))
    }

    /// Makes `body` the definition and `entry` what calls reach; returns the definition before. Without an entry, the
    /// next call asks for it.
    ///
    /// # Errors
    ///
    /// Changes nothing where the function was removed.
    pub fn exchange(
        &self,
        body: Option<Arc<Body>>,
        entry: Option<usize>,
    ) -> Result<Option<Arc<Body>>, Removed> {
        let old = exchange::exchange(&mut write(&self.current), &self.slot, body, entry);
        old.inspect(|old| old.iter().for_each(|old| old.copies.replaced()))
    }

    /// Lets calls trap from now on, and no definition come about; returns the one before.
    pub fn remove(&self) -> Option<Arc<Body>> {
        let old = exchange::remove(&mut write(&self.current), &self.slot);
        old.inspect(|old| old.copies.replaced())
    }

    /// Lets calls reach the first version of `body`, or what is newer of it; says whether it is the definition.
    pub fn publish_first(&self, body: &Arc<Body>, entry: usize) -> bool {
        exchange::publish_first(&mut write(&self.current), &self.slot, Some(body), entry)
    }

    /// Publishes `entry` where `record` says, if `body` is the definition and that finds a use for it; says whether it
    /// did.
    pub fn publish_newer<P: Publish>(
        &self,
        body: &Arc<Body>,
        entry: usize,
        record: impl FnOnce() -> Option<P>,
    ) -> bool {
        exchange::publish_newer(&mut write(&self.current), body, entry, record)
    }

    /// Lets calls reach a symbol of the host, unless the function has or will have a definition, or was removed; says
    /// whether they do. Without a symbol, it only says whether they would.
    pub fn bind(&self, symbol: Option<usize>) -> bool {
        let current = &mut write(&self.current);
        if self.lazy.is_pending() {
            return false;
        }
        match symbol {
            Some(address) => exchange::publish_first(current, &self.slot, None, address),
            None => current.is(None),
        }
    }

    /// Lets calls that begin from now on ask the runtime again, where they were bound to a symbol of the host.
    pub fn unbind(&self) {
        let current = &mut write(&self.current);
        if current.is(None) {
            // It was not removed.
            let _ = exchange::exchange(current, &self.slot, None, None);
        }
    }

    /// Keeps machine code as long as the function, or until [`FunctionUnit::give_up`].
    pub fn keep(&self, code: Option<MachineCode>) {
        *lock(&self.machine_code) = code;
    }

    /// Drops what the function keeps and what may keep the function in turn: nobody calls it any more.
    pub fn give_up(&self) -> Option<Arc<Body>> {
        drop(lock(&self.machine_code).take());
        self.remove()
    }

    /// Its name, or where that is taken, the name and the number.
    pub fn unique_name(&self, taken: impl FnOnce(&str) -> bool) -> String {
        match taken(&self.name) {
            true => format!("{}#{}", self.name, self.unit),
            false => self.name.clone(),
        }
    }
}

impl Publish for OwnedSlot {
    fn publish(&self, entry: usize) {
        OwnedSlot::publish(self, entry);
    }
}

impl Slot for OwnedSlot {
    fn resolve(&self, entry: usize) {
        OwnedSlot::resolve(self, entry);
    }

    fn ask(&self) {
        OwnedSlot::publish(self, self.lazy_address());
    }

    fn close(&self) {
        OwnedSlot::close(self);
    }
}

/// Machine code that the client brought along, published as a function.
#[derive(Debug)]
pub(crate) struct MachineCode {
    /// What tools know of it, which goes first.
    pub _shown: Option<Shown>,
    pub _code: OwnedCode,
    /// What it refers to, kept as long as it.
    pub _externals: Externals,
}

/// What a definition is known by from run to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub digest: Digest,
    /// Whether the client says so, and it was looked for before the definition was made.
    pub clients: bool,
}

/// A function that the client defined.
#[derive(Debug)]
pub(crate) struct Body {
    /// What the client defined, with names turned into numbers.
    pub source: Function,
    /// The hash of what the client wrote, before constant parameters went, where a saved profile may ask for it.
    pub written_hash: Option<u64>,
    /// What the definition is known by from run to run, where something is kept.
    pub key: Option<Key>,
    /// Instructions and blocks of a definition that was never made, as its code was there: `source` is empty then.
    pub unmade: Option<(usize, usize)>,
    /// Whether its source locations are the numbers of its blocks.
    pub block_locations: bool,
    /// The lines of its text, whose source locations are the numbers of its instructions then.
    pub lines: Option<Arc<Lines>>,
    /// The functions it refers to.
    pub references: References,
    /// What copies of it look at, in code of other functions.
    pub copies: Copies,
    /// Its instructions, if code of other functions may hold copies of it.
    pub copied_size: OnceLock<Option<usize>>,
    /// What its names lead to, where they are not the engine's.
    pub externals: Option<Arc<Externals>>,
    /// Its first version, compiled once and kept.
    pub baseline: Made<Baseline>,
    /// Whether somebody has begun to compile it.
    pub begun: AtomicBool,
}

impl Body {
    /// What a piece of code of `function`, whose definition this is, was generated from.
    pub fn origin(&self, function: &FunctionUnit, unit: CodeUnit) -> Origin {
        Origin::new(
            function.name.as_str().into(),
            function.unit,
            unit,
            self.block_locations,
            self.externals.clone(),
            self.references.stubs.clone(),
        )
        .with_lines(self.lines.as_ref())
    }

    /// Instructions and blocks of the definition.
    pub fn size(&self) -> (usize, usize) {
        let count = || {
            let layout = &self.source.layout;
            (instruction_count(&self.source), layout.blocks().count())
        };
        self.unmade.unwrap_or_else(count)
    }

    /// Begins to compile the first version; says whether somebody has before.
    pub fn begin(&self) -> bool {
        self.begun.swap(true, Ordering::Relaxed)
    }

    /// Whether somebody compiles the first version, or has.
    pub fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// The first version, if it was compiled.
    pub fn compiled(&self) -> Option<&Baseline> {
        self.baseline.get()
    }

    /// What tiering up needs, if the first version counts.
    pub fn tiering(&self) -> Option<&Tiering> {
        self.compiled()?.tiering.as_ref()
    }

    /// The function as the client defined it: without numbers for names,
    /// and without the locations that the engine added.
    pub fn client_source(&self) -> Function {
        let mut source = self.source.clone();
        self.references.restore(&mut source);
        match &self.lines {
            Some(lines) => lines.restore(&mut source),
            None if self.block_locations => source.srclocs.clear(),
            None => {}
        }
        source
    }

    /// Saves the text, where tools know lines of it: called where a version is compiled that is worth looking at.
    pub fn save_text(&self) {
        if let Some(lines) = &self.lines {
            lines.save(|| self.client_source().to_string());
        }
    }

    /// What the profile of a warm start knows it by.
    pub fn known_by(&self) -> Option<u64> {
        self.key.map(|key| key.digest.short())
    }

    /// The hash of the function as the client defined it.
    pub fn client_hash(&self) -> u64 {
        function_hash(&self.client_source())
    }
}
