//! The linker: finished machine code becomes an executable version, in two steps.
//!
//! ```text
//!   machine code ── allocate ──▶ a block of code memory ── link ──▶ a version
//!                             (its address is known)    (all names have addresses)
//! ```
//!
//! Between the steps is time to give addresses to what the code refers to, itself included.
//! cranelift-jit applies the relocations: a `JITModule` per version, with a memory provider that
//! hands out the arena's *writable* view. The code runs at another address. So:
//!
//! * **Absolute relocations** are the same in both views. Code that was compiled with
//!   `is_pic=false`, and whose external names are not `colocated`, has no other kind.
//! * **PC-relative relocations**, of calls of stubs in tier-1 code (x86-64) and of machine code that a client brings along, are
//!   computed for a target that is moved by the distance of the views. What is out of reach is refused.
//!
//! Everything that could make cranelift-jit panic (unknown names, overflowing addends, distances) is
//! checked before it sees the code. Constants are part of Cranelift's code buffer, so that a version
//! is one block, which goes back to the arena with its owner.
//!
//! Limitations: cranelift-jit writes perf maps (`PERF_BUILDID_DIR`) with writable addresses.
//!
//! Not here: which address a name has, and when a version may be freed.

use std::io;
use std::sync::Arc;

use cranelift_codegen::binemit::{CodeOffset, Reloc};
use cranelift_codegen::ir::Signature;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_jit::{BranchProtection, JITBuilder, JITMemoryKind, JITMemoryProvider, JITModule};
use cranelift_module::{
    Linkage, Module, ModuleError, ModuleReloc, ModuleRelocTarget, ModuleResult,
    default_libcall_names,
};

use self::relocate::{Resolved, resolve_all};
use crate::passes::layout::CACHE_LINE;
use regraft_executor::arena::{Arena, ArenaError, GRANULE, OwnedCode};

pub use self::libcalls::{default_libcall_address, library_call, process_symbol};
pub use self::object::{ObjectCode, Relocation, Target};

mod libcalls;
mod object;
mod relocate;

/// A version in code memory, ready to be published.
#[derive(Debug)]
pub struct Linked {
    /// Where it is called: an address of the executable view.
    pub entry: usize,
    /// Bytes of machine code and constants.
    pub len: usize,
    /// The memory it occupies, which goes back when this is dropped.
    pub code: OwnedCode,
}

/// Why code could not be linked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Nobody knows the address of a name.
    #[error("no address is known for {name}")]
    UnresolvedSymbol {
        /// The name as CLIF prints it.
        name: String,
    },
    /// A kind of relocation that is not applied: the name is a thread-local, or the code is
    /// position-independent.
    #[error("the relocation {kind} against {name} at offset {offset} is not supported")]
    Relocation {
        /// The kind of relocation.
        kind: Reloc,
        /// Where in the code.
        offset: CodeOffset,
        /// The name as CLIF prints it.
        name: String,
    },
    /// Address and addend together are no address, or the relocation leaves the code.
    #[error(
        "the relocation against {name} with addend {addend} at offset {offset} is out of range"
    )]
    OutOfRange {
        /// Where in the code.
        offset: CodeOffset,
        /// The name as CLIF prints it.
        name: String,
        /// What is added to the address of the name.
        addend: i64,
    },
    /// The code refers to something by its distance, and that is too far away. Names that are not
    /// `colocated` can be anywhere.
    #[error(
        "{name} at {address:#x} is out of the reach of the relocation {kind} at offset {offset}"
    )]
    OutOfReach {
        /// The kind of relocation.
        kind: Reloc,
        /// Where in the code.
        offset: CodeOffset,
        /// The name as CLIF prints it.
        name: String,
        /// Where it is.
        address: usize,
    },
    /// The settings make code that only runs where it was linked.
    #[error("code compiled with is_pic=true cannot be linked")]
    PositionIndependent,
    /// There is no memory for the code.
    #[error("{0}")]
    Arena(#[from] ArenaError),
    /// The code was written, but the instruction caches could not be told.
    #[error("instruction caches could not be synchronised")]
    Synchronize(#[source] io::Error),
    /// cranelift-jit refused: a bug here.
    #[error("cranelift-jit: {message}")]
    Module {
        /// What it said.
        message: String,
    },
}

/// A block of code memory for code that is to be linked; goes back when it is dropped.
#[derive(Debug)]
pub struct Allocation {
    arena: Arc<Arena>,
    block: OwnedCode,
    /// Where the code starts in code memory, in the block's first granule.
    start: usize,
    /// Bytes from there to the end of the block.
    room: usize,
}

impl Allocation {
    /// Where the code will be called: an address of the executable view.
    pub fn entry(&self) -> usize {
        self.arena.executable(self.start).expose_provenance()
    }
}

/// Bytes that cranelift-jit asks for at most for each call on AArch64, in case it is far.
const VENEER: usize = 24;

/// Finds a place for `code`. Its instruction at `hot` starts a cache line, if the code's own
/// alignment permits.
///
/// # Errors
/// [`LinkError::Arena`].
pub fn allocate(arena: &Arc<Arena>, code: &ObjectCode) -> Result<Allocation, LinkError> {
    let align = usize::try_from(code.align).unwrap_or(usize::MAX).max(1);
    let relocations = code.relocations.iter();
    let calls = relocations.filter(|reloc| reloc.kind == Reloc::Arm64Call);
    let size = code.bytes.len() + calls.count() * VENEER;
    let mut gap = 0;
    let block = match code.hot {
        Some(hot) if align <= GRANULE => {
            // Blocks start at granules, and so does what lies at `hot` then; the code itself may not.
            let hot = hot as usize;
            let rest = hot.next_multiple_of(GRANULE) - hot;
            gap = if rest.is_multiple_of(align) { rest } else { 0 };
            arena.alloc_code_around(size.saturating_add(gap), CACHE_LINE, hot + gap)?
        }
        _ => arena.alloc_code(size, align)?,
    };
    Ok(Allocation {
        arena: Arc::clone(arena),
        start: block.offset() + gap,
        room: block.size() - gap,
        block: OwnedCode::new(arena, block),
    })
}

/// Copies `code` to its place, applies its relocations, and makes it runnable.
///
/// `resolve` is asked for the address of each name, library calls included
/// ([`default_libcall_address`]), before anything is written.
///
/// # Errors
/// [`LinkError`]; nothing stays allocated.
///
/// # Complexity
/// O(bytes + relocations), plus about 2 µs for the module, measured by the test `cost_of_a_module`.
pub fn link(
    allocation: Allocation,
    isa: &OwnedTargetIsa,
    name: &str,
    code: &ObjectCode,
    resolve: &dyn Fn(&ModuleRelocTarget) -> Option<usize>,
) -> Result<Linked, LinkError> {
    if isa.flags().is_pic() {
        return Err(LinkError::PositionIndependent);
    }
    let entry = allocation.entry();
    let arena = &allocation.arena;
    let writable = arena.writable(allocation.start).expose_provenance();
    let relocs = resolve_all(code, entry, writable, resolve)?;
    let memory = VersionMemory {
        arena: Arc::clone(arena),
        start: allocation.start,
        room: allocation.room,
    };
    apply(isa, name, code, &relocs, memory).map_err(|error| LinkError::Module {
        message: error.to_string(),
    })?;
    allocation
        .block
        .synchronize()
        .map_err(LinkError::Synchronize)?;
    Ok(Linked {
        entry,
        len: code.bytes.len(),
        code: allocation.block,
    })
}

/// Lets cranelift-jit copy the code and write the addresses.
///
/// It knows one symbol; the addends do the rest, which is cheaper than a name for each address.
fn apply(
    isa: &OwnedTargetIsa,
    name: &str,
    code: &ObjectCode,
    relocs: &[Resolved],
    memory: VersionMemory,
) -> Result<(), Box<ModuleError>> {
    let mut builder = JITBuilder::with_isa(Arc::clone(isa), default_libcall_names());
    builder.symbol(BASE, std::ptr::without_provenance(BASE_ADDRESS));
    builder.memory_provider(Box::new(memory));
    let mut module = JITModule::new(builder);
    // The signature of an import plays no role in relocation.
    let signature = Signature::new(isa.default_call_conv());
    let import = module.declare_function(BASE, Linkage::Import, &signature)?;
    let module_relocs = relocs.iter().map(|reloc| ModuleReloc {
        offset: reloc.offset,
        kind: reloc.kind,
        name: import.into(),
        addend: distance_from_base(reloc.address),
    });
    let module_relocs: Vec<ModuleReloc> = module_relocs.collect();
    // The name cannot be that of the import: it has a blank.
    let id = module.declare_function(&format!("version {name}"), Linkage::Local, &signature)?;
    module.define_function_bytes(id, code.align, &code.bytes, &module_relocs)?;
    module.finalize_definitions()?;
    Ok(())
}

/// The symbol that all relocations refer to.
const BASE: &str = "base";

/// Its address, from which every address is an `i64` away.
const BASE_ADDRESS: usize = 1 << (usize::BITS - 1);

/// How far it is from the base to an address.
fn distance_from_base(address: usize) -> i64 {
    (address as i64).wrapping_sub(BASE_ADDRESS as i64)
}

/// The memory of one version: its place.
///
/// Dropping it with its module frees nothing; the place belongs to whoever links.
struct VersionMemory {
    arena: Arc<Arena>,
    start: usize,
    room: usize,
}

impl JITMemoryProvider for VersionMemory {
    fn allocate(&mut self, size: usize, _: u64, _: JITMemoryKind) -> io::Result<*mut u8> {
        if size > self.room {
            return Err(io::Error::other("the code is larger than its allocation"));
        }
        self.room = 0;
        Ok(self.arena.writable(self.start))
    }

    unsafe fn free_memory(&mut self) {}

    /// Nothing changes its protection: the executable view has been executable all along.
    fn finalize(&mut self, _: BranchProtection) -> ModuleResult<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
