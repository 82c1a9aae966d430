//! Inlining and devirtualisation.

use super::{parse, verify};
use crate::{Callee, Callees, Fuel, Guard, Pass, Policy, Summary, can_be_copied, fits, run_pass};
use cranelift_codegen::ir::{
    ExtFuncData, ExternalName, FuncRef, Function, Inst, InstructionData, UserExternalName, types,
};
use std::sync::Arc;

/// Functions by name, and the one that indirect calls reach.
struct Known {
    functions: Vec<Arc<Function>>,
    guarded: bool,
    target: Option<&'static str>,
}

impl Known {
    fn function(&self, caller: &Function, callee: FuncRef) -> Option<&Arc<Function>> {
        let ExternalName::TestCase(name) = &caller.dfg.ext_funcs[callee].name else {
            return None;
        };
        let name = format!("%{}", String::from_utf8_lossy(name.raw()));
        let mut functions = self.functions.iter();
        let found = functions.find(|func| func.name.to_string() == name)?;
        fits(caller, callee, found).then_some(found)
    }
}

impl Callees for Known {
    fn size(&mut self, caller: &Function, callee: FuncRef) -> Option<usize> {
        can_be_copied(self.function(caller, callee)?)
    }

    fn find(&mut self, caller: &Function, callee: FuncRef) -> Option<Callee> {
        let guard = self.guarded.then(|| Guard {
            name: UserExternalName::new(9, 1),
            pointer: types::I64,
        });
        let body = Arc::clone(self.function(caller, callee)?);
        Some(Callee { body, guard })
    }

    fn target(&mut self, caller: &mut Function, call: Inst) -> Option<FuncRef> {
        let InstructionData::CallIndirect { sig_ref, .. } = caller.dfg.insts[call] else {
            return None;
        };
        Some(caller.import_function(ExtFuncData {
            name: ExternalName::testcase(self.target?),
            signature: sig_ref,
            colocated: false,
            patchable: false,
        }))
    }
}

/// What passes make of the first function; the others are known.
fn run(clif: &str, passes: &[Pass], guarded: bool, policy: &Policy) -> (Function, Summary) {
    let mut functions = cranelift_reader::parse_functions(clif).expect("valid CLIF");
    let mut known = Known {
        functions: functions.iter().cloned().map(Arc::new).collect(),
        guarded,
        target: Some("callee"),
    };
    let mut func = functions.remove(0);
    let mut summary = Summary::default();
    for &pass in passes {
        let fuel = &mut Fuel::limited(u64::MAX);
        let ran = run_pass(&mut func, pass, &mut known, policy, fuel, &mut summary);
        ran.expect("it verifies");
        verify(&func);
    }
    (func, summary)
}

fn story(clif: &str, passes: &[Pass], guarded: bool) -> String {
    let (func, summary) = run(clif, passes, guarded, &Policy::default());
    let mut text = format!("; before\n{clif}\n; after\n{func}\n");
    for effort in summary.efforts {
        let (before, after) = (effort.before, effort.after);
        text += &format!(
            "; {}: {} changes, instructions {} to {}, calls {} to {}\n",
            effort.pass,
            effort.changes,
            before.instructions,
            after.instructions,
            before.calls,
            after.calls
        );
    }
    text
}

/// A loop that calls a function with two returns, a slot and a table.
const CALLER: &str = "
function %caller(i64) -> i64 {
    sig0 = (i64) -> i64
    fn0 = %callee sig0
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v0, v1)
block1(v2: i64, v3: i64):
    v4 = call fn0(v2)
    v5 = iadd v3, v4
    v6 = iconst.i64 -1
    v7 = iadd v2, v6
    brif v7, block1(v7, v5), block2
block2:
    return v5
}
function %callee(i64) -> i64 {
    ss0 = explicit_slot 8
block0(v0: i64):
    v1 = stack_addr.i64 ss0
    store notrap aligned v0, v1
    v2 = ireduce.i32 v0
    br_table v2, block3(v0), [block1, block2(v0)]
block1:
    v3 = load.i64 notrap aligned v1
    return v3
block2(v4: i64):
    v5 = imul v4, v4
    return v5
block3(v6: i64):
    trap user1
}";

#[test]
fn inline() {
    snapshot!("inline", story(CALLER, &[Pass::Inline], false));
    snapshot!("inline_guarded", story(CALLER, &[Pass::Inline], true));
}

const INDIRECT: &str = "
function %caller(i64, i64) -> i64 {
    sig0 = (i64) -> i64
block0(v0: i64, v1: i64):
    v2 = call_indirect sig0, v1(v0)
    v3 = iadd v2, v2
    return v3
}
function %callee(i64) -> i64 {
block0(v0: i64):
    v1 = imul v0, v0
    return v1
}";

#[test]
fn devirtualize() {
    snapshot!(
        "devirtualize",
        story(INDIRECT, &[Pass::Devirtualize], false)
    );
    let (func, summary) = run(
        INDIRECT,
        &[Pass::Devirtualize, Pass::Inline],
        true,
        &Policy::default(),
    );
    assert_eq!(summary.changes(), 2, "{func}");
}

/// A function that calls itself is copied as often as the levels say.
#[test]
fn recursion_is_bounded() {
    let clif = "
function %callee(i64) -> i64 {
    sig0 = (i64) -> i64
    fn0 = %callee sig0
block0(v0: i64):
    brif v0, block1, block2
block1:
    v1 = iconst.i64 -1
    v2 = iadd v0, v1
    v3 = call fn0(v2)
    return v3
block2:
    return v0
}";
    for levels in 0..4 {
        let policy = Policy {
            max_inline_depth: levels,
            ..Policy::default()
        };
        let (func, summary) = run(clif, &[Pass::Inline], true, &policy);
        assert_eq!(summary.changes(), levels as u64, "{func}");
    }
}

/// Growth ends where the policy says, and the most frequent calls come first.
#[test]
fn growth_is_budgeted() {
    let policy = Policy {
        min_grown: 24,
        max_growth: 100,
        ..Policy::default()
    };
    let before_loop = CALLER.replace("    v1 = iconst", "    v9 = call fn0(v0)\n    v1 = iconst");
    let (func, summary) = run(&before_loop, &[Pass::Inline], false, &policy);
    assert_eq!(summary.changes(), 1, "{func}");
    let entry = func.layout.entry_block().expect("it has blocks");
    let mut insts = func.layout.block_insts(entry);
    assert!(insts.any(|inst| func.dfg.insts[inst].opcode().is_call()));
}

/// What means its own frame is not copied.
#[test]
fn refusals() {
    let frame = "function %f() -> i64 { block0: v0 = get_frame_pointer.i64 return v0 }";
    let tail = "function %f() tail { fn0 = %g() tail block0: return_call fn0() }";
    let context = "function %f(i64 vmctx) -> i64 { gv0 = vmctx block0(v0: i64): return v0 }";
    let structure = "function %f(i64 sarg(64)) system_v { block0(v0: i64): return }";
    let large = "function %f() { ss0 = explicit_slot 4096 block0: return }";
    for clif in [frame, tail, context, structure, large] {
        assert_eq!(can_be_copied(&parse(clif)), None, "{clif}");
    }
    let fine = "function %f(i64 vmctx) -> i64 { block0(v0: i64): return v0 }";
    assert_eq!(can_be_copied(&parse(fine)), Some(1));
}
