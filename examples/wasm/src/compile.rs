//! A module's functions as functions of an engine.
//!
//! All functions are declared at once, and translated when they are first called: what never runs costs a
//! slot and a stub.

use crate::error::Error;
use crate::helpers::Helpers;
use crate::module::ModuleData;
use crate::store::Store;
use crate::types::FuncType;
use crate::vmctx::Layout;
use cranelift_codegen::ir::{AbiParam, ArgumentPurpose, Signature, types};
use cranelift_codegen::isa::CallConv;
use regraft::warm::Digest;
use regraft::{Engine, FunctionId};
use std::sync::Arc;

/// A module whose functions an engine knows. It can be instantiated many times in its store.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub module: Arc<ModuleData>,
    pub layout: Layout,
    /// By index of the type in the module: its number in the store.
    pub type_ids: Vec<u64>,
    /// The defined functions.
    pub functions: Vec<FunctionId>,
    pub helpers: Helpers,
    /// The number of the alias region of the first global.
    pub first_region: u32,
}

impl Compiled {
    /// Declares the functions of a module; `serial` tells it from others of the store.
    ///
    /// # Errors
    ///
    /// `Engine`, where memory for slots runs out.
    pub fn new(
        store: &Store,
        module: &Arc<ModuleData>,
        serial: u32,
        first_region: u32,
    ) -> Result<Arc<Self>, Error> {
        let engine = store.engine();
        let types = module.types.iter();
        let type_ids = types.map(|ty| store.type_id(ty)).collect();
        let mut functions = vec![];
        for index in 0..module.bodies.len() {
            let function = module.imported_functions + index as u32;
            let ty = module.func_type(function);
            let name = match serial {
                0 => module.function_name(function),
                _ => format!("{serial}/{}", module.function_name(function)),
            };
            functions.push(engine.declare(&name, &signature(ty))?);
        }
        let compiled = Arc::new(Self {
            layout: Layout::new(module),
            module: Arc::clone(module),
            type_ids,
            functions,
            helpers: store.helpers().clone(),
            first_region,
        });
        let key = engine.config().warm_start.is_some();
        let key = key.then(|| compiled.key(store, serial));
        for (index, &id) in compiled.functions.iter().enumerate() {
            let function = module.imported_functions + index as u32;
            let compiled = Arc::clone(&compiled);
            let translate =
                move |engine: &Engine| Ok(crate::translate::function(engine, &compiled, function)?);
            match key {
                Some(key) => engine.define_lazily_as(id, key.numbered(function), translate)?,
                None => engine.define_lazily(id, translate)?,
            }
        }
        Ok(compiled)
    }

    /// What the translations of its functions are known by from run to run: all that they depend on besides the function's
    /// number. What the translator itself is comes with the program.
    fn key(&self, store: &Store, serial: u32) -> Digest {
        let parts = [
            format!("{:?}", self.module.digest()),
            serial.to_string(),
            format!("{:?}", self.type_ids),
            self.first_region.to_string(),
            store.runs_here().to_string(),
        ];
        Digest::of(parts)
    }
}

/// The signature of a function of this type: the context first.
pub(crate) fn signature(ty: &FuncType) -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    let context = AbiParam::special(types::I64, ArgumentPurpose::VMContext);
    signature.params.push(context);
    let params = ty.params.iter().map(|ty| AbiParam::new(ty.clif()));
    signature.params.extend(params);
    let results = ty.results.iter().map(|ty| AbiParam::new(ty.clif()));
    signature.returns.extend(results);
    signature
}
