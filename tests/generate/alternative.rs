//! Another body for one of a program's functions: what it is redefined as.
//!
//! Same signature, same callees, same use of the host, so that every program in which one body takes the other's place
//! is as good as the program.

use super::{Program, Source, draw_function};
use cranelift_codegen::ir::Function;

impl Program {
    /// Draws a program that ends, and for one of its functions, mostly the one under test, another body.
    ///
    /// The body comes from `other`: the function's position.
    pub fn draw_with_alternative(
        source: &mut Source<'_>,
        other: &mut Source<'_>,
    ) -> (Self, usize, Function) {
        let (program, parts) = Self::draw_with(source, false);
        let last = parts.len() - 1;
        let position = match other.percent(30) {
            true => other.below(parts.len()),
            false => last,
        };
        let function = draw_function(other, &parts[position], &parts[..position]);
        (program, position, function)
    }

    /// The program with this function in place of another.
    pub fn with(&self, position: usize, function: Function) -> Self {
        let mut functions = self.functions.clone();
        functions[position] = function;
        Self {
            functions,
            inputs: self.inputs.clone(),
            interpretable: self.interpretable,
        }
    }
}
