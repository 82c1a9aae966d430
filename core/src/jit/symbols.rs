//! Host symbols by name: registered, found by the client's functions, or exported by the process.
//!
//! Invariants: a name that was found keeps its address.

use crate::code::link::process_symbol;
use regraft_executor::locks::{Locked, lock};
use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

pub(super) type Lookup = Box<dyn Fn(&str) -> Option<*const u8> + Send>;

#[derive(Default)]
pub(super) struct Symbols(Mutex<Table>);

#[derive(Default)]
struct Table {
    known: HashMap<String, usize>,
    lookups: Vec<Lookup>,
}

impl fmt::Debug for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table();
        f.debug_struct("Symbols")
            .field("known", &table.known.len())
            .field("lookups", &table.lookups.len())
            .finish()
    }
}

impl Symbols {
    pub fn insert(&mut self, name: String, address: *const u8) {
        self.table().known.insert(name, address.expose_provenance());
    }

    pub fn add_lookup(&mut self, lookup: Lookup) {
        self.table().lookups.push(lookup);
    }

    /// The address of a symbol, if anybody knows it.
    pub fn find(&self, name: &str) -> Option<usize> {
        let mut table = self.table();
        if let Some(&address) = table.known.get(name) {
            return Some(address);
        }
        let mut lookups = table.lookups.iter().rev();
        let found = lookups.find_map(|lookup| lookup(name));
        let found = found.map(<*const u8>::expose_provenance);
        let address = found.or_else(|| process_symbol(name))?;
        table.known.insert(name.to_string(), address);
        Some(address)
    }

    /// Locks, whatever a lookup function that panicked left: it changes nothing here.
    fn table(&self) -> Locked<'_, Table> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_last_lookup_is_asked_first_and_once() {
        let asked = Arc::new(AtomicUsize::new(0));
        let mut symbols = Symbols::default();
        let at = |address: usize| std::ptr::without_provenance::<u8>(address);
        symbols.insert("registered".into(), at(1));
        symbols.insert("registered".into(), at(2));
        symbols.add_lookup(Box::new(move |_| Some(at(3))));
        let count = Arc::clone(&asked);
        symbols.add_lookup(Box::new(move |name| {
            count.fetch_add(1, Ordering::Relaxed);
            (name == "late").then(|| at(4))
        }));
        for _ in 0..2 {
            assert_eq!(symbols.find("registered"), Some(2));
            assert_eq!(symbols.find("late"), Some(4));
            assert_eq!(symbols.find("malloc"), Some(3));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_process_is_asked_last() {
        let symbols = Symbols::default();
        assert_eq!(symbols.find("malloc"), process_symbol("malloc"));
        assert!(symbols.find("malloc").is_some());
        assert_eq!(symbols.find("no such symbol"), None);
    }
}
