//! Programs that use regraft; each is an example target of this package.
//!
//! Here is only what several of them need: a way to build a function in a few
//! lines, a stopwatch that runs its contenders in turns, and the words in
//! which a figure is compared with its aim.

use cranelift_codegen::ir::{AbiParam, Function, Signature, Type, UserFuncName, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use regraft::report::FunctionReport;
use regraft::{Config, Engine, Error, Mode};
use std::time::{Duration, Instant};

/// An engine in this mode, all else as it comes.
///
/// # Errors
///
/// As [`Engine::new`].
pub fn engine(mode: Mode) -> Result<Engine, Error> {
    Engine::new(
        Config::default()
            .mode(mode) // The examples are about regions, also where starting at tier 1 would be as cheap.
            .pacing(regraft::Pacing::Counts) // As in release builds of most code generators; it would cost all modes the same.
            .settings(vec![("enable_verifier".into(), "false".into())]),
    )
}

/// Builds a function of the host's calling convention. `body` gets the builder,
/// in the entry block, and the parameters; it terminates what it creates, and
/// all blocks are sealed for it.
pub fn build(
    engine: &Engine,
    name: &str,
    params: &[Type],
    returns: &[Type],
    body: impl FnOnce(&mut FunctionBuilder<'_>, &[Value]),
) -> Function {
    let isa = engine.isa();
    let mut signature = Signature::new(isa.default_call_conv());
    signature
        .params
        .extend(params.iter().copied().map(AbiParam::new));
    signature
        .returns
        .extend(returns.iter().copied().map(AbiParam::new));
    let mut func = Function::with_name_signature(UserFuncName::testcase(name), signature);
    let mut context = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut func, &mut context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let params = builder.block_params(entry).to_vec();
    body(&mut builder, &params);
    builder.seal_all_blocks();
    builder.finalize(isa.frontend_config());
    func
}

/// Runs what it is given and says how long it took.
pub fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = run();
    (result, start.elapsed())
}

/// The shortest time of each contender. They take turns, so that a disturbance
/// of the machine meets them all.
///
/// # Errors
///
/// The first of `run`.
pub fn fastest<C, E, const N: usize>(
    rounds: u32,
    contenders: [C; N],
    mut run: impl FnMut(&C) -> Result<Duration, E>,
) -> Result<[Duration; N], E> {
    let mut best = [Duration::MAX; N];
    for _ in 0..rounds.max(1) {
        for (contender, best) in contenders.iter().zip(&mut best) {
            *best = (*best).min(run(contender)?);
        }
    }
    Ok(best)
}

/// `a` in units of `b`.
pub fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// Prints what has become of each loop.
pub fn print_regions(function: &FunctionReport) {
    for region in &function.regions {
        println!(
            "region at {}: {}, entered {} times ({} while running){}{}",
            region.header,
            region.part.state,
            region.entries,
            region.entries_while_running,
            if region.part.reason.is_empty() {
                ""
            } else {
                ": "
            },
            region.part.reason
        );
    }
}

/// Prints a figure, its aim, and whether it is met.
pub fn verdict(what: &str, figure: f64, aim: Aim) {
    let (met, sign, limit) = match aim {
        Aim::AtMost(limit) => (figure <= limit, "≤", limit),
        Aim::AtLeast(limit) => (figure >= limit, "≥", limit),
        Aim::Exactly(limit) => (figure == limit, "=", limit),
    };
    let word = if met { "PASS" } else { "FAIL" };
    println!("{word}  {what}: {figure:.3} (aim {sign} {limit})");
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// This.
    Exactly(f64),
}
