//! Large functions: nothing recurses to the depth of the input, nothing takes quadratic time or memory; what is over a
//! limit is refused with its reason, and runs as before.
//!
//! Test threads have 2 MiB of stack. Times are bounded generously: what is quadratic takes minutes here.

use crate::cli::{Scratch, run};
use crate::tiering::eager_to_tier;
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::Function;
use regraft::config::ArenaConfig;
use regraft::regions::Policy;
use regraft::report::FunctionReport;
use regraft::report::PartState;
use regraft::{Config, Engine, Mode};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// What defining and reporting one of these functions may take, in a build without much optimisation.
const LIMIT: Duration = Duration::from_secs(20);

/// Adds lines to CLIF text.
macro_rules! line {
    ($clif:expr, $($arg:tt)*) => { writeln!($clif, $($arg)*).expect("a string") };
}

fn parse(clif: &str) -> Function {
    let functions = cranelift_reader::parse_functions(clif);
    functions.expect("valid CLIF").remove(0)
}

fn config() -> Config {
    eager_to_tier(1000).check(false).arena(ArenaConfig {
        code_bytes: 512 << 20,
        data_bytes: 64 << 20,
    })
}

fn report(engine: &Engine) -> FunctionReport {
    let mut report = engine.report();
    report.functions.pop().expect("the function").1
}

/// Defines, and says how long that took.
fn define(what: &str, config: Config, clif: &str) -> Engine {
    let func = parse(clif);
    let blocks = func.layout.blocks().count();
    let engine = Engine::new(config).expect("an engine");
    let start = Instant::now();
    engine.define_function(func).expect("it can be defined");
    let defined = start.elapsed();
    let start = Instant::now();
    let function = report(&engine);
    let reported = start.elapsed();
    let hooked = function
        .regions
        .iter()
        .filter(|region| region.part.state != PartState::Refused);
    let hooked = hooked.count();
    let loops = function.regions.len();
    println!(
        "{what}: {blocks} blocks, {loops} loops, {hooked} hooked: defined in {defined:.2?}, reported in {reported:.2?}"
    );
    assert!(
        defined + reported < LIMIT,
        "{what}: {defined:.2?}, {reported:.2?}"
    );
    engine
}

fn call(engine: &Engine, name: &str, arg: i64) -> String {
    let id = engine.lookup(name).expect("it is defined");
    // SAFETY: these functions touch no memory.
    let results = unsafe { engine.call(id, &[DataValue::I64(arg)]) };
    format!("{:?}", results.expect("it returns"))
}

/// `depth` loops, each in the next. All run once but the innermost, which counts up to the argument.
fn nest(depth: usize) -> String {
    let mut clif = "function %nest(i64) -> i64 system_v {\nblock0(v0: i64):\n".to_string();
    line!(
        clif,
        " v1 = iconst.i64 0\n v2 = iconst.i64 1\n jump block1(v1)"
    );
    // Headers are block1 to block{depth}; the latch of header n is block{depth + n}.
    let end = 2 * depth + 1;
    let v = |block: usize| 10 + 4 * block;
    let after = |level: usize| if level == 1 { end } else { depth + level - 1 };
    for level in 1..depth {
        line!(
            clif,
            "block{level}(v{0}: i64):\n jump block{1}(v{0})",
            v(level),
            level + 1
        );
    }
    let (count, next, more, out) = (v(depth), v(depth) + 1, v(depth) + 2, after(depth));
    line!(
        clif,
        "block{depth}(v{count}: i64):\n v{next} = iadd v{count}, v2"
    );
    line!(
        clif,
        " v{more} = icmp ult v{next}, v0\n brif v{more}, block{depth}(v{next}), block{out}(v{next})"
    );
    for level in (1..depth).rev() {
        let (latch, count, out) = (depth + level, v(depth + level), after(level));
        let more = count + 1;
        line!(
            clif,
            "block{latch}(v{count}: i64):\n v{more} = icmp ult v{count}, v0"
        );
        line!(
            clif,
            " brif v{more}, block{level}(v{count}), block{out}(v{count})"
        );
    }
    line!(clif, "block{end}(v{0}: i64):\n return v{0}\n}}", v(end));
    clif
}

/// `count` loops of four blocks in a row, and in one loop if `around`.
fn siblings(count: usize, around: bool) -> String {
    let mut clif = "function %siblings(i64) -> i64 system_v {\nblock0(v0: i64):\n".to_string();
    line!(
        clif,
        " v1 = iconst.i64 0\n v2 = iconst.i64 1\n jump block1(v1, v1)"
    );
    for index in 0..count {
        let (block, i) = (1 + 4 * index, 10 + 10 * index);
        let (odd, even, latch, next) = (block + 1, block + 2, block + 3, block + 4);
        let (sum, bit, added, mixed, merged, step, more) =
            (i + 1, i + 2, i + 3, i + 4, i + 5, i + 6, i + 7);
        line!(
            clif,
            "block{block}(v{i}: i64, v{sum}: i64):\n v{bit} = band v{i}, v2"
        );
        line!(clif, " brif v{bit}, block{odd}, block{even}");
        line!(
            clif,
            "block{odd}:\n v{added} = iadd v{sum}, v{i}\n jump block{latch}(v{added})"
        );
        line!(
            clif,
            "block{even}:\n v{mixed} = bxor v{sum}, v{i}\n jump block{latch}(v{mixed})"
        );
        line!(
            clif,
            "block{latch}(v{merged}: i64):\n v{step} = iadd v{i}, v2"
        );
        line!(clif, " v{more} = icmp ult v{step}, v0");
        line!(
            clif,
            " brif v{more}, block{block}(v{step}, v{merged}), block{next}(v1, v{merged})"
        );
    }
    let (block, i) = (1 + 4 * count, 10 + 10 * count);
    let (sum, again, out, end) = (i + 1, i + 2, block + 1, block + 2);
    line!(clif, "block{block}(v{i}: i64, v{sum}: i64):");
    if around {
        line!(
            clif,
            " v{again} = icmp eq v{sum}, v1\n brif v{again}, block1(v1, v{sum}), block{out}"
        );
        line!(clif, "block{out}:\n jump block{end}\nblock{end}:");
    }
    line!(clif, " return v{sum}\n}}");
    clif
}

/// The result of [`siblings`].
fn siblings_model(count: usize, n: i64) -> String {
    let step = |sum: i64, i: i64| if i & 1 == 1 { sum + i } else { sum ^ i };
    let sum = (0..count).fold(0, |sum, _| (0..n).fold(sum, step));
    format!("[I64({sum})]")
}

#[test]
fn a_hundred_thousand_blocks() {
    let count = 24_999;
    let engine = define("100,000 blocks", config(), &siblings(count, true));
    // The single-pass allocator gives every value a place in the frame.
    let run = std::thread::Builder::new().stack_size(64 << 20);
    let run = run
        .spawn(move || call(&engine, "siblings", 3))
        .expect("a thread");
    assert_eq!(run.join().expect("no panic"), siblings_model(count, 3));
}

#[test]
fn ten_thousand_sibling_loops() {
    let engine = define("10,000 siblings", config(), &siblings(10_000, false));
    let run = std::thread::Builder::new().stack_size(64 << 20);
    let run = run
        .spawn(move || call(&engine, "siblings", 3))
        .expect("a thread");
    assert_eq!(run.join().expect("no panic"), siblings_model(10_000, 3));
}

/// Only the inner levels have hooks; the others say why not, and the innermost gets hot and is entered.
#[test]
fn ten_thousand_nested_loops() {
    let engine = define("10,000 nested", config(), &nest(10_000));
    assert_eq!(call(&engine, "nest", 5000), "[I64(5000)]");
    let function = report(&engine);
    let (deep, hooked) = function.regions.split_at(10_000 - 64);
    for region in deep {
        assert_eq!(
            (region.part.state.as_str(), &*region.part.reason_code),
            ("refused", "too-deep")
        );
        assert_eq!(region.blocks.len(), 1);
    }
    assert!(
        hooked
            .iter()
            .all(|region| region.part.state != PartState::Refused)
    );
    let innermost = &hooked[63];
    assert_eq!(
        (innermost.part.state.as_str(), innermost.entries),
        ("published", 1)
    );
}

/// `regraft regions` lists blocks in proportion to the file, and shows what has no hook as refused.
#[test]
fn the_command_shows_nests_in_proportion() {
    const DEPTH: usize = 2000;
    let file = Scratch::new("nest.clif", &nest(DEPTH));
    let ran = run(&["regions", "--json", file.path()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let regions: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let loops = regions["functions"]["nest"]["loops"].as_array();
    let loops = loops.expect("the loops");
    assert_eq!(loops.len(), DEPTH);
    let lists = ["blocks", "hot_blocks", "latches"].map(|list| {
        let listed = loops.iter().map(|one| one[list].as_array());
        listed.map(|list| list.map_or(0, Vec::len)).sum::<usize>()
    });
    let hooked = 64;
    assert!(
        lists
            .iter()
            .all(|&listed| listed <= 2 * hooked * hooked + DEPTH),
        "{lists:?}"
    );
    let deep = loops.iter().filter(|one| one["reason_code"] == "too-deep");
    assert_eq!(deep.count(), DEPTH - hooked);
}

/// A region over the size limit: its unit keeps what it has, and the report says why.
#[test]
fn a_region_over_the_size_limit_stays_at_tier_0() {
    let policy = Policy {
        max_region_instructions: 4,
        ..Policy::default()
    };
    let config = config().policy(policy);
    let engine = define("over the size limit", config, &siblings(1, false));
    for _ in 0..2000 {
        assert_eq!(call(&engine, "siblings", 100), siblings_model(1, 100));
    }
    let function = report(&engine);
    let region = &function.regions[0];
    assert_eq!(
        (region.part.decision.as_str(), region.part.state.as_str()),
        ("skip", "skipped")
    );
    assert_eq!(
        region.part.reason,
        "it has 9 instructions, and the limit is 4"
    );
    assert_eq!(function.whole_function.state, PartState::Skipped);
    assert_eq!((function.tier, function.versions.len()), (Some(0), 1));
    assert!(region.versions.is_empty() && region.entries == 0);
}

const TYPES: [&str; 6] = ["i64", "f64", "i32", "i128", "f32", "i8x16"];

/// A loop with `live_ins` values of mixed types in, and `live_outs` out by each of two exits.
fn wide(live_ins: usize, live_outs: usize) -> String {
    let mut clif =
        "function %wide(i64) -> i64 system_v {\n ss0 = explicit_slot 16\n ss1 = explicit_slot 16\n"
            .to_string();
    line!(
        clif,
        "block0(v0: i64):\n v1 = stack_addr.i64 ss0\n v2 = iconst.i64 1\n v3 = iconst.i64 0"
    );
    line!(clif, " v4 = stack_addr.i64 ss1");
    let ty = |index: usize| TYPES[index % TYPES.len()];
    let ins = |index: usize| 100 + 3 * index;
    let outs = |index: usize| 100 + 3 * live_ins + 3 * index;
    for index in 0..live_ins {
        let v = ins(index);
        line!(
            clif,
            " v{0} = iconst.i64 {index}\n v{1} = iadd v0, v{0}\n store v{1}, v1\n store v{1}, v1+8",
            v + 1,
            v + 2
        );
        line!(clif, " v{v} = load.{} v1", ty(index));
    }
    line!(
        clif,
        " jump block1(v3)\nblock1(v5: i64):\n store v5, v4\n store v0, v4+8\n v6 = iadd v5, v2"
    );
    for index in 0..live_ins {
        line!(clif, " store v{}, v1", ins(index));
    }
    for index in 0..live_outs {
        let v = outs(index);
        line!(
            clif,
            " v{0} = iconst.i64 {index}\n v{1} = iadd v6, v{0}\n store v{1}, v4\n v{v} = load.{2} v4",
            v + 1,
            v + 2,
            ty(index)
        );
    }
    line!(
        clif,
        " v7 = load.i64 v1\n v8 = icmp eq v7, v6\n brif v8, block3, block2"
    );
    line!(
        clif,
        "block2:\n v9 = icmp ult v6, v0\n brif v9, block1(v6), block3\nblock3:"
    );
    // Each value is folded into the slot.
    line!(clif, " store v3, v4\n store v3, v4+8\n v10 = iconst.i64 5");
    let mut sum = 10;
    for index in 0..live_outs {
        let (byte, mixed, next) = (20_000 + 4 * index, 20_001 + 4 * index, 20_002 + 4 * index);
        line!(clif, " store v{}, v4\n v{byte} = load.i64 v4", outs(index));
        line!(
            clif,
            " v{mixed} = rotl v{sum}, v2\n v{next} = bxor v{mixed}, v{byte}"
        );
        sum = next;
    }
    line!(clif, " return v{sum}\n}}");
    clif
}

#[test]
fn hundreds_of_live_ins_and_live_outs() {
    let clif = wide(400, 300);
    let eager = config().mode(Mode::Eager);
    let eager = define("eager", eager, &clif);
    for threshold in [1, 50] {
        let config = eager_to_tier(threshold).check(true);
        let engine = define("400 in, 300 out", config, &clif);
        for n in [100, 99, 7, 1] {
            assert_eq!(call(&engine, "wide", n), call(&eager, "wide", n));
        }
        let function = report(&engine);
        let region = &function.regions[0];
        assert!(region.live_ins.len() >= 400, "{}", region.live_ins.len());
        assert_eq!(region.live_outs.len(), 300);
        assert!(region.entries > 0, "{:?}", region.part);
    }
}

/// Over the limits of the interface: too many values, and too many over all exits.
#[test]
fn an_interface_over_its_limits_is_refused() {
    let check = |what, name: &str, clif: &str, expected: &str| {
        let engine = define(what, config(), clif);
        assert_eq!(call(&engine, name, 2000), expected);
        let region = &report(&engine).regions[0].part;
        assert_eq!(
            (region.state.as_str(), &*region.reason_code),
            ("refused", "interface-too-large")
        );
        println!("{what}: {}", region.reason);
    };
    let clif = wide(4200, 2);
    let eager = config().mode(Mode::Eager);
    let eager = define("eager", eager, &clif);
    check("4,200 in", "wide", &clif, &call(&eager, "wide", 2000));
    check(
        "2,000 exits with 600 values",
        "exits",
        &exits(2000, 600),
        "[I64(2000)]",
    );
}

/// A loop with `exits` exits, by each of which `live` values leave.
fn exits(exits: usize, live: usize) -> String {
    let mut clif = "function %exits(i64) -> i64 system_v {\nblock0(v0: i64):\n".to_string();
    line!(
        clif,
        " v1 = iconst.i64 0\n v2 = iconst.i64 1\n v3 = iconst.i64 {exits}\n jump block1(v1)"
    );
    line!(
        clif,
        "block1(v4: i64):\n v5 = iadd v4, v2\n v6 = icmp ult v5, v0\n v7 = select v6, v3, v4"
    );
    for value in 0..live {
        line!(
            clif,
            " v{} = iadd v{}, v2",
            11 + value,
            if value == 0 { 5 } else { 10 + value }
        );
    }
    let table = vec!["block3"; exits].join(", ");
    line!(
        clif,
        " v8 = ireduce.i32 v7\n br_table v8, block2, [{table}]"
    );
    line!(
        clif,
        "block2:\n brif v6, block1(v5), block3\nblock3:\n v9 = isub v5, v1"
    );
    for value in 0..live {
        let (sum, from) = (2000 + value, if value == 0 { 9 } else { 1999 + value });
        line!(clif, " v{sum} = bxor v{from}, v{}", 11 + value);
    }
    line!(clif, " return v9\n}}");
    clif
}
