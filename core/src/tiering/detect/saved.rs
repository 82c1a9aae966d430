//! The detector that has seen an earlier run: its saved profile.
//!
//! A function is known by the hash of its CLIF, or of the client's key for it, whatever its name is. Where the profile has regions
//! that ran at tier 1, they are re-formed as they were last; where it has only counts, what they
//! show above the thresholds goes through the usual formation.
//!
//! Invariants:
//!
//! * *fits or ignored*: a profile that does not belong to this CLIF, or that was edited, is not used, and
//!   the report says why.
//! * Every region goes through the legality gate again, and through the policy's limit of its size.
//!
//! Limitations: counts are those of the earlier run's tier 0, which saw little of what was hot then.

use super::{Detector, detected};
use crate::config::Config;
use crate::config::detection::FoundBy;
use crate::context::Inner;
use crate::tiering::finding::Evidence;
use crate::units::function::{Body, FunctionUnit};
use crate::units::part::HotPart;
use crate::units::tiering::Tiering;
use regraft_regions::{
    FunctionProfile, ProfileError, Region, SavedFunction, function_hash, instruction_count,
};
use std::sync::Arc;

/// What a saved profile says about a function that is hot.
#[derive(Debug)]
struct SavedHot {
    counts: Arc<FunctionProfile>,
    /// The parts, with the regions that they were.
    parts: Vec<(HotPart, Option<Region>)>,
}

impl Detector for SavedHot {
    fn found_by(&self) -> FoundBy {
        FoundBy::Profile
    }

    fn hot_parts(&self, _tiering: &Tiering) -> Vec<HotPart> {
        self.parts.iter().map(|&(part, _)| part).collect()
    }

    fn evidence(&self, part: HotPart) -> Evidence {
        let mut parts = self.parts.iter();
        let found = parts.find(|(found, _)| *found == part);
        match found.and_then(|(_, region)| region.clone()) {
            Some(region) => Evidence::Region(Box::new(region)),
            None => Evidence::Counts(Arc::clone(&self.counts)),
        }
    }
}

/// Has the parts of a function compiled that its saved profile shows hot, once.
pub(crate) fn detect_saved(engine: &Arc<Inner>, function: &Arc<FunctionUnit>, body: &Arc<Body>) {
    let (Some(profiles), Some(tiering)) = (&engine.saved_profiles, body.tiering()) else {
        return;
    };
    let mut hot = None;
    tiering.saved_use.get_or_init(|| {
        let known_by = match profiles.by_key {
            true => Some(body.known_by()?),
            false => body.written_hash,
        };
        // The key stands for the CLIF: where there is nothing under it, nothing is printed and hashed.
        if profiles.by_key && known_by.and_then(|hash| profiles.rank(hash)).is_none() {
            return None;
        }
        let source = body.client_source();
        let hash = function_hash(&source);
        // Tools know a function by what the client wrote, the engine by what it made of that.
        let written = known_by.and_then(|written| {
            let found = profiles.find(&function.name, written)?;
            (found.hash == written).then(|| SavedFunction {
                hash,
                ..found.clone()
            })
        });
        let saved = match &written {
            Some(saved) => saved,
            None => profiles.find(&function.name, hash)?,
        };
        let fitted = saved_hot(&engine.config, tiering, &source, saved);
        Some(fitted.map(|fitted| hot = Some(fitted)))
    });
    if let Some(Some(Err(error))) = tiering.saved_use.get() {
        tracing::warn!(function = %function.name, %error, "its saved profile is ignored");
    }
    if let Some(hot) = hot {
        detected(engine, function, body, &hot);
    }
}

/// Finds what was saved in the function again, and what of it was hot.
fn saved_hot(
    config: &Config,
    tiering: &Tiering,
    source: &cranelift_codegen::ir::Function,
    saved: &SavedFunction,
) -> Result<SavedHot, ProfileError> {
    let flow = &tiering.analysis.flow;
    let loops = &tiering.analysis.loops;
    let counts = Arc::new(saved.to_profile(source, flow)?);
    let regions = saved.to_regions(source, flow, loops)?;
    let parts = if regions.is_empty() {
        hot_by_counts(config, tiering, &counts)
    } else {
        let small = regions.into_iter().filter(|region| {
            let instructions = region.blocks().iter().map(|b| instruction_count(source, b));
            instructions.sum::<u64>() <= config.policy.max_region_instructions as u64
        });
        let parts: Vec<_> = small
            .filter_map(|region| Some((part_at(tiering, &region)?, Some(region))))
            .collect();
        // A function at tier 1 has no use for the hooks of its tier 0.
        let whole = parts.iter().find(|(part, _)| *part == HotPart::Function);
        match whole {
            Some(whole) => vec![whole.clone()],
            None => parts,
        }
    };
    Ok(SavedHot { counts, parts })
}

/// The part that a region was made of, if it can be made of that here.
fn part_at(tiering: &Tiering, region: &Region) -> Option<HotPart> {
    let loops = &tiering.analysis.loops;
    match loops.loop_of_header(region.entry()) {
        Some(loop_id) => tiering.hook_of(loop_id).map(HotPart::Loop),
        None => Some(HotPart::Function),
    }
}

/// What counts show above the thresholds: inner loops before outer ones, as counters would find them.
fn hot_by_counts(
    config: &Config,
    tiering: &Tiering,
    counts: &FunctionProfile,
) -> Vec<(HotPart, Option<Region>)> {
    let hooks = tiering.hooks.iter().enumerate().rev();
    let hot = hooks.filter(|(_, hook)| {
        counts.block(hook.region.entry()) >= u64::from(config.thresholds.loops.max(1))
    });
    let called = counts.entries() >= u64::from(config.thresholds.entries.max(1));
    let parts = hot.map(|(hook, _)| HotPart::Loop(hook));
    let parts = parts.chain(called.then_some(HotPart::Function));
    parts.map(|part| (part, None)).collect()
}
