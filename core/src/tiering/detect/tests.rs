//! Detectors that are wrong: what is found cold, twice, or not there at all does no harm.

use super::*;
use crate::config::{CompileMode, Config};
use crate::context::Engine;
use cranelift_codegen::ir::Block;
use regraft_regions::FunctionProfile;

const NEST: &str = include_str!("../../../../outliner/testdata/nest.clif");

/// Names whatever it was told to.
struct Saboteur {
    parts: Vec<HotPart>,
    evidence: Evidence,
}

impl Detector for Saboteur {
    fn found_by(&self) -> FoundBy {
        FoundBy::Profile
    }

    fn hot_parts(&self, _tiering: &Tiering) -> Vec<HotPart> {
        self.parts.clone()
    }

    fn evidence(&self, _part: HotPart) -> Evidence {
        self.evidence.clone()
    }
}

fn nest_model(n: i32, m: i32) -> i32 {
    (0..n).fold(0, |sum: i32, i| {
        let m = m.max(1);
        let sum = (0..m).fold(sum, |sum, j| sum.wrapping_add(j.wrapping_mul(i)));
        sum ^ m
    })
}

/// Defines the nest, lets the saboteur speak, and checks results after that.
fn survives(parts: &[HotPart], evidence: &Evidence) -> String {
    let engine = Engine::new(Config::default().compile(CompileMode::Synchronous).check(true))
    .unwrap();
    let func = cranelift_reader::parse_functions(NEST).unwrap().remove(0);
    let id = engine.define_function(func).unwrap();
    let function = engine.inner.function(id).unwrap();
    let body = function.body().unwrap();
    let saboteur = Saboteur {
        parts: parts.to_vec(),
        evidence: evidence.clone(),
    };
    detected(&engine.inner, &function, &body, &saboteur);
    let nest = engine.get::<(i32, i32), i32>(id).unwrap();
    for (n, m) in [(0, 0), (1, 5), (7, 0), (50, 20), (3000, 3)] {
        // SAFETY: the function touches no memory.
        assert_eq!(unsafe { nest.call((n, m)) }, nest_model(n, m), "{parts:?}");
    }
    engine.report().to_json()
}

#[test]
fn parts_that_are_cold_or_not_there() {
    let [outer, inner] = [0, 1].map(HotPart::Loop);
    let nowhere = HotPart::Loop(17);
    let mut wrong = FunctionProfile::new();
    wrong.set_block(Block::from_u32(2), u64::MAX);
    let evidence = [
        Evidence::Current,
        Evidence::Counts(Arc::new(FunctionProfile::new())),
        Evidence::Counts(Arc::new(wrong)),
    ];
    let parts: [&[HotPart]; 6] = [
        &[],
        &[nowhere],
        &[inner, outer, HotPart::Function],
        &[HotPart::Function, outer, inner],
        &[inner, inner, inner],
        &[nowhere, outer, nowhere],
    ];
    for evidence in &evidence {
        for parts in parts {
            let report = survives(parts, evidence);
            assert_eq!(
                report.contains("\"found_by\": \"profile\""),
                parts.len() > 1
            );
        }
    }
}

/// A legal region of the wrong loop, or of nothing but its header.
#[test]
fn regions_that_belong_to_another_part() {
    let func = cranelift_reader::parse_functions(NEST).unwrap().remove(0);
    let flow = regraft_regions::Flow::compute(&func).unwrap();
    let loops = regraft_regions::LoopForest::compute(&func, &flow);
    let whole = Region::pruned(&func, &flow, flow.entry(), flow.rpo(), |_| true).unwrap();
    let entry_only = Region::pruned(&func, &flow, flow.entry(), flow.rpo(), |b| {
        b == flow.entry()
    });
    let mut regions = vec![whole, entry_only.unwrap()];
    for loop_id in loops.loops() {
        let (header, scope) = (loops.header(loop_id), loops.blocks(loop_id));
        regions.push(Region::whole_loop(&func, &flow, &loops, loop_id).unwrap());
        regions.push(Region::pruned(&func, &flow, header, &scope, |b| b == header).unwrap());
    }
    for region in regions {
        for part in [HotPart::Loop(0), HotPart::Loop(1), HotPart::Function] {
            survives(&[part], &Evidence::Region(Box::new(region.clone())));
        }
    }
}
