//! From CLIF to a version: Cranelift, then the linker, in two steps.
//!
//! Panics of the code generator (it has some, for constructs that a backend
//! lacks) end here, as errors.

use crate::code::codemap::CodeTables;
use crate::code::link::{ObjectCode, Place, link};
use crate::error::CompileError;
use crate::observe::{CodeText, Wanted};
use crate::reclaim::{Code, Releasable};
use crate::report::CodeReport;
use crate::tiering::detect::FoundBy;
use cranelift_codegen::binemit::CodeOffset;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{Function, GlobalValueData};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::isa::unwind::UnwindInfo;
use cranelift_codegen::{CodegenError, CompiledCode, Context};
use cranelift_module::ModuleRelocTarget;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// One compiled body of a unit.
#[derive(Debug)]
pub(crate) struct Version {
    /// 0 or 1.
    pub tier: u8,
    /// The address of its first instruction, in the executable view.
    pub entry: usize,
    /// The code itself, until it is reclaimed.
    pub code: Releasable<Code>,
    /// Bytes of machine code, constants included.
    pub code_bytes: usize,
    /// CLIF instructions handed to the code generator.
    pub instructions_before: usize,
    /// CLIF instructions left after its optimiser.
    pub instructions_after: usize,
    /// From CLIF to linked code.
    pub compile_time: Duration,
    /// What found its part hot; nothing did for a first version.
    pub found_by: Option<FoundBy>,
    /// Its text, where that is kept.
    pub text: Option<Box<CodeReport>>,
}

/// Machine code of a version that has no place yet.
#[derive(Debug)]
pub struct Generated {
    /// 0 or 1.
    pub tier: u8,
    /// The code.
    pub code: ObjectCode,
    tables: CodeTables,
    instructions_before: usize,
    instructions_after: usize,
    compile_time: Duration,
    text: Option<Box<CodeReport>>,
    unwind: Option<UnwindInfo>,
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
            GenerateError::Codegen(_, text) => Self::Codegen(text),
            GenerateError::Other(error) => error,
        }
    }
}

/// Compiles the function of `context`, which keeps what the code generator made of it.
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
    control: &mut ControlPlane,
) -> Result<Generated, GenerateError> {
    let start = Instant::now();
    if check {
        let verified = cranelift_codegen::verify_function(&context.func, &**isa);
        verified.map_err(|errors| CompileError::Check(errors.to_string()))?;
    }
    let instructions_before = instruction_count(&context.func);
    reach_far(&mut context.func);
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
        .ok_or_else(|| CompileError::Codegen("no machine code".to_string()))?;
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
        unwind: unwind.and_then(|unwind| unwind.ok().flatten()),
    })
}

/// Makes a version of machine code that has a place; the tables say what its addresses are. The unwind information is there
/// where it was wanted.
///
/// # Errors
///
/// [`CompileError::Link`]; nothing is left behind then.
pub fn link_version(
    place: Place,
    isa: &OwnedTargetIsa,
    name: &str,
    generated: Generated,
    resolve: &dyn Fn(&ModuleRelocTarget) -> Option<usize>,
) -> Result<(Version, CodeTables, Option<UnwindInfo>), CompileError> {
    let start = Instant::now();
    let linked = link(place, isa, name, &generated.code, resolve)?;
    let version = Version {
        tier: generated.tier,
        entry: linked.entry,
        code_bytes: linked.len,
        code: Releasable::new(Code {
            listing: None,
            account: None,
            seen: None,
            memory: linked.code,
        }),
        instructions_before: generated.instructions_before,
        instructions_after: generated.instructions_after,
        compile_time: generated.compile_time + start.elapsed(),
        found_by: None,
        text: generated.text,
    };
    Ok((version, generated.tables, generated.unwind))
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

/// Makes every reference absolute: nothing is at a known distance, since the
/// address of a unit is that of its stub and code moves between views.
fn reach_far(func: &mut Function) {
    for function in func.dfg.ext_funcs.values_mut() {
        function.colocated = false;
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
