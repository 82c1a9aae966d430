//! Plain `cranelift-jit`: what a program does without regraft.
//!
//! Functions are linked by their names; a wrapper with a fixed signature moves arguments and results.

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
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{DataId, FuncId, Linkage, Module};
use std::collections::HashMap;

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

/// A compiled program.
pub struct Plain {
    module: Option<JITModule>,
    entry: extern "C" fn(*mut u128),
    signature: Signature,
}

impl std::fmt::Debug for Plain {
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
        let mut builder = JITBuilder::with_isa(isa(), cranelift_module::default_libcall_names());
        builder.symbol(SYMBOL, host.symbol());
        let mut module = JITModule::new(builder);
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
        let id = module.declare_function("wrapper", Linkage::Export, &wrapper.signature);
        let id = id.map_err(|error| error.to_string())?;
        define(&mut module, id, wrapper, &ids, data)?;
        module
            .finalize_definitions()
            .map_err(|error| error.to_string())?;
        let entry = module.get_finalized_function(id);
        // SAFETY: it is the wrapper, which has this signature.
        let entry = unsafe { std::mem::transmute::<*const u8, extern "C" fn(*mut u128)>(entry) };
        Ok(Self {
            module: Some(module),
            entry,
            signature,
        })
    }

    /// Runs it on fresh memory.
    pub fn run(&self, host: &Host, args: &[Arg]) -> Outcome {
        let params = self.signature.params.len();
        let mut cells = vec![0_u128; params.max(self.signature.returns.len()) + 1];
        for (cell, value) in cells.iter_mut().zip(host.arguments(args)) {
            let mut bytes = [0; 16];
            value.write_to_slice_le(&mut bytes);
            *cell = u128::from_le_bytes(bytes);
        }
        host.reset();
        (self.entry)(cells.as_mut_ptr());
        let returns = self.signature.returns.iter().zip(&cells);
        let results = returns.map(|(param, &cell)| {
            let bytes = param.value_type.bytes();
            let mask = if bytes == 16 {
                u128::MAX
            } else {
                (1 << (8 * bytes)) - 1
            };
            (param.value_type, cell & mask)
        });
        Outcome {
            results: results.collect(),
            memory: host.contents(),
        }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: no pointer into it is left.
            unsafe { module.free_memory() };
        }
    }
}

/// The name of a function as text.
pub fn name_of(function: &Function) -> String {
    regraft::clif::function_name(&function.name)
}

fn define(
    module: &mut JITModule,
    id: FuncId,
    mut function: Function,
    ids: &HashMap<String, FuncId>,
    data: DataId,
) -> Result<(), String> {
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
    let mut context = Context::for_function(function);
    module
        .define_function(id, &mut context)
        .map_err(|error| format!("{name}: {error:?}"))
}

/// `wrapper(cells)`: loads the arguments from 16-byte cells, calls, and stores the results there.
fn wrapper(callee: &str, signature: &Signature) -> Function {
    let mut function = Function::new();
    function.name = UserFuncName::testcase("wrapper");
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
