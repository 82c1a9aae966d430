//! Versions, and the code of the runtime, as profilers, debuggers and unwinders are told of them.
//!
//! Names tell versions apart: `sum.tier0`, `sum.tier1.region.block1`, `sum.tier1.continuation.block1.block3`.
//!
//! Not here: the formats (`regraft-symbols`).

use super::{Observer, Seen};
use crate::code::codemap::{CodeTables, Origin};
use crate::code::generate::Unwind;
use crate::code::lines::Lines;
use crate::code::link::Linked;
use crate::config::Observe;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::TargetIsa;
use regraft_executor::arena::{ArenaTools, OwnedCode};
use regraft_executor::locks::lock;
use regraft_executor::slots::{SlotTable, TableCode, TableCodeKind};
use regraft_symbols::{Code, Perf, Row, Shown, Source, Symbols, ToolError, Tools};
use std::sync::{Arc, Mutex};

/// The tools that are served, and what they know of the runtime's code.
#[derive(Debug)]
pub(crate) struct Served {
    symbols: Symbols,
    /// Pieces of code of the slot table.
    table: Mutex<Vec<Shown>>,
}

impl Served {
    /// `None` where no tool is to be served. Code that runs in another process is not known to those of this one.
    ///
    /// # Errors
    /// [`ToolError`], for what the configuration asks for. What the environment asks for is done where it can be.
    pub fn new(config: &Observe, here: bool) -> Result<Option<Self>, ToolError> {
        let asked = Tools {
            perf: config.perf,
            debugger: config.debugger,
            unwinder: config.unwinder,
            directory: config.directory.clone(),
        };
        if !here {
            return match asked.any() {
                true => Err(ToolError::Elsewhere),
                false => Ok(None),
            };
        }
        let more = with_environment(&asked);
        let symbols = match Symbols::new(&more) {
            Err(error) if more != asked => {
                tracing::warn!(%error, "what the environment asks for cannot be done");
                Symbols::new(&asked)
            }
            symbols => symbols,
        };
        Ok(symbols?.map(|symbols| Self {
            symbols,
            table: Mutex::default(),
        }))
    }

    /// Whether somebody unwinds.
    pub fn wants_frames(&self) -> bool {
        self.symbols.wants_frames()
    }

    /// Shows code that is complete.
    fn show(&self, piece: &Piece<'_>) -> Shown {
        let Piece { entry, len, .. } = *piece;
        let bytes = match self.symbols.wants_bytes() {
            true => piece.memory.read(entry, len),
            false => vec![],
        };
        #[cfg(feature = "debug")]
        let frame = piece
            .unwind
            .and_then(|(unwind, isa)| frames::of_code(entry, len, unwind, isa));
        let code = Code {
            name: piece.name,
            start: entry,
            bytes: &bytes,
            source: piece.source,
            #[cfg(feature = "debug")]
            frame: frame.as_ref(),
        };
        self.symbols.show(&code, len)
    }

    /// Shows what the slot table has that was not shown yet.
    fn show_table(&self, slots: &SlotTable) {
        let mut shown = lock(&self.table);
        if shown.len() >= slots.code_pieces() {
            return;
        }
        let new = slots.code().into_iter().skip(shown.len());
        shown.extend(new.map(|code| {
            let bytes = match self.symbols.wants_bytes() {
                true => slots.bytes_of(code),
                false => vec![],
            };
            self.show_piece(code, &bytes)
        }));
    }

    fn show_piece(&self, code: TableCode, bytes: &[u8]) -> Shown {
        let name = match code.kind {
            TableCodeKind::TrapStub => "regraft_trap_stub",
            TableCodeKind::HotThunk => "regraft_thunk_hot",
            TableCodeKind::LazyThunk => "regraft_thunk_first_call",
            TableCodeKind::Stubs => "regraft_stubs",
        };
        #[cfg(feature = "debug")]
        let frame = frames::of_table(code);
        let shown = Code {
            name,
            start: code.start,
            bytes,
            source: None,
            #[cfg(feature = "debug")]
            frame: Some(&frame),
        };
        self.symbols.show(&shown, code.len)
    }
}

/// Code that a code generator made.
struct Piece<'a> {
    name: &'a str,
    entry: usize,
    len: usize,
    memory: &'a OwnedCode,
    source: Option<Source<'a>>,
    #[cfg_attr(not(feature = "debug"), expect(dead_code))]
    unwind: Option<(&'a Unwind, &'a dyn TargetIsa)>,
}

/// A version that is complete, and cannot run yet.
pub(crate) struct Complete<'a> {
    pub tier: u8,
    pub entry: usize,
    pub len: usize,
    pub memory: &'a OwnedCode,
    pub origin: &'a Origin,
    pub tables: &'a CodeTables,
    pub unwind: Option<&'a Unwind>,
}

/// What the configuration and the environment ask for.
fn with_environment(asked: &Tools) -> Tools {
    let mut tools = asked.clone();
    match std::env::var("REGRAFT_PERF").as_deref() {
        Ok("map") => tools.perf = tools.perf.or(Some(Perf::Map)),
        Ok("jitdump") => tools.perf = tools.perf.or(Some(Perf::Jitdump)),
        Ok("" | "0") | Err(_) => {}
        Ok(other) => tracing::warn!(other, "REGRAFT_PERF is map or jitdump"),
    }
    let debugger = std::env::var_os("REGRAFT_GDB");
    tools.debugger |= debugger.is_some_and(|value| !value.is_empty() && value != "0");
    tools
}

impl Observer {
    /// The lines of a definition, where somebody reads them. A debugger's user has the text before anything runs; that of
    /// others is saved when it gets to tier 1 ([`crate::units::function::Body::save_text`]).
    pub fn lines(&self, name: &str, func: &Function) -> Option<Arc<Lines>> {
        let served = self.served.as_ref()?;
        if !served.symbols.wants_lines() {
            return None;
        }
        let directory = served.symbols.tools().directory();
        let lines = Lines::of(&directory, name, func);
        let lines = lines.inspect_err(|error| {
            tracing::warn!(function = name, %error, "tools know no lines of it");
        });
        let lines = lines.ok()?;
        if served.symbols.tools().debugger {
            lines.save(|| func.to_string());
        }
        Some(Arc::new(lines))
    }

    /// Shows code that is no version of anything; what is returned is dropped before it.
    pub fn show_linked(
        &self,
        name: &str,
        linked: &Linked,
        unwind: Option<(&Unwind, &dyn TargetIsa)>,
    ) -> Option<Shown> {
        let served = self.served.as_deref()?;
        Some(served.show(&Piece {
            name,
            entry: linked.entry,
            len: linked.len,
            memory: &linked.code,
            source: None,
            unwind,
        }))
    }

    /// What the tools need of code memory.
    pub fn arena_tools(&self) -> ArenaTools {
        let tools = self.served.as_ref().map(|served| served.symbols.tools());
        ArenaTools {
            breakpoints: tools.is_some_and(|tools| tools.debugger),
            anonymous: tools.is_some_and(|tools| tools.perf == Some(Perf::Map)),
        }
    }

    /// Takes the runtime's code back: the memory goes.
    pub fn forget_stubs(&self) {
        if let Some(served) = &self.served {
            lock(&served.table).clear();
        }
    }
}

impl Observer {
    /// Shows a version; what is returned is kept as long as its code.
    pub fn see(
        &self,
        version: &Complete<'_>,
        slots: &SlotTable,
        isa: &dyn TargetIsa,
    ) -> Option<Seen> {
        let shown = self.served.as_deref().map(|served| {
            served.show_table(slots);
            served.show_version(version, isa)
        });
        if shown.is_none() && self.journal.is_none() {
            return None;
        }
        Some(Seen {
            observer: self.clone(),
            function: Arc::clone(&version.origin.function),
            unit: version.origin.unit,
            tier: version.tier,
            start: version.entry,
            _shown: shown,
        })
    }
}

impl Served {
    fn show_version(&self, version: &Complete<'_>, isa: &dyn TargetIsa) -> Shown {
        let Complete { origin, tables, .. } = *version;
        let rows = origin.lines().map(|_| rows(origin, tables));
        let source = origin.lines().zip(rows.as_ref());
        self.show(&Piece {
            name: &origin.symbol(version.tier),
            entry: version.entry,
            len: version.len,
            memory: version.memory,
            source: source.map(|(lines, rows)| Source {
                file: lines.file(),
                line: lines.header(origin.header()),
                rows,
            }),
            unwind: version.unwind.map(|unwind| (unwind, isa)),
        })
    }
}

/// Where in the code which line starts: in order, without repetitions.
fn rows(origin: &Origin, tables: &CodeTables) -> Vec<Row> {
    let mut rows: Vec<Row> = vec![];
    let mut end = 0;
    let mut push = |offset, line| {
        if rows.last().is_none_or(|last| last.line != line) {
            rows.push(Row { offset, line });
        }
    };
    for &(start, stop, location) in tables.locations() {
        if start > end {
            push(end, 0);
        }
        push(start, origin.line(location));
        end = stop;
    }
    // Constants are behind the last instruction.
    push(end, 0);
    rows
}

/// Unwind information.
#[cfg(feature = "debug")]
mod frames {
    use super::*;
    use cranelift_codegen::isa::unwind::UnwindInfo;
    use regraft_executor::slots::{PUSHED_FROM, STUB_BYTES};
    use regraft_symbols::frames::{Frame, PointedFrame, Pushes};
    use regraft_symbols::gimli::write::Address;

    /// What the code generator says of code.
    pub fn of_code(
        entry: usize,
        len: usize,
        unwind: &Unwind,
        isa: &dyn TargetIsa,
    ) -> Option<Frame> {
        match unwind {
            Unwind::Cranelift(UnwindInfo::SystemV(unwind)) => Some(Frame {
                common: isa.create_systemv_cie()?,
                own: unwind.to_fde(Address::Constant(entry as u64)),
            }),
            Unwind::Cranelift(_) => None,
            Unwind::Templates(frame) => Frame::with_pointer(
                entry,
                len,
                &PointedFrame {
                    saved: &frame.saved,
                    saved_at: frame.saved_at,
                    left: &frame.left,
                },
            ),
        }
    }

    /// What is known of the code of the slot table.
    pub fn of_table(code: TableCode) -> Frame {
        let byte = |size: usize| u8::try_from(size).ok();
        let pushes = match (code.kind, code.kind.pushed(), PUSHED_FROM.and_then(byte)) {
            (TableCodeKind::Stubs, _, Some(offset)) => Pushes::From {
                piece: byte(STUB_BYTES).unwrap_or(u8::MAX),
                offset,
            },
            (_, 0, _) => Pushes::Never,
            _ => Pushes::Always,
        };
        Frame::stubs(code.start, code.len, pushes)
    }
}
