//! Calling generated code with types that Rust knows.
//!
//! A [`TypedFn`] is an address whose signature was compared with Rust types, and something that keeps
//! the code behind it in memory:
//!
//! ```text
//!   TypedFn<(i64, f32), i64>   for   function(i64, f32) -> i64 system_v
//! ```
//!
//! Narrow integers travel as whole registers. An argument is extended by its Rust type before the
//! call, and a result is truncated after it, so that neither side depends on what the other leaves
//! in the upper bits. (`extern "C"` of Rust does depend on it; CLIF without `uext` and `sext` promises
//! nothing.)
//!
//! Limitations: the host's C convention only, up to eight arguments, one result or none; no `i128`, no
//! vectors, no `bool` (a CLIF `i8` may hold 2). Calls by signature have none of these limits.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

pub use crate::call::mismatch::SignatureMismatch;
use crate::call::trap::Trap;
use crate::context::Inner;
use crate::enter;
use cranelift_codegen::ir::{AbiParam, ArgumentExtension, ArgumentPurpose, Signature, Type, types};
use cranelift_codegen::isa::CallConv;
use regraft_executor::trap;

mod sealed {
    /// Keeps the traits of this module closed: a wrong implementation would make calls unsound.
    pub trait Sealed {}
}
use sealed::Sealed;

/// A Rust type that is passed and returned in one register.
pub trait ClifType: Sealed + Copy + 'static {
    /// What really travels: a whole integer register, or the float itself.
    type Raw: Copy;
    /// The CLIF type.
    const TYPE: Type;
    /// How the upper bits of a register are filled: `None` where there are none.
    const EXTENSION: ArgumentExtension;
    /// To the register.
    fn into_raw(self) -> Self::Raw;
    /// From the register, ignoring what is above the type's own bits.
    fn from_raw(raw: Self::Raw) -> Self;
}

/// A return type: nothing, or a [`ClifType`].
pub trait ClifReturn: Sealed + 'static {
    /// What really travels.
    type Raw;
    /// The CLIF type, if there is a value, with the extension that fits.
    const TYPE: Option<(Type, ArgumentExtension)>;
    /// From the register.
    fn from_raw(raw: Self::Raw) -> Self;
}

/// A tuple of arguments.
pub trait ClifArgs: Sealed + 'static {
    /// The CLIF types in order, with the extensions that fit.
    const TYPES: &'static [(Type, ArgumentExtension)];
    /// Calls the code at `address`.
    ///
    /// # Safety
    /// As for [`TypedFn::call`]: the code has the signature that these types stand for.
    unsafe fn call<R: ClifReturn>(self, address: *const ()) -> R;
}

macro_rules! integers {
    ($($rust:ty, $raw:ty, $clif:ident, $extension:ident;)+) => {$(
        impl Sealed for $rust {}
        impl ClifType for $rust {
            type Raw = $raw;
            const TYPE: Type = types::$clif;
            const EXTENSION: ArgumentExtension = ArgumentExtension::$extension;
            fn into_raw(self) -> $raw {
                self as $raw
            }
            fn from_raw(raw: $raw) -> Self {
                raw as $rust
            }
        }
    )+};
}

integers! {
    i8, i64, I8, Sext;
    u8, u64, I8, Uext;
    i16, i64, I16, Sext;
    u16, u64, I16, Uext;
    i32, i64, I32, Sext;
    u32, u64, I32, Uext;
    i64, i64, I64, None;
    u64, u64, I64, None;
    isize, i64, I64, None;
    usize, u64, I64, None;
}

macro_rules! in_their_own_form {
    ($([$($generic:ident)?] $rust:ty, $clif:ident;)+) => {$(
        impl$(<$generic: 'static>)? Sealed for $rust {}
        impl$(<$generic: 'static>)? ClifType for $rust {
            type Raw = Self;
            const TYPE: Type = types::$clif;
            const EXTENSION: ArgumentExtension = ArgumentExtension::None;
            fn into_raw(self) -> Self {
                self
            }
            fn from_raw(raw: Self) -> Self {
                raw
            }
        }
    )+};
}

in_their_own_form! {
    [] f32, F32;
    [] f64, F64;
    [T] *const T, I64;
    [T] *mut T, I64;
}

impl Sealed for () {}
impl ClifReturn for () {
    type Raw = ();
    const TYPE: Option<(Type, ArgumentExtension)> = None;
    fn from_raw((): ()) {}
}

impl<T: ClifType> ClifReturn for T {
    type Raw = T::Raw;
    const TYPE: Option<(Type, ArgumentExtension)> = Some((T::TYPE, T::EXTENSION));
    fn from_raw(raw: T::Raw) -> Self {
        <T as ClifType>::from_raw(raw)
    }
}

macro_rules! tuples {
    ($(($($arg:ident)+))+) => {$(
        impl<$($arg: ClifType),+> Sealed for ($($arg,)+) {}
        tuples!(@args $($arg)+);
    )+};
    (@args $($arg:ident)*) => {
        impl<$($arg: ClifType),*> ClifArgs for ($($arg,)*) {
            const TYPES: &'static [(Type, ArgumentExtension)] = &[$(($arg::TYPE, $arg::EXTENSION)),*];
            #[allow(non_snake_case, reason = "one name for type and value")]
            unsafe fn call<R: ClifReturn>(self, address: *const ()) -> R {
                let ($($arg,)*) = self;
                // SAFETY: the caller's contract: `address` is code of this signature.
                let function = unsafe {
                    std::mem::transmute::<*const (), unsafe extern "C" fn($($arg::Raw),*) -> R::Raw>(
                        address,
                    )
                };
                // SAFETY: the caller's contract.
                R::from_raw(unsafe { function($($arg.into_raw()),*) })
            }
        }
    };
}

tuples!(@args);
tuples! {
    (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H)
}

/// Checks that a function of this signature can be called as `extern "C" fn(A) -> R`.
///
/// `host` is the default convention of the target, which is that of `extern "C"`.
///
/// # Errors
/// [`SignatureMismatch`]: the first difference.
pub fn check_signature<A: ClifArgs, R: ClifReturn>(
    signature: &Signature,
    host: CallConv,
) -> Result<(), SignatureMismatch> {
    if signature.call_conv != host {
        return Err(SignatureMismatch::CallConv {
            expected: host,
            got: signature.call_conv,
        });
    }
    if signature.params.len() != A::TYPES.len() {
        return Err(SignatureMismatch::ParameterCount {
            expected: A::TYPES.len(),
            got: signature.params.len(),
        });
    }
    let expected = usize::from(R::TYPE.is_some());
    if signature.returns.len() != expected {
        return Err(SignatureMismatch::ResultCount {
            expected,
            got: signature.returns.len(),
        });
    }
    for (index, (param, &(expected, extension))) in
        signature.params.iter().zip(A::TYPES).enumerate()
    {
        if param.value_type != expected {
            return Err(SignatureMismatch::Parameter {
                index,
                expected,
                got: param.value_type,
            });
        }
        plain(param, extension)?;
    }
    if let (Some((expected, extension)), Some(result)) = (R::TYPE, signature.returns.first()) {
        if result.value_type != expected {
            return Err(SignatureMismatch::Result {
                expected,
                got: result.value_type,
            });
        }
        plain(result, extension)?;
    }
    Ok(())
}

/// Refuses values that do not travel as a C value of their type.
fn plain(param: &AbiParam, extension: ArgumentExtension) -> Result<(), SignatureMismatch> {
    let purpose = matches!(
        param.purpose,
        ArgumentPurpose::Normal | ArgumentPurpose::VMContext
    );
    // Without bits above the type, an extension says nothing.
    let extended = param.extension == ArgumentExtension::None
        || extension == ArgumentExtension::None
        || param.extension == extension;
    if purpose && extended {
        return Ok(());
    }
    Err(SignatureMismatch::Special {
        value: param.to_string(),
    })
}

/// A function of generated code with its Rust type.
///
/// Cloning it clones a handle.
pub struct TypedFn<A, R> {
    address: usize,
    keepalive: Arc<dyn Any + Send + Sync>,
    /// Whose code it is, if calls are to be pinned.
    engine: Option<Arc<Inner>>,
    types: PhantomData<fn(A) -> R>,
}

impl<A: ClifArgs, R: ClifReturn> TypedFn<A, R> {
    /// Gives the code at `address` the type that `signature` was checked to have.
    ///
    /// `keepalive` is held for as long as the handle exists: whatever the code needs in order to stay
    /// callable.
    ///
    /// # Errors
    /// As [`check_signature`].
    pub fn new(
        address: usize,
        signature: &Signature,
        host: CallConv,
        keepalive: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self, SignatureMismatch> {
        check_signature::<A, R>(signature, host)?;
        Ok(Self {
            address,
            keepalive,
            engine: None,
            types: PhantomData,
        })
    }

    /// Lets calls count as being inside generated code of `engine`.
    pub(crate) fn pinned_by(self, engine: Arc<Inner>) -> Self {
        Self {
            engine: Some(engine),
            ..self
        }
    }

    /// Runs `body`, which calls the function.
    pub(crate) fn pinned<T>(&self, body: impl FnOnce() -> T) -> T {
        match &self.engine {
            Some(engine) => enter::pinned(engine, body),
            None => body(),
        }
    }

    /// Calls the function. A trap in it is a signal; [`TypedFn::try_call`] makes it an error.
    ///
    /// # Safety
    /// The address is code of the signature that was checked, kept in memory by what the handle keeps
    /// alive, and running it with these arguments is sound: generated code can do anything, above
    /// all with pointers. It must not unwind.
    pub unsafe fn call(&self, args: A) -> R {
        // SAFETY: the caller's contract.
        self.pinned(|| unsafe { self.call_here(args) })
    }

    /// Calls the function on a thread that is pinned already.
    ///
    /// # Safety
    /// As for [`TypedFn::call`].
    pub(crate) unsafe fn call_here(&self, args: A) -> R {
        let address = std::ptr::with_exposed_provenance(self.address);
        // SAFETY: the caller's contract; the types were checked by `new`.
        unsafe { args.call(address) }
    }

    /// The address that is called. Calls of it are not pinned: see [`Reclamation`](crate::Reclamation).
    pub fn address(&self) -> usize {
        if let Some(engine) = &self.engine {
            engine.reclaimer.raw_pointer_escaped();
        }
        self.address
    }
}

impl<A, R> Clone for TypedFn<A, R> {
    fn clone(&self) -> Self {
        Self {
            address: self.address,
            keepalive: Arc::clone(&self.keepalive),
            engine: self.engine.clone(),
            types: PhantomData,
        }
    }
}

impl<A, R> std::fmt::Debug for TypedFn<A, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let types = std::any::type_name::<fn(A) -> R>();
        write!(f, "TypedFn({:#x}: {types})", self.address)
    }
}

impl<A: ClifArgs, R: ClifReturn> TypedFn<A, R> {
    /// Calls the function; a trap in generated code ends the call. Costs some nanoseconds more than
    /// [`TypedFn::call`].
    ///
    /// # Errors
    /// The trap.
    ///
    /// # Safety
    /// As for [`TypedFn::call`], but that the code may trap. If a host function in between calls generated
    /// code raw, and that traps, the host function's frame is skipped without running destructors.
    pub unsafe fn try_call(&self, args: A) -> Result<R, Trap> {
        let callback = |(function, args): (*const Self, A)| {
            // SAFETY: the pointer is to `self`; the rest is the caller's contract.
            unsafe { (*function).call_here(args) }
        };
        // SAFETY: the callback owns nothing but numbers; the rest is the caller's contract.
        let result = self.pinned(|| unsafe { trap::exchange((&raw const *self, args), callback) });
        result.map_err(|fault| Trap::new(&fault))
    }
}

#[cfg(test)]
mod tests;
