//! Data objects: memory, contents, and the addresses that are written into them later.

use super::resolve::ResolveError;
use cranelift_codegen::binemit::CodeOffset;
use cranelift_jit::{JITMemoryKind, JITMemoryProvider};
use cranelift_module::{ModuleError, ModuleReloc, ModuleRelocTarget, ModuleResult};
use std::io;

/// A data object with memory of its own.
#[derive(Debug)]
pub(super) struct DataObject {
    address: usize,
    size: usize,
}

/// What a data object holds at first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Contents<'a> {
    Zeros(usize),
    Bytes(&'a [u8]),
}

impl DataObject {
    /// Allocates and fills a data object. One without bytes still gets an address of its own.
    ///
    /// # Errors
    ///
    /// `Allocation`: the provider's.
    pub fn new(
        memory: &mut dyn JITMemoryProvider,
        contents: Contents<'_>,
        align: u64,
        kind: JITMemoryKind,
    ) -> ModuleResult<Self> {
        let size = match contents {
            Contents::Zeros(size) => size,
            Contents::Bytes(bytes) => bytes.len(),
        };
        let size = size.max(1);
        let start = allocate(memory, size, align, kind);
        let start = start.map_err(|err| ModuleError::Allocation { err })?;
        // SAFETY: the provider gave `size` bytes for this object alone, writable until it is told to
        // finalize them.
        unsafe {
            match contents {
                Contents::Zeros(_) | Contents::Bytes([]) => start.write_bytes(0, size),
                Contents::Bytes(bytes) => {
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len());
                }
            }
        }
        Ok(Self {
            address: start.expose_provenance(),
            size,
        })
    }

    pub fn address(&self) -> usize {
        self.address
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes the addresses of what the object refers to. Nothing is written if one is not known.
    ///
    /// The memory must still be writable: the provider has not finalized it.
    ///
    /// # Errors
    ///
    /// What `find` says; a place that is not in the object.
    pub fn relocate(
        &self,
        relocs: &[ModuleReloc],
        pointer_bytes: u8,
        find: impl Fn(&ModuleRelocTarget) -> Result<usize, ResolveError>,
    ) -> Result<(), ResolveError> {
        let width = usize::from(pointer_bytes);
        let resolved = relocs.iter().map(|reloc| {
            let target = find(&reloc.name)?;
            let addend = isize::try_from(reloc.addend).ok();
            let value = addend.and_then(|addend| target.checked_add_signed(addend));
            let end = (reloc.offset as usize).checked_add(width);
            match value {
                Some(value) if end.is_some_and(|end| end <= self.size) => Ok((reloc.offset, value)),
                _ => Err(ResolveError::OutOfRange {
                    name: reloc.name.to_string(),
                    offset: reloc.offset,
                    addend: reloc.addend,
                }),
            }
        });
        let resolved: Vec<(CodeOffset, usize)> = resolved.collect::<Result<_, _>>()?;
        for (offset, value) in resolved {
            let bytes = value.to_ne_bytes();
            let start = std::ptr::with_exposed_provenance_mut::<u8>(self.address);
            // SAFETY: `width` bytes from `offset` on are in the object (checked above), which nobody
            // uses before it is finalized.
            unsafe {
                let place = start.add(offset as usize);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, width.min(bytes.len()));
            }
        }
        Ok(())
    }
}

/// Allocates at any alignment: providers know those up to a page.
fn allocate(
    memory: &mut dyn JITMemoryProvider,
    size: usize,
    align: u64,
    kind: JITMemoryKind,
) -> io::Result<*mut u8> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    let wanted = usize::try_from(align).ok();
    let wanted = wanted.filter(|align| align.is_power_of_two());
    let wanted = wanted.ok_or_else(|| invalid("the alignment is not a power of two"))?;
    if wanted <= PAGE {
        return memory.allocate(size, align, kind);
    }
    let room = size.checked_add(wanted - PAGE);
    let room = room.ok_or_else(|| invalid("the data object is too large"))?;
    let start = memory.allocate(room, PAGE as u64, kind)?;
    let gap = start.addr().next_multiple_of(wanted) - start.addr();
    Ok(start.wrapping_add(gap))
}

/// The smallest size of a page on any supported host.
const PAGE: usize = 4096;
