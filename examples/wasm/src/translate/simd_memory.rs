//! Loads and stores of vectors.

use super::Translator;
use crate::error::Error;
use wasmparser::Operator;

impl Translator<'_> {
    pub(super) fn simd_memory(&mut self, _op: &Operator<'_>) -> Result<bool, Error> {
        Ok(false)
    }
}
