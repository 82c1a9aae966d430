//! Loads and stores of vectors.

use super::Translator;
use crate::error::Error;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use types::{I8X16, I16X8, I32X4, I64X2};
use wasmparser::{MemArg, Operator};

impl Translator<'_> {
    pub(super) fn simd_memory(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        use Operator as O;
        match op {
            O::V128Load { memarg } => self.load(memarg, I8X16)?,
            O::V128Store { memarg } => {
                let value = self.pop()?;
                let value = self.canonical(value);
                self.store(memarg, value)?;
            }
            O::V128Load8x8S { memarg } => {
                self.load_wide(memarg, |b, flags, at, offset| {
                    b.ins().sload8x8(flags, at, offset)
                })?;
            }
            O::V128Load8x8U { memarg } => {
                self.load_wide(memarg, |b, flags, at, offset| {
                    b.ins().uload8x8(flags, at, offset)
                })?;
            }
            O::V128Load16x4S { memarg } => {
                self.load_wide(memarg, |b, flags, at, offset| {
                    b.ins().sload16x4(flags, at, offset)
                })?;
            }
            O::V128Load16x4U { memarg } => {
                self.load_wide(memarg, |b, flags, at, offset| {
                    b.ins().uload16x4(flags, at, offset)
                })?;
            }
            O::V128Load32x2S { memarg } => {
                self.load_wide(memarg, |b, flags, at, offset| {
                    b.ins().sload32x2(flags, at, offset)
                })?;
            }
            O::V128Load32x2U { memarg } => {
                self.load_wide(memarg, |b, flags, at, offset| {
                    b.ins().uload32x2(flags, at, offset)
                })?;
            }
            O::V128Load8Splat { memarg } => self.load_splat(memarg, I8X16)?,
            O::V128Load16Splat { memarg } => self.load_splat(memarg, I16X8)?,
            O::V128Load32Splat { memarg } => self.load_splat(memarg, I32X4)?,
            O::V128Load64Splat { memarg } => self.load_splat(memarg, I64X2)?,
            O::V128Load32Zero { memarg } => self.load_zero(memarg, I32X4)?,
            O::V128Load64Zero { memarg } => self.load_zero(memarg, I64X2)?,
            O::V128Load8Lane { memarg, lane } => self.load_lane(memarg, I8X16, *lane)?,
            O::V128Load16Lane { memarg, lane } => self.load_lane(memarg, I16X8, *lane)?,
            O::V128Load32Lane { memarg, lane } => self.load_lane(memarg, I32X4, *lane)?,
            O::V128Load64Lane { memarg, lane } => self.load_lane(memarg, I64X2, *lane)?,
            O::V128Store8Lane { memarg, lane } => self.store_lane(memarg, I8X16, *lane)?,
            O::V128Store16Lane { memarg, lane } => self.store_lane(memarg, I16X8, *lane)?,
            O::V128Store32Lane { memarg, lane } => self.store_lane(memarg, I32X4, *lane)?,
            O::V128Store64Lane { memarg, lane } => self.store_lane(memarg, I64X2, *lane)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Loads narrow lanes and widens them.
    fn load_wide(
        &mut self,
        memarg: &MemArg,
        load: impl Fn(
            &mut cranelift_frontend::FunctionBuilder<'_>,
            cranelift_codegen::ir::MemFlagsData,
            Value,
            i32,
        ) -> Value,
    ) -> Result<(), Error> {
        let (address, offset) = self.address(memarg)?;
        let value = load(&mut self.b, self.flags.memory, address, offset);
        self.push(value);
        Ok(())
    }

    fn load_splat(&mut self, memarg: &MemArg, ty: Type) -> Result<(), Error> {
        self.load(memarg, ty.lane_type())?;
        let lane = self.pop()?;
        let value = self.b.ins().splat(ty, lane);
        self.push(value);
        Ok(())
    }

    fn load_zero(&mut self, memarg: &MemArg, ty: Type) -> Result<(), Error> {
        self.load(memarg, ty.lane_type())?;
        let lane = self.pop()?;
        let value = self.b.ins().scalar_to_vector(ty, lane);
        self.push(value);
        Ok(())
    }

    fn load_lane(&mut self, memarg: &MemArg, ty: Type, lane: u8) -> Result<(), Error> {
        let vector = self.pop_vector(ty)?;
        self.load(memarg, ty.lane_type())?;
        let value = self.pop()?;
        let value = self.b.ins().insertlane(vector, value, lane);
        self.push(value);
        Ok(())
    }

    fn store_lane(&mut self, memarg: &MemArg, ty: Type, lane: u8) -> Result<(), Error> {
        let vector = self.pop_vector(ty)?;
        let value = self.b.ins().extractlane(vector, lane);
        self.store(memarg, value)
    }
}
