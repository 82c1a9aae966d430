//! A random program, and what passes make of it.
//!
//! Which passes run, how often, in which order and on how much fuel is drawn as well.

use super::plain::{Plain, isa};
use super::sabotage::spoil_copy;
use super::{Sabotage, Stats, interpreter};
use crate::generate::host::Host;
use crate::generate::{MAIN, Program, Source};
use cranelift_codegen::ir::{ExternalName, FuncRef, Function, Inst, InstructionData};
use regraft_optimizer::{
    Callee, Callees, Fuel, Pass, Policy, Summary, Unknown, can_be_copied, fits, run_pass,
};
use regraft_outliner::outline;
use regraft_regions::{Flow, LoopForest};
use std::sync::Arc;

/// Bytes at the end of a case that choose the passes.
const PASS_BYTES: usize = 24;

/// What is done to a program.
#[derive(Debug)]
pub struct Plan {
    passes: Vec<Pass>,
    fuel: Fuel,
    /// A region of it is outlined first, and optimized too.
    outlines: bool,
}

/// Draws a plan.
pub fn plan(bytes: &[u8]) -> Plan {
    let mut source = Source::new(bytes);
    let passes = match source.percent(30) {
        true => Pass::ALL.to_vec(),
        false => (0..source.between(1, 12))
            .map(|_| source.pick(&Pass::ALL))
            .collect(),
    };
    let fuel = match source.percent(15) {
        true => Fuel::limited(source.below(30) as u64),
        false => Fuel::UNLIMITED,
    };
    Plan {
        passes,
        fuel,
        outlines: source.percent(40),
    }
}

/// Runs the passes of a plan over a function that calls nobody; returns how many changes they made.
///
/// # Errors
///
/// A pass that refuses, or that breaks the function.
pub fn run_plan(function: &mut Function, plan: &mut Plan) -> Result<u64, String> {
    let mut summary = Summary::default();
    for &pass in &plan.passes {
        let policy = Policy::default();
        run_one(
            function,
            pass,
            &mut Unknown,
            &policy,
            &mut plan.fuel,
            &mut summary,
        )?;
    }
    Ok(summary.changes())
}

fn run_one(
    function: &mut Function,
    pass: Pass,
    callees: &mut dyn Callees,
    policy: &Policy,
    fuel: &mut Fuel,
    summary: &mut Summary,
) -> Result<(), String> {
    let before = function.clone();
    let ran = run_pass(function, pass, callees, policy, fuel, summary);
    ran.map_err(|error| format!("{pass} refuses: {error}\n{before}"))?;
    cranelift_codegen::verify_function(function, &*isa()).map_err(|errors| {
        format!(
            "{pass} breaks a function: {errors}\n{}\n; before\n{before}",
            function
        )
    })
}

/// The functions of a program, by name.
struct Known {
    functions: Vec<Arc<Function>>,
    /// Whether a copy was sabotaged, if it is to be.
    sabotaged: Option<bool>,
}

impl Known {
    fn function(&self, caller: &Function, callee: FuncRef) -> Option<&Arc<Function>> {
        let ExternalName::TestCase(name) = &caller.dfg.ext_funcs[callee].name else {
            return None;
        };
        let name = format!("%{}", String::from_utf8_lossy(name.raw()));
        let mut functions = self.functions.iter();
        let found = functions.find(|function| function.name.to_string() == name)?;
        fits(caller, callee, found).then_some(found)
    }
}

impl Callees for Known {
    fn size(&mut self, caller: &Function, callee: FuncRef) -> Option<usize> {
        can_be_copied(self.function(caller, callee)?)
    }

    fn find(&mut self, caller: &Function, callee: FuncRef) -> Option<Callee> {
        let mut body = Arc::clone(self.function(caller, callee)?);
        if let Some(sabotaged) = &mut self.sabotaged {
            *sabotaged |= spoil_copy(Arc::make_mut(&mut body));
        }
        Some(Callee { body, guard: None })
    }

    /// Any function that it could be: a wrong guess must do no harm.
    fn target(&mut self, caller: &mut Function, call: Inst) -> Option<FuncRef> {
        let InstructionData::CallIndirect { sig_ref, .. } = caller.dfg.insts[call] else {
            return None;
        };
        let signature = &caller.dfg.signatures[sig_ref];
        let refs = caller.dfg.ext_funcs.iter();
        let mut refs =
            refs.filter(|(_, callee)| caller.dfg.signatures[callee.signature] == *signature);
        let nth = call.as_u32() as usize % 2;
        let found = refs.nth(nth).map(|(callee, _)| callee)?;
        self.function(caller, found).is_some().then_some(found)
    }
}

/// The program with a loop outlined, where there is one that can be.
fn outlined(program: &Program) -> Option<Vec<Function>> {
    let main = program.main();
    let flow = Flow::compute(main).ok()?;
    let loops = LoopForest::compute(main, &flow);
    let l = loops.loops().next()?;
    let region = regraft_regions::Region::whole_loop(main, &flow, &loops, l).ok()?;
    let outlined = outline(main, &region).ok()?;
    let helpers = program.functions.len() - 1;
    let mut functions = program.functions.get(..helpers)?.to_vec();
    functions.push(outlined.residual);
    functions.push(outlined.function);
    Some(functions)
}

/// What passes make of a program does what the program does.
///
/// # Errors
///
/// The first difference, and the CLIF.
pub fn check(bytes: &[u8], sabotage: Option<Sabotage>) -> Result<Stats, String> {
    let (rest, pass_bytes) = bytes.split_at(bytes.len() - bytes.len().min(PASS_BYTES));
    let program = Program::draw(&mut Source::new(rest));
    let mut plan = plan(pass_bytes);
    let mut functions = program.functions.clone();
    if plan.outlines {
        functions = outlined(&program).unwrap_or(functions);
    }
    let mut callees = Known {
        functions: program.functions.iter().cloned().map(Arc::new).collect(),
        sabotaged: (sabotage == Some(Sabotage::WrongCopy)).then_some(false),
    };
    let mut stats = Stats {
        cases: 1,
        ..Stats::default()
    };
    let policy = Policy::default();
    let mut summary = Summary::default();
    for function in &mut functions {
        for &pass in &plan.passes {
            run_one(
                function,
                pass,
                &mut callees,
                &policy,
                &mut plan.fuel,
                &mut summary,
            )?;
        }
    }
    stats.optimized = summary.changes();
    if let Some(sabotage) = sabotage {
        let spoiled = functions.iter_mut().any(|func| sabotage.spoil(func, false));
        let copied = callees.sabotaged.unwrap_or(false);
        stats.sabotaged = usize::from(spoiled || copied);
    }
    compare(&program, &functions, sabotage, &mut stats).map_err(|error| {
        let text: String = functions.iter().map(|func| format!("{func}\n")).collect();
        format!(
            "{error}\n; {plan:?}\n{}; optimized\n{text}",
            program.to_clif()
        )
    })?;
    Ok(stats)
}

fn compare(
    program: &Program,
    functions: &[Function],
    sabotage: Option<Sabotage>,
    stats: &mut Stats,
) -> Result<(), String> {
    let host = Host::new();
    let wild = sabotage.is_some_and(Sabotage::is_wild);
    let plain = Plain::compile(&program.functions, MAIN, &host)?;
    let made = match wild {
        true => None,
        false => Some(Plain::compile(functions, MAIN, &host)?),
    };
    for args in &program.inputs {
        let expected = plain.run(&host, args);
        if let Some(made) = &made {
            let got = made.run(&host, args);
            stats.calls += 1;
            if let Some(difference) = got.difference(&expected) {
                return Err(format!("{difference}\n; arguments {args:?}"));
            }
        }
        if program.interpretable
            && let Some(got) = interpreter::interpret(functions, MAIN, &host, args)
        {
            stats.interpreted += 1;
            if let Some(difference) = got.difference(&expected) {
                return Err(format!("interpreted: {difference}\n; arguments {args:?}"));
            }
        }
    }
    Ok(())
}
