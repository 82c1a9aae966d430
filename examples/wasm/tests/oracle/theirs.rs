//! What the interpreter does.

use super::{Observed, Outcome, argument};
use regraft_wasm::{TrapKind, ValueType};
use wasmi::errors::{ErrorKind, InstantiationError};
use wasmi::{
    Config, Engine, Error, Extern, Instance, Linker, Module, Ref, Store, TrapCode, V128, Val,
    ValType,
};

/// # Errors
///
/// Why the module cannot be run there.
pub fn observe(wasm: &[u8], rounds: usize) -> Result<Observed, String> {
    let mut config = Config::default();
    config.wasm_simd(true).wasm_multi_memory(true);
    config.set_max_recursion_depth(500);
    let engine = Engine::new(&config);
    let module = Module::new(&engine, wasm).map_err(|error| error.to_string())?;
    let mut store = Store::new(&engine, ());
    let mut observed = Observed {
        instantiation: Outcome::Values(vec![]),
        calls: vec![],
        globals: vec![],
        memories: vec![],
    };
    let linker = <Linker<()>>::new(&engine);
    let instance = match linker.instantiate_and_start(&mut store, &module) {
        Ok(instance) => instance,
        Err(error) => {
            observed.instantiation = trap(&error)?;
            return Ok(observed);
        }
    };
    let exports = exports(&instance, &store);
    'calls: for round in 0..rounds {
        for (name, export) in &exports {
            let Extern::Func(function) = export else {
                continue;
            };
            let ty = function.ty(&store);
            let arguments = ty.params().iter().enumerate();
            let arguments: Vec<Val> = arguments
                .map(|(position, ty)| value(*ty, position, round))
                .collect();
            let zero = ty.results().iter().map(|ty| Val::default(*ty));
            let mut results: Vec<Val> = zero.collect();
            let outcome = match function.call(&mut store, &arguments, &mut results) {
                Ok(()) => Outcome::Values(results.iter().map(bits).collect()),
                Err(error) => trap(&error)?,
            };
            let over = outcome == Outcome::Overflow;
            observed.calls.push((name.clone(), outcome));
            if over {
                break 'calls;
            }
        }
    }
    for (name, export) in &exports {
        match export {
            Extern::Global(global) => {
                let value = bits(&global.get(&store));
                observed.globals.push((name.clone(), value));
            }
            Extern::Memory(memory) => {
                let bytes = memory.data(&store).to_vec();
                observed.memories.push((name.clone(), bytes));
            }
            _ => {}
        }
    }
    Ok(observed)
}

fn exports(instance: &Instance, store: &Store<()>) -> Vec<(String, Extern)> {
    let exports = instance.exports(store);
    let mut exports: Vec<(String, Extern)> = exports
        .map(|export| (export.name().to_string(), export.into_extern()))
        .collect();
    exports.sort_by(|x, y| x.0.cmp(&y.0));
    exports
}

fn trap(error: &Error) -> Result<Outcome, String> {
    // The only trap of an instantiation that has no code there.
    if let ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. }) =
        error.kind()
    {
        return Ok(Outcome::Trap(TrapKind::TableOutOfBounds));
    }
    let code = error.as_trap_code();
    Ok(Outcome::Trap(match code {
        Some(TrapCode::UnreachableCodeReached) => TrapKind::Unreachable,
        Some(TrapCode::MemoryOutOfBounds) => TrapKind::MemoryOutOfBounds,
        Some(TrapCode::TableOutOfBounds) => TrapKind::TableOutOfBounds,
        Some(TrapCode::IndirectCallToNull) => TrapKind::UninitializedElement,
        Some(TrapCode::IntegerDivisionByZero) => TrapKind::DivisionByZero,
        Some(TrapCode::IntegerOverflow) => TrapKind::IntegerOverflow,
        Some(TrapCode::BadConversionToInteger) => TrapKind::BadConversion,
        Some(TrapCode::BadSignature) => TrapKind::IndirectCallType,
        Some(TrapCode::StackOverflow) => return Ok(Outcome::Overflow),
        _ => return Err(error.to_string()),
    }))
}

fn value(ty: ValType, position: usize, round: usize) -> Val {
    let bits = |ty| argument(ty, position, round);
    match ty {
        ValType::I32 => Val::I32((bits(ValueType::I32) as u32).cast_signed()),
        ValType::I64 => Val::I64((bits(ValueType::I64) as u64).cast_signed()),
        ValType::F32 => Val::F32(f32::from_bits(bits(ValueType::F32) as u32).into()),
        ValType::F64 => Val::F64(f64::from_bits(bits(ValueType::F64) as u64).into()),
        ValType::V128 => Val::V128(V128::from(bits(ValueType::V128))),
        ValType::FuncRef => Val::FuncRef(Ref::Null),
        ValType::ExternRef => Val::ExternRef(Ref::Null),
    }
}

fn bits(value: &Val) -> u128 {
    match value {
        Val::I32(value) => u128::from(value.cast_unsigned()),
        Val::I64(value) => u128::from(value.cast_unsigned()),
        Val::F32(value) => u128::from(value.to_bits()),
        Val::F64(value) => u128::from(value.to_bits()),
        Val::V128(value) => value.as_u128(),
        Val::FuncRef(function) => u128::from(!matches!(function, Ref::Null)),
        Val::ExternRef(value) => u128::from(!matches!(value, Ref::Null)),
    }
}
