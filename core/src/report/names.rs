//! What a report says by a word: enumerations, written to JSON by their names.

use crate::config::detection::FoundBy;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// An enumeration that is written by the names of its values.
macro_rules! names {
    ($($(#[$about:meta])* $name:ident { $($(#[$value_about:meta])* $value:ident = $text:literal,)+ })+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$value_about])* #[serde(rename = $text)] $value,)+
        }

        impl $name {
            /// The name in JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    )+};
}

names! {
    /// What a thread does for an engine.
    Phase {
        /// Running a client's closure that makes a definition.
        Define = "define",
        /// Checking and simplifying a definition, its control flow and loops, hooks and counters.
        Analyze = "analyze",
        /// Choosing the blocks of a region.
        Form = "form",
        /// Cutting a region out of its function.
        Extract = "extract",
        /// Checking what was cut out, where the configuration says so.
        Check = "check",
        /// Passes of the optimizer, inlining.
        Optimize = "optimize",
        /// Generating machine code at tier 0.
        GenerateTier0 = "generate_tier0",
        /// Generating machine code at tier 1.
        GenerateTier1 = "generate_tier1",
        /// Placing, linking and publishing code.
        Link = "link",
        /// Waiting: for a job, for another thread's code, for jobs to end.
        Wait = "wait",
    }

    /// What became of a function's saved profile.
    SavedState {
        /// It fits, and was used.
        Used = "used",
        /// It does not fit.
        Ignored = "ignored",
    }

    /// What a region was made of.
    RegionKind {
        /// A natural loop.
        Loop = "loop",
        /// A whole function.
        Function = "function",
        /// A path through a function.
        Path = "path",
    }

    /// What was decided about a part of a function.
    PartDecision {
        /// Nothing yet.
        None = "none",
        /// It is compiled again.
        Take = "take",
        /// It is not, for now.
        Skip = "skip",
        /// It cannot be.
        Refuse = "refuse",
    }

    /// What has become of a part of a function.
    PartState {
        /// It was not found hot.
        Cold = "cold",
        /// It waits for the compiler, or is in it.
        Compiling = "compiling",
        /// Running code reaches it at tier 1.
        Published = "published",
        /// It was decided against, for now.
        Skipped = "skipped",
        /// It has no hook.
        Refused = "refused",
        /// The compiler failed.
        Failed = "failed",
        /// The whole function is compiled instead.
        Superseded = "superseded",
        /// The engine was shut down before.
        Stopped = "stopped",
    }

    /// Whether the continuation of a side exit was compiled.
    SideExitState {
        /// No side exit to it was taken yet.
        Lazy = "lazy",
        /// It was.
        Compiled = "compiled",
        /// It could not be when that was last tried.
        Failed = "failed",
    }

    /// How control leaves a region.
    ExitKind {
        /// By an edge of the function's control-flow graph.
        Natural = "natural",
        /// By a return of the function.
        Return = "return",
        /// By a tail call.
        TailCall = "tail-call",
    }

    /// What happened to a function, or to a part of it.
    EventKind {
        /// It got its first definition.
        Defined = "defined",
        /// It got another one.
        Redefined = "redefined",
        /// It was removed.
        Removed = "removed",
        /// It was found hot.
        Hot = "hot",
        /// It waits for a compile thread.
        Queued = "queued",
        /// A version was compiled.
        Compiled = "compiled",
        /// Running code reaches a version at tier 1.
        Published = "published",
        /// A version at tier 1 was first seen running.
        Entered = "entered",
        /// A side exit of it is taken often.
        SideExitHot = "side-exit-hot",
        /// Its region is re-formed.
        ReFormed = "formed-again",
        /// The code of a version was freed.
        Freed = "freed",
    }
}

/// What found a part: an empty text where nothing did.
pub(super) mod found_by {
    use super::*;

    pub fn serialize<S: Serializer>(found: &Option<FoundBy>, to: S) -> Result<S::Ok, S::Error> {
        match found {
            Some(found) => found.serialize(to),
            None => to.serialize_str(""),
        }
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<FoundBy>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Found {
            By(FoundBy),
            Nothing(Nothing),
        }
        #[derive(Deserialize)]
        enum Nothing {
            #[serde(rename = "")]
            Nothing,
        }
        Ok(match Found::deserialize(from)? {
            Found::By(found) => Some(found),
            Found::Nothing(Nothing::Nothing) => None,
        })
    }
}
