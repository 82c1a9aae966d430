//! What the external names of one function lead to, where they are a module's and not the engine's.
//!
//! A module names its functions and data by numbers of its own, and finds host symbols in its own ways.
//! All that is settled once, when the module is finalized; later compilations of the same function read
//! the result, on any thread, without asking the client.
//!
//! Invariants: written once, before the function can run; constant afterwards.
//!
//! Not here: how a module finds an address (`jit`).

use cranelift_codegen::binemit::CodeOffset;
use cranelift_codegen::ir::LibCall;
use cranelift_module::{FuncId, ModuleRelocTarget};
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// Something that is kept in existence.
pub(crate) type Kept = Arc<dyn Any + Send + Sync>;

/// Addresses by name.
#[derive(Debug, Default)]
pub(crate) struct Externals(OnceLock<Addresses>);

#[derive(Debug, Default)]
struct Addresses {
    /// By namespace and index, sorted.
    users: Box<[((u32, u32), usize)]>,
    libcalls: Box<[(LibCall, usize)]>,
    /// Places in functions, sorted.
    offsets: Box<[((FuncId, CodeOffset), usize)]>,
    _functions: Vec<Kept>,
}

impl Externals {
    /// Settles the addresses, unless they are settled already. The functions among what is named stay
    /// callable as long as this.
    pub fn settle<'a>(
        &self,
        names: impl IntoIterator<Item = (&'a ModuleRelocTarget, usize)>,
        functions: Vec<Kept>,
    ) {
        let mut users = vec![];
        let mut libcalls = vec![];
        let mut offsets = vec![];
        for (name, address) in names {
            match *name {
                ModuleRelocTarget::User { namespace, index } => {
                    users.push(((namespace, index), address));
                }
                ModuleRelocTarget::LibCall(libcall) => libcalls.push((libcall, address)),
                ModuleRelocTarget::FunctionOffset(id, offset) => {
                    offsets.push(((id, offset), address))
                }
                ModuleRelocTarget::KnownSymbol(_) => {}
            }
        }
        users.sort_unstable();
        users.dedup();
        libcalls.dedup();
        offsets.sort_unstable();
        offsets.dedup();
        let _ = self.0.set(Addresses {
            users: users.into(),
            libcalls: libcalls.into(),
            offsets: offsets.into(),
            _functions: functions,
        });
    }

    /// The address of a name, if it is one of the function's.
    pub fn address_of(&self, name: &ModuleRelocTarget) -> Option<usize> {
        let addresses = self.0.get()?;
        match *name {
            ModuleRelocTarget::User { namespace, index } => {
                search(&addresses.users, &(namespace, index))
            }
            ModuleRelocTarget::LibCall(libcall) => {
                let mut libcalls = addresses.libcalls.iter();
                libcalls
                    .find(|known| known.0 == libcall)
                    .map(|known| known.1)
            }
            ModuleRelocTarget::FunctionOffset(id, offset) => {
                search(&addresses.offsets, &(id, offset))
            }
            ModuleRelocTarget::KnownSymbol(_) => None,
        }
    }
}

fn search<K: Ord>(sorted: &[(K, usize)], key: &K) -> Option<usize> {
    let found = sorted.binary_search_by(|(other, _)| other.cmp(key));
    found.ok().map(|at| sorted[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_once_settled() {
        let externals = Externals::default();
        let [function, data] =
            [(0, 7), (1, 7)].map(|(namespace, index)| ModuleRelocTarget::user(namespace, index));
        let floor = ModuleRelocTarget::LibCall(LibCall::FloorF64);
        assert_eq!(externals.address_of(&function), None);
        externals.settle(
            [(&data, 2), (&function, 1), (&floor, 3), (&data, 2)],
            vec![],
        );
        externals.settle([(&function, 9)], vec![]);
        assert_eq!(externals.address_of(&function), Some(1));
        assert_eq!(externals.address_of(&data), Some(2));
        assert_eq!(externals.address_of(&floor), Some(3));
        assert_eq!(externals.address_of(&ModuleRelocTarget::user(0, 8)), None);
        let ceil = ModuleRelocTarget::LibCall(LibCall::CeilF64);
        assert_eq!(externals.address_of(&ceil), None);
    }
}

/// The stubs of functions, sorted by number. Valid as long as the functions are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stubs(Arc<[(u32, usize)]>);

impl Stubs {
    /// Stubs by the numbers of their functions.
    pub fn new(stubs: impl IntoIterator<Item = (u32, usize)>) -> Self {
        let mut stubs: Vec<_> = stubs.into_iter().collect();
        stubs.sort_unstable();
        Self(stubs.into())
    }

    /// The stub of the function with this number.
    pub fn find(&self, unit: u32) -> Option<usize> {
        let found = self.0.binary_search_by_key(&unit, |stub| stub.0);
        found.ok().map(|at| self.0[at].1)
    }
}

/// Data of one version: namespace and index of its name, and its address.
pub(crate) type OwnData = ((u32, u32), usize);
