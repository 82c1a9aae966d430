//! The checker accepts what the outliner makes, and nothing else.

mod cases;
mod excuse;
mod mutate;

use super::*;
use crate::outline;
use cases::{CLIF, Random, parse, regions};
use excuse::{Subject, addresses, excuse};
use mutate::{is_legal, mutants};

/// Every region of every test function, with random cold blocks.
#[test]
fn accepts_what_the_outliner_makes() {
    let mut failures = Vec::new();
    for (name, clif) in CLIF {
        for func in parse(clif) {
            assert!(is_legal(&func), "{name}");
            for region in regions(&func, 24, &mut Random(0x9e37_79b9_7f4a_7c15)) {
                let outlined = outline(&func, &region).expect("the region outlines");
                let functions = outlined.continuations.iter();
                let functions = functions.chain([&outlined.function, &outlined.residual]);
                for function in functions {
                    assert!(is_legal(function), "{name}\n{function}");
                }
                if let Err(error) = check_outlined(&func, &region, &outlined) {
                    failures.push(format!(
                        "{name} {} {:?} hot {:?}: {error}",
                        region.entry(),
                        region.scope(),
                        region.blocks()
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every mutant of every function is rejected, or does what the original does.
#[test]
fn rejects_sabotage() {
    let (mut killed, mut excused, mut survivors) = (0, 0, Vec::new());
    for (name, clif) in CLIF {
        for func in parse(clif) {
            let regions = regions(&func, 8, &mut Random(7));
            for region in regions.iter().step_by(1 + regions.len() / 8) {
                let outlined = outline(&func, region).expect("the region outlines");
                for part in 0..2 + outlined.continuations.len() {
                    let original = function(&mut outlined.clone(), part).clone();
                    let subject = subject(&func, region, &outlined, part, &original);
                    for mutant in mutants(&original) {
                        let mut sabotaged = outlined.clone();
                        *function(&mut sabotaged, part) = mutant.func;
                        if check_outlined(&func, region, &sabotaged).is_err() {
                            killed += 1;
                        } else if excuse(&subject, &mutant.mutation).is_some() {
                            excused += 1;
                        } else {
                            let (entry, hot) = (region.entry(), region.blocks());
                            let what = &mutant.mutation;
                            let text = subject.func;
                            survivors.push(format!("{name} {entry} {hot:?}: {what:?} in\n{text}"));
                        }
                    }
                }
            }
        }
    }
    println!(
        "{killed} rejected, {excused} excused, {} survived",
        survivors.len()
    );
    assert!(survivors.is_empty(), "{}", survivors.join("\n"));
    assert!(killed > 10_000);
}

/// The outlined function, the residual, then the continuations.
fn function(outlined: &mut crate::Outlined, part: usize) -> &mut Function {
    match part {
        0 => &mut outlined.function,
        1 => &mut outlined.residual,
        _ => &mut outlined.continuations[part - 2],
    }
}

fn subject<'a>(
    func: &Function,
    region: &Region,
    outlined: &'a crate::Outlined,
    part: usize,
    original: &'a Function,
) -> Subject<'a> {
    let source = Source::new(func, region).expect("a region of the function");
    let interface = &outlined.interface;
    let params = match part {
        0 => agreement::param_meanings(&source, interface),
        1 => Ok(Vec::new()),
        _ => {
            let target = region.side_exits()[part - 2].to;
            agreement::continuation_params(&source, interface, target)
        }
    };
    let params = params.expect("an interface of the region");
    let callee = (part == 1).then_some(&outlined.function.name);
    Subject {
        func: original,
        interface,
        callee,
        addresses: addresses(&source, interface, original, &params, callee),
    }
}
