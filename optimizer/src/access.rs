//! What each instruction does to memory, in terms of *places*.
//!
//! A [`Place`] is some bytes at an [`Address`] that the function loads or stores in one piece. Two accesses are to the same place
//! if base, offset and kind are the same. For everything else that may change a place there is a list ([`Accesses::changed_by`]).
//!
//! What may change a place:
//!
//! | event | changes |
//! |---|---|
//! | a store | places of the same base that it overlaps; of another base those that it may alias (below) |
//! | a call, an atomic operation, a fence, anything that may store | all but private slots and read-only places |
//! | a definition of a leaf of its base | the place is another one from there on |
//!
//! Accesses with different bases do not alias if one is to a private slot and the other is not to that slot; if they
//! are to different slots; or if they have different alias regions (CLIF: without a region an access may alias any).
//!
//! Limitations: accesses with explicit big-endian order, widening vector loads and dynamic vectors are no places; as stores
//! they change what they may alias.

use crate::address::{Address, Numbering};
use crate::escape::{Slots, slots};
use crate::policy::Policy;
use cranelift_codegen::ir::{
    AliasRegion, Block, Endianness, Function, Inst, InstructionData, MemFlags, Opcode, StackSlot,
    Type, Value, types,
};
use regraft_regions::Flow;
use rustc_hash::FxHashMap;

/// The number of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlaceId(pub u32);

impl PlaceId {
    pub fn new(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What can be converted into one another without loss, by moving bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Integers up to 64 bits, `f32` and `f64`, by size in bytes.
    Scalar(u32),
    /// Everything else.
    Exactly(Type),
}

impl Kind {
    fn of(ty: Type) -> Option<Self> {
        match ty {
            types::F32 => Some(Self::Scalar(4)),
            types::F64 => Some(Self::Scalar(8)),
            ty if ty.is_int() && ty.bits() <= 64 => Some(Self::Scalar(ty.bytes())),
            ty if ty.is_dynamic_vector() => None,
            ty => Some(Self::Exactly(ty)),
        }
    }

    pub fn bytes(self) -> u32 {
        match self {
            Self::Scalar(bytes) => bytes,
            Self::Exactly(ty) => ty.bytes(),
        }
    }
}

/// Bytes that are accessed in one piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub address: Address,
    pub kind: Kind,
    /// The type in which its value is known between accesses.
    pub ty: Type,
    /// The slot of this function that it lies in.
    pub slot: Option<StackSlot>,
    /// Whether that is a private one.
    pub private: bool,
    /// Whether it is only ever loaded, with the promise that nobody writes it.
    pub read_only: bool,
    /// The alias region that all accesses name.
    pub region: Option<AliasRegion>,
    /// How many loads there are.
    pub loads: u32,
    /// How many loads and stores.
    pub accesses: u32,
}

/// What an instruction does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Loads a place.
    Load(PlaceId),
    /// Stores to a place; others change as the list says.
    Store(PlaceId, ChangeId),
    /// Others change as the list says.
    Changes(ChangeId),
    /// Defines leaves: these places are others from there on.
    Defines(ChangeId),
}

/// The number of a list of places that change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChangeId(u32);

/// What a load or store accesses, as the instruction says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operands {
    pub opcode: Opcode,
    pub pointer: Value,
    pub offset: i32,
    pub flags: MemFlags,
    /// The type of what is loaded or stored.
    pub ty: Type,
    /// The type in memory: a narrow one for `uload8` and its like.
    pub memory: Type,
    /// What is stored.
    pub data: Option<Value>,
}

/// Reads a load or a store.
pub(crate) fn operands(func: &Function, inst: Inst) -> Option<Operands> {
    let narrow = |opcode, ty: Type| match opcode {
        Opcode::Load | Opcode::Store => Some(ty),
        Opcode::Uload8 | Opcode::Sload8 | Opcode::Istore8 => Some(types::I8),
        Opcode::Uload16 | Opcode::Sload16 | Opcode::Istore16 => Some(types::I16),
        Opcode::Uload32 | Opcode::Sload32 | Opcode::Istore32 => Some(types::I32),
        _ => None,
    };
    match func.dfg.insts[inst] {
        InstructionData::Load {
            opcode,
            arg,
            flags,
            offset,
        } => {
            let ty = func.dfg.value_type(*func.dfg.inst_results(inst).first()?);
            Some(Operands {
                opcode,
                pointer: arg,
                offset: offset.into(),
                flags,
                ty,
                memory: narrow(opcode, ty)?,
                data: None,
            })
        }
        InstructionData::Store {
            opcode,
            args,
            flags,
            offset,
        } => {
            let ty = func.dfg.value_type(args[0]);
            Some(Operands {
                opcode,
                pointer: args[1],
                offset: offset.into(),
                flags,
                ty,
                memory: narrow(opcode, ty)?,
                data: Some(args[0]),
            })
        }
        _ => None,
    }
}

/// Whether an instruction may write memory of which it does not say where.
pub(crate) fn is_barrier(opcode: Opcode) -> bool {
    let fence = matches!(
        opcode,
        Opcode::Fence | Opcode::Debugtrap | Opcode::SequencePoint | Opcode::AtomicLoad
    );
    fence || opcode.is_call() || opcode.can_store() || opcode == Opcode::StackSwitch
}

/// Whether control may leave the function at this instruction, or somebody may look at memory when it is there.
pub(crate) fn is_observable(func: &Function, inst: Inst) -> bool {
    let data = &func.dfg.insts[inst];
    let opcode = data.opcode();
    let traps = match data.memflags_data(&func.dfg) {
        Some(flags) => !flags.notrap(),
        None => opcode.can_load(),
    };
    traps || opcode.can_trap() || opcode.other_side_effects() || is_barrier_that_shows(opcode)
}

fn is_barrier_that_shows(opcode: Opcode) -> bool {
    is_barrier(opcode)
        && !matches!(
            opcode,
            Opcode::Store | Opcode::Istore8 | Opcode::Istore16 | Opcode::Istore32
        )
}

/// A function's places, and what its instructions do to them.
#[derive(Debug)]
pub(crate) struct Accesses {
    pub numbering: Numbering,
    pub places: Vec<Place>,
    /// Per block: the instructions that do something to memory, and definitions of leaves (as changes), in order.
    blocks: FxHashMap<Block, Vec<(Inst, Effect)>>,
    /// Places that are others at the start of a block, as its parameters are leaves.
    entering: FxHashMap<Block, ChangeId>,
    changes: Vec<Vec<PlaceId>>,
}

/// What a store may change, before it is known which places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Change {
    /// Everything that is not private and not read-only.
    Everything,
    Bytes {
        address: Address,
        bytes: u32,
        region: Option<AliasRegion>,
        slot: Option<StackSlot>,
    },
    /// Leaves were defined: by an instruction, or as the parameters of a block.
    Leaves(Result<Inst, Block>),
}

impl Accesses {
    /// Finds the places of reachable blocks.
    ///
    /// # Complexity
    /// O(instructions + places × different changes)
    pub fn compute(func: &Function, flow: &Flow, policy: &Policy) -> Self {
        let slots = slots(func);
        let numbering = Numbering::compute(func, flow, policy);
        let mut finder = Finder {
            func,
            slots,
            numbering,
            places: vec![],
            known: FxHashMap::default(),
            changes: vec![],
            change_ids: FxHashMap::default(),
        };
        let mut blocks: FxHashMap<Block, Vec<(Inst, Effect)>> = FxHashMap::default();
        for &block in flow.rpo() {
            let mut effects = vec![];
            for inst in func.layout.block_insts(block) {
                if let Some(effect) = finder.effect(inst) {
                    effects.push((inst, effect));
                }
            }
            blocks.insert(block, effects);
        }
        // Leaves come last: which matter is known once every address has been asked for.
        let mut entering = FxHashMap::default();
        for &block in flow.rpo() {
            let params = func.dfg.block_params(block);
            if finder.has_bases(params) {
                let id = finder.change(Change::Leaves(Err(block)));
                entering.insert(block, id);
            }
            let mut defined = vec![];
            for inst in func.layout.block_insts(block) {
                if finder.has_bases(func.dfg.inst_results(inst)) {
                    let id = finder.change(Change::Leaves(Ok(inst)));
                    defined.push((inst, Effect::Defines(id)));
                }
            }
            if let Some(effects) = blocks.get_mut(&block).filter(|_| !defined.is_empty()) {
                *effects = merge(func, block, effects, &defined);
            }
        }
        let changes = finder.lists();
        Self {
            numbering: finder.numbering,
            places: finder.places,
            blocks,
            entering,
            changes,
        }
    }

    /// What the block's instructions do, in order.
    pub fn effects(&self, block: Block) -> &[(Inst, Effect)] {
        self.blocks.get(&block).map_or(&[], |effects| effects)
    }

    /// The places that are others once the block is entered.
    pub fn changed_at(&self, block: Block) -> &[PlaceId] {
        let id = self.entering.get(&block);
        id.map_or(&[], |&id| self.changed_by(id))
    }

    /// The places that change.
    pub fn changed_by(&self, id: ChangeId) -> &[PlaceId] {
        self.changes.get(id.0 as usize).map_or(&[], |list| list)
    }

    /// The place with this number.
    pub fn place(&self, id: PlaceId) -> Option<&Place> {
        self.places.get(id.index())
    }
}

/// Both lists in the order of the block: what an instruction does to memory comes before what its results are.
fn merge(
    func: &Function,
    block: Block,
    effects: &[(Inst, Effect)],
    defined: &[(Inst, Effect)],
) -> Vec<(Inst, Effect)> {
    let (mut effects, mut defined) = (effects.iter().peekable(), defined.iter().peekable());
    let mut merged = vec![];
    for inst in func.layout.block_insts(block) {
        while let Some(&effect) = effects.next_if(|(at, _)| *at == inst) {
            merged.push(effect);
        }
        while let Some(&effect) = defined.next_if(|(at, _)| *at == inst) {
            merged.push(effect);
        }
    }
    merged
}

struct Finder<'a> {
    func: &'a Function,
    slots: Slots,
    numbering: Numbering,
    places: Vec<Place>,
    known: FxHashMap<(Address, Kind), PlaceId>,
    changes: Vec<Change>,
    change_ids: FxHashMap<Change, ChangeId>,
}

impl Finder<'_> {
    fn effect(&mut self, inst: Inst) -> Option<Effect> {
        let func = self.func;
        let opcode = func.dfg.insts[inst].opcode();
        let Some(operands) = operands(func, inst) else {
            // A store that is none of those above may be anywhere.
            return is_barrier(opcode).then(|| Effect::Changes(self.change(Change::Everything)));
        };
        let flags = func.dfg.mem_flags[operands.flags];
        let place = self.place(&operands);
        let Some(_) = operands.data else {
            return place.map(Effect::Load);
        };
        let address = self
            .numbering
            .address(func, operands.pointer, operands.offset);
        let change = address.map_or(Change::Everything, |address| Change::Bytes {
            address,
            bytes: operands.memory.bytes(),
            region: flags.alias_region(),
            slot: self.slots.slot(func, operands.pointer),
        });
        let change = self.change(change);
        Some(match place {
            Some(place) => Effect::Store(place, change),
            None => Effect::Changes(change),
        })
    }

    fn place(&mut self, operands: &Operands) -> Option<PlaceId> {
        let func = self.func;
        let flags = func.dfg.mem_flags[operands.flags];
        if flags.explicit_endianness() == Some(Endianness::Big) {
            return None;
        }
        let address = self
            .numbering
            .address(func, operands.pointer, operands.offset)?;
        let kind = Kind::of(operands.memory)?;
        let is_load = operands.data.is_none();
        let places = &mut self.places;
        let slot = self.slots.slot(func, operands.pointer);
        let private = slot.is_some_and(|slot| self.slots.private.contains(slot));
        let id = *self.known.entry((address, kind)).or_insert_with(|| {
            places.push(Place {
                address,
                kind,
                ty: operands.memory,
                slot,
                private,
                read_only: true,
                region: flags.alias_region(),
                loads: 0,
                accesses: 0,
            });
            PlaceId::new(places.len() - 1)
        });
        if let Some(place) = self.places.get_mut(id.index()) {
            place.read_only &= is_load && flags.readonly();
            place.loads += u32::from(is_load);
            place.accesses += 1;
            if place.region != flags.alias_region() {
                place.region = None;
            }
        }
        Some(id)
    }

    fn change(&mut self, change: Change) -> ChangeId {
        let next = ChangeId(u32::try_from(self.changes.len()).unwrap_or(u32::MAX));
        let id = *self.change_ids.entry(change).or_insert(next);
        if id == next {
            self.changes.push(change);
        }
        id
    }

    fn has_bases(&self, values: &[Value]) -> bool {
        values
            .iter()
            .any(|&value| !self.numbering.bases_of_leaf(value).is_empty())
    }

    /// What changes, for every change.
    fn lists(&self) -> Vec<Vec<PlaceId>> {
        let mut by_base: FxHashMap<_, Vec<PlaceId>> = FxHashMap::default();
        for (at, place) in self.places.iter().enumerate() {
            let of_base = by_base.entry(place.address.base).or_default();
            of_base.push(PlaceId::new(at));
        }
        let changed = |change: &Change| match change {
            Change::Leaves(at) => {
                let values = match *at {
                    Ok(inst) => self.func.dfg.inst_results(inst),
                    Err(block) => self.func.dfg.block_params(block),
                };
                let bases = values.iter().flat_map(|&v| self.numbering.bases_of_leaf(v));
                let places = bases.filter_map(|base| by_base.get(base));
                places.flatten().copied().collect()
            }
            change => {
                let all = self.places.iter().enumerate();
                let changed = all.filter(|(_, place)| self.may_change(change, place));
                changed.map(|(at, _)| PlaceId::new(at)).collect()
            }
        };
        self.changes.iter().map(changed).collect()
    }

    /// Whether a store may change a place that is not the one it stores to.
    fn may_change(&self, change: &Change, place: &Place) -> bool {
        match *change {
            Change::Everything => !place.private && !place.read_only,
            Change::Bytes {
                address,
                bytes,
                region,
                slot,
            } => {
                if place.read_only {
                    return false;
                }
                if place.address.base == address.base {
                    return overlaps(place, address.offset, bytes);
                }
                match (place.slot, slot) {
                    (Some(one), Some(other)) => one == other,
                    (Some(one), None) | (None, Some(one)) => {
                        !self.slots.private.contains(one) && regions_meet(place, region)
                    }
                    (None, None) => regions_meet(place, region),
                }
            }
            Change::Leaves(_) => false,
        }
    }
}

fn regions_meet(place: &Place, region: Option<AliasRegion>) -> bool {
    match (place.region, region) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// Whether `bytes` bytes at `offset` share a byte with a place of the same base.
fn overlaps(place: &Place, offset: i64, bytes: u32) -> bool {
    // Distances modulo 2⁶⁴, as addresses are.
    let distance = offset.wrapping_sub(place.address.offset).cast_unsigned();
    let back = place.address.offset.wrapping_sub(offset).cast_unsigned();
    distance < u64::from(place.kind.bytes()) || back < u64::from(bytes)
}
