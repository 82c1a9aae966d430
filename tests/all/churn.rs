//! Eight threads call functions in hot loops, while the functions are redefined, removed, defined anew and formed
//! again.
//!
//! Every result must be that of a definition that was current at some time during the call, and a call of a
//! function that was removed must be an error. `REGRAFT_STRESS_SECONDS` makes it run longer.

use crate::tiering::eager_to_tier;
use cranelift_codegen::ir::Function;
use regraft::{CompileMode, Config, Engine, Error, FuncId, TrapKind, TypedFn};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Threads that call, and threads that change what is called.
const CALLERS: usize = 6;
const CHANGERS: usize = 2;

/// Functions at one time.
const FUNCTIONS: usize = 12;

type Typed = TypedFn<(i64, i64), i64>;

/// One function that is called, redefined and replaced.
struct Target {
    /// The function as it is defined now.
    current: RwLock<(FuncId, Typed)>,
    /// The number of the definition that was last begun, and of the one that was last finished.
    begun: AtomicI64,
    finished: AtomicI64,
    /// How many removals have begun, and how many have been followed by a new definition.
    removing: AtomicI64,
    removed: AtomicI64,
    /// Whoever changes it.
    changing: AtomicBool,
}

/// A loop with a cold block that calls, in a shape that depends on the number of the definition.
///
/// `n` steps add `number`; from step `from` on they go through the cold block, which adds the same.
fn definition(name: &str, number: i64) -> Function {
    let padding: String = (0..number % 7)
        .map(|at| format!("    v{} = imul v{}, v{}\n", 30 + at, 29 + at, 29 + at))
        .collect();
    let clif = format!(
        "function %{name}(i64, i64) -> i64 system_v {{
    fn0 = %identity(i64) -> i64 system_v
block0(v0: i64, v1: i64):
    v2 = iconst.i64 0
    v3 = iconst.i64 {number}
    v29 = iconst.i64 1
    jump block1(v2, v2)
block1(v4: i64, v5: i64):
    v6 = icmp uge v4, v1
    brif v6, block3, block2(v3)
block2(v7: i64):
{padding}    v8 = iadd v5, v7
    v9 = iadd v4, v29
    v10 = icmp ult v9, v0
    brif v10, block1(v9, v8), block4
block3:
    v11 = call fn0(v3)
    jump block2(v11)
block4:
    return v8
}}"
    );
    let functions = cranelift_reader::parse_functions(&clif);
    functions.expect("valid CLIF").remove(0)
}

const IDENTITY: &str = "function %identity(i64) -> i64 system_v {
block0(v0: i64):
    return v0
}";

fn defined(engine: &Engine, name: &str, number: i64) -> (FuncId, Typed) {
    let id = engine
        .define_function(definition(name, number))
        .expect("a good definition");
    (id, engine.get(id).expect("the types agree"))
}

/// Numbers that look random; a generator of one's own per thread.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0 >> 33
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Calls functions and checks what comes back; returns how many calls were made.
fn call(targets: &[Target], random: &mut Random, removed: &AtomicU64) {
    let target = &targets[random.below(targets.len())];
    let oldest = target.finished.load(Ordering::SeqCst);
    let replaced = target.removed.load(Ordering::SeqCst);
    let function = target.current.read().unwrap().1.clone();
    // Now and then the cold block runs hot, and the region is formed again.
    let n = 1 + random.below(400) as i64;
    let from = match random.below(3) {
        0 => n / 2,
        _ => i64::MAX,
    };
    // SAFETY: the code touches no memory but its own frame.
    let result = unsafe { function.try_call((n, from)) };
    let latest = target.begun.load(Ordering::SeqCst);
    match result {
        Ok(sum) => {
            let number = sum / n;
            assert_eq!(sum % n, 0, "half of one definition and half of another");
            assert!(
                (oldest..=latest).contains(&number),
                "definition {number} was not current: {oldest} to {latest}"
            );
        }
        Err(trap) => {
            assert_eq!(trap.kind, TrapKind::Unresolvable, "{trap}");
            let removing = target.removing.load(Ordering::SeqCst);
            assert!(removing > replaced, "nobody removed it: {trap}");
            removed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Redefines a function, or removes it and defines another of its name.
fn change(engine: &Engine, targets: &[Target], random: &mut Random) {
    let index = random.below(targets.len());
    let target = &targets[index];
    if target.changing.swap(true, Ordering::SeqCst) {
        return;
    }
    let number = target.begun.load(Ordering::SeqCst) + 1;
    target.begun.store(number, Ordering::SeqCst);
    let name = format!("f{index}");
    let (id, _) = *target.current.read().unwrap();
    if random.below(4) == 0 {
        target.removing.fetch_add(1, Ordering::SeqCst);
        engine.remove(id).expect("it was defined");
        assert!(matches!(
            engine.remove(id),
            Err(Error::UnknownFunction { .. })
        ));
        let new = defined(engine, &name, number);
        *target.current.write().unwrap() = new;
        target.removed.fetch_add(1, Ordering::SeqCst);
    } else {
        engine
            .redefine(id, definition(&name, number))
            .expect("a good definition");
    }
    target.finished.store(number, Ordering::SeqCst);
    target.changing.store(false, Ordering::SeqCst);
}

fn seconds() -> u64 {
    let seconds = std::env::var("REGRAFT_STRESS_SECONDS");
    seconds.map_or(3, |seconds| seconds.parse().expect("a number of seconds"))
}

#[test]
fn calls_while_everything_changes() {
    let config = Config {
        compile: CompileMode::Background,
        side_exit_threshold: 3,
        workers: 2,
        // The checks have their own tests; here they would be most of the work.
        check: false,
        ..eager_to_tier(40)
    };
    let engine = Engine::new(config).unwrap();
    for function in cranelift_reader::parse_functions(IDENTITY).unwrap() {
        engine.define_function(function).unwrap();
    }
    let targets: Vec<Target> = (0..FUNCTIONS)
        .map(|index| Target {
            current: RwLock::new(defined(&engine, &format!("f{index}"), 1)),
            begun: AtomicI64::new(1),
            finished: AtomicI64::new(1),
            removing: AtomicI64::new(0),
            removed: AtomicI64::new(0),
            changing: AtomicBool::new(false),
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(seconds());
    let (calls, changes, removed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..CALLERS + CHANGERS {
            let (engine, targets) = (&engine, &targets);
            let (calls, changes, removed) = (&calls, &changes, &removed);
            let mut random = Random(thread as u64 + 1);
            scope.spawn(move || {
                while Instant::now() < end {
                    if thread < CALLERS {
                        for _ in 0..100 {
                            call(targets, &mut random, removed);
                        }
                        calls.fetch_add(100, Ordering::Relaxed);
                    } else {
                        change(engine, targets, &mut random);
                        changes.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    engine.wait_idle();
    let memory = engine.memory();
    println!(
        "{calls:?} calls, {changes:?} changes, {removed:?} calls of what was removed; {memory:?}"
    );
    drop(targets);
    for name in (0..FUNCTIONS).map(|index| format!("f{index}")) {
        engine.remove(engine.lookup(&name).unwrap()).unwrap();
    }
    engine.remove(engine.lookup("identity").unwrap()).unwrap();
    engine.wait_idle();
    engine.collect();
    let memory = engine.memory();
    assert_eq!(memory.waiting, 0);
    assert_eq!(
        memory.tiers.map(|tier| (tier.live, tier.retired)),
        [(0, 0); 2]
    );
    assert!(memory.tiers.iter().all(|tier| tier.freed > 0), "{memory:?}");
}
