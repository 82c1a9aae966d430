//! A program in a module of cranelift-jit, or of what takes its place.
//!
//! Functions are linked by their names; a wrapper with a fixed signature moves arguments and results. In a module of
//! cranelift-jit, this says what a program does without regraft.

use crate::generate::body::FRONTEND;
use crate::generate::host::{Arg, Host, SYMBOL};
use cranelift_codegen::Context;
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{
    AbiParam, ExternalName, Function, GlobalValueData, InstBuilder, MemFlagsData, Signature,
    UserExternalName, UserFuncName, types,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable, Flags};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataId, FuncId, Linkage, Module};
use std::collections::HashMap;

/// The name of the function that moves arguments and results.
pub const WRAPPER: &str = "wrapper";

/// Settings that programs need everywhere.
pub const SETTINGS: [(&str, &str); 1] = [("enable_llvm_abi_extensions", "true")];

/// What a call gave: results and the contents of memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The results' bits, by type.
    pub results: Vec<(types::Type, u128)>,
    /// The host's buffers; empty if they were not looked at.
    pub memory: Vec<u64>,
}

impl Outcome {
    /// Of these results.
    pub fn new(results: &[DataValue], memory: Vec<u64>) -> Self {
        let bits = |value: &DataValue| {
            let mut bytes = [0; 16];
            value.write_to_slice_le(&mut bytes);
            (value.ty(), u128::from_le_bytes(bytes))
        };
        Self {
            results: results.iter().map(bits).collect(),
            memory,
        }
    }

    /// Says where this differs from what was expected.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        for (at, (got, wanted)) in self.results.iter().zip(&expected.results).enumerate() {
            if got.1 != wanted.1 {
                let (ty, got, wanted) = (wanted.0, got.1, wanted.1);
                return Some(format!("result {at}: {ty} is {got:#x}, not {wanted:#x}"));
            }
        }
        let both = self.memory.iter().zip(&expected.memory);
        let at = both.enumerate().find(|(_, (got, wanted))| got != wanted);
        at.map(|(at, (got, wanted))| format!("memory word {at} is {got:#x}, not {wanted:#x}"))
    }
}

/// The target of plain compilation, at `speed`.
pub fn isa() -> OwnedTargetIsa {
    let mut flags = settings::builder();
    let common = [
        ("opt_level", "speed"),
        ("preserve_frame_pointers", "true"),
        ("enable_multi_ret_implicit_sret", "true"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
    ];
    for (name, value) in common.iter().chain(&SETTINGS) {
        flags.set(name, value).expect("a known setting");
    }
    let target = cranelift_native::builder().expect("a supported host");
    target
        .finish(Flags::new(flags))
        .expect("consistent settings")
}

/// What cranelift-jit's module has besides [`Module`].
pub trait JustInTime: Module {
    /// Links and publishes what was defined.
    ///
    /// # Errors
    ///
    /// What the module says.
    fn finalize(&mut self) -> Result<(), String>;
    /// The address of a function that was finalized.
    fn code(&self, id: FuncId) -> *const u8;
    /// Gives its memory back.
    ///
    /// # Safety
    ///
    /// None of its code runs or is called any more.
    unsafe fn free(self);
}

macro_rules! just_in_time {
    ($module:ty) => {
        impl JustInTime for $module {
            fn finalize(&mut self) -> Result<(), String> {
                self.finalize_definitions()
                    .map_err(|error| error.to_string())
            }
            fn code(&self, id: FuncId) -> *const u8 {
                self.get_finalized_function(id)
            }
            unsafe fn free(self) {
                // SAFETY: the caller's contract.
                unsafe { self.free_memory() }
            }
        }
    };
}

just_in_time!(cranelift_jit::JITModule);
just_in_time!(regraft::jit::JITModule);

/// A compiled program.
pub struct Plain<M: JustInTime = cranelift_jit::JITModule> {
    module: Option<M>,
    ids: HashMap<String, FuncId>,
    data: DataId,
    entry: extern "C" fn(*mut u128),
    signature: Signature,
}

impl<M: JustInTime> std::fmt::Debug for Plain<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}

impl Plain {
    /// Compiles functions that call each other by name; `main` is to be called.
    ///
    /// # Errors
    ///
    /// What Cranelift says.
    pub fn compile(functions: &[Function], main: &str, host: &Host) -> Result<Self, String> {
        let names = cranelift_module::default_libcall_names();
        let mut builder = cranelift_jit::JITBuilder::with_isa(isa(), names);
        builder.symbol(SYMBOL, host.symbol());
        Self::compile_in(cranelift_jit::JITModule::new(builder), functions, main)
    }
}

impl<M: JustInTime> Plain<M> {
    /// As [`compile`](Plain::compile), in an empty module that knows the host's symbol.
    ///
    /// # Errors
    ///
    /// What Cranelift says.
    pub fn compile_in(mut module: M, functions: &[Function], main: &str) -> Result<Self, String> {
        let mut ids = HashMap::new();
        let mut signature = None;
        for function in functions {
            let name = name_of(function);
            let id = module.declare_function(&name, Linkage::Local, &function.signature);
            ids.insert(
                name.clone(),
                id.map_err(|error| format!("{name}: {error}"))?,
            );
            if name == main {
                signature = Some(function.signature.clone());
            }
        }
        let data = module.declare_data(SYMBOL, Linkage::Import, true, false);
        let data = data.map_err(|error| error.to_string())?;
        let signature = signature.ok_or("no such function")?;
        for function in functions {
            let name = name_of(function);
            define(&mut module, ids[&name], function.clone(), &ids, data)?;
        }
        let wrapper = wrapper(main, &signature);
        let id = module.declare_function(WRAPPER, Linkage::Export, &wrapper.signature);
        let id = id.map_err(|error| error.to_string())?;
        define(&mut module, id, wrapper, &ids, data)?;
        ids.insert(WRAPPER.to_string(), id);
        module.finalize()?;
        let entry = module.code(id);
        // SAFETY: it is the wrapper, which has this signature.
        let entry = unsafe { std::mem::transmute::<*const u8, extern "C" fn(*mut u128)>(entry) };
        Ok(Self {
            module: Some(module),
            ids,
            data,
            entry,
            signature,
        })
    }

    /// Runs it on fresh memory.
    pub fn run(&self, host: &Host, args: &[Arg]) -> Outcome {
        let called = through_cells(&self.signature, host, args, |cells| {
            (self.entry)(cells);
            Ok::<(), std::convert::Infallible>(())
        });
        match called {
            Ok(outcome) => outcome,
            Err(never) => match never {},
        }
    }

    /// The module.
    pub fn module(&mut self) -> Option<&mut M> {
        self.module.as_mut()
    }

    /// The numbers of the functions, by name; the wrapper's too.
    pub fn ids(&self) -> &HashMap<String, FuncId> {
        &self.ids
    }

    /// A function with the module's own references instead of names.
    ///
    /// # Errors
    ///
    /// `function` calls what is not in the program.
    pub fn refer(&self, function: Function) -> Result<Function, String> {
        let name = name_of(&function);
        let id = self.ids.get(&name);
        let id = *id.ok_or_else(|| format!("there is no {name}"))?;
        refer(id, function, &self.ids, self.data)
    }
}

impl<M: JustInTime> Drop for Plain<M> {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: no pointer into it is left.
            unsafe { module.free() };
        }
    }
}

/// Calls on fresh memory what takes its arguments from, and leaves its results in, 16-byte cells.
///
/// # Errors
///
/// That of `call`.
pub fn through_cells<E>(
    signature: &Signature,
    host: &Host,
    args: &[Arg],
    call: impl FnOnce(*mut u128) -> Result<(), E>,
) -> Result<Outcome, E> {
    let params = signature.params.len();
    let mut cells = vec![0_u128; params.max(signature.returns.len()) + 1];
    for (cell, value) in cells.iter_mut().zip(host.arguments(args)) {
        let mut bytes = [0; 16];
        value.write_to_slice_le(&mut bytes);
        *cell = u128::from_le_bytes(bytes);
    }
    host.reset();
    call(cells.as_mut_ptr())?;
    let returns = signature.returns.iter().zip(&cells);
    let results = returns.map(|(param, &cell)| {
        let bytes = param.value_type.bytes();
        let mask = if bytes == 16 {
            u128::MAX
        } else {
            (1 << (8 * bytes)) - 1
        };
        (param.value_type, cell & mask)
    });
    Ok(Outcome {
        results: results.collect(),
        memory: host.contents(),
    })
}

/// The name of a function as text.
pub fn name_of(function: &Function) -> String {
    regraft_command::clif::function_name(&function.name)
}

fn define(
    module: &mut impl Module,
    id: FuncId,
    function: Function,
    ids: &HashMap<String, FuncId>,
    data: DataId,
) -> Result<(), String> {
    let name = name_of(&function);
    let mut context = Context::for_function(refer(id, function, ids, data)?);
    module
        .define_function(id, &mut context)
        .map_err(|error| format!("{name}: {error:?}"))
}

/// Replaces names by the module's references.
fn refer(
    id: FuncId,
    mut function: Function,
    ids: &HashMap<String, FuncId>,
    data: DataId,
) -> Result<Function, String> {
    let name = name_of(&function);
    let mut renamed = vec![];
    for (callee, data) in &function.dfg.ext_funcs {
        if let ExternalName::TestCase(callee_name) = &data.name {
            let callee_name = String::from_utf8_lossy(callee_name.raw()).into_owned();
            let target = ids.get(&callee_name);
            let target =
                target.ok_or_else(|| format!("{name} calls {callee_name}, which there is not"))?;
            renamed.push((callee, target.as_u32()));
        }
    }
    for (callee, target) in renamed {
        let user = UserExternalName::new(0, target);
        let user = function.declare_imported_user_function(user);
        function.dfg.ext_funcs[callee].name = ExternalName::user(user);
    }
    let symbols = function.global_values.iter();
    let symbols: Vec<_> = symbols
        .filter(|(_, data)| matches!(data, GlobalValueData::Symbol { .. }))
        .map(|(global, _)| global)
        .collect();
    for global in symbols {
        let user = function.declare_imported_user_function(UserExternalName::new(1, data.as_u32()));
        if let GlobalValueData::Symbol { name, .. } = &mut function.global_values[global] {
            *name = ExternalName::user(user);
        }
    }
    function.name = UserFuncName::user(0, id.as_u32());
    Ok(function)
}

/// `wrapper(cells)`: loads the arguments from 16-byte cells, calls, and stores the results there.
pub fn wrapper(callee: &str, signature: &Signature) -> Function {
    let mut function = Function::new();
    function.name = UserFuncName::testcase(WRAPPER);
    function.signature = Signature::new(CallConv::SystemV);
    function.signature.params.push(AbiParam::new(types::I64));
    let mut context = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut function, &mut context);
    let block = builder.create_block();
    builder.append_block_params_for_function_params(block);
    builder.switch_to_block(block);
    let cells = builder.block_params(block)[0];
    let flags = MemFlagsData::trusted();
    let params = signature.params.iter().enumerate();
    let args: Vec<_> = params
        .map(|(at, param)| {
            builder
                .ins()
                .load(param.value_type, flags, cells, 16 * at as i32)
        })
        .collect();
    let sig_ref = builder.import_signature(signature.clone());
    let callee = builder.import_function(cranelift_codegen::ir::ExtFuncData {
        name: ExternalName::testcase(callee),
        signature: sig_ref,
        colocated: false,
        patchable: false,
    });
    let call = builder.ins().call(callee, &args);
    let results = builder.inst_results(call).to_vec();
    for (at, result) in results.into_iter().enumerate() {
        builder.ins().store(flags, result, cells, 16 * at as i32);
    }
    builder.ins().return_(&[]);
    builder.seal_all_blocks();
    builder.finalize(FRONTEND);
    function
}
