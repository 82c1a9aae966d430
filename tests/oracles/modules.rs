//! The same client with a module of cranelift-jit and one of `regraft::jit`, on an engine as the case chooses it.
//!
//! Not here: what modules have besides functions, and errors: those are tests of their own.

use super::changes::nothing_is_left;
use super::choices::{Bytes, Choices};
use super::engines::{base, chain, inspect};
use super::plain::{Outcome, Plain, isa, name_of};
use super::{Sabotage, Stats};
use crate::generate::host::{Host, SYMBOL};
use crate::generate::{MAIN, Program, Source};
use cranelift_codegen::Context;
use cranelift_codegen::ir::Function;
use regraft::jit::{JITBuilder, JITModule};
use regraft::regions::Profile;
use regraft::{Config, Engine, Mode, Reclamation};
use std::sync::Arc;

/// Each input is used this many times in a row.
const REPEAT: usize = 3;

/// A module of ours computes what one of cranelift-jit does, at threshold 1 and as the case chooses; redefined, too.
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
    let case = Case {
        program: &program,
        position,
        other: &other,
        host: Host::new(),
        sabotage,
    };
    let mut stats = Stats {
        cases: 1,
        ..Stats::default()
    };
    case.compare(&choices.config, &mut stats).map_err(|what| {
        let clif = program.to_clif();
        let described = choices.describe();
        format!("{what}\n{described}\n{clif}; redefined as\n{other}\n")
    })?;
    Ok(stats)
}

struct Case<'a> {
    program: &'a Program,
    /// Which function is redefined, and as what.
    position: usize,
    other: &'a Function,
    host: Host,
    sabotage: Option<Sabotage>,
}

impl Case<'_> {
    fn compare(&self, chosen: &Config, stats: &mut Stats) -> Result<(), String> {
        let expected = self.expected(self.program)?;
        let changed = self.program.with(self.position, self.other.clone());
        let expected_of_other = self.expected(&changed)?;
        let hot = base(Mode::Tiered);
        let profile = self.run("threshold 1", hot, &expected, &expected_of_other, stats)?;
        // Numbered references are in the hash: the profile fits every module with the same declarations.
        let chosen = chosen.clone().profile(Some(Arc::new(profile)));
        self.run("chosen", chosen, &expected, &expected_of_other, stats)?;
        Ok(())
    }

    fn expected(&self, program: &Program) -> Result<Vec<Outcome>, String> {
        let plain = Plain::compile(&program.functions, MAIN, &self.host)?;
        let inputs = program.inputs.iter();
        Ok(inputs.map(|args| plain.run(&self.host, args)).collect())
    }

    /// Defines, calls, redefines, calls and frees. Returns the profile of what was defined first.
    fn run(
        &self,
        name: &str,
        config: Config,
        expected: &[Outcome],
        expected_of_other: &[Outcome],
        stats: &mut Stats,
    ) -> Result<Profile, String> {
        let engine = Engine::with_isa(&*isa(), config);
        let engine = engine.map_err(|error| format!("{name}: {}", chain(&error)))?;
        let names = cranelift_module::default_libcall_names();
        let mut builder = JITBuilder::with_isa(isa(), names);
        builder.symbol(SYMBOL, self.host.symbol());
        builder.engine(engine.clone());
        let mut defined = self.program.functions.clone();
        if let (Some(sabotage), Some(main)) = (self.sabotage, defined.last_mut()) {
            stats.sabotaged |= usize::from(sabotage.spoil(main, false));
        }
        let module = Plain::compile_in(JITModule::new(builder), &defined, MAIN);
        let mut module = module.map_err(|error| format!("{name}: {error}"))?;
        self.calls(&engine, &module, expected, stats)
            .map_err(|error| format!("{name}: {error}\n{}", engine.report().to_json()))?;
        let profile = engine.profile();
        match self.sabotage {
            Some(Sabotage::LoseDefinition) => stats.sabotaged = 1,
            _ => self
                .redefine(&mut module)
                .map_err(|error| format!("{name}: {error}"))?,
        }
        self.calls(&engine, &module, expected_of_other, stats)
            .map_err(|error| {
                format!("{name}, redefined: {error}\n{}", engine.report().to_json())
            })?;
        engine.wait_idle();
        inspect(&engine, stats).map_err(|error| format!("{name}: {error}"))?;
        if self.sabotage == Some(Sabotage::KeepFunction) {
            stats.sabotaged = 1;
            std::mem::forget(module);
        } else {
            drop(module);
        }
        match nothing_is_left(&engine) {
            true => Ok(profile),
            false => Err(format!("{name}, freed: {:?}", engine.memory())),
        }
    }

    fn calls(
        &self,
        engine: &Engine,
        module: &Plain<JITModule>,
        expected: &[Outcome],
        stats: &mut Stats,
    ) -> Result<(), String> {
        for (args, expected) in self.program.inputs.iter().zip(expected) {
            for round in 0..REPEAT {
                // What the client promises; without, its raw pointers keep what was replaced.
                let got = match engine.config().memory.reclamation {
                    Reclamation::Pinned => engine.pinned(|| module.run(&self.host, args)),
                    _ => module.run(&self.host, args),
                };
                stats.calls += 1;
                if let Some(difference) = got.difference(expected) {
                    return Err(format!("call {round}: {difference}\n; arguments {args:?}"));
                }
            }
        }
        Ok(())
    }

    fn redefine(&self, module: &mut Plain<JITModule>) -> Result<(), String> {
        let function = module.refer(self.other.clone())?;
        let id = module.ids()[&name_of(self.other)];
        let mut context = Context::for_function(function);
        let module = module.module().ok_or("it is freed")?;
        let redefined = module.redefine_function(id, &mut context);
        redefined.map_err(|error| format!("redefinition: {error:?}"))
    }
}
