//! A hot loop with a cold call in it: what leaving the call out is worth.
//!
//! The loop is what a simple front end makes of `for … { x = x op …; }` with
//! the variable in an object: load, operate, store, test whether the runtime
//! has to be called, and again. A call may change any memory, so with the calls
//! in the loop each step has to load what the step before has stored. Where the
//! calls are left out, only stores that the optimiser sees are left, and it
//! forwards them. Both sides are compiled at `speed`, with no other passes.
//!
//! `cold_call [iterations] [rounds]`

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, Value};
use cranelift_frontend::FunctionBuilder;
use regraft::{Engine, Error, FuncId, Mode, TypedFn};
use regraft_examples::{Aim, define, engine, fastest, print_regions, ratio, timed, verdict};

/// What the loop works on.
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    value: u64,
    factor: u64,
    calls: u64,
}

/// Offsets of its fields.
const VALUE: i32 = 0;
const FACTOR: i32 = 8;

/// Steps in one iteration.
const STEPS: u64 = 8;
/// The runtime is called when these bits of the value are zero.
const MASK: u64 = 0xf_ffff;

/// The call: changes what the loop works on.
///
/// # Safety
///
/// `object` is valid and not accessed by others.
unsafe extern "C" fn runtime(object: *mut Object) {
    // SAFETY: the caller's contract.
    let object = unsafe { &mut *object };
    object.calls += 1;
    object.factor = object.factor.wrapping_add(2);
}

/// One step, in Rust.
fn step(object: &mut Object, i: u64) {
    object.value = (object.value.wrapping_add(i) ^ object.factor).rotate_left(11);
    if object.value & MASK == 0 {
        object.calls += 1;
        object.factor = object.factor.wrapping_add(2);
    }
}

/// `fn(object, n)`: `n` iterations of [`STEPS`] steps.
fn define_loop(engine: &Engine) -> Result<FuncId, Error> {
    let mut signature = Signature::new(engine.isa().default_call_conv());
    signature.params.push(AbiParam::new(I64));
    engine.symbol("runtime", runtime as *const u8);
    let runtime = engine.declare("runtime", &signature)?;
    let mut declared = Ok(());
    let function = define(engine, "work", &[I64, I64], &[], |b, params| {
        let (object, n) = (params[0], params[1]);
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
            let value = advance(b, object, i);
            let (call, next) = (b.create_block(), b.create_block());
            let low = b.ins().band_imm_u(value, MASK.cast_signed());
            b.ins().brif(low, next, &[], call, &[]);
            b.switch_to_block(call);
            b.ins().call(runtime, &[object]);
            b.ins().jump(next, &[]);
            b.switch_to_block(next);
        }
        let i = b.ins().iadd_imm_s(i, -1);
        let more = b.ins().icmp_imm_s(IntCC::NotEqual, i, 0);
        b.ins().brif(more, head, &[i.into()], done, &[]);
        b.switch_to_block(done);
        b.ins().return_(&[]);
    });
    declared.and(function)
}

/// The hot part of a step; returns the new value.
fn advance(b: &mut FunctionBuilder<'_>, object: Value, i: Value) -> Value {
    let value = b.ins().load(I64, MemFlagsData::trusted(), object, VALUE);
    let factor = b.ins().load(I64, MemFlagsData::trusted(), object, FACTOR);
    let value = b.ins().iadd(value, i);
    let value = b.ins().bxor(value, factor);
    let value = b.ins().rotl_imm_u(value, 11);
    b.ins().store(MemFlagsData::trusted(), value, object, VALUE);
    value
}

fn fresh() -> Object {
    Object {
        value: 1,
        factor: 0x9e37_79b9_7f4a_7c15,
        calls: 0,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let iterations: u64 = args.next().map_or(Ok(10_000_000), |arg| arg.parse())?;
    let rounds: u32 = args.next().map_or(Ok(7), |arg| arg.parse())?;

    let mut expected = fresh();
    for i in (1..=iterations).rev() {
        for _ in 0..STEPS {
            step(&mut expected, i);
        }
    }

    type Work = TypedFn<(*mut Object, u64), ()>;
    let prepare = |mode| -> Result<(Engine, Work), Error> {
        let engine = engine(mode)?;
        let work = define_loop(&engine)?;
        let work: Work = engine.get(work)?;
        // Until tier 1 has compiled what it wants, side exits included.
        for _ in 0..3 {
            let mut object = fresh();
            // SAFETY: the object is valid, and nobody else's.
            unsafe { work.call((&raw mut object, iterations)) };
            engine.wait_idle();
        }
        Ok((engine, work))
    };
    let (_, eager) = prepare(Mode::Eager)?;
    let (engine, tiered) = prepare(Mode::Tiered)?;
    let [eager, tiered] = fastest(rounds, [eager, tiered], |work| {
        let mut object = fresh();
        // SAFETY: the object is valid, and nobody else's.
        let ((), time) = timed(|| unsafe { work.call((&raw mut object, iterations)) });
        match object == expected {
            true => Ok(time),
            false => Err(format!("{object:?} instead of {expected:?}")),
        }
    })?;

    println!(
        "{iterations} iterations of {STEPS} steps, {} cold calls in all: \
         eager {:.2} ns, tiered {:.2} ns per step",
        expected.calls,
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
