//! WASI preview 1: what command-line programs call.
//!
//! Arguments, environment, clocks, random numbers, standard streams, files in preopened directories, exit.
//!
//! Invariant: a path of the program never leads out of the directory that it is relative to, neither by
//! `..` nor by symbolic links: `cap-std` resolves it.
//!
//! Limitations: sockets are refused (`notsup`), and so are signals. Rights are granted and not checked:
//! what a preopened directory allows, it allows for everything in it. A descriptor is ready when it is
//! polled.
//!
//! Not here: files ([`files`]), paths ([`paths`]), clocks and the like ([`process`]); how values lie in
//! memory ([`abi`]).

mod abi;
mod errno;
mod files;
mod paths;
mod process;
mod table;

use crate::error::Error;
use crate::externs::{Extern, Imports};
use crate::func::Func;
use crate::memory::Memory;
use crate::store::Store;
use crate::types::{FuncType, ValueType};
use crate::value::Value;
use errno::Fault;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;
use table::{Descriptor, Table};

/// The module that programs import WASI from.
const MODULE: &str = "wasi_snapshot_preview1";

/// What a WASI program sees of the world.
#[derive(Debug)]
pub struct Wasi {
    arguments: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
    table: Table,
    output: Option<Rc<RefCell<Vec<u8>>>>,
    error: Option<Rc<RefCell<Vec<u8>>>>,
    input: Option<VecDeque<u8>>,
}

/// What the functions work on.
pub(crate) struct State {
    arguments: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
    table: RefCell<Table>,
    /// Where standard output goes, if not to the process's.
    output: Option<Rc<RefCell<Vec<u8>>>>,
    /// Where standard error goes, if not to the process's.
    error: Option<Rc<RefCell<Vec<u8>>>>,
    /// What standard input is, if not the process's.
    input: Option<RefCell<VecDeque<u8>>>,
    start: Instant,
}

/// A function of WASI: what it works on, the caller's memory, and its arguments as words.
type Call = fn(&State, &Memory, &[u64]) -> Result<(), Fault>;

impl Default for Wasi {
    fn default() -> Self {
        Self::new()
    }
}

impl Wasi {
    /// No arguments, an empty environment, the process's standard streams, no directory.
    pub fn new() -> Self {
        Self {
            arguments: vec![],
            environment: vec![],
            table: Table::with_streams(),
            output: None,
            error: None,
            input: None,
        }
    }

    /// Adds an argument; the first is the program's name.
    pub fn argument(&mut self, argument: &str) -> &mut Self {
        self.arguments.push(terminated(argument));
        self
    }

    /// Adds a variable of the environment.
    pub fn variable(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment
            .push(terminated(&format!("{name}={value}")));
        self
    }

    /// Lets the program use a directory of the host, which it knows as `name`.
    ///
    /// # Errors
    ///
    /// Where it cannot be opened as a directory.
    pub fn directory(&mut self, host: &Path, name: &str) -> io::Result<&mut Self> {
        let directory = cap_std::fs::Dir::open_ambient_dir(host, cap_std::ambient_authority())?;
        self.table.add(Descriptor::preopened(directory, name));
        Ok(self)
    }

    /// Keeps what the program writes to standard output, instead of passing it on.
    pub fn capture(&mut self) -> Rc<RefCell<Vec<u8>>> {
        Rc::clone(self.output.get_or_insert_default())
    }

    /// Keeps what the program writes to standard error, instead of passing it on.
    pub fn capture_error(&mut self) -> Rc<RefCell<Vec<u8>>> {
        Rc::clone(self.error.get_or_insert_default())
    }

    /// Gives the program this standard input.
    pub fn input(&mut self, bytes: &[u8]) -> &mut Self {
        self.input = Some(bytes.iter().copied().collect());
        self
    }

    /// Defines the functions of WASI.
    ///
    /// # Errors
    ///
    /// `Engine`.
    pub fn define(self, store: &Store, imports: &mut Imports) -> Result<(), Error> {
        let state = Rc::new(State {
            arguments: self.arguments,
            environment: self.environment,
            table: RefCell::new(self.table),
            output: self.output,
            error: self.error,
            input: self.input.map(RefCell::new),
            start: Instant::now(),
        });
        let functions = process::FUNCTIONS
            .iter()
            .chain(files::FUNCTIONS)
            .chain(paths::FUNCTIONS);
        for &(name, params, call) in functions {
            let func = function(store, &state, params, call)?;
            imports.define(MODULE, name, Extern::Func(func));
        }
        let exit = FuncType {
            params: vec![ValueType::I32],
            results: vec![],
        };
        let exit = Func::new(store, exit, |_, arguments, _| match arguments {
            [Value::I32(code)] => Err(Error::Exit(code.cast_unsigned())),
            _ => Err(Error::Internal("proc_exit without a status".to_string())),
        })?;
        imports.define(MODULE, "proc_exit", Extern::Func(exit));
        Ok(())
    }
}

/// Bytes with a zero at the end.
fn terminated(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// A function that returns an error number; `params` has `i` for 32 and `I` for 64 bits.
fn function(store: &Store, state: &Rc<State>, params: &str, call: Call) -> Result<Func, Error> {
    let params = params.bytes().map(|letter| match letter {
        b'I' => ValueType::I64,
        _ => ValueType::I32,
    });
    let ty = FuncType {
        params: params.collect(),
        results: vec![ValueType::I32],
    };
    let state = Rc::clone(state);
    Func::new(store, ty, move |caller, arguments, results| {
        let words: Vec<u64> = arguments
            .iter()
            .map(|argument| match argument {
                Value::I32(value) => u64::from(value.cast_unsigned()),
                Value::I64(value) => value.cast_unsigned(),
                _ => 0,
            })
            .collect();
        let errno = match call(&state, &caller.memory()?, &words) {
            Ok(()) => 0,
            Err(fault) => fault.errno(),
        };
        results[0] = Value::I32(i32::from(errno));
        Ok(())
    })
}
