//! What the processor can do, and what the settings ask for.

use crate::refusal::Refusal;
use cranelift_codegen::isa::TargetIsa;
use target_lexicon::{Architecture, OperatingSystem};

/// A target that there are templates for.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// `roundss`, `roundsd`.
    pub(crate) sse41: bool,
    pub(crate) popcnt: bool,
    pub(crate) lzcnt: bool,
    /// `tzcnt`.
    pub(crate) bmi1: bool,
    /// Frames from this size on are probed; 0: none is.
    pub(crate) probe_from: u32,
}

impl Target {
    /// Reads the features of the instruction set and the settings.
    ///
    /// # Errors
    ///
    /// [`Refusal::Target`] for any target but x86-64 Linux, and for settings that change what code looks like in a way
    /// that the templates do not know.
    pub fn new(isa: &dyn TargetIsa) -> Result<Self, Refusal> {
        let triple = isa.triple();
        let linux = matches!(triple.operating_system, OperatingSystem::Linux);
        if triple.architecture != Architecture::X86_64 || !linux {
            return Err(Refusal::Target);
        }
        let flags = isa.flags();
        let unknown = flags.is_pic()
            || flags.enable_pinned_reg()
            || flags.enable_llvm_abi_extensions()
            || flags.enable_nan_canonicalization();
        if unknown {
            return Err(Refusal::Target);
        }
        let has = |name: &str| {
            let flags = isa.isa_flags();
            let flag = flags.into_iter().find(|flag| flag.name == name);
            flag.and_then(|flag| flag.as_bool()).unwrap_or(false)
        };
        let guard = 1u32.checked_shl(u32::from(flags.probestack_size_log2()));
        Ok(Self {
            sse41: has("has_sse41"),
            popcnt: has("has_popcnt"),
            lzcnt: has("has_lzcnt"),
            bmi1: has("has_bmi1"),
            probe_from: match flags.enable_probestack() {
                true => guard.unwrap_or(u32::MAX),
                false => 0,
            },
        })
    }
}
