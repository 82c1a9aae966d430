//! The engine, in every mode, against plain cranelift-jit and the interpreter.

use super::plain::{Outcome, Plain, SETTINGS, name_of};
use super::{Sabotage, Stats, interpreter};
use crate::generate::host::{Host, SYMBOL};
use crate::generate::{MAIN, Program, Source};
use cranelift_codegen::ir::Function;
use regraft::config::{ArenaConfig, Optimizer};
use regraft::optimizer::Passes;
use regraft::regions::Policy;
use regraft::report::{PartState, SideExitState};
use regraft::{CompileMode, Config, Engine, FunctionId, Mode};

/// Each input is used this many times in a row.
const REPEAT: usize = 3;

/// A configuration in which everything is hot at once, and everything is checked.
pub fn base(mode: Mode) -> Config {
    let setting = |&(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    Config::default()
        .mode(mode)
        .compile(CompileMode::Synchronous)
        .pacing(regraft::Pacing::Counts)
        .loop_threshold(1)
        .entry_threshold(1)
        .side_exit_threshold(1)
        .check(true)
        .arena(ArenaConfig {
            code_bytes: 8 << 20,
            data_bytes: 2 << 20,
        })
        .settings(SETTINGS.iter().map(setting).collect())
}

/// Every loop becomes a region that goes through every pass.
pub fn with_passes() -> Config {
    base(Mode::Tiered)
        .policy(every_loop())
        .optimizer(Optimizer {
            passes: Passes::all(),
            ..Optimizer::default()
        })
}

/// A policy by which every loop becomes a region.
pub fn every_loop() -> Policy {
    Policy {
        min_trip_count: 0.0,
        min_share: 0.0,
        ..Policy::default()
    }
}

/// A policy by which, besides, what runs in less than half of the iterations is cold.
pub fn greedy() -> Policy {
    Policy {
        cold_share: 0.5,
        ..every_loop()
    }
}

/// The configurations that must agree.
pub fn configs() -> Vec<(&'static str, Config)> {
    vec![
        ("eager", base(Mode::Eager)),
        ("tier 0", base(Mode::Tier0)),
        ("tiered", base(Mode::Tiered)),
        (
            "tiered, every loop",
            base(Mode::Tiered).policy(every_loop()).side_exits(false),
        ),
        (
            "tiered, side exits",
            base(Mode::Tiered)
                .policy(greedy())
                .pacing(regraft::Pacing::Counts)
                .loop_threshold(4)
                .entry_threshold(3)
                .side_exit_threshold(4),
        ),
        ("tiered, every pass", with_passes()),
        (
            "tiered, in the background",
            base(Mode::Tiered)
                .policy(every_loop())
                .compile(CompileMode::Background),
        ),
    ]
}

/// An engine with the functions defined, and the one under test.
///
/// # Errors
///
/// The engine's.
pub fn define(
    functions: &[Function],
    config: Config,
    host: &Host,
) -> Result<(Engine, FunctionId), String> {
    let engine = Engine::new(config).map_err(|error| error.to_string())?;
    let registered = engine.symbol(SYMBOL, host.symbol());
    registered.map_err(|error| error.to_string())?;
    let mut main = None;
    for function in functions {
        let name = name_of(function);
        let id = engine.define_function(function.clone());
        let id = id.map_err(|error| format!("{name}: {}", chain(&error)))?;
        if name == MAIN {
            main = Some(id);
        }
    }
    Ok((engine, main.ok_or("there is no main")?))
}

/// An error and its sources.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// Calls, on fresh memory.
///
/// # Errors
///
/// The engine's.
pub fn call(
    engine: &Engine,
    main: FunctionId,
    host: &Host,
    args: &[super::super::generate::Arg],
) -> Result<Outcome, String> {
    let args = host.arguments(args);
    host.reset();
    // SAFETY: generated programs touch only their frame and the host's buffers.
    let results = unsafe { engine.call(main, &args) };
    let results = results.map_err(|error| chain(&error))?;
    Ok(Outcome::new(&results, host.contents()))
}

/// All modes agree with plain compilation, and that with the interpreter where it can.
///
/// # Errors
///
/// The first difference, and the CLIF.
pub fn check(bytes: &[u8], sabotage: Option<Sabotage>) -> Result<Stats, String> {
    let program = Program::draw(&mut Source::new(bytes));
    let text = |what: String| format!("{what}\n{}", program.to_clif());
    let host = Host::new();
    let mut stats = Stats {
        cases: 1,
        ..Stats::default()
    };
    let mut defined = program.functions.clone();
    if let (Some(sabotage), Some(main)) = (sabotage, defined.last_mut()) {
        stats.sabotaged = usize::from(sabotage.spoil(main, false));
    }
    let plain = Plain::compile(&program.functions, MAIN, &host).map_err(&text)?;
    let expected: Vec<Outcome> = program
        .inputs
        .iter()
        .map(|args| plain.run(&host, args))
        .collect();
    for (args, expected) in program.inputs.iter().zip(&expected) {
        if !program.interpretable {
            continue;
        }
        let Some(got) = interpreter::interpret(&program.functions, MAIN, &host, args) else {
            continue;
        };
        stats.interpreted += 1;
        if let Some(difference) = got.difference(expected) {
            return Err(text(format!(
                "interpreter: {difference}\n; arguments {args:?}"
            )));
        }
    }
    for (name, config) in configs() {
        let (engine, main) =
            define(&defined, config, &host).map_err(|error| text(format!("{name}: {error}")))?;
        for (args, expected) in program.inputs.iter().zip(&expected) {
            for round in 0..REPEAT {
                let got = call(&engine, main, &host, args);
                let got = got.map_err(|error| text(format!("{name}: {error}")))?;
                stats.calls += 1;
                if let Some(difference) = got.difference(expected) {
                    let report = engine.report().to_json();
                    let what = format!(
                        "{name}, call {round}: {difference}\n; arguments {args:?}\n{report}"
                    );
                    return Err(text(what));
                }
            }
        }
        engine.wait_idle();
        inspect(&engine, &mut stats).map_err(|error| text(format!("{name}: {error}")))?;
    }
    Ok(stats)
}

/// Nothing may have failed on the way.
pub(super) fn inspect(engine: &Engine, stats: &mut Stats) -> Result<(), String> {
    for (name, function) in &engine.report().functions {
        let whole = &function.whole_function;
        if whole.state == PartState::Failed {
            return Err(format!("{name} as a whole: {}", whole.reason));
        }
        for region in &function.regions {
            let part = &region.part;
            if part.state == PartState::Failed {
                return Err(format!("{name} at {}: {}", region.header, part.reason));
            }
            if let Some(exit) = part
                .side_exits
                .iter()
                .find(|exit| exit.state == SideExitState::Failed)
            {
                return Err(format!(
                    "{name} at {}: no continuation for {}",
                    region.header, exit.to
                ));
            }
            stats.regions += usize::from(!region.versions.is_empty());
            stats.side_exits += part.side_exits.len();
            stats.entered += region.entries;
        }
    }
    Ok(())
}
