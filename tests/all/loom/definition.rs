//! The protocol of a function's definition: versions that are published while the definition is exchanged.

use super::atomic::AtomicUsize;
use super::exchange::{Current, Publish, Slot, exchange, publish_first, publish_newer, remove};
use super::{Code, FIRST, LAZY, SECOND, entry, fails};
use ::loom::sync::{Arc, Mutex, MutexGuard};
use ::loom::thread;
use std::sync::Arc as Shared;

/// A newer version of the first definition, the first version of the second, and a symbol of the host.
const NEWER: usize = 4;
const HOST: usize = 5;
const TRAP: usize = 6;

impl Publish for AtomicUsize {
    fn publish(&self, entry: usize) {
        entry::publish(self, entry);
    }
}

impl Slot for AtomicUsize {
    fn resolve(&self, entry: usize) {
        entry::replace(self, LAZY, entry);
    }

    fn ask(&self) {
        entry::publish(self, LAZY);
    }

    fn close(&self) {
        entry::publish(self, TRAP);
    }
}

/// The slot of what is on record, with the lock of the record.
struct Recorded<'a>(&'a AtomicUsize, MutexGuard<'a, usize>);

impl Publish for Recorded<'_> {
    fn publish(&self, entry: usize) {
        assert_eq!(*self.1, entry, "it is on record");
        entry::publish(self.0, entry);
    }
}

/// A function: its slot, its definition, and what is on record of its versions.
struct Function {
    word: AtomicUsize,
    current: Mutex<Current<&'static str>>,
    record: Mutex<usize>,
    code: Code,
}

type Definition = Option<Shared<&'static str>>;

impl Function {
    fn new(definition: &Definition, entry: Option<usize>) -> Arc<Self> {
        let function = Self {
            word: AtomicUsize::new(LAZY),
            current: Mutex::new(Current::new()),
            record: Mutex::new(0),
            code: Code::new(),
        };
        function.exchange(definition, entry);
        Arc::new(function)
    }

    fn exchange(&self, definition: &Definition, entry: Option<usize>) {
        let current = &mut self.current.lock().unwrap();
        exchange(current, &self.word, definition.clone(), entry).unwrap();
    }

    fn is(&self, definition: &Definition) -> bool {
        self.current.lock().unwrap().is(definition.as_ref())
    }

    fn first(&self, of: &Definition, entry: usize) -> bool {
        let current = &mut self.current.lock().unwrap();
        publish_first(current, &self.word, of.as_ref(), entry)
    }

    fn newer(&self, of: &Definition, entry: usize) -> bool {
        let current = &mut self.current.lock().unwrap();
        let of = of.as_ref().expect("a definition");
        publish_newer(current, of, entry, || {
            let mut record = self.record.lock().unwrap();
            *record = entry;
            Some(Recorded(&self.word, record))
        })
    }

    fn entry(&self) -> usize {
        entry::current(&self.word)
    }
}

fn definition(name: &'static str) -> Definition {
    Some(Shared::new(name))
}

type Publication = fn(&Function, &Definition) -> bool;
type Change = fn(&Function);

/// Something of a definition is published while `change` puts `last` into its place.
fn published_while_changed(
    defined: bool,
    publish: Publication,
    change: Change,
    last: usize,
) -> impl Fn() + Sync + Send + 'static {
    move || {
        let old = definition("old").filter(|_| defined);
        let function = Function::new(&old, None);
        let compiling = Arc::clone(&function);
        let compiling = thread::spawn(move || publish(&compiling, &old));
        change(&function);
        compiling.join().unwrap();
        assert_eq!(function.entry(), last, "what was replaced is back");
        let current = function.current.lock().unwrap().definition();
        assert_eq!(current.is_some(), last != TRAP);
    }
}

#[test]
fn what_was_replaced_is_not_published_any_more() {
    let first: Publication = |function, old| function.first(old, FIRST);
    let newer: Publication = |function, old| function.newer(old, NEWER);
    let host: Publication = |function, none| function.first(none, HOST);
    // What is asked before, and not under the lock, is not true any more.
    let careless: Publication = |function, old| {
        let current = function.is(old);
        if current {
            entry::replace(&function.word, LAZY, HOST);
        }
        current
    };
    let careless_newer: Publication = |function, old| {
        let current = function.is(old);
        if current {
            entry::publish(&function.word, NEWER);
        }
        current
    };
    let compiled: Change = |function| function.exchange(&definition("new"), Some(SECOND));
    let lazy: Change = |function| function.exchange(&definition("new"), None);
    let removed: Change = |function| {
        remove(&mut function.current.lock().unwrap(), &function.word);
    };
    for (change, last) in [(compiled, SECOND), (lazy, LAZY), (removed, TRAP)] {
        ::loom::model(published_while_changed(true, first, change, last));
        ::loom::model(published_while_changed(true, newer, change, last));
        ::loom::model(published_while_changed(false, host, change, last));
        assert!(fails(published_while_changed(
            true,
            careless_newer,
            change,
            last
        )));
    }
    // Over an entry the exchange alone is careful enough.
    assert!(fails(published_while_changed(true, careless, lazy, LAZY)));
    assert!(fails(published_while_changed(false, careless, lazy, LAZY)));
}

/// A definition becomes current while another thread already has something newer of it, which it publishes as soon
/// as it can.
fn newer_of_the_new(change: fn(&Function, &Definition)) -> impl Fn() + Sync + Send + 'static {
    move || {
        let new = definition("new");
        let function = Function::new(&definition("old"), Some(FIRST));
        let (compiling, its) = (Arc::clone(&function), new.clone());
        let compiling = thread::spawn(move || compiling.newer(&its, NEWER));
        change(&function, &new);
        let last = match compiling.join().unwrap() {
            // Its first version is freed now.
            true => NEWER,
            false => SECOND,
        };
        assert_eq!(function.entry(), last, "the newest stays");
    }
}

#[test]
fn a_definition_becomes_current_with_its_entry() {
    ::loom::model(newer_of_the_new(|function, new| {
        function.exchange(new, Some(SECOND));
    }));
    assert!(fails(newer_of_the_new(|function, new| {
        function.exchange(new, Some(FIRST));
        entry::publish(&function.word, SECOND);
    })));
}

/// Who is in the code of a version finds it on record.
fn record(recorded_first: bool) -> impl Fn() + Sync + Send + 'static {
    move || {
        let old = definition("old");
        let function = Function::new(&old, Some(FIRST));
        let running = Arc::clone(&function);
        let running = thread::spawn(move || {
            if running.entry() == NEWER {
                assert_eq!(*running.record.lock().unwrap(), NEWER, "it is on record");
            }
        });
        if recorded_first {
            assert!(function.newer(&old, NEWER));
        } else {
            entry::publish(&function.word, NEWER);
            *function.record.lock().unwrap() = NEWER;
        }
        running.join().unwrap();
    }
}

#[test]
fn what_runs_is_on_record() {
    ::loom::model(record(true));
    assert!(fails(record(false)));
}

/// The first version comes about at two first calls, while a thread that was faster already publishes a second.
#[test]
fn a_first_version_never_replaces_a_newer_one() {
    type First = fn(&Function, &Definition);
    let model = |first: First| {
        move || {
            let old = definition("old");
            let function = Function::new(&old, None);
            let (compiling, its) = (Arc::clone(&function), old.clone());
            let compiling = thread::spawn(move || {
                compiling.code.write(FIRST);
                first(&compiling, &its);
                // What a resolver returns: the newest, and not what it has just made.
                let entry = compiling.entry();
                assert_eq!(compiling.code.run(entry), entry);
            });
            function.code.write(SECOND);
            assert!(function.newer(&old, SECOND));
            compiling.join().unwrap();
            assert_eq!(function.entry(), SECOND, "never the older at the end");
        }
    };
    ::loom::model(model(|function, old| {
        assert!(function.first(old, FIRST));
    }));
    assert!(fails(model(|function, old| {
        if function.is(old) {
            entry::publish(&function.word, FIRST);
        }
    })));
}
