//! The linker: finished machine code becomes an executable version.
//!
//! cranelift-jit applies the relocations: a `JITModule` per version, with a memory provider that
//! hands out the arena's *writable* view. That the code then runs at another address is no concern,
//! because of the invariant:
//!
//! * **Absolute only**: every relocation is an absolute address that the caller supplies. Anything
//!   relative to the code's own place is refused ([`LinkError::Relocation`]). Code that was compiled
//!   with `is_pic=false`, and whose external names are not `colocated`, has no other kind.
//!
//! Everything that could make cranelift-jit panic (unknown names, overflowing addends) is checked
//! before it sees the code. Constants are part of Cranelift's code buffer, so that a version is one
//! block, which goes back to the arena with its owner.
//!
//! Limitations: cranelift-jit writes perf maps (`PERF_BUILDID_DIR`) with writable addresses.
//!
//! Not here: which address a name has, and when a version may be freed.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use cranelift_codegen::binemit::{CodeOffset, Reloc};
use cranelift_codegen::ir::{ExternalName, Function, Signature};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::{CompiledCode, FinalizedRelocTarget};
use cranelift_jit::{BranchProtection, JITBuilder, JITMemoryKind, JITMemoryProvider, JITModule};
use cranelift_module::{
    Linkage, Module, ModuleError, ModuleReloc, ModuleRelocTarget, ModuleResult,
    default_libcall_names,
};

use crate::arch;
use crate::arena::{Arena, ArenaError, CodeBlock, GRANULE, OwnedCode};
use crate::layout::CACHE_LINE;

pub use self::libcalls::{default_libcall_address, process_symbol};

mod libcalls;

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
    /// A relocation that depends on where the code lies. The name was declared `colocated`, or is a
    /// thread-local.
    #[error("the relocation {kind} against {name} at offset {offset} is not absolute")]
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

/// Copies `code` into code memory, applies its relocations, and makes it runnable.
///
/// `func` is the function that `code` was compiled from: it knows the external names that the
/// relocations refer to. `resolve` is asked for the address of each name, library calls included
/// ([`default_libcall_address`]), before anything is written. The instruction at `hot`, an offset in
/// the code, starts a cache line, if the code's own alignment permits.
///
/// # Errors
/// [`LinkError`]; nothing stays allocated.
///
/// # Complexity
/// O(bytes + relocations), plus about 2 µs for the module, measured by the test `cost_of_a_module`.
pub fn link(
    arena: &Arc<Arena>,
    isa: &OwnedTargetIsa,
    name: &str,
    code: &CompiledCode,
    func: &Function,
    hot: Option<CodeOffset>,
    resolve: &dyn Fn(&ModuleRelocTarget) -> Option<usize>,
) -> Result<Linked, LinkError> {
    if isa.flags().is_pic() {
        return Err(LinkError::PositionIndependent);
    }
    let relocs = absolute_relocations(code, func, resolve)?;
    let placed = Arc::new(Mutex::new(Placed::default()));
    let memory = VersionMemory {
        arena: Arc::clone(arena),
        hot,
        placed: Arc::clone(&placed),
    };
    let linked = apply(isa, name, code, &relocs, memory);
    let mut placed = placed.lock().unwrap_or_else(PoisonError::into_inner);
    let block = placed.block.take();
    match (linked, block) {
        (Ok(()), Some(block)) => Ok(Linked {
            entry: arena.executable(placed.start).expose_provenance(),
            len: code.code_buffer().len(),
            code: OwnedCode::new(arena, block),
        }),
        (linked, block) => {
            if let Some(block) = block {
                arena.free_code(block);
            }
            Err(match (placed.error.take(), linked) {
                (Some(error), _) => error,
                (None, Err(error)) => LinkError::Module {
                    message: error.to_string(),
                },
                (None, Ok(())) => LinkError::Module {
                    message: String::from("no memory was asked for"),
                },
            })
        }
    }
}

/// A relocation with the address of its target; what is left to cranelift-jit cannot fail.
struct Absolute {
    kind: Reloc,
    offset: CodeOffset,
    address: usize,
    addend: i64,
}

/// Checks every relocation and finds the address of every name.
fn absolute_relocations(
    code: &CompiledCode,
    func: &Function,
    resolve: &dyn Fn(&ModuleRelocTarget) -> Option<usize>,
) -> Result<Vec<Absolute>, LinkError> {
    let len = code.code_buffer().len();
    let relocs = code.buffer.relocs().iter().map(|reloc| {
        let (offset, addend) = (reloc.offset, reloc.addend);
        let target = target(&reloc.target, func);
        let name = || match &target {
            Some(target) => target.to_string(),
            None => String::from("a name that only the function itself knows"),
        };
        if reloc.kind != Reloc::Abs8 {
            return Err(LinkError::Relocation {
                kind: reloc.kind,
                offset,
                name: name(),
            });
        }
        let address = target
            .as_ref()
            .and_then(resolve)
            .ok_or_else(|| LinkError::UnresolvedSymbol { name: name() })?;
        let in_range = isize::try_from(addend)
            .is_ok_and(|addend| address.checked_add_signed(addend).is_some())
            && (offset as usize)
                .checked_add(8)
                .is_some_and(|end| end <= len);
        if !in_range {
            return Err(LinkError::OutOfRange {
                offset,
                name: name(),
                addend,
            });
        }
        Ok(Absolute {
            kind: reloc.kind,
            offset,
            address,
            addend,
        })
    });
    relocs.collect()
}

/// The name a relocation refers to, if it is one that can have an address from outside.
fn target(target: &FinalizedRelocTarget, func: &Function) -> Option<ModuleRelocTarget> {
    match target {
        FinalizedRelocTarget::ExternalName(name) => match name {
            ExternalName::User(name) => {
                let name = func.params.user_named_funcs().get(*name)?;
                Some(ModuleRelocTarget::user(name.namespace, name.index))
            }
            ExternalName::LibCall(libcall) => Some(ModuleRelocTarget::LibCall(*libcall)),
            ExternalName::KnownSymbol(symbol) => Some(ModuleRelocTarget::KnownSymbol(*symbol)),
            ExternalName::TestCase(_) => None,
        },
        FinalizedRelocTarget::Func(_) => None,
    }
}

/// Lets cranelift-jit copy the code and write the addresses.
///
/// It knows one symbol; the addends do the rest, which is cheaper than a name for each address.
fn apply(
    isa: &OwnedTargetIsa,
    name: &str,
    code: &CompiledCode,
    relocs: &[Absolute],
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
        addend: distance_from_base(reloc.address) + reloc.addend,
    });
    let module_relocs: Vec<ModuleReloc> = module_relocs.collect();
    // The name cannot be that of the import: it has a blank.
    let id = module.declare_function(&format!("version {name}"), Linkage::Local, &signature)?;
    let align = u64::from(code.buffer.alignment);
    module.define_function_bytes(id, align, code.code_buffer(), &module_relocs)?;
    module.finalize_definitions()?;
    Ok(())
}

/// The symbol that all relocations refer to.
const BASE: &str = "base";

/// Its address, from which every address is an `i64` away.
const BASE_ADDRESS: usize = 1 << (usize::BITS - 1);

/// How far it is from the base to an address. What is then added leads to an address again
/// ([`absolute_relocations`]), so it does not overflow.
fn distance_from_base(address: usize) -> i64 {
    (address as i64).wrapping_sub(BASE_ADDRESS as i64)
}

/// What the memory provider tells [`link`], which cannot ask the module for it.
#[derive(Default)]
struct Placed {
    block: Option<CodeBlock>,
    /// Where the code starts in code memory, in the block's first granule.
    start: usize,
    error: Option<LinkError>,
}

/// The memory of one version: one block of the arena.
///
/// Dropping it with its module frees nothing; the block belongs to whoever links.
struct VersionMemory {
    arena: Arc<Arena>,
    hot: Option<CodeOffset>,
    placed: Arc<Mutex<Placed>>,
}

impl VersionMemory {
    fn place(&mut self, size: usize, align: u64) -> Result<*mut u8, LinkError> {
        let align = usize::try_from(align).unwrap_or(usize::MAX).max(1);
        let mut gap = 0;
        let block = match self.hot {
            Some(hot) if align <= GRANULE => {
                // Blocks start at granules, and so does what lies at `hot` then; the code itself may not.
                let hot = hot as usize;
                let rest = hot.next_multiple_of(GRANULE) - hot;
                gap = if rest.is_multiple_of(align) { rest } else { 0 };
                let size = size.saturating_add(gap);
                self.arena.alloc_code_around(size, CACHE_LINE, hot + gap)?
            }
            _ => self.arena.alloc_code(size, align)?,
        };
        let start = block.offset() + gap;
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        placed.start = start;
        if let Some(other) = placed.block.replace(block) {
            self.arena.free_code(other);
        }
        Ok(self.arena.writable(start))
    }

    fn fail(&mut self, error: LinkError) -> io::Error {
        let message = error.to_string();
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        placed.error = Some(error);
        io::Error::other(message)
    }
}

impl JITMemoryProvider for VersionMemory {
    fn allocate(&mut self, size: usize, align: u64, _: JITMemoryKind) -> io::Result<*mut u8> {
        self.place(size, align).map_err(|error| self.fail(error))
    }

    unsafe fn free_memory(&mut self) {}

    /// Nothing changes its protection: the executable view has been executable all along.
    fn finalize(&mut self, _: BranchProtection) -> ModuleResult<()> {
        let range = {
            let placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
            let block = placed.block.as_ref();
            block.map(|block| {
                let executable = self.arena.executable(block.offset());
                (executable, block.len(), block.is_reused())
            })
        };
        let Some((executable, len, reused)) = range else {
            return Ok(());
        };
        // SAFETY: the block lies inside the executable view.
        unsafe { arch::synchronize(executable, len, reused) }.map_err(|error| {
            ModuleError::Allocation {
                err: self.fail(LinkError::Synchronize(error)),
            }
        })
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
