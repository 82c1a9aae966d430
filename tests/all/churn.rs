//! Eight threads call functions in hot loops, while the functions are redefined, removed, defined anew and formed
//! again.
//!
//! Among what is drawn are side exits that are taken for the first time after a function that their body refers to was
//! removed, calls on small stacks, forks whose child goes on with the same engine, and compilations that fail.
//!
//! Every result must be that of a definition that was current at some time during the call. A trap is an error, but for
//! a call of a function while it is removed, and for a path that calls a helper that was removed since. Nothing else
//! may end in one. `REGRAFT_STRESS_SECONDS` makes it run longer.

use crate::tiering::eager_to_tier;
use cranelift_codegen::ir::Function;
use regraft::config::{Faults, Stage};
use regraft::{CompileMode, Engine, Error, FunctionId, TrapKind, TypedFn};
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    current: RwLock<(FunctionId, Typed)>,
    /// The number of the definition that was last begun, and of the one that was last finished.
    begun: AtomicI64,
    finished: AtomicI64,
    /// How many removals have begun, and how many have been followed by a new definition.
    removing: AtomicI64,
    removed: AtomicI64,
    /// Whoever changes it.
    changing: AtomicBool,
    /// How often the helper had been removed when it was last defined.
    helper: AtomicI64,
}

/// A function that all the others refer to, removed and defined anew now and then.
#[derive(Default)]
struct Helper {
    /// Held while it is exchanged, and shared while others are defined that refer to it.
    exchange: RwLock<()>,
    /// How many removals have begun.
    removals: AtomicI64,
}

impl Helper {
    fn exchange(&self, engine: &Engine) {
        let _exchange = self.exchange.write().unwrap();
        self.removals.fetch_add(1, Ordering::SeqCst);
        let id = engine.lookup("helper").expect("it is defined");
        engine.remove(id).expect("it was defined");
        define_identity(engine, "helper");
    }
}

/// What happened, for the last line of the test.
#[derive(Debug, Default)]
struct Figures {
    calls: AtomicU64,
    changes: AtomicU64,
    /// Calls of what was removed.
    removed: AtomicU64,
    /// Calls of a helper that was removed.
    helpless: AtomicU64,
    small_stacks: AtomicU64,
    forks: AtomicU64,
}

/// A loop with a cold block that calls, in a shape that depends on the number of the definition.
///
/// `n` steps add `number`; from step `from` on they go through the cold block, which adds the same. Where `from` is
/// negative, only step `-from` leaves the hot path, and calls the helper.
fn definition(name: &str, number: i64) -> Function {
    let padding: String = (0..number % 7)
        .map(|at| format!("    v{} = imul v{}, v{}\n", 30 + at, 29 + at, 29 + at))
        .collect();
    let clif = format!(
        "function %{name}(i64, i64) -> i64 system_v {{
    fn0 = %identity(i64) -> i64 system_v
    fn1 = %helper(i64) -> i64 system_v
block0(v0: i64, v1: i64):
    v2 = iconst.i64 0
    v3 = iconst.i64 {number}
    v29 = iconst.i64 1
    jump block1(v2, v2)
block1(v4: i64, v5: i64):
    v6 = icmp uge v4, v1
    brif v6, block3, block5
block5:
    v12 = iadd v4, v1
    brif v12, block2(v3), block6
block2(v7: i64):
{padding}    v8 = iadd v5, v7
    v9 = iadd v4, v29
    v10 = icmp ult v9, v0
    brif v10, block1(v9, v8), block4
block3:
    v11 = call fn0(v3)
    jump block2(v11)
block6:
    v13 = call fn1(v3)
    jump block2(v13)
block4:
    return v8
}}"
    );
    let functions = cranelift_reader::parse_functions(&clif);
    functions.expect("valid CLIF").remove(0)
}

fn define_identity(engine: &Engine, name: &str) {
    let clif =
        format!("function %{name}(i64) -> i64 system_v {{\nblock0(v0: i64):\n    return v0\n}}");
    let functions = cranelift_reader::parse_functions(&clif);
    let function = functions.expect("valid CLIF").remove(0);
    engine.define_function(function).expect("a good definition");
}

fn defined(engine: &Engine, name: &str, number: i64) -> (FunctionId, Typed) {
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

/// Calls a function and checks what comes back.
fn call(targets: &[Target], helper: &Helper, random: &mut Random, figures: &Figures) {
    let target = &targets[random.below(targets.len())];
    let oldest = target.finished.load(Ordering::SeqCst);
    let replaced = target.removed.load(Ordering::SeqCst);
    let helper_then = target.helper.load(Ordering::SeqCst);
    let function = target.current.read().unwrap().1.clone();
    // Now and then the cold block runs hot, and the region is formed again.
    let n = 1 + random.below(400) as i64;
    let from = match random.below(12) {
        0..4 => n / 2,
        4 if n > 1 => -(n / 2),
        _ => i64::MAX,
    };
    // SAFETY: the code touches no memory but its own frame.
    let result = unsafe { function.try_call((n, from)) };
    figures.calls.fetch_add(1, Ordering::Relaxed);
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
            let helper_now = helper.removals.load(Ordering::SeqCst);
            if removing > replaced {
                figures.removed.fetch_add(1, Ordering::Relaxed);
            } else {
                assert!(
                    from < 0,
                    "nobody removed it, and it called no helper: {trap}"
                );
                assert!(
                    helper_now > helper_then,
                    "nobody removed the helper: {trap}"
                );
                figures.helpless.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Calls on a thread whose stack is much smaller than a code generator needs.
fn call_on_a_small_stack(targets: &[Target], helper: &Helper, seed: u64, figures: &Figures) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 10);
        let calls = || {
            let mut random = Random(seed);
            for _ in 0..20 {
                call(targets, helper, &mut random, figures);
            }
        };
        thread.spawn_scoped(scope, calls).expect("a thread");
    });
    figures.small_stacks.fetch_add(1, Ordering::Relaxed);
}

/// How long a forked child may take.
const CHILD_SECONDS: u32 = 120;

/// Forks while everything runs: the child, alone in its process, calls what there is, defines something and calls that.
fn fork(engine: &Engine, targets: &[Target], helper: &Helper, figures: &Figures) {
    // SAFETY: the child only uses the engine, whose promise this is, and locks that it tries.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no child");
    if child == 0 {
        // SAFETY: no preconditions. A child that hangs is a failure.
        unsafe { libc::alarm(CHILD_SECONDS) };
        let failed = catch_unwind(AssertUnwindSafe(|| in_child(engine, targets, helper))).is_err();
        // SAFETY: nothing of the parent's runs in the child.
        unsafe { libc::_exit(failed.into()) };
    }
    let mut status = 0;
    // SAFETY: `status` is an integer.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(
        (waited, status),
        (child, 0),
        "the child exits with an error, or is killed"
    );
    figures.forks.fetch_add(1, Ordering::Relaxed);
}

fn in_child(engine: &Engine, targets: &[Target], helper: &Helper) {
    for (index, target) in targets.iter().enumerate() {
        // Threads that are not here have left it locked, or half changed.
        let Ok(current) = target.current.try_read() else {
            continue;
        };
        let (id, function) = &*current;
        if target.changing.load(Ordering::SeqCst) {
            continue;
        }
        let (n, number) = (200, target.finished.load(Ordering::SeqCst));
        for from in [i64::MAX, n / 2] {
            // SAFETY: the code touches no memory but its own frame.
            let sum = unsafe { function.try_call((n, from)) };
            assert_eq!(sum, Ok(n * number));
        }
        if helper.exchange.try_read().is_ok() && index % 4 == 0 {
            let number = number + 1;
            let new = definition(&format!("f{index}"), number);
            engine.redefine(*id, new).expect("a good definition");
            for from in [i64::MAX, n / 2, -7] {
                // SAFETY: as above.
                let sum = unsafe { function.try_call((n, from)) };
                assert_eq!(sum, Ok(n * number));
            }
        }
    }
}

/// Redefines a function, or removes it and defines another of its name.
fn change(engine: &Engine, targets: &[Target], helper: &Helper, random: &mut Random) {
    if random.below(16) == 0 {
        helper.exchange(engine);
    }
    let index = random.below(targets.len());
    let target = &targets[index];
    if target.changing.swap(true, Ordering::SeqCst) {
        return;
    }
    let shared = helper.exchange.read().unwrap();
    let helper_now = helper.removals.load(Ordering::SeqCst);
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
    target.helper.store(helper_now, Ordering::SeqCst);
    drop(shared);
    target.finished.store(number, Ordering::SeqCst);
    target.changing.store(false, Ordering::SeqCst);
}

fn seconds() -> u64 {
    let seconds = std::env::var("REGRAFT_STRESS_SECONDS");
    seconds.map_or(3, |seconds| seconds.parse().expect("a number of seconds"))
}

/// One in eight attempts at tier 1 fails, in one stage or another.
fn failures() -> Faults {
    let attempts = AtomicU64::new(0);
    Faults::new(move |stage, _| {
        let may_fail = matches!(stage, Stage::Codegen(1) | Stage::Link(1) | Stage::Job);
        may_fail && attempts.fetch_add(1, Ordering::Relaxed).is_multiple_of(8)
    })
}

#[test]
fn calls_while_everything_changes() {
    let config = eager_to_tier(40)
        .compile(CompileMode::Background)
        .side_exit_threshold(3)
        .workers(2) // The checks have their own tests; here they would be most of the work.
        .check(false)
        .faults(Some(failures()));
    let engine = Engine::new(config).unwrap();
    define_identity(&engine, "identity");
    define_identity(&engine, "helper");
    let helper = Helper::default();
    let targets: Vec<Target> = (0..FUNCTIONS)
        .map(|index| Target {
            current: RwLock::new(defined(&engine, &format!("f{index}"), 1)),
            begun: AtomicI64::new(1),
            finished: AtomicI64::new(1),
            removing: AtomicI64::new(0),
            removed: AtomicI64::new(0),
            changing: AtomicBool::new(false),
            helper: AtomicI64::new(0),
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(seconds());
    let figures = Figures::default();
    std::thread::scope(|scope| {
        for thread in 0..CALLERS + CHANGERS {
            let (engine, targets, helper, figures) = (&engine, &targets, &helper, &figures);
            let mut random = Random(thread as u64 + 1);
            scope.spawn(move || {
                while Instant::now() < end {
                    if thread < CALLERS {
                        for _ in 0..100 {
                            call(targets, helper, &mut random, figures);
                        }
                        if random.below(500) == 0 {
                            call_on_a_small_stack(targets, helper, random.next(), figures);
                        }
                    } else {
                        change(engine, targets, helper, &mut random);
                        figures.changes.fetch_add(1, Ordering::Relaxed);
                        if random.below(200) == 0 {
                            fork(engine, targets, helper, figures);
                        }
                    }
                }
            });
        }
    });
    engine.wait_idle();
    let memory = engine.memory();
    println!("{figures:?}; {memory:?}");
    drop(targets);
    for name in (0..FUNCTIONS).map(|index| format!("f{index}")) {
        engine.remove(engine.lookup(&name).unwrap()).unwrap();
    }
    for name in ["identity", "helper"] {
        engine.remove(engine.lookup(name).unwrap()).unwrap();
    }
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
