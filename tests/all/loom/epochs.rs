//! Reclamation epochs, model-checked: what is freed is used by nobody.
//!
//! A reader enters, reads the slot, runs the code and leaves, while the code is replaced and what was replaced
//! is freed as soon as the protocol permits. That a fence is light or heavy has no place in the model: both are full.

/// Compiles the source of the protocol against atomics and fences that may be weaker than what it asks for.
macro_rules! protocol {
    ($name:ident, $order:expr, $light:expr, $heavy:expr) => {
        #[path = "../../../core/src/epoch"]
        mod $name {
            mod atomic {
                pub use ::loom::sync::atomic::Ordering;

                #[derive(Debug)]
                pub struct AtomicU64(::loom::sync::atomic::AtomicU64);

                impl AtomicU64 {
                    pub fn new(value: u64) -> Self {
                        Self(::loom::sync::atomic::AtomicU64::new(value))
                    }

                    pub fn load(&self, order: Ordering) -> u64 {
                        self.0.load($order(order))
                    }

                    pub fn store(&self, value: u64, order: Ordering) {
                        self.0.store(value, $order(order));
                    }

                    pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
                        self.0.fetch_add(value, $order(order))
                    }
                }

                pub fn light_fence() {
                    if $light {
                        ::loom::sync::atomic::fence(Ordering::SeqCst);
                    }
                }

                pub fn heavy_fence() {
                    if $heavy {
                        ::loom::sync::atomic::fence(Ordering::SeqCst);
                    }
                }
            }

            #[path = "protocol.rs"]
            mod protocol;
            use super::{Code, FIRST, SECOND};
            use ::loom::sync::Arc;
            use ::loom::sync::atomic::AtomicUsize;
            use protocol::{Clock, Participant};

            struct Shared {
                clock: Clock,
                readers: [Participant; 2],
                slot: AtomicUsize,
                code: Code,
            }

            fn read(shared: &Shared, reader: usize) {
                shared.clock.enter(&shared.readers[reader]);
                let entry = shared.slot.load(Ordering::Acquire);
                assert_eq!(shared.code.run(entry), entry);
                shared.readers[reader].leave();
            }

            use atomic::Ordering;

            /// One reader comes `times` times, or two once each; `unlink_first` is what the protocol demands.
            pub fn model(
                readers: usize,
                times: usize,
                unlink_first: bool,
            ) -> impl Fn() + Sync + Send + 'static {
                move || {
                    let shared = Arc::new(Shared {
                        clock: Clock::new(),
                        readers: [Participant::new(), Participant::new()],
                        slot: AtomicUsize::new(FIRST),
                        code: Code::new(),
                    });
                    shared.code.write(FIRST);
                    let threads: Vec<_> = (0..readers)
                        .map(|reader| {
                            let shared = Arc::clone(&shared);
                            ::loom::thread::spawn(move || {
                                (0..times).for_each(|_| read(&shared, reader));
                            })
                        })
                        .collect();
                    shared.code.write(SECOND);
                    let unlink = || shared.slot.store(SECOND, Ordering::Release);
                    let epoch = if unlink_first {
                        unlink();
                        shared.clock.retire()
                    } else {
                        let epoch = shared.clock.retire();
                        unlink();
                        epoch
                    };
                    if epoch < shared.clock.oldest(&shared.readers) {
                        shared.code.free(FIRST);
                    }
                    threads
                        .into_iter()
                        .for_each(|thread| thread.join().unwrap());
                }
            }
        }
    };
}

use super::{Code, FIRST, SECOND, fails};

fn as_asked(order: Ordering) -> Ordering {
    order
}

fn relaxed(_: Ordering) -> Ordering {
    Ordering::Relaxed
}

use ::loom::sync::atomic::Ordering;

protocol!(sound, super::super::as_asked, true, true);
protocol!(without_light_fence, super::super::as_asked, false, true);
protocol!(without_heavy_fence, super::super::as_asked, true, false);
protocol!(without_order, super::super::relaxed, true, true);

#[test]
fn what_is_freed_is_used_by_nobody() {
    ::loom::model(sound::model(1, 1, true));
    ::loom::model(sound::model(1, 2, true));
    let mut two = ::loom::model::Builder::new();
    two.preemption_bound = Some(3);
    two.check(sound::model(2, 1, true));
}

#[test]
fn without_any_part_of_the_protocol_something_is() {
    assert!(fails(sound::model(1, 2, false)));
    assert!(fails(without_light_fence::model(1, 1, true)));
    assert!(fails(without_heavy_fence::model(1, 1, true)));
    assert!(fails(without_order::model(1, 2, true)));
}
