//! Tests of the executor that need generated code.

mod fork;
mod slots;
mod stacks;
