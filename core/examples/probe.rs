//! probe
use regraft::{CompileMode, Config, Engine};
extern "C" fn host(x: i64) -> i64 {
    x ^ 0x55
}
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clif = "
function %cold(i64, i64, i64) -> i64 system_v {
    fn0 = %host(i64) -> i64 system_v
    ss0 = explicit_slot 8
block0(v0: i64, v1: i64, v20: i64):
    v2 = iconst.i64 0
    jump block1(v2, v2)
block1(v3: i64, v4: i64):
    v5 = urem v3, v1
    v6 = icmp eq v5, v20
    brif v6, block3, block2(v4)
block2(v7: i64):
    v8 = iadd v7, v3
    v9 = iconst.i64 1
    v10 = iadd v3, v9
    v11 = icmp ult v10, v0
    brif v11, block1(v10, v8), block4
block3:
    v12 = call fn0(v4)
    v21 = stack_addr.i64 ss0
    store notrap v12, v21
    jump block2(v12)
block4:
    v13 = iadd v8, v10
    return v13
}";
    for sync in [true, false] {
        let mut last = None;
        for n in [1u64 << 40, 5_000, 100] {
            let engine = Engine::new(Config {
                compile: if sync {
                    CompileMode::Synchronous
                } else {
                    CompileMode::Background
                },
                side_exits: true,
                ..Config::default()
            })?;
            engine.symbol("host", host as *const u8);
            let function = cranelift_reader::parse_functions(clif)?.remove(0);
            let f = engine.define_function(function)?;
            let f = engine.get::<(u64, u64, u64), i64>(f)?;
            let t = std::time::Instant::now();
            let r = unsafe { f.call((3_000_000, n, 4_999.min(n - 1))) };
            let e = Engine::new(Config {
                mode: regraft::Mode::Eager,
                ..Config::default()
            })?;
            e.symbol("host", host as *const u8);
            let g = e.define_function(cranelift_reader::parse_functions(clif)?.remove(0))?;
            let g = e.get::<(u64, u64, u64), i64>(g)?;
            assert_eq!(r, unsafe { g.call((3_000_000, n, 4_999.min(n - 1))) });
            println!("{} {:?}", r, t.elapsed());
            for i in 0..2000 {
                assert_eq!(unsafe { g.call((i, n, 7)) }, unsafe { f.call((i, n, 7)) });
            }
            last = Some(engine);
            if n == 100 {
                println!("{}", last.as_ref().unwrap().report().to_json());
            }
        }
    }
    Ok(())
}
