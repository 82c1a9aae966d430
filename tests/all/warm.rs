//! Warm starts: what a run leaves is loaded by the next, checked, and nothing but time depends on it.

use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{AbiParam, Function, Signature, TrapCode, types};
use regraft::report::WarmStartReport;
use regraft::warm::{Digest, WarmStart};
use regraft::{CompileMode, Config, Engine, Error, FunctionId, Mode, Pacing};
use regraft_wasm::{Imports, Instance, Module, Store, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let process = std::process::id();
        let folder = std::env::temp_dir().join(format!("regraft-warm-{process}-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn start(&self) -> WarmStart {
        let start = WarmStart::new(&self.0, Digest::of(["program"]));
        start.spend(Some(Duration::from_secs(600)))
    }

    fn config(&self) -> Config {
        Config::default().warm_start(Some(self.start())).check(true)
    }

    /// The file whose name ends like this.
    fn file(&self, end: &str) -> PathBuf {
        let entries = std::fs::read_dir(&self.0).expect("it was written");
        let mut paths = entries.map(|entry| entry.expect("readable").path());
        let found = paths.find(|path| path.to_string_lossy().ends_with(end));
        found.unwrap_or_else(|| panic!("there is a file {end}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn warm(engine: &Engine) -> WarmStartReport {
    engine.report().warm_start.expect("there is a place")
}

/// `twice(n)` calls `sum(n)` two times.
const SUM: &str = "
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
}
function %twice(i64) -> i64 system_v {
    fn0 = %sum(i64) -> i64 system_v
    fn1 = %floor(f64) -> f64 system_v
block0(v0: i64):
    v1 = call fn0(v0)
    v2 = call fn0(v0)
    v3 = iadd v1, v2
    v4 = udiv v3, v0
    v5 = imul v4, v0
    return v5
}";

static TRANSLATED: AtomicUsize = AtomicUsize::new(0);

/// Defines the functions of a text lazily, each with a key of its own, and declares what they call.
fn lazily(engine: &Engine, clif: &str, translated: &'static AtomicUsize) -> Vec<FunctionId> {
    if engine.lookup("floor").is_none() {
        let mut floor = Signature::new(engine.isa().default_call_conv());
        floor.params.push(AbiParam::new(types::F64));
        floor.returns.push(AbiParam::new(types::F64));
        engine.declare("floor", &floor).expect("it is new");
    }
    let functions = cranelift_reader::parse_functions(clif).expect("valid CLIF");
    let functions: Vec<(FunctionId, Function)> = functions
        .into_iter()
        .map(|func| {
            let name = func.name.to_string();
            let name = name.trim_start_matches('%');
            (
                engine.declare(name, &func.signature).expect("declared"),
                func,
            )
        })
        .collect();
    let ids = functions.iter().map(|(id, _)| *id).collect();
    for (number, (id, func)) in (0..).zip(functions) {
        let key = Digest::of([clif]).numbered(number);
        let definition = move |_: &Engine| {
            translated.fetch_add(1, Ordering::Relaxed);
            Ok(func)
        };
        let defined = engine.define_lazily_as(id, key, definition);
        defined.expect("it has no definition yet");
    }
    ids
}

fn call(engine: &Engine, id: FunctionId, argument: i64) -> Result<i64, Error> {
    let arguments = [DataValue::I64(argument)];
    // SAFETY: the CLIF of these tests touches no memory.
    let results = unsafe { engine.call(id, &arguments) }?;
    match results[..] {
        [DataValue::I64(result)] => Ok(result),
        _ => panic!("{results:?}"),
    }
}

fn twice_of(n: i64) -> i64 {
    n * (n - 1)
}

/// Neither translated nor compiled: loaded. And code that was loaded is like other code: it traps with a location, is
/// redefined, removed and freed.
#[test]
fn what_a_run_leaves_is_loaded_instead_of_made() {
    let folder = Folder::new("loaded");
    {
        let engine = Engine::new(folder.config()).unwrap();
        let ids = lazily(&engine, SUM, &TRANSLATED);
        assert_eq!(call(&engine, ids[1], 1000).unwrap(), twice_of(1000));
        engine.save_warm_start().unwrap();
        let report = warm(&engine);
        assert_eq!((report.loaded, report.missed, report.kept), (0, 2, 2));
    }
    assert_eq!(TRANSLATED.load(Ordering::Relaxed), 2);
    let engine = Engine::new(folder.config()).unwrap();
    // Numbers are others now.
    let mut other = Signature::new(engine.isa().default_call_conv());
    other.params.push(AbiParam::new(types::I64));
    engine.declare("other", &other).unwrap();
    let ids = lazily(&engine, SUM, &TRANSLATED);
    assert_eq!(call(&engine, ids[1], 1000).unwrap(), twice_of(1000));
    assert_eq!(TRANSLATED.load(Ordering::Relaxed), 2);
    let report = engine.report();
    let figures = warm(&engine);
    assert_eq!(
        (figures.loaded, figures.missed, figures.unusable),
        (2, 0, 0)
    );
    for name in ["sum", "twice"] {
        let function = &report.functions[name];
        assert_eq!(function.tier, Some(1));
        assert!(function.versions[0].loaded && function.instructions > 0 && function.blocks > 0);
    }
    let Err(Error::Trap(trap)) = call(&engine, ids[1], 0) else {
        panic!("it divides by zero");
    };
    assert_eq!(trap.code, Some(TrapCode::INTEGER_DIVISION_BY_ZERO));
    let location = trap.location.expect("it is known where");
    assert_eq!((&*location.function, location.tier), ("twice", 1));
    assert_eq!(
        location.block.map(|block| block.to_string()).as_deref(),
        Some("block0")
    );
    // Redefined, while it is called by code that was loaded.
    let constant = "function %sum(i64) -> i64 system_v { block0(v0: i64): return v0 }";
    let constant = cranelift_reader::parse_functions(constant)
        .unwrap()
        .remove(0);
    engine.redefine(ids[0], constant).unwrap();
    assert_eq!(call(&engine, ids[1], 1000).unwrap(), 2000);
    engine.remove(ids[0]).unwrap();
    let removed = call(&engine, ids[1], 1000).unwrap_err();
    assert!(
        matches!(removed, Error::UndefinedSymbol { .. }),
        "{removed}"
    );
    engine.remove(ids[1]).unwrap();
    all_is_freed(&engine);
}

/// Nothing of tier 1 is left once everything is removed.
fn all_is_freed(engine: &Engine) {
    // SAFETY: nobody is inside.
    unsafe { engine.quiescent() };
    let report = engine.report();
    let live = report.memory.tiers.get("tier1").map(|tier| tier.live);
    assert!(live.is_none_or(|live| live == 0), "{:?}", report.memory);
}

/// A definition that is made anyway is known by its CLIF, and only compiling is spared; another definition has other code.
#[test]
fn definitions_without_a_key_are_known_by_their_clif() {
    let folder = Folder::new("clif");
    let run = |clif: &str, expected: i64| {
        let engine = Engine::new(folder.config()).unwrap();
        for function in cranelift_reader::parse_functions(clif).unwrap() {
            engine.define_function(function).unwrap();
        }
        let twice = engine.lookup("twice").unwrap();
        assert_eq!(call(&engine, twice, 1000).unwrap(), expected);
        engine.save_warm_start().unwrap();
        warm(&engine)
    };
    assert_eq!(run(SUM, twice_of(1000)).loaded, 0);
    assert_eq!(run(SUM, twice_of(1000)).loaded, 2);
    // The sum of other numbers; the other function is as it was.
    let other = SUM.replacen("v5 = iconst.i64 1", "v5 = iconst.i64 2", 1);
    let report = run(&other, 2 * (0..1000).step_by(2).sum::<i64>() / 1000 * 1000);
    assert_eq!((report.loaded, report.missed), (1, 1));
    // Other names: what is called is another function.
    let renamed = SUM.replace("%sum", "%other");
    assert_eq!(run(&renamed, twice_of(1000)).loaded, 1);
}

/// Other settings, another mode: nothing that was left fits.
#[test]
fn settings_tell_code_apart() {
    let folder = Folder::new("settings");
    let run = |config: Config| {
        let engine = Engine::new(config).unwrap();
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let ids = lazily(&engine, SUM, &COUNT);
        assert_eq!(call(&engine, ids[1], 1000).unwrap(), twice_of(1000));
        engine.save_warm_start().unwrap();
        warm(&engine)
    };
    let setting = vec![(
        "enable_nan_canonicalization".to_string(),
        "true".to_string(),
    )];
    for config in [
        folder.config(),
        folder.config().mode(Mode::Eager),
        folder.config().settings(setting),
        folder.config().block_locations(false),
    ] {
        let cold = run(config.clone());
        assert_eq!((cold.loaded, cold.unusable), (0, 0));
        assert_eq!(run(config).loaded, 2);
    }
    // Nothing is kept or loaded where somebody looks at code.
    let mut inspected = folder.config();
    inspected.observe.inspect = true;
    assert_eq!(run(inspected).loaded, 0);
    assert_eq!(
        run(folder.config().mode(Mode::Tier0)),
        WarmStartReport::default()
    );
}

/// A callee that is declared otherwise now is not called with code that was made for another.
#[test]
fn callees_have_to_be_what_they_were() {
    let folder = Folder::new("callees");
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let engine = Engine::new(folder.config()).unwrap();
    let ids = lazily(&engine, SUM, &COUNT);
    call(&engine, ids[1], 10).unwrap();
    engine.save_warm_start().unwrap();
    let engine = Engine::new(folder.config()).unwrap();
    let floor = Signature::new(engine.isa().default_call_conv());
    engine.declare("floor", &floor).unwrap();
    let ids = lazily(&engine, SUM, &COUNT);
    // The definition does not fit either.
    assert!(call(&engine, ids[1], 10).is_err());
    assert_eq!(warm(&engine).unusable, 1);
}

/// Whatever is wrong with the file: results are right.
#[test]
fn damage_costs_time_only() {
    let folder = Folder::new("damage");
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let run = || {
        let engine = Engine::new(folder.config()).unwrap();
        let ids = lazily(&engine, SUM, &COUNT);
        assert_eq!(call(&engine, ids[1], 10).unwrap(), twice_of(10));
        (warm(&engine), engine)
    };
    run().1.save_warm_start().unwrap();
    let path = folder.file(".code");
    let whole = std::fs::read(&path).unwrap();
    let mut loaded = 0;
    for at in (0..whole.len()).step_by(whole.len() / 100) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, damaged).unwrap();
        loaded += run().0.loaded;
        std::fs::write(&path, &whole[..at]).unwrap();
        run();
    }
    // Of two functions, at most one is damaged by a bit; both are, where it is in front.
    assert!(loaded > 60, "{loaded}");
    std::fs::write(&path, b"something else").unwrap();
    let (report, engine) = run();
    assert_eq!(report.loaded, 0);
    engine.save_warm_start().unwrap();
    assert_eq!(run().0.loaded, 2);
}

/// Without code, the profile is what is left: what was hot is at tier 1 before it is called.
#[test]
fn what_was_hot_is_compiled_before_it_is_called() {
    let folder = Folder::new("profile");
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let config = || {
        let start = folder.start().code(false);
        let config = Config::default().pacing(Pacing::Counts);
        config.warm_start(Some(start)).check(true)
    };
    let engine = Engine::new(config().compile(CompileMode::Synchronous)).unwrap();
    let ids = lazily(&engine, SUM, &COUNT);
    call(&engine, ids[1], 1_000_000).unwrap();
    engine.save_warm_start().unwrap();
    let profile = std::fs::read_to_string(folder.file(".profile.json")).unwrap();
    assert!(
        profile.contains("\"version\": 1") && profile.contains("\"sum\""),
        "{profile}"
    );

    let engine = Engine::new(config()).unwrap();
    let ids = lazily(&engine, SUM, &COUNT);
    engine.wait_idle();
    let report = engine.report();
    let sum = &report.functions["sum"];
    let found = [&sum.whole_function.found_by, &sum.regions[0].part.found_by];
    assert!(found.iter().any(|found| found.is_some()), "{sum:?}");
    assert!(
        sum.versions.len() + sum.regions[0].versions.len() > 1,
        "{sum:?}"
    );
    assert!(
        !report.functions.contains_key("twice"),
        "{profile} {report:?}"
    );
    assert_eq!(call(&engine, ids[1], 1000).unwrap(), twice_of(1000));
    assert_eq!(warm(&engine).loaded, 0);
    // What this run has no better knowledge of is kept.
    engine.save_warm_start().unwrap();
    assert!(
        std::fs::read_to_string(folder.file(".profile.json"))
            .unwrap()
            .contains("\"sum\"")
    );

    for foreign in ["", "{}", "{\"version\": 99}", "\u{0}", "[1, 2"] {
        std::fs::write(folder.file(".profile.json"), foreign).unwrap();
        let engine = Engine::new(config()).unwrap();
        let ids = lazily(&engine, SUM, &COUNT);
        assert_eq!(call(&engine, ids[1], 1000).unwrap(), twice_of(1000));
    }
}

/// A folder that cannot be made is an error of saving, and of nothing else.
#[test]
fn what_cannot_be_written_is_said() {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let start = WarmStart::new("/proc/nowhere", Digest::of(["program"]));
    let engine = Engine::new(Config::default().warm_start(Some(start))).unwrap();
    let ids = lazily(&engine, SUM, &COUNT);
    assert_eq!(call(&engine, ids[1], 10).unwrap(), twice_of(10));
    let error = engine.save_warm_start().unwrap_err();
    assert!(error.to_string().contains("/proc/nowhere"), "{error}");
    assert!(matches!(error, Error::WarmStart { .. }));
}

fn program(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(format!("../examples/wasm/tests/programs/{name}.wat"));
    let text = std::fs::read_to_string(path).expect("it is there");
    let buffer = wast::parser::ParseBuffer::new(&text).expect("text");
    let mut module = wast::parser::parse::<wast::Wat<'_>>(&buffer).expect("a module");
    module.encode().expect("a binary")
}

/// The programs of the front end, three runs of each, in one process and two: the second translates nothing.
#[test]
fn webassembly_starts_warm() {
    let folder = Folder::new("wasm");
    for name in ["calls", "interp", "mandel", "mix", "orbit", "sieve", "sort"] {
        let module = Module::new(&program(name)).unwrap();
        let run = |config: Config| {
            let store = Store::new(config).unwrap();
            let instance = Instance::new(&store, &module, &Imports::new()).unwrap();
            let results: Vec<_> = [1, 3, 2]
                .into_iter()
                .map(|argument| instance.call("run", &[Value::I32(argument)]).unwrap())
                .map(|results| format!("{results:?}"))
                .collect();
            store.engine().save_warm_start().unwrap();
            (results, warm(store.engine()))
        };
        let config = || {
            let start = WarmStart::new(&folder.0, module.digest());
            let start = start.spend(Some(Duration::from_secs(600)));
            // What is made ahead and never called is not left.
            Config::default().ahead(false).warm_start(Some(start))
        };
        let (cold, figures) = run(config());
        assert_eq!(figures.loaded, 0, "{name}: {figures:?}");
        assert!(
            figures.kept > 0 && figures.refused.is_empty(),
            "{name}: {figures:?}"
        );
        let (results, figures) = run(config());
        assert_eq!(results, cold, "{name}");
        assert!(figures.loaded > 0, "{name}: {figures:?}");
        assert_eq!(
            (figures.missed, figures.unusable, figures.kept),
            (0, 0, 0),
            "{name}"
        );
        let (results, _) = run(config().mode(Mode::Eager));
        assert_eq!(results, cold, "{name}");
        let there = |config: Config| config.executor(crate::remote::spawn());
        let (results, figures) = run(there(config()));
        assert_eq!((results, figures.loaded), (cold.clone(), 0), "{name}");
        let (results, figures) = run(there(config()));
        assert_eq!(results, cold, "{name}");
        assert!(figures.loaded > 0, "{name}: {figures:?}");
    }
}

/// Threads that ask for the same functions at once, where some are loaded and some are made.
#[test]
fn many_threads_load_at_once() {
    let folder = Folder::new("threads");
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    for _ in 0..8 {
        let engine = Arc::new(Engine::new(folder.config()).unwrap());
        let ids = lazily(&engine, SUM, &COUNT);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(call(&engine, ids[1], 100).unwrap(), twice_of(100)));
            }
        });
        engine.save_warm_start().unwrap();
    }
}
