//! Memory flags and alias regions of what generated code accesses.
//!
//! | region | what is in it | flags |
//! |---|---|---|
//! | constant | the instance's fields and function records, once it is made | `readonly` |
//! | memory | all linear memories | may trap, `heap_oob` |
//! | tables | the elements of all tables | |
//! | lengths | the sizes of memories and tables | |
//! | globals | globals that several instances can share | |
//! | one per global | a global that only its own instance can reach | |
//!
//! Region numbers are the same in all functions of a process where they can mean the same memory, so
//! functions may be inlined into each other. Two memories (or tables) can be imported as the same one, so
//! all share a region.

use crate::module::{Item, ModuleData};
use cranelift_codegen::ir::{
    AliasRegion, AliasRegionData, Endianness, Function, MemFlagsData, TrapCode,
};
use std::borrow::Cow;

/// Globals beyond this one share a region: CLIF has room for 65,534 sets of flags in a function.
const MAX_OWN_REGIONS: u32 = 4096;

/// Region numbers up to here are the shared ones.
pub(crate) const FIRST_OWN_REGION: u32 = 16;

/// The flags of a function's memory accesses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    /// What is constant in an instance.
    pub constant: MemFlagsData,
    /// A linear memory.
    pub memory: MemFlagsData,
    /// The elements of a table.
    pub table: MemFlagsData,
    /// The size of a memory or table.
    pub length: MemFlagsData,
    /// A function record, behind a reference that may be null.
    pub record: MemFlagsData,
    /// A global that instances share.
    pub shared_global: MemFlagsData,
}

impl Flags {
    pub fn new(func: &mut Function) -> Self {
        let mut region = |user_id, description| Some(region(func, user_id, description));
        let trusted = MemFlagsData::trusted();
        let constant = region(1, "constant");
        Self {
            constant: trusted
                .with_readonly()
                .with_can_move()
                .with_alias_region(constant),
            memory: MemFlagsData::new()
                .with_endianness(Endianness::Little)
                .with_trap_code(Some(TrapCode::HEAP_OUT_OF_BOUNDS))
                .with_alias_region(region(2, "memory")),
            table: trusted.with_alias_region(region(3, "tables")),
            length: trusted.with_alias_region(region(4, "lengths")),
            record: MemFlagsData::new()
                .with_aligned()
                .with_readonly()
                .with_trap_code(Some(crate::error::codes::UNINITIALIZED_ELEMENT))
                .with_alias_region(constant),
            shared_global: trusted.with_alias_region(region(5, "shared globals")),
        }
    }

    /// The rest of a function record whose type has been read: it does not fault, but must not be read
    /// before the check.
    pub fn constant_after_check(&self) -> MemFlagsData {
        self.record.with_notrap()
    }

    /// The flags of a global; `first` is the region number of the module's first global.
    pub fn global(
        &self,
        func: &mut Function,
        first: u32,
        module: &ModuleData,
        global: u32,
    ) -> MemFlagsData {
        let exported = || {
            module
                .exports
                .iter()
                .any(|export| export.item == Item::Global(global))
        };
        let number = first.checked_add(global);
        match number {
            Some(number)
                if global >= module.imported_globals && global < MAX_OWN_REGIONS && !exported() =>
            {
                let region = region(func, number, "global");
                MemFlagsData::trusted().with_alias_region(Some(region))
            }
            _ => self.shared_global,
        }
    }
}

fn region(func: &mut Function, user_id: u32, description: &'static str) -> AliasRegion {
    func.dfg.alias_regions.insert(AliasRegionData {
        user_id,
        description: Cow::Borrowed(description),
    })
}
