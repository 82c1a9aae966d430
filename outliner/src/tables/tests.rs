//! Tables of side exits: what they look like, and that the checker notices
//! when one is wrong.

use super::*;
use crate::{CheckError, Interface, check_region, check_side_tables, extract_region};
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::settings::{self, Flags};
use cranelift_codegen::verify_function;
use cranelift_reader::parse_functions;
use regraft_regions::{Flow, Liveness, Region};

/// The dispatch loop of a function with two hot opcodes, as it is extracted.
fn dispatch() -> (Function, Extracted) {
    let clif = include_str!("../../testdata/dispatch.clif");
    let func = parse_functions(clif).unwrap().remove(0);
    let flow = Flow::compute(&func).unwrap();
    let liveness = Liveness::compute(&func, &flow);
    let scope: Vec<Block> = flow.rpo().iter().copied().skip(1).collect();
    let hot = |block: Block| block.as_u32() <= 3;
    let entry = Block::from_u32(1);
    let region = Region::pruned(&func, &flow, entry, &scope, hot).unwrap();
    let interface = Interface::compute(&func, &flow, &liveness, &region).unwrap();
    let extracted = extract_region(&func, &flow, &liveness, &region, &interface).unwrap();
    let (outlined, calls) = (&extracted.function, &extracted.side_calls);
    check_region(&func, &region, &interface, outlined, calls).unwrap();
    (func, extracted)
}

fn tabulated() -> (Function, Extracted, Extracted) {
    let (source, plain) = dispatch();
    let mut tabled = plain.clone();
    tabulate_side_exits(&mut tabled, I64);
    (source, plain, tabled)
}

#[test]
fn cold_opcodes_share_a_tail_call() {
    let (source, plain, tabled) = tabulated();
    verify_function(&tabled.function, &Flags::new(settings::builder())).unwrap();
    check_side_tables(&plain, &tabled).unwrap();
    assert_eq!(plain.side_calls.len(), 12);
    assert!(tabled.side_calls.is_empty());
    let [table] = &tabled.side_tables[..] else {
        panic!("one table");
    };
    assert_eq!(table.side_exits.len(), 14);
    assert_eq!(table.side_exits[..2], [None, None]);
    let text = format!(
        "; source\n{source}\n; region\n{}\n; with a table: {:?}\n{}",
        plain.function, table.side_exits, tabled.function
    );
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("outliner__side_table", text));
}

#[test]
fn few_side_exits_stay_as_they_are() {
    let (_, mut plain) = dispatch();
    plain.side_calls.truncate(TABLE_MIN - 1);
    let before = plain.function.clone();
    tabulate_side_exits(&mut plain, I64);
    assert!(plain.function == before && plain.side_tables.is_empty());
}

/// The last instruction of the block that calls through the table.
fn through_table(func: &Function) -> Inst {
    let last = func.layout.last_block().unwrap();
    func.layout.last_inst(last).unwrap()
}

fn find(func: &Function, opcode: Opcode) -> Inst {
    let last = func.layout.last_block().unwrap();
    let mut insts = func.layout.block_insts(last);
    insts
        .find(|&inst| func.dfg.insts[inst].opcode() == opcode)
        .unwrap()
}

/// Every way of getting a table wrong is noticed.
#[test]
fn sabotage_is_noticed() {
    type Sabotage = fn(&mut Extracted);
    let sabotages: [(&str, Sabotage); 8] = [
        ("two entries in each other's place", |tabled| {
            tabled.side_tables[0].side_exits.swap(3, 4);
        }),
        ("an entry too few", |tabled| {
            tabled.side_tables[0].side_exits[5] = None;
        }),
        ("an entry too many", |tabled| {
            tabled.side_tables[0].side_exits[0] = Some(1);
        }),
        ("two arguments in each other's place", |tabled| {
            let call = through_table(&tabled.function);
            let args = tabled.function.dfg.inst_args_mut(call);
            args.swap(1, 2);
        }),
        ("another scale", |tabled| {
            let func = &mut tabled.function;
            let shift = find(func, Opcode::Ishl);
            let amount = func.dfg.inst_args(shift)[1];
            let amount = func.dfg.value_def(amount).inst().unwrap();
            if let InstructionData::UnaryImm { imm, .. } = &mut func.dfg.insts[amount] {
                *imm = 2.into();
            }
        }),
        ("another limit", |tabled| {
            let first = find(&tabled.function, Opcode::Iconst);
            if let InstructionData::UnaryImm { imm, .. } = &mut tabled.function.dfg.insts[first] {
                *imm = 11.into();
            }
        }),
        ("an index that is not the branch's", |tabled| {
            let func = &mut tabled.function;
            let clamp = find(func, Opcode::Umin);
            let block = func.layout.entry_block().unwrap();
            let other = func.dfg.block_params(block)[0];
            func.dfg.inst_args_mut(clamp)[0] = other;
        }),
        ("a hot entry sent to the table", |tabled| {
            let func = &mut tabled.function;
            let last = func.layout.last_block().unwrap();
            let table = func.dfg.jump_tables.keys().next_back().unwrap();
            let dfg = &mut func.dfg;
            let calls = dfg.jump_tables[table].all_branches_mut();
            calls[1].set_block(last, &mut dfg.value_lists);
        }),
    ];
    for (what, sabotage) in sabotages {
        let (_, plain, mut tabled) = tabulated();
        sabotage(&mut tabled);
        let error = check_side_tables(&plain, &tabled);
        assert!(
            matches!(
                error,
                Err(CheckError::WrongSideTable { .. } | CheckError::ExtraInstruction { .. })
            ),
            "{what}: {error:?}"
        );
    }
}
