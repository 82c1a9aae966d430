//! The checker accepts what the outliner makes, and nothing else.

mod cases;
mod mutate;

use super::*;
use crate::outline;
use cases::{CLIF, Random, parse, regions};
use mutate::{Mutation, is_legal, mutants};

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

/// Every mutant is rejected.
#[test]
fn rejects_sabotage() {
    let (mut killed, mut survived) = (0, 0);
    for (name, clif) in CLIF {
        for func in parse(clif) {
            let regions = regions(&func, 8, &mut Random(7));
            for region in regions.iter().step_by(1 + regions.len() / 8) {
                let outlined = outline(&func, region).expect("the region outlines");
                let mut subjects = vec![("region", outlined.function.clone())];
                subjects.push(("residual", outlined.residual.clone()));
                for c in &outlined.continuations {
                    subjects.push(("continuation", c.clone()));
                }
                for (at, (which, subject)) in subjects.iter().enumerate() {
                    for mutant in mutants(subject) {
                        let mut outlined = outlined.clone();
                        match at {
                            0 => outlined.function = mutant.func.clone(),
                            1 => outlined.residual = mutant.func.clone(),
                            _ => outlined.continuations[at - 2] = mutant.func.clone(),
                        }
                        if check_outlined(&func, region, &outlined).is_err() {
                            killed += 1;
                        } else {
                            survived += 1;
                            let inst = match mutant.mutation {
                                Mutation::Removed(i)
                                | Mutation::Repeated(i)
                                | Mutation::Operand { inst: i, .. }
                                | Mutation::Argument { inst: i, .. }
                                | Mutation::Destination { inst: i, .. }
                                | Mutation::Swapped(i, ..)
                                | Mutation::Changed(i, _) => Some(i),
                                _ => None,
                            };
                            println!(
                                "{name} {} hot {:?} {which}: {:?} {}",
                                region.entry(),
                                region.blocks(),
                                mutant.mutation,
                                inst.map_or(String::new(), |i| subject
                                    .dfg
                                    .display_inst(i)
                                    .to_string())
                            );
                        }
                    }
                }
            }
        }
    }
    println!("{killed} killed, {survived} survived");
}
