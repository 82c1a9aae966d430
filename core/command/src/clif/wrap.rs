//! Functions whose body runs in a counted loop.
//!
//! ```text
//!   f(a, b):                      f(a, b):
//!     …                             jump header(0, a)
//!     return x                    header(n, a'):          every second parameter goes
//!     …                             jump body(a', b)      around the loop, the others
//!     return_call g(y)      ═▶    body: …                 are live into it
//!                                   jump latch(x)         each `return x`
//!                                   …
//!                                   n + 1 < N ? header(n + 1, a') : tail
//!                                 tail: return_call g(y)
//!                                 latch(r):
//!                                   n + 1 < N ? header(n + 1, a') : exit(r)
//!                                 exit(r): return r
//! ```
//!
//! Run-test suites have next to no loops. Wrapped, every instruction, type, signature and setting in
//! them lies in a natural loop that gets hot, with live-ins, loop parameters and live-outs of the
//! function's own types.
//!
//! Invariants:
//!
//! * With one iteration the result computes what the source computes. With more it does if the source
//!   has no [effect](super::effects).
//! * All blocks of the source that lead to a return or tail call are in the loop.
//!
//! Limitations: a function of which no return or tail call can be reached has no loop to offer.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, Function, Inst, InstBuilder, Opcode, Type, Value, types,
};
use regraft_regions::Flow;

/// What became of a function.
#[derive(Clone, Debug)]
pub enum Wrapped {
    /// The function with a loop around its body.
    Done(Box<Function>),
    /// It cannot have one.
    Skipped(WrapRefusal),
}

/// Why a function cannot be wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrapRefusal {
    /// It has no blocks, or a block without a terminator.
    #[error("it has no control flow")]
    NoControlFlow,
    /// No return and no tail call can be reached.
    #[error("it never returns")]
    NeverReturns,
}

impl WrapRefusal {
    /// A short stable name, for counting.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoControlFlow => "no-control-flow",
            Self::NeverReturns => "never-returns",
        }
    }
}

/// The counter's type.
const COUNTER: Type = types::I32;

/// Puts the body of `func` into a loop of `iterations` (at least one).
///
/// # Ensures
///
/// The result verifies if `func` does.
///
/// # Complexity
///
/// O(instructions).
pub fn wrap(func: &Function, iterations: u32) -> Wrapped {
    let Ok(flow) = Flow::compute(func) else {
        return Wrapped::Skipped(WrapRefusal::NoControlFlow);
    };
    let mut returns = vec![];
    let mut tail_calls = vec![];
    for block in func
        .layout
        .blocks()
        .filter(|&block| flow.is_reachable(block))
    {
        let Some(last) = func.layout.last_inst(block) else {
            return Wrapped::Skipped(WrapRefusal::NoControlFlow);
        };
        match func.dfg.insts[last].opcode() {
            Opcode::Return => returns.push(last),
            Opcode::ReturnCall | Opcode::ReturnCallIndirect => tail_calls.push((block, last)),
            _ => {}
        }
    }
    if returns.is_empty() && tail_calls.is_empty() {
        return Wrapped::Skipped(WrapRefusal::NeverReturns);
    }
    let mut out = func.clone();
    let mut counted = insert_header(&mut out, flow.entry());
    counted.iterations = iterations.max(1);
    if !returns.is_empty() {
        let latch = insert_latch(&mut out, &counted);
        for inst in returns {
            let args = block_args(out.dfg.inst_args(inst));
            let mut cursor = FuncCursor::new(&mut out).at_inst(inst);
            cursor.ins().jump(latch, &args);
            cursor.func.layout.remove_inst(inst);
        }
    }
    for (block, inst) in tail_calls {
        insert_tail_latch(&mut out, &counted, block, inst);
    }
    Wrapped::Done(Box::new(out))
}

/// The loop under construction.
struct Counted {
    header: Block,
    counter: Value,
    /// The parameters of the header after the counter; they stay the same.
    carried: Vec<Value>,
    iterations: u32,
}

fn block_args(values: &[Value]) -> Vec<BlockArg> {
    values.iter().map(|&value| BlockArg::Value(value)).collect()
}

/// Puts a new entry and the header in front of the body.
fn insert_header(out: &mut Function, body: Block) -> Counted {
    let types: Vec<Type> = out.dfg.block_param_types(body).collect();
    let entry = out.dfg.make_block();
    out.layout.insert_block(entry, body);
    let header = out.dfg.make_block();
    out.layout.insert_block(header, body);
    let counter = out.dfg.append_block_param(header, COUNTER);
    let mut carried = vec![];
    let mut initial = vec![];
    let mut body_args = vec![];
    for (index, ty) in types.into_iter().enumerate() {
        let param = out.dfg.append_block_param(entry, ty);
        if index % 2 == 0 {
            let around = out.dfg.append_block_param(header, ty);
            carried.push(around);
            initial.push(BlockArg::Value(param));
            body_args.push(BlockArg::Value(around));
        } else {
            body_args.push(BlockArg::Value(param));
        }
    }
    let mut cursor = FuncCursor::new(out).at_bottom(entry);
    let zero = cursor.ins().iconst(COUNTER, 0);
    initial.insert(0, BlockArg::Value(zero));
    cursor.ins().jump(header, &initial);
    cursor.goto_bottom(header);
    cursor.ins().jump(body, &body_args);
    Counted {
        header,
        counter,
        carried,
        iterations: 1,
    }
}

/// Adds the block that every `return` goes to.
fn insert_latch(out: &mut Function, counted: &Counted) -> Block {
    let results: Vec<Type> = out
        .signature
        .returns
        .iter()
        .map(|ret| ret.value_type)
        .collect();
    let latch = out.dfg.make_block();
    out.layout.append_block(latch);
    let exit = out.dfg.make_block();
    out.layout.append_block(exit);
    let append = |out: &mut Function, block| -> Vec<Value> {
        let params = results
            .iter()
            .map(|&ty| out.dfg.append_block_param(block, ty));
        params.collect()
    };
    let values = append(out, latch);
    let returned = append(out, exit);
    let mut cursor = FuncCursor::new(out).at_bottom(latch);
    branch_back(&mut cursor, counted, exit, &block_args(&values));
    cursor.goto_bottom(exit);
    cursor.ins().return_(&returned);
    latch
}

/// Moves a tail call into a block of its own behind a latch.
fn insert_tail_latch(out: &mut Function, counted: &Counted, block: Block, inst: Inst) {
    let tail = out.dfg.make_block();
    out.layout.split_block(tail, inst);
    let mut cursor = FuncCursor::new(out).at_bottom(block);
    branch_back(&mut cursor, counted, tail, &[]);
}

/// Counts, and branches to the header or to `exit`.
fn branch_back(cursor: &mut FuncCursor<'_>, counted: &Counted, exit: Block, args: &[BlockArg]) {
    let one = cursor.ins().iconst(COUNTER, 1);
    let next = cursor.ins().iadd(counted.counter, one);
    let limit = cursor.ins().iconst(COUNTER, i64::from(counted.iterations));
    let again = cursor.ins().icmp(IntCC::UnsignedLessThan, next, limit);
    let mut around = vec![BlockArg::Value(next)];
    around.extend(block_args(&counted.carried));
    cursor
        .ins()
        .brif(again, counted.header, &around, exit, args);
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::settings;
    use regraft_regions::LoopForest;

    fn wrapped(text: &str) -> Function {
        let func = cranelift_reader::parse_functions(text).unwrap().remove(0);
        let Wrapped::Done(out) = wrap(&func, 8) else {
            panic!("{func} is not wrapped");
        };
        let flags = settings::Flags::new(settings::builder());
        cranelift_codegen::verify_function(&out, &flags).unwrap();
        let flow = Flow::compute(&out).unwrap();
        assert_eq!(LoopForest::compute(&out, &flow).len(), 1, "{out}");
        *out
    }

    #[test]
    fn returns_and_tail_calls_become_latches() {
        let text = "
function %f(i32, i64, f32) -> i64, f32 tail {
    fn0 = %g(i32, i64, f32) -> i64, f32 tail
block0(v0: i32, v1: i64, v2: f32):
    brif v0, block1, block2
block1:
    return v1, v2
block2:
    v3 = fadd v2, v2
    return_call fn0(v0, v1, v3)
}";
        insta::assert_snapshot!(wrapped(text), @"
        function %f(i32, i64, f32) -> i64, f32 tail {
            sig0 = (i32, i64, f32) -> i64, f32 tail
            fn0 = %g sig0

        block3(v5: i32, v7: i64, v8: f32):
            v10 = iconst.i32 0
            jump block4(v10, v5, v8)  ; v10 = 0

        block4(v4: i32, v6: i32, v9: f32):
            jump block0(v6, v7, v9)

        block0(v0: i32, v1: i64, v2: f32):
            brif v0, block1, block2

        block1:
            jump block5(v1, v2)

        block2:
            v3 = fadd.f32 v2, v2
            v19 = iconst.i32 1
            v20 = iadd.i32 v4, v19  ; v19 = 1
            v21 = iconst.i32 8
            v22 = icmp ult v20, v21  ; v21 = 8
            brif v22, block4(v20, v6, v9), block7

        block7:
            return_call fn0(v0, v1, v3)

        block5(v11: i64, v12: f32):
            v15 = iconst.i32 1
            v16 = iadd.i32 v4, v15  ; v15 = 1
            v17 = iconst.i32 8
            v18 = icmp ult v16, v17  ; v17 = 8
            brif v18, block4(v16, v6, v9), block6(v11, v12)

        block6(v13: i64, v14: f32):
            return v13, v14
        }
        ");
    }

    #[test]
    fn a_function_that_only_traps_is_left_alone() {
        let text = "function %f() {\nblock0:\n    trap user1\nblock1:\n    return\n}";
        let func = cranelift_reader::parse_functions(text).unwrap().remove(0);
        assert!(matches!(
            wrap(&func, 2),
            Wrapped::Skipped(WrapRefusal::NeverReturns)
        ));
    }
}
