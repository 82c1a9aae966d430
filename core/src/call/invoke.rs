//! Calling code of any signature with values made at run time.
//!
//! Rust can only call signatures it knows. For any other, a small function is generated, once per
//! signature:
//!
//! ```text
//!   fn(callee, values):
//!       a0 = load.t0 values+0 ; a1 = load.t1 values+16 ; …
//!       r0, r1, … = call_indirect callee(a0, a1, …)
//!       store r0, values+0 ; store r1, values+16 ; …
//! ```
//!
//! It is System V itself and calls with whatever convention the signature has, so that `tail`
//! functions and functions with many return values are reached from Rust through it. `values` is an
//! array of 16-byte cells, as many as there are parameters or results, whichever is more.
//!
//! Parameters of special purpose (`vmctx`, `sret`, `sarg`) take plain values: the pointer that a
//! caller written in CLIF would pass.
//!
//! Limitations: signatures that Cranelift cannot call on this target are refused
//! ([`InvokeError::Unsupported`]), among them `i128` outside of `tail` without
//! `enable_llvm_abi_extensions`.
//!
//! Not here: calls with types known to Rust ([`crate::typed`]).

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{
    AbiParam, ArgumentPurpose, Function, InstBuilder, MemFlagsData, Signature, Type, types,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::{CodegenError, Context};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

use crate::call::trap::Trap;
use crate::code::codemap::{CodeLocation, CodeMap, locate};
use crate::code::generate::Unwind;
use crate::code::link::{LinkError, Linked, ObjectCode, allocate, library_call, link};
use crate::observe::Observer;
use regraft_executor::ExecutorAddr;
#[cfg(test)]
use regraft_executor::arena::Arena;
use regraft_executor::errno;
use regraft_executor::locks::{Locked, lock};
use regraft_executor::session::{EnterError, ExecutorError, Session};
use regraft_executor::stacks::on_own_stack;
use regraft_symbols::Shown;

/// Why a call was not made, or did not return.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// Not as many arguments as parameters.
    #[error("{got} arguments for {expected} parameters")]
    ArgumentCount {
        /// Parameters in the signature.
        expected: usize,
        /// Arguments given.
        got: usize,
    },
    /// An argument does not have the type of its parameter.
    #[error("argument {index} is of type {got}, the parameter of type {expected}")]
    ArgumentType {
        /// Position of the argument.
        index: usize,
        /// Type of the parameter.
        expected: Type,
        /// Type of the value given; for a vector, bytes of its size.
        got: Type,
    },
    /// Cranelift cannot call such a function on this target.
    #[error("a function of signature {signature} cannot be called: {reason}")]
    Unsupported {
        /// The signature as CLIF prints it.
        signature: String,
        /// What is in the way.
        reason: String,
    },
    /// The code trapped.
    #[error(transparent)]
    Trap(Box<Trap>),
    /// The executor does not answer, or cannot make the call.
    #[error(transparent)]
    Executor(ExecutorError),
    /// The calling sequence did not compile.
    #[error("the calling sequence did not compile")]
    Compile(#[source] CodegenError),
    /// The calling sequence did not link.
    #[error("the calling sequence did not link")]
    Link(#[from] LinkError),
}

/// Size of one value in the array that a calling sequence works on.
const VALUE_SIZE: usize = 16;

/// A calling sequence in memory, and what tools know of it, which goes first.
struct Compiled {
    _shown: Option<Shown>,
    linked: Linked,
}

/// Calls code by signature; keeps the calling sequences it generated.
pub struct Invoker {
    session: Arc<dyn Session>,
    /// Where traps are looked up; those of this process are known without.
    codemap: Option<Arc<CodeMap>>,
    isa: OwnedTargetIsa,
    observer: Option<Observer>,
    sequences: Mutex<HashMap<Signature, Compiled>>,
}

impl std::fmt::Debug for Invoker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invoker")
            .field("sequences", &self.sequences().len())
            .finish_non_exhaustive()
    }
}

impl Invoker {
    /// An invoker that compiles with `isa`, which must agree with the callees' on everything that
    /// shapes a calling convention: either tier of the same [`crate::code::isa::TierIsas`] does.
    #[cfg(test)]
    pub fn new(arena: Arc<Arena>, isa: OwnedTargetIsa) -> Self {
        Self {
            session: Arc::new(regraft_executor::session::Here::over(arena)),
            codemap: None,
            isa,
            observer: None,
            sequences: Mutex::default(),
        }
    }

    /// The same for code that runs wherever the session is.
    pub(crate) fn in_session(
        session: Arc<dyn Session>,
        codemap: Arc<CodeMap>,
        isa: OwnedTargetIsa,
        observer: &Observer,
    ) -> Self {
        Self {
            session,
            codemap: Some(codemap),
            isa,
            observer: Some(observer.clone()),
            sequences: Mutex::default(),
        }
    }

    /// Calls the function at `entry` and returns its results.
    ///
    /// # Errors
    /// [`InvokeError::Trap`] when it trapped; for all others, it was not called.
    ///
    /// # Safety
    /// `entry` is the address of code with this signature, compiled for the target of this invoker,
    /// which stays in memory for as long as the call runs. Calling it with these arguments must be
    /// sound: generated code can do anything. A trap in generated code is sound; host functions in
    /// between that call such code raw lose what they own then.
    pub unsafe fn invoke(
        &self,
        signature: &Signature,
        entry: usize,
        args: &[DataValue],
    ) -> Result<Vec<DataValue>, InvokeError> {
        check_arguments(signature, args)?;
        let sequence = self.sequence(signature)?;
        let mut values = vec![0_u128; args.len().max(signature.returns.len())];
        for (value, arg) in values.iter_mut().zip(args) {
            let mut bytes = [0; VALUE_SIZE];
            arg.write_to_slice_ne(&mut bytes);
            *value = u128::from_ne_bytes(bytes);
        }
        let [sequence, entry] = [sequence, entry].map(ExecutorAddr::new);
        // SAFETY: `sequence` is the entry of a calling sequence; it stays in memory while `self` lives. `values` holds a
        // 16-byte cell for every parameter and every result; the rest is the caller's contract.
        let returned = unsafe { self.session.enter(sequence, entry, &mut values) };
        returned.map_err(|error| match error {
            EnterError::Fault(fault) => {
                let location = match &self.codemap {
                    Some(codemap) => codemap.locate(fault.pc).or_else(|| self.locate(fault.pc)),
                    None => self.locate(fault.pc),
                };
                InvokeError::Trap(Box::new(Trap::at(&fault, location)))
            }
            EnterError::Executor(error) => InvokeError::Executor(error),
        })?;
        let results = signature.returns.iter().zip(&values);
        Ok(results
            .map(|(result, value)| {
                DataValue::read_from_slice_ne(&value.to_ne_bytes(), result.value_type)
            })
            .collect())
    }

    /// Of which engine's code of this process an address is; none, if code runs elsewhere.
    fn locate(&self, pc: usize) -> Option<CodeLocation> {
        self.session.is_here().then(|| locate(pc)).flatten()
    }

    /// The calling sequence for a signature, compiled at the first request.
    fn sequence(&self, signature: &Signature) -> Result<usize, InvokeError> {
        if let Some(sequence) = self.sequences().get(signature) {
            return Ok(sequence.linked.entry);
        }
        // The caller's stack may be too small for the code generator.
        let compile = || self.compile(signature);
        let compiled = errno::preserved(|| on_own_stack(compile).unwrap_or_else(compile))?;
        // Another thread may have been faster: then its sequence stays, and this one goes.
        let mut sequences = self.sequences();
        if let Some(first) = sequences.get(signature) {
            return Ok(first.linked.entry);
        }
        let entry = compiled.linked.entry;
        sequences.insert(signature.clone(), compiled);
        Ok(entry)
    }

    fn compile(&self, signature: &Signature) -> Result<Compiled, InvokeError> {
        let unsupported = |reason: String| InvokeError::Unsupported {
            signature: signature.to_string(),
            reason,
        };
        if let Some(reason) = self.obstacle(signature) {
            return Err(unsupported(reason));
        }
        // Cranelift panics on some signatures it has no calling sequence for; what `obstacle` does not
        // know of is caught here.
        let compile = AssertUnwindSafe(|| {
            let mut context = Context::for_function(sequence_function(signature, &self.isa));
            match context.compile(&*self.isa, &mut Default::default()) {
                Ok(_) => Ok(context),
                Err(error) => Err(error.inner),
            }
        });
        let context = catch_unwind(compile)
            .map_err(|_| unsupported(String::from("Cranelift panicked")))?
            .map_err(InvokeError::Compile)?;
        let Some(code) = context.compiled_code() else {
            return Err(unsupported(String::from("Cranelift made no code")));
        };
        let name = format!("invoke {signature}");
        let resolve = |target: &_| match target {
            cranelift_module::ModuleRelocTarget::LibCall(libcall) => {
                library_call(&*self.session, *libcall)
            }
            _ => None,
        };
        let object = ObjectCode::of(code, &context.func, None);
        let place = allocate(self.session.arena(), &object)?;
        let linked = link(place, &self.isa, &name, &object, &resolve)?;
        let shown = self.observer.as_ref().and_then(|observer| {
            let unwind = code.create_unwind_info(&*self.isa).ok().flatten();
            let unwind = unwind.map(Unwind::Cranelift);
            let unwind = unwind.as_ref().map(|unwind| (unwind, &*self.isa));
            observer.show_linked("regraft_call", &linked, unwind)
        });
        Ok(Compiled {
            _shown: shown,
            linked,
        })
    }

    /// Why Cranelift would panic on a calling sequence for this signature, if it would.
    fn obstacle(&self, signature: &Signature) -> Option<String> {
        let conv = signature.call_conv;
        let arm = cfg!(target_arch = "aarch64");
        let x86 = cfg!(target_arch = "x86_64");
        let known = match conv {
            CallConv::Fast | CallConv::SystemV | CallConv::Tail | CallConv::PreserveAll => true,
            CallConv::WindowsFastcall => x86,
            CallConv::AppleAarch64 => arm,
            CallConv::Winch => x86 || arm,
            CallConv::Probestack => false,
        };
        if !known {
            return Some(format!("no calling convention {conv} on this target"));
        }
        if conv == CallConv::PreserveAll && !signature.returns.is_empty() {
            return Some(format!("a function in {conv} returns nothing"));
        }
        let extensions = self.isa.flags().enable_llvm_abi_extensions();
        for param in signature.params.iter().chain(&signature.returns) {
            let ty = param.value_type;
            let vector = ty.is_vector() && ty.bytes() <= VALUE_SIZE as u32;
            if !(vector || ty.is_int() || ty.is_float()) {
                return Some(format!("no values of type {ty}"));
            }
            let wide = x86 && ty == types::I128 && conv != CallConv::Tail;
            let float = matches!(ty, types::F16 | types::F128);
            if !extensions && (wide || float && conv == CallConv::WindowsFastcall) {
                return Some(format!(
                    "{ty} in {conv} needs the setting enable_llvm_abi_extensions"
                ));
            }
            match param.purpose {
                ArgumentPurpose::StructArgument(size) if !x86 || size % 8 != 0 => {
                    return Some(format!("no struct argument of {size} bytes on this target"));
                }
                ArgumentPurpose::StructReturn if arm && conv == CallConv::Tail => {
                    return Some(format!("no struct return in {conv} on this target"));
                }
                _ => {}
            }
        }
        None
    }

    /// Locks, whatever happened to an earlier holder: the map is never left half changed.
    fn sequences(&self) -> Locked<'_, HashMap<Signature, Compiled>> {
        lock(&self.sequences)
    }
}

/// Compares arguments with parameters. A vector only has to have the right size.
fn check_arguments(signature: &Signature, args: &[DataValue]) -> Result<(), InvokeError> {
    if args.len() != signature.params.len() {
        return Err(InvokeError::ArgumentCount {
            expected: signature.params.len(),
            got: args.len(),
        });
    }
    for (index, (arg, param)) in args.iter().zip(&signature.params).enumerate() {
        let (expected, got) = (param.value_type, arg.ty());
        let same = if expected.is_vector() {
            arg.is_vector() && expected.bits() == got.bits()
        } else {
            expected == got
        };
        if !same {
            return Err(InvokeError::ArgumentType {
                index,
                expected,
                got,
            });
        }
    }
    Ok(())
}

/// The calling sequence as CLIF. See the module's page.
fn sequence_function(signature: &Signature, isa: &OwnedTargetIsa) -> Function {
    let pointer = isa.pointer_type();
    let mut function = Function::new();
    function.signature = Signature::new(CallConv::SystemV);
    function.signature.params = vec![AbiParam::new(pointer); 2];
    let callee_signature = function.import_signature(signature.clone());

    let mut context = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut function, &mut context);
    let block = builder.create_block();
    builder.append_block_params_for_function_params(block);
    builder.switch_to_block(block);
    builder.seal_block(block);
    let [callee, values] = [0, 1].map(|index| builder.block_params(block)[index]);
    let flags = MemFlagsData::trusted();
    let place = |index: usize| i32::try_from(index * VALUE_SIZE).unwrap_or(i32::MAX);
    let args: Vec<_> = signature
        .params
        .iter()
        .enumerate()
        .map(|(index, param)| {
            builder
                .ins()
                .load(param.value_type, flags, values, place(index))
        })
        .collect();
    let call = builder.ins().call_indirect(callee_signature, callee, &args);
    let results = builder.inst_results(call).to_vec();
    for (index, result) in results.into_iter().enumerate() {
        builder.ins().store(flags, result, values, place(index));
    }
    builder.ins().return_(&[]);
    builder.finalize(isa.frontend_config());
    function
}

#[cfg(test)]
mod tests;
