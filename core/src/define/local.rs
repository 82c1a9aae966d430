//! Functions that a module owns: the engine knows them by number, not by name.
//!
//! ```text
//!   CLIF ── prepare ──▶ machine code with a place ── finish ──▶ a published version
//!           (errors of the compiler)                 (addresses of names)
//! ```
//!
//! From then on they are functions like any other, but for those in whose code clients know places:
//! these are compiled once, as they are.
//!
//! Invariants:
//!
//! * The CLIF that is kept has the module's own names; what they lead to is in [`Externals`].
//! * A function that cannot be prepared leaves nothing behind.
//!
//! Not here: names, data, and what a client sees of all this (`jit`).

use crate::code::codemap::CodeUnit;
use crate::code::error::CompileError;
use crate::code::externals::Externals;
use crate::code::generate::{GenerateError, Generated, panic_message, set_reach};
use crate::code::lines::Lines;
use crate::code::link::{Allocation, LinkError, ObjectCode, allocate};
use crate::config::Mode;
use crate::config::faults::Stage;
use crate::context::Inner;
use crate::define::declare::forget_local;
use crate::define::definitions::replace_definition;
use crate::error::Error;
use crate::passes::simplify::remove_constant_parameters;
use crate::pipeline::compile::{check_reserve, fault, generate, link};
use crate::pipeline::first::starts_at_speed;
use crate::pipeline::instrument::{Survey, instrument};
use crate::pipeline::optimize::{improve, optimize};
use crate::reclaim::{forget_hooks, forget_regions, free};
use crate::report::Phase;
use crate::units::copies::Copies;
use crate::units::function::References;
use crate::units::function::{Body, FunctionUnit};
use crate::units::made::Made;
use crate::units::retired::Retired;
use crate::units::tiering::{Baseline, Tiering};
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{Function, Opcode};
use regraft_executor::locks::lock;
use std::collections::HashSet;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};

/// A definition that is compiled but not linked.
#[derive(Debug)]
pub(crate) struct Prepared {
    body: Arc<Body>,
    tiering: Option<Tiering>,
    generated: Generated,
    allocation: Allocation,
    /// Its code is not exchanged: the client knows places in it.
    pub fixed: bool,
}

impl Prepared {
    /// The machine code.
    pub fn code(&self) -> &ObjectCode {
        &self.generated.code
    }

    /// Where it will run.
    pub fn entry(&self) -> usize {
        self.allocation.entry()
    }
}

/// Takes back what a definition has that was not published.
pub(crate) fn abandon(engine: &Inner, prepared: Prepared) {
    if let Some(tiering) = &prepared.tiering {
        forget_hooks(engine, tiering);
    }
}

/// Compiles the first version of a module's function, up to the link.
///
/// `context` is the client's: it gets the machine code that will run, and keeps its own function,
/// with the names that the machine code refers to.
pub(crate) fn prepare(
    engine: &Inner,
    function: &FunctionUnit,
    context: &mut Context,
    control: &mut ControlPlane,
) -> Result<Prepared, GenerateError> {
    let _analyzing = engine.enter(Phase::Analyze);
    check_reserve(engine)?;
    let fixed = needs_fixed_code(&context.func);
    let mut source = context.func.clone();
    if !fixed && engine.config.mode != Mode::Eager {
        improve(engine, &function.name, &mut source);
        remove_constant_parameters(&mut source, &*engine.isas.tier0);
    }
    // A client that knows places in the code may look at its locations as well.
    let lines = engine.observer.lines(&function.name, &source);
    let lines = lines.filter(|_| !fixed);
    if lines.is_some() {
        Lines::number(&mut source);
    }
    let body = Arc::new(Body {
        source,
        written_hash: None,
        key: None,
        unmade: None,
        block_locations: false,
        lines,
        references: References::default(),
        copies: Copies::default(),
        copied_size: OnceLock::new(),
        externals: Some(Arc::default()),
        baseline: Made::new(),
        begun: AtomicBool::new(false),
    });
    let (tiering, generated) = match fixed {
        true => (None, plain_code(engine, function, &body, context, control)?),
        false => first_code(engine, function, &body, context, control)?,
    };
    let placed = allocate(&engine.arena, &generated.code);
    let allocation = placed.map_err(|error| {
        tiering
            .iter()
            .for_each(|tiering| forget_hooks(engine, tiering));
        match error {
            LinkError::Arena(error) => CompileError::from(error),
            error => error.into(),
        }
    })?;
    Ok(Prepared {
        body,
        tiering,
        generated,
        allocation,
        fixed,
    })
}

/// Tier 0 with counters, or where that cannot be had, the function as it is at the tier-1
/// settings.
fn first_code(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Arc<Body>,
    context: &mut Context,
    control: &mut ControlPlane,
) -> Result<(Option<Tiering>, Generated), GenerateError> {
    let name = &function.name;
    if engine.config.mode != Mode::Eager && !starts_at_speed(engine, body) {
        if engine.config.mode == Mode::Tier0 {
            // Nothing gets hot.
            body.save_text();
        }
        let attempt = AssertUnwindSafe(|| {
            fault(engine, Stage::Transform, &function.name)?;
            instrument(engine, function, body, Survey::of(&body.source)?)
        });
        let instrumented = catch_unwind(attempt)
            .unwrap_or_else(|payload| Err(CompileError::Panic(panic_message(&*payload))));
        let error = match instrumented {
            Ok((instrumented, tiering)) => {
                match generate_in(engine, 0, name, context, instrumented, control) {
                    Ok(generated) => return Ok((Some(tiering), generated)),
                    Err(error) => {
                        forget_hooks(engine, &tiering);
                        error.into()
                    }
                }
            }
            Err(error) => {
                forget_regions(engine, body);
                error
            }
        };
        tracing::warn!(function = %name, %error, "no tier 0; compiling it as it is");
    }
    body.save_text();
    let mut source = body.source.clone();
    optimize(engine, &function.name, &mut source)?;
    let generated = generate_in(engine, 1, name, context, source, control)?;
    Ok((None, generated))
}

/// The function as it is, at the tier-1 settings.
fn plain_code(
    engine: &Inner,
    function: &FunctionUnit,
    body: &Body,
    context: &mut Context,
    control: &mut ControlPlane,
) -> Result<Generated, GenerateError> {
    generate_in(
        engine,
        1,
        &function.name,
        context,
        body.source.clone(),
        control,
    )
}

/// Compiles `func` in a client's context, whose own function stays.
fn generate_in(
    engine: &Inner,
    tier: u8,
    name: &str,
    context: &mut Context,
    func: Function,
    control: &mut ControlPlane,
) -> Result<Generated, GenerateError> {
    let own = mem::replace(&mut context.func, func);
    // What names lead to is not known yet.
    set_reach(&mut context.func, &[]);
    let generated = generate(engine, tier, name, context, false, control);
    let compiled = mem::replace(&mut context.func, own);
    if matches!(generated, Err(GenerateError::Other(CompileError::Panic(_)))) {
        let func = mem::replace(&mut context.func, Function::new());
        let want_disasm = context.want_disasm;
        *context = Context::for_function(func);
        context.want_disasm = want_disasm;
    }
    // They are those of the other function.
    context.cfg.clear();
    context.domtree.clear();
    context.loop_analysis.clear();
    for name in compiled.params.user_named_funcs().values() {
        context.func.declare_imported_user_function(name.clone());
    }
    generated
}

/// Links and publishes a prepared definition, in the place of what the function had. `externals` are
/// what its names lead to.
pub(crate) fn finish(
    engine: &Arc<Inner>,
    function: &Arc<FunctionUnit>,
    prepared: Prepared,
    externals: impl FnOnce(&Externals),
) -> Result<(), Error> {
    let Prepared {
        body,
        tiering,
        generated,
        allocation,
        fixed: _,
    } = prepared;
    body.externals.as_deref().map(externals);
    let own = tiering.as_ref();
    let location_numbers = own.and_then(|tiering| tiering.location_numbers.as_ref());
    let origin = body
        .origin(function, CodeUnit::Function)
        .with_location_numbers(location_numbers);
    let own = own.map(|tiering| tiering.own_data(function.unit));
    let linked = link(engine, allocation, &origin, generated, own.as_slice());
    let version = linked.map_err(|source| {
        tiering
            .iter()
            .for_each(|tiering| forget_hooks(engine, tiering));
        Error::Compile {
            function: function.name.clone(),
            source,
        }
    })?;
    // The body is new: nobody has compiled it.
    let made = || Ok(Baseline { version, tiering });
    let _ = body.baseline.get_or_make(made, drop);
    // A module hands out nothing but raw pointers.
    engine.reclaimer.raw_pointer_escaped();
    let _changing = lock(&function.changing);
    replace_definition(engine, function, body)
}

/// Frees functions at once, and `older` definitions of them that were retired.
///
/// Nobody is inside of them or calls them any more: the caller's contract.
pub(crate) fn free_functions(
    engine: &Inner,
    functions: impl IntoIterator<Item = Arc<FunctionUnit>>,
    older: &[Weak<Body>],
) {
    let mut bodies: HashSet<*const Body> = older.iter().map(Weak::as_ptr).collect();
    let mut newest = vec![];
    for function in functions {
        let _changing = lock(&function.changing);
        forget_local(engine, &function);
        if let Some(body) = function.remove() {
            if let Some(tiering) = body.tiering() {
                tiering.state().freed = true;
            }
            bodies.insert(Arc::as_ptr(&body));
            newest.push(body);
        }
    }
    let waiting = engine
        .reclaimer
        .take(|body| bodies.contains(&Arc::as_ptr(body)));
    let newest = newest.into_iter().map(Retired::Body);
    for retired in waiting.into_iter().chain(newest) {
        free(engine, retired);
    }
}

/// Whether clients find places in the code by offsets from its start, which would not fit another
/// version: safepoints with stack maps, and calls with exception handlers.
fn needs_fixed_code(func: &Function) -> bool {
    let mut insts = func
        .layout
        .blocks()
        .flat_map(|block| func.layout.block_insts(block));
    insts.any(|inst| {
        let opcode = func.dfg.insts[inst].opcode();
        func.dfg.user_stack_map_entries(inst).is_some()
            || matches!(
                opcode,
                Opcode::TryCall | Opcode::TryCallIndirect | Opcode::GetExceptionHandlerAddress
            )
    })
}
