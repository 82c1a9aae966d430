//! The engines that run in this process.

use regraft_wasm::{Imports, Value};
use std::error::Error;
use wasmtime::{OptLevel, RegallocAlgorithm, Strategy};

/// An engine with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    Speed,
    None,
    SinglePass,
    Winch,
    Eager,
    Tier0,
    Tiered,
}

/// An instance that can run.
pub enum Running {
    Wasmtime(wasmtime::Store<()>, wasmtime::TypedFunc<i32, f64>),
    Ours(regraft_wasm::Func),
}

impl Contender {
    /// All of them; the first is the one that the others are measured against.
    pub fn all() -> Vec<Self> {
        vec![
            Self::Speed,
            Self::None,
            Self::SinglePass,
            Self::Winch,
            Self::Eager,
            Self::Tier0,
            Self::Tiered,
        ]
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Speed => "wasmtime speed",
            Self::None => "wasmtime none",
            Self::SinglePass => "none/single_pass",
            Self::Winch => "Winch",
            Self::Eager => "ours eager",
            Self::Tier0 => "ours tier0",
            Self::Tiered => "ours tiered",
        }
    }

    /// Compiles and instantiates a module in a fresh engine.
    pub fn load(self, wasm: &[u8]) -> Result<Running, Box<dyn Error>> {
        let mode = match self {
            Self::Eager => regraft::Mode::Eager,
            Self::Tier0 => regraft::Mode::Tier0,
            Self::Tiered => regraft::Mode::Tiered,
            _ => return self.wasmtime(wasm),
        };
        let store = regraft_wasm::Store::new(
            regraft::Config::default()
                .mode(mode)
                .settings(vec![("enable_verifier".to_string(), "false".to_string())]),
        )?;
        let module = regraft_wasm::Module::new(wasm)?;
        let instance = regraft_wasm::Instance::new(&store, &module, &Imports::new())?;
        Ok(Running::Ours(instance.func("run")?))
    }

    fn wasmtime(self, wasm: &[u8]) -> Result<Running, Box<dyn Error>> {
        let mut config = wasmtime::Config::new();
        match self {
            Self::Winch => {
                config.strategy(Strategy::Winch);
            }
            Self::Speed => {
                config.cranelift_opt_level(OptLevel::Speed);
            }
            _ => {
                config.cranelift_opt_level(OptLevel::None);
            }
        }
        if self == Self::SinglePass {
            config.cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
        }
        let engine = wasmtime::Engine::new(&config)?;
        let module = wasmtime::Module::new(&engine, wasm)?;
        let mut store = wasmtime::Store::new(&engine, ());
        let instance = wasmtime::Instance::new(&mut store, &module, &[])?;
        let run = instance.get_typed_func(&mut store, "run")?;
        Ok(Running::Wasmtime(store, run))
    }
}

impl Running {
    /// Runs once.
    pub fn call(&mut self, argument: i32) -> Result<f64, Box<dyn Error>> {
        match self {
            Self::Wasmtime(store, run) => Ok(run.call(store, argument)?),
            Self::Ours(run) => match run.call(&[Value::I32(argument)])?[..] {
                [Value::F64(bits)] => Ok(f64::from_bits(bits)),
                _ => Err("run does not return a float".into()),
            },
        }
    }
}
