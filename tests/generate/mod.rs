//! Random programs: CLIF that verifies and terminates, and random legal regions of it.
//!
//! A [`Program`] is a function to be tested, the functions that it calls, and inputs, all drawn from a
//! string of bytes ([`Source`]). Everything that a program computes is determined by its inputs and the
//! initial contents of the host's buffers ([`host`]): no undefined bits, no addresses seen as numbers.
//!
//! | module | what is drawn |
//! |---|---|
//! | [`graph`] | control flow of every shape |
//! | [`body`], `terminators`, `ends` | SSA over it, with fuel |
//! | `scalars`, `vectors`, [`memory`] | instructions |
//! | [`region`] | legal regions |
//! | [`structured`] | another kind of program: counted loops, flags, checked indices |
//! | `alternative` | another body for a function |
//!
//! Limitations, all of the x86-64 backend or of Cranelift's interpreter: no 64-bit vectors, no arithmetic on
//! `f16` and `f128`, no exceptions, no dynamic vectors, no traps that fire.

mod alternative;
pub mod body;
mod ends;
pub mod graph;
pub mod host;
pub mod memory;
pub mod region;
mod scalars;
pub mod source;
pub mod structured;
mod terminators;
pub mod values;
mod vectors;

pub use host::Arg;
pub use region::random_region;
pub use source::{Source, random_bytes};

use body::{Body, Limits};
use cranelift_codegen::ir::{
    AbiParam, AliasRegionData, ArgumentPurpose, ExtFuncData, ExternalName, Function,
    GlobalValueData, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind, Type,
    UserFuncName, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use memory::{OBJECT_BYTES, Object, Place};
use values::{Callee, TYPES, data_value};

/// The name of the function under test.
pub const MAIN: &str = "main";

/// A random program.
#[derive(Debug)]
pub struct Program {
    /// The functions; each calls only earlier ones, and the last is the one under test.
    pub functions: Vec<Function>,
    /// Arguments for it, several times.
    pub inputs: Vec<Vec<Arg>>,
    /// Whether Cranelift's interpreter can run it: it has no memory but stack slots.
    pub interpretable: bool,
}

/// What a program may use of the host.
#[derive(Clone, Copy, Debug)]
struct Features {
    heap: bool,
    symbol: bool,
    vmctx: bool,
}

/// What a function was drawn from, all but the bytes.
struct Part {
    name: String,
    shape: Shape,
    features: Features,
    limits: Limits,
}

/// A signature, and which parameters are addresses.
struct Shape {
    signature: Signature,
    pointers: Vec<bool>,
}

impl Program {
    /// Draws a program that ends.
    pub fn draw(source: &mut Source<'_>) -> Self {
        Self::draw_with(source, false).0
    }

    /// Draws a program whose loops may never end: to be looked at, not to be run.
    pub fn draw_endless(source: &mut Source<'_>) -> Self {
        Self::draw_with(source, true).0
    }

    fn draw_with(source: &mut Source<'_>, endless: bool) -> (Self, Vec<Part>) {
        let host = source.percent(50);
        let features = Features {
            heap: host && source.percent(80),
            symbol: host && source.percent(50),
            vmctx: host && source.percent(40),
        };
        let none = Features {
            heap: false,
            symbol: features.symbol,
            vmctx: false,
        };
        let palette: Vec<Type> = (0..source.between(2, 6))
            .map(|_| source.pick(&TYPES))
            .collect();
        let mut functions = vec![];
        let mut parts: Vec<Part> = vec![];
        let mut main = draw_shape(source, &palette, features, None);
        let digest = source.percent(70);
        if digest {
            main.signature.returns.push(AbiParam::new(types::I64));
        }
        for number in 0..source.below(3) {
            let like = source.percent(50).then_some(&main.signature);
            let shape = draw_shape(source, &palette, none, like);
            let limits = Limits {
                blocks: source.between(1, 8),
                statements: 3,
                fuel: 5,
                variables: source.between(0, 4),
                palette: palette.clone(),
                digest: false,
                endless,
            };
            let part = Part {
                name: format!("helper{number}"),
                shape,
                features: none,
                limits,
            };
            functions.push(draw_function(source, &part, &parts));
            parts.push(part);
        }
        let many = source.percent(4);
        let limits = Limits {
            blocks: source.between(4, 40),
            statements: source.between(1, 8),
            fuel: 10 + source.below(150) as i64,
            variables: if many { 150 } else { source.between(1, 14) },
            palette,
            digest,
            endless,
        };
        let main = Part {
            name: MAIN.to_string(),
            shape: main,
            features,
            limits,
        };
        functions.push(draw_function(source, &main, &parts));
        let inputs = (0..4).map(|_| draw_input(source, &main.shape)).collect();
        parts.push(main);
        let program = Self {
            functions,
            inputs,
            interpretable: !(features.heap || features.symbol || features.vmctx),
        };
        (program, parts)
    }

    /// The function under test.
    pub fn main(&self) -> &Function {
        &self.functions[self.functions.len() - 1]
    }

    /// The program as CLIF text.
    pub fn to_clif(&self) -> String {
        let functions = self.functions.iter();
        functions.map(|function| format!("{function}\n")).collect()
    }
}

/// A signature: that of `main` (the host's buffers first), or one that may return what `like` returns.
fn draw_shape(
    source: &mut Source<'_>,
    palette: &[Type],
    features: Features,
    like: Option<&Signature>,
) -> Shape {
    let conv = source.pick(&[
        CallConv::SystemV,
        CallConv::Tail,
        CallConv::Tail,
        CallConv::Fast,
    ]);
    let mut signature = Signature::new(like.map_or(conv, |like| like.call_conv));
    let mut pointers = vec![];
    if features.vmctx {
        let param = AbiParam::special(types::I64, ArgumentPurpose::VMContext);
        signature.params.push(param);
        pointers.push(true);
    }
    if features.heap || (like.is_none() && source.percent(30)) {
        signature.params.push(AbiParam::new(types::I64));
        pointers.push(true);
    }
    let count = match source.below(12) {
        11 => 24,
        n => n / 2,
    };
    for _ in 0..count {
        signature.params.push(AbiParam::new(source.pick(palette)));
        pointers.push(false);
    }
    match like {
        Some(like) => signature.returns.clone_from(&like.returns),
        None => {
            let count = source.pick(&[1, 1, 2, 3, 0, 7]);
            for _ in 0..count {
                signature.returns.push(AbiParam::new(source.pick(palette)));
            }
        }
    }
    Shape {
        signature,
        pointers,
    }
}

fn draw_input(source: &mut Source<'_>, shape: &Shape) -> Vec<Arg> {
    let params = shape.signature.params.iter().zip(&shape.pointers);
    params
        .map(|(param, &pointer)| match (param.purpose, pointer) {
            (ArgumentPurpose::VMContext, _) => Arg::VmContext,
            (_, true) => Arg::Heap,
            (_, false) => Arg::Value(data_value(param.value_type, source.wide())),
        })
        .collect()
}

fn draw_function(source: &mut Source<'_>, part: &Part, callees: &[Part]) -> Function {
    let Part {
        name,
        shape,
        features,
        limits,
    } = part;
    let name = UserFuncName::testcase(name);
    let mut function = Function::with_name_signature(name, shape.signature.clone());
    let mut context = FunctionBuilderContext::new();
    let builder = FunctionBuilder::new(&mut function, &mut context);
    // `main`'s heap may have a region of its own; the pointers of others are plain.
    let private_heap = features.heap && source.percent(50);
    let params: Vec<bool> = shape.pointers.clone();
    let vmctx = shape
        .signature
        .special_param_index(ArgumentPurpose::VMContext);
    let slots = source.below(4);
    let shared_pointers = source.below(3);
    let regions = source.percent(50);
    Body::draw(source, builder, limits, &params, |body, values| {
        declare_callees(body, callees);
        for number in 0..slots {
            let region = (regions && number > 0).then_some(number as u32);
            add_slot(body, region);
        }
        if features.symbol {
            let name = ExternalName::testcase(host::SYMBOL);
            let global = body.builder.create_global_value(GlobalValueData::Symbol {
                name,
                offset: 0.into(),
                colocated: false,
                tls: false,
            });
            let place = Place::Symbol(global);
            body.objects.push(Object {
                place,
                region: None,
            });
        }
        for (at, (&value, _)) in values
            .iter()
            .zip(&params)
            .enumerate()
            .filter(|(_, (_, p))| **p)
        {
            if Some(at) == vmctx {
                add_context(body, value);
                continue;
            }
            let variable = body.builder.declare_var(types::I64);
            body.builder.def_var(variable, value);
            if private_heap {
                let region = region(body, 100);
                let place = Place::Variable(variable);
                body.objects.push(Object { place, region });
            } else {
                body.pointers.push(variable);
            }
        }
        let plain = body.objects.iter().find(|object| object.region.is_none());
        if let Some(Object {
            place: Place::Slot(slot),
            ..
        }) = plain.copied()
        {
            for _ in 0..shared_pointers {
                let address = body.builder.ins().stack_addr(types::I64, slot, 0);
                let variable = body.builder.declare_var(types::I64);
                body.builder.def_var(variable, address);
                body.pointers.push(variable);
            }
        }
        if body.pointers.is_empty() {
            body.callees
                .retain(|callee| !callee.pointers.contains(&true));
        }
    });
    function
}

fn declare_callees(body: &mut Body<'_, '_, '_>, callees: &[Part]) {
    for Part {
        name,
        shape: callee,
        ..
    } in callees
    {
        let sig_ref = body.builder.import_signature(callee.signature.clone());
        let func_ref = body.builder.import_function(ExtFuncData {
            name: ExternalName::testcase(name),
            signature: sig_ref,
            colocated: false,
            patchable: false,
        });
        body.callees.push(Callee {
            func_ref,
            sig_ref,
            signature: callee.signature.clone(),
            pointers: callee.pointers.clone(),
        });
    }
}

fn region(body: &mut Body<'_, '_, '_>, user_id: u32) -> Option<cranelift_codegen::ir::AliasRegion> {
    let regions = &mut body.builder.func.dfg.alias_regions;
    Some(regions.insert(AliasRegionData {
        user_id,
        description: format!("object {user_id}").into(),
    }))
}

/// A stack slot, filled with zeros.
fn add_slot(body: &mut Body<'_, '_, '_>, region_id: Option<u32>) {
    let region = region_id.and_then(|id| region(body, id));
    let data = StackSlotData::new(StackSlotKind::ExplicitSlot, OBJECT_BYTES, 4);
    let slot = body.builder.create_sized_stack_slot(data);
    let zero = body.builder.ins().iconst(types::I64, 0);
    let address = body.builder.ins().stack_addr(types::I64, slot, 0);
    let flags = MemFlagsData::trusted().with_alias_region(region);
    for offset in (0..OBJECT_BYTES as i32).step_by(8) {
        body.builder.ins().store(flags, zero, address, offset);
    }
    let place = Place::Slot(slot);
    body.objects.push(Object { place, region });
}

/// What is found through the `vmctx` parameter: a buffer behind a pointer, and the context's own tail.
fn add_context(body: &mut Body<'_, '_, '_>, context: Value) {
    let tail = body.builder.ins().iconst(types::I64, host::CONTEXT_TAIL);
    let tail = body.builder.ins().iadd(context, tail);
    let [context, tail] = [context, tail].map(|value| {
        let variable = body.builder.declare_var(types::I64);
        body.builder.def_var(variable, value);
        variable
    });
    for place in [Place::Behind(context), Place::Variable(tail)] {
        body.objects.push(Object {
            place,
            region: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the body of a program looks like on average: it should not all be straight lines.
    #[test]
    fn programs_verify() {
        let isa = crate::oracles::plain::isa();
        let mut loops = 0;
        for seed in 0..300 {
            let bytes = random_bytes(seed, 1500);
            let program = Program::draw(&mut Source::new(&bytes));
            for function in &program.functions {
                let verified = cranelift_codegen::verify_function(function, &*isa);
                assert!(verified.is_ok(), "seed {seed}: {verified:?}\n{function}");
            }
            let flow = regraft_regions::Flow::compute(program.main()).expect("blocks");
            let forest = regraft_regions::LoopForest::compute(program.main(), &flow);
            loops += forest.loops().count();
        }
        assert!(loops > 300, "{loops} loops");
    }
}
