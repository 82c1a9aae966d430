//! What a run finds of earlier ones, and what it leaves for later ones.
//!
//! Invariants:
//!
//! * *harmless*: what cannot be read is as good as nothing; only what cannot be written is an error.
//! * The profile names what there is no code of: where code is kept, mostly nothing. In the order in which it got to tier 1, which is
//!   that of what compiling gains by what it costs, as the queue takes the most urgent job first.
//!
//! Not here: the file of the code ([`crate::units::kept`]).

use crate::code::isa::TierIsas;
use crate::config::Config;
use crate::config::warm::{Digest, WarmStart};
use crate::context::{Engine, Inner};
use crate::error::Error;
use crate::pacing::compile_time;
use crate::pacing::rule::RULE;
use crate::pipeline::first::compile_to_keep;
use crate::pipeline::keep::code_kept;
use crate::units::function::{Body, FunctionUnit};
use crate::units::kept::Kept;
#[cfg(feature = "json")]
use crate::units::kept::write_whole;
use crate::units::part::HotPart;
use crate::units::tiering::Tiering;
use regraft_executor::locks::lock;
use regraft_regions::Profile;
#[cfg(feature = "json")]
use regraft_regions::SavedFunction;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// For so long functions are compiled when a warm start is saved even if the engine has run for less: enough for what short
/// programs run, so that their second run finds all of it.
const LEAST_SPENT: Duration = Duration::from_secs(1);

/// What earlier runs of the program have kept, if the configuration says where.
pub(super) fn open(config: &Config, isas: &TierIsas) -> Option<Kept> {
    let start = config.warm_start.clone()?;
    let settings = settings(&start, config, isas);
    Some(Kept::open(start, settings))
}

/// All that decides what code is made of a definition: settings, features of the processor, versions, the program that has
/// the compiler in it, and what the client adds to that.
fn settings(start: &WarmStart, config: &Config, isas: &TierIsas) -> Digest {
    let tier = &isas.tier1;
    let flags = tier.isa_flags();
    let flags = flags.iter().map(ToString::to_string);
    let program = std::fs::metadata("/proc/self/exe");
    let program = program.map(|program| {
        let (size, made) = (program.len(), program.mtime());
        (size, made, program.mtime_nsec())
    });
    let parts = [
        format!("{:?}", start.program),
        env!("CARGO_PKG_VERSION").to_string(),
        cranelift_codegen::VERSION.to_string(),
        format!("{:?}", program.ok()),
        isas.triple().to_string(),
        tier.flags().to_string(),
        format!("{:?} {}", config.mode, config.block_locations),
        format!(
            "{:?} {:?}",
            config.optimizer.passes, config.optimizer.policy
        ),
        config.executor.is_here().to_string(),
    ];
    Digest::of(parts.into_iter().chain(flags))
}

/// The profile of an earlier run; nothing, and a warning, where it is none.
#[cfg(feature = "json")]
pub(super) fn earlier_profile(kept: &Kept) -> Option<Arc<Profile>> {
    match Profile::from_json(&kept.profile()?) {
        Ok(profile) => Some(Arc::new(profile)),
        Err(error) => {
            tracing::warn!(path = %kept.profile_path().display(), %error, "ignored");
            None
        }
    }
}

/// Profiles are JSON.
#[cfg(not(feature = "json"))]
pub(super) fn earlier_profile(_: &Kept) -> Option<Arc<Profile>> {
    None
}

impl Engine {
    /// Leaves for later runs what this one has found: machine code of functions that ran, and the profile of what was hot
    /// and has no code yet. Where [`Config::warm_start`](field@crate::Config::warm_start) says nothing, nothing is done.
    ///
    /// What ran and was never compiled as a whole at tier 1 is compiled now, by as many threads as there are processors, in the
    /// order of what that gains, for as long as [`WarmStart::spend`](field@crate::warm::WarmStart::spend) says. Call it when
    /// the program has ended, or whenever there is time.
    ///
    /// # Errors
    ///
    /// `WarmStart`, where files cannot be written.
    pub fn save_warm_start(&self) -> Result<(), Error> {
        let engine = &*self.inner;
        let Some(kept) = &engine.kept else {
            return Ok(());
        };
        if code_kept(engine).is_some() {
            let age = Duration::from_micros(engine.account.report().micros);
            let spend = kept.start.spend.unwrap_or(age.max(LEAST_SPENT));
            compile_rest(engine, kept, Instant::now() + spend);
        }
        let saved = kept.save().and_then(|()| save_profile(engine, kept));
        saved.map_err(|source| Error::WarmStart {
            directory: kept.start.directory.clone(),
            source,
        })
    }
}

/// A function that ran at tier 0, and how much there is to gain.
struct Candidate {
    function: Arc<FunctionUnit>,
    body: Arc<Body>,
    gain: f64,
}

/// Compiles what ran and has no code that can be kept, until it is time to stop.
fn compile_rest(engine: &Inner, kept: &Kept, until: Instant) {
    let functions = engine.functions().into_iter();
    let ran = functions.filter_map(|function| {
        let body = function.body()?;
        let gain = gain(body.tiering()?)?;
        let key = body.key?;
        (!kept.has(&key.digest)).then_some(Candidate {
            function,
            body,
            gain,
        })
    });
    let mut ran: Vec<Candidate> = ran.collect();
    // The greatest last, where it is taken first.
    ran.sort_by(|a, b| a.gain.total_cmp(&b.gain));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(ran.len());
    let ran = Mutex::new(ran);
    let work = || {
        loop {
            let next = lock(&ran).pop();
            let Some(Candidate { function, body, .. }) = next else {
                break;
            };
            if Instant::now() + compile_time(&body.source) / 2 > until {
                continue;
            }
            if let Err(error) = compile_to_keep(engine, &function, &body) {
                tracing::debug!(function = %function.name, %error, "not kept");
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
}

/// How much compiling a function gains by what it costs; `None` if it never ran. What is at tier 1 comes first, as its counts
/// have stopped.
fn gain(tiering: &Tiering) -> Option<f64> {
    let hooks = (0..tiering.hooks.len()).map(HotPart::Loop);
    let parts = hooks.chain([HotPart::Function]);
    let executed = parts.map(|part| (part, tiering.executions(part)));
    let lost = executed
        .filter(|&(_, executions)| executions > 0)
        .map(|(part, executions)| RULE.urgency(tiering.weight(part), executions));
    let lost = lost.reduce(f64::max);
    match first_at_tier1(tiering) {
        Some(serial) => Some(f64::MAX / (serial + 1) as f64),
        None => lost,
    }
}

/// When something of a function was first made at tier 1, as a number that grows.
fn first_at_tier1(tiering: &Tiering) -> Option<u64> {
    let state = tiering.state();
    let parts = state.hooks.iter().chain([&state.whole]);
    let versions = parts.flat_map(|part| &part.versions);
    versions.filter_map(|version| version.serial()).min()
}

/// Writes which functions were hot, and have no code yet: of this run, and of earlier ones where this one does not know better.
#[cfg(feature = "json")]
fn save_profile(engine: &Inner, kept: &Kept) -> std::io::Result<()> {
    let earlier = engine.saved_profiles.as_ref().map(|saved| saved.profile());
    let mut hot = vec![];
    let mut seen = std::collections::HashSet::new();
    for function in engine.functions() {
        let Some(body) = function.body() else {
            continue;
        };
        let Some(hash) = body.known_by() else {
            continue;
        };
        if body.key.is_some_and(|key| kept.has(&key.digest)) {
            seen.insert(hash);
        }
        if let Some(tiering) = body.tiering()
            && let Some(serial) = first_at_tier1(tiering)
            && seen.insert(hash)
        {
            let saved = SavedFunction {
                hash,
                entries: tiering.counters.entry_count(),
                exact: false,
                blocks: Default::default(),
                edges: vec![],
                regions: tiering.state().regions(),
            };
            hot.push((serial, function.unique_name(|_| false), saved));
        }
    }
    hot.sort_by_key(|&(serial, ..)| serial);
    let mut profile = Profile::new();
    for (_, name, saved) in hot {
        profile.functions.insert(name, saved);
    }
    for (name, saved) in earlier.iter().flat_map(|earlier| &earlier.functions) {
        if !seen.contains(&saved.hash) && !profile.functions.contains_key(name) {
            profile.functions.insert(name.clone(), saved.clone());
        }
    }
    let known = earlier.is_some_and(|earlier| *earlier == profile);
    if known || (earlier.is_none() && profile.functions.is_empty()) {
        return Ok(());
    }
    write_whole(&kept.profile_path(), profile.to_json().as_bytes())
}

/// Profiles are JSON.
#[cfg(not(feature = "json"))]
fn save_profile(_: &Inner, _: &Kept) -> std::io::Result<()> {
    Ok(())
}
