//! Tests of pins: nesting, skipped frames, threads that end. The protocol itself is model-checked.

use super::*;
use std::sync::mpsc::channel;

/// Whether a thread is inside that holds up what is retired now.
fn is_held_up(epochs: &Epochs) -> bool {
    epochs.retire() >= epochs.oldest()
}

#[test]
fn a_pin_holds_up_what_is_retired_after_it_began() {
    let epochs = Epochs::new();
    let before = epochs.retire();
    let during = epochs.pinned(|| {
        let during = epochs.retire();
        assert!(before < epochs.oldest());
        assert!(during >= epochs.oldest());
        epochs.pinned(|| assert!(during >= epochs.oldest()));
        assert!(during >= epochs.oldest());
        during
    });
    assert!(during < epochs.oldest());
}

#[test]
fn other_engines_are_not_held_up() {
    let (inside, other) = (Epochs::new(), Epochs::new());
    inside.pinned(|| {
        let retired = other.retire();
        assert!(retired < other.oldest());
    });
}

#[test]
fn skipped_pins_end_with_the_call_that_skips_them() {
    let epochs = Epochs::new();
    let other = Epochs::new();
    epochs.pinned(|| {
        let outside = depth();
        std::mem::forget(epochs.pin());
        std::mem::forget(other.pin());
        assert!(is_held_up(&other));
        restore(outside);
        assert!(!is_held_up(&other));
        assert!(is_held_up(&epochs));
    });
    assert!(!is_held_up(&epochs));
}

#[test]
fn a_panic_ends_its_pins() {
    let epochs = Epochs::new();
    let thrown = std::panic::catch_unwind(|| epochs.pinned(|| panic!("as asked for")));
    assert!(thrown.is_err());
    assert!(!is_held_up(&epochs));
}

#[test]
fn threads_that_ended_are_forgotten() {
    let epochs = Epochs::new();
    for _ in 0..4 {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| epochs.pinned(|| ()));
            // A scope ends with its closures; what a thread owns goes before it is joined.
            thread.join().unwrap();
        });
    }
    let (inside, wait) = channel();
    let (leave, left) = channel::<()>();
    std::thread::scope(|scope| {
        let epochs = &epochs;
        scope.spawn(move || {
            epochs.pinned(|| {
                inside.send(()).unwrap();
                left.recv().unwrap();
            });
        });
        wait.recv().unwrap();
        let held_up = is_held_up(epochs);
        let participants = epochs.participants.lock().unwrap().len();
        // First of all: who asserts while the thread waits, waits for it.
        leave.send(()).unwrap();
        assert!(held_up);
        assert_eq!(participants, 1);
    });
    assert!(!is_held_up(&epochs));
}

#[test]
fn memberships_of_engines_that_are_gone_are_forgotten() {
    for _ in 0..100 {
        Epochs::new().pinned(|| ());
    }
    LOCAL.with(|local| assert!(local.borrow().memberships.len() <= 2));
}
