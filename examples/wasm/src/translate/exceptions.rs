//! Throwing, and handlers.
//!
//! A call inside of a `try_table` is a `try_call` with one handler, for everything: the block that goes through the
//! clauses, which compares tags, takes the values out of the exception, and branches to a label. What no clause takes goes to
//! the handler around it in the same function, or is thrown again from here.
//!
//! ```text
//!   try_call f(…) ── returns ──▶ next block
//!        └─ throws ──▶ handler(exception): tag = a? ─▶ label(values…)
//!                                          tag = b? ─▶ label(values…, exception)
//!                                          else     ─▶ handler around, or throw_ref
//! ```
//!
//! The handler is translated where its `try_table` ends: then all calls that lead there are known.

use super::Translator;
use super::calls::Callee;
use super::control::{Frame, Kind, arguments};
use crate::error::{Error, codes};
use crate::exceptions::{EXCEPTION_REFERENCED, EXCEPTION_TAG, EXCEPTION_VALUES};
use crate::helpers::Helper;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, ExceptionTableData, ExceptionTableItem, InstBuilder, MemFlagsData,
    StackSlotData, StackSlotKind, Type, Value, types,
};
use wasmparser::{Catch, Operator};

/// The size of a value of an exception.
const CELL: i32 = 16;

/// A `try_table`.
pub(super) struct Try {
    catches: Vec<Catch>,
    /// The block that goes through the clauses, once a call leads there.
    handler: Option<Block>,
}

fn cell(position: usize) -> i32 {
    i32::try_from(position).map_or(i32::MAX, |position| position.saturating_mul(CELL))
}

impl Translator<'_> {
    pub(super) fn exception(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        match op {
            Operator::TryTable { try_table } => {
                let begun = Try {
                    catches: try_table.catches.clone(),
                    handler: None,
                };
                self.begin(Kind::Try(begun), try_table.ty)?;
            }
            Operator::Throw { tag_index } => self.throw(*tag_index)?,
            Operator::ThrowRef => {
                let exception = self.pop()?;
                self.b.ins().trapz(exception, codes::NULL_EXCEPTION);
                self.thrown(Helper::ThrowRef, &[exception])?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn throw(&mut self, tag: u32) -> Result<(), Error> {
        let count = self.tag_types(tag)?.len();
        let values = self.peek_canonical(count)?;
        self.pop_many(count)?;
        let size = u32::try_from(cell(count.max(1))).unwrap_or(u32::MAX);
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4);
        let slot = self.b.create_sized_stack_slot(slot);
        let cells = self.b.ins().stack_addr(types::I64, slot, 0);
        for (position, value) in values.into_iter().enumerate() {
            let flags = MemFlagsData::trusted();
            self.b.ins().store(flags, value, cells, cell(position));
        }
        let tag = self.constant(tag);
        self.thrown(Helper::Throw, &[tag, cells])
    }

    /// Calls a function of the runtime that does not return.
    fn thrown(&mut self, helper: Helper, arguments: &[Value]) -> Result<(), Error> {
        let callee = Callee::Direct(self.helper_ref(helper)?);
        self.emit_call(callee, self.vmctx, arguments.to_vec());
        self.b.ins().trap(codes::HOST);
        self.reachable = false;
        Ok(())
    }

    /// The types of a tag's values.
    fn tag_types(&self, tag: u32) -> Result<Vec<Type>, Error> {
        let module = &self.compiled.module;
        let ty = module.tag_type(tag);
        let ty = ty.ok_or_else(|| Error::Internal(format!("no tag {tag}")))?;
        Ok(ty.params.iter().map(|ty| ty.clif()).collect())
    }

    /// The handler of calls in the first `inside` constructs, if they have one.
    fn handler(&mut self, inside: usize) -> Option<Block> {
        let frames = self.frames.get_mut(..inside)?;
        let innermost = frames.iter_mut().rev().find_map(Frame::as_try)?;
        let handler = match innermost.handler {
            Some(handler) => handler,
            None => {
                let handler = self.b.create_block();
                self.b.append_block_param(handler, types::I64);
                *innermost.handler.insert(handler)
            }
        };
        Some(handler)
    }

    /// Calls a function; its results. An exception goes to the innermost handler.
    pub(super) fn emit_call(
        &mut self,
        callee: Callee,
        vmctx: Value,
        mut arguments: Vec<Value>,
    ) -> Vec<Value> {
        arguments.insert(0, vmctx);
        let Some(handler) = self.handler(self.frames.len()) else {
            let call = match callee {
                Callee::Direct(callee) => self.b.ins().call(callee, &arguments),
                Callee::Address(signature, code) => {
                    self.b.ins().call_indirect(signature, code, &arguments)
                }
            };
            return self.b.inst_results(call).to_vec();
        };
        let dfg = &mut self.b.func.dfg;
        let signature = match callee {
            Callee::Direct(callee) => dfg.ext_funcs[callee].signature,
            Callee::Address(signature, _) => signature,
        };
        let returns = dfg.signatures[signature].returns.iter();
        let returns: Vec<Type> = returns.map(|result| result.value_type).collect();
        let next = self.b.create_block();
        for ty in &returns {
            self.b.append_block_param(next, *ty);
        }
        let dfg = &mut self.b.func.dfg;
        let results: Vec<BlockArg> = (0..)
            .zip(&returns)
            .map(|(position, _)| BlockArg::TryCallRet(position))
            .collect();
        let normal = dfg.block_call(next, &results);
        let exceptional = dfg.block_call(handler, &[BlockArg::TryCallExn(0)]);
        let handlers = [ExceptionTableItem::Default(exceptional)];
        let table = ExceptionTableData::new(signature, normal, handlers);
        let table = dfg.exception_tables.push(table);
        match callee {
            Callee::Direct(callee) => self.b.ins().try_call(callee, &arguments, table),
            Callee::Address(_, code) => self.b.ins().try_call_indirect(code, &arguments, table),
        };
        self.b.switch_to_block(next);
        self.b.seal_block(next);
        self.b.block_params(next).to_vec()
    }

    /// Translates the handler of the innermost construct, if it is a `try_table` with calls in it. Afterwards no code can be
    /// reached but by the construct's label.
    pub(super) fn end_try(&mut self) -> Result<(), Error> {
        let begun = self.frames.last_mut().and_then(Frame::as_try);
        let Some((catches, Some(handler))) =
            begun.map(|begun| (begun.catches.clone(), begun.handler))
        else {
            return Ok(());
        };
        if self.reachable {
            self.branch(0)?;
        }
        self.reachable = false;
        self.b.switch_to_block(handler);
        self.b.seal_block(handler);
        let Some(&exception) = self.b.block_params(handler).first() else {
            return Err(Error::Internal(
                "a handler without an exception".to_string(),
            ));
        };
        let flags = MemFlagsData::trusted();
        let load = |this: &mut Self, at| this.b.ins().load(types::I64, flags, exception, at);
        for catch in catches {
            let (tag, label, by_reference) = match catch {
                Catch::One { tag, label } => (Some(tag), label, false),
                Catch::OneRef { tag, label } => (Some(tag), label, true),
                Catch::All { label } => (None, label, false),
                Catch::AllRef { label } => (None, label, true),
            };
            let Some(tag) = tag else {
                return self.caught(exception, vec![], label, by_reference);
            };
            let thrown = load(self, EXCEPTION_TAG);
            let wanted = self.field(self.compiled.layout.tag(tag))?;
            let same = self.b.ins().icmp(IntCC::Equal, thrown, wanted);
            let (taken, next) = (self.b.create_block(), self.b.create_block());
            self.b.ins().brif(same, taken, &[], next, &[]);
            self.b.seal_block(taken);
            self.b.seal_block(next);
            self.b.switch_to_block(taken);
            let types = self.tag_types(tag)?;
            let cells = load(self, EXCEPTION_VALUES);
            let values = types.iter().enumerate();
            let values = values.map(|(at, ty)| self.b.ins().load(*ty, flags, cells, cell(at)));
            let values = values.collect();
            self.caught(exception, values, label, by_reference)?;
            self.b.switch_to_block(next);
        }
        match self.handler(self.frames.len().saturating_sub(1)) {
            Some(outer) => {
                self.b.ins().jump(outer, &arguments(&[exception]));
            }
            None => {
                let helper = self.helper_ref(Helper::ThrowRef)?;
                self.b.ins().call(helper, &[self.vmctx, exception]);
                self.b.ins().trap(codes::HOST);
            }
        }
        Ok(())
    }

    /// A clause has taken an exception: branches to its label, which is counted from outside of the construct.
    fn caught(
        &mut self,
        exception: Value,
        mut values: Vec<Value>,
        label: u32,
        by_reference: bool,
    ) -> Result<(), Error> {
        if by_reference {
            let flags = MemFlagsData::trusted();
            let one = self.b.ins().iconst(types::I64, 1);
            self.b
                .ins()
                .store(flags, one, exception, EXCEPTION_REFERENCED);
            values.push(exception);
        } else {
            self.helper(Helper::ReleaseException, &[exception])?;
        }
        let (target, _) = self.label(label.saturating_add(1))?;
        self.b.ins().jump(target, &arguments(&values));
        Ok(())
    }
}
