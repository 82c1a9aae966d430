//! What the code generator says about calls with exception handlers.
//!
//! Not here: the walk that looks for one ([`crate::call::unwind`]).

use cranelift_codegen::CompiledCode;
use cranelift_codegen::FinalizedMachExceptionHandler as MachHandler;
use cranelift_codegen::ir::ExceptionTag;

/// The calls of a version that have exception handlers, by where they return to.
#[derive(Clone, Debug, Default)]
pub(crate) struct HandledCalls(pub(super) Box<[HandledCall]>);

/// One call, in offsets from the start of the code.
#[derive(Clone, Debug)]
pub(crate) struct HandledCall {
    pub returns_to: u32,
    /// From the stack pointer at the call to the frame pointer.
    pub frame_size: u32,
    /// Tag, or everything, and where the handler is.
    pub handlers: Box<[(Option<ExceptionTag>, u32)]>,
}

impl HandledCalls {
    /// Takes them from compiled code. A handler whose frame the code generator does not describe is left out.
    pub fn of(code: &CompiledCode) -> Self {
        let sites = code.buffer.call_sites();
        let handled = sites.filter(|site| !site.exception_handlers.is_empty());
        let mut calls: Vec<HandledCall> = handled
            .filter_map(|site| {
                let handlers = site.exception_handlers.iter();
                let handlers = handlers.filter_map(|handler| match *handler {
                    MachHandler::Tag(tag, at) => Some((Some(tag), at)),
                    MachHandler::Default(at) => Some((None, at)),
                    MachHandler::Context(_) => None,
                });
                Some(HandledCall {
                    returns_to: site.ret_addr,
                    frame_size: site.frame_offset?,
                    handlers: handlers.collect(),
                })
            })
            .collect();
        calls.sort_by_key(|call| call.returns_to);
        Self(calls.into_boxed_slice())
    }

    /// The call that returns to an offset.
    pub fn find(&self, returns_to: u32) -> Option<&HandledCall> {
        let found = self
            .0
            .binary_search_by_key(&returns_to, |call| call.returns_to);
        found.ok().and_then(|index| self.0.get(index))
    }
}
