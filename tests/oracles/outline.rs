//! Outlining a random region of a random program, judged three ways.

use super::plain::{Plain, isa};
use super::{Sabotage, Stats, interpreter};
use crate::generate::host::Host;
use crate::generate::{MAIN, Program, Source, random_region};
use cranelift_codegen::Context;
use cranelift_codegen::inline::{Inline, InlineCommand};
use cranelift_codegen::ir::{ExternalName, FuncRef, Function, Inst, Opcode, UserFuncName, Value};
use regraft_outliner::{
    Interface, Outlined, check_outlined, extract_continuation, outline, prune_function,
};
use regraft_regions::{Flow, Liveness, LoopForest, Region, RegionKind};
use std::borrow::Cow;

/// Bytes at the end of a case that choose the region.
const REGION_BYTES: usize = 48;

struct Case {
    program: Program,
    region: Region,
    outlined: Outlined,
    sabotage: Option<Sabotage>,
    stats: Stats,
}

/// Draws program and region, and outlines it. What is not to run need not end. `None` if the draw gave no region.
fn draw(bytes: &[u8], sabotage: Option<Sabotage>, runs: bool) -> Result<Option<Case>, String> {
    let (rest, region_bytes) = bytes.split_at(bytes.len() - bytes.len().min(REGION_BYTES));
    let mut source = Source::new(rest);
    let program = match runs || bytes.len().is_multiple_of(2) {
        true => Program::draw(&mut source),
        false => Program::draw_endless(&mut source),
    };
    let source = program.main();
    let flow = Flow::compute(source).map_err(|error| error.to_string())?;
    let loops = LoopForest::compute(source, &flow);
    let Some(region) = random_region(&mut Source::new(region_bytes), source, &flow, &loops) else {
        return Ok(None);
    };
    let outlined = outline(source, &region);
    let mut outlined = outlined.map_err(|error| {
        let text = describe(&program, &region);
        format!("a legal region is not outlined: {error}\n{text}")
    })?;
    let mut stats = Stats {
        cases: 1,
        regions: 1,
        side_exits: region.side_exits().len(),
        ..Stats::default()
    };
    if let Some(sabotage) = sabotage {
        stats.sabotaged = usize::from(sabotage.spoil(&mut outlined.function, true));
    }
    let case = Case {
        program,
        region,
        outlined,
        sabotage,
        stats,
    };
    case.verify()?;
    Ok(Some(case))
}

fn describe(program: &Program, region: &Region) -> String {
    let names = |blocks: &regraft_regions::BlockSet| {
        let names: Vec<String> = blocks.iter().map(|block| block.to_string()).collect();
        names.join(" ")
    };
    let clif = program.to_clif();
    let (scope, hot) = (names(region.scope()), names(region.blocks()));
    format!(
        "; region at {}\n; scope {scope}\n; hot   {hot}\n{clif}",
        region.entry()
    )
}

impl Case {
    fn describe(&self, what: &str) -> String {
        let mut text = format!("{what}\n{}", describe(&self.program, &self.region));
        text += &format!("; outlined\n{}\n", self.outlined.function);
        for continuation in &self.outlined.continuations {
            text += &format!("; continuation\n{continuation}\n");
        }
        text + &format!("; residual\n{}\n", self.outlined.residual)
    }

    fn verify(&self) -> Result<(), String> {
        let outlined = &self.outlined;
        let functions = [&outlined.function, &outlined.residual].into_iter();
        for function in functions.chain(&outlined.continuations) {
            verify(function).map_err(|error| self.describe(&error))?;
        }
        Ok(())
    }

    /// Runs the source and what was made of it.
    fn compare(&mut self, what: &str, functions: &[Function]) -> Result<(), String> {
        let host = Host::new();
        let program = &self.program;
        let failed = |error: String| self.describe(&format!("{what}: {error}"));
        let plain = Plain::compile(&program.functions, MAIN, &host).map_err(failed)?;
        if self.sabotage.is_some_and(Sabotage::is_wild) {
            return self.compare_interpreted(what, functions);
        }
        let made = Plain::compile(functions, MAIN, &host).map_err(failed)?;
        for args in &program.inputs {
            let expected = plain.run(&host, args);
            let got = made.run(&host, args);
            self.stats.calls += 1;
            if let Some(difference) = got.difference(&expected) {
                let text = format!("{what}: {difference}\n; arguments {args:?}");
                return Err(self.describe(&text));
            }
            // The interpreter runs the parts, too: it knows nothing of calling conventions.
            if program.interpretable
                && let Some(got) = interpreter::interpret(functions, MAIN, &host, args)
            {
                self.stats.interpreted += 1;
                if let Some(difference) = got.difference(&expected) {
                    let text = format!("{what}, interpreted: {difference}\n; arguments {args:?}");
                    return Err(self.describe(&text));
                }
            }
        }
        Ok(())
    }

    /// As `compare`, for what is too dangerous to run.
    fn compare_interpreted(&mut self, what: &str, functions: &[Function]) -> Result<(), String> {
        let host = Host::new();
        let program = &self.program;
        if !program.interpretable {
            self.stats.sabotaged = 0;
            return Ok(());
        }
        for args in &program.inputs {
            let run = |functions| interpreter::interpret(functions, MAIN, &host, args);
            let Some(expected) = run(&program.functions) else {
                continue;
            };
            self.stats.interpreted += 1;
            let difference = match run(functions) {
                Some(got) => got.difference(&expected),
                None => Some("no end, or a trap".to_string()),
            };
            if let Some(difference) = difference {
                return Err(self.describe(&format!("{what}, interpreted: {difference}")));
            }
        }
        Ok(())
    }

    /// The program with another function under test, and more functions.
    fn with(&self, main: Function, more: impl IntoIterator<Item = Function>) -> Vec<Function> {
        let helpers = self.program.functions.len() - 1;
        let mut functions = self.program.functions[..helpers].to_vec();
        functions.push(main);
        functions.extend(more);
        functions
    }
}

fn verify(function: &Function) -> Result<(), String> {
    cranelift_codegen::verify_function(function, &*isa())
        .map_err(|errors| format!("{errors}\n{function}"))
}

/// What is outlined verifies and passes the symbolic checker.
///
/// # Errors
///
/// What the verifier or the checker says, and the CLIF.
pub fn check_symbolically(bytes: &[u8], sabotage: Option<Sabotage>) -> Result<Stats, String> {
    let Some(case) = draw(bytes, sabotage, false)? else {
        return Ok(Stats::SKIPPED);
    };
    let checked = check_outlined(case.program.main(), &case.region, &case.outlined);
    checked.map_err(|error| case.describe(&format!("the checker refuses: {error}")))?;
    Ok(case.stats)
}

/// Residual, region and continuations, compiled apart, do together what the source does; so does a pruned
/// function with its continuations.
///
/// # Errors
///
/// The first difference, and the CLIF.
pub fn check_by_running(bytes: &[u8], sabotage: Option<Sabotage>) -> Result<Stats, String> {
    let Some(mut case) = draw(bytes, sabotage, true)? else {
        return Ok(Stats::SKIPPED);
    };
    let outlined = case.outlined.clone();
    let parts = outlined
        .continuations
        .into_iter()
        .chain([outlined.function]);
    let functions = case.with(outlined.residual, parts);
    case.compare("outlined", &functions)?;
    if case.region.kind() == RegionKind::Function && sabotage.is_none() {
        let functions = prune(&case)?;
        case.compare("pruned", &functions)?;
    }
    Ok(case.stats)
}

fn prune(case: &Case) -> Result<Vec<Function>, String> {
    let source = case.program.main();
    let text = |error: String| case.describe(&format!("pruning: {error}"));
    let flow = Flow::compute(source).map_err(|error| text(error.to_string()))?;
    let liveness = Liveness::compute(source, &flow);
    let region = &case.region;
    let interface = Interface::compute(source, &flow, &liveness, region);
    let interface = interface.map_err(|error| text(error.to_string()))?;
    let pruned = prune_function(source, &flow, &liveness, region, &interface);
    let pruned = pruned.map_err(|error| text(error.to_string()))?.function;
    verify(&pruned).map_err(text)?;
    let mut continuations = vec![];
    for side_exit in region.side_exits() {
        let continuation = extract_continuation(
            source,
            &flow,
            &liveness,
            region,
            &interface,
            side_exit.number,
        );
        let continuation = continuation
            .map_err(|error| text(error.to_string()))?
            .function;
        verify(&continuation).map_err(text)?;
        continuations.push(continuation);
    }
    Ok(case.with(pruned, continuations))
}

/// The residual with the region inlined again by Cranelift's own inliner does what the source does.
///
/// # Errors
///
/// The first difference, and the CLIF.
pub fn check_round_trip(bytes: &[u8], sabotage: Option<Sabotage>) -> Result<Stats, String> {
    let Some(mut case) = draw(bytes, sabotage, true)? else {
        return Ok(Stats::SKIPPED);
    };
    let outlined = case.outlined.clone();
    let mut context = Context::for_function(outlined.residual);
    let inlined = context.inline(InlineRegion(&outlined.function));
    let inlined = inlined.map_err(|error| case.describe(&format!("inlining: {error}")))?;
    if !inlined {
        return Err(case.describe("the residual does not call the region"));
    }
    verify(&context.func).map_err(|error| case.describe(&format!("inlined: {error}")))?;
    let parts = outlined
        .continuations
        .into_iter()
        .chain([outlined.function]);
    let functions = case.with(context.func, parts);
    case.compare("inlined again", &functions)?;
    Ok(case.stats)
}

/// Inlines the one region, once.
struct InlineRegion<'a>(&'a Function);

impl Inline for InlineRegion<'_> {
    fn inline(
        &mut self,
        caller: &Function,
        _call: Inst,
        _opcode: Opcode,
        callee: FuncRef,
        _args: &[Value],
    ) -> InlineCommand<'_> {
        match (&caller.dfg.ext_funcs[callee].name, &self.0.name) {
            (ExternalName::TestCase(called), UserFuncName::Testcase(region))
                if called == region =>
            {
                InlineCommand::Inline {
                    callee: Cow::Borrowed(self.0),
                    visit_callee: false,
                }
            }
            _ => InlineCommand::KeepCall,
        }
    }
}
