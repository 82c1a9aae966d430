//! The residual: the source function with the region replaced by a call.
//!
//! Purpose: `outline` as a pure transformation from function to two functions
//! that together do what the one did. It is what snapshots show, what the
//! round trip (outline, then inline again) starts from, and the plainest use
//! of [`splice`].
//!
//! Not here: tier 0, whose gate counts and keeps the region's own blocks.

use crate::error::OutlineError;
use crate::extract::import_outlined;
use crate::interface::Interface;
use crate::splice::{Gate, Hook, HookBlocks, splice};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{Function, Inst, InstBuilder, Signature, UserFuncName, Value};
use regraft_regions::{Flow, Region};

/// Replaces the scope of `region` in a copy of `func` by a direct call to the
/// function `callee`, with its dispatch over the exits.
///
/// # Ensures
///
/// The result verifies if `func` does; the scope's own blocks are gone.
///
/// # Errors
///
/// As [`splice`].
pub fn residual(
    func: &Function,
    flow: &Flow,
    region: &Region,
    interface: &Interface,
    callee: &UserFuncName,
) -> Result<Function, OutlineError> {
    let mut residual = func.clone();
    let hook = Hook { region, interface };
    splice(&mut residual, flow, &[hook], &mut AlwaysCall { callee })?;
    Ok(residual)
}

/// A gate that is always open.
struct AlwaysCall<'a> {
    callee: &'a UserFuncName,
}

impl Gate for AlwaysCall<'_> {
    fn enter(&mut self, func: &mut Function, _hook: usize, blocks: &HookBlocks) {
        let mut cursor = FuncCursor::new(func);
        cursor.goto_bottom(blocks.header);
        cursor.ins().jump(blocks.call, &[]);
    }

    fn call(
        &mut self,
        cursor: &mut FuncCursor<'_>,
        _hook: usize,
        signature: Signature,
        args: &[Value],
    ) -> Inst {
        let callee = import_outlined(cursor.func, self.callee.clone(), signature);
        cursor.ins().call(callee, args)
    }

    fn keeps_original(&self) -> bool {
        false
    }
}
