//! The text of what is compiled: CLIF before and after the optimiser, and machine code.

use crate::code::disassemble::disassemble;
use crate::report::CodeReport;
use cranelift_codegen::Context;
use cranelift_codegen::ir::Function;

/// Which texts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// None: they cost time and memory.
    None,
    /// All.
    Keep,
}

/// The text of a version, as far as it is there.
#[derive(Debug)]
pub struct CodeText {
    clif: String,
    want_disasm: bool,
}

impl CodeText {
    /// The CLIF that is to be compiled, if that is wanted; the code generator is asked for its disassembly.
    pub fn before(context: &mut Context, texts: Texts) -> Option<Self> {
        (texts == Texts::Keep).then(|| Self {
            clif: plain(&context.func),
            want_disasm: std::mem::replace(&mut context.want_disasm, true),
        })
    }

    /// What templates made of `func`, if that is wanted: nothing in between has a text.
    pub fn of_template(
        func: &Function,
        code: &regraft_template::Code,
        texts: Texts,
    ) -> Option<Box<CodeReport>> {
        (texts == Texts::Keep).then(|| {
            let clif = plain(func);
            Box::new(CodeReport {
                optimized: clif.clone(),
                clif,
                machine: disassemble(code, func),
            })
        })
    }

    /// What became of it; the context is as it was.
    pub fn after(self, context: &mut Context) -> Box<CodeReport> {
        context.want_disasm = self.want_disasm;
        let code = context.compiled_code();
        let machine = code.and_then(|code| code.vcode.clone()).unwrap_or_default();
        Box::new(CodeReport {
            clif: self.clif,
            optimized: plain(&context.func),
            machine,
        })
    }
}

/// A function without source locations: they are not the client's only, and take half of the line.
fn plain(func: &Function) -> String {
    let mut func = func.clone();
    func.srclocs.clear();
    func.to_string()
}
