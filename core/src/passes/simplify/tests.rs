//! What goes, and what stays.

use super::*;
use cranelift_codegen::settings::{self, Configurable};

fn simplified(text: &str) -> String {
    let mut functions = cranelift_reader::parse_functions(text).unwrap();
    let isa = cranelift_native::builder().unwrap();
    let mut flags = settings::builder();
    // As in the engine's.
    flags.set("enable_verifier", "false").unwrap();
    let isa = isa.finish(settings::Flags::new(flags));
    remove_constant_parameters(&mut functions[0], &*isa.unwrap());
    functions[0].to_string()
}

/// Neither loop changes v3 and v6, and each gets them from the other.
#[test]
fn what_goes_round_a_nest_unchanged_is_no_parameter() {
    let text = simplified(
        "function %nest(i32, i32) -> i32 {
        block0(v0: i32, v1: i32):
            jump block1(v0, v1)
        block1(v2: i32, v3: i32):
            jump block2(v2, v3)
        block2(v5: i32, v6: i32):
            v7 = isub v5, v6
            brif v7, block2(v7, v6), block3
        block3:
            brif v1, block1(v7, v6), block4
        block4:
            return v6
        }",
    );
    assert!(text.contains("block1(v2: i32):"), "{text}");
    assert!(text.contains("block2(v5: i32):"), "{text}");
}

/// A loop's variable that does not change, but goes round by way of blocks where other variables meet.
#[test]
fn what_a_loop_gets_by_way_of_another_block_is_no_parameter() {
    let text = simplified(
        "function %f(i32, i32) -> i32 {
        block0(v0: i32, v1: i32):
            jump block1(v0, v1)
        block1(v2: i32, v3: i32):
            v4 = isub v2, v3
            brif v4, block2(v4, v3), block3(v2, v3)
        block2(v5: i32, v6: i32):
            brif v5, block4(v5, v6), block3(v5, v6)
        block3(v7: i32, v8: i32):
            jump block4(v7, v8)
        block4(v9: i32, v10: i32):
            brif v9, block1(v9, v10), block5
        block5:
            return v10
        }",
    );
    assert!(text.contains("block1(v2: i32):"), "{text}");
    assert!(text.contains("block4(v9: i32):"), "{text}");
}

#[test]
fn a_function_without_loops_is_not_looked_at() {
    let text = "function %f(i32) -> i32 fast {
block0(v0: i32):
    brif v0, block1(v0), block1(v0)

block1(v1: i32):
    return v1
}
";
    assert_eq!(simplified(text), text);
}

/// Branches from blocks that nothing reaches pass no more than the others. That the pass runs at all is due to another loop:
/// whether a branch is reached is not known before.
#[test]
fn unreachable_branches_fit_too() {
    let text = simplified(
        "function %f(i32, i32) {
        block0(v0: i32, v1: i32):
            jump block1(v0, v1)
        block1(v2: i32, v3: i32):
            v4 = isub v2, v3
            brif v4, block1(v4, v3), block2(v1)
        block2(v6: i32):
            brif v6, block2(v6), block4
        block4:
            return
        block3:
            v5 = iconst.i32 7
            jump block1(v5, v5)
        }",
    );
    assert!(text.contains("jump block1(v5)"), "{text}");
    let functions = cranelift_reader::parse_functions(&text).unwrap();
    let flags = settings::Flags::new(settings::builder());
    cranelift_codegen::verify_function(&functions[0], &flags).unwrap();
}

/// Nothing here panics on CLIF that nobody verified.
#[test]
fn malformed_functions_stay_as_they_are() {
    for text in [
        "function %empty() {}",
        "function %open(i32) { block0(v0: i32): jump block1(v0) block1(v1: i32): v2 = iadd v1, v1 }",
        "function %few(i32) { block0(v0: i32): jump block1 block1(v1: i32): jump block1 }",
    ] {
        let functions = cranelift_reader::parse_functions(text).unwrap();
        assert_eq!(simplified(text), functions[0].to_string());
    }
}
