//! An interpreter of 200 opcodes, five of them hot: what is never compiled.
//!
//! A dispatch loop is one enormous loop. Compiling all of it at a high level
//! for the sake of five handlers is the price that an eager compiler pays. A
//! region holds the loop with the handlers that the profile calls hot; the
//! other 195 are side exits.
//!
//! The program that is interpreted: `r0 = n; do { r1 += r2; r2 ^= rotl(r1, r4);
//! r3 *= r2; r0 += -1 } while (r0 != 0)`, registers in memory.
//!
//! `interpreter [iterations] [rounds]`

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I32, I64};
use cranelift_codegen::ir::{Block, Function, InstBuilder, JumpTableData, MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;
use regraft::report::FunctionReport;
use regraft::{Engine, Error, Mode, TypedFn};
use regraft_examples::{Aim, build, engine, fastest, print_regions, ratio, timed, verdict};
use std::time::Duration;

/// The number of opcodes.
const OPCODES: u8 = 200;
/// Returns register 3. All opcodes below `JUMP` are `a = b op c`.
const HALT: u8 = OPCODES - 1;
/// `if a != 0 { pc += immediate }`.
const JUMP: u8 = OPCODES - 2;
/// The hot ones, by what [`operate`] makes of them.
const ADD: u8 = 30;
const XOR_ROTATED: u8 = 67;
const MULTIPLY: u8 = 92;
const ADD_IMMEDIATE: u8 = 145;

/// Most opcodes are packed: they work on registers by the four.
fn lanes(opcode: u8) -> i32 {
    let scalar = [ADD, XOR_ROTATED, MULTIPLY, ADD_IMMEDIATE];
    let tens = |opcode: u8| opcode / 10;
    if scalar.iter().any(|&hot| tens(hot) == tens(opcode)) {
        1
    } else {
        4
    }
}

/// One instruction of the bytecode, as it lies in memory.
#[repr(C)]
struct Instruction {
    opcode: u8,
    a: u8,
    b: u8,
    c: u8,
    immediate: i32,
}

/// The size of an instruction in bytes.
const SIZE: i64 = size_of::<Instruction>() as i64;

fn instruction(opcode: u8, a: u8, b: u8, c: u8, immediate: i32) -> Instruction {
    Instruction {
        opcode,
        a,
        b,
        c,
        immediate,
    }
}

/// The program of the module header.
fn bytecode() -> [Instruction; 6] {
    [
        instruction(ADD, 1, 1, 2, 0),
        instruction(XOR_ROTATED, 2, 1, 4, 0),
        instruction(MULTIPLY, 3, 3, 2, 0),
        instruction(ADD_IMMEDIATE, 0, 0, 0, -1),
        instruction(JUMP, 0, 0, 0, -4 * SIZE as i32),
        instruction(HALT, 0, 0, 0, 0),
    ]
}

/// `fn(code, registers) -> register 3`: a loop around a `br_table`.
fn build_interpreter(engine: &Engine) -> Function {
    build(engine, "interpret", &[I64, I64], &[I64], |b, params| {
        let (code, registers) = (params[0], params[1]);
        let dispatch = b.create_block();
        let pc = b.append_block_param(dispatch, I64);
        b.ins().jump(dispatch, &[code.into()]);

        b.switch_to_block(dispatch);
        let handlers: Vec<Block> = (0..OPCODES).map(|_| b.create_block()).collect();
        let unknown = b.create_block();
        let opcode = b.ins().uload8(I32, MemFlagsData::trusted(), pc, 0);
        let calls = handlers.iter().map(|&to| b.func.dfg.block_call(to, &[]));
        let calls: Vec<_> = calls.collect();
        let default = b.func.dfg.block_call(unknown, &[]);
        let table = b.create_jump_table(JumpTableData::new(default, &calls));
        b.ins().br_table(opcode, table);

        for (opcode, &block) in (0..OPCODES).zip(&handlers) {
            b.switch_to_block(block);
            let mut cpu = Cpu { b, pc, registers };
            let next = match opcode {
                HALT => {
                    let result = cpu
                        .b
                        .ins()
                        .load(I64, MemFlagsData::trusted(), registers, 24);
                    cpu.b.ins().return_(&[result]);
                    continue;
                }
                JUMP => cpu.jump(),
                _ => cpu.three_operands(opcode),
            };
            b.ins().jump(dispatch, &[next.into()]);
        }
        b.switch_to_block(unknown);
        let minus_one = b.ins().iconst(I64, -1);
        b.ins().return_(&[minus_one]);
    })
}

/// What a handler is built from.
struct Cpu<'a, 'f> {
    b: &'a mut FunctionBuilder<'f>,
    pc: Value,
    registers: Value,
}

impl Cpu<'_, '_> {
    /// The address of the register that the byte at `pc + offset` names.
    fn register(&mut self, offset: i32) -> Value {
        let number = self
            .b
            .ins()
            .uload8(I64, MemFlagsData::trusted(), self.pc, offset);
        let bytes = self.b.ins().ishl_imm_u(number, 3);
        self.b.ins().iadd(self.registers, bytes)
    }

    fn read(&mut self, offset: i32) -> Value {
        let address = self.register(offset);
        self.load(address, 0)
    }

    fn load(&mut self, address: Value, lane: i32) -> Value {
        let flags = MemFlagsData::trusted();
        self.b.ins().load(I64, flags, address, 8 * lane)
    }

    fn immediate(&mut self) -> Value {
        self.b.ins().sload32(MemFlagsData::trusted(), self.pc, 4)
    }

    /// Returns the next `pc`.
    fn three_operands(&mut self, opcode: u8) -> Value {
        let [to, left, right] = [1, 2, 3].map(|offset| self.register(offset));
        for lane in 0..lanes(opcode) {
            let (left, right) = (self.load(left, lane), self.load(right, lane));
            let result = self.operate(opcode, left, right);
            let flags = MemFlagsData::trusted();
            self.b.ins().store(flags, result, to, 8 * lane);
        }
        self.b.ins().iadd_imm_s(self.pc, SIZE)
    }

    /// Ten operations in twenty variants.
    fn operate(&mut self, opcode: u8, left: Value, right: Value) -> Value {
        // Where a variant needs a constant, it is this; 0 for the first one.
        let variant = i64::from(opcode) / 10 - 3;
        let immediate = self.immediate();
        let b = &mut self.b;
        match opcode % 10 {
            0 => {
                let sum = b.ins().iadd(left, right);
                b.ins().iadd_imm_s(sum, variant)
            }
            1 => {
                let difference = b.ins().isub(left, right);
                b.ins().iadd_imm_s(difference, variant)
            }
            2 => {
                let product = b.ins().imul(left, right);
                b.ins().iadd_imm_s(product, variant)
            }
            3 => {
                let mask = b.ins().bor_imm_s(right, variant);
                b.ins().band(left, mask)
            }
            4 => {
                let less = b.ins().icmp(IntCC::SignedLessThan, left, right);
                let least = b.ins().select(less, left, right);
                b.ins().bxor_imm_s(least, variant)
            }
            5 => b.ins().iadd(left, immediate),
            6 => {
                let amount = b.ins().band_imm_u(immediate, 63);
                let shifted = b.ins().ishl(left, amount);
                b.ins().bor(shifted, right)
            }
            7 => {
                let rotated = b.ins().rotl_imm_u(left, variant + 20);
                b.ins().bxor(rotated, right)
            }
            8 => {
                let equal = b.ins().icmp(IntCC::Equal, left, right);
                let equal = b.ins().uextend(I64, equal);
                b.ins().iadd(equal, immediate)
            }
            _ => {
                let low = b.ins().ireduce(I8, left);
                let low = b.ins().sextend(I64, low);
                b.ins().iadd(low, right)
            }
        }
    }

    /// Returns the next `pc`.
    fn jump(&mut self) -> Value {
        let condition = self.read(1);
        let distance = self.immediate();
        let taken = self.b.ins().iadd(self.pc, distance);
        let next = self.b.ins().iadd_imm_s(self.pc, SIZE);
        self.b.ins().select(condition, taken, next)
    }
}

type Interpreter = TypedFn<(*const Instruction, *mut u64), u64>;

/// An interpreter, and how long it took to define.
fn interpreter(mode: Mode) -> Result<(Engine, Interpreter, Duration), Error> {
    let engine = engine(mode)?;
    let function = build_interpreter(&engine);
    let (defined, time) = timed(|| engine.define_function(function));
    let interpreter = engine.get(defined?)?;
    Ok((engine, interpreter, time))
}

fn interpret(interpreter: &Interpreter, iterations: u64) -> u64 {
    let code = bytecode();
    let mut registers = [0; 260];
    registers[..5].copy_from_slice(&[iterations, 1, 2, 3, 5]);
    // SAFETY: the bytecode is complete and ends with a halt. A register's
    // number is a byte, and a packed operation reaches three beyond it.
    unsafe { interpreter.call((code.as_ptr(), registers.as_mut_ptr())) }
}

/// What [`interpret`] returns, computed in Rust.
fn expected(iterations: u64) -> u64 {
    let rotation = u32::from(XOR_ROTATED / 10 - 3 + 20);
    let (mut r1, mut r2, mut r3) = (1u64, 2u64, 3u64);
    for _ in 0..iterations {
        r1 = r1.wrapping_add(r2);
        r2 = r1.rotate_left(rotation) ^ 5;
        r3 = r3
            .wrapping_mul(r2)
            .wrapping_add(u64::from(MULTIPLY / 10 - 3));
    }
    r3
}

/// Instructions that were given to tier 1.
fn optimised(function: &FunctionReport) -> usize {
    let regions = function.regions.iter().flat_map(|region| &region.versions);
    let versions = function.versions.iter().chain(regions);
    let tier1 = versions.filter(|version| version.tier == 1);
    tier1.map(|version| version.instructions_before).sum()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let iterations: u64 = args.next().map_or(Ok(5_000_000), |arg| arg.parse())?;
    let rounds: u32 = args.next().map_or(Ok(7), |arg| arg.parse())?;

    // Compile time: engines of their own each round, warmed up until tier 1
    // has compiled what it wants.
    let mut engines = vec![];
    let modes = [Mode::Eager, Mode::Tiered];
    let [eager, tiered] = fastest(rounds, modes, |&mode| {
        let (engine, run, mut time) = interpreter(mode)?;
        interpret(&run, 200_000);
        engine.wait_idle();
        interpret(&run, 200_000);
        engine.wait_idle();
        if let Some(micros) = engine.report().functions["interpret"]
            .compile_micros
            .get("tier1")
            && mode == Mode::Tiered
        {
            time += Duration::from_micros(*micros);
        }
        engines.push((mode, engine, run));
        Ok::<_, Error>(time)
    })?;

    let pick = |wanted| engines.iter().rfind(|(mode, ..)| *mode == wanted);
    let (Some((_, _, eager_run)), Some((_, tiered_engine, tiered_run))) =
        (pick(Mode::Eager), pick(Mode::Tiered))
    else {
        return Err("no engine was measured".into());
    };
    let [eager_peak, tiered_peak] = fastest(rounds, [eager_run, tiered_run], |run| {
        let (result, time) = timed(|| interpret(run, iterations));
        match result == expected(iterations) {
            true => Ok(time),
            false => Err(format!("{result} instead of {}", expected(iterations))),
        }
    })?;

    let report = tiered_engine.report();
    let function = &report.functions["interpret"];
    let optimised = optimised(function);
    println!(
        "{} instructions in {} blocks; tier 1 compiled {optimised}",
        function.instructions, function.blocks
    );
    let micros = |tier| function.compile_micros.get(tier).copied().unwrap_or(0);
    println!(
        "compiling: eager {} µs, tiered {} µs (code generation {} µs at tier 0, {} µs at tier 1)",
        eager.as_micros(),
        tiered.as_micros(),
        micros("tier0"),
        micros("tier1")
    );
    let dispatches = iterations as f64 * 5.0;
    println!(
        "peak: eager {:.2} ns, tiered {:.2} ns per dispatch",
        eager_peak.as_nanos() as f64 / dispatches,
        tiered_peak.as_nanos() as f64 / dispatches
    );
    print_regions(function);
    let exits = function
        .regions
        .iter()
        .flat_map(|region| &region.part.side_exits);
    let compiled = exits.filter(|exit| exit.code_bytes > 0);
    let compiled: Vec<&str> = compiled.map(|exit| &*exit.to).collect();
    println!("continuations compiled, beside the region: {compiled:?}");
    let share = optimised as f64 / function.instructions as f64;
    verdict(
        "share of the instructions that tier 1 compiled",
        share,
        Aim::AtMost(0.1),
    );
    verdict(
        "compile time of both tiers, in units of eager",
        ratio(tiered, eager),
        Aim::AtMost(0.5),
    );
    verdict(
        "peak speed, in units of eager",
        ratio(eager_peak, tiered_peak),
        Aim::AtLeast(0.95),
    );
    Ok(())
}
