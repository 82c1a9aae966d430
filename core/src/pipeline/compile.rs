//! From CLIF to a version, at either tier: optimise, generate, place, link.
//!
//! Invariants:
//!
//! * Code memory is kept in reserve for continuations, which running code waits for.
//! * A version is in the code map before it can run.
//! * What fails leaves nothing behind.
//!
//! Not here: the code generator and the linker themselves (`code`), which address a name has (`addresses`).

use crate::code::codemap::Origin;
use crate::code::error::{CompileError, MemoryError};
use crate::code::externals::{Kept, OwnData};
use crate::code::generate::{self, GenerateError, Generated};
use crate::code::link::{Allocation, allocate};
use crate::config::faults::{Faults, Stage};
use crate::context::Inner;
use crate::observe::{Complete, Event};
use crate::pipeline::addresses::address_of;
use crate::pipeline::keep::keep;
use crate::pipeline::optimize::optimize;
use crate::report::{EventKind, Phase};
use crate::threads::background::compute;
use crate::units::function::Body;
use crate::units::version::{Version, link_version};
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{ExternalName, FuncRef, Function, Inst};
use cranelift_module::ModuleRelocTarget;
use regraft_optimizer::{Effort, Summary};
use std::sync::Arc;
use std::time::Instant;
use target_lexicon::Architecture;

/// The share of code memory, as a divisor, that is kept for continuations.
const RESERVE_SHARE: usize = 32;

/// CLIF that is to become a version.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub tier: u8,
    /// What it was made of.
    pub origin: Origin,
    pub func: Function,
    /// Data that only this code knows.
    pub own: Vec<OwnData>,
    /// Indirect calls, and the addresses that they mostly reach.
    pub usual: Vec<(Inst, usize)>,
    /// What it refers to besides what its definition keeps.
    pub kept: Vec<Kept>,
    /// The definition that all of it is of, where it is to be kept.
    pub whole_of: Option<Arc<Body>>,
    /// What was done to it so far.
    pub passes: Vec<Effort>,
}

impl Code {
    /// Code at tier 1 that nothing is known of but what it was made of.
    pub fn new(origin: Origin, func: Function, own: Vec<OwnData>) -> Self {
        Self {
            tier: 1,
            origin,
            func,
            own,
            usual: vec![],
            kept: vec![],
            whole_of: None,
            passes: vec![],
        }
    }

    /// Says that it is all of a definition, so that it can be kept for later runs.
    pub fn whole_of(self, body: &Arc<Body>) -> Self {
        let whole_of = Some(Arc::clone(body));
        Self { whole_of, ..self }
    }
}

/// Compiles a version, unless code memory is so full that what is left must be kept for continuations.
pub(crate) fn compile(engine: &Inner, code: Code) -> Result<Version, CompileError> {
    check_reserve(engine)?;
    compile_from_reserve(engine, code)
}

/// Compiles a version that running code waits for.
pub(crate) fn compile_from_reserve(engine: &Inner, code: Code) -> Result<Version, CompileError> {
    let Code {
        tier,
        origin,
        mut func,
        own,
        kept,
        whole_of,
        mut passes,
        usual: _,
    } = code;
    let name = origin.name();
    let start = Instant::now();
    let summary = match tier {
        0 => Summary::default(),
        _ => {
            let _optimizing = engine.enter(Phase::Optimize);
            optimize(engine, &name, &mut func)?
        }
    };
    let optimizing = start.elapsed();
    set_reach(engine, tier, &mut func, &origin, &own);
    let context = &mut Context::for_function(func);
    let generated = generate(engine, tier, &name, context, true, &mut Default::default())?;
    if let Some(body) = whole_of {
        keep(engine, &body, &origin, &generated);
    }
    let allocation = allocate(&engine.arena, &generated.code)?;
    let version = link(engine, allocation, &origin, generated, &own)?;
    version.code.with(|code| code.kept = kept);
    passes.extend(summary.efforts);
    Ok(Version {
        passes,
        compile_time: version.compile_time + optimizing,
        ..version
    })
}

/// Fails where code memory is so full that what is left must be kept for continuations.
pub(crate) fn check_reserve(engine: &Inner) -> Result<(), CompileError> {
    let free = engine.arena.stats().code.free;
    if free < engine.config.memory.arena.code_bytes / RESERVE_SHARE {
        return Err(MemoryError::Reserve { free }.into());
    }
    Ok(())
}

/// Lets code call stubs by their distance where it can. Not worth looking for at tier 0.
pub(crate) fn set_reach(
    engine: &Inner,
    tier: u8,
    func: &mut Function,
    origin: &Origin,
    own: &[OwnData],
) {
    let near = match tier {
        0 => vec![],
        _ => near_functions(engine, func, origin, own),
    };
    generate::set_reach(func, &near);
}

/// The functions whose stubs are in reach of relative calls, as all code memory is for itself (`MAX_RESERVATION`).
fn near_functions(
    engine: &Inner,
    func: &Function,
    origin: &Origin,
    own: &[OwnData],
) -> Vec<FuncRef> {
    if engine.isas.triple().architecture != Architecture::X86_64 {
        return vec![];
    }
    let names = func.params.user_named_funcs();
    let callees = func.dfg.ext_funcs.iter();
    let near = callees.filter(|(_, callee)| {
        let ExternalName::User(name) = callee.name else {
            return false;
        };
        let target = names.get(name);
        let target = target.map(|name| ModuleRelocTarget::user(name.namespace, name.index));
        let address = target.and_then(|target| address_of(engine, &target, origin, own));
        address.is_some_and(|address| engine.arena.executable_offset(address).is_some())
    });
    near.map(|(callee, _)| callee).collect()
}

/// The step to machine code.
pub(crate) fn generate(
    engine: &Inner,
    tier: u8,
    name: &str,
    context: &mut Context,
    templates: bool,
    control: &mut ControlPlane,
) -> Result<Generated, GenerateError> {
    let _generating = engine.enter(Phase::generating(tier));
    // All that is needed goes along: it may be done on a thread that nobody should wait for with a lock in hand.
    let mut working = (
        std::mem::replace(context, Context::new()),
        std::mem::take(control),
    );
    let (isa, check) = (Arc::clone(engine.isa(tier)), engine.config.testing.check);
    let wanted = engine.observer.wanted();
    let template = match tier {
        0 if templates && engine.config.templates => engine.isas.template,
        _ => None,
    };
    let (faults, name) = (engine.config.testing.faults.clone(), name.to_string());
    let generated = compute(move || {
        let (context, control) = &mut working;
        let generated = strike(faults.as_ref(), Stage::Codegen(tier), &name)
            .map_err(GenerateError::from)
            .and_then(|()| {
                generate::generate(
                    context,
                    &isa,
                    tier,
                    check,
                    wanted,
                    template.as_ref(),
                    control,
                )
            });
        (working, generated)
    });
    let (working, generated) = generated.ok_or(CompileError::Stopped)?;
    (*context, *control) = working;
    generated
}

/// The step to a version that can run.
pub(crate) fn link(
    engine: &Inner,
    allocation: Allocation,
    origin: &Origin,
    generated: Generated,
    own: &[OwnData],
) -> Result<Version, CompileError> {
    let _linking = engine.enter(Phase::Link);
    let name = &origin.name();
    let tier = generated.tier;
    fault(engine, Stage::Link(tier), name)?;
    let resolve = |target: &_| address_of(engine, target, origin, own);
    let isa = engine.isa(tier);
    let (version, tables, unwind) = link_version(allocation, isa, name, generated, &resolve)?;
    let seen = version.code.with(|code| {
        let complete = Complete {
            tier,
            entry: version.entry,
            len: version.code_bytes,
            memory: &code.memory,
            origin,
            tables: &tables,
            unwind: unwind.as_ref(),
        };
        engine.observer.see(&complete, &engine.slots, &**isa)
    });
    let listing = engine
        .codemap
        .list(version.entry, tier, origin.clone(), tables);
    let compiled = Event::new(EventKind::Compiled, &origin.function, origin.unit);
    engine.observer.event(Event {
        tier: Some(tier),
        micros: u64::try_from(version.compile_time.as_micros()).unwrap_or(u64::MAX),
        ..compiled
    });
    version.code.with(|code| {
        code.seen = seen.flatten();
        code.account = Some(engine.reclaimer.ledger.open(tier, code.memory.size()));
        code.listing = Some(listing);
    });
    Ok(version)
}

/// Fails where the configuration asks for it.
pub(crate) fn fault(engine: &Inner, stage: Stage, name: &str) -> Result<(), CompileError> {
    strike(engine.config.testing.faults.as_ref(), stage, name)
}

fn strike(faults: Option<&Faults>, stage: Stage, name: &str) -> Result<(), CompileError> {
    match faults {
        Some(faults) if faults.strikes(stage, name) => Err(CompileError::Injected(stage)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::codemap::CodeUnit;
    use crate::config::{Config, Mode};
    use crate::context::Engine;
    use cranelift_reader::parse_functions;

    const CLIF: &str = "function %g(i64) -> i64 system_v {
block0(v0: i64):
    return v0
}
function %f(i64) -> i64 system_v {
    fn0 = %g(i64) -> i64 system_v
    fn1 = %labs(i64) -> i64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    v2 = call fn1(v1)
    return v2
}";

    #[test]
    fn what_has_a_stub_is_near_where_calls_can_be_relative() {
        let engine = Engine::new(Config::default().mode(Mode::Eager)).unwrap();
        let mut last = None;
        for function in parse_functions(CLIF).unwrap() {
            last = Some(engine.define_function(function).unwrap());
        }
        let function = engine.inner.function(last.unwrap()).unwrap();
        let body = function.body().unwrap();
        let origin = body.origin(&function, CodeUnit::Function);
        let near = near_functions(&engine.inner, &body.source, &origin, &[]);
        let expected = if cfg!(target_arch = "x86_64") { 2 } else { 0 };
        assert_eq!(near.len(), expected);
        // SAFETY: the functions touch no memory.
        let result = unsafe { engine.call(last.unwrap(), &[(-7_i64).into()]) };
        assert_eq!(result.unwrap(), [7_i64.into()]);
    }
}
