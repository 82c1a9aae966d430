//! Running a script of the test suite.
//!
//! One store per script. A directive that needs a module which was refused as unsupported is skipped.

mod values;

use regraft::Config;
use regraft_wasm::{
    Error, Extern, Func, FuncType, Global, Imports, Instance, Limits, Memory, Module, Store, Table,
    TableType, Value, ValueType,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use values::{argument, matches};
use wasmparser::{Validator, WasmFeatures};
use wast::parser::{self, ParseBuffer};
use wast::token::Id;
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke};

/// How many assertions passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Why a directive did not pass.
enum Miss {
    Failed(String),
    Skipped(String),
}

type Outcome = Result<(), Miss>;

fn failed<T>(message: impl Into<String>) -> Result<T, Miss> {
    Err(Miss::Failed(message.into()))
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        match error {
            Error::Unsupported { what } => Self::Skipped(what),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// A script and what came of it.
pub struct Script {
    name: String,
    store: Store,
    imports: Imports,
    /// Instances by name, and the last one under the empty name; absent where it was refused.
    instances: HashMap<String, Result<Instance, String>>,
    definitions: HashMap<String, Vec<u8>>,
    /// Names under which instances that were refused would be registered.
    unregistered: HashSet<String>,
    pub counts: Counts,
    pub failures: Vec<String>,
    pub reasons: BTreeMap<String, usize>,
}

impl Script {
    pub fn new(name: &str, config: &Config) -> Self {
        let store = Store::new(config.clone()).expect("a store");
        let imports = spectest(&store).expect("the module spectest");
        Self {
            name: name.to_string(),
            store,
            imports,
            instances: HashMap::new(),
            definitions: HashMap::new(),
            unregistered: HashSet::new(),
            counts: Counts::default(),
            failures: vec![],
            reasons: BTreeMap::new(),
        }
    }

    /// Runs all directives of a script.
    pub fn run(&mut self, text: &str) {
        let mut lexer = wast::lexer::Lexer::new(text);
        lexer.allow_confusing_unicode(true);
        let buffer = match ParseBuffer::new_with_lexer(lexer) {
            Ok(buffer) => buffer,
            Err(error) => return self.note(0, failed(error.to_string())),
        };
        let script = match parser::parse::<Wast<'_>>(&buffer) {
            Ok(script) => script,
            Err(error) => {
                let (line, _) = error.span().linecol_in(text);
                return self.note(line + 1, Err(Miss::Skipped(format!("text: {error}"))));
            }
        };
        for directive in script.directives {
            let (line, _) = directive.span().linecol_in(text);
            let outcome = match superseded(&self.name, line + 1) {
                Some(reason) => Err(Miss::Skipped(reason.to_string())),
                None => self.directive(directive),
            };
            self.note(line + 1, outcome);
        }
    }

    fn note(&mut self, line: usize, outcome: Outcome) {
        match outcome {
            Ok(()) => self.counts.passed += 1,
            Err(Miss::Skipped(reason)) => {
                self.counts.skipped += 1;
                *self.reasons.entry(reason).or_insert(0) += 1;
            }
            Err(Miss::Failed(message)) => {
                self.counts.failed += 1;
                self.failures
                    .push(format!("{}:{line}: {message}", self.name));
            }
        }
    }

    fn directive(&mut self, directive: WastDirective<'_>) -> Outcome {
        match directive {
            WastDirective::Module(mut module) => {
                let name = module.name().map(|id| id.name().to_string());
                let bytes = encode(&mut module)?;
                self.module(name, &bytes)
            }
            WastDirective::ModuleDefinition(mut module) => {
                let name = module.name().map(|id| id.name().to_string());
                let bytes = encode(&mut module)?;
                Module::new(&bytes)?;
                self.definitions.insert(name.unwrap_or_default(), bytes);
                Ok(())
            }
            WastDirective::ModuleInstance {
                instance, module, ..
            } => {
                let definition = self.definitions.get(key(module)).cloned();
                let name = instance.map(|id| id.name().to_string());
                let Some(bytes) = definition else {
                    let reason = "a definition that was refused".to_string();
                    self.instances
                        .insert(name.unwrap_or_default(), Err(reason.clone()));
                    return Err(Miss::Skipped(reason));
                };
                self.module(name, &bytes)
            }
            WastDirective::Register { name, module, .. } => {
                let instance = self.instance(module);
                if instance.is_err() {
                    self.unregistered.insert(name.to_string());
                }
                self.imports.instance(name, &instance?);
                Ok(())
            }
            WastDirective::Invoke(invoke) => self.invoke(&invoke).map(|_| ()),
            WastDirective::AssertReturn { exec, results, .. } => {
                let found = self.execute(exec)?;
                let fits = found.len() == results.len()
                    && results
                        .iter()
                        .zip(&found)
                        .all(|(want, have)| matches(want, have));
                if fits {
                    return Ok(());
                }
                failed(format!("{found:?} instead of {results:?}"))
            }
            WastDirective::AssertTrap { exec, message, .. } => trap(self.execute(exec), message),
            WastDirective::AssertException { exec, .. } => match self.execute(exec) {
                Ok(values) => failed(format!("{values:?} instead of an exception")),
                Err(Miss::Failed(found)) if found.starts_with("an exception of type") => Ok(()),
                Err(miss) => Err(miss),
            },
            WastDirective::AssertExhaustion { call, message, .. } => {
                trap(self.invoke(&call), message)
            }
            WastDirective::AssertInvalid { mut module, .. }
            | WastDirective::AssertMalformed { mut module, .. } => match module.encode() {
                // The text is malformed, or cannot be written as a binary.
                Err(_) => Ok(()),
                Ok(bytes) => match Module::new(&bytes) {
                    Err(Error::Invalid { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                    Ok(_) => match newer(&bytes) {
                        Some(reason) => Err(Miss::Skipped(reason)),
                        None => failed("an invalid module was taken"),
                    },
                },
            },
            WastDirective::AssertUnlinkable { module, .. } => {
                let bytes = encode(&mut QuoteWat::Wat(module))?;
                let module = Module::new(&bytes)?;
                match Instance::new(&self.store, &module, &self.imports) {
                    Err(Error::UnknownImport { .. } | Error::IncompatibleImport { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                    Ok(_) => failed("an unlinkable module was linked"),
                }
            }
            WastDirective::AssertInvalidCustom { .. }
            | WastDirective::AssertMalformedCustom { .. } => {
                Err(Miss::Skipped("annotations of custom sections".to_string()))
            }
            _ => Err(Miss::Skipped("a directive of another proposal".to_string())),
        }
    }

    fn module(&mut self, name: Option<String>, bytes: &[u8]) -> Outcome {
        let instance = Module::new(bytes)
            .and_then(|module| Instance::new(&self.store, &module, &self.imports));
        let (kept, outcome) = match instance {
            Ok(instance) => (Ok(instance), Ok(())),
            Err(Error::UnknownImport { module, .. }) if self.unregistered.contains(&module) => {
                let reason = format!("an import of {module}, which was refused");
                (Err(reason.clone()), Err(Miss::Skipped(reason)))
            }
            Err(error) => (Err(error.to_string()), Err(error.into())),
        };
        if let Some(name) = name {
            self.instances.insert(name, kept.clone());
        }
        self.instances.insert(String::new(), kept);
        outcome
    }

    fn instance(&self, name: Option<Id<'_>>) -> Result<Instance, Miss> {
        match self.instances.get(key(name)) {
            Some(Ok(instance)) => Ok(instance.clone()),
            Some(Err(reason)) => Err(Miss::Skipped(reason.clone())),
            None => failed("no such instance"),
        }
    }

    fn execute(&mut self, execute: WastExecute<'_>) -> Result<Vec<Value>, Miss> {
        match execute {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Get { module, global, .. } => {
                let instance = self.instance(module)?;
                match instance.export(global) {
                    Some(Extern::Global(global)) => Ok(vec![global.get()]),
                    _ => failed(format!("no global {global}")),
                }
            }
            WastExecute::Wat(wat) => {
                let bytes = encode(&mut QuoteWat::Wat(wat))?;
                Instance::new(&self.store, &Module::new(&bytes)?, &self.imports)?;
                Ok(vec![])
            }
        }
    }

    fn invoke(&self, invoke: &WastInvoke<'_>) -> Result<Vec<Value>, Miss> {
        let instance = self.instance(invoke.module)?;
        let arguments: Option<Vec<Value>> = invoke.args.iter().map(argument).collect();
        let Some(arguments) = arguments else {
            return Err(Miss::Skipped("a value of another proposal".to_string()));
        };
        Ok(instance.call(invoke.name, &arguments)?)
    }
}

/// Why an assertion does not hold any more: a later version of the specification changed the rule, and the
/// later suites have the assertion in its new form.
fn superseded(script: &str, line: usize) -> Option<&'static str> {
    match (script, line) {
        ("mutable-global/linking.wast", _) => {
            Some("superseded: segments were checked before any was copied")
        }
        ("reference-types/unreached-invalid.wast", 539) => {
            Some("superseded: types of unreachable branch tables")
        }
        _ => None,
    }
}

fn key(id: Option<Id<'_>>) -> &str {
    // The parser's names live as long as the script; an absent one means the last instance.
    id.map_or("", |id| id.name())
}

/// What makes a module valid that an older version of the specification calls invalid.
fn newer(bytes: &[u8]) -> Option<String> {
    let later = [
        (WasmFeatures::MULTI_MEMORY, "several memories"),
        (WasmFeatures::REFERENCE_TYPES, "several tables"),
        (WasmFeatures::EXTENDED_CONST, "extended constants"),
        (WasmFeatures::MUTABLE_GLOBAL, "imports of mutable globals"),
        (WasmFeatures::MULTI_VALUE, "several results"),
    ];
    let valid = |without| {
        let features = WasmFeatures::WASM3 - WasmFeatures::GC - without;
        Validator::new_with_features(features)
            .validate_all(bytes)
            .is_ok()
    };
    let (_, what) = later.iter().find(|(feature, _)| !valid(*feature))?;
    Some(format!("invalid only before {what} were allowed"))
}

fn encode(module: &mut QuoteWat<'_>) -> Result<Vec<u8>, Miss> {
    module.encode().or_else(|error| failed(error.to_string()))
}

/// Whether a call trapped as the suite says.
fn trap(result: Result<Vec<Value>, Miss>, message: &str) -> Outcome {
    match result {
        Ok(values) => failed(format!("{values:?} instead of the trap: {message}")),
        Err(Miss::Skipped(reason)) => Err(Miss::Skipped(reason)),
        Err(Miss::Failed(found)) => {
            let found = found.strip_prefix("trap: ").unwrap_or(&found).to_string();
            // The suite sometimes names the index, or less than the trap says.
            if found.starts_with(message) || message.starts_with(&*strip(&found)) {
                return Ok(());
            }
            failed(format!("{found} instead of the trap: {message}"))
        }
    }
}

/// A trap's message without its location.
fn strip(found: &str) -> String {
    found.split(" at ").next().unwrap_or(found).to_string()
}

/// The module that all scripts can import from.
fn spectest(store: &Store) -> Result<Imports, Error> {
    use ValueType::{F32, F64, I32, I64};
    let mut imports = Imports::new();
    let functions: [(&str, &[ValueType]); 7] = [
        ("print", &[]),
        ("print_i32", &[I32]),
        ("print_i64", &[I64]),
        ("print_f32", &[F32]),
        ("print_f64", &[F64]),
        ("print_i32_f32", &[I32, F32]),
        ("print_f64_f64", &[F64, F64]),
    ];
    for (name, params) in functions {
        let ty = FuncType {
            params: params.to_vec(),
            results: vec![],
        };
        let func = Func::new(store, ty, |_, _, _| Ok(()))?;
        imports.define("spectest", name, Extern::Func(func));
    }
    let globals = [
        ("global_i32", Value::I32(666)),
        ("global_i64", Value::I64(666)),
        ("global_f32", Value::F32(666.6f32.to_bits())),
        ("global_f64", Value::F64(666.6f64.to_bits())),
    ];
    for (name, value) in globals {
        let global = Global::new(store, &value, false)?;
        imports.define("spectest", name, Extern::Global(global));
    }
    let limits = |minimum, maximum| Limits {
        minimum,
        maximum: Some(maximum),
    };
    let table = Table::new(
        store,
        TableType {
            element: ValueType::FuncRef,
            limits: limits(10, 20),
        },
    )?;
    imports.define("spectest", "table", Extern::Table(table));
    let memory = Memory::new(store, limits(1, 2))?;
    imports.define("spectest", "memory", Extern::Memory(memory));
    Ok(imports)
}
