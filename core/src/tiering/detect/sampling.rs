//! The detector that looks from outside: samples of the program counter.
//!
//! ```text
//!   threads ── timers ──▶ handler ──▶ ring ──▶ one thread per process ──▶ engine ──▶ function, block
//!                                                                            │
//!                                            enough samples of a part ──▶ detected
//! ```
//!
//! A sample counts for the innermost loop with a hook around its block, or else for the function itself.
//! When a part has enough of them, formation gets a profile that is estimated from all samples of the
//! function (`regraft_regions::sampled`).
//!
//! Invariants:
//!
//! * Tier 0 does not count, and asks for nothing: what is compiled shows in a region's cell.
//! * A part that formation decides against needs eight times as many samples the next time.
//! * A thread is sampled from its first call of generated code that the engine knows of, until it ends or
//!   no engine samples any more; or while a [`SampledThread`] exists.
//!
//! Limitations: only time in tier-0 code of the function itself is seen, not time in what it calls. Where blocks are
//! not source locations already, numbers stand in for those of tier 0; a client that reads its compiled code sees them. The
//! profile is a guess (`regraft_regions::sampled`), so that regions hold more cold blocks than with
//! counters. With [`CompileMode::Synchronous`](crate::CompileMode) the thread that looks at samples
//! compiles, and the running one goes on.
//!
//! Not here: signals and timers (`timer`).

use super::{Detector, detected};
use crate::config::detection::FoundBy;
use crate::context::{Engine, Inner};
use crate::tiering::finding::Evidence;
use crate::units::part::HotPart;
use crate::units::tiering::Tiering;
use cranelift_codegen::ir::Block;
use regraft_executor::locks::read;
use regraft_executor::samples;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};

/// The part that a sample of a block counts for.
fn part_of(tiering: &Tiering, block: Block) -> HotPart {
    let mut around = tiering.analysis.loops.around(block);
    let hook = around.find_map(|loop_id| tiering.hook_of(loop_id));
    hook.map_or(HotPart::Function, HotPart::Loop)
}

/// A part with enough samples.
#[derive(Clone, Copy, Debug)]
struct Sampled {
    part: HotPart,
}

impl Detector for Sampled {
    fn found_by(&self) -> FoundBy {
        FoundBy::Sampling
    }

    fn hot_parts(&self, _tiering: &Tiering) -> Vec<HotPart> {
        vec![self.part]
    }

    fn evidence(&self, _part: HotPart) -> Evidence {
        Evidence::Current
    }
}

/// Asks for the samples of this engine's code, if it is to be sampled.
pub(crate) fn want_samples(engine: &Arc<Inner>) {
    let Some(sampling) = engine.sampling() else {
        return;
    };
    let weak: Weak<Inner> = Arc::downgrade(engine);
    match engine.session.sample(sampling.interval, weak) {
        // Nothing has set it before: the engine is new.
        Ok(wanted) => drop(engine.wanted.set(wanted)),
        Err(error) => tracing::error!(%error, "no samples; nothing gets hot"),
    }
}

impl samples::Sampled for Inner {
    fn sampled(self: Arc<Self>, pc: usize) {
        let Some(code) = self.codemap.sampled(pc) else {
            return;
        };
        let function = read(&self.units).function(code.function).cloned();
        let name = function.as_ref().map(|function| &*function.name);
        self.observer.sampled(name, &code);
        let Some(function) = function else {
            return;
        };
        let Some(body) = function.body() else {
            return;
        };
        // Code of an older definition, or of tier 1, says nothing about this one's tier 0.
        let tier0 = body.compiled().map(|baseline| baseline.version.entry);
        if code.tier != 0 || tier0 != Some(code.start) {
            return;
        }
        let found = body.tiering().zip(code.block).and_then(|(tiering, block)| {
            let samples = tiering.samples.as_ref()?;
            samples.add(part_of(tiering, block), block)
        });
        if let Some(part) = found {
            detected(&self, &function, &body, &Sampled { part });
        }
    }
}

/// A thread that is sampled as long as this exists. See [`Engine::sample_this_thread`].
#[derive(Debug)]
pub struct SampledThread {
    /// Whether the timer stops with it.
    started: bool,
    /// It belongs to its thread.
    thread: PhantomData<*const ()>,
}

impl Engine {
    /// Samples the calling thread, for clients that call raw pointers: threads that call through
    /// [`TypedFn`](crate::TypedFn), [`Engine::call`], [`Engine::catch`] or [`Engine::pinned`] are sampled by themselves.
    ///
    /// Does nothing with [`Detection::Counters`](crate::Detection), unless [`Observe::inspect`](crate::Observe) asks where time
    /// goes. What it returns stays with the thread:
    ///
    /// ```compile_fail,E0277
    /// # let engine = regraft::Engine::new(regraft::Config::default()).unwrap();
    /// let sampled = engine.sample_this_thread();
    /// std::thread::spawn(move || drop(sampled));
    /// ```
    pub fn sample_this_thread(&self) -> SampledThread {
        // Threads of another process are sampled when they are called.
        let sampling = self.inner.sampling();
        let sampling = sampling.filter(|_| self.inner.session.is_here());
        let started = sampling.is_some_and(|sampling| samples::start(sampling.interval));
        SampledThread {
            started,
            thread: PhantomData,
        }
    }
}

impl Drop for SampledThread {
    fn drop(&mut self) {
        if self.started {
            samples::stop();
        }
    }
}
