//! Mutations of what instructions refer to: callees, global values, constants.

use super::{Mutants, Mutation};
use cranelift_codegen::ir::immediates::{Imm64, Offset32};
use cranelift_codegen::ir::{
    ConstantData, ExternalName, FuncRef, GlobalValue, GlobalValueData as Data, InstructionData,
    UserExternalName,
};
use cranelift_codegen::isa::CallConv;

/// What the instructions in the layout refer to, changed where it is declared.
pub(super) fn entities(mutants: &mut Mutants<'_>) {
    let original = mutants.original;
    let insts = || {
        let blocks = original.layout.blocks();
        blocks.flat_map(|block| original.layout.block_insts(block))
    };
    for inst in insts() {
        match original.dfg.insts[inst] {
            InstructionData::Call { func_ref, .. }
            | InstructionData::TryCall { func_ref, .. }
            | InstructionData::FuncAddr { func_ref, .. } => callee(mutants, func_ref),
            InstructionData::UnaryGlobalValue { global_value, .. } => {
                global(mutants, global_value);
            }
            InstructionData::Shuffle { imm, .. } => {
                mutants.try_one(Mutation::Entity("shuffle mask"), |func| {
                    func.dfg.immediates[imm] = ConstantData::from([0u8; 16].as_slice());
                });
            }
            InstructionData::UnaryConst {
                opcode,
                constant_handle,
            } => {
                mutants.try_one(Mutation::Changed(inst, "constant"), |func| {
                    let length = func.dfg.constants.get(constant_handle).len();
                    let changed = ConstantData::from(vec![0xa5; length].as_slice());
                    let constant_handle = func.dfg.constants.insert(changed);
                    func.dfg.insts[inst] = InstructionData::UnaryConst {
                        opcode,
                        constant_handle,
                    };
                });
            }
            _ => {}
        }
    }
    if let Some(limit) = original.stack_limit {
        global(mutants, limit);
    }
    mutants.try_one(Mutation::Entity("stack limit"), |func| {
        func.stack_limit = None
    });
    mutants.try_one(Mutation::Entity("calling convention"), |func| {
        func.signature.call_conv = CallConv::Fast;
    });
}

fn callee(mutants: &mut Mutants<'_>, function: FuncRef) {
    mutants.try_one(Mutation::Entity("linkage"), |func| {
        let data = &mut func.dfg.ext_funcs[function];
        data.colocated = !data.colocated;
    });
    mutants.try_one(Mutation::Entity("callee's signature"), |func| {
        let signature = func.dfg.ext_funcs[function].signature;
        func.dfg.signatures[signature].call_conv = CallConv::Fast;
    });
    mutants.try_one(Mutation::Entity("callee's name"), |func| {
        let name = func.declare_imported_user_function(UserExternalName::new(99, 99));
        func.dfg.ext_funcs[function].name = ExternalName::user(name);
    });
}

/// Every clause of the chain.
fn global(mutants: &mut Mutants<'_>, global_value: GlobalValue) {
    let original = mutants.original;
    let mut next = Some(global_value);
    while let Some(global_value) = next {
        mutants.try_one(Mutation::Entity("global value"), |func| {
            match &mut func.global_values[global_value] {
                Data::Load { offset, .. } => *offset = Offset32::new(i32::from(*offset) + 8),
                Data::IAddImm { offset, .. } | Data::Symbol { offset, .. } => {
                    *offset = Imm64::new(offset.bits() + 8);
                }
                _ => {}
            }
        });
        next = match original.global_values[global_value] {
            Data::Load { base, .. } | Data::IAddImm { base, .. } => Some(base),
            _ => None,
        };
    }
}
