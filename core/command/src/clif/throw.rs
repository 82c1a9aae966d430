//! The function by which Cranelift's run tests throw: `__cranelift_throw`.
//!
//! ```text
//!   %__cranelift_throw(entry frame, frame, pc, tag, first, second)
//! ```
//!
//! It leaves the frames above the one with that frame pointer up to the innermost call that has a handler of the tag, and goes on
//! there with the two values. Where there is none, it is a trap of [`UNHANDLED`].
//!
//! Limitations: the walk ends at the first frame that is not generated code's, so that the frame of the entry is not asked;
//! nor is the program counter, which is that of the first frame's caller. Code that runs in another process has no such
//! function: what calls it is refused.
//!
//! Not here: the walk ([`regraft::unwind`]).

use cranelift_codegen::ir::{
    AbiParam, ExceptionTag, Function, InstBuilder, Signature, TrapCode, UserFuncName, types,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use regraft::{Engine, Error, FunctionId};

/// What the function is called.
pub(super) const NAME: &str = "__cranelift_throw";

/// The code of the trap by which an exception ends that nobody handles.
pub(super) const UNHANDLED: TrapCode = TrapCode::unwrap_user(249);

/// Defines the function in `engine`, whose code runs in this process.
pub(super) fn define(engine: &Engine) -> Result<FunctionId, Error> {
    let isa = engine.isa();
    let pointer = isa.pointer_type();
    let params = |types: &[types::Type]| {
        let mut signature = Signature::new(isa.default_call_conv());
        signature.params = types.iter().copied().map(AbiParam::new).collect();
        signature
    };
    let signature = params(&[pointer, pointer, pointer, types::I32, pointer, pointer]);
    let id = engine.declare(NAME, &signature)?;
    let mut func = Function::with_name_signature(UserFuncName::default(), signature);
    let host = func.import_signature(params(&[pointer, types::I32, pointer, pointer]));

    let mut context = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut func, &mut context);
    let block = builder.create_block();
    builder.append_block_params_for_function_params(block);
    builder.switch_to_block(block);
    builder.seal_block(block);
    let arguments: Vec<_> = [1, 3, 4, 5]
        .iter()
        .filter_map(|&index| builder.block_params(block).get(index).copied())
        .collect();
    let address = (throw as *const ()).expose_provenance() as u64;
    let callee = builder.ins().iconst(pointer, address.cast_signed());
    builder.ins().call_indirect(host, callee, &arguments);
    builder.ins().trap(UNHANDLED);
    builder.finalize(isa.frontend_config());
    engine.define(id, func)?;
    Ok(id)
}

/// Goes on at the handler; returns where there is none.
extern "C" fn throw(frame_pointer: usize, tag: u32, first: u64, second: u64) {
    let tag = ExceptionTag::from_u32(tag);
    // SAFETY: the file says that it is the frame pointer of a function of its own, which runs; who runs it vouches for that.
    let handler =
        unsafe { regraft::unwind::find_handler(frame_pointer, |of| of.is_none_or(|of| of == tag)) };
    if let Some(handler) = handler {
        // SAFETY: it was found on this thread just now, and frames of generated code own nothing.
        unsafe { handler.resume([first, second]) }
    }
}
