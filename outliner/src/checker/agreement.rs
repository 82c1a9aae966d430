//! Whether an interface is one of its region, and complete.
//!
//! Purpose: an [`Interface`] is a claim. Here it is held against the source:
//! parameters can carry what they claim, every value that is needed after an
//! exit is a live-out of it. That results *do* carry their live-outs is for
//! the walk to show.
//!
//! Signatures of the outlined function and of continuations follow from the
//! source and the parameters; they are built here anew.

use super::error::{CheckError, Meaning};
use super::source::{Source, arguments, destinations};
use crate::{Interface, LiveOut, LiveOutSource, Param, ParamSource};
use cranelift_codegen::ir::{
    AbiParam, ArgumentPurpose, Block, BlockArg, Signature, Type, Value, types,
};
use cranelift_codegen::isa::CallConv;
use regraft_regions::ExitKind;
use std::collections::HashSet;

/// What a parameter of the interface means.
///
/// # Errors
/// [`CheckError::WrongParam`]: it cannot carry that.
pub(super) fn param_meaning(
    source: &Source<'_>,
    index: usize,
    param: &Param,
) -> Result<Meaning, CheckError> {
    let func = source.func;
    let header = func.dfg.block_params(source.region.entry());
    let wrong = CheckError::WrongParam { index };
    let fits = |value: Value| -> Option<Meaning> {
        let valid = func.dfg.value_is_valid(value) && func.dfg.value_type(value) == param.ty;
        valid.then(|| source.meaning(value))
    };
    let meaning = match param.source {
        ParamSource::Entry(at) if at == index => header.get(at).and_then(|&value| fits(value)),
        ParamSource::Entry(_) => None,
        ParamSource::VmContext(value) => {
            let special = source.context() == Some(value);
            let header_param = header.get(index) == Some(&value);
            let outside = !source
                .home(value)
                .is_some_and(|block| source.in_scope(block));
            (special && (header_param || outside))
                .then(|| fits(value))
                .flatten()
        }
        ParamSource::Value(value) => {
            fits(value).filter(|&meaning| !source.scope_defines(meaning) && index >= header.len())
        }
        ParamSource::Slot(slot) => {
            let valid = func.sized_stack_slots.is_valid(slot) && param.ty.is_int();
            let (offset, ty) = (0, param.ty);
            valid.then_some(Meaning::Slot { slot, offset, ty })
        }
        ParamSource::DynamicSlot(slot) => {
            let valid = func.dynamic_stack_slots.is_valid(slot) && param.ty.is_int();
            valid.then_some(Meaning::DynamicSlot { slot, ty: param.ty })
        }
    };
    meaning.ok_or(wrong)
}

/// The meanings of all parameters, those of the region's entry block first.
pub(super) fn param_meanings(
    source: &Source<'_>,
    interface: &Interface,
) -> Result<Vec<Meaning>, CheckError> {
    let params = interface.params.iter().enumerate();
    params
        .map(|(index, param)| param_meaning(source, index, param))
        .collect()
}

/// What a live-out means.
pub(super) fn live_out_meaning(source: &Source<'_>, live: &LiveOut) -> Meaning {
    match live.source {
        LiveOutSource::Value(value) => source.meaning(value),
        LiveOutSource::TryCallRet(i) => Meaning::TryCallRet(i),
        LiveOutSource::TryCallExn(i) => Meaning::TryCallExn(i),
    }
}

/// Everything about the interface that can be told without code.
pub(super) fn check_interface(
    source: &Source<'_>,
    interface: &Interface,
) -> Result<(), CheckError> {
    let wrong = |what| Err(CheckError::WrongInterface(what));
    let region = source.region;
    if interface.entry != region.entry() {
        return wrong("it has another entry");
    }
    let header = source.func.dfg.num_block_params(region.entry());
    if interface.entry_params != header || interface.params.len() < header {
        return wrong("it has another number of entry parameters");
    }
    param_meanings(source, interface)?;
    if interface.results.first() != Some(&types::I32) {
        return wrong("result 0 is not an i32");
    }
    if !interface
        .exits
        .iter()
        .map(|exit| &exit.exit)
        .eq(region.exits())
    {
        return wrong("it has other exits");
    }
    let constants = interface.exits.iter().flat_map(|exit| &exit.constants);
    for &value in constants.chain(&interface.constants) {
        let valid = source.func.dfg.value_is_valid(value);
        if !valid || source.constant(source.meaning(value)).is_none() {
            return wrong("it calls a value constant that is not");
        }
    }
    for exit in &interface.exits {
        let number = exit.exit.number;
        for live in &exit.live_outs {
            let typed = match live.source {
                LiveOutSource::Value(value) => {
                    source.func.dfg.value_is_valid(value)
                        && source.func.dfg.value_type(value) == live.ty
                }
                _ => true,
            };
            let fits = live.result != 0 && interface.results.get(live.result) == Some(&live.ty);
            if !typed || !fits {
                return Err(CheckError::WrongLiveOut {
                    exit: number,
                    result: live.result,
                });
            }
        }
    }
    check_live_outs(source, interface)
}

/// Every value of the scope that is used on or after an exit is a live-out.
fn check_live_outs(source: &Source<'_>, interface: &Interface) -> Result<(), CheckError> {
    let func = source.func;
    let edges = source.edges_of_exits();
    for exit in &interface.exits {
        let number = exit.exit.number;
        let mut needed: Vec<BlockArg> = Vec::new();
        match exit.exit.kind {
            ExitKind::Edge { to, .. } => {
                let Some(&(from, index)) = edges.get(&number) else {
                    return Err(CheckError::Malformed("an exit without an edge"));
                };
                let last = func.layout.last_inst(from);
                if let Some(&call) = last.and_then(|inst| destinations(func, inst).get(index)) {
                    needed.extend(arguments(func, call));
                }
                needed.extend(source.live(to).iter().map(|&value| BlockArg::Value(value)));
            }
            ExitKind::Return { inst } | ExitKind::TailCall { inst } => {
                let args = func.dfg.inst_args(inst);
                needed.extend(args.iter().map(|&value| BlockArg::Value(value)));
            }
        }
        let live_outs = exit.live_outs.iter();
        let carried = live_outs.map(|live| live_out_meaning(source, live));
        let repeated = exit.constants.iter().map(|&value| source.meaning(value));
        let carried: HashSet<Meaning> = carried.chain(repeated).collect();
        for arg in needed {
            // An address in the frame too: the caller has no instruction that makes it.
            let of_scope = match arg {
                BlockArg::Value(value) => source.home(value).is_some_and(|b| source.in_scope(b)),
                BlockArg::TryCallRet(_) | BlockArg::TryCallExn(_) => true,
            };
            let value = source.argument(arg);
            if of_scope && !carried.contains(&value) {
                return Err(CheckError::MissingLiveOut {
                    exit: number,
                    value,
                });
            }
        }
    }
    Ok(())
}

fn abi(param: &Param) -> AbiParam {
    match param.source {
        ParamSource::VmContext(_) => AbiParam::special(param.ty, ArgumentPurpose::VMContext),
        _ => AbiParam::new(param.ty),
    }
}

fn signature(params: impl Iterator<Item = AbiParam>, results: &[Type]) -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.extend(params);
    signature
        .returns
        .extend(results.iter().map(|&ty| AbiParam::new(ty)));
    signature
}

/// The signature of the outlined function.
pub(super) fn region_signature(interface: &Interface) -> Signature {
    signature(interface.params.iter().map(abi), &interface.results)
}

/// The parameters that are the same wherever control enters, with their
/// positions: all but those of the entry block, among which the context may be.
pub(super) fn live_ins(interface: &Interface) -> impl Iterator<Item = (usize, &Param)> {
    let params = interface.params.iter().enumerate();
    params.filter(|(_, param)| !matches!(param.source, ParamSource::Entry(_)))
}

/// What the parameters of the continuation that begins at `target` mean: the
/// block's parameters, the scope's values that are live there, the live-ins.
pub(super) fn continuation_params(
    source: &Source<'_>,
    interface: &Interface,
    target: Block,
) -> Result<Vec<Meaning>, CheckError> {
    let own = source.func.dfg.block_params(target).iter().copied();
    let own = own.chain(source.passed(target));
    let mut params: Vec<Meaning> = own.map(|value| source.meaning(value)).collect();
    for (index, param) in live_ins(interface) {
        params.push(param_meaning(source, index, param)?);
    }
    Ok(params)
}

/// The signature of the continuation that begins at `target`.
pub(super) fn continuation_signature(
    source: &Source<'_>,
    interface: &Interface,
    target: Block,
) -> Signature {
    let dfg = &source.func.dfg;
    let own = dfg.block_params(target).iter().copied();
    let own = own.chain(source.passed(target));
    let own = own.map(|value| AbiParam::new(dfg.value_type(value)));
    let live_ins = live_ins(interface).map(|(_, param)| abi(param));
    signature(own.chain(live_ins), &interface.results)
}
