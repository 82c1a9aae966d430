//! Whether two entities of different functions are the same by content.
//!
//! Purpose: names, signatures, constants, memory flags, alias regions, global
//! values along their chains, exception clauses, dynamic stack slots.
//!
//! Not here: which entities an instruction names (`entities`).

use cranelift_codegen::ir::{
    ArgumentPurpose, DynamicStackSlot, ExceptionTable, ExceptionTableItem, ExternalName, FuncRef,
    Function, GlobalValue, GlobalValueData, Inst, InstructionData, MemFlags, Opcode, SigRef,
    UserFuncName,
};

/// Whether an instruction makes a constant, from nothing and without effects.
pub(super) fn is_constant(data: &InstructionData) -> bool {
    matches!(
        data.opcode(),
        Opcode::Iconst
            | Opcode::F16const
            | Opcode::F32const
            | Opcode::F64const
            | Opcode::F128const
            | Opcode::Vconst
    )
}

/// Whether two instructions make the same constant (of a type that is known to
/// be the same). Where they are written in the program does not matter.
pub(super) fn same_constant(ours: &Function, our: Inst, theirs: &Function, their: Inst) -> bool {
    let (our, their) = (&ours.dfg.insts[our], &theirs.dfg.insts[their]);
    if !is_constant(our) || !is_constant(their) {
        return false;
    }
    match (our, their) {
        (
            InstructionData::UnaryConst {
                opcode: our_opcode,
                constant_handle: our,
            },
            InstructionData::UnaryConst {
                opcode: their_opcode,
                constant_handle: their,
            },
        ) => {
            our_opcode == their_opcode
                && ours.dfg.constants.get(*our) == theirs.dfg.constants.get(*their)
        }
        // No list and no entity is left, so that the pool is not looked at.
        _ => our.eq(their, &ours.dfg.value_lists),
    }
}

/// Whether an external name is the name of that function.
pub(super) fn names(func: &Function, name: &ExternalName, wanted: &UserFuncName) -> bool {
    match (name, wanted) {
        (ExternalName::User(name), UserFuncName::User(wanted)) => {
            func.params.user_named_funcs().get(*name) == Some(wanted)
        }
        (ExternalName::TestCase(name), UserFuncName::Testcase(wanted)) => name == wanted,
        _ => false,
    }
}

fn same_name(ours: &Function, our: &ExternalName, theirs: &Function, their: &ExternalName) -> bool {
    match (our, their) {
        (ExternalName::User(our), ExternalName::User(their)) => {
            let our = ours.params.user_named_funcs().get(*our);
            our.is_some() && our == theirs.params.user_named_funcs().get(*their)
        }
        _ => our == their,
    }
}

pub(super) fn same_signature(
    ours: &Function,
    our: SigRef,
    theirs: &Function,
    their: SigRef,
) -> bool {
    let our = ours.dfg.signatures.get(our);
    our.is_some() && our == theirs.dfg.signatures.get(their)
}

pub(super) fn same_callee(
    ours: &Function,
    our: FuncRef,
    theirs: &Function,
    their: FuncRef,
) -> bool {
    let (Some(our), Some(their)) = (ours.dfg.ext_funcs.get(our), theirs.dfg.ext_funcs.get(their))
    else {
        return false;
    };
    same_name(ours, &our.name, theirs, &their.name)
        && same_signature(ours, our.signature, theirs, their.signature)
        && (our.colocated, our.patchable) == (their.colocated, their.patchable)
}

pub(super) fn same_flags(
    ours: &Function,
    our: MemFlags,
    theirs: &Function,
    their: MemFlags,
) -> bool {
    ours.dfg.mem_flags.is_valid(our)
        && theirs.dfg.mem_flags.is_valid(their)
        && ours.dfg.mem_flags[our].with_alias_region(None)
            == theirs.dfg.mem_flags[their].with_alias_region(None)
}

pub(super) fn same_region(
    ours: &Function,
    our: MemFlags,
    theirs: &Function,
    their: MemFlags,
) -> bool {
    let region = |func: &'_ Function, flags| {
        let sets = &func.dfg.mem_flags;
        let region = sets.is_valid(flags).then(|| sets[flags].alias_region())?;
        let regions = &func.dfg.alias_regions;
        region
            .filter(|&region| regions.is_valid(region))
            .map(|region| regions[region].clone())
    };
    region(ours, our) == region(theirs, their)
}

/// The last clause of a global value's chain decides; the chain is as long as
/// there are global values at most, which also stops cyclic chains.
pub(super) fn same_global(
    ours: &Function,
    mut our: GlobalValue,
    theirs: &Function,
    mut their: GlobalValue,
) -> bool {
    use GlobalValueData as Data;
    for _ in 0..=ours.global_values.len() {
        let (Some(our_data), Some(their_data)) =
            (ours.global_values.get(our), theirs.global_values.get(their))
        else {
            return false;
        };
        let same = match (our_data, their_data) {
            (Data::VMContext, Data::VMContext) => {
                let special = |func: &Function| {
                    func.signature
                        .uses_special_param(ArgumentPurpose::VMContext)
                };
                return special(ours) == special(theirs);
            }
            (
                Data::Load {
                    base: our_base,
                    offset: our_offset,
                    global_type: our_type,
                    flags: our_flags,
                },
                Data::Load {
                    base: their_base,
                    offset: their_offset,
                    global_type: their_type,
                    flags: their_flags,
                },
            ) => {
                (our, their) = (*our_base, *their_base);
                (our_offset, our_type) == (their_offset, their_type)
                    && same_flags(ours, *our_flags, theirs, *their_flags)
                    && same_region(ours, *our_flags, theirs, *their_flags)
            }
            (
                Data::IAddImm {
                    base: our_base,
                    offset: our_offset,
                    global_type: our_type,
                },
                Data::IAddImm {
                    base: their_base,
                    offset: their_offset,
                    global_type: their_type,
                },
            ) => {
                (our, their) = (*our_base, *their_base);
                (our_offset, our_type) == (their_offset, their_type)
            }
            (
                Data::Symbol {
                    name: our_name,
                    offset: our_offset,
                    colocated: our_colocated,
                    tls: our_tls,
                },
                Data::Symbol {
                    name: their_name,
                    offset: their_offset,
                    colocated: their_colocated,
                    tls: their_tls,
                },
            ) => {
                return same_name(ours, our_name, theirs, their_name)
                    && (our_offset, our_colocated, our_tls)
                        == (their_offset, their_colocated, their_tls);
            }
            (our, their) => return our == their,
        };
        if !same {
            return false;
        }
    }
    false
}

pub(super) fn same_dynamic_slot(
    ours: &Function,
    theirs: &Function,
    slot: DynamicStackSlot,
) -> bool {
    let data = |func: &Function| {
        let slot = func.dynamic_stack_slots.get(slot)?;
        let ty = func.dfg.dynamic_types.get(slot.dyn_ty)?;
        Some((slot.kind, ty.base_vector_ty, ty.dynamic_scale))
    };
    let (Some(our), Some(their)) = (data(ours), data(theirs)) else {
        return false;
    };
    (our.0, our.1) == (their.0, their.1) && same_global(ours, our.2, theirs, their.2)
}

pub(super) fn same_clauses(
    ours: &Function,
    our: ExceptionTable,
    theirs: &Function,
    their: ExceptionTable,
) -> bool {
    let (Some(our), Some(their)) = (
        ours.dfg.exception_tables.get(our),
        theirs.dfg.exception_tables.get(their),
    ) else {
        return false;
    };
    let clause = |item| match item {
        ExceptionTableItem::Tag(tag, _) => (0, Some(tag)),
        ExceptionTableItem::Default(_) => (1, None),
        ExceptionTableItem::Context(_) => (2, None),
    };
    same_signature(ours, our.signature(), theirs, their.signature())
        && our.items().map(clause).eq(their.items().map(clause))
}
