//! Everything at once on functions of 100,000 blocks: none of it may be quadratic, and none may recurse.
//!
//! Tests run on threads with 2 MiB of stack, so recursion to the depth of the input would overflow. Quadratic time
//! or memory would show as minutes or gigabytes.

use cranelift_codegen::ir::Function;

use crate::testing::{deep_nest, random_cfg};
use crate::*;

fn all_analyses(func: &Function) {
    let flow = Flow::compute(func).unwrap();
    let loops = LoopForest::compute(func, &flow);
    let frequencies = estimate(func, &flow, &loops);
    let mut known = Known::default();
    for l in loops.loops() {
        known.block_counted.insert(loops.header(l));
    }
    for mode in [Counting::SpanningTree, Counting::EveryBlock] {
        let placement = place(func, &flow, &frequencies, &known, mode);
        let measured = Measured {
            sites: vec![0; placement.sites.len()],
            ..Measured::default()
        };
        let profile = reconstruct(func, &flow, &placement, &measured);
        assert!(profile.is_exact());
    }
    let profile = frequencies.to_profile(&flow, 1_000);
    let policy = Policy {
        max_region_instructions: usize::MAX,
        ..Policy::default()
    };
    let candidates = survey(func, &flow, &loops, &profile, &policy, &|_| Ok(()));
    assert!(candidates.len() >= loops.len());
    for l in loops.loops().step_by(1 + loops.len() / 4) {
        let region = Region::whole_loop(func, &flow, &loops, l).unwrap();
        assert_eq!(region.blocks().len(), loops.block_count(l));
        let hot = HotEntry::Header(loops.header(l));
        form(func, &flow, &loops, &profile, &policy, hot, &|_| Ok(()));
    }
    let headers: BlockSet = loops.loops().map(|l| loops.header(l)).collect();
    let liveness = Liveness::compute_at(func, &flow, &headers);
    assert!(
        headers
            .iter()
            .all(|header| liveness.live_in(header).len() <= 1)
    );
    let saved = SavedFunction::from_profile(func, &flow, &profile);
    assert_eq!(saved.to_profile(func, &flow), Ok(profile));
    let mut samples = Samples::new();
    samples.add(flow.rpo()[flow.rpo().len() / 2], 3);
    let sampled = from_samples(func, &flow, &loops, &samples, 1_000_000);
    assert!(sampled.entries() > 0);
    let _ = to_dot(func, &flow, &loops, None);
}

#[test]
fn a_deep_nest() {
    all_analyses(&deep_nest(50_000));
}

#[test]
fn a_large_tangle() {
    let func = random_cfg(11, 100_000);
    let flow = Flow::compute(&func).unwrap();
    let loops = LoopForest::compute(&func, &flow);
    assert!(flow.rpo().len() > 50_000 && !loops.is_empty());
    assert!(!loops.irreducible().is_empty());
    all_analyses(&func);
}
