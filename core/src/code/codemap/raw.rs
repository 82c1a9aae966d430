//! The tables of a version as numbers, to be kept.
//!
//! Not here: the code that they are of ([`crate::code::kept`]).

use super::CodeTables;
use super::handlers::HandledCalls;
use cranelift_codegen::ir::{ExceptionTag, SourceLoc, TrapCode};
use serde::{Deserialize, Serialize};

/// What the code generator says about addresses of one version, as numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RawTables {
    len: u32,
    /// Offset, trap code.
    traps: Vec<(u32, u8)>,
    /// Start, end, location.
    locations: Vec<(u32, u32, u32)>,
    calls: Vec<RawCall>,
}

/// A call with exception handlers: where it returns to, the size of its frame, tags and places of the handlers.
type RawCall = (u32, u32, Vec<(Option<u32>, u32)>);

impl RawTables {
    /// Tables as numbers.
    pub fn of(tables: &CodeTables) -> Self {
        let traps = tables.traps.iter();
        let locations = tables.locations.iter();
        Self {
            len: tables.len,
            traps: traps
                .map(|(offset, code)| (*offset, code.as_raw().get()))
                .collect(),
            locations: locations
                .map(|(start, end, location)| (*start, *end, location.bits()))
                .collect(),
            calls: tables.calls.to_raw(),
        }
    }

    /// Whether they can be those of code of this length.
    pub fn fits(&self, length: u32) -> bool {
        let traps = self.traps.iter();
        let calls = self.calls.iter();
        self.len == length
            && traps.clone().all(|&(offset, _)| offset < length)
            && self.traps.is_sorted_by_key(|trap| trap.0)
            && self.locations.is_sorted_by(|a, b| a.1 <= b.0)
            && self.locations.iter().all(|(start, end, _)| start <= end)
            && self.calls.is_sorted_by_key(|call| call.0)
            && calls.clone().all(|(returns_to, _, handlers)| {
                *returns_to <= length && handlers.iter().all(|&(_, at)| at < length)
            })
    }

    /// The tables, if all numbers mean something.
    pub fn tables(self) -> Option<CodeTables> {
        let traps = self.traps.into_iter();
        let traps =
            traps.map(|(offset, code)| Some((offset, TrapCode::from_raw(code.try_into().ok()?))));
        let traps: Option<Vec<(u32, TrapCode)>> = traps.collect();
        let locations = self.locations.into_iter();
        let locations = locations.map(|(start, end, bits)| (start, end, SourceLoc::new(bits)));
        Some(CodeTables {
            len: self.len,
            traps: traps?.into(),
            locations: locations.collect(),
            calls: HandledCalls::from_raw(self.calls),
        })
    }
}

impl HandledCalls {
    fn to_raw(&self) -> Vec<RawCall> {
        let calls = self.0.iter();
        let raw = calls.map(|call| {
            let handlers = call.handlers.iter();
            let handlers = handlers.map(|(tag, at)| (tag.map(ExceptionTag::as_u32), *at));
            (call.returns_to, call.frame_size, handlers.collect())
        });
        raw.collect()
    }

    fn from_raw(raw: Vec<RawCall>) -> Self {
        let calls = raw.into_iter();
        let calls = calls.map(|(returns_to, frame_size, handlers)| {
            let handlers = handlers.into_iter();
            let handlers = handlers.map(|(tag, at)| (tag.map(ExceptionTag::from_u32), at));
            super::handlers::HandledCall {
                returns_to,
                frame_size,
                handlers: handlers.collect(),
            }
        });
        Self(calls.collect())
    }
}
