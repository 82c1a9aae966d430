//! Addresses by name, in the process that runs code.
//!
//! Functions that a code generator calls on its own account are looked up by name as well. A statically linked program has
//! no names to be asked for: so the ones that can be written in Rust are Rust functions, and the process is asked for
//! the rest.

use std::ffi::CString;

macro_rules! rust_functions {
    ($($name:ident($($arg:ident),+) -> $ty:ty = $body:expr;)+) => {$(
        extern "C" fn $name($($arg: $ty),+) -> $ty {
            $body
        }
    )+};
}

rust_functions! {
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

/// The address of a function that a code generator calls, by the name under which it asks for it.
#[must_use]
pub fn library_call(name: &str) -> Option<usize> {
    let function = match name {
        "ceilf" => ceil_f32 as *const (),
        "ceil" => ceil_f64 as *const (),
        "floorf" => floor_f32 as *const (),
        "floor" => floor_f64 as *const (),
        "truncf" => trunc_f32 as *const (),
        "trunc" => trunc_f64 as *const (),
        "nearbyintf" => nearest_f32 as *const (),
        "nearbyint" => nearest_f64 as *const (),
        "fmaf" => fma_f32 as *const (),
        "fma" => fma_f64 as *const (),
        "memcpy" => libc::memcpy as *const (),
        "memset" => libc::memset as *const (),
        "memmove" => libc::memmove as *const (),
        "memcmp" => libc::memcmp as *const (),
        #[cfg(target_arch = "x86_64")]
        "__cranelift_x86_pshufb" => x86_pshufb as *const (),
        _ => return symbol(name),
    };
    Some(function.expose_provenance())
}

/// The address of a symbol that the process exports.
#[must_use]
pub fn symbol(name: &str) -> Option<usize> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string; looking a symbol up runs no code of ours.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then(|| address.expose_provenance())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_has_are_not_found() {
        assert_eq!(symbol("no such symbol"), None);
        assert_eq!(symbol("nul\0inside"), None);
        assert_eq!(library_call("no such symbol"), None);
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
