//! [`JITModule`] as a [`Module`]: declaring and defining.

use super::data::{Contents, DataObject};
use super::function::{Definition, State, allocate_bytes, generate_error, out_of_memory};
use super::module::{JITModule, declared};
use crate::code::link::ObjectCode;
use crate::define::declare::{declare_local, forget_local};
use crate::define::local::prepare;
use crate::error::Error;
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Signature;
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::{CodegenError, Context};
use cranelift_jit::JITMemoryKind;
use cranelift_module::{
    DataDescription, DataId, FuncId, Init, Linkage, Module, ModuleDeclarations, ModuleError,
    ModuleReloc, ModuleResult,
};

/// The alignment of data that does not say its own.
const WRITABLE_ALIGN: u64 = 8;
const READONLY_ALIGN: u64 = 1;

impl JITModule {
    /// Checks that a function may be defined now; returns its name.
    fn check_function(&self, id: FuncId) -> ModuleResult<String> {
        let declaration = self.declarations.get_function_decl(id);
        let name = declaration.linkage_name(id).into_owned();
        if !declaration.linkage.is_definable() {
            return Err(ModuleError::InvalidImportDefinition(name));
        }
        if self.functions.contains_key(&id) {
            return Err(ModuleError::DuplicateDefinition(name));
        }
        Ok(name)
    }

    /// Verifies a function, if the target's settings say so.
    pub(super) fn verify(&self, ctx: &Context) -> ModuleResult<()> {
        if self.isa.flags().enable_verifier() {
            let verified = cranelift_codegen::verify_function(&ctx.func, &*self.isa);
            verified.map_err(CodegenError::Verifier)?;
        }
        Ok(())
    }
}

fn unit_error(error: Error) -> ModuleError {
    match error {
        Error::Slot(error) => out_of_memory(error),
        error => ModuleError::Backend(error.into()),
    }
}

impl Module for JITModule {
    fn isa(&self) -> &dyn TargetIsa {
        &*self.isa
    }

    fn declarations(&self) -> &ModuleDeclarations {
        &self.declarations
    }

    fn declare_function(
        &mut self,
        name: &str,
        linkage: Linkage,
        signature: &Signature,
    ) -> ModuleResult<FuncId> {
        let (id, _) = self
            .declarations
            .declare_function(name, linkage, signature)?;
        declared(&mut self.declared.functions, id.as_u32());
        Ok(id)
    }

    fn declare_anonymous_function(&mut self, signature: &Signature) -> ModuleResult<FuncId> {
        let id = self.declarations.declare_anonymous_function(signature)?;
        declared(&mut self.declared.functions, id.as_u32());
        Ok(id)
    }

    /// # Panics
    ///
    /// For thread-local data.
    fn declare_data(
        &mut self,
        name: &str,
        linkage: Linkage,
        writable: bool,
        tls: bool,
    ) -> ModuleResult<DataId> {
        assert!(!tls, "JIT doesn't yet support TLS");
        let (id, _) = self
            .declarations
            .declare_data(name, linkage, writable, tls)?;
        declared(&mut self.declared.data, id.as_u32());
        Ok(id)
    }

    /// # Panics
    ///
    /// For thread-local data.
    fn declare_anonymous_data(&mut self, writable: bool, tls: bool) -> ModuleResult<DataId> {
        assert!(!tls, "JIT doesn't yet support TLS");
        let id = self.declarations.declare_anonymous_data(writable, tls)?;
        declared(&mut self.declared.data, id.as_u32());
        Ok(id)
    }

    fn define_function_with_control_plane(
        &mut self,
        id: FuncId,
        ctx: &mut Context,
        ctrl_plane: &mut ControlPlane,
    ) -> ModuleResult<()> {
        let name = self.check_function(id)?;
        tracing::debug!(function = %name, "define");
        self.verify(ctx)?;
        let engine = &self.engine()?.inner;
        let unit = declare_local(engine, &name, &ctx.func.signature);
        let unit = unit.map_err(unit_error)?;
        let prepared = prepare(engine, &unit, ctx, ctrl_plane).map_err(|error| {
            forget_local(engine, &unit);
            generate_error(error)
        })?;
        let definition = Definition {
            entry: prepared.entry(),
            fixed: prepared.fixed,
            unit,
            state: State::Prepared(Box::new(prepared)),
            older: vec![],
        };
        self.functions.insert(id, definition);
        self.functions_to_finalize.push(id);
        Ok(())
    }

    fn define_function_bytes(
        &mut self,
        id: FuncId,
        alignment: u64,
        bytes: &[u8],
        relocs: &[ModuleReloc],
    ) -> ModuleResult<()> {
        let name = self.check_function(id)?;
        tracing::debug!(function = %name, bytes = bytes.len(), "define machine code");
        let align = alignment
            .max(u64::from(self.isa.function_alignment().minimum))
            .max(self.isa.symbol_alignment());
        let code = ObjectCode::from_bytes(bytes, align, relocs, |other| other == id);
        let engine = self.engine()?;
        let allocation = allocate_bytes(engine, &code)?;
        let signature = &self.declarations.get_function_decl(id).signature;
        let unit = declare_local(&engine.inner, &name, signature);
        let unit = unit.map_err(unit_error)?;
        let definition = Definition {
            unit,
            entry: allocation.entry(),
            fixed: true,
            state: State::Placed(Box::new((code, allocation))),
            older: vec![],
        };
        self.functions.insert(id, definition);
        self.functions_to_finalize.push(id);
        Ok(())
    }

    /// # Panics
    ///
    /// For data that is not initialized.
    fn define_data(&mut self, id: DataId, data: &DataDescription) -> ModuleResult<()> {
        let declaration = self.declarations.get_data_decl(id);
        let name = || declaration.linkage_name(id).into_owned();
        if !declaration.linkage.is_definable() {
            return Err(ModuleError::InvalidImportDefinition(name()));
        }
        if self.data.contains_key(&id) {
            return Err(ModuleError::DuplicateDefinition(name()));
        }
        let contents = match &data.init {
            Init::Uninitialized => panic!("data is not initialized yet"),
            Init::Zeros { size } => Contents::Zeros(*size),
            Init::Bytes { contents } => Contents::Bytes(contents),
        };
        let (align, kind) = match declaration.writable {
            true => (WRITABLE_ALIGN, JITMemoryKind::Writable),
            false => (READONLY_ALIGN, JITMemoryKind::ReadOnly),
        };
        let align = data.align.unwrap_or(align);
        // Data relocations are of a pointer's size, whatever the kind says.
        let relocs: Box<[ModuleReloc]> = data.all_relocs(Reloc::Abs8).collect();
        let object = self.allocate_data(|memory| DataObject::new(memory, contents, align, kind))?;
        self.data.insert(id, object);
        self.data_to_finalize.push((id, relocs));
        Ok(())
    }
}
