//! The checker accepts what the outliner makes, and nothing else.

mod cases;

use crate::{outline};
use super::*;
use cases::{CLIF, Random, parse, regions};

/// Every region of every test function, with random cold blocks.
#[test]
fn accepts_what_the_outliner_makes() {
    let mut checked = 0;
    let mut failures = Vec::new();
    for (name, clif) in CLIF {
        for func in parse(clif) {
            for region in regions(&func, 24, &mut Random(0x9e37_79b9_7f4a_7c15)) {
                let outlined = match outline(&func, &region) {
                    Ok(outlined) => outlined,
                    Err(e) => { failures.push(format!("{name} {}: outline: {e}", region.entry())); continue; }
                };
                checked += 1 + outlined.continuations.len();
                if let Err(error) = check_outlined(&func, &region, &outlined) {
                    failures.push(format!("{name} {} {:?} hot {:?}: {error}\n", region.entry(), region.scope(), region.blocks()));
                }
            }
        }
    }
    println!("{checked} functions");
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}
