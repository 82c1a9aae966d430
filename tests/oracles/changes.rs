//! An engine as the case chooses it, whose functions change while it runs, against plain cranelift-jit.
//!
//! ```text
//!   define ─▶ call ─▶ the same body again ─▶ call ─▶ another body ─▶ call ─▶ back ─▶ call ─▶ remove ─▶ a trap
//! ```
//!
//! Calls go through a function that calls the one under test, and straight to it. In the end nothing is left.

use super::choices::{Bytes, Choices};
use super::engines::{call, chain, define, inspect};
use super::plain::{Outcome, Plain, WRAPPER, name_of, through_cells, wrapper};
use super::{Sabotage, Stats};
use crate::generate::host::Host;
use crate::generate::{MAIN, Program, Source};
use cranelift_codegen::ir::Function;
use regraft::{Engine, FunctionId, Reclamation, TrapKind, TypedFn};
use std::time::{Duration, Instant};

/// Each input is used this many times in a row, each way.
const REPEAT: usize = 2;

/// How long freed code may take to go: another thread may be at the end of a compilation.
const PATIENCE: Duration = Duration::from_secs(5);

/// A program in an engine.
struct Life<'a> {
    host: &'a Host,
    program: &'a Program,
    engine: Engine,
    main: FunctionId,
    /// The function that changes.
    changed: FunctionId,
    caller: FunctionId,
    through: TypedFn<(i64,), ()>,
    stats: Stats,
}

/// The engine computes what plain compilation does, whatever is redefined; what was removed is gone.
///
/// # Errors
///
/// The first difference, and the CLIF.
pub fn check(bytes: &[u8], sabotage: Option<Sabotage>) -> Result<Stats, String> {
    let bytes = Bytes::split(bytes);
    let (program, position, other) = Program::draw_with_alternative(
        &mut Source::new(bytes.program),
        &mut Source::new(bytes.alternative),
    );
    let choices = Choices::draw(&mut Source::new(bytes.choices));
    let host = Host::new();
    live(&program, position, &other, &choices, &host, sabotage).map_err(|what| {
        let clif = program.to_clif();
        let described = choices.describe();
        format!("{what}\n{described}\n{clif}; redefined as\n{other}\n")
    })
}

fn live(
    program: &Program,
    position: usize,
    other: &Function,
    choices: &Choices,
    host: &Host,
    sabotage: Option<Sabotage>,
) -> Result<Stats, String> {
    let original = &program.functions[position];
    let expected = outcomes(program, host)?;
    let expected_of_other = outcomes(&program.with(position, other.clone()), host)?;
    let config = choices.config(program, position, other, host)?;
    let mut defined = program.functions.clone();
    let mut stats = Stats {
        cases: 1,
        ..Stats::default()
    };
    if let (Some(sabotage), Some(main)) = (sabotage, defined.last_mut()) {
        stats.sabotaged = usize::from(sabotage.spoil(main, false));
    }
    let mut life = Life::begin(program, &defined, position, config, host, stats)?;
    life.calls(&expected, "as defined")?;
    life.redefine(defined[position].clone())?;
    life.calls(&expected, "redefined as before")?;
    if sabotage == Some(Sabotage::LoseDefinition) {
        life.stats.sabotaged = 1;
    } else {
        life.redefine(other.clone())?;
    }
    life.calls(&expected_of_other, "redefined")?;
    life.redefine(original.clone())?;
    life.calls(&expected, "redefined back")?;
    life.engine.wait_idle();
    inspect(&life.engine, &mut life.stats)?;
    life.end(sabotage)
}

/// What each input gives under plain compilation.
fn outcomes(program: &Program, host: &Host) -> Result<Vec<Outcome>, String> {
    let plain = Plain::compile(&program.functions, MAIN, host)?;
    let inputs = program.inputs.iter();
    Ok(inputs.map(|args| plain.run(host, args)).collect())
}

impl<'a> Life<'a> {
    fn begin(
        program: &'a Program,
        functions: &[Function],
        position: usize,
        config: regraft::Config,
        host: &'a Host,
        stats: Stats,
    ) -> Result<Self, String> {
        let failed = |error: regraft::Error| chain(&error);
        let (engine, main) = define(functions, config, host)?;
        let caller = engine.define_function(wrapper(MAIN, &program.main().signature));
        let caller = caller.map_err(failed)?;
        let changed = engine.lookup(&name_of(&functions[position]));
        Ok(Self {
            host,
            program,
            through: engine.get(caller).map_err(failed)?,
            engine,
            main,
            changed: changed.ok_or("it is not declared")?,
            caller,
            stats,
        })
    }

    /// Calls through generated code.
    fn call_through(&self, args: &[crate::generate::Arg]) -> Result<Outcome, regraft::Trap> {
        let signature = &self.program.main().signature;
        through_cells(signature, self.host, args, |cells| {
            let cells = cells.expose_provenance() as i64;
            // SAFETY: there are cells for all arguments and results, and generated programs touch only their frame and
            // the host's buffers.
            unsafe { self.through.try_call((cells,)) }
        })
    }

    fn calls(&mut self, expected: &[Outcome], when: &str) -> Result<(), String> {
        for (args, expected) in self.program.inputs.iter().zip(expected) {
            for round in 0..2 * REPEAT {
                let got = match round % 2 {
                    0 => call(&self.engine, self.main, self.host, args),
                    _ => self.call_through(args).map_err(|trap| trap.to_string()),
                };
                let got = got.map_err(|error| format!("{when}: {error}"))?;
                self.stats.calls += 1;
                if let Some(difference) = got.difference(expected) {
                    let report = self.engine.report().to_json();
                    return Err(format!(
                        "{when}, call {round}: {difference}\n; arguments {args:?}\n{report}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn redefine(&self, function: Function) -> Result<(), String> {
        let redefined = self.engine.redefine(self.changed, function);
        redefined.map_err(|error| format!("redefinition: {}", chain(&error)))
    }

    /// Removes everything: what is called then is a trap, and nothing of it is left.
    fn end(self, sabotage: Option<Sabotage>) -> Result<Stats, String> {
        let Self {
            ref engine, main, ..
        } = self;
        let mut stats = self.stats;
        let failed = |error: regraft::Error| format!("removal: {}", chain(&error));
        if sabotage == Some(Sabotage::KeepFunction) {
            stats.sabotaged = 1;
        } else {
            engine.remove(main).map_err(failed)?;
        }
        for args in &self.program.inputs {
            match self.call_through(args) {
                Err(trap) if trap.kind == TrapKind::Unresolvable => {}
                Err(trap) => return Err(format!("a call of what was removed: {trap}")),
                Ok(_) => return Err("what was removed is called".to_string()),
            }
        }
        if let Ok(outcome) = call(engine, main, self.host, &self.program.inputs[0]) {
            return Err(format!("what was removed returns {outcome:?}"));
        }
        for function in &self.program.functions {
            if let Some(id) = engine.lookup(&name_of(function)) {
                engine.remove(id).map_err(failed)?;
            }
        }
        if sabotage == Some(Sabotage::KeepCaller) {
            stats.sabotaged = 1;
        } else {
            engine.remove(self.caller).map_err(failed)?;
        }
        drop(self.through);
        match nothing_is_left(engine) {
            true => Ok(stats),
            false => Err(format!(
                "{WRAPPER} and all others are removed: {:?}",
                engine.memory()
            )),
        }
    }
}

/// Whether the code of all that was removed is freed.
pub(super) fn nothing_is_left(engine: &Engine) -> bool {
    let start = Instant::now();
    loop {
        engine.wait_idle();
        match engine.config().memory.reclamation {
            Reclamation::Pinned => engine.collect(),
            // Generated code takes addresses of functions.
            // SAFETY: no thread is inside: this one is here, and no other knows the engine.
            _ => unsafe { engine.quiescent() },
        }
        let memory = engine.memory();
        let live: u64 = memory
            .tiers
            .iter()
            .map(|tier| tier.live + tier.retired)
            .sum();
        if live == 0 && memory.waiting == 0 {
            return true;
        }
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
