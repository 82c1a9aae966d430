//! From CLIF to a version: Cranelift, then the linker, in two steps.
//!
//! Panics of the code generator (it has some, for constructs that a backend
//! lacks) end here, as errors.

use crate::code::codemap::CodeTables;
use crate::code::error::{CheckFailure, CompileError, TransformError};
use crate::code::link::ObjectCode;
use crate::code::text::{CodeText, Texts};
use crate::report::CodeReport;
use cranelift_codegen::binemit::CodeOffset;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{FuncRef, Function, GlobalValueData};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::isa::unwind::UnwindInfo;
use cranelift_codegen::{CodegenError, CompiledCode, Context};
use regraft_template::{FrameMap, Probes, Target};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Machine code of a version that has no place yet.
#[derive(Debug)]
pub struct Generated {
    /// 0 or 1.
    pub tier: u8,
    /// The code.
    pub code: ObjectCode,
    pub(crate) tables: CodeTables,
    pub(crate) instructions_before: usize,
    pub(crate) instructions_after: usize,
    pub(crate) compile_time: Duration,
    pub(crate) text: Option<Box<CodeReport>>,
    /// How callers' frames are found, where that was wanted.
    pub(crate) unwind: Option<Unwind>,
}

/// What is to be kept of a compilation, besides its code.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its text.
    pub texts: Texts,
    /// How callers' frames are found.
    pub frames: bool,
}

/// How callers' frames are found from code, as who made it says.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "debug"),
    expect(dead_code, reason = "only debuggers and unwinders read it")
)]
pub enum Unwind {
    /// Cranelift's unwind information.
    Cranelift(UnwindInfo),
    /// The frame of code from templates.
    Templates(regraft_template::Frame),
}

/// Why there is no machine code.
#[derive(Debug)]
pub enum GenerateError {
    /// The code generator refused the function: its own error, and how it reads.
    Codegen(CodegenError, String),
    /// Everything else.
    Other(CompileError),
}

impl From<CompileError> for GenerateError {
    fn from(error: CompileError) -> Self {
        Self::Other(error)
    }
}

impl From<GenerateError> for CompileError {
    fn from(error: GenerateError) -> Self {
        match error {
            GenerateError::Codegen(source, text) => Self::Codegen {
                text,
                source: Arc::new(source),
            },
            GenerateError::Other(error) => error,
        }
    }
}

impl Generated {
    /// What templates made of `func`, since `start`.
    fn of_template(
        tier: u8,
        code: regraft_template::Code,
        func: &Function,
        wanted: Wanted,
        start: Instant,
    ) -> Self {
        let instructions = instruction_count(func);
        Self {
            tier,
            tables: CodeTables::of_template(&code),
            text: CodeText::of_template(func, &code, wanted.texts),
            unwind: (wanted.frames).then(|| Unwind::Templates(code.frame.clone())),
            code: ObjectCode::of_template(code, func),
            instructions_before: instructions,
            instructions_after: instructions,
            compile_time: start.elapsed(),
        }
    }
}

fn verify(func: &Function, isa: &OwnedTargetIsa) -> Result<(), CompileError> {
    let verified = cranelift_codegen::verify_function(func, &**isa);
    verified.map_err(|errors| CompileError::from(CheckFailure::Verifier(Arc::new(errors))))
}

/// Compiles the function of `context`, which keeps what the code generator made of it. Its references have their reach
/// ([`set_reach`]).
///
/// # Errors
///
/// [`GenerateError`]. After a panic of the code generator, nothing in `context` is to be relied on.
pub fn generate(
    context: &mut Context,
    isa: &OwnedTargetIsa,
    tier: u8,
    check: bool,
    wanted: Wanted,
    template: Option<&Target>,
    control: &mut ControlPlane,
) -> Result<Generated, GenerateError> {
    let start = Instant::now();
    if check {
        verify(&context.func, isa)?;
    }
    let instructions_before = instruction_count(&context.func);
    // What there are no templates for is Cranelift's.
    if let Some(code) = template.and_then(|target| from_templates(&context.func, target, None)) {
        return Ok(Generated::of_template(
            tier,
            code,
            &context.func,
            wanted,
            start,
        ));
    }
    let text = CodeText::before(context, wanted.texts);
    let compiled = catch_unwind(AssertUnwindSafe(|| {
        context
            .compile(&**isa, control)
            .map(|_| ())
            .map_err(|error| {
                let text = codegen_message(&error.inner, error.func);
                GenerateError::Codegen(error.inner, text)
            })
    }));
    match compiled {
        Ok(result) => result?,
        Err(payload) => return Err(CompileError::Panic(panic_message(&*payload)).into()),
    }
    let text = text.map(|text| text.after(context));
    let code = context
        .compiled_code()
        .ok_or(TransformError::Missing {
            what: "machine code",
        })
        .map_err(CompileError::from)?;
    // What has none is shown without.
    let unwind = wanted.frames.then(|| code.create_unwind_info(&**isa));
    Ok(Generated {
        tier,
        code: ObjectCode::of(code, &context.func, innermost_loop(code)),
        tables: CodeTables::of(code),
        instructions_before,
        instructions_after: instruction_count(&context.func),
        compile_time: start.elapsed(),
        text,
        unwind: unwind
            .and_then(|unwind| unwind.ok().flatten())
            .map(Unwind::Cranelift),
    })
}

/// The code of the templates, if there is one for everything in the function.
fn from_templates(
    func: &Function,
    target: &Target,
    probes: Option<&Probes>,
) -> Option<regraft_template::Code> {
    let compile = || regraft_template::compile(func, target, probes);
    match catch_unwind(AssertUnwindSafe(compile)) {
        Ok(Ok(code)) => Some(code),
        Ok(Err(refusal)) => {
            tracing::trace!(%refusal, "no templates");
            None
        }
        Err(payload) => {
            tracing::error!(message = panic_message(&*payload), "templates");
            None
        }
    }
}

/// Compiles a function with probes by templates; `None` if there are none for something in it.
///
/// # Errors
///
/// [`CompileError::Check`] for a function that does not verify, where that is asked for.
pub(crate) fn generate_by_templates(
    func: &Function,
    isa: &OwnedTargetIsa,
    target: &Target,
    probes: &Probes,
    check: bool,
    wanted: Wanted,
) -> Result<Option<(Generated, FrameMap)>, CompileError> {
    let start = Instant::now();
    if check {
        verify(func, isa)?;
    }
    let Some(mut code) = from_templates(func, target, Some(probes)) else {
        return Ok(None);
    };
    let map = code.map.take().unwrap_or_default();
    let generated = Generated::of_template(0, code, func, wanted, start);
    Ok(Some((generated, map)))
}

/// Where the innermost loop of the machine code starts: the target of the shortest backward edge.
///
/// Nothing is known of code that was compiled without `machine_code_cfg_info` (tier 0). Cranelift 0.135 numbers the
/// blocks of its edges differently once some are cold and were moved to the end: the loop can then be missed.
fn innermost_loop(code: &CompiledCode) -> Option<CodeOffset> {
    let backward = code.bb_edges.iter().filter(|(from, to)| to <= from);
    let shortest = backward.min_by_key(|(from, to)| (from - to, *to));
    shortest.map(|&(_, to)| to)
}

/// The number of instructions in the function's layout.
pub fn instruction_count(func: &Function) -> usize {
    let blocks = func.layout.blocks();
    blocks
        .map(|block| func.layout.block_insts(block).count())
        .sum()
}

/// Says which functions are `near`, in reach of a relative call from wherever the code will be. To everything else, references
/// are absolute: code moves between views, and what a client calls near need not be.
pub fn set_reach(func: &mut Function, near: &[FuncRef]) {
    for function in func.dfg.ext_funcs.values_mut() {
        function.colocated = false;
    }
    for &function in near {
        func.dfg.ext_funcs[function].colocated = true;
    }
    for global in func.global_values.values_mut() {
        if let GlobalValueData::Symbol { colocated, .. } = global {
            *colocated = false;
        }
    }
}

fn codegen_message(error: &CodegenError, func: &Function) -> String {
    match error {
        CodegenError::Verifier(errors) => {
            let pretty =
                cranelift_codegen::print_errors::pretty_verifier_error(func, None, errors.clone());
            format!("it does not verify:\n{pretty}")
        }
        other => other.to_string(),
    }
}

/// What a panic said.
pub fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_string()
}
