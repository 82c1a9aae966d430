//! Which loops get a hook: the whole loop as a region with its interface, up to a depth.
//!
//! Not here: which of them become regions (`regraft_regions::form`).

use crate::error::OutlineError;
use crate::interface::Interface;
use cranelift_codegen::ir::Function;
use regraft_regions::{Flow, Liveness, LoopForest, LoopId, Region};

/// The most levels of loops that a loop with a hook may have, itself included.
///
/// Each hook costs time and memory in proportion to the blocks of its loop.
/// With this limit a block is in so many hooked loops at most, and all hooks
/// together are linear in the function. What is further out has the shortest
/// trips and the least to gain.
pub const MAX_LEVELS: u32 = 64;

/// The region of a loop, whatever lives there, or the reason why it can have no hook.
///
/// # Errors
///
/// `TooDeep` beyond [`MAX_LEVELS`]; else as `Region::whole_loop`.
pub fn whole_loop(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    loop_id: LoopId,
) -> Result<Region, OutlineError> {
    let levels = loops.height(loop_id);
    if levels > MAX_LEVELS {
        return Err(OutlineError::TooDeep {
            levels,
            limit: MAX_LEVELS,
        });
    }
    Ok(Region::whole_loop(func, flow, loops, loop_id)?)
}

/// The region of a loop and its interface, or the reason why it can have no hook.
///
/// # Errors
///
/// As [`whole_loop`] and [`Interface::compute`].
pub fn hookable_loop(
    func: &Function,
    flow: &Flow,
    loops: &LoopForest,
    liveness: &Liveness,
    loop_id: LoopId,
) -> Result<(Region, Interface), OutlineError> {
    let region = whole_loop(func, flow, loops, loop_id)?;
    let interface = Interface::compute(func, flow, liveness, &region)?;
    Ok((region, interface))
}
