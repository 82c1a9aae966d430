//! What the two processes say to each other, and how it is written.
//!
//! ```text
//!   control   Request ▶ ◀ Reply           one at a time
//!   lane      Down ▶                      Call, or the Answer to what generated code asked
//!             ◀ Up                        Returned or Trapped, or what generated code asks
//! ```
//!
//! Invariants: [`decode`] takes any bytes, allocates no more than a small multiple of their number, and does not panic. What
//! it accepts has no bytes left over.
//!
//! Not here: what an answer means where it arrives; descriptors that go along (`socket`).

use crate::ExecutorAddr;
use crate::slots::EntryPoints;
use crate::trap::{Fault, FaultKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Both sides must speak the same.
pub const VERSION: u32 = 2;

/// The most bytes of a message.
pub const MAX: usize = 64 << 10;

/// The most bytes of arguments and results: what is left of a message by all the rest of it.
pub const MAX_VALUES: usize = MAX - 256;

/// What the process that makes code wants of the executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The first message.
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// Memory for a session; the files of code and of data go along.
    Reserve {
        /// Bytes of code.
        code: u64,
        /// Bytes of data.
        data: u64,
    },
    /// Nothing of a session is used any more.
    Release {
        /// Its number.
        session: u32,
    },
    /// Addresses for a program's data; the file of what can become accessible goes along.
    Range {
        /// Whose.
        session: u32,
        /// Bytes of the file.
        bytes: u64,
        /// Bytes of addresses, behind whose accessible part every access is a fault.
        reserved: u64,
    },
    /// The first bytes of a range are to be accessible.
    Commit {
        /// Whose.
        session: u32,
        /// Its number in the session.
        range: u32,
        /// How many bytes.
        bytes: u64,
    },
    /// Nobody uses a range any more.
    Unmap {
        /// Whose.
        session: u32,
        /// Its number in the session.
        range: u32,
    },
    /// Threads are to be sampled while they run code of a session; the socket that samples go to goes along.
    Sample {
        /// Whose code.
        session: u32,
        /// The processor time from one sample to the next, in nanoseconds.
        interval: u64,
    },
    /// A thread that runs code; its socket goes along.
    Lane,
    /// The address of a symbol.
    Symbol {
        /// Its name.
        name: String,
        /// Whether it is a function that code generators call.
        library_call: bool,
    },
    /// Code was written: the executor's processors are to see it.
    Barrier {
        /// Whose.
        session: u32,
        /// Where.
        start: ExecutorAddr,
        /// How many bytes.
        len: u64,
        /// Whether other code was there.
        reused: bool,
    },
}

/// What the executor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello {
        /// [`VERSION`].
        version: u32,
        /// The architecture that it runs.
        architecture: String,
    },
    /// To [`Request::Reserve`].
    Reserved(Reserved),
    /// To [`Request::Range`].
    Range {
        /// Its number in the session.
        range: u32,
        /// Where it starts.
        start: ExecutorAddr,
    },
    /// To [`Request::Symbol`].
    Symbol(Option<ExecutorAddr>),
    /// To the others.
    Done,
    /// It was not done.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What a session is made of, in the executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// Its number.
    pub session: u32,
    /// Where data starts; code is behind it.
    pub start: ExecutorAddr,
    /// What entry thunks lead to.
    pub points: EntryPoints,
    /// What cells point to.
    pub owner: ExecutorAddr,
    /// What generated code calls for a host function of the other process.
    pub host: ExecutorAddr,
}

/// A thread of the executor was seen in generated code, there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen(pub ExecutorAddr);

/// What the caller's thread says on its lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Down {
    /// Call `function(first, values)`.
    Call {
        /// Whose code it is.
        session: u32,
        /// Where it is.
        function: ExecutorAddr,
        /// Its first argument.
        first: ExecutorAddr,
        /// What its second argument points to.
        values: Vec<u8>,
    },
    /// To [`Up::Resolve`] and [`Up::Hot`]: the address to go to, or 0.
    Answer(ExecutorAddr),
    /// To [`Up::Host`]: values, or none if the call is to trap.
    Host(Option<Vec<u8>>),
}

/// What the executor's thread says on its lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Up {
    /// The call returned, and left this in `values`.
    Returned(Vec<u8>),
    /// The call trapped.
    Trapped {
        /// What kind of fault it was.
        kind: FaultKind,
        /// The signal that reported it.
        signal: i32,
        /// The instruction.
        pc: ExecutorAddr,
        /// What it accessed.
        address: Option<ExecutorAddr>,
    },
    /// The call was not made.
    Refused {
        /// Why.
        reason: String,
    },
    /// Generated code calls a unit for the first time.
    Resolve {
        /// Whose code it is.
        session: u32,
        /// What is called.
        unit: u32,
    },
    /// A counter of a unit went below zero.
    Hot {
        /// Whose code it is.
        session: u32,
        /// What is hot.
        unit: u32,
    },
    /// Generated code calls a host function of the other process.
    Host {
        /// Whose code it is.
        session: u32,
        /// Which function.
        function: u32,
        /// Arguments, and room for results.
        values: Vec<u8>,
    },
}

impl Up {
    /// What ended a call.
    #[must_use]
    pub fn trapped(fault: &Fault) -> Self {
        Self::Trapped {
            kind: fault.kind,
            signal: fault.signal,
            pc: ExecutorAddr::new(fault.pc),
            address: fault.address.map(ExecutorAddr::new),
        }
    }
}

/// Why a message could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It has more than [`MAX`] bytes.
    #[error("a message is longer than {MAX} bytes")]
    TooLong,
    /// The bytes are no message.
    #[error("what came is no message: {0}")]
    Malformed(postcard::Error),
    /// Bytes are left behind the message.
    #[error("{bytes} bytes are left behind a message")]
    LeftOver {
        /// How many.
        bytes: usize,
    },
}

/// Writes a message into `buffer`.
///
/// # Errors
/// [`MessageError::TooLong`].
pub fn encode<'b>(
    message: &impl Serialize,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], MessageError> {
    match postcard::to_slice(message, buffer) {
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(MessageError::TooLong),
    }
}

/// Reads a message that takes up all of `bytes`.
///
/// # Errors
/// [`MessageError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    if bytes.len() > MAX {
        return Err(MessageError::TooLong);
    }
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(MessageError::LeftOver { bytes: rest.len() }),
        Err(error) => Err(MessageError::Malformed(error)),
    }
}

/// Values as they travel.
#[must_use]
pub fn to_bytes(values: &[u128]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect()
}

/// Puts values that travelled in their place; `None`, and nothing is changed, if they are not as many.
#[must_use]
pub fn from_bytes(bytes: &[u8], values: &mut [u128]) -> Option<()> {
    let (chunks, rest) = bytes.as_chunks::<{ size_of::<u128>() }>();
    if !rest.is_empty() || chunks.len() != values.len() {
        return None;
    }
    for (value, chunk) in values.iter_mut().zip(chunks) {
        *value = u128::from_ne_bytes(*chunk);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let message = Down::Call {
            session: 7,
            function: ExecutorAddr::new(0x7fff_0000_1234),
            first: ExecutorAddr::new(usize::MAX),
            values: to_bytes(&[u128::MAX, 1]),
        };
        let mut buffer = [0; MAX];
        let bytes = encode(&message, &mut buffer).unwrap();
        assert_eq!(decode::<Down>(bytes), Ok(message));
        let long = [bytes, &[0]].concat();
        assert_eq!(
            decode::<Down>(&long),
            Err(MessageError::LeftOver { bytes: 1 })
        );
        for cut in 0..bytes.len() {
            assert!(decode::<Down>(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn the_most_values_fit_and_more_do_not() {
        let mut buffer = [0; MAX];
        let call = |bytes| Down::Call {
            session: u32::MAX,
            function: ExecutorAddr::new(usize::MAX),
            first: ExecutorAddr::new(usize::MAX),
            values: vec![0xff; bytes],
        };
        assert!(encode(&call(MAX_VALUES), &mut buffer).is_ok());
        let error = encode(&call(MAX), &mut buffer).unwrap_err();
        assert_eq!(error, MessageError::TooLong);
        assert_eq!(decode::<Up>(&[0; MAX + 1]), Err(MessageError::TooLong));
    }

    #[test]
    fn values_keep_their_places_or_are_refused() {
        let mut values = [1, 2];
        assert_eq!(from_bytes(&to_bytes(&[3, 4]), &mut values), Some(()));
        assert_eq!(values, [3, 4]);
        for bytes in [vec![], vec![0; 31], vec![0; 33], to_bytes(&[1, 2, 3])] {
            assert_eq!(from_bytes(&bytes, &mut values), None);
        }
        assert_eq!(values, [3, 4]);
    }
}
