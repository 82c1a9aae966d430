//! The code of a unit whose lazy stub was called: a first call, or a side exit that is taken for the first time.

use crate::context::Inner;
use crate::define::lazy::define_pending;
use crate::pipeline::continuation::resolve_continuation;
use crate::pipeline::first::first_version;
use crate::runtime::ahead::expect_callees;
use crate::tiering::detect::detect_saved;
use crate::units::subject::Subject;
use crate::units::table::Unit;
use regraft_executor::locks::read;
use std::sync::Arc;

/// Finds the code of a unit whose lazy stub was called; 0 if there is none.
pub(crate) fn resolve(engine: &Arc<Inner>, unit: u32) -> usize {
    let found = read(&engine.units).get(unit).cloned();
    let function = match found {
        Some(Unit::Function(function)) => function,
        Some(Unit::Continuation {
            function,
            body,
            formed,
            side,
            ..
        }) => {
            let (Some(body), Some(formed)) = (body.upgrade(), formed.upgrade()) else {
                return 0;
            };
            let subject = Subject::of(&function, &body);
            return subject.map_or(0, |subject| {
                resolve_continuation(engine, subject, &formed, side)
            });
        }
        _ => return 0,
    };
    if function.body().is_none() {
        define_pending(engine, &function);
    }
    let Some(body) = function.body() else {
        if function.local {
            tracing::error!(function = %function.name, "called before its module was finalized");
            return 0;
        }
        let symbol = engine.symbol_address(&function.name);
        if !function.bind(symbol) {
            // Somebody has defined or removed it meanwhile.
            return resolve(engine, unit);
        }
        if symbol.is_none() {
            tracing::error!(function = %function.name, "called, but never defined");
            return 0;
        }
        return function.slot.current();
    };
    match first_version(engine, &function, &body) {
        Ok(baseline) => {
            if function.publish_first(&body, baseline.version.entry) {
                detect_saved(engine, &function, &body);
                expect_callees(engine, &body);
            }
            function.slot.current()
        }
        // What has replaced it needs no asking.
        Err(_) if !function.is_current(&body) => function.slot.current(),
        Err(error) => {
            tracing::error!(function = %function.name, %error, "cannot be compiled");
            0
        }
    }
}
