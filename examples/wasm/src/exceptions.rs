//! Exceptions: tags, what is thrown, and who handles it.
//!
//! ```text
//!   throw ─▶ an exception in the store ─▶ the innermost call with a handler, in whatever function ─▶ its clauses:
//!                                                 one matches: its label
//!                                                 none does: the handler around it, or thrown again from here
//! ```
//!
//! A reference to an exception is the address of its [`ExceptionData`], which generated code reads. A clause that takes no
//! reference is the end of an exception; what a reference was made of lives as long as the store.
//!
//! Invariants: exceptions are found, read and freed by the store; generated code has none that the store has not.
//!
//! Limitations: references are not traced, so that a program that catches by reference again and again keeps them all.
//!
//! Not here: the walk over frames ([`regraft::unwind`]); clauses (`translate::exceptions`).

use crate::error::Error;
use crate::store::Store;
use crate::types::FuncType;
use crate::value::Value;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

/// What is behind a tag. Its address is its identity.
#[derive(Debug)]
pub(crate) struct TagData {
    pub ty: FuncType,
}

/// What is behind a reference to an exception: the first three fields are read by generated code.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct ExceptionData {
    /// The address of the tag.
    tag_address: u64,
    /// Whether there is, or was, a reference to it; set by generated code too.
    referenced: Cell<u64>,
    /// The address of the values.
    values_address: u64,
    values: Box<[u128]>,
    tag: Rc<TagData>,
}

/// Offsets in an [`ExceptionData`].
pub(crate) const EXCEPTION_TAG: i32 = 0;
pub(crate) const EXCEPTION_REFERENCED: i32 = 8;
pub(crate) const EXCEPTION_VALUES: i32 = 16;

impl ExceptionData {
    /// An exception of this tag, with a cell for each of its values.
    pub fn new(tag: &Rc<TagData>, values: Box<[u128]>) -> Rc<Self> {
        Rc::new(Self {
            tag_address: address(tag),
            referenced: Cell::new(0),
            values_address: values.as_ptr().expose_provenance() as u64,
            values,
            tag: Rc::clone(tag),
        })
    }

    /// The reference to it, as generated code has it.
    pub fn word(self: &Rc<Self>) -> u64 {
        Rc::as_ptr(self).expose_provenance() as u64
    }

    pub fn set_referenced(&self) {
        self.referenced.set(1);
    }

    pub fn is_referenced(&self) -> bool {
        self.referenced.get() != 0
    }
}

/// What a tag is known by.
pub(crate) fn address(tag: &Rc<TagData>) -> u64 {
    Rc::as_ptr(tag).addr() as u64
}

/// The innermost handler above a frame: there is one for each call in a `try_table`, and it takes everything.
///
/// # Safety
///
/// As [`regraft::unwind::find_handler`].
pub(crate) unsafe fn handler(frame: usize) -> Option<regraft::unwind::Handler> {
    // SAFETY: the caller's contract.
    unsafe { regraft::unwind::find_handler(frame, |tag| tag.is_none()) }
}

/// A tag of a store: a kind of exception.
#[derive(Clone, Debug)]
pub struct Tag {
    pub(crate) store: Store,
    pub(crate) data: Rc<TagData>,
}

impl Tag {
    /// A tag that no module defines: the parameters of its type are the values of an exception.
    pub fn new(store: &Store, ty: FuncType) -> Self {
        Self {
            store: store.clone(),
            data: Rc::new(TagData { ty }),
        }
    }

    /// Its type.
    pub fn ty(&self) -> FuncType {
        self.data.ty.clone()
    }

    /// Whether both are the same tag.
    pub fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.data, &other.data)
    }
}

/// An exception of a store, thrown or not.
#[derive(Clone)]
pub struct Exception {
    pub(crate) store: Store,
    pub(crate) data: Rc<ExceptionData>,
}

impl fmt::Debug for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exception")
            .field("ty", &self.data.tag.ty)
            .finish_non_exhaustive()
    }
}

impl Exception {
    /// An exception with these values. A function of the host throws it by returning [`Exception::thrown`].
    ///
    /// # Errors
    ///
    /// `Arguments` where the values are not those of the tag's type; `OtherStore`.
    pub fn new(tag: &Tag, values: &[Value]) -> Result<Self, Error> {
        tag.data.ty.check_arguments(values)?;
        let cells = values.iter().map(|value| value.to_cell(&tag.store));
        let cells: Result<Box<[u128]>, Error> = cells.collect();
        let data = ExceptionData::new(&tag.data, cells?);
        data.set_referenced();
        tag.store.keep_exception(&data);
        Ok(Self {
            store: tag.store.clone(),
            data,
        })
    }

    /// Its tag.
    pub fn tag(&self) -> Tag {
        Tag {
            store: self.store.clone(),
            data: Rc::clone(&self.data.tag),
        }
    }

    /// Its values.
    pub fn values(&self) -> Vec<Value> {
        let types = self.data.tag.ty.params.iter();
        types
            .zip(&self.data.values)
            .map(|(ty, cell)| Value::from_cell(*ty, *cell, &self.store))
            .collect()
    }

    /// The error that throws it.
    pub fn thrown(&self) -> Error {
        Error::Exception(Thrown::new(&self.data))
    }
}

/// An exception that nobody has handled. [`Store::exception`] says which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thrown {
    pub(crate) word: u64,
    ty: String,
}

impl Thrown {
    pub(crate) fn new(data: &Rc<ExceptionData>) -> Self {
        data.set_referenced();
        Self {
            word: data.word(),
            ty: data.tag.ty.to_string(),
        }
    }
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an exception of type {} was not caught", self.ty)
    }
}
