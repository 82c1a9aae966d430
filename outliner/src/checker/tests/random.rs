//! Random functions, and very large ones.

use super::cases::Random;
use cranelift_codegen::ir::{
    AbiParam, Block, BlockCall, ExtFuncData, ExternalName, Function, InstBuilder, JumpTableData,
    MemFlagsData, Signature, StackSlotData, StackSlotKind, UserExternalName, UserFuncName, Value,
    types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};

/// How the blocks of a function follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// At random; some may be unreachable.
    Tangle,
    /// Each leads to the next one, and at random to another; every fiftieth returns.
    Chain,
}

/// A function of `blocks` blocks that branch to blocks nearby, with `variables`
/// variables that are set and used at random.
pub fn function(random: &mut Random, blocks: usize, variables: usize, shape: Shape) -> Function {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.extend([AbiParam::new(types::I64); 2]);
    signature.returns.push(AbiParam::new(types::I64));
    let mut func = Function::with_name_signature(UserFuncName::testcase("random"), signature);
    let mut context = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut func, &mut context);
    let all: Vec<Block> = (0..blocks).map(|_| builder.create_block()).collect();
    let variables: Vec<Variable> = (0..variables)
        .map(|_| builder.declare_var(types::I64))
        .collect();
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 32, 3);
    let slot = builder.create_sized_stack_slot(slot);
    let callee = {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.push(AbiParam::new(types::I64));
        signature.returns.push(AbiParam::new(types::I64));
        let signature = builder.import_signature(signature);
        let name = UserExternalName::new(0, 3);
        let name = builder.func.declare_imported_user_function(name);
        builder.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            colocated: false,
            patchable: false,
        })
    };
    builder.append_block_params_for_function_params(all[0]);
    for (at, &block) in all.iter().enumerate() {
        builder.switch_to_block(block);
        if at == 0 {
            let params = builder.block_params(block).to_vec();
            for (index, &variable) in variables.iter().enumerate() {
                let value = match params.get(index) {
                    Some(&param) => param,
                    None => builder.ins().iconst(types::I64, index as i64),
                };
                builder.def_var(variable, value);
            }
        }
        let pick = |random: &mut Random| variables[random.below(variables.len())];
        for _ in 0..random.below(4) {
            let a = builder.use_var(pick(random));
            let b = builder.use_var(pick(random));
            let value = match random.below(8) {
                0 => builder.ins().iconst(types::I64, random.below(3) as i64),
                1 => builder
                    .ins()
                    .stack_addr(types::I64, slot, 8 * random.below(3) as i32),
                2 => builder
                    .ins()
                    .load(types::I64, MemFlagsData::trusted(), a, 8),
                3 => {
                    builder.ins().store(MemFlagsData::new(), a, b, 16);
                    a
                }
                4 => {
                    let call = builder.ins().call(callee, &[a]);
                    builder.inst_results(call)[0]
                }
                5 => builder.ins().imul(a, b),
                _ => builder.ins().iadd(a, b),
            };
            builder.def_var(pick(random), value);
        }
        let value = builder.use_var(pick(random));
        // The entry block has no predecessors.
        let near = |random: &mut Random| {
            let reach = 12.min(blocks - 1);
            let low = at.saturating_sub(reach / 2).clamp(1, blocks - reach);
            all[low + random.below(reach)]
        };
        match shape {
            Shape::Tangle => terminator(&mut builder, random, value, near),
            Shape::Chain if at % 50 == 49 || at + 2 >= blocks => {
                builder.ins().return_(&[value]);
            }
            Shape::Chain => {
                let next = if at % 50 == 48 { at + 2 } else { at + 1 };
                let other = if at % 50 == 48 {
                    all[at + 1]
                } else {
                    near(random)
                };
                builder.ins().brif(value, all[next], &[], other, &[]);
            }
        }
    }
    builder.seal_all_blocks();
    // `FunctionBuilder::finalize` would only look after stack maps.
    func
}

fn terminator(
    builder: &mut FunctionBuilder<'_>,
    random: &mut Random,
    value: Value,
    near: impl Fn(&mut Random) -> Block,
) {
    match random.below(16) {
        0 => {
            builder.ins().return_(&[value]);
        }
        1 | 2 => {
            builder.ins().jump(near(random), &[]);
        }
        3 => {
            let pool = &mut builder.func.dfg.value_lists;
            let mut call = || BlockCall::new(near(random), [], pool);
            let default = call();
            let table: Vec<BlockCall> = (0..3).map(|_| call()).collect();
            let table = builder.create_jump_table(JumpTableData::new(default, &table));
            let index = builder.ins().ireduce(types::I32, value);
            builder.ins().br_table(index, table);
        }
        _ => {
            let (then, other) = (near(random), near(random));
            builder.ins().brif(value, then, &[], other, &[]);
        }
    }
}
