//! Copies of called functions in what is compiled at tier 1: which functions they are, and what their names mean there.
//!
//! ```text
//!   call f ─▶ address of f ─▶ function there ─▶ its definition, if it can be copied
//!                                 │               names ─▶ numbers of addresses (names::COPIES)
//!                                 │               source locations ─▶ numbers of places (Copied)
//!                                 └▶ a guard: 0 as long as that is the definition (units::copies)
//! ```
//!
//! Invariants:
//!
//! * A call that begins after a redefinition or removal of the function has returned does not reach a copy: it looks at the guard
//!   first, and is a call through the stub then. So no code need be found and changed: what holds a copy goes on, without.
//! * Code keeps what its copies refer to: guards, functions, what names lead to.
//! * What happens in a copy is located in the function that was copied.
//!
//! Limitations: what has no definition yet is called. A function that was redefined is called by code that held a copy, until that
//! is compiled anew for another reason.
//!
//! Not here: the pass (`regraft_optimizer`), which calls are worth it.

use crate::code::codemap::{CodeUnit, Copied, Origin};
use crate::code::error::CompileError;
use crate::code::externals::Kept;
use crate::context::Inner;
use crate::passes::names;
use crate::pipeline::addresses::address_of;
use crate::pipeline::compile::Code;
use crate::pipeline::optimize::{copy_callees, wants};
use crate::units::function::{Body, FunctionUnit};
use cranelift_codegen::ir::{
    ExtFuncData, ExternalName, FuncRef, Function, GlobalValueData, Inst, InstructionData,
    UserExternalName, UserExternalNameRef,
};
use cranelift_module::ModuleRelocTarget;
use regraft_executor::locks::read;
use regraft_optimizer::{Callee, Callees, Guard, Pass, can_be_copied, fits};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Lets copies of what it calls take the place of calls in a region or a whole function.
///
/// # Errors
/// [`CompileError::Check`], where everything is checked.
pub(crate) fn inline(engine: &Inner, code: Code) -> Result<Code, CompileError> {
    let mut copies = Copies {
        engine,
        code: &code,
        copied: Copied::default(),
        addresses: vec![],
        kept: vec![],
        made: vec![],
    };
    let mut callees = code.func.dfg.ext_funcs.keys();
    let wanted = wants(engine, Pass::Inline)
        && (!code.usual.is_empty()
            || callees.any(|callee| copies.size(&code.func, callee).is_some()));
    if !wanted {
        return Ok(code);
    }
    let mut func = code.func.clone();
    copies.copied.number(&mut func, code.origin.clone());
    let summary = copy_callees(engine, &code.origin.name(), &mut func, &mut copies)?;
    if summary.changes() == 0 {
        return Ok(code);
    }
    let Copies {
        copied,
        addresses,
        kept,
        ..
    } = copies;
    let mut own = code.own;
    own.extend((0..).map(|number| (names::COPIES, number)).zip(addresses));
    Ok(Code {
        origin: code.origin.with_copies(copied),
        func,
        own,
        usual: vec![],
        kept,
        whole_of: code.whole_of,
        passes: summary.efforts,
        tier: code.tier,
    })
}

/// What a function that is compiled at tier 1 may hold copies of.
struct Copies<'a> {
    engine: &'a Inner,
    /// What is compiled.
    code: &'a Code,
    copied: Copied,
    /// What the names of copies mean.
    addresses: Vec<usize>,
    kept: Vec<Kept>,
    /// Definitions, ready to be copied: once for all calls.
    made: Vec<(Arc<Body>, Callee)>,
}

impl Copies<'_> {
    /// The function that a reference leads to, if it has a definition that can be copied, and the size of that.
    fn definition(
        &self,
        caller: &Function,
        callee: FuncRef,
    ) -> Option<(Arc<FunctionUnit>, Arc<Body>, usize)> {
        let ExternalName::User(name) = caller.dfg.ext_funcs.get(callee)?.name else {
            return None;
        };
        let address = match caller.params.user_named_funcs().get(name)? {
            name if name.namespace == names::COPIES => *self.addresses.get(name.index as usize)?,
            name => {
                let name = ModuleRelocTarget::user(name.namespace, name.index);
                address_of(self.engine, &name, &self.code.origin, &self.code.own)?
            }
        };
        let function = read(&self.engine.units).function_at(address).cloned()?;
        let body = function.body()?;
        let size = body.copied_size.get_or_init(|| match body.unmade {
            Some(_) => None,
            None => can_be_copied(&body.source),
        });
        let size = size.filter(|_| fits(caller, callee, &body.source))?;
        Some((function, body, size))
    }

    /// The name of an address in what is compiled.
    fn name(&mut self, address: usize) -> UserExternalName {
        let known = self.addresses.iter().position(|&known| known == address);
        let number = known.unwrap_or_else(|| {
            self.addresses.push(address);
            self.addresses.len() - 1
        });
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        UserExternalName::new(names::COPIES, number)
    }

    /// The definition with names and locations that mean the same in what is compiled.
    fn copy(&mut self, body: &Body, origin: Origin) -> Option<Function> {
        let mut func = body.source.clone();
        for used in used_names(&func) {
            let name = func.params.user_named_funcs().get(used)?;
            let name = ModuleRelocTarget::user(name.namespace, name.index);
            let address = address_of(self.engine, &name, &origin, &[])?;
            let name = self.name(address);
            func.params.reset_user_func_name(used, name);
        }
        self.copied.number(&mut func, origin);
        Some(func)
    }
}

impl Callees for Copies<'_> {
    fn size(&mut self, caller: &Function, callee: FuncRef) -> Option<usize> {
        Some(self.definition(caller, callee)?.2)
    }

    fn find(&mut self, caller: &Function, callee: FuncRef) -> Option<Callee> {
        let (function, body, _) = self.definition(caller, callee)?;
        let mut made = self.made.iter();
        if let Some((_, callee)) = made.find(|(of, _)| Arc::ptr_eq(of, &body)) {
            return Some(callee.clone());
        }
        let guard = body.copies.guard(&self.engine.arena).ok()??;
        let origin = body.origin(&function, CodeUnit::Function);
        let copy = self.copy(&body, origin)?;
        let name = self.name(guard.address());
        let functions = body.references.callees.iter();
        self.kept
            .extend(functions.map(|function| Arc::clone(function) as Kept));
        let externals = body.externals.iter();
        self.kept
            .extend(externals.map(|externals| Arc::clone(externals) as Kept));
        self.kept.push(guard);
        let callee = Callee {
            body: Arc::new(copy),
            guard: Some(Guard {
                name,
                pointer: self.engine.isas.tier1.pointer_type(),
            }),
        };
        self.made.push((body, callee.clone()));
        Some(callee)
    }

    fn target(&mut self, caller: &mut Function, call: Inst) -> Option<FuncRef> {
        let &(_, address) = self.code.usual.iter().find(|usual| usual.0 == call)?;
        let InstructionData::CallIndirect { sig_ref, .. } = caller.dfg.insts[call] else {
            return None;
        };
        let function = read(&self.engine.units).function_at(address).cloned()?;
        let name = caller.declare_imported_user_function(self.name(address));
        // Its stub stays its own as long as the code is there.
        self.kept.push(function);
        Some(caller.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature: sig_ref,
            colocated: false,
            patchable: false,
        }))
    }
}

/// The names of what a function refers to.
fn used_names(func: &Function) -> BTreeSet<UserExternalNameRef> {
    let functions = func.dfg.ext_funcs.values().map(|callee| &callee.name);
    let symbols = func
        .global_values
        .values()
        .filter_map(|global| match global {
            GlobalValueData::Symbol { name, .. } => Some(name),
            _ => None,
        });
    let names = functions.chain(symbols).filter_map(|name| match name {
        ExternalName::User(name) => Some(*name),
        _ => None,
    });
    names.collect()
}
