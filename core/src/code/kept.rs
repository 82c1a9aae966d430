//! Machine code as bytes that outlive the process, and back.
//!
//! ```text
//!   length of what follows │ what is known of the code (postcard) │ the code
//! ```
//!
//! Names are those of the client: numbers of units are given anew in each run. What has no name of that kind cannot be kept.
//!
//! Invariants:
//!
//! * *total*: any bytes are decoded or refused, and what was decoded is in range, so that it can be linked; whether it does
//!   what it should is the business of the digest over the bytes (`units::kept`).
//!
//! Not here: which names have which numbers (`pipeline::keep`).

use crate::code::codemap::RawTables;
use crate::code::generate::Generated;
use crate::code::link::{ObjectCode, Relocation, Target};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::ir::LibCall;
use cranelift_module::ModuleRelocTarget;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What code refers to, by a name that means the same in every run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeptName {
    /// A function of the engine, and a hash of its signature.
    Function(String, u64),
    /// Data of the host.
    Data(String),
    /// What Cranelift calls on its own account.
    LibCall(String),
}

/// Why the code of a function cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unkept {
    /// It holds copies of functions, which are guarded by addresses.
    #[error("it holds copies of other functions")]
    Copies,
    /// It leaves to code that belongs to this run.
    #[error("it has side exits")]
    SideExits,
    /// It refers to something else that has no name.
    #[error("it refers to what has no name")]
    Nameless,
    /// A reference that is neither an absolute address nor a call of a stub by its distance.
    #[error("it has a relocation of a kind that is not kept")]
    Relocation,
    /// It cannot be written down.
    #[error("it is too large")]
    TooLarge,
}

impl Unkept {
    /// A short stable name of the reason.
    pub fn code(self) -> &'static str {
        match self {
            Self::Copies => "copies",
            Self::SideExits => "side-exits",
            Self::Nameless => "nameless",
            Self::Relocation => "relocation",
            Self::TooLarge => "too-large",
        }
    }
}

/// How an address is written into code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Written {
    /// As it is.
    Address,
    /// As the distance of a call on x86-64.
    CallDistance,
}

impl Written {
    fn of(kind: Reloc) -> Option<Self> {
        match kind {
            Reloc::Abs8 => Some(Self::Address),
            Reloc::X86CallPCRel4 => Some(Self::CallDistance),
            _ => None,
        }
    }

    fn kind(self) -> Reloc {
        match self {
            Self::Address => Reloc::Abs8,
            Self::CallDistance => Reloc::X86CallPCRel4,
        }
    }

    /// Bytes in the code.
    fn size(self) -> u32 {
        match self {
            Self::Address => 8,
            Self::CallDistance => 4,
        }
    }
}

/// What is kept of the machine code of a function, besides the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptFunction {
    /// Whether its source locations are the numbers of its blocks.
    pub block_locations: bool,
    /// Whether it takes the address of a function.
    pub takes_address: bool,
    /// Instructions and blocks of its definition.
    pub size: (usize, usize),
    /// How many functions it refers to: the first of `names`, in the order of their references.
    pub callees: usize,
    pub names: Vec<KeptName>,
    /// How it is written, offset, position in `names`, what is added.
    relocations: Vec<(Written, u32, u32, i64)>,
    /// Offset, offset of what is meant in the code itself, what is added.
    own: Vec<(u32, u32, i64)>,
    align: u64,
    hot: Option<u32>,
    instructions: (usize, usize),
    tables: RawTables,
}

/// The most that the start of code is a multiple of.
const MOST_ALIGN: u64 = 4096;

impl KeptFunction {
    /// What is to be kept of generated code, with names by `name`, which is asked once for each reference, and returns the
    /// position in `names`.
    pub fn of(
        generated: &Generated,
        names: Vec<KeptName>,
        mut name: impl FnMut(&mut Vec<KeptName>, &ModuleRelocTarget) -> Result<u32, Unkept>,
    ) -> Result<Self, Unkept> {
        let mut kept = Self {
            block_locations: false,
            takes_address: false,
            size: (0, 0),
            callees: 0,
            names,
            relocations: vec![],
            own: vec![],
            align: generated.code.align,
            hot: generated.code.hot,
            instructions: (generated.instructions_before, generated.instructions_after),
            tables: RawTables::of(&generated.tables),
        };
        for relocation in &generated.code.relocations {
            let written = Written::of(relocation.kind).ok_or(Unkept::Relocation)?;
            let (offset, addend) = (relocation.offset, relocation.addend);
            match &relocation.target {
                Target::Name(target) => {
                    let position = name(&mut kept.names, target)?;
                    kept.relocations.push((written, offset, position, addend));
                }
                Target::Own(at) if written == Written::Address => {
                    kept.own.push((offset, *at, addend));
                }
                Target::Own(_) => return Err(Unkept::Relocation),
                Target::Unknown => return Err(Unkept::Nameless),
            }
        }
        Ok(kept)
    }

    /// As bytes, with the code.
    pub fn encode(&self, code: &[u8]) -> Result<Vec<u8>, Unkept> {
        let known = postcard::to_stdvec(self).map_err(|_| Unkept::TooLarge)?;
        let length = u32::try_from(known.len()).map_err(|_| Unkept::TooLarge)?;
        let mut bytes = Vec::with_capacity(4 + known.len() + code.len());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&known);
        bytes.extend_from_slice(code);
        Ok(bytes)
    }

    /// From bytes: what is known of the code, and the code.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (known, code) =
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let (kept, left) = postcard::take_from_bytes::<Self>(known).ok()?;
        (left.is_empty() && kept.fits(code.len())).then_some((kept, code))
    }

    /// Whether all that is an offset or a position is one, for code of this length.
    fn fits(&self, length: usize) -> bool {
        let Ok(length) = u32::try_from(length) else {
            return false;
        };
        let names = self.names.len();
        let named = |position: u32| (position as usize) < names;
        let inside = |offset: u32, size| {
            offset
                .checked_add(size)
                .is_some_and(|end: u32| end <= length)
        };
        let relocations = self.relocations.iter();
        let own = self.own.iter();
        let function = |(position, name): (usize, &KeptName)| {
            matches!(name, KeptName::Function(..)) == (position < self.callees)
        };
        length > 0
            && self.align.is_power_of_two()
            && self.align <= MOST_ALIGN
            && self.hot.is_none_or(|hot| hot < length)
            && relocations
                .clone()
                .all(|&(written, offset, name, _)| inside(offset, written.size()) && named(name))
            && own
                .clone()
                .all(|&(offset, at, _)| inside(offset, 8) && at <= length)
            && self.callees <= names
            && (self.names.iter().enumerate()).all(function)
            && self.tables.fits(length)
    }

    /// Code to be linked, whose names are what `targets` says, at the positions of `names`.
    pub fn generated(self, code: &[u8], targets: &[ModuleRelocTarget]) -> Option<Generated> {
        let relocation = |written: Written, offset, target, addend| Relocation {
            kind: written.kind(),
            offset,
            target,
            addend,
        };
        let named = self
            .relocations
            .iter()
            .map(|&(written, offset, name, addend)| {
                let target = targets.get(name as usize)?.clone();
                Some(relocation(written, offset, Target::Name(target), addend))
            });
        let own = self.own.iter();
        let own = own.map(|&(offset, at, addend)| {
            Some(relocation(
                Written::Address,
                offset,
                Target::Own(at),
                addend,
            ))
        });
        let relocations: Option<Vec<Relocation>> = named.chain(own).collect();
        Some(Generated {
            tier: 1,
            code: ObjectCode {
                bytes: code.into(),
                align: self.align,
                hot: self.hot,
                relocations: relocations?.into(),
            },
            tables: self.tables.tables()?,
            instructions_before: self.instructions.0,
            instructions_after: self.instructions.1,
            compile_time: Duration::ZERO,
            text: None,
            unwind: None,
        })
    }
}

/// The library call of this name.
pub(crate) fn library_call(name: &str) -> Option<LibCall> {
    let mut known = LibCall::all_libcalls().iter();
    known.find(|known| known.to_string() == name).copied()
}
