//! Addresses of the functions that Cranelift calls on its own account.
//!
//! cranelift-jit looks them up by name in the process (`dlsym`), where a statically linked program
//! has none. Here the executor is asked for them, which has some of its own (`regraft_executor::symbols`).

use cranelift_codegen::ir::LibCall;
use cranelift_module::default_libcall_names;
use regraft_executor::session::Session;
use regraft_executor::{ExecutorAddr, symbols};

/// The address of a function that does what `libcall` says, if this process has one.
///
/// A resolver for [`super::link`] falls back to it for
/// [`ModuleRelocTarget::LibCall`](cranelift_module::ModuleRelocTarget::LibCall), where code runs in this process.
pub fn default_libcall_address(libcall: LibCall) -> Option<usize> {
    symbols::library_call(&default_libcall_names()(libcall))
}

/// The same of the process where code of a session runs.
pub fn library_call(session: &dyn Session, libcall: LibCall) -> Option<usize> {
    let found = session.library_call(&default_libcall_names()(libcall));
    found.map(ExecutorAddr::get)
}

/// The address of a symbol that the process exports.
pub fn process_symbol(name: &str) -> Option<usize> {
    symbols::symbol(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_generated_code_has_an_address() {
        for libcall in LibCall::all_libcalls() {
            let expected = !matches!(
                libcall,
                LibCall::Probestack | LibCall::ElfTlsGetAddr | LibCall::ElfTlsGetOffset
            ) && (cfg!(target_arch = "x86_64") || *libcall != LibCall::X86Pshufb);
            if expected {
                assert!(default_libcall_address(*libcall).is_some(), "{libcall}");
            }
        }
    }
}
