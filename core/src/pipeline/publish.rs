//! The last step of tier 1: a version becomes what calls and loops reach.
//!
//! Invariants:
//!
//! * It happens while the body is the function's definition (`units::exchange`).
//!
//! Not here: publication of first versions (`define`, `runtime`).

use crate::context::Inner;
use crate::reclaim::{discard, retire};
use crate::report::{EventKind, Phase};
use crate::units::exchange::Publish;
use crate::units::formed::Formed;
use crate::units::part::HotPart;
use crate::units::retired::Retired;
use crate::units::subject::Subject;
use crate::units::tiering::{Status, TierState};
use crate::units::version::Version;
use regraft_executor::locks::Locked;
use regraft_executor::slots::OwnedSlot;
use std::sync::Arc;

/// Lets calls reach a version, unless its body was retired meanwhile; retires what it replaces.
pub(crate) fn publish(engine: &Inner, subject: Subject<'_>, version: Version, formed: Arc<Formed>) {
    let Subject {
        function,
        body,
        tiering,
    } = subject;
    let _linking = engine.enter(Phase::Link);
    let part = formed.part;
    let entry = version.entry;
    let mut replaced = None;
    let record = || {
        let mut state = tiering.state();
        let slot = match part {
            HotPart::Function => PartSlot::Function(&function.slot),
            HotPart::Loop(hook) => PartSlot::Hook(tiering.hooks[hook].slot.lock()),
        };
        // It may have gone with the function's tier 0.
        slot.get()?;
        replaced = state.part_mut(part).published(version, Arc::clone(&formed));
        let _state = state;
        Some(Recorded { slot, _state })
    };
    if !function.publish_newer(body, entry, record) {
        tiering.state().part_mut(part).status = Status::WholeFunction;
        discard(engine, &formed);
        return;
    }
    engine.happened_to(EventKind::Published, function, tiering, part);
    tiering.let_take_over(part);
    tiering.open(part);
    let body = || Arc::clone(body);
    match (replaced, part) {
        (Some(version), _) => retire(
            engine,
            Retired::Formation {
                body: body(),
                part,
                version,
            },
        ),
        (None, HotPart::Function) => retire(engine, Retired::Baseline(body())),
        (None, HotPart::Loop(_)) => {}
    }
}

/// The slot of a part.
enum PartSlot<'a> {
    Function(&'a OwnedSlot),
    Hook(Locked<'a, Option<OwnedSlot>>),
}

impl PartSlot<'_> {
    fn get(&self) -> Option<&OwnedSlot> {
        match self {
            PartSlot::Function(slot) => Some(slot),
            PartSlot::Hook(slot) => slot.as_ref(),
        }
    }
}

/// A version that is on record, which stays locked until its entry is stored in the slot.
struct Recorded<'a> {
    slot: PartSlot<'a>,
    _state: Locked<'a, TierState>,
}

impl Publish for Recorded<'_> {
    fn publish(&self, entry: usize) {
        if let Some(slot) = self.slot.get() {
            slot.publish(entry);
        }
    }
}
