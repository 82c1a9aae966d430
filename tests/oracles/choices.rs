//! What a case chooses about the engine that it runs on: detector, copies of counters, a saved profile, and more.
//!
//! Sampling alone finds nothing in a short run, so hooks without counters get their regions from a saved profile, which
//! publishes them before the first call.

use super::engines::{base, call, define, every_loop, greedy};
use super::plain::{Outcome, name_of};
use crate::generate::host::Host;
use crate::generate::{Program, Source};
use cranelift_codegen::ir::Function;
use regraft::config::Optimizer;
use regraft::optimizer::Passes;
use regraft::regions::{Counting, Policy, Profile};
use regraft::{Compilation, CompileMode, Config, Detection, Mode, Pacing, Reclamation, Sampling};
use std::sync::Arc;
use std::time::Duration;

/// Each input of an earlier run is used this many times in a row.
const REPEAT: usize = 2;

/// The bytes of a case, by what they decide.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    /// The program.
    pub program: &'a [u8],
    /// The body that a function is redefined as.
    pub alternative: &'a [u8],
    /// The engine.
    pub choices: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// Divides the bytes of a case.
    pub fn split(bytes: &'a [u8]) -> Self {
        let (rest, choices) = bytes.split_at(bytes.len() - bytes.len().min(CHOICE_BYTES));
        let (program, alternative) = rest.split_at(rest.len() - rest.len() / 3);
        Self {
            program,
            alternative,
            choices,
        }
    }
}

/// Bytes at the end of a case that choose the engine.
const CHOICE_BYTES: usize = 32;

/// What an engine is told of an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Nothing.
    Nothing,
    /// The regions that were formed.
    Regions,
    /// Counts of a run at tier 0.
    Counts,
    /// What another body did, as if it were this one's.
    Lie,
}

/// What a case chooses.
#[derive(Clone, Debug)]
pub struct Choices {
    /// The engine, but for the profile.
    pub config: Config,
    /// The profile.
    pub saved: Saved,
}

impl Choices {
    /// Draws an engine that tiers up.
    pub fn draw(source: &mut Source<'_>) -> Self {
        let sampled = source.percent(50);
        let detection = match sampled {
            true => Detection::Sampling(Sampling {
                interval: Duration::from_millis(1),
                samples: 1,
            }),
            false => Detection::Counters,
        };
        let kinds = [Saved::Regions, Saved::Counts, Saved::Lie];
        let saved = match sampled || source.percent(40) {
            true => source.pick(&kinds),
            false => Saved::Nothing,
        };
        let threshold = source.pick(&[1, 1, 4, 30]);
        let policy = match source.below(3) {
            0 => every_loop(),
            1 => greedy(),
            _ => Policy::default(),
        };
        let config = base(Mode::Tiered)
            .detection(detection)
            .counter_copies(source.pick(&[1, 2, 8]))
            .compile(match source.percent(30) {
                true => CompileMode::Background,
                false => CompileMode::Synchronous,
            })
            .workers(source.between(1, 3))
            .compilation(match source.percent(20) {
                true => Compilation::AtFirstCall,
                false => Compilation::AtDefinition,
            })
            .counting(source.pick(&[Counting::SpanningTree, Counting::EveryBlock]))
            .reclamation(source.pick(&[
                Reclamation::Automatic,
                Reclamation::Pinned,
                Reclamation::Announced,
            ]))
            .side_exits(!source.percent(20))
            .pacing(source.pick(&[Pacing::Counts, Pacing::Cost]))
            .patience(0.0)
            .loop_threshold(threshold)
            .entry_threshold(threshold)
            .side_exit_threshold(source.pick(&[1, 4]))
            .policy(policy)
            .templates(source.percent(70))
            .optimizer(match source.percent(50) {
                true => Optimizer {
                    passes: Passes::all(),
                    ..Optimizer::default()
                },
                false => Optimizer::off(),
            });
        Self { config, saved }
    }

    /// One line for a failure.
    pub fn describe(&self) -> String {
        let Config {
            detection,
            compile,
            workers,
            compilation,
            side_exits,
            pacing,
            thresholds,
            memory,
            testing,
            ..
        } = &self.config;
        format!(
            "; {detection:?}, saved: {:?}, {memory:?}, {testing:?}, {compile:?} ({workers:?}), {compilation:?}, {pacing:?}, \
             side exits: {side_exits}, {thresholds:?}, {:?}",
            self.saved, self.config.policy
        )
    }

    /// The configuration, with a profile if there is one.
    ///
    /// `other` is another body for the function at `position`.
    ///
    /// # Errors
    ///
    /// What goes wrong in the earlier run.
    pub fn config(
        &self,
        program: &Program,
        position: usize,
        other: &Function,
        host: &Host,
    ) -> Result<Config, String> {
        let regions = self
            .config
            .clone()
            .detection(Detection::Counters)
            .compile(CompileMode::Synchronous)
            .pacing(regraft::Pacing::Counts)
            .loop_threshold(self.config.thresholds.loops.min(4))
            .entry_threshold(self.config.thresholds.entries.min(4));
        let profile = match self.saved {
            Saved::Nothing => None,
            Saved::Regions => Some(earlier(program, regions, host)?),
            Saved::Counts => Some(earlier(program, base(Mode::Tier0), host)?),
            Saved::Lie => {
                let mut told = earlier(program, regions.clone(), host)?;
                let other_program = program.with(position, other.clone());
                let mut meant = earlier(&other_program, regions, host)?;
                let name = name_of(other);
                if let Some(saved) = told.functions.get_mut(&name)
                    && let Some(mut lie) = meant.functions.shift_remove(&name)
                {
                    lie.hash = saved.hash;
                    *saved = lie;
                }
                Some(told)
            }
        };
        Ok(self.config.clone().profile(profile.map(Arc::new)))
    }
}

/// The profile of a run of the program, written and read again.
fn earlier(program: &Program, config: Config, host: &Host) -> Result<Profile, String> {
    let (engine, main) = define(&program.functions, config, host)?;
    for args in &program.inputs {
        let mut first: Option<Outcome> = None;
        for _ in 0..REPEAT {
            let got = call(&engine, main, host, args)?;
            let first = first.get_or_insert_with(|| got.clone());
            if let Some(difference) = got.difference(first) {
                return Err(format!("the earlier run: {difference}"));
            }
        }
    }
    let saved = engine.profile();
    let text = saved.to_json();
    let read = Profile::from_json(&text).map_err(|error| error.to_string())?;
    match read == saved {
        true => Ok(read),
        false => Err(format!("the profile is read as another:\n{text}")),
    }
}
