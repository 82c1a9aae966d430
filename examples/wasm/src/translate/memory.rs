//! Loads, stores and the size of linear memories.
//!
//! An address is `base + index`, with the operator's offset in the instruction: 32-bit quantities all, so
//! it lies within the reservation ([`crate::memory`]) and what is not the program's faults.

use super::Translator;
use super::variables::offset;
use crate::error::Error;
use crate::helpers::Helper;
use crate::vmctx::DEFINITION_LENGTH;
use cranelift_codegen::ir::{Block, InstBuilder, Type, Value, types};
use std::collections::HashMap;
use types::{F32, F64, I8, I16, I32, I64};
use wasmparser::{MemArg, MemArgTarget, Operator};

/// The bases that a block has loaded: they are constant, but a value that lives in a register over the
/// whole function would cost more than loading it once in each block.
#[derive(Default)]
pub(super) struct Bases {
    block: Option<Block>,
    /// By offset in the context.
    loaded: HashMap<usize, Value>,
}

impl Translator<'_> {
    pub(super) fn memory(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        use Operator as O;
        match op {
            O::I32Load { memarg } => self.load(memarg, I32)?,
            O::I64Load { memarg } => self.load(memarg, I64)?,
            O::F32Load { memarg } => self.load(memarg, F32)?,
            O::F64Load { memarg } => self.load(memarg, F64)?,
            O::I32Load8S { memarg } => self.load_signed(memarg, I8, I32)?,
            O::I32Load8U { memarg } => self.load_unsigned(memarg, I8, I32)?,
            O::I32Load16S { memarg } => self.load_signed(memarg, I16, I32)?,
            O::I32Load16U { memarg } => self.load_unsigned(memarg, I16, I32)?,
            O::I64Load8S { memarg } => self.load_signed(memarg, I8, I64)?,
            O::I64Load8U { memarg } => self.load_unsigned(memarg, I8, I64)?,
            O::I64Load16S { memarg } => self.load_signed(memarg, I16, I64)?,
            O::I64Load16U { memarg } => self.load_unsigned(memarg, I16, I64)?,
            O::I64Load32S { memarg } => self.load_signed(memarg, I32, I64)?,
            O::I64Load32U { memarg } => self.load_unsigned(memarg, I32, I64)?,
            O::I32Store { memarg }
            | O::I64Store { memarg }
            | O::F32Store { memarg }
            | O::F64Store { memarg } => {
                let value = self.pop()?;
                self.store(memarg, value)?;
            }
            O::I32Store8 { memarg } | O::I64Store8 { memarg } => self.store_narrow(memarg, I8)?,
            O::I32Store16 { memarg } | O::I64Store16 { memarg } => {
                self.store_narrow(memarg, I16)?;
            }
            O::I64Store32 { memarg } => self.store_narrow(memarg, I32)?,
            O::MemorySize { mem } => {
                let bytes = self.length(self.compiled.layout.memory(*mem))?;
                let pages = self.b.ins().ushr_imm_u(bytes, 16);
                let pages = self.b.ins().ireduce(I32, pages);
                self.push(pages);
            }
            O::MemoryGrow { mem } => {
                let delta = self.pop()?;
                let mem = self.constant(*mem);
                let results = self.helper(Helper::MemoryGrow, &[mem, delta])?;
                self.stack.extend(results);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The base of a memory or table, whose entry in the context is at `entry`.
    pub(super) fn base(&mut self, entry: usize) -> Result<Value, Error> {
        let block = self.b.current_block();
        if self.bases.block != block {
            self.bases.block = block;
            self.bases.loaded.clear();
        }
        if let Some(&base) = self.bases.loaded.get(&entry) {
            return Ok(base);
        }
        let base = self.field(entry)?;
        self.bases.loaded.insert(entry, base);
        Ok(base)
    }

    /// A constant field of the context.
    pub(super) fn field(&mut self, at: usize) -> Result<Value, Error> {
        let flags = self.flags.constant;
        let at = offset(at)?;
        Ok(self.b.ins().load(I64, flags, self.vmctx, at))
    }

    /// The length of the memory (in bytes) or table whose entry in the context is at `entry`.
    pub(super) fn length(&mut self, entry: usize) -> Result<Value, Error> {
        let definition = self.field(entry + 8)?;
        let flags = self.flags.length;
        let at = DEFINITION_LENGTH;
        Ok(self.b.ins().load(I64, flags, definition, at))
    }

    /// Pops an index; returns the address, and what is left of the offset.
    pub(super) fn address(&mut self, memarg: &MemArg) -> Result<(Value, i32), Error> {
        let MemArgTarget::Memory(memory) = memarg.target else {
            return Err(Error::Internal("an access to no memory".to_string()));
        };
        let index = self.pop()?;
        let base = self.base(self.compiled.layout.memory(memory))?;
        let index = self.b.ins().uextend(I64, index);
        let address = self.b.ins().iadd(base, index);
        if let Ok(offset) = i32::try_from(memarg.offset) {
            return Ok((address, offset));
        }
        let offset = self.b.ins().iconst(I64, memarg.offset.cast_signed());
        Ok((self.b.ins().iadd(address, offset), 0))
    }

    pub(super) fn load(&mut self, memarg: &MemArg, ty: Type) -> Result<(), Error> {
        let (address, offset) = self.address(memarg)?;
        let flags = self.flags.memory;
        let value = self.b.ins().load(ty, flags, address, offset);
        self.push(value);
        Ok(())
    }

    fn load_signed(&mut self, memarg: &MemArg, narrow: Type, ty: Type) -> Result<(), Error> {
        let (address, offset) = self.address(memarg)?;
        let flags = self.flags.memory;
        let value = match narrow {
            I8 => self.b.ins().sload8(ty, flags, address, offset),
            I16 => self.b.ins().sload16(ty, flags, address, offset),
            _ => self.b.ins().sload32(flags, address, offset),
        };
        self.push(value);
        Ok(())
    }

    fn load_unsigned(&mut self, memarg: &MemArg, narrow: Type, ty: Type) -> Result<(), Error> {
        let (address, offset) = self.address(memarg)?;
        let flags = self.flags.memory;
        let value = match narrow {
            I8 => self.b.ins().uload8(ty, flags, address, offset),
            I16 => self.b.ins().uload16(ty, flags, address, offset),
            _ => self.b.ins().uload32(flags, address, offset),
        };
        self.push(value);
        Ok(())
    }

    /// Stores a value that has been popped; the index is next.
    pub(super) fn store(&mut self, memarg: &MemArg, value: Value) -> Result<(), Error> {
        let (address, offset) = self.address(memarg)?;
        let flags = self.flags.memory;
        self.b.ins().store(flags, value, address, offset);
        Ok(())
    }

    fn store_narrow(&mut self, memarg: &MemArg, narrow: Type) -> Result<(), Error> {
        let value = self.pop()?;
        let (address, offset) = self.address(memarg)?;
        let flags = self.flags.memory;
        match narrow {
            I8 => self.b.ins().istore8(flags, value, address, offset),
            I16 => self.b.ins().istore16(flags, value, address, offset),
            _ => self.b.ins().istore32(flags, value, address, offset),
        };
        Ok(())
    }

    /// A number as an argument of a helper.
    pub(super) fn constant(&mut self, number: u32) -> Value {
        self.b.ins().iconst(I32, i64::from(number))
    }
}
