//! The functions that are measured, as CLIF.
//!
//! All take a number and return one; those of [`interpreter`] and [`nests`]
//! are to be compiled, not to be called.

use crate::Result;
use cranelift_codegen::ir::{Function, UserFuncName};
use cranelift_codegen::isa::CallConv;
use std::fmt::Write;

/// The one function in `text`, under another name and with the host's calling
/// convention.
///
/// # Errors
///
/// The parser's; text without a function; an unknown host.
pub fn parse(text: &str, name: &str) -> Result<Function> {
    let functions = cranelift_reader::parse_functions(text)?;
    let mut func = functions.into_iter().next().ok_or("no function")?;
    func.name = UserFuncName::testcase(name);
    let host = CallConv::triple_default(cranelift_native::builder()?.triple());
    func.signature.call_conv = host;
    for signature in func.dfg.signatures.values_mut() {
        signature.call_conv = host;
    }
    Ok(func)
}

/// The number of instructions in a function's layout.
pub fn instructions(func: &Function) -> usize {
    let blocks = func.layout.blocks();
    blocks
        .map(|block| func.layout.block_insts(block).count())
        .sum()
}

/// The loops that have one function each, by its name.
pub const LOOPS: [(&str, &str); 4] = [
    ("tiny", TINY),
    ("medium", MEDIUM),
    ("nested", NESTED),
    ("branchy", BRANCHY),
];

/// One block, four instructions.
pub const TINY: &str = "
function %tiny(i64) -> i64 {
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v0, v1)
block1(v2: i64, v3: i64):
    v4 = bxor v3, v2
    v5 = iconst.i64 -1
    v6 = iadd v2, v5
    brif v6, block1(v6, v4), block2
block2:
    return v4
}";

/// One block, twenty instructions.
pub const MEDIUM: &str = "
function %medium(i64) -> i64 {
block0(v0: i64):
    v1 = iconst.i64 1
    v2 = iconst.i64 2
    jump block1(v0, v1, v2, v0)
block1(v3: i64, v4: i64, v5: i64, v6: i64):
    v7 = iconst.i64 5
    v8 = imul v4, v7
    v9 = rotl v8, v7
    v10 = iadd v9, v6
    v11 = bxor v5, v4
    v12 = iconst.i64 17
    v13 = ishl v4, v12
    v14 = bxor v11, v13
    v15 = rotl v14, v12
    v16 = isub v15, v3
    v17 = iconst.i64 27
    v18 = ushr v10, v17
    v19 = bxor v10, v18
    v20 = imul v19, v7
    v21 = iadd v20, v16
    v22 = bor v21, v3
    v23 = iadd v11, v22
    v24 = iconst.i64 -1
    v25 = iadd v3, v24
    brif v25, block1(v25, v16, v23, v21), block2
block2:
    return v21
}";

/// A loop of 100 iterations in a loop, five instructions.
pub const NESTED: &str = "
function %nested(i64) -> i64 {
block0(v0: i64):
    v1 = iconst.i64 0
    v2 = iconst.i64 100
    v20 = udiv v0, v2
    jump block1(v20, v1)
block1(v3: i64, v4: i64):
    jump block2(v2, v4)
block2(v5: i64, v6: i64):
    v7 = iconst.i64 3
    v8 = imul v6, v7
    v9 = bxor v8, v5
    v10 = iadd v9, v3
    v11 = iconst.i64 -1
    v12 = iadd v5, v11
    brif v12, block2(v12, v10), block3
block3:
    v13 = iconst.i64 -1
    v14 = iadd v3, v13
    brif v14, block1(v14, v10), block4
block4:
    return v10
}";

/// Three branches an iteration that the predictor cannot learn, eleven blocks.
pub const BRANCHY: &str = "
function %branchy(i64) -> i64 {
block0(v0: i64):
    v1 = iconst.i64 1
    jump block1(v0, v1, v1)
block1(v2: i64, v3: i64, v4: i64):
    v5 = iconst.i64 6364136223846793005
    v6 = imul v3, v5
    v7 = iconst.i64 1442695040888963407
    v8 = iadd v6, v7
    v9 = iconst.i64 61
    v10 = ushr v8, v9
    v11 = iconst.i64 1
    v12 = band v10, v11
    brif v12, block2, block3
block2:
    v13 = iadd v4, v8
    jump block4(v13)
block3:
    v14 = bxor v4, v8
    jump block4(v14)
block4(v15: i64):
    v16 = iconst.i64 2
    v17 = band v10, v16
    brif v17, block5, block6(v15)
block5:
    v18 = iconst.i64 7
    v19 = imul v15, v18
    jump block6(v19)
block6(v20: i64):
    v21 = iconst.i64 4
    v22 = band v10, v21
    brif v22, block7, block8
block7:
    v23 = isub v20, v2
    jump block9(v23)
block8:
    v24 = rotl v20, v21
    jump block9(v24)
block9(v25: i64):
    v26 = iconst.i64 -1
    v27 = iadd v2, v26
    brif v27, block1(v27, v8, v25), block10
block10:
    return v25
}";

/// A caller and its callee, which does next to nothing.
pub const CALLEE: &str = "
function %callee(i64) -> i64 {
block0(v0: i64):
    v1 = iconst.i64 1
    v2 = iadd v0, v1
    return v2
}";

/// See [`CALLEE`].
pub const CALLER: &str = "
function %caller(i64) -> i64 {
    fn0 = %callee(i64) -> i64
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v0, v1)
block1(v2: i64, v3: i64):
    v4 = call fn0(v3)
    v5 = iconst.i64 -1
    v6 = iadd v2, v5
    brif v6, block1(v6, v4), block2
block2:
    return v4
}";

/// An inner loop of `v1` iterations with 16 live-ins, entered `v0` times. The
/// outer loop has many more instructions.
pub fn entries() -> String {
    let mut text = "
function %entries(i64, i64) -> i64 {
block0(v0: i64, v1: i64):
    v3 = iconst.i64 1
    jump block1(v0, v3)
block1(v4: i64, v5: i64):
"
    .to_string();
    // Fourteen values that the inner loop uses and does not change.
    for value in 0..14 {
        let _ = writeln!(text, "    v{} = iconst.i64 {}", 100 + value, value * 7 + 3);
        let _ = writeln!(text, "    v{} = imul v5, v{}", 120 + value, 100 + value);
        let _ = writeln!(text, "    v{} = iadd v{}, v4", 140 + value, 120 + value);
    }
    text.push_str("    jump block2(v1, v5)\nblock2(v6: i64, v7: i64):\n");
    let mut last = 7;
    for value in 0..14 {
        let operation = if value % 2 == 0 { "bxor" } else { "iadd" };
        let _ = writeln!(
            text,
            "    v{} = {operation} v{last}, v{}",
            160 + value,
            140 + value
        );
        last = 160 + value;
    }
    let _ = write!(
        text,
        "    v200 = iconst.i64 -1
    v8 = iadd v6, v200
    brif v8, block2(v8, v{last}), block3
block3:
    v201 = iconst.i64 -1
    v9 = iadd v4, v201
    brif v9, block1(v9, v{last}), block4
block4:
    return v{last}
}}"
    );
    text
}

/// A loop around a `br_table` with handlers of sixteen instructions each.
pub fn interpreter(instructions: usize) -> String {
    let handlers = (instructions.saturating_sub(6) / 16).max(1);
    let mut text = String::from(
        "
function %interpreter(i64, i64) -> i64 {
block0(v0: i64, v1: i64):
    jump block1(v0)
block1(v2: i64):
    v3 = uload16.i32 v2
    br_table v3, block2, [",
    );
    let targets: Vec<String> = (0..handlers)
        .map(|index| format!("block{}", index + 3))
        .collect();
    text.push_str(&targets.join(", "));
    text.push_str("]\nblock2:\n    v4 = load.i64 v1\n    return v4\n");
    for handler in 0..handlers {
        let v = |index: usize| handler * 20 + 10 + index;
        let operation = ["iadd", "isub", "imul", "bxor", "band", "bor"][handler % 6];
        let _ = write!(
            text,
            "block{}:
    v{a} = uload8.i64 v2+2
    v{three} = iconst.i64 3
    v{b} = ishl v{a}, v{three}
    v{c} = iadd v1, v{b}
    v{d} = load.i64 v{c}
    v{e} = uload8.i64 v2+3
    v{f} = ishl v{e}, v{three}
    v{g} = iadd v1, v{f}
    v{h} = load.i64 v{g}
    v{i} = {operation} v{d}, v{h}
    v{constant} = iconst.i64 {handler}
    v{j} = iadd v{i}, v{constant}
    store v{j}, v{c}
    v{eight} = iconst.i64 8
    v{k} = iadd v2, v{eight}
    jump block1(v{k})
",
            handler + 3,
            a = v(0),
            three = v(1),
            b = v(2),
            c = v(3),
            d = v(4),
            e = v(5),
            f = v(6),
            g = v(7),
            h = v(8),
            i = v(9),
            constant = v(10),
            j = v(11),
            eight = v(12),
            k = v(13),
        );
    }
    text.push_str("}\n");
    text
}

/// Nests of two loops, one behind the other, twenty instructions each.
pub fn nests(instructions: usize) -> String {
    let nests = (instructions / 20).max(1);
    let mut text = String::from(
        "
function %nests(i64, i64) -> i64 {
block0(v0: i64, v1: i64):
    jump block1(v1)
",
    );
    for nest in 0..nests {
        let block = |index: usize| nest * 4 + 1 + index;
        let v = |index: usize| nest * 30 + 10 + index;
        let _ = write!(
            text,
            "block{enter}(v{start}: i64):
    jump block{outer}(v0, v{start})
block{outer}(v{i}: i64, v{sum}: i64):
    v{bound} = bxor v{i}, v1
    jump block{inner}(v{bound}, v{sum})
block{inner}(v{j}: i64, v{acc}: i64):
    v{three} = iconst.i64 3
    v{a} = imul v{acc}, v{three}
    v{b} = bxor v{a}, v{j}
    v{c} = ushr v{b}, v{three}
    v{d} = iadd v{c}, v{i}
    v{e} = rotl v{d}, v{three}
    v{f} = iadd v{e}, v{acc}
    v{one} = iconst.i64 -1
    v{g} = iadd v{j}, v{one}
    brif v{g}, block{inner}(v{g}, v{f}), block{latch}
block{latch}:
    v{h} = bxor v{f}, v{bound}
    v{k} = imul v{h}, v{three}
    v{l} = iadd v{k}, v{sum}
    v{two} = iconst.i64 -1
    v{m} = iadd v{i}, v{two}
    brif v{m}, block{outer}(v{m}, v{l}), block{next}(v{l})
",
            enter = block(0),
            outer = block(1),
            inner = block(2),
            latch = block(3),
            next = block(4),
            start = v(0),
            i = v(1),
            sum = v(2),
            bound = v(3),
            j = v(4),
            acc = v(5),
            three = v(6),
            a = v(7),
            b = v(8),
            c = v(9),
            d = v(10),
            e = v(11),
            f = v(12),
            one = v(13),
            g = v(14),
            h = v(15),
            k = v(16),
            l = v(17),
            two = v(18),
            m = v(19),
        );
    }
    let last = nests * 30 + 10;
    let _ = write!(
        text,
        "block{}(v{last}: i64):\n    return v{last}\n}}\n",
        nests * 4 + 1
    );
    text
}
