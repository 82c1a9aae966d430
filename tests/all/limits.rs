//! Large functions: nothing recurses to the depth of the input, nothing takes quadratic time or memory.
//!
//! Test threads have 2 MiB of stack. Times are bounded generously: what is quadratic takes minutes here.

use crate::tiering::eager_to_tier;
use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::Function;
use regraft::{ArenaConfig, Config, Engine, Mode, Report};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// What defining one of these functions may take, in a build without much optimisation.
const LIMIT: Duration = Duration::from_secs(20);

fn parse(clif: &str) -> Function {
    cranelift_reader::parse_functions(clif)
        .expect("valid CLIF")
        .remove(0)
}

fn config() -> Config {
    Config {
        check: false,
        arena: ArenaConfig {
            code_bytes: 512 << 20,
            data_bytes: 64 << 20,
        },
        ..eager_to_tier(1000)
    }
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
    let report = engine.report();
    let reported = start.elapsed();
    let function = report.functions.values().next().expect("the function");
    let hooked = function
        .regions
        .iter()
        .filter(|region| region.part.state != "refused");
    println!(
        "{what}: {blocks} blocks, {} loops, {} hooked: defined in {defined:.2?}, reported in {reported:.2?}",
        function.regions.len(),
        hooked.count()
    );
    assert!(
        defined + reported < LIMIT,
        "{what}: {defined:.2?}, {reported:.2?}"
    );
    engine
}

fn call(engine: &Engine, name: &str, args: &[i64]) -> Vec<DataValue> {
    let id = engine.lookup(name).expect("it is defined");
    let args: Vec<DataValue> = args.iter().map(|&arg| DataValue::I64(arg)).collect();
    // SAFETY: these functions touch no memory.
    unsafe { engine.call(id, &args) }.expect("it returns")
}

/// `depth` loops, each in the next; the innermost runs as often as the argument says, the others once.
fn nest(depth: usize) -> String {
    let mut clif = "function %nest(i64) -> i64 system_v {\nblock0(v0: i64):\n v1 = iconst.i64 0\n v2 = iconst.i64 1\n".to_string();
    clif += " jump block1(v1)\n";
    // Headers are block1 to block{depth}, latches follow.
    let latch = |level: usize| depth + level;
    let value = |block: usize| 10 + 4 * block;
    for level in 1..depth {
        let v = value(level);
        writeln!(
            clif,
            "block{level}(v{v}: i64):\n jump block{}(v{v})",
            level + 1
        )
        .expect("a string");
    }
    let v = value(depth);
    let after = |level: usize| match level {
        1 => format!("block{}", 2 * depth + 1),
        _ => format!("block{}", latch(level - 1)),
    };
    writeln!(
        clif,
        "block{depth}(v{v}: i64):\n v{} = iadd v{v}, v2\n v{} = icmp ult v{}, v0\n brif v{}, block{depth}(v{}), {}(v{})",
        v + 1, v + 2, v + 1, v + 2, v + 1, after(depth), v + 1
    )
    .expect("a string");
    for level in (1..depth).rev() {
        let v = value(latch(level));
        writeln!(
            clif,
            "block{}(v{v}: i64):\n v{} = icmp ult v{v}, v0\n brif v{}, block{level}(v{v}), {}(v{v})",
            latch(level), v + 1, v + 1, after(level)
        )
        .expect("a string");
    }
    let v = value(2 * depth + 1);
    writeln!(clif, "block{}(v{v}: i64):\n return v{v}\n}}", 2 * depth + 1).expect("a string");
    clif
}

/// `count` loops in a row, in one loop if `around`, each with two ways through it.
fn siblings(count: usize, around: bool) -> String {
    let mut clif = "function %siblings(i64) -> i64 system_v {\nblock0(v0: i64):\n v1 = iconst.i64 0\n v2 = iconst.i64 1\n jump block1(v1, v1)\n".to_string();
    for index in 0..count {
        let (block, v) = (1 + 4 * index, 10 + 10 * index);
        let next = block + 4;
        writeln!(
            clif,
            "block{block}(v{v}: i64, v{}: i64):\n v{} = band v{v}, v2\n brif v{}, block{}, block{}",
            v + 1,
            v + 2,
            v + 2,
            block + 1,
            block + 2
        )
        .expect("a string");
        writeln!(
            clif,
            "block{}:\n v{} = iadd v{}, v{v}\n jump block{}(v{})",
            block + 1,
            v + 3,
            v + 1,
            block + 3,
            v + 3
        )
        .expect("a string");
        writeln!(
            clif,
            "block{}:\n v{} = bxor v{}, v{v}\n jump block{}(v{})",
            block + 2,
            v + 4,
            v + 1,
            block + 3,
            v + 4
        )
        .expect("a string");
        writeln!(
            clif,
            "block{}(v{}: i64):\n v{} = iadd v{v}, v2\n v{} = icmp ult v{}, v0\n brif v{}, block{block}(v{}, v{}), block{next}(v1, v{})",
            block + 3, v + 5, v + 6, v + 7, v + 6, v + 7, v + 6, v + 5, v + 5
        )
        .expect("a string");
    }
    let (block, v) = (1 + 4 * count, 10 + 10 * count);
    let end = match around {
        true => format!(
            " v{} = icmp eq v{}, v1\n brif v{}, block1(v1, v{}), block{}\nblock{}:\n jump block{}\nblock{}:\n return v{}\n}}",
            v + 2, v + 1, v + 2, v + 1, block + 1, block + 1, block + 2, block + 2, v + 1
        ),
        false => format!(" return v{}\n}}", v + 1),
    };
    writeln!(clif, "block{block}(v{v}: i64, v{}: i64):\n{end}", v + 1).expect("a string");
    clif
}

#[test]
fn a_hundred_thousand_blocks() {
    let engine = define(
        "a hundred thousand blocks",
        config(),
        &siblings(24_999, true),
    );
    println!("{:?}", call(&engine, "siblings", &[3]));
}

#[test]
fn ten_thousand_sibling_loops() {
    let engine = define("siblings", config(), &siblings(10_000, false));
    println!("{:?}", call(&engine, "siblings", &[3]));
}

#[test]
fn ten_thousand_nested_loops() {
    let engine = define("nest", config(), &nest(10_000));
    println!("{:?}", call(&engine, "nest", &[3]));
}

#[test]
fn all_hot() {
    for count in [500, 1000, 2000] {
        let config = Config { loop_threshold: 1, entry_threshold: 1 << 20, ..config() };
        let engine = define("hot siblings", config, &siblings(count, false));
        let start = Instant::now();
        println!("{:?}", call(&engine, "siblings", &[3]));
        let report = engine.report();
        let published = report.functions["siblings"].regions.iter().filter(|r| r.part.state == "published").count();
        let r = &report.functions["siblings"].regions[5].part;
        println!("{count}: {:?} {published} {r:?}", start.elapsed());
    }
}
