//! Units: everything that is reached through a slot.
//!
//! A function, a region and an import are all entries of one table; the
//! index of an entry is what a cell holds, and what CLIF names refer to.

use crate::units::formed::Formed;
use crate::units::function::{Body, FunctionUnit};
use regraft_executor::slots::{OwnedSlot, SlotAddresses};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

/// An entry of the unit table.
#[derive(Clone, Debug)]
pub(crate) enum Unit {
    /// A function, defined or imported.
    Function(Arc<FunctionUnit>),
    /// The region of a hook of a function.
    Region {
        function: Arc<FunctionUnit>,
        body: Weak<Body>,
        hook: usize,
        slot: SlotAddresses,
    },
    /// The continuation of side exits of a formed region.
    Continuation {
        function: Arc<FunctionUnit>,
        body: Weak<Body>,
        formed: Weak<Formed>,
        /// The position in the formed region's sides.
        side: usize,
        slot: SlotAddresses,
    },
    /// An entry point of the runtime.
    Runtime(Arc<OwnedSlot>),
}

impl Unit {
    /// Where generated code finds its slot.
    pub fn slot(&self) -> SlotAddresses {
        match self {
            Self::Function(function) => function.slot.addresses(),
            Self::Runtime(slot) => slot.addresses(),
            Self::Region { slot, .. } | Self::Continuation { slot, .. } => *slot,
        }
    }
}

/// All units of an engine, the names of functions, and data symbols.
///
/// A number is given once: what it stood for is never mistaken for something newer.
#[derive(Debug, Default)]
pub(crate) struct UnitTable {
    units: BTreeMap<u32, Unit>,
    /// Functions by their stubs.
    stubs: HashMap<usize, u32>,
    next: u32,
    pub functions: HashMap<String, Arc<FunctionUnit>>,
    pub data_names: Vec<String>,
}

impl UnitTable {
    /// Takes the next number, if there is one left.
    pub fn number(&mut self) -> Option<u32> {
        let number = self.next;
        self.next = number.checked_add(1)?;
        Some(number)
    }

    /// Enters a unit under its number.
    pub fn insert(&mut self, number: u32, unit: Unit) {
        if let Unit::Function(function) = &unit {
            self.stubs.insert(function.slot.stub_address(), number);
        }
        self.units.insert(number, unit);
    }

    /// The number of a data symbol, which is entered if it is not there; `None` if there are too many.
    pub fn data_name(&mut self, symbol: String) -> Option<u32> {
        let known = self.data_names.iter().position(|known| *known == symbol);
        let index = known.unwrap_or(self.data_names.len());
        if known.is_none() {
            self.data_names.push(symbol);
        }
        u32::try_from(index).ok()
    }

    /// Takes a unit out: nothing refers to it any more.
    pub fn remove(&mut self, number: u32) -> Option<Unit> {
        let unit = self.units.remove(&number);
        if let Some(Unit::Function(function)) = &unit {
            let stub = function.slot.stub_address();
            // It may have been given to another function.
            if self.stubs.get(&stub) == Some(&number) {
                self.stubs.remove(&stub);
            }
        }
        unit
    }

    /// Keeps the units for which `keep` is true.
    pub fn retain(&mut self, keep: impl Fn(&Unit) -> bool) {
        self.units.retain(|_, unit| keep(unit));
    }

    pub fn get(&self, unit: u32) -> Option<&Unit> {
        self.units.get(&unit)
    }

    pub fn function(&self, unit: u32) -> Option<&Arc<FunctionUnit>> {
        match self.get(unit)? {
            Unit::Function(function) => Some(function),
            _ => None,
        }
    }

    /// The function that is called at an address.
    pub fn function_at(&self, stub: usize) -> Option<&Arc<FunctionUnit>> {
        self.function(*self.stubs.get(&stub)?)
    }

    /// All units, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Unit> {
        self.units.values()
    }
}
