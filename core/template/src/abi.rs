//! Where parameters and results of a signature are: the calling conventions that Cranelift has on x86-64 Linux.
//!
//! `tail` passes parameters as `system_v` does, returns up to eight values of each class in registers, and its callee pops
//! what was passed on the stack.
//!
//! Results that do not fit registers are written to an *area* of the caller's, whose address is passed before all
//! parameters (`enable_multi_ret_implicit_sret`).
//!
//! Limitations: scalars of at most 64 bits; no structures.

use crate::asm::Reg;
use crate::refusal::Refusal;
use cranelift_codegen::ir::{AbiParam, ArgumentExtension, ArgumentPurpose, Signature, Type, types};
use cranelift_codegen::isa::CallConv;

const INT_PARAMS: [Reg; 6] = [Reg::RDI, Reg::RSI, Reg::RDX, Reg::RCX, Reg::R8, Reg::R9];
const FLOAT_REGISTERS: u8 = 8;
const INT_RESULTS: [Reg; 2] = [Reg::RAX, Reg::RDX];
const FLOAT_RESULTS: u8 = 2;
const TAIL_INT_RESULTS: [Reg; 8] = [
    Reg::RAX,
    Reg::RCX,
    Reg::RDX,
    Reg::RSI,
    Reg::RDI,
    Reg::R8,
    Reg::R9,
    Reg::R10,
];

/// Where a value is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Reg(Reg),
    /// Bytes above the first stack parameter, or, of results, from the start of the area.
    Stack(i32),
}

/// How a value is passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub place: Place,
    pub ty: Type,
    /// How whoever passes it fills the register.
    pub extension: ArgumentExtension,
}

/// Everything that a signature says.
#[derive(Clone, Debug)]
pub(crate) struct Abi {
    pub params: Vec<Passed>,
    pub results: Vec<Passed>,
    /// Bytes of parameters on the stack, in units of the stack's alignment.
    pub stack_bytes: u32,
    /// Whether the callee pops them.
    pub callee_pops: bool,
    /// Bytes of results in the area; with none, there is none.
    pub area_bytes: u32,
}

/// Where the address of the area is passed.
pub(crate) const AREA: Reg = INT_PARAMS[0];

impl Abi {
    /// # Errors
    ///
    /// What is not passed in registers or by value on the stack; other calling conventions.
    pub fn of(signature: &Signature) -> Result<Self, Refusal> {
        let tail = match signature.call_conv {
            CallConv::Tail => true,
            CallConv::SystemV | CallConv::Fast => false,
            other => return Err(Refusal::CallConv(other)),
        };
        let registers: &[Reg] = if tail {
            &TAIL_INT_RESULTS
        } else {
            &INT_RESULTS
        };
        let floats = if tail { FLOAT_REGISTERS } else { FLOAT_RESULTS };
        let (results, area) = place(&signature.returns, registers, floats)?;
        let hidden = usize::from(area != 0);
        let (params, stack) = place(&signature.params, &INT_PARAMS[hidden..], FLOAT_REGISTERS)?;
        Ok(Self {
            params,
            results,
            stack_bytes: stack.next_multiple_of(16),
            callee_pops: tail,
            area_bytes: area,
        })
    }

    /// What a return pops.
    pub fn popped(&self) -> Result<u16, Refusal> {
        match self.callee_pops {
            true => u16::try_from(self.stack_bytes).map_err(|_| Refusal::Size),
            false => Ok(0),
        }
    }
}

/// Puts values into registers as long as there are any, then into memory; says how many bytes of that.
fn place(params: &[AbiParam], ints: &[Reg], floats: u8) -> Result<(Vec<Passed>, u32), Refusal> {
    let mut ints = ints.iter().copied();
    let mut floats = (0..floats).map(Reg::xmm);
    let mut bytes = 0u32;
    let mut all = Vec::with_capacity(params.len());
    for param in params {
        let reg = if is_float(param)? {
            floats.next()
        } else {
            ints.next()
        };
        let place = match reg {
            Some(reg) => Place::Reg(reg),
            None => {
                bytes += 8;
                Place::Stack(i32::try_from(bytes - 8).map_err(|_| Refusal::Size)?)
            }
        };
        all.push(passed(param, place));
    }
    Ok((all, bytes))
}

fn passed(param: &AbiParam, place: Place) -> Passed {
    Passed {
        place,
        ty: param.value_type,
        extension: param.extension,
    }
}

fn is_float(param: &AbiParam) -> Result<bool, Refusal> {
    match param.purpose {
        ArgumentPurpose::Normal | ArgumentPurpose::VMContext => {}
        ArgumentPurpose::StructArgument(_) | ArgumentPurpose::StructReturn => {
            return Err(Refusal::Signature);
        }
    }
    let ty = param.value_type;
    match ty {
        types::F32 | types::F64 => Ok(true),
        _ if ty.is_int() && ty.bits() <= 64 => Ok(false),
        _ => Err(Refusal::Type(ty)),
    }
}
