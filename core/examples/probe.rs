//! probe
use regraft::{Config, Engine, CompileMode};
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clif = "
function %sum(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1, v1)
block1(v2: i64, v3: i64):
    v4 = iadd v3, v2
    v5 = iconst.i64 1
    v6 = iadd v2, v5
    v7 = icmp ult v6, v0
    brif v7, block1(v6, v4), block2
block2:
    return v4
}";
    for sync in [true, false] {
    let engine = Engine::new(Config{compile: if sync {CompileMode::Synchronous} else {CompileMode::Background}, ..Config::default()})?;
    let function = cranelift_reader::parse_functions(clif)?.remove(0);
    let sum = engine.define_function(function)?;
    let sum = engine.get::<(i64,), i64>(sum)?;
    let t = std::time::Instant::now();
    println!("{} {:?}", unsafe { sum.call((100_000_000,)) }, t.elapsed());
    println!("{}", unsafe { sum.call((100_000,)) });
    println!("{}", engine.report().to_json());
    }
    Ok(())
}
