//! A hot loop with a cold call in it: what leaving the call out is worth.
//!
//! The loop is what a simple front end makes of `for … { x = x op …; }` with
//! the variable in a heap that the runtime may move: load the heap's base, load
//! the variable, operate, store, test whether the runtime has to be called, and
//! again. A call may change any memory, so with the calls in the loop each step
//! has to load the base again, and through it what the step before has stored.
//! Where the calls are left out, only stores that the optimiser sees are left:
//! it loads the base once, and forwards what was stored. Both sides are
//! compiled at `speed`, with no other passes.
//!
//! `cold_call [iterations] [rounds]`

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    AbiParam, AliasRegionData, InstBuilder, MemFlagsData, Signature, Value,
};
use cranelift_frontend::FunctionBuilder;
use regraft::{Engine, Error, FunctionId, Mode, TypedFn};
use regraft_examples::{Aim, build, engine, fastest, print_regions, ratio, timed, verdict};

/// What the loop works with.
#[repr(C)]
#[derive(Debug)]
struct Context {
    /// Where the heap is.
    heap: *mut Heap,
    factor: u64,
    calls: u64,
}

/// What the loop works on.
#[repr(C)]
#[derive(Debug)]
struct Heap {
    value: u64,
}

/// Offsets of their fields.
const HEAP: i32 = 0;
const FACTOR: i32 = 8;
const VALUE: i32 = 0;

/// Steps in one iteration.
const STEPS: u64 = 8;
/// The runtime is called when these bits of the value are zero.
const MASK: u64 = 0xf_ffff;

/// The call: changes what the loop works on.
///
/// # Safety
///
/// `context` is valid and not accessed by others.
unsafe extern "C" fn runtime(context: *mut Context) {
    // SAFETY: the caller's contract.
    let context = unsafe { &mut *context };
    context.calls += 1;
    context.factor = context.factor.wrapping_add(2);
}

/// What the loop computes, in Rust: the value and the number of calls.
fn expected(iterations: u64) -> (u64, u64) {
    let (mut value, mut factor, mut calls) = (START, FIRST_FACTOR, 0);
    for i in (1..=iterations).rev() {
        for _ in 0..STEPS {
            value = u64::wrapping_add(value, i ^ factor);
            if value & MASK == 0 {
                calls += 1;
                factor = factor.wrapping_add(2);
            }
        }
    }
    (value, calls)
}

const START: u64 = 1;
const FIRST_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// `fn(context, n)`: `n` iterations of [`STEPS`] steps.
fn define_loop(engine: &Engine) -> Result<FunctionId, Error> {
    let mut signature = Signature::new(engine.isa().default_call_conv());
    signature.params.push(AbiParam::new(I64));
    engine.symbol("runtime", runtime as *const u8)?;
    let runtime = engine.declare("runtime", &signature)?;
    let mut declared = Ok(());
    let function = build(engine, "work", &[I64, I64], &[], |b, params| {
        let (context, n) = (params[0], params[1]);
        let memory = Memory::new(b);
        let runtime = match engine.import(runtime, b.func) {
            Ok(runtime) => runtime,
            Err(error) => {
                declared = Err(error);
                b.ins().return_(&[]);
                return;
            }
        };
        let (head, done) = (b.create_block(), b.create_block());
        let i = b.append_block_param(head, I64);
        b.ins().jump(head, &[n.into()]);
        b.switch_to_block(head);
        for _ in 0..STEPS {
            let value = advance(b, memory, context, i);
            let (call, next) = (b.create_block(), b.create_block());
            let low = b.ins().band_imm_u(value, MASK.cast_signed());
            b.ins().brif(low, next, &[], call, &[]);
            b.switch_to_block(call);
            b.ins().call(runtime, &[context]);
            b.ins().jump(next, &[]);
            b.switch_to_block(next);
        }
        let i = b.ins().iadd_imm_s(i, -1);
        let more = b.ins().icmp_imm_s(IntCC::NotEqual, i, 0);
        b.ins().brif(more, head, &[i.into()], done, &[]);
        b.switch_to_block(done);
        b.ins().return_(&[]);
    });
    declared?;
    engine.define_function(function)
}

/// What a front end knows of memory: the heap is not the context.
#[derive(Clone, Copy)]
struct Memory {
    context: MemFlagsData,
    heap: MemFlagsData,
}

impl Memory {
    fn new(b: &mut FunctionBuilder<'_>) -> Self {
        let mut flags = |user_id, description: &'static str| {
            let region = b.func.dfg.alias_regions.insert(AliasRegionData {
                user_id,
                description: description.into(),
            });
            MemFlagsData::trusted().with_alias_region(Some(region))
        };
        Self {
            context: flags(0, "context"),
            heap: flags(1, "heap"),
        }
    }
}

/// The hot part of a step; returns the new value.
fn advance(b: &mut FunctionBuilder<'_>, memory: Memory, context: Value, i: Value) -> Value {
    let heap = b.ins().load(I64, memory.context, context, HEAP);
    let value = b.ins().load(I64, memory.heap, heap, VALUE);
    let factor = b.ins().load(I64, memory.context, context, FACTOR);
    let change = b.ins().bxor(i, factor);
    let value = b.ins().iadd(value, change);
    b.ins().store(memory.heap, value, heap, VALUE);
    value
}

type Work = TypedFn<(*mut Context, u64), ()>;

/// Does the work on a fresh heap: the value and the number of calls.
fn work(work: &Work, iterations: u64) -> (u64, u64) {
    let mut heap = Heap { value: START };
    let mut context = Context {
        heap: &raw mut heap,
        factor: FIRST_FACTOR,
        calls: 0,
    };
    // SAFETY: the context and the heap are valid, and nobody else's.
    unsafe { work.call((&raw mut context, iterations)) };
    (heap.value, context.calls)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let iterations: u64 = args.next().map_or(Ok(10_000_000), |arg| arg.parse())?;
    let rounds: u32 = args.next().map_or(Ok(7), |arg| arg.parse())?;

    let expected = expected(iterations);
    let prepare = |mode| -> Result<(Engine, Work), Error> {
        let engine = engine(mode)?;
        let function = define_loop(&engine)?;
        let function: Work = engine.get(function)?;
        // Until tier 1 has compiled what it wants, side exits included.
        for _ in 0..3 {
            work(&function, iterations);
            engine.wait_idle();
        }
        Ok((engine, function))
    };
    let (_, eager) = prepare(Mode::Eager)?;
    let (engine, tiered) = prepare(Mode::Tiered)?;
    let [eager, tiered] = fastest(rounds, [eager, tiered], |function| {
        let (result, time) = timed(|| work(function, iterations));
        match result == expected {
            true => Ok(time),
            false => Err(format!("{result:?} instead of {expected:?}")),
        }
    })?;

    println!(
        "{iterations} iterations of {STEPS} steps, {} cold calls in all: \
         eager {:.2} ns, tiered {:.2} ns per step",
        expected.1,
        eager.as_nanos() as f64 / (iterations * STEPS) as f64,
        tiered.as_nanos() as f64 / (iterations * STEPS) as f64
    );
    print_regions(&engine.report().functions["work"]);
    verdict(
        "peak speed, in units of eager",
        ratio(eager, tiered),
        Aim::AtLeast(1.0),
    );
    Ok(())
}
