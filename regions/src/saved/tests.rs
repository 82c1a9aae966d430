//! Saved profiles: the round trip, and everything that is refused.

use super::*;
use crate::loops::LoopForest;
use crate::region::Region;
use crate::testing::parse;

const LOOP: &str = "function %f(i32) {
    block0(v0: i32):
        jump block1
    block1:
        brif v0, block1, block2
    block2:
        return
    }";

fn counted() -> (Function, Flow, FunctionProfile) {
    let func = parse(LOOP);
    let flow = Flow::compute(&func).unwrap();
    let mut profile = FunctionProfile::new();
    profile.set_entries(2).set_exact(false);
    for (block, count) in [(0, 2), (1, 9)] {
        profile.set_block(Block::from_u32(block), count);
    }
    for (number, edge) in flow.edges() {
        profile.set_edge(number, u64::from(edge.index) + 1);
    }
    (func, flow, profile)
}

#[test]
fn round_trip() {
    let (func, flow, profile) = counted();
    let mut all = Profile::new();
    let saved = SavedFunction::from_profile(&func, &flow, &profile);
    all.functions.insert("f".to_string(), saved);
    let text = all.to_json();
    let read = Profile::from_json(&text).unwrap();
    assert_eq!(read, all);
    assert_eq!(read.to_json(), text);
    assert_eq!(read.functions["f"].to_profile(&func, &flow), Ok(profile));
}

#[test]
fn hash_ignores_the_name_only() {
    let hash = |text: &str| function_hash(&parse(text));
    assert_eq!(hash(LOOP), hash(&LOOP.replace("%f", "%another_name")));
    assert_ne!(hash(LOOP), hash(&LOOP.replace("i32", "i64")));
    assert_ne!(hash(LOOP), hash(&LOOP.replace("(i32)", "(i32) tail")));
    // Fixed for ever: a change here makes every saved profile stale.
    assert_eq!(format!("{:016x}", hash(LOOP)), "139783811919cd3e");
}

#[test]
fn what_does_not_fit_is_refused() {
    let (func, flow, profile) = counted();
    let saved = SavedFunction::from_profile(&func, &flow, &profile);
    let mut stale = saved.clone();
    stale.hash ^= 1;
    assert!(matches!(
        stale.to_profile(&func, &flow),
        Err(ProfileError::StaleHash { .. })
    ));
    for name in [
        "block7",
        "block01",
        "block+1",
        "b",
        "block4294967295",
        "block99999999999",
    ] {
        let mut edited = saved.clone();
        edited.blocks.insert(name.to_string(), 1);
        let name = name.to_string();
        assert_eq!(
            edited.to_profile(&func, &flow),
            Err(ProfileError::UnknownBlock { name })
        );
    }
    let mut edited = saved;
    edited.edges[0].index = 5;
    assert!(matches!(
        edited.to_profile(&func, &flow),
        Err(ProfileError::UnknownEdge { index: 5, .. })
    ));
}

#[test]
fn malformed_text_is_located() {
    assert!(matches!(
        Profile::from_json("{\"version\": 1,\n \"functions\": 3}"),
        Err(ProfileError::Malformed { line: 2, .. })
    ));
    assert!(matches!(
        Profile::from_json(""),
        Err(ProfileError::Malformed { .. })
    ));
    assert_eq!(
        Profile::from_json("{\"version\": 9, \"anything\": []}"),
        Err(ProfileError::BadVersion {
            found: 9,
            supported: 1
        })
    );
    let short = "{\"version\":1,\"functions\":{\"f\":{\"hash\":\"12\",\"entries\":0,\"blocks\":{},\"edges\":[]}}}";
    let error = Profile::from_json(short).unwrap_err().to_string();
    assert!(error.contains("not 16 hexadecimal digits"), "{error}");
}

#[test]
fn regions_come_back_or_are_refused() {
    let (func, flow, profile) = counted();
    let loops = LoopForest::compute(&func, &flow);
    let the_loop = loops.loops().next().unwrap();
    let of_loop = Region::whole_loop(&func, &flow, &loops, the_loop).unwrap();
    let of_function = Region::pruned(&func, &flow, flow.entry(), flow.rpo(), |_| true).unwrap();
    let mut saved = SavedFunction::from_profile(&func, &flow, &profile);
    saved.regions = vec![
        SavedRegion::from_region(&of_loop),
        SavedRegion::from_region(&of_function),
    ];
    let mut all = Profile::new();
    all.functions.insert("f".to_string(), saved.clone());
    let read = Profile::from_json(&all.to_json()).unwrap();
    assert_eq!(read, all);
    let regions = read.functions["f"].to_regions(&func, &flow, &loops);
    assert_eq!(regions, Ok(vec![of_loop, of_function]));

    let refusal = |entry: &str, blocks: &[&str]| {
        let mut edited = saved.clone();
        edited.regions[0] = SavedRegion {
            entry: entry.to_string(),
            blocks: blocks.iter().map(ToString::to_string).collect(),
        };
        let error = edited.to_regions(&func, &flow, &loops).unwrap_err();
        error.code()
    };
    assert_eq!(refusal("block2", &["block2"]), "no-loop");
    assert_eq!(refusal("block9", &["block9"]), "unknown-block");
    assert_eq!(refusal("block1", &["block1", "block7"]), "unknown-block");
    assert_eq!(refusal("block1", &["block1", "block2"]), "illegal-region");
    assert_eq!(refusal("block1", &[]), "illegal-region");
    saved.hash ^= 1;
    let stale = saved.to_regions(&func, &flow, &loops).unwrap_err();
    assert_eq!(stale.code(), "stale-hash");
}
