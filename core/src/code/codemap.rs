//! From an address of generated code to what it was generated from.
//!
//! ```text
//!   pc ──▶ range (lock-free) ──▶ code map of the engine ──▶ listing ──▶ function, unit, tier
//!                                                             │
//!                                                             └▶ offset ──▶ trap code, source
//! ```
//!
//! Entry points for a client with a signal handler, profiler or stack walker of its own: [`locate`]
//! for any engine of the process, [`Engine::locate`](crate::Engine::locate) for one.
//!
//! Invariants:
//!
//! * Code is listed before it is published, and for as long as its version exists.
//! * The map keeps its arena mapped: where it lists code, there is code memory, and nothing else can be mapped there.
//!
//! Async-signal-safety: [`locate`] first asks a lock-free list of ranges. Only for an address *in*
//! generated code it then takes locks for reading, which no thread holds that is running generated
//! code; and it allocates nothing. So it may be called in the handler of a signal about the address
//! at which that signal interrupted the thread.
//!
//! Limitations: the stubs and calling sequences of the runtime are not listed. A source location is
//! that of one instruction where the optimiser merged several.
//!
//! Not here: which signal means what ([`crate::call::trap`]).

mod blocks;
mod copied;
mod handlers;
mod raw;

use crate::code::externals::Externals;
use crate::code::externals::Stubs;
use crate::code::lines::Lines;
use cranelift_codegen::CompiledCode;
use cranelift_codegen::ir::{Block, SourceLoc, TrapCode};
use regraft_executor::arena::Arena;
use regraft_executor::locks::{read, write};
use regraft_executor::ranges::{self, CodeRange, find as find_range};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, Weak};

pub(crate) use blocks::{LocationNumbers, locate_by_block};
pub(crate) use copied::Copied;
pub(crate) use handlers::HandledCalls;
pub(crate) use raw::RawTables;

/// What of a function a piece of code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodeUnit {
    /// The function itself.
    Function,
    /// A hot region that was outlined from it.
    Region {
        /// The region's entry.
        entry: Block,
    },
    /// What a side exit of a region continues with.
    Continuation {
        /// The region's entry.
        region: Block,
        /// The cold block that the side exit leads to.
        start: Block,
    },
}

impl fmt::Display for CodeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function => f.write_str("the function"),
            Self::Region { entry } => write!(f, "region at {entry}"),
            Self::Continuation { start, .. } => write!(f, "continuation of {start}"),
        }
    }
}

/// What is known of an address of generated code.
///
/// ```text
///   @0012 in function f, region at block3, tier 1
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodeLocation {
    /// The function's name, as it was declared. Where code of another function holds a copy of it, this is the function that
    /// was copied, and `offset` is that in the code of the other.
    pub function: Arc<str>,
    /// What of the function was running.
    pub unit: CodeUnit,
    /// 0 or 1.
    pub tier: u8,
    /// Bytes from the start of the unit's code.
    pub offset: u32,
    /// The client's source location, if the function has any.
    pub source: Option<SourceLoc>,
    /// The block of the client's CLIF, if the function has no source locations
    /// ([`Config::block_locations`](field@crate::Config::block_locations)).
    pub block: Option<Block>,
    /// The code of the trap that this instruction can raise. (`heap_oob` is that of every load and
    /// store whose flags do not say `notrap`.)
    pub trap: Option<TrapCode>,
}

impl fmt::Display for CodeLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = self.source {
            write!(f, "{source} in ")?;
        } else if let Some(block) = self.block {
            write!(f, "{block} in ")?;
        }
        write!(f, "function {}", self.function)?;
        if self.unit != CodeUnit::Function {
            write!(f, ", {}", self.unit)?;
        }
        write!(f, ", tier {}", self.tier)
    }
}

/// What is known of an address of generated code of any engine; `None` for other addresses, and for
/// stubs and calling sequences.
///
/// For a return address, ask for the byte before: the call is there.
///
/// # Complexity
/// O(engines + log versions).
pub fn locate(pc: usize) -> Option<CodeLocation> {
    map_of(pc)?.locate(pc)
}

/// The map of the engine whose code this may be.
pub(crate) fn map_of(pc: usize) -> Option<Arc<CodeMap>> {
    let range = find_range(pc)?;
    // The lock is released before what may be the last handle of a map.
    read(&MAPS).get(&range.start)?.upgrade()
}

/// The maps of all engines, by the start of their ranges.
static MAPS: RwLock<BTreeMap<usize, Weak<CodeMap>>> = RwLock::new(BTreeMap::new());

/// What a version's code was generated from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub function: Arc<str>,
    /// The function's unit.
    number: u32,
    pub unit: CodeUnit,
    locations: Locations,
    externals: Option<Arc<Externals>>,
    stubs: Stubs,
}

/// What the source locations of generated code are.
#[derive(Clone, Debug)]
enum Locations {
    /// The client's.
    Client,
    /// Block numbers.
    Blocks,
    /// Numbers of places.
    LocationNumbers(Arc<LocationNumbers>),
    /// Numbers of instructions.
    Lines(Arc<Lines>),
    /// Numbers of places in several functions.
    Copied(Arc<Copied>),
}

impl Locations {
    /// The block, if it is known, and the client's location, if there is one.
    fn find(&self, location: SourceLoc) -> (Option<Block>, Option<SourceLoc>) {
        match self {
            Self::Client => (None, Some(location)),
            Self::Blocks => (blocks::block_of(location), None),
            Self::LocationNumbers(location_numbers) => match location_numbers.find(location) {
                Some((block, location)) => (Some(block), location),
                None => (None, None),
            },
            Self::Lines(lines) => lines.find(location),
            Self::Copied(_) => (None, None),
        }
    }

    /// Whether traps are located by blocks.
    fn are_blocks(&self) -> bool {
        match self {
            Self::Blocks => true,
            Self::Lines(lines) => !lines.are_clients(),
            Self::Client | Self::LocationNumbers(_) | Self::Copied(_) => false,
        }
    }
}

/// Where a sample of the program counter was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampledCode {
    /// The function's unit.
    pub function: u32,
    /// What of the function was running.
    pub unit: CodeUnit,
    /// 0 or 1.
    pub tier: u8,
    /// The first address of the version.
    pub start: usize,
    /// The block of the client's CLIF, where it is known.
    pub block: Option<Block>,
}

impl Origin {
    /// What is compiled of the function with this name and number. Its source locations are numbers of blocks, or the
    /// client's.
    pub fn new(
        function: Arc<str>,
        number: u32,
        unit: CodeUnit,
        block_locations: bool,
        externals: Option<Arc<Externals>>,
        stubs: Stubs,
    ) -> Self {
        Self {
            function,
            number,
            unit,
            locations: match block_locations {
                true => Locations::Blocks,
                false => Locations::Client,
            },
            externals,
            stubs,
        }
    }

    /// Says that the source locations of the code are numbers of places, if they are.
    pub fn with_location_numbers(
        mut self,
        location_numbers: Option<&Arc<LocationNumbers>>,
    ) -> Self {
        if let Some(location_numbers) = location_numbers {
            self.locations = Locations::LocationNumbers(Arc::clone(location_numbers));
        }
        self
    }

    /// Says that the source locations of the code are numbers of instructions, if they are.
    pub fn with_lines(mut self, lines: Option<&Arc<Lines>>) -> Self {
        if let Some(lines) = lines {
            self.locations = Locations::Lines(Arc::clone(lines));
        }
        self
    }

    /// Says that the code holds copies of other functions, and what its source locations are.
    pub fn with_copies(mut self, copied: Copied) -> Self {
        self.locations = Locations::Copied(Arc::new(copied));
        self
    }

    /// What the client's names lead to, if they are not the engine's.
    pub fn externals(&self) -> Option<&Externals> {
        self.externals.as_deref()
    }

    /// Whether the source locations of the code are the client's, or the numbers of its blocks: they mean the same in every
    /// run, unlike the other kinds.
    pub fn plain_locations(&self) -> Option<bool> {
        match self.locations {
            Locations::Client => Some(false),
            Locations::Blocks => Some(true),
            Locations::LocationNumbers(_) | Locations::Lines(_) | Locations::Copied(_) => None,
        }
    }

    /// The stubs of the functions that the code refers to.
    pub fn stubs(&self) -> &Stubs {
        &self.stubs
    }

    /// The lines of its text, where somebody reads them.
    pub fn lines(&self) -> Option<&Lines> {
        match &self.locations {
            Locations::Lines(lines) => Some(lines),
            Locations::Copied(copied) => copied.holder()?.lines(),
            Locations::Client | Locations::Blocks | Locations::LocationNumbers(_) => None,
        }
    }

    /// The line of its text behind a source location of the code; 0 for none, as of what was copied from another function.
    pub fn line(&self, location: SourceLoc) -> u32 {
        match &self.locations {
            Locations::Lines(lines) => lines.line(location),
            Locations::Copied(copied) => match copied.find(location) {
                Some((origin, location)) if origin.number == self.number => origin.line(location),
                _ => 0,
            },
            Locations::Client | Locations::Blocks | Locations::LocationNumbers(_) => 0,
        }
    }

    /// A name for profilers and debuggers, which tells versions apart.
    pub fn symbol(&self, tier: u8) -> String {
        let function = &self.function;
        match self.unit {
            CodeUnit::Function => format!("{function}.tier{tier}"),
            CodeUnit::Region { entry } => format!("{function}.tier{tier}.region.{entry}"),
            CodeUnit::Continuation { region, start } => {
                format!("{function}.tier{tier}.continuation.{region}.{start}")
            }
        }
    }

    /// The block of the client's CLIF where the code starts; `None` for the function's entry.
    pub fn header(&self) -> Option<Block> {
        match self.unit {
            CodeUnit::Function => None,
            CodeUnit::Region { entry } => Some(entry),
            CodeUnit::Continuation { start, .. } => Some(start),
        }
    }

    /// A name for the linker and for the log.
    pub fn name(&self) -> String {
        let function = &self.function;
        match self.unit {
            CodeUnit::Function => function.to_string(),
            CodeUnit::Region { entry } => format!("{function}_{entry}"),
            CodeUnit::Continuation { region, start } => format!("{function}_{region}_{start}"),
        }
    }
}

/// What the code generator says about addresses of one version.
#[derive(Debug)]
pub(crate) struct CodeTables {
    len: u32,
    /// By offset.
    traps: Box<[(u32, TrapCode)]>,
    /// Start, end, location: by start, disjoint.
    locations: Box<[(u32, u32, SourceLoc)]>,
    /// Calls with exception handlers.
    calls: HandledCalls,
}

impl CodeTables {
    /// Takes the tables from compiled code.
    ///
    /// # Complexity
    /// O(traps + locations), if they come sorted, as they do.
    pub fn of(code: &CompiledCode) -> Self {
        let buffer = &code.buffer;
        let traps = buffer.traps().iter().map(|trap| (trap.offset, trap.code));
        let mut traps: Box<[_]> = traps.collect();
        traps.sort_by_key(|&(offset, _)| offset);
        let mut locations: Vec<(u32, u32, SourceLoc)> = vec![];
        for located in buffer.get_srclocs_sorted() {
            if located.loc.is_default() {
                continue;
            }
            match locations.last_mut() {
                Some((_, end, loc)) if *loc == located.loc && *end == located.start => {
                    *end = located.end;
                }
                _ => locations.push((located.start, located.end, located.loc)),
            }
        }
        locations.sort_by_key(|&(start, ..)| start);
        Self {
            len: u32::try_from(code.code_buffer().len()).unwrap_or(u32::MAX),
            traps,
            locations: locations.into_boxed_slice(),
            calls: HandledCalls::of(code),
        }
    }

    /// Takes the tables of code that templates made.
    pub fn of_template(code: &regraft_template::Code) -> Self {
        let mut traps: Box<[_]> = code.traps.as_slice().into();
        traps.sort_by_key(|&(offset, _)| offset);
        Self {
            len: u32::try_from(code.bytes.len()).unwrap_or(u32::MAX),
            traps,
            locations: code.locations.as_slice().into(),
            // Calls with handlers have no template.
            calls: HandledCalls::default(),
        }
    }

    /// Start, end and location of all code that has one: by start, disjoint.
    pub fn locations(&self) -> &[(u32, u32, SourceLoc)] {
        &self.locations
    }

    fn trap(&self, offset: u32) -> Option<TrapCode> {
        let found = self
            .traps
            .binary_search_by_key(&offset, |&(offset, _)| offset);
        found.ok().map(|index| self.traps[index].1)
    }

    fn location(&self, offset: u32) -> Option<SourceLoc> {
        let after = self
            .locations
            .partition_point(|&(start, ..)| start <= offset);
        let &(_, end, location) = self.locations.get(after.checked_sub(1)?)?;
        (offset < end).then_some(location)
    }
}

/// The code of one engine, by address.
#[derive(Debug)]
pub(crate) struct CodeMap {
    start: usize,
    code: RwLock<BTreeMap<usize, Listed>>,
    /// None where code runs in another process.
    range: Option<ranges::Registration>,
    /// Unmapped after the range is forgotten: fields are dropped in order.
    _arena: Arc<Arena>,
}

#[derive(Debug)]
struct Listed {
    /// Tells apart what was at the same address one after the other.
    serial: u64,
    origin: Origin,
    tier: u8,
    tables: CodeTables,
}

/// A version's entry in the map; dropping it takes the entry out.
#[derive(Debug)]
pub(crate) struct Listing {
    map: Arc<CodeMap>,
    start: usize,
    serial: u64,
}

impl CodeMap {
    /// An empty map of the code of an arena, known to [`locate`] and to the signal handlers; `runtime`
    /// is where the trap stub and the entry thunks are.
    pub fn new(arena: Arc<Arena>, runtime: usize) -> Arc<Self> {
        let [start, end] = [0, usize::MAX].map(|offset| arena.executable(offset).addr());
        let map = Arc::new(Self {
            start,
            code: RwLock::default(),
            range: Some(ranges::register(CodeRange {
                start,
                end,
                runtime,
            })),
            _arena: arena,
        });
        write(&MAPS).insert(start, Arc::downgrade(&map));
        map
    }

    /// An empty map of the code of an arena that runs in another process: [`locate`] does not know it.
    pub fn elsewhere(arena: Arc<Arena>) -> Arc<Self> {
        Arc::new(Self {
            start: arena.executable(0).addr(),
            code: RwLock::default(),
            range: None,
            _arena: arena,
        })
    }

    /// Lists the code of a version.
    pub fn list(
        self: &Arc<Self>,
        start: usize,
        tier: u8,
        origin: Origin,
        tables: CodeTables,
    ) -> Listing {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let listed = Listed {
            serial,
            origin,
            tier,
            tables,
        };
        write(&self.code).insert(start, listed);
        Listing {
            map: Arc::clone(self),
            start,
            serial,
        }
    }

    /// What is known of an address. Takes no lock for an address outside of the arena.
    pub fn locate(&self, pc: usize) -> Option<CodeLocation> {
        if self.range.is_some() && find_range(pc)?.start != self.start {
            return None;
        }
        let code = read(&self.code);
        let (_, offset, listed) = find_listed(&code, pc)?;
        let (origin, block, source) = listed.place(offset);
        Some(CodeLocation {
            function: Arc::clone(&origin.function),
            unit: origin.unit,
            tier: listed.tier,
            offset,
            source,
            block: block.filter(|_| origin.locations.are_blocks()),
            trap: listed.tables.trap(offset),
        })
    }

    /// Looks at the calls with handlers of the version that an address lies in, which is at an offset from its first address.
    pub fn with_calls<R>(
        &self,
        pc: usize,
        look: impl FnOnce(usize, u32, &HandledCalls) -> R,
    ) -> Option<R> {
        let code = read(&self.code);
        let (start, offset, listed) = find_listed(&code, pc)?;
        Some(look(start, offset, &listed.tables.calls))
    }

    /// What a sample of the program counter says; `None` outside of the versions in the map.
    pub fn sampled(&self, pc: usize) -> Option<SampledCode> {
        let code = read(&self.code);
        let (start, offset, listed) = find_listed(&code, pc)?;
        let (origin, block, _) = listed.place(offset);
        Some(SampledCode {
            function: listed.origin.number,
            unit: listed.origin.unit,
            tier: listed.tier,
            start,
            block: block.filter(|_| origin.number == listed.origin.number),
        })
    }
}

/// The version that an address lies in: its first address, the offset, and its entry.
fn find_listed(code: &BTreeMap<usize, Listed>, pc: usize) -> Option<(usize, u32, &Listed)> {
    let (&start, listed) = code.range(..=pc).next_back()?;
    let offset = u32::try_from(pc - start).ok()?;
    (offset < listed.tables.len).then_some((start, offset, listed))
}

impl Listed {
    /// What the code at an offset was made from; the block, if it is known, and the client's location, if there is one.
    fn place(&self, offset: u32) -> (&Origin, Option<Block>, Option<SourceLoc>) {
        let mut origin = &self.origin;
        let mut location = self.tables.location(offset);
        if let (Locations::Copied(copied), Some(number)) = (&origin.locations, location) {
            match copied.find(number) {
                Some((from, found)) => {
                    origin = from;
                    location = (!found.is_default()).then_some(found);
                }
                None => location = None,
            }
        }
        let (block, source) = location.map_or((None, None), |at| origin.locations.find(at));
        (origin, block, source)
    }
}

impl Listing {
    /// A number that is greater than those of what was listed before.
    pub fn serial(&self) -> u64 {
        self.serial
    }
}

impl Drop for CodeMap {
    fn drop(&mut self) {
        if self.range.is_some() {
            write(&MAPS).remove(&self.start);
        }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        let mut code = write(&self.map.code);
        if let Entry::Occupied(listed) = code.entry(self.start)
            && listed.get().serial == self.serial
        {
            listed.remove();
        }
    }
}
