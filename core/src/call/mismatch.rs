//! How a signature and Rust types can differ.

use cranelift_codegen::ir::Type;
use cranelift_codegen::isa::CallConv;

/// Where a signature and Rust types differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureMismatch {
    /// Rust cannot call this convention.
    #[error("the calling convention is {got}, not the host's {expected}")]
    CallConv {
        /// The convention of `extern "C"` on the host.
        expected: CallConv,
        /// The convention of the function.
        got: CallConv,
    },
    /// Not as many arguments as parameters.
    #[error("the function has {got} parameters, not {expected}")]
    ParameterCount {
        /// Elements of the tuple.
        expected: usize,
        /// Parameters of the function.
        got: usize,
    },
    /// Not as many results.
    #[error("the function has {got} results, not {expected}")]
    ResultCount {
        /// 0 for `()`, otherwise 1.
        expected: usize,
        /// Results of the function.
        got: usize,
    },
    /// A parameter has another type.
    #[error("parameter {index} is of type {got}, not {expected}")]
    Parameter {
        /// Position of the parameter.
        index: usize,
        /// The CLIF type of the Rust type.
        expected: Type,
        /// The type of the parameter.
        got: Type,
    },
    /// The result has another type.
    #[error("the result is of type {got}, not {expected}")]
    Result {
        /// The CLIF type of the Rust type.
        expected: Type,
        /// The type of the result.
        got: Type,
    },
    /// A value has a purpose, or an extension, that the Rust type does not stand for.
    #[error("{value} cannot be passed from Rust like this")]
    Special {
        /// The parameter or result as CLIF prints it.
        value: String,
    },
}
