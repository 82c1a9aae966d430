//! From CLIF to machine code in memory, and from an address back to CLIF.

pub mod codemap;
pub mod disassemble;
pub mod error;
pub mod externals;
pub mod generate;
pub mod isa;
pub mod kept;
pub mod lines;
pub mod link;
pub mod text;
