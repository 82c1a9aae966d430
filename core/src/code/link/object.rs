//! Machine code on its way into code memory: bytes, and what is still open in them.
//!
//! Not here: the addresses of names ([`super::relocate`]), and where the code goes ([`super::place`]).

use cranelift_codegen::binemit::{CodeOffset, Reloc};
use cranelift_codegen::ir::{ExternalName, Function, UserExternalName};
use cranelift_codegen::{CompiledCode, FinalizedRelocTarget};
use cranelift_module::{ModuleReloc, ModuleRelocTarget};
use regraft_template::SymbolName;
use std::fmt;

/// Machine code whose names have no addresses yet.
#[derive(Clone, Debug)]
pub struct ObjectCode {
    /// Instructions and constants.
    pub bytes: Box<[u8]>,
    /// What its start is a multiple of.
    pub align: u64,
    /// The instruction that should start a cache line.
    pub hot: Option<CodeOffset>,
    /// What refers to a name.
    pub relocations: Box<[Relocation]>,
}

/// A place in the code that needs an address.
#[derive(Clone, Debug)]
pub struct Relocation {
    /// How the address is written.
    pub kind: Reloc,
    /// Where.
    pub offset: CodeOffset,
    /// Of what.
    pub target: Target,
    /// What is added to the address.
    pub addend: i64,
}

/// What a relocation refers to.
#[derive(Clone, Debug)]
pub enum Target {
    /// Something that has its address from outside.
    Name(ModuleRelocTarget),
    /// A place in the code itself.
    Own(CodeOffset),
    /// A name that nobody outside of the function knows.
    Unknown,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Own(offset) => write!(f, "its own code at {offset}"),
            Self::Unknown => f.write_str("a name that only the function itself knows"),
        }
    }
}

impl ObjectCode {
    /// Takes what was compiled from `func`, which knows the names that the code refers to.
    pub fn of(code: &CompiledCode, func: &Function, hot: Option<CodeOffset>) -> Self {
        let relocations = code.buffer.relocs().iter().map(|reloc| Relocation {
            kind: reloc.kind,
            offset: reloc.offset,
            target: target(&reloc.target, func),
            addend: reloc.addend,
        });
        Self {
            bytes: code.code_buffer().into(),
            align: u64::from(code.buffer.alignment),
            hot,
            relocations: relocations.collect(),
        }
    }

    /// Takes what templates made of `func`: every reference is the absolute address of a name.
    pub fn of_template(code: regraft_template::Code, func: &Function) -> Self {
        let relocations = code.symbols.into_iter().map(|symbol| Relocation {
            kind: Reloc::Abs8,
            offset: symbol.offset,
            target: match symbol.name {
                SymbolName::Source(name) => target(&FinalizedRelocTarget::ExternalName(name), func),
                SymbolName::Probe(UserExternalName { namespace, index }) => {
                    Target::Name(ModuleRelocTarget::user(namespace, index))
                }
            },
            addend: symbol.addend,
        });
        Self {
            bytes: code.bytes.into(),
            align: 16,
            hot: None,
            relocations: relocations.collect(),
        }
    }

    /// Takes machine code from elsewhere. `own` says which names with an offset are the code itself.
    pub fn from_bytes(
        bytes: &[u8],
        align: u64,
        relocs: &[ModuleReloc],
        own: impl Fn(cranelift_module::FuncId) -> bool,
    ) -> Self {
        let relocations = relocs.iter().map(|reloc| Relocation {
            kind: reloc.kind,
            offset: reloc.offset,
            target: match &reloc.name {
                ModuleRelocTarget::FunctionOffset(id, offset) if own(*id) => Target::Own(*offset),
                name => Target::Name(name.clone()),
            },
            addend: reloc.addend,
        });
        Self {
            bytes: bytes.into(),
            align,
            hot: None,
            relocations: relocations.collect(),
        }
    }

    /// The names that need an address.
    pub fn names(&self) -> impl Iterator<Item = &ModuleRelocTarget> {
        self.relocations
            .iter()
            .filter_map(|reloc| match &reloc.target {
                Target::Name(name) => Some(name),
                Target::Own(_) | Target::Unknown => None,
            })
    }
}

/// The name a relocation refers to, if it is one that can have an address from outside.
fn target(target: &FinalizedRelocTarget, func: &Function) -> Target {
    let name = match target {
        FinalizedRelocTarget::Func(offset) => return Target::Own(*offset),
        FinalizedRelocTarget::ExternalName(name) => name,
    };
    let name = match name {
        ExternalName::User(name) => func
            .params
            .user_named_funcs()
            .get(*name)
            .map(|name| ModuleRelocTarget::user(name.namespace, name.index)),
        ExternalName::LibCall(libcall) => Some(ModuleRelocTarget::LibCall(*libcall)),
        ExternalName::KnownSymbol(symbol) => Some(ModuleRelocTarget::KnownSymbol(*symbol)),
        ExternalName::TestCase(_) => None,
    };
    name.map_or(Target::Unknown, Target::Name)
}
