//! The first step of tier 1: what is compiled is cut out of the definition, and its names become units.
//!
//! Not here: how it is cut out (`regraft_outliner`), and what is (`tiering`).

use crate::code::codemap::CodeUnit;
use crate::code::error::{CompileError, TransformError};
use crate::code::externals::OwnData;
use crate::config::faults::Stage;
use crate::context::Inner;
use crate::passes::instrument::{HookCounters, count_calls, count_continuation, count_region};
use crate::passes::names;
use crate::pipeline::compile::{Code, fault};
use crate::report::Phase;
use crate::units::counters::AddressTable;
use crate::units::formed::{Formed, Side};
use crate::units::part::HotPart;
use crate::units::subject::Subject;
use cranelift_codegen::ir::{
    ExternalName, FuncRef, Function, GlobalValueData, Inst, UserExternalName,
};
use regraft_outliner::{
    Extracted, Interface, OutlineError, check_continuation, check_region, check_side_tables,
    extract_continuation, extract_region, prune_function, tabulate_side_exits,
};
use regraft_regions::Region;
use std::collections::HashMap;

/// The region of a hook.
pub(crate) fn region(
    engine: &Inner,
    subject: Subject<'_>,
    hook: usize,
    formed: &Formed,
) -> Result<Code, CompileError> {
    let _extracting = engine.enter(Phase::Extract);
    let Subject {
        function,
        body,
        tiering,
    } = subject;
    let flow = &tiering.analysis.flow;
    let liveness = tiering.analysis.liveness(&body.source);
    let interface = tiering.interface(&body.source, hook)?;
    fault(engine, Stage::Transform, &function.name)?;
    let mut extracted = extract_region(&body.source, flow, liveness, &formed.region, interface)?;
    let check = engine.config.testing.check;
    if check {
        let _checking = engine.enter(Phase::Check);
        let Extracted {
            function,
            side_calls,
            ..
        } = &extracted;
        let checked = check_region(
            &body.source,
            &formed.region,
            interface,
            function,
            side_calls,
        );
        checked?;
    }
    let plain = check.then(|| extracted.clone());
    tabulate_side_exits(&mut extracted, engine.isas.tier1.pointer_type());
    if let Some(plain) = plain {
        let _checking = engine.enter(Phase::Check);
        let checked = check_side_tables(&plain, &extracted);
        checked?;
    }
    name_side_calls(&mut extracted, formed)?;
    let mut own = fill_side_tables(engine, &mut extracted, formed)?;
    count_region(
        &mut extracted.function,
        hook_counters(engine, subject, hook),
    );
    own.push(tiering.own_data(function.unit));
    let entry = formed.region.entry();
    let copies: HashMap<Inst, Inst> = extracted.indirect_calls.into_iter().collect();
    let usual = tiering.usual_targets().into_iter();
    let usual = usual.filter_map(|(call, target)| Some((*copies.get(&call)?, target)));
    let origin = subject.origin(CodeUnit::Region { entry });
    Ok(Code {
        usual: usual.collect(),
        ..Code::new(origin, extracted.function, own)
    })
}

/// The region that a whole function is pruned to, with the interface of its side exits: what cannot be outlined stays.
pub(crate) fn prunable(
    subject: Subject<'_>,
    region: Region,
) -> Result<(Region, Option<Interface>), CompileError> {
    let source = &subject.body.source;
    let analysis = &subject.tiering.analysis;
    let flow = &analysis.flow;
    if !region.is_whole()
        && let Ok(interface) = Interface::compute(source, flow, analysis.liveness(source), &region)
    {
        return Ok((region, Some(interface)));
    }
    let whole = Region::pruned(source, flow, region.entry(), flow.rpo(), |_| true);
    Ok((whole.map_err(OutlineError::from)?, None))
}

/// The function less the cold blocks that `formed` leaves out.
pub(crate) fn function(
    engine: &Inner,
    subject: Subject<'_>,
    formed: &Formed,
) -> Result<Code, CompileError> {
    let _extracting = engine.enter(Phase::Extract);
    let source = &subject.body.source;
    let func = match &formed.interface {
        None => source.clone(),
        Some(interface) => {
            let analysis = &subject.tiering.analysis;
            let (flow, liveness) = (&analysis.flow, analysis.liveness(source));
            let mut pruned = prune_function(source, flow, liveness, &formed.region, interface)?;
            name_side_calls(&mut pruned, formed)?;
            pruned.function
        }
    };
    Ok(Code {
        usual: subject.tiering.usual_targets(),
        ..Code::new(subject.origin(CodeUnit::Function), func, vec![]).whole_of(subject.body)
    })
}

/// The continuation of the side exits to one cold block. It counts its calls.
pub(crate) fn continuation(
    engine: &Inner,
    subject: Subject<'_>,
    formed: &Formed,
    side: &Side,
) -> Result<Code, CompileError> {
    let _extracting = engine.enter(Phase::Extract);
    let Subject {
        function,
        body,
        tiering,
    } = subject;
    let missing = TransformError::Missing {
        what: "interface of a continuation",
    };
    let interface = tiering.interface_of(&body.source, formed).ok_or(missing)?;
    let unit = side.unit;
    let flow = &tiering.analysis.flow;
    let liveness = tiering.analysis.liveness(&body.source);
    let Extracted {
        function: mut continuation,
        reentry,
        ..
    } = extract_continuation(
        &body.source,
        flow,
        liveness,
        &formed.region,
        interface,
        side.number,
    )?;
    if engine.config.testing.check {
        check_continuation(
            &body.source,
            &formed.region,
            interface,
            side.number,
            &continuation,
            reentry,
        )?;
    }
    if let HotPart::Loop(hook) = formed.part {
        if let Some(reentry) = reentry {
            name_unit(&mut continuation, reentry, tiering.hooks[hook].unit);
        }
        let counters = hook_counters(engine, subject, hook);
        count_continuation(&mut continuation, counters, reentry);
    }
    let isa = &engine.isas.tier1;
    count_calls(
        &mut continuation,
        unit,
        isa.pointer_type(),
        isa.default_call_conv(),
    )?;
    let code_unit = CodeUnit::Continuation {
        region: formed.region.entry(),
        start: side.start,
    };
    let counters = ((names::COUNTERS, unit), side.counters.address());
    let own = vec![counters, tiering.own_data(function.unit)];
    Ok(Code::new(subject.origin(code_unit), continuation, own))
}

/// What a region's code counts for tier 0.
fn hook_counters<'a>(engine: &Inner, subject: Subject<'a>, hook: usize) -> HookCounters<'a> {
    HookCounters {
        unit: subject.function.unit,
        layout: subject.tiering.counters.layout(),
        hook,
        pointer: engine.isas.tier1.pointer_type(),
        arrivals: subject.tiering.counts(),
    }
}

const WITHOUT_CONTINUATION: TransformError = TransformError::Missing {
    what: "continuation of a side exit",
};

/// Names the units behind the side calls of an extracted function.
fn name_side_calls(extracted: &mut Extracted, formed: &Formed) -> Result<(), CompileError> {
    let side_exits = formed.region.side_exits();
    let sides = formed.sides_by_start();
    for &(number, callee) in &extracted.side_calls {
        let side_exit = side_exits.get(number as usize);
        let side_exit = side_exit.ok_or(WITHOUT_CONTINUATION)?;
        let side = sides.get(&side_exit.to).ok_or(WITHOUT_CONTINUATION)?;
        name_unit(&mut extracted.function, callee, side.unit);
    }
    Ok(())
}

/// Fills the tables of an extracted region with the stubs of its continuations; returns where they lie, by name.
fn fill_side_tables(
    engine: &Inner,
    extracted: &mut Extracted,
    formed: &Formed,
) -> Result<Vec<OwnData>, CompileError> {
    let sides = formed.sides_by_start();
    let side_exits = formed.region.side_exits();
    let mut tables = vec![];
    let mut own = vec![];
    for (number, side_table) in (0..).zip(&extracted.side_tables) {
        let mut stubs = Vec::with_capacity(side_table.side_exits.len());
        for side_exit in &side_table.side_exits {
            let stub = side_exit.map(|side_exit| {
                let side_exit = side_exits.get(side_exit as usize)?;
                let slot = &sides.get(&side_exit.to)?.slot;
                slot.with(|slot| slot.stub_address())
            });
            stubs.push(match stub {
                Some(stub) => stub.ok_or(WITHOUT_CONTINUATION)?,
                // No branch of the code leads here.
                None => engine.slots.trap_stub_address(),
            });
        }
        let table = AddressTable::new(&engine.arena, &stubs)?;
        own.push(((names::TABLES, number), table.address()));
        tables.push(table);
        let name = UserExternalName::new(names::TABLES, number);
        let name = extracted.function.declare_imported_user_function(name);
        let global = &mut extracted.function.global_values[side_table.table];
        if let GlobalValueData::Symbol { name: symbol, .. } = global {
            *symbol = ExternalName::user(name);
        }
    }
    formed.tables.set(tables);
    Ok(own)
}

/// Makes `callee` name the stub of a unit.
fn name_unit(func: &mut Function, callee: FuncRef, unit: u32) {
    let user = UserExternalName::new(names::UNITS, unit);
    let user = func.declare_imported_user_function(user);
    func.dfg.ext_funcs[callee].name = ExternalName::user(user);
}
