//! Whose code is compiled: a function, its definition, and what tiering up knows of that.

use crate::code::codemap::{CodeUnit, Origin};
use crate::units::function::{Body, FunctionUnit};
use crate::units::tiering::Tiering;
use std::sync::Arc;

/// A function with the definition that is worked on, whose first version counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub function: &'a FunctionUnit,
    pub body: &'a Arc<Body>,
    pub tiering: &'a Tiering,
}

impl<'a> Subject<'a> {
    /// The function with this definition, if its first version is there and counts.
    pub fn of(function: &'a FunctionUnit, body: &'a Arc<Body>) -> Option<Self> {
        Some(Self {
            function,
            body,
            tiering: body.tiering()?,
        })
    }

    /// What a piece of its code is generated from.
    pub fn origin(self, unit: CodeUnit) -> Origin {
        self.body.origin(self.function, unit)
    }
}
