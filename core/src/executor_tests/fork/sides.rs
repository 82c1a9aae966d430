//! Both sides of a fork compile, free and drop, and neither shows on the other.

use super::*;

/// Compiles, calls and removes; all that is compiled is run.
fn work(engine: &Engine, salt: i64) {
    for round in 0..40 {
        let factor = salt + round;
        let id = define(engine, &format!("made{salt}_{round}"), factor).unwrap();
        check(engine, id, 3, factor);
        check(engine, id, 1000, factor);
        if round % 2 == 0 {
            engine.remove(id).unwrap();
        }
    }
}

#[test]
fn each_side_runs_its_own_code() {
    alone("sides::each_side_runs_its_own_code", || {
        for compile in [CompileMode::Synchronous, CompileMode::Background] {
            let engine = engine(config().compile(compile));
            let f = define(&engine, "f", 2).unwrap();
            let cold = define(&engine, "cold", 3).unwrap();
            check(&engine, f, 1000, 2);
            let fork = |child: i64| {
                Forked::new(|| {
                    work(&engine, 1000 * child);
                    check(&engine, f, 1000, 2);
                    check(&engine, cold, 1000, 3);
                    redefine(&engine, f, 50 + child);
                    work(&engine, 2000 * child);
                    check(&engine, f, 1000, 50 + child);
                    engine.wait_idle();
                })
            };
            let children = [1, 2, 3].map(fork);
            work(&engine, 7);
            redefine(&engine, f, 5);
            check(&engine, f, 1000, 5);
            check(&engine, cold, 1000, 3);
            work(&engine, 77);
            children.into_iter().for_each(Forked::succeeds);
            check(&engine, f, 1000, 5);
            check(&engine, cold, 1000, 3);
        }
    });
}

#[test]
fn whoever_drops_an_engine_leaves_the_others_code() {
    alone(
        "sides::whoever_drops_an_engine_leaves_the_others_code",
        || {
            let mut engine = Some(engine(config()));
            let here = engine.clone();
            let f = define(here.as_ref().unwrap(), "f", 2).unwrap();
            check(here.as_ref().unwrap(), f, 1000, 2);
            drop(here);
            Forked::new(|| drop(engine.take())).succeeds();
            check(engine.as_ref().unwrap(), f, 1000, 2);
            let (dropped, drops) = std::io::pipe().unwrap();
            let child = Forked::new(|| {
                let mut dropped = &dropped;
                std::io::Read::read_exact(&mut dropped, &mut [0]).unwrap();
                let engine = engine.as_ref().unwrap();
                check(engine, f, 1000, 2);
                work(engine, 9);
            });
            drop(engine.take());
            let mut drops = &drops;
            std::io::Write::write_all(&mut drops, &[0]).unwrap();
            child.succeeds();
        },
    );
}

#[test]
fn a_fork_in_the_middle_of_generated_code() {
    alone("sides::a_fork_in_the_middle_of_generated_code", || {
        extern "C" fn fork() -> i64 {
            // SAFETY: the child goes on in generated code, which is what is tested.
            i64::from(unsafe { libc::fork() })
        }
        let engine = engine(config());
        engine.symbol("fork", fork as *const u8).unwrap();
        let clif = times("f", 2)
            .replace("block0(v0", "    fn0 = %fork() -> i64 system_v\nblock0(v0")
            .replace("block2:\n", "block2:\n    v20 = call fn0()\n")
            .replace("v8 = iadd v6, v0", "v8 = iadd v6, v20");
        let f = parse_functions(&clif).unwrap().remove(0);
        let f = engine.define_function(f).unwrap();
        let child = call(&engine, f, 1000).unwrap() - 2000;
        // From here on both go their own ways.
        let factor = if child == 0 { 30 } else { 40 };
        let g = define(&engine, "g", factor).unwrap();
        for _ in 0..3 {
            check(&engine, g, 1000, factor);
        }
        if child == 0 {
            // SAFETY: ends the process without running what belongs to the parent.
            unsafe { libc::_exit(0) };
        }
        Forked(libc::pid_t::try_from(child).unwrap()).succeeds();
    });
}

/// Past the C library, nothing could be copied: the child refuses, and the parent does not notice.
#[test]
fn a_child_without_a_copy_refuses_to_compile() {
    alone("sides::a_child_without_a_copy_refuses_to_compile", || {
        let mut held = Some(engine(config()));
        let engine = held.clone().unwrap();
        let f = define(&engine, "f", 2).unwrap();
        let g = define(&engine, "g", 3).unwrap();
        check(&engine, f, 1000, 2);
        drop(engine);
        // SAFETY: the child does not use what the C library does at a fork.
        let fork =
            || unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t };
        let child = Forked::by(fork, || {
            let engine = held.take().unwrap();
            check(&engine, f, 1000, 2);
            let refused = define(&engine, "h", 4).unwrap_err().to_string();
            assert!(refused.contains("forked"), "{refused}");
            // Its loop stays at tier 0.
            check(&engine, g, 1000, 3);
            engine.remove(f).unwrap();
            drop(engine);
            let own = super::engine(config());
            let h = define(&own, "h", 4).unwrap();
            check(&own, h, 1000, 4);
        });
        child.succeeds();
        let engine = held.unwrap();
        check(&engine, f, 1000, 2);
        check(&engine, g, 1000, 3);
    });
}

/// In the middle of what holds locks, the child gets no copy; and nothing hangs.
#[test]
fn a_fork_in_a_callback() {
    alone("sides::a_fork_in_a_callback", || {
        let engine = engine(config());
        let f = define(&engine, "f", 2).unwrap();
        check(&engine, f, 1000, 2);
        let source = parse_functions(&times("lazy", 3)).unwrap().remove(0);
        let lazy = engine.declare("lazy", &source.signature).unwrap();
        let defined = engine.define_lazily(lazy, move |engine| {
            let child = Forked::new(|| {
                check(engine, f, 1000, 2);
                let refused = define(engine, "g", 4).unwrap_err().to_string();
                assert!(refused.contains("forked"), "{refused}");
            });
            child.succeeds();
            Ok(source)
        });
        defined.unwrap();
        check(&engine, lazy, 1000, 3);
        Forked::new(|| check(&engine, lazy, 1000, 3)).succeeds();
    });
}

/// A trap that skips the frames of a section has ended it: the next fork does not wait for it.
#[test]
fn a_fork_after_a_trap_in_a_callback() {
    alone("sides::a_fork_after_a_trap_in_a_callback", || {
        let engine = engine(config());
        let f = define(&engine, "f", 2).unwrap();
        let trap = "function %trap(i64) -> i64 system_v {\nblock0(v0: i64):\n    trap user1\n}";
        let trap = parse_functions(trap).unwrap().remove(0);
        let trap = engine.define_function(trap).unwrap();
        let raw = engine.pointer(trap).unwrap();
        // SAFETY: the function has this signature.
        let raw = unsafe { std::mem::transmute::<*const u8, extern "C" fn(i64) -> i64>(raw) };
        let source = parse_functions(&times("lazy", 3)).unwrap().remove(0);
        let lazy = engine.declare("lazy", &source.signature).unwrap();
        let defined = engine.define_lazily(lazy, move |_| {
            raw(0);
            Ok(source)
        });
        defined.unwrap();
        call(&engine, lazy, 3).unwrap_err();
        assert_eq!((depth(), inside()), (0, 0));
        Forked::new(|| {
            define(&engine, "g", 4).unwrap();
            check(&engine, f, 1000, 2);
        })
        .succeeds();
    });
}
