//! A young compiler's front end: every local lives in a stack slot.
//!
//! ```text
//! module    = { "function" name program }
//! program   = "(" name { "," name } ")" block
//! block     = "{" { statement } "}"
//! statement = "let" name [ "=" expression ] ";" | "array" name "[" number "]" ";"
//!           | name [ "[" expression "]" ] "=" expression ";"
//!           | "while" expression block | "if" expression block [ "else" block ] | "return" expression ";"
//! primary   = number | name | name "[" expression "]" | name "(" expression { "," expression } ")" | "(" expression ")"
//! ```
//!
//! All values are `i64`. Operators, weakest first: `|`, `^`, `&`, `== != < <=` (signed), `<< >>` (unsigned), `+ -`, `* / %` (unsigned).
//! Indices are checked: out of bounds is a trap. Not here: diagnostics that help.

use crate::Result;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, Block, ExtFuncData, ExternalName, Function, InstBuilder, MemFlagsData, Signature,
    StackSlot, StackSlotData, StackSlotKind, TrapCode, UserFuncName, Value, types,
};
use cranelift_codegen::isa::CallConv;
use std::collections::HashMap;
use std::iter::Peekable;
use std::vec::IntoIter;

/// Binary operators by how strongly they bind.
const LEVELS: [&[&str]; 7] = [
    &["|"],
    &["^"],
    &["&"],
    &["==", "!=", "<=", "<"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

/// Compiles a program to CLIF.
///
/// # Errors
///
/// What the parser expected.
pub fn compile(text: &str, name: &str) -> Result<Function> {
    compile_tokens(&mut tokens(text).into_iter().peekable(), name)
}

/// Compiles every function of a module to CLIF.
///
/// # Errors
///
/// What the parser expected.
pub fn compile_module(text: &str) -> Result<Vec<Function>> {
    let mut tokens = tokens(text).into_iter().peekable();
    let mut functions = vec![];
    while let Some(first) = tokens.next() {
        if first != "function" {
            return Err(format!("`function` expected, not `{first}`").into());
        }
        let name = tokens.next().ok_or("a name expected")?;
        functions.push(compile_tokens(&mut tokens, &name)?);
    }
    Ok(functions)
}

type Tokens = Peekable<IntoIter<String>>;

fn compile_tokens(tokens: &mut Tokens, name: &str) -> Result<Function> {
    let conv = CallConv::triple_default(cranelift_native::builder()?.triple());
    let mut func =
        Function::with_name_signature(UserFuncName::testcase(name), Signature::new(conv));
    func.signature.returns.push(AbiParam::new(types::I64));
    let entry = func.dfg.make_block();
    let mut compiler = Compiler {
        tokens,
        names: HashMap::new(),
        cursor: FuncCursor::new(&mut func),
    };
    compiler.cursor.insert_block(entry);
    compiler.program(entry)?;
    Ok(func)
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = vec![];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '#' => {
                rest = rest
                    .split_once('\n')
                    .map_or("", |(_, rest)| rest)
                    .trim_start();
                continue;
            }
            'a'..='z' | 'A'..='Z' | '0'..='9' => rest
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len()),
            _ if ["==", "!=", "<=", "<<", ">>"]
                .iter()
                .any(|two| rest.starts_with(two)) =>
            {
                2
            }
            other => other.len_utf8(),
        };
        tokens.push(rest[..len].to_string());
        rest = rest[len..].trim_start();
    }
    tokens
}

#[derive(Clone, Copy)]
struct Local {
    slot: StackSlot,
    /// Elements, of an array.
    len: Option<u32>,
}

struct Compiler<'f> {
    tokens: &'f mut Tokens,
    names: HashMap<String, Local>,
    cursor: FuncCursor<'f>,
}

impl Compiler<'_> {
    fn peek(&mut self) -> &str {
        self.tokens.peek().map_or("", String::as_str)
    }

    fn next(&mut self) -> String {
        self.tokens.next().unwrap_or_default()
    }

    fn accept(&mut self, token: &str) -> bool {
        self.tokens.next_if(|next| next == token).is_some()
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        match self.accept(token) {
            true => Ok(()),
            false => {
                let found = self.next();
                Err(format!("`{token}` expected, not `{found}`").into())
            }
        }
    }

    fn program(&mut self, entry: Block) -> Result<()> {
        self.expect("(")?;
        while !self.accept(")") {
            let name = self.next();
            let local = self.declare(name, None);
            let func = &mut *self.cursor.func;
            func.signature.params.push(AbiParam::new(types::I64));
            let param = func.dfg.append_block_param(entry, types::I64);
            self.store(local, param);
            self.accept(",");
        }
        self.block()?;
        let zero = self.cursor.ins().iconst(types::I64, 0);
        self.cursor.ins().return_(&[zero]);
        Ok(())
    }

    fn declare(&mut self, name: String, len: Option<u32>) -> Local {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * len.unwrap_or(1), 3);
        let slot = self.cursor.func.create_sized_stack_slot(data);
        let local = Local { slot, len };
        self.names.insert(name, local);
        local
    }

    fn local(&self, name: &str) -> Result<Local> {
        let local = self.names.get(name).copied();
        local.ok_or_else(|| format!("`{name}` is not declared").into())
    }

    fn store(&mut self, local: Local, value: Value) {
        let address = self.cursor.ins().stack_addr(types::I64, local.slot, 0);
        let flags = MemFlagsData::trusted();
        self.cursor.ins().store(flags, value, address, 0);
    }

    fn block(&mut self) -> Result<()> {
        self.expect("{")?;
        while !self.accept("}") {
            self.statement()?;
        }
        Ok(())
    }

    /// What comes next goes into a new block.
    fn begin(&mut self, block: Block) {
        self.cursor.insert_block(block);
    }

    fn make_block(&mut self) -> Block {
        self.cursor.func.dfg.make_block()
    }

    fn statement(&mut self) -> Result<()> {
        match self.peek() {
            "let" => {
                self.next();
                let name = self.next();
                let local = self.declare(name, None);
                let value = match self.accept("=") {
                    true => self.expression(0)?,
                    false => self.cursor.ins().iconst(types::I64, 0),
                };
                self.store(local, value);
                self.expect(";")
            }
            "array" => {
                self.next();
                let name = self.next();
                self.expect("[")?;
                let len = self.next().parse()?;
                self.declare(name, Some(len));
                self.expect("]")?;
                self.expect(";")
            }
            "while" => {
                self.next();
                let [test, body, after] = [(); 3].map(|()| self.make_block());
                self.cursor.ins().jump(test, []);
                self.begin(test);
                let condition = self.expression(0)?;
                self.cursor.ins().brif(condition, body, [], after, []);
                self.begin(body);
                self.block()?;
                self.cursor.ins().jump(test, []);
                self.begin(after);
                Ok(())
            }
            "if" => {
                self.next();
                let [then, otherwise, after] = [(); 3].map(|()| self.make_block());
                let condition = self.expression(0)?;
                self.cursor.ins().brif(condition, then, [], otherwise, []);
                self.begin(then);
                self.block()?;
                self.cursor.ins().jump(after, []);
                self.begin(otherwise);
                if self.accept("else") {
                    self.block()?;
                }
                self.cursor.ins().jump(after, []);
                self.begin(after);
                Ok(())
            }
            "return" => {
                self.next();
                let value = self.expression(0)?;
                self.expect(";")?;
                self.cursor.ins().return_(&[value]);
                let unreachable = self.make_block();
                self.begin(unreachable);
                Ok(())
            }
            _ => self.assignment(),
        }
    }

    fn assignment(&mut self) -> Result<()> {
        let name = self.next();
        let local = self.local(&name)?;
        let element = match local.len {
            Some(len) => Some(self.element(local, len)?),
            None => None,
        };
        self.expect("=")?;
        let value = self.expression(0)?;
        self.expect(";")?;
        match element {
            Some(address) => {
                let flags = MemFlagsData::trusted();
                self.cursor.ins().store(flags, value, address, 0);
            }
            None => self.store(local, value),
        }
        Ok(())
    }

    /// The address of an array's element, once its index is checked.
    fn element(&mut self, local: Local, len: u32) -> Result<Value> {
        self.expect("[")?;
        let index = self.expression(0)?;
        self.expect("]")?;
        let ins = &mut self.cursor;
        let len = ins.ins().iconst(types::I64, i64::from(len));
        let outside = ins
            .ins()
            .icmp(IntCC::UnsignedGreaterThanOrEqual, index, len);
        ins.ins().trapnz(outside, TrapCode::HEAP_OUT_OF_BOUNDS);
        let three = ins.ins().iconst(types::I64, 3);
        let offset = ins.ins().ishl(index, three);
        let base = ins.ins().stack_addr(types::I64, local.slot, 0);
        Ok(ins.ins().iadd(base, offset))
    }

    /// A call of a function of the module, behind the parenthesis.
    fn call(&mut self, name: &str) -> Result<Value> {
        let mut args = vec![];
        while !self.accept(")") {
            args.push(self.expression(0)?);
            self.accept(",");
        }
        let func = &mut *self.cursor.func;
        let mut signature = Signature::new(func.signature.call_conv);
        signature.params = vec![AbiParam::new(types::I64); args.len()];
        signature.returns.push(AbiParam::new(types::I64));
        let signature = func.import_signature(signature);
        let callee = func.import_function(ExtFuncData {
            name: ExternalName::testcase(name),
            signature,
            colocated: false,
            patchable: false,
        });
        let call = self.cursor.ins().call(callee, &args);
        let result = self.cursor.func.dfg.inst_results(call).first().copied();
        result.ok_or_else(|| "no result".into())
    }

    fn expression(&mut self, level: usize) -> Result<Value> {
        let Some(operators) = LEVELS.get(level) else {
            return self.primary();
        };
        let mut left = self.expression(level + 1)?;
        while operators.contains(&self.peek()) {
            let operator = self.next();
            let right = self.expression(level + 1)?;
            left = self.binary(&operator, left, right);
        }
        Ok(left)
    }

    fn binary(&mut self, operator: &str, a: Value, b: Value) -> Value {
        let ins = self.cursor.ins();
        let compared = match operator {
            "+" => return ins.iadd(a, b),
            "-" => return ins.isub(a, b),
            "*" => return ins.imul(a, b),
            "/" => return ins.udiv(a, b),
            "%" => return ins.urem(a, b),
            "&" => return ins.band(a, b),
            "|" => return ins.bor(a, b),
            "^" => return ins.bxor(a, b),
            "<<" => return ins.ishl(a, b),
            ">>" => return ins.ushr(a, b),
            "==" => ins.icmp(IntCC::Equal, a, b),
            "!=" => ins.icmp(IntCC::NotEqual, a, b),
            "<" => ins.icmp(IntCC::SignedLessThan, a, b),
            _ => ins.icmp(IntCC::SignedLessThanOrEqual, a, b),
        };
        self.cursor.ins().uextend(types::I64, compared)
    }

    fn primary(&mut self) -> Result<Value> {
        if self.accept("(") {
            let value = self.expression(0)?;
            self.expect(")")?;
            return Ok(value);
        }
        if let Ok(number) = self.peek().parse::<i64>() {
            self.next();
            return Ok(self.cursor.ins().iconst(types::I64, number));
        }
        let name = self.next();
        if self.accept("(") {
            return self.call(&name);
        }
        let local = self.local(&name)?;
        let address = match local.len {
            Some(len) => self.element(local, len)?,
            None => self.cursor.ins().stack_addr(types::I64, local.slot, 0),
        };
        let flags = MemFlagsData::trusted();
        Ok(self.cursor.ins().load(types::I64, flags, address, 0))
    }
}
