//! Which proposals are supported, and what a refused module is missing.

use crate::error::Error;
use wasmparser::{Validator, WasmFeatures};

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
    let valid = |features| Validator::new_with_features(features).validate_all(bytes);
    let Err(error) = valid(supported()) else {
        return Ok(());
    };
    let mut everything = supported();
    for (feature, _) in NAMED {
        everything |= feature;
    }
    if valid(everything).is_err() {
        return Err(error.into());
    }
    // What can be taken away is not needed.
    let mut needed = everything;
    for (feature, _) in NAMED {
        if valid(needed - feature).is_ok() {
            needed -= feature;
        }
    }
    let missing: Vec<&str> = NAMED
        .iter()
        .filter(|(feature, _)| needed.contains(*feature))
        .map(|(_, name)| *name)
        .collect();
    Err(Error::Unsupported {
        what: match missing[..] {
            [] => error.message().to_string(),
            [one] => format!("the proposal {one}"),
            _ => format!("the proposals {}", missing.join(", ")),
        },
    })
}
