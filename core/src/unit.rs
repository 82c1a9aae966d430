//! Units: everything that is reached through a slot.
//!
//! A function, a region and an import are all entries of one table; the
//! index of an entry is what a cell holds, and what CLIF names refer to.

use crate::baseline::Baseline;
use crate::error::CompileError;
use crate::externals::Externals;
use crate::formed::Formed;
use crate::lazy::Lazy;
use crate::references::References;
use crate::slots::SlotRef;
use cranelift_codegen::ir::{Function, Signature};
use regraft_regions::function_hash;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A function of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FuncId(u32);

impl FuncId {
    /// The function with this number, as CLIF names it: `u0:<number>`.
    pub fn from_u32(number: u32) -> Self {
        Self(number)
    }

    /// The number of the function.
    pub fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for FuncId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u0:{}", self.0)
    }
}

/// What a function of the table is, and what is known of it.
#[derive(Debug)]
pub(crate) struct FunctionUnit {
    pub unit: u32,
    pub name: String,
    pub signature: Signature,
    pub slot: SlotRef,
    pub body: OnceLock<Body>,
    /// Whether its name means nothing outside of the module that owns it.
    pub local: bool,
    /// How it is defined when it is first called.
    pub lazy: Lazy,
}

impl FunctionUnit {
    /// Its name, or where that is taken, the name and the number.
    pub fn unique_name(&self, taken: impl FnOnce(&str) -> bool) -> String {
        match taken(&self.name) {
            true => format!("{}#{}", self.name, self.unit),
            false => self.name.clone(),
        }
    }
}

/// A function that the client defined.
#[derive(Debug)]
pub(crate) struct Body {
    /// What the client defined, with names turned into numbers.
    pub source: Function,
    /// Whether its source locations are the numbers of its blocks.
    pub block_locations: bool,
    /// The functions it refers to.
    pub references: References,
    /// What its names lead to, where they are not the engine's.
    pub externals: Option<Arc<Externals>>,
    /// Its first version, compiled once and kept.
    pub baseline: OnceLock<Result<Baseline, CompileError>>,
}

impl Body {
    /// The hash of the function as the client defined it: without numbers
    /// for names, and without the locations that the engine added.
    pub fn client_hash(&self) -> u64 {
        let mut source = self.source.clone();
        self.references.restore(&mut source);
        if self.block_locations {
            source.srclocs.clear();
        }
        function_hash(&source)
    }
}

/// An entry of the unit table.
#[derive(Clone, Debug)]
pub(crate) enum Unit {
    /// A function, defined or imported.
    Function(Arc<FunctionUnit>),
    /// The region of a hook of a function.
    Region {
        function: Arc<FunctionUnit>,
        hook: usize,
        slot: SlotRef,
    },
    /// The continuation of side exits of a formed region.
    Continuation {
        function: Arc<FunctionUnit>,
        formed: Arc<Formed>,
        /// The position in the formed region's sides.
        side: usize,
        slot: SlotRef,
    },
    /// An entry point of the runtime.
    Runtime(SlotRef),
    /// Nothing any more; the number is not given again.
    Vacant,
}

impl Unit {
    pub fn slot(&self) -> Option<SlotRef> {
        match self {
            Self::Vacant => None,
            Self::Function(function) => Some(function.slot),
            Self::Region { slot, .. } | Self::Continuation { slot, .. } | Self::Runtime(slot) => {
                Some(*slot)
            }
        }
    }
}

/// All units of an engine, the names of functions, and data symbols.
#[derive(Debug, Default)]
pub(crate) struct UnitTable {
    pub units: Vec<Unit>,
    pub functions: HashMap<String, Arc<FunctionUnit>>,
    pub data_names: Vec<String>,
}

impl UnitTable {
    pub fn next(&self) -> Option<u32> {
        u32::try_from(self.units.len()).ok()
    }

    pub fn get(&self, unit: u32) -> Option<&Unit> {
        self.units.get(unit as usize)
    }

    pub fn function(&self, unit: u32) -> Option<&Arc<FunctionUnit>> {
        match self.get(unit)? {
            Unit::Function(function) => Some(function),
            _ => None,
        }
    }
}
