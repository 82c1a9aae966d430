//! From names in code to addresses.

use crate::code::codemap::Origin;
use crate::code::externals::OwnData;
use crate::code::link::library_call;
use crate::context::{Inner, RUNTIME_UNIT};
use crate::passes::names;
use cranelift_module::ModuleRelocTarget;
use regraft_executor::locks::read;

/// The address behind an external name, for the linker. `origin` is whose code is linked. `own` is data that
/// only this code knows, by namespace and index.
pub(crate) fn address_of(
    engine: &Inner,
    target: &ModuleRelocTarget,
    origin: &Origin,
    own: &[OwnData],
) -> Option<usize> {
    let externals = origin.externals();
    if let Some(address) = externals.and_then(|externals| externals.address_of(target)) {
        return Some(address);
    }
    let (namespace, index) = match *target {
        ModuleRelocTarget::User { namespace, index } => (namespace, index),
        ModuleRelocTarget::LibCall(libcall) => {
            return library_call(&*engine.session, libcall);
        }
        _ => return None,
    };
    let slot = |unit: u32| Some(read(&engine.units).get(unit)?.slot());
    match namespace {
        names::FUNCTIONS if externals.is_some() => None,
        // The table does not know functions any more that were removed: calls of them trap.
        names::FUNCTIONS => origin.stubs().find(index),
        names::UNITS => slot(index).map(|slot| slot.stub),
        names::CELLS => slot(index).map(|slot| slot.cell),
        names::COUNTERS | names::TABLES | names::COPIES => {
            let mut own = own.iter();
            own.find(|own| own.0 == (namespace, index)).map(|own| own.1)
        }
        names::RUNTIME => slot(RUNTIME_UNIT).map(|slot| slot.stub),
        names::DATA => {
            let name = read(&engine.units).data_names.get(index as usize)?.clone();
            engine.symbol_address(&name)
        }
        _ => None,
    }
}
