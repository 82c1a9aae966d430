//! From names to addresses: every relocation checked before one byte is written.
//!
//! Invariants: what comes out can be applied by cranelift-jit at the writable address of the code
//! without a panic, and is right at the address where the code runs.

use super::LinkError;
use super::object::{ObjectCode, Relocation, Target};
use cranelift_codegen::binemit::{CodeOffset, Reloc};
use cranelift_module::ModuleRelocTarget;

/// A relocation with an address.
#[derive(Debug)]
pub struct Resolved {
    /// How the address is written.
    pub kind: Reloc,
    /// Where.
    pub offset: CodeOffset,
    /// The address to write: of the target, addend included; moved to the writable view where the
    /// relocation is relative to its own place.
    pub address: usize,
}

/// Finds the address of every name, and checks that it can be written.
///
/// `entry` is where the code will run, `writable` where it is written.
pub fn resolve_all(
    code: &ObjectCode,
    entry: usize,
    writable: usize,
    resolve: &dyn Fn(&ModuleRelocTarget) -> Option<usize>,
) -> Result<Box<[Resolved]>, LinkError> {
    let relocations = code.relocations.iter();
    let resolved = relocations.map(|reloc| {
        let target = match &reloc.target {
            Target::Name(name) => resolve(name),
            Target::Own(offset) => entry.checked_add(*offset as usize),
            Target::Unknown => None,
        };
        let target = target.ok_or_else(|| LinkError::UnresolvedSymbol {
            name: reloc.target.to_string(),
        })?;
        resolve_one(reloc, target, code.bytes.len(), entry, writable)
    });
    resolved.collect()
}

fn resolve_one(
    reloc: &Relocation,
    target: usize,
    len: usize,
    entry: usize,
    writable: usize,
) -> Result<Resolved, LinkError> {
    let &Relocation {
        kind,
        offset,
        addend,
        ..
    } = reloc;
    let out_of_range = || LinkError::OutOfRange {
        offset,
        name: reloc.target.to_string(),
        addend,
    };
    let reach = Reach::of(kind).ok_or_else(|| LinkError::Relocation {
        kind,
        offset,
        name: reloc.target.to_string(),
    })?;
    let addend = isize::try_from(addend).ok();
    let address = addend.and_then(|addend| target.checked_add_signed(addend));
    let address = address.ok_or_else(out_of_range)?;
    let end = (offset as usize).checked_add(reach.width());
    if end.is_none_or(|end| end > len) {
        return Err(out_of_range());
    }
    let at = entry.wrapping_add(offset as usize);
    if !reach.spans(at, address) {
        return Err(LinkError::OutOfReach {
            kind,
            offset,
            name: reloc.target.to_string(),
            address,
        });
    }
    let moved = writable.wrapping_sub(entry);
    Ok(Resolved {
        kind,
        offset,
        address: match reach {
            Reach::Absolute { .. } => address,
            Reach::Relative { .. } | Reach::RelativePage | Reach::RelativeHalves => {
                address.wrapping_add(moved)
            }
        },
    })
}

/// Which addresses a kind of relocation can express.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// Every address of that many bytes.
    Absolute { width: usize, bits: u32 },
    /// Signed distances of that many bits.
    Relative { bits: u32 },
    /// Signed distances between pages, of 32 bits.
    RelativePage,
    /// Signed distances of 32 bits, whose upper 20 and lower 12 bits are in two instructions.
    RelativeHalves,
}

impl Reach {
    /// None for kinds that this linker does not apply.
    fn of(kind: Reloc) -> Option<Self> {
        Some(match kind {
            Reloc::Abs8 => Self::Absolute { width: 8, bits: 64 },
            Reloc::Abs4 => Self::Absolute { width: 4, bits: 32 },
            Reloc::X86PCRel4 | Reloc::X86CallPCRel4 => Self::Relative { bits: 32 },
            Reloc::RiscvCallPlt => Self::RelativeHalves,
            // 26 bits that count instructions.
            Reloc::Arm64Call => Self::Relative { bits: 28 },
            Reloc::Aarch64AdrPrelPgHi21 => Self::RelativePage,
            // The low bits of any address.
            Reloc::Aarch64AddAbsLo12Nc => Self::Absolute { width: 4, bits: 64 },
            _ => return None,
        })
    }

    /// Bytes that are written.
    fn width(self) -> usize {
        match self {
            Self::Absolute { width, .. } => width,
            Self::Relative { .. } | Self::RelativePage => 4,
            Self::RelativeHalves => 8,
        }
    }

    fn spans(self, at: usize, address: usize) -> bool {
        let fits = |distance: isize, bits: u32| {
            let limit = 1_isize << (bits - 1);
            (-limit..limit).contains(&distance)
        };
        match self {
            Self::Absolute { bits, .. } => bits >= usize::BITS || address < 1 << bits,
            Self::Relative { bits } => fits(address.wrapping_sub(at).cast_signed(), bits),
            // The lower half has a sign, for which the upper one makes up.
            Self::RelativeHalves => {
                let distance = address.wrapping_sub(at).cast_signed();
                fits(distance, 32) && fits(distance.wrapping_add(0x800), 32)
            }
            Self::RelativePage => {
                let page = |address: usize| address & !0xfff;
                fits(page(address).wrapping_sub(page(at)).cast_signed(), 32)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(kind: Reloc, address: usize) -> Result<Resolved, LinkError> {
        let reloc = Relocation {
            kind,
            offset: 4,
            target: Target::Own(0),
            addend: 0,
        };
        resolve_one(&reloc, address, 16, 0x1_0000_0000, 0x7_0000_0000)
    }

    #[test]
    fn relative_targets_move_with_the_view() {
        let here = 0x1_0000_0004;
        for distance in [0, 0x7fff_ffff] {
            let resolved = resolve(Reloc::X86CallPCRel4, here + distance).unwrap();
            assert_eq!(resolved.address, 0x7_0000_0004 + distance);
        }
        for far in [here + 0x8000_0000, here - 0x8000_0001] {
            let error = resolve(Reloc::X86PCRel4, far).unwrap_err();
            assert!(matches!(error, LinkError::OutOfReach { address, .. } if address == far));
        }
        assert!(resolve(Reloc::Arm64Call, here + 0x7ff_fffc).is_ok());
        assert!(resolve(Reloc::Arm64Call, here + 0x800_0000).is_err());
        assert!(resolve(Reloc::Aarch64AdrPrelPgHi21, here + 0x7fff_0000).is_ok());
        assert!(resolve(Reloc::Aarch64AdrPrelPgHi21, here + 0x8000_0000).is_err());
        assert!(resolve(Reloc::RiscvCallPlt, here + 0x7fff_f7ff).is_ok());
        assert!(resolve(Reloc::RiscvCallPlt, here + 0x7fff_f800).is_err());
        assert!(resolve(Reloc::RiscvCallPlt, here - 0x8000_0000).is_ok());
        assert!(resolve(Reloc::RiscvCallPlt, here - 0x8000_0001).is_err());
    }

    #[test]
    fn absolute_targets_do_not() {
        assert_eq!(
            resolve(Reloc::Abs8, usize::MAX).unwrap().address,
            usize::MAX
        );
        assert_eq!(
            resolve(Reloc::Abs4, 0xffff_ffff).unwrap().address,
            0xffff_ffff
        );
        assert!(resolve(Reloc::Abs4, 0x1_0000_0000).is_err());
        assert!(matches!(
            resolve(Reloc::X86GOTPCRel4, 0),
            Err(LinkError::Relocation { .. })
        ));
    }
}
