//! From CLIF to a version: Cranelift, then the linker.
//!
//! Panics of the code generator (it has some, for constructs that a backend
//! lacks) end here, as errors.

use crate::arena::Arena;
use crate::codemap::CodeTables;
use crate::detect::FoundBy;
use crate::error::CompileError;
use crate::link::link;
use crate::reclaim::{Code, Releasable};
use cranelift_codegen::binemit::CodeOffset;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{Function, GlobalValueData};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::{CodegenError, CompiledCode, Context};
use cranelift_module::ModuleRelocTarget;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
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
}

/// Compiles and links `func`; the tables say what its addresses are.
///
/// # Errors
///
/// [`CompileError`]; nothing is left behind then.
pub(crate) fn compile(
    arena: &Arc<Arena>,
    isa: &OwnedTargetIsa,
    tier: u8,
    name: &str,
    mut func: Function,
    check: bool,
    resolve: &dyn Fn(&ModuleRelocTarget) -> Option<usize>,
) -> Result<(Version, CodeTables), CompileError> {
    let start = Instant::now();
    if check {
        let verified = cranelift_codegen::verify_function(&func, &**isa);
        verified.map_err(|errors| CompileError::Check(errors.to_string()))?;
    }
    let instructions_before = instruction_count(&func);
    reach_far(&mut func);
    let mut context = Context::for_function(func);
    let compiled = catch_unwind(AssertUnwindSafe(|| {
        context
            .compile(&**isa, &mut ControlPlane::default())
            .map(|_| ())
            .map_err(|error| codegen_error(&error.inner, error.func))
    }));
    match compiled {
        Ok(result) => result?,
        Err(payload) => return Err(CompileError::Panic(panic_message(&*payload))),
    }
    let code = context
        .take_compiled_code()
        .ok_or_else(|| CompileError::Codegen("no machine code".to_string()))?;
    let tables = CodeTables::of(&code);
    let hot = innermost_loop(&code);
    let linked = link(arena, isa, name, &code, &context.func, hot, resolve)?;
    let version = Version {
        tier,
        entry: linked.entry,
        code_bytes: linked.len,
        code: Releasable::new(Code {
            listing: None,
            account: None,
            memory: linked.code,
        }),
        instructions_before,
        instructions_after: instruction_count(&context.func),
        compile_time: start.elapsed(),
        found_by: None,
    };
    Ok((version, tables))
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

fn codegen_error(error: &CodegenError, func: &Function) -> CompileError {
    CompileError::Codegen(match error {
        CodegenError::Verifier(errors) => {
            let pretty =
                cranelift_codegen::print_errors::pretty_verifier_error(func, None, errors.clone());
            format!("it does not verify:\n{pretty}")
        }
        other => other.to_string(),
    })
}

/// What a panic said.
pub fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_string()
}
