//! Addresses of the functions that Cranelift calls on its own account.
//!
//! cranelift-jit looks them up by name in the process (`dlsym`), where a statically linked program
//! has none. Here the ones that can be written in Rust are Rust functions; the process is asked for
//! the rest.

use cranelift_codegen::ir::LibCall;
use cranelift_module::default_libcall_names;
use std::ffi::CString;

macro_rules! rust_libcalls {
    ($($name:ident($($arg:ident),+) -> $ty:ty = $body:expr;)+) => {$(
        extern "C" fn $name($($arg: $ty),+) -> $ty {
            $body
        }
    )+};
}

rust_libcalls! {
    ceil_f32(x) -> f32 = x.ceil();
    ceil_f64(x) -> f64 = x.ceil();
    floor_f32(x) -> f32 = x.floor();
    floor_f64(x) -> f64 = x.floor();
    trunc_f32(x) -> f32 = x.trunc();
    trunc_f64(x) -> f64 = x.trunc();
    nearest_f32(x) -> f32 = x.round_ties_even();
    nearest_f64(x) -> f64 = x.round_ties_even();
    fma_f32(x, y, z) -> f32 = x.mul_add(y, z);
    fma_f64(x, y, z) -> f64 = x.mul_add(y, z);
}

/// The SSSE3 instruction, for machines without it: bytes of `bytes` by the low nibbles of `mask`, zero
/// where its sign is set.
#[cfg(target_arch = "x86_64")]
#[expect(
    improper_ctypes_definitions,
    reason = "both compilers pass 128-bit vectors in xmm registers; tested"
)]
extern "C" fn x86_pshufb(
    bytes: std::arch::x86_64::__m128i,
    mask: std::arch::x86_64::__m128i,
) -> std::arch::x86_64::__m128i {
    // SAFETY: both types are 16 bytes, and every bit pattern is a value of either.
    let (bytes, mask): ([u8; 16], [u8; 16]) = unsafe { std::mem::transmute((bytes, mask)) };
    let shuffled = mask.map(|index| match index {
        0x80.. => 0,
        _ => bytes[usize::from(index & 0xf)],
    });
    // SAFETY: as above.
    unsafe { std::mem::transmute(shuffled) }
}

/// The address of a function that does what `libcall` says, if the host has one.
///
/// A resolver for [`super::link`] falls back to it for
/// [`ModuleRelocTarget::LibCall`](cranelift_module::ModuleRelocTarget::LibCall).
pub fn default_libcall_address(libcall: LibCall) -> Option<usize> {
    let function = match libcall {
        LibCall::CeilF32 => ceil_f32 as *const (),
        LibCall::CeilF64 => ceil_f64 as *const (),
        LibCall::FloorF32 => floor_f32 as *const (),
        LibCall::FloorF64 => floor_f64 as *const (),
        LibCall::TruncF32 => trunc_f32 as *const (),
        LibCall::TruncF64 => trunc_f64 as *const (),
        LibCall::NearestF32 => nearest_f32 as *const (),
        LibCall::NearestF64 => nearest_f64 as *const (),
        LibCall::FmaF32 => fma_f32 as *const (),
        LibCall::FmaF64 => fma_f64 as *const (),
        LibCall::Memcpy => libc::memcpy as *const (),
        LibCall::Memset => libc::memset as *const (),
        LibCall::Memmove => libc::memmove as *const (),
        LibCall::Memcmp => libc::memcmp as *const (),
        #[cfg(target_arch = "x86_64")]
        LibCall::X86Pshufb => x86_pshufb as *const (),
        _ => return process_symbol(&default_libcall_names()(libcall)),
    };
    Some(function.expose_provenance())
}

/// The address of a symbol that the process exports.
pub fn process_symbol(name: &str) -> Option<usize> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string; looking a symbol up runs no code of ours.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then(|| address.expose_provenance())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_generated_code_has_an_address() {
        for libcall in LibCall::all_libcalls() {
            let expected = !matches!(
                libcall,
                LibCall::Probestack | LibCall::ElfTlsGetAddr | LibCall::ElfTlsGetOffset
            ) && (cfg!(target_arch = "x86_64") || *libcall != LibCall::X86Pshufb);
            if expected {
                assert!(default_libcall_address(*libcall).is_some(), "{libcall}");
            }
        }
        assert_eq!(process_symbol("no such symbol"), None);
        assert_eq!(process_symbol("nul\0inside"), None);
    }

    #[test]
    fn nearest_rounds_ties_to_even() {
        assert_eq!([0.5, 1.5, -2.5].map(|x| nearest_f64(x)), [0.0, 2.0, -2.0]);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn pshufb_is_the_instruction() {
        if !std::is_x86_feature_detected!("ssse3") {
            return;
        }
        let bytes: [u8; 16] = std::array::from_fn(|i| 100 + i as u8);
        let mask: [u8; 16] = [0, 15, 16, 0x80, 0xff, 3, 7, 0x70, 1, 2, 3, 4, 0x8f, 9, 9, 9];
        let vector = |bytes: [u8; 16]| {
            // SAFETY: both types are 16 plain bytes.
            unsafe { std::mem::transmute::<[u8; 16], std::arch::x86_64::__m128i>(bytes) }
        };
        let bytes_of = |vector| {
            // SAFETY: both types are 16 plain bytes.
            unsafe { std::mem::transmute::<std::arch::x86_64::__m128i, [u8; 16]>(vector) }
        };
        let ours = x86_pshufb(vector(bytes), vector(mask));
        // SAFETY: the machine has SSSE3.
        let theirs = unsafe { std::arch::x86_64::_mm_shuffle_epi8(vector(bytes), vector(mask)) };
        let (ours, theirs) = (bytes_of(ours), bytes_of(theirs));
        assert_eq!(ours, theirs);
    }
}
