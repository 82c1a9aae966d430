//! What this implementation does.

use super::{Observed, Outcome, argument};
use regraft::Config;
use regraft_wasm::{
    Error, Extern, Imports, Instance, Module, Store, Trap, TrapKind, Value, ValueType,
};

pub fn observe(wasm: &[u8], rounds: usize, config: Config) -> Result<Observed, String> {
    let module = Module::new(wasm).map_err(|error| error.to_string())?;
    let store = Store::new(config).map_err(|error| error.to_string())?;
    let mut observed = Observed {
        instantiation: Outcome::Values(vec![]),
        calls: vec![],
        globals: vec![],
        memories: vec![],
    };
    let instance = match Instance::new(&store, &module, &Imports::new()) {
        Ok(instance) => instance,
        Err(error) => {
            observed.instantiation = outcome(Err(error))?;
            return Ok(observed);
        }
    };
    let mut exports = instance.exports();
    exports.sort_by(|x, y| x.0.cmp(&y.0));
    'calls: for round in 0..rounds {
        for (name, export) in &exports {
            let Extern::Func(function) = export else {
                continue;
            };
            let params = function.ty().params;
            let arguments = params.iter().enumerate();
            let arguments: Vec<Value> = arguments
                .map(|(position, ty)| value(*ty, argument(*ty, position, round)))
                .collect();
            let outcome = outcome(function.call(&arguments))?;
            let over = outcome == Outcome::Overflow;
            observed.calls.push((name.clone(), outcome));
            if over {
                break 'calls;
            }
        }
    }
    for (name, export) in &exports {
        match export {
            Extern::Global(global) => observed.globals.push((name.clone(), bits(&global.get()))),
            Extern::Memory(memory) => {
                let bytes = memory.read_vec(0, memory.size());
                let bytes = bytes.map_err(|error| error.to_string())?;
                observed.memories.push((name.clone(), bytes));
            }
            _ => {}
        }
    }
    Ok(observed)
}

fn outcome(result: Result<Vec<Value>, Error>) -> Result<Outcome, String> {
    match result {
        Ok(values) => Ok(Outcome::Values(values.iter().map(bits).collect())),
        Err(Error::Trap(Trap { kind, .. })) => Ok(match kind {
            TrapKind::StackOverflow => Outcome::Overflow,
            // The interpreter has one word for both.
            TrapKind::UndefinedElement => Outcome::Trap(TrapKind::TableOutOfBounds),
            kind => Outcome::Trap(kind),
        }),
        Err(error) => Err(error.to_string()),
    }
}

fn value(ty: ValueType, bits: u128) -> Value {
    match ty {
        ValueType::I32 => Value::I32((bits as u32).cast_signed()),
        ValueType::I64 => Value::I64((bits as u64).cast_signed()),
        ValueType::F32 => Value::F32(bits as u32),
        ValueType::F64 => Value::F64(bits as u64),
        ValueType::V128 => Value::V128(bits),
        ty => Value::zero(ty),
    }
}

fn bits(value: &Value) -> u128 {
    match value {
        Value::I32(value) => u128::from(value.cast_unsigned()),
        Value::I64(value) => u128::from(value.cast_unsigned()),
        Value::F32(bits) => u128::from(*bits),
        Value::F64(bits) => u128::from(*bits),
        Value::V128(bits) => *bits,
        Value::FuncRef(function) => u128::from(function.is_some()),
        Value::ExternRef(number) => u128::from(number.is_some()),
        Value::ExnRef(exception) => u128::from(exception.is_some()),
    }
}
