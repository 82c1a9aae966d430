//! Which proposals are supported, and what a refused module is missing.

use crate::error::Error;
use wasmparser::{
    BinaryReaderError, FuncValidatorAllocations, Parser, ValidPayload, Validator, WasmFeatures,
};

/// What is supported: WebAssembly 2.0, and from 3.0 tail calls, extended constant expressions, several
/// memories and exceptions.
pub(crate) fn supported() -> WasmFeatures {
    WasmFeatures::MVP
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::EXCEPTIONS
}

/// Everything that the parser knows of modules, by the names of the proposals.
const NAMED: [(WasmFeatures, &str); 12] = [
    (WasmFeatures::RELAXED_SIMD, "relaxed-simd"),
    (WasmFeatures::THREADS, "threads"),
    (
        WasmFeatures::SHARED_EVERYTHING_THREADS,
        "shared-everything-threads",
    ),
    (WasmFeatures::LEGACY_EXCEPTIONS, "legacy exception-handling"),
    (WasmFeatures::MEMORY64, "memory64"),
    (WasmFeatures::FUNCTION_REFERENCES, "function-references"),
    (WasmFeatures::GC, "gc"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom-page-sizes"),
    (WasmFeatures::STACK_SWITCHING, "stack-switching"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide-arithmetic"),
    (WasmFeatures::MEMORY_CONTROL, "memory-control"),
    (WasmFeatures::COMPACT_IMPORTS, "compact-import-section"),
];

/// Validates a module.
///
/// # Errors
///
/// `Unsupported` where the module would be valid with proposals that are not supported, `Invalid`
/// otherwise.
pub(crate) fn validate(bytes: &[u8]) -> Result<(), Error> {
    if bytes.get(4..8) == Some(&[0x0d, 0, 1, 0]) {
        return Err(Error::Unsupported {
            what: "the component model".to_string(),
        });
    }
    let Err(first) = check(bytes, supported(), Part::All) else {
        return Ok(());
    };
    let mut everything = supported();
    for (feature, _) in NAMED {
        everything |= feature;
    }
    if check(bytes, everything, Part::All).is_err() {
        return Err(first.error.into());
    }
    let mut needed = supported();
    let mut failed = first.clone();
    let mut missing = vec![];
    // Each turn gets past a function, or past what comes before all of them.
    while let Some(more) = needed_for(bytes, everything - needed, needed, failed.at) {
        needed |= more;
        match check(bytes, needed, Part::From(failed.at)) {
            Ok(()) => break,
            Err(next) => failed = next,
        }
    }
    for (feature, name) in NAMED {
        if needed.contains(feature) {
            missing.push(name);
        }
    }
    Err(Error::Unsupported {
        what: match missing[..] {
            [] => first.error.message().to_string(),
            [one] => format!("the proposal {one}"),
            [ref others @ .., last] => {
                format!("the proposals {} and {last}", others.join(", "))
            }
        },
    })
}

/// The least of `candidates` that gets the module past `at`, besides what is `known` to be needed; nothing if it needs
/// none of them there.
fn needed_for(
    bytes: &[u8],
    candidates: WasmFeatures,
    known: WasmFeatures,
    at: usize,
) -> Option<WasmFeatures> {
    let passes = |more| check(bytes, known | more, Part::Only(at)).is_ok();
    let mut more = candidates;
    for (feature, _) in NAMED {
        // What can be taken away is not needed.
        if more.contains(feature) && passes(more - feature) {
            more -= feature;
        }
    }
    (!more.is_empty()).then_some(more)
}

/// Which function bodies are checked, by their position; everything that is not a body always is.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// All of them.
    All,
    /// This one and those after it.
    From(usize),
    /// This one alone; none, where it is [`BEFORE`].
    Only(usize),
}

/// The position of what comes before all bodies.
const BEFORE: usize = usize::MAX;

impl Part {
    fn has(self, at: usize) -> bool {
        match self {
            Self::All | Self::From(BEFORE) => true,
            Self::From(first) => at >= first,
            Self::Only(only) => at == only,
        }
    }
}

/// What is wrong, and in which body.
#[derive(Clone)]
struct Failed {
    error: BinaryReaderError,
    at: usize,
}

/// Validates a part of a module. Bodies are by far the most of large ones: each is checked once for each set of
/// features that the module turns out to need, and no more than that.
fn check(bytes: &[u8], features: WasmFeatures, part: Part) -> Result<(), Failed> {
    let before = |error| Failed { error, at: BEFORE };
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut bodies = vec![];
    for payload in parser.parse_all(bytes) {
        let payload = validator.payload(&payload.map_err(before)?);
        if let ValidPayload::Func(function, body) = payload.map_err(before)? {
            bodies.push((function, body));
        }
    }
    let mut allocations = FuncValidatorAllocations::default();
    for (at, (function, body)) in bodies.into_iter().enumerate() {
        if !part.has(at) {
            continue;
        }
        #[cfg(test)]
        tests::CHECKED.set(tests::CHECKED.get() + body.as_bytes().len());
        let mut validator = function.into_validator(allocations);
        let checked = validator.validate(&body);
        checked.map_err(|error| Failed { error, at })?;
        allocations = validator.into_allocations();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// How many bytes of bodies were checked on this thread.
        pub static CHECKED: Cell<usize> = const { Cell::new(0) };
    }

    fn assemble(text: &str) -> Vec<u8> {
        let buffer = wast::parser::ParseBuffer::new(text).unwrap();
        let mut module = wast::parser::parse::<wast::Wat<'_>>(&buffer).unwrap();
        module.encode().unwrap()
    }

    fn refusal(text: &str) -> String {
        validate(&assemble(text)).unwrap_err().to_string()
    }

    #[test]
    fn proposals_are_named_in_a_sentence() {
        let one = refusal("(module (memory i64 1))");
        assert!(one.ends_with("the proposal memory64"), "{one}");
        let two = refusal(
            "(module (memory i64 1)
                (func (drop (i32.atomic.load (i64.const 0)))))",
        );
        assert!(two.ends_with("the proposals threads and memory64"), "{two}");
        let three = refusal(
            "(module (memory i64 1)
                (func (drop (i32.atomic.load (i64.const 0))))
                (func (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)) (drop) (drop)))",
        );
        let all = ["threads", "memory64", "wide-arithmetic"];
        assert!(all.iter().all(|name| three.contains(name)), "{three}");
        assert!(three.contains(", ") && three.contains(" and "), "{three}");
    }

    /// A function that everything is needed for, at the end of many that need nothing, or at their beginning.
    #[test]
    fn bodies_are_checked_a_few_times() {
        let plain =
            "(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))".repeat(5000);
        let needy = "(func (param i32) (i32.atomic.store (local.get 0) (i32.const 1))
            (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)) (drop) (drop))";
        for functions in [format!("{plain}{needy}"), format!("{needy}{plain}")] {
            let bytes = assemble(&format!("(module (memory 1) {functions})"));
            CHECKED.set(0);
            let refused = validate(&bytes).unwrap_err().to_string();
            assert!(refused.contains("threads and wide-arithmetic"), "{refused}");
            let checked = CHECKED.get();
            assert!(checked < 3 * bytes.len(), "{checked} of {}", bytes.len());
        }
    }
}
