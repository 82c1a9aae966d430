//! The two tiers as Cranelift targets.
//!
//! Both are rebuilt from one source, the client's target or the native host: its triple, its flags, its
//! instruction set flags. A tier then sets what it is about, whatever the source says:
//!
//! | setting | tier 0 | tier 1 |
//! |---|---|---|
//! | `opt_level` | `none` | `speed` |
//! | `regalloc_algorithm` | `single_pass` | `backtracking` |
//! | `is_pic`, `use_colocated_libcalls` | `false` | `false` |
//! | `enable_multi_ret_implicit_sret` | `true` | `true` |
//! | `enable_probestack` | `true` | `true` |
//! | `probestack_strategy` | `inline` | `inline` |
//! | `preserve_frame_pointers` | `true` | `true` |
//! | `enable_verifier` | `false` | `false` |
//! | `machine_code_cfg_info` | `false` | `true` |
//!
//! The third line is what the linker needs: absolute relocations, but of calls of stubs. The fourth lets a region
//! return as many values as it has live-outs. Tail calls need frame pointers. The last says where the
//! loops are in the code, so that the linker can align one.
//! Frames beyond a page are probed, so that a stack overflow meets the guard page. What the client defines
//! is verified once, if its settings say so ([`TierIsas::verify`]), before it is transformed. Settings that change a calling convention are the same
//! in both tiers, so that their code can call each other.

use cranelift_codegen::CodegenError;
use cranelift_codegen::isa::{self, OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable, Flags, SetError};
use target_lexicon::Triple;

/// What both tiers need.
const COMMON: [(&str, &str); 7] = [
    ("is_pic", "false"),
    ("use_colocated_libcalls", "false"),
    ("enable_multi_ret_implicit_sret", "true"),
    ("enable_probestack", "true"),
    ("probestack_strategy", "inline"),
    ("preserve_frame_pointers", "true"),
    ("enable_verifier", "false"),
];
const TIER0: [(&str, &str); 3] = [
    ("opt_level", "none"),
    ("regalloc_algorithm", "single_pass"),
    ("machine_code_cfg_info", "false"),
];
const TIER1: [(&str, &str); 3] = [
    ("opt_level", "speed"),
    ("regalloc_algorithm", "backtracking"),
    // Where the loops are in the machine code.
    ("machine_code_cfg_info", "true"),
];

/// A target per tier.
#[derive(Clone)]
pub struct TierIsas {
    /// Compiles fast.
    pub tier0: OwnedTargetIsa,
    /// Compiles to fast code.
    pub tier1: OwnedTargetIsa,
    /// What tier 0 is made with, where there are templates for the target.
    pub template: Option<regraft_template::Target>,
    /// Whether the source asked for the verifier.
    pub verify: bool,
}

impl std::fmt::Debug for TierIsas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TierIsas")
            .field("triple", &self.tier0.triple().to_string())
            .finish_non_exhaustive()
    }
}

/// Why there are no targets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsaError {
    /// Neither Cranelift nor its backend for the host has such a setting.
    #[error("Cranelift has no setting {name}")]
    UnknownSetting {
        /// The name as given.
        name: String,
    },
    /// The setting exists, the value does not.
    #[error("{value} is not a value of the setting {name}")]
    BadValue {
        /// The name as given.
        name: String,
        /// The value as given.
        value: String,
    },
    /// The target is not the machine that this program runs on.
    #[error("code for {triple} cannot run on this host, {host}")]
    ForeignTarget {
        /// The target asked for.
        triple: String,
        /// The host.
        host: String,
    },
    /// Cranelift has no backend for the host, or it lacks what the backend needs.
    #[error("the host is not supported: {reason}")]
    UnsupportedHost {
        /// What Cranelift said.
        reason: String,
    },
    /// The settings contradict each other.
    #[error("the settings are inconsistent")]
    Inconsistent(#[source] CodegenError),
}

impl TierIsas {
    /// The tiers for the host and all its features.
    ///
    /// `extra` are settings of Cranelift or of its backend for the host, `enable_verifier` for
    /// example. Those in the table above are overridden.
    ///
    /// # Errors
    /// [`IsaError`].
    pub fn native(extra: &[(&str, &str)]) -> Result<Self, IsaError> {
        let mut target =
            cranelift_native::builder().map_err(|reason| IsaError::UnsupportedHost {
                reason: reason.to_owned(),
            })?;
        let mut flags = settings::builder();
        for &(name, value) in extra {
            match flags.set(name, value) {
                Err(SetError::BadName(_)) => set(&mut target, name, value)?,
                result => checked(result, name, value)?,
            }
        }
        Self::build(&flags, &target)
    }

    /// The tiers for a target that the client configured, with all its settings.
    ///
    /// # Errors
    /// [`IsaError::ForeignTarget`] when it is not the host, and otherwise [`IsaError`].
    pub fn from_isa(source: &dyn TargetIsa) -> Result<Self, IsaError> {
        let host = Triple::host();
        let triple = source.triple();
        if triple.architecture != host.architecture
            || triple.pointer_width() != host.pointer_width()
        {
            return Err(IsaError::ForeignTarget {
                triple: triple.to_string(),
                host: host.to_string(),
            });
        }
        let mut target =
            isa::lookup(triple.clone()).map_err(|error| IsaError::UnsupportedHost {
                reason: error.to_string(),
            })?;
        for flag in source.isa_flags() {
            set(&mut target, flag.name, &flag.value_string())?;
        }
        let mut flags = settings::builder();
        for flag in source.flags().iter() {
            set(&mut flags, flag.name, &flag.value_string())?;
        }
        Self::build(&flags, &target)
    }

    fn build(flags: &settings::Builder, target: &isa::Builder) -> Result<Self, IsaError> {
        let tier = |settings: &[(&str, &str)]| {
            let mut flags = flags.clone();
            for (name, value) in COMMON.iter().chain(settings) {
                set(&mut flags, name, value)?;
            }
            target
                .finish(Flags::new(flags))
                .map_err(IsaError::Inconsistent)
        };
        let tier0 = tier(&TIER0)?;
        Ok(Self {
            template: regraft_template::Target::new(&*tier0).ok(),
            tier0,
            tier1: tier(&TIER1)?,
            verify: Flags::new(flags.clone()).enable_verifier(),
        })
    }

    /// The triple of both tiers.
    pub fn triple(&self) -> &Triple {
        self.tier0.triple()
    }
}

/// Sets one setting, naming it in the error.
fn set(builder: &mut dyn Configurable, name: &str, value: &str) -> Result<(), IsaError> {
    checked(builder.set(name, value), name, value)
}

fn checked(result: Result<(), SetError>, name: &str, value: &str) -> Result<(), IsaError> {
    result.map_err(|error| match error {
        SetError::BadName(_) => IsaError::UnknownSetting {
            name: name.to_owned(),
        },
        SetError::BadType | SetError::BadValue(_) => IsaError::BadValue {
            name: name.to_owned(),
            value: value.to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::settings::{OptLevel, RegallocAlgorithm};

    #[test]
    fn the_tiers_differ_in_what_they_are_about() {
        let isas =
            TierIsas::native(&[("enable_verifier", "false"), ("opt_level", "speed")]).unwrap();
        let (zero, one) = (isas.tier0.flags(), isas.tier1.flags());
        assert_eq!(zero.opt_level(), OptLevel::None);
        assert_eq!(zero.regalloc_algorithm(), RegallocAlgorithm::SinglePass);
        assert_eq!(one.opt_level(), OptLevel::Speed);
        assert_eq!(one.regalloc_algorithm(), RegallocAlgorithm::Backtracking);
        for flags in [zero, one] {
            assert!(!flags.is_pic() && !flags.use_colocated_libcalls());
            assert!(flags.enable_multi_ret_implicit_sret() && !flags.enable_verifier());
        }
        assert!(!isas.verify);
    }

    #[test]
    fn a_clients_settings_are_kept() {
        let client = TierIsas::native(&[
            ("enable_llvm_abi_extensions", "true"),
            ("unwind_info", "false"),
            ("preserve_frame_pointers", "true"),
        ])
        .unwrap();
        let isas = TierIsas::from_isa(&*client.tier1).unwrap();
        let values = |isa: &OwnedTargetIsa| {
            let values = isa.isa_flags();
            values.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(values(&isas.tier0), values(&client.tier0));
        assert_eq!(
            isas.tier0.flags().hash_key(),
            client.tier0.flags().hash_key()
        );
        assert!(isas.tier0.flags().enable_llvm_abi_extensions());
        assert_eq!(isas.triple(), client.triple());
    }

    #[test]
    fn settings_of_the_backend_are_found() {
        let (name, value) = match std::env::consts::ARCH {
            "x86_64" => ("has_avx512f", "false"),
            "riscv64" => ("has_zbb", "false"),
            _ => ("has_lse", "false"),
        };
        assert!(TierIsas::native(&[(name, value)]).is_ok());
    }

    #[test]
    fn errors_name_the_setting() {
        assert!(matches!(
            TierIsas::native(&[("warp_speed", "9")]),
            Err(IsaError::UnknownSetting { name }) if name == "warp_speed"
        ));
        for value in ["maybe", ""] {
            assert!(matches!(
                TierIsas::native(&[("enable_verifier", value)]),
                Err(IsaError::BadValue { name, value: got }) if name == "enable_verifier" && got == value
            ));
        }
    }
}
