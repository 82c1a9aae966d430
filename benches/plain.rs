//! cranelift-jit without regraft, as anyone would use it.

use crate::Result;
use cranelift_codegen::Context;
use cranelift_codegen::ir::{ExternalName, Function, UserExternalName, UserFuncName};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};
use std::collections::HashMap;

/// How to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `opt_level=none`, `regalloc_algorithm=single_pass`: the settings of tier 0.
    None,
    /// `opt_level=speed`, backtracking: the settings of tier 1.
    Speed,
}

/// A module, and the functions in it by name.
#[expect(missing_debug_implementations, reason = "modules do not print")]
pub struct Plain {
    module: JITModule,
    context: Context,
    functions: HashMap<String, FuncId>,
}

impl Plain {
    /// An empty module for the host, which does not verify.
    ///
    /// # Errors
    ///
    /// Of settings, and of a host that Cranelift does not know.
    pub fn new(level: Level) -> Result<Self> {
        Self::with_verifier(level, false)
    }

    /// The same; says whether Cranelift verifies what it compiles, which it
    /// does by default.
    ///
    /// # Errors
    ///
    /// As [`Plain::new`].
    pub fn with_verifier(level: Level, verifier: bool) -> Result<Self> {
        let (opt_level, regalloc) = match level {
            Level::None => ("none", "single_pass"),
            Level::Speed => ("speed", "backtracking"),
        };
        let mut flags = settings::builder();
        for (name, value) in [
            ("opt_level", opt_level),
            ("regalloc_algorithm", regalloc),
            ("is_pic", "false"),
            ("use_colocated_libcalls", "false"),
            ("enable_verifier", if verifier { "true" } else { "false" }),
        ] {
            flags.set(name, value)?;
        }
        let isa = cranelift_native::builder()?.finish(settings::Flags::new(flags))?;
        Ok(Self {
            module: JITModule::new(JITBuilder::with_isa(isa, default_libcall_names())),
            context: Context::new(),
            functions: HashMap::new(),
        })
    }

    /// Defines a function under its own name; those that it calls come first.
    /// Returns its address.
    ///
    /// # Errors
    ///
    /// Of the code generator and the module; a call of an unknown function.
    pub fn define(&mut self, func: Function) -> Result<*const u8> {
        let name = match &func.name {
            UserFuncName::Testcase(name) => name.to_string(),
            UserFuncName::User(name) => name.to_string(),
        };
        self.define_as(&name, func)
    }

    /// Defines a function under another name than its own.
    ///
    /// # Errors
    ///
    /// As [`Plain::define`].
    pub fn define_as(&mut self, name: &str, mut func: Function) -> Result<*const u8> {
        let module = &mut self.module;
        let id = module.declare_function(name, Linkage::Local, &func.signature)?;
        self.functions.insert(name.to_string(), id);
        let references: Vec<_> = func.dfg.ext_funcs.keys().collect();
        for reference in references {
            let ExternalName::TestCase(name) = &func.dfg.ext_funcs[reference].name else {
                continue;
            };
            let name = name.to_string();
            let callee = self.functions.get(&name).ok_or(name)?;
            let callee = UserExternalName::new(0, callee.as_u32());
            let callee = func.declare_imported_user_function(callee);
            let data = &mut func.dfg.ext_funcs[reference];
            data.name = ExternalName::user(callee);
            data.colocated = true;
        }
        func.name = UserFuncName::user(0, id.as_u32());
        self.context.clear();
        self.context.func = func;
        self.module.define_function(id, &mut self.context)?;
        self.module.finalize_definitions()?;
        Ok(self.module.get_finalized_function(id))
    }

    /// Frees the memory of all functions.
    ///
    /// # Safety
    ///
    /// None of them runs, and none is called any more.
    pub unsafe fn free(self) {
        // SAFETY: the caller's contract.
        unsafe { self.module.free_memory() };
    }
}
