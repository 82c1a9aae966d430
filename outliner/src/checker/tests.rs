//! The checker accepts what the outliner makes, and nothing else.

mod cases;
mod excuse;
mod mutate;
mod named;
mod random;

use super::*;
use crate::outline;
use cases::{CLIF, Random, parse, regions};
use excuse::{Subject, excuse, facts};
use mutate::{is_legal, mutants};
use random::Shape;

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

/// The same for random functions.
#[test]
fn accepts_what_the_outliner_makes_of_random_functions() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for seed in 0..150 {
        let (blocks, variables) = (4 + random.below(20), 2 + random.below(6));
        let func = random::function(&mut random, blocks, variables, Shape::Tangle);
        assert!(is_legal(&func), "{seed}\n{func}");
        for region in regions(&func, 2, &mut random) {
            let outlined = outline(&func, &region).expect("the region outlines");
            if let Err(error) = check_outlined(&func, &region, &outlined) {
                let (entry, hot) = (region.entry(), region.blocks());
                panic!("{seed} {entry} {hot:?}: {error}\n{func}\n{outlined:#?}");
            }
        }
    }
}

/// Every mutant of every function is rejected, or does what the original does.
#[test]
fn rejects_sabotage() {
    let mut random = Random(99);
    let functions = CLIF.iter().flat_map(|(_, clif)| parse(clif));
    let mut functions: Vec<Function> = functions.collect();
    functions.extend((0..6).map(|_| random::function(&mut random, 7, 4, Shape::Tangle)));
    let mut counts = Counts::default();
    for func in &functions {
        let regions = regions(func, 8, &mut Random(7));
        for region in regions.iter().step_by(1 + regions.len() / 8) {
            let outlined = outline(func, region).expect("the region outlines");
            for part in 0..2 + outlined.continuations.len() {
                sabotage_part(func, region, &outlined, part, &mut counts);
            }
        }
    }
    let Counts {
        rejected,
        excused,
        survivors,
    } = counts;
    let survived = survivors.len();
    println!("{rejected} rejected, {excused} excused, {survived} survived");
    assert!(survivors.is_empty(), "{}", survivors.join("\n"));
    assert!(rejected > 30_000 && excused < rejected / 20);
}

#[derive(Default)]
struct Counts {
    rejected: usize,
    excused: usize,
    survivors: Vec<String>,
}

/// Tries all mutants of one function of an outlining.
fn sabotage_part(
    func: &Function,
    region: &Region,
    outlined: &Outlined,
    part: usize,
    counts: &mut Counts,
) {
    let original = function(&mut outlined.clone(), part).clone();
    let subject = subject(func, region, outlined, part, &original);
    for mutant in mutants(&original) {
        let mut sabotaged = outlined.clone();
        *function(&mut sabotaged, part) = mutant.func;
        if check_outlined(func, region, &sabotaged).is_err() {
            counts.rejected += 1;
        } else if excuse(&subject, &mutant.mutation).is_some() {
            counts.excused += 1;
        } else {
            let (name, entry, hot) = (&func.name, region.entry(), region.blocks());
            let what = &mutant.mutation;
            let survivor = format!("{name} {entry} {hot:?}: {what:?} in\n{original}");
            counts.survivors.push(survivor);
        }
    }
}

/// The outlined function, the residual, then the continuations.
fn function(outlined: &mut Outlined, part: usize) -> &mut Function {
    match part {
        0 => &mut outlined.function,
        1 => &mut outlined.residual,
        _ => &mut outlined.continuations[part - 2],
    }
}

fn subject<'a>(
    func: &Function,
    region: &Region,
    outlined: &'a Outlined,
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
        facts: facts(&source, interface, original, &params, callee),
    }
}
