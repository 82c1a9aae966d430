//! Blocks, loops, branches and returns.
//!
//! The values that a construct takes or leaves are parameters of the blocks where control flow meets. The
//! block after a construct is made when something first branches to it, so code without branches has no
//! blocks.

use super::Translator;
use super::exceptions::Try;
use crate::error::{Error, codes};
use crate::types::ValueType;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, JumpTableData, Value, types};
use wasmparser::{BlockType, BrTable, Operator};

/// A construct that has begun.
pub(super) struct Frame {
    kind: Kind,
    params: Vec<ValueType>,
    results: Vec<ValueType>,
    /// Where control goes after it, if anything branches there.
    exit: Option<Block>,
    /// The size of the stack beneath its parameters.
    pub height: usize,
}

pub(super) enum Kind {
    Block,
    Loop {
        header: Block,
    },
    /// The `then` part of an `if`, and what the other part begins with.
    If {
        otherwise: Block,
        params: Vec<Value>,
    },
    Try(Try),
}

impl Frame {
    /// What there is of a `try_table`, if it is one.
    pub fn as_try(&mut self) -> Option<&mut Try> {
        match &mut self.kind {
            Kind::Try(begun) => Some(begun),
            _ => None,
        }
    }

    /// The body of a function.
    pub fn body(results: Vec<ValueType>) -> Self {
        Self {
            kind: Kind::Block,
            params: vec![],
            results,
            exit: None,
            height: 0,
        }
    }
}

impl Translator<'_> {
    pub(super) fn control(&mut self, op: &Operator<'_>) -> Result<bool, Error> {
        match op {
            Operator::Nop => {}
            Operator::Unreachable => {
                self.b.ins().trap(codes::UNREACHABLE);
                self.reachable = false;
            }
            Operator::Block { blockty } => self.begin(Kind::Block, *blockty)?,
            Operator::Loop { blockty } => self.begin_loop(*blockty)?,
            Operator::If { blockty } => self.begin_if(*blockty)?,
            Operator::Else => self.otherwise()?,
            Operator::End => self.end()?,
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth)?;
                self.reachable = false;
            }
            Operator::BrIf { relative_depth } => self.branch_if(*relative_depth)?,
            Operator::BrTable { targets } => self.branch_table(targets)?,
            Operator::Return => self.return_()?,
            Operator::Call { function_index } => self.call(*function_index)?,
            Operator::CallIndirect {
                type_index,
                table_index,
            } => self.call_indirect(*type_index, *table_index)?,
            Operator::ReturnCall { function_index } => self.return_call(*function_index)?,
            Operator::ReturnCallIndirect {
                type_index,
                table_index,
            } => self.return_call_indirect(*type_index, *table_index)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Skips an operator, but for what ends the unreachable code.
    pub(super) fn unreachable_operator(&mut self, op: &Operator<'_>) -> Result<(), Error> {
        match op {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. } => {
                self.skipped += 1;
            }
            Operator::Else if self.skipped == 0 => self.otherwise()?,
            Operator::End if self.skipped == 0 => self.end()?,
            Operator::End => self.skipped -= 1,
            _ => {}
        }
        Ok(())
    }

    fn block_type(&self, ty: BlockType) -> Result<(Vec<ValueType>, Vec<ValueType>), Error> {
        Ok(match ty {
            BlockType::Empty => (vec![], vec![]),
            BlockType::Type(ty) => {
                let ty = ValueType::from_wasm(ty)
                    .ok_or_else(|| Error::Internal(format!("a block of type {ty}")))?;
                (vec![], vec![ty])
            }
            BlockType::FuncType(index) => {
                let ty = self.compiled.module.types.get(index as usize);
                let ty = ty.ok_or_else(|| Error::Internal(format!("no type {index}")))?;
                (ty.params.clone(), ty.results.clone())
            }
        })
    }

    pub(super) fn begin(&mut self, kind: Kind, ty: BlockType) -> Result<(), Error> {
        let (params, results) = self.block_type(ty)?;
        let height = self.stack.len().checked_sub(params.len());
        self.frames.push(Frame {
            kind,
            height: height.ok_or_else(super::underflow)?,
            params,
            results,
            exit: None,
        });
        Ok(())
    }

    fn begin_loop(&mut self, ty: BlockType) -> Result<(), Error> {
        let (params, _) = self.block_type(ty)?;
        let header = self.block_with(&params);
        let values = self.peek_canonical(params.len())?;
        self.b.ins().jump(header, &arguments(&values));
        self.pop_many(params.len())?;
        self.b.switch_to_block(header);
        self.stack.extend_from_slice(self.b.block_params(header));
        self.begin(Kind::Loop { header }, ty)
    }

    fn begin_if(&mut self, ty: BlockType) -> Result<(), Error> {
        let condition = self.pop()?;
        let condition = self.condition(condition);
        let (params, _) = self.block_type(ty)?;
        let values = self.peek_canonical(params.len())?;
        let (then, otherwise) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(condition, then, &[], otherwise, &[]);
        self.b.seal_block(then);
        self.b.seal_block(otherwise);
        self.b.switch_to_block(then);
        self.begin(
            Kind::If {
                otherwise,
                params: values,
            },
            ty,
        )
    }

    /// Ends the first part of an `if` and begins the second.
    fn otherwise(&mut self) -> Result<(), Error> {
        if self.reachable {
            self.branch(0)?;
        }
        let frame = self.frames.last_mut().ok_or_else(super::underflow)?;
        let kind = std::mem::replace(&mut frame.kind, Kind::Block);
        let height = frame.height;
        let Kind::If { otherwise, params } = kind else {
            return Err(Error::Internal("else without if".to_string()));
        };
        self.stack.truncate(height);
        self.b.switch_to_block(otherwise);
        self.stack.extend(params);
        self.reachable = true;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        let innermost = self.frames.last().ok_or_else(super::underflow)?;
        if matches!(innermost.kind, Kind::If { .. }) {
            // Without an `else`, parameters are results.
            self.otherwise()?;
        }
        self.end_try()?;
        let exit_needed = self.frames.last().is_some_and(|frame| frame.exit.is_some());
        if exit_needed && self.reachable {
            self.branch(0)?;
        }
        let frame = self.frames.pop().ok_or_else(super::underflow)?;
        if let Kind::Loop { header } = frame.kind {
            self.b.seal_block(header);
        }
        if let Some(exit) = frame.exit {
            self.stack.truncate(frame.height);
            self.b.switch_to_block(exit);
            self.b.seal_block(exit);
            self.stack.extend_from_slice(self.b.block_params(exit));
            self.reachable = true;
        } else if !self.reachable {
            self.stack.truncate(frame.height);
        }
        if self.frames.is_empty() && self.reachable {
            let values = self.peek_canonical(frame.results.len())?;
            self.b.ins().return_(&values);
            self.reachable = false;
        }
        Ok(())
    }

    /// The block that a label leads to, and how many values it takes.
    pub(super) fn label(&mut self, depth: u32) -> Result<(Block, usize), Error> {
        let at = self.frames.len().checked_sub(depth as usize + 1);
        let at = at.ok_or_else(|| Error::Internal(format!("no label {depth}")))?;
        let frame = &self.frames[at];
        if let Kind::Loop { header } = frame.kind {
            return Ok((header, frame.params.len()));
        }
        let exit = match frame.exit {
            Some(exit) => exit,
            None => {
                let results = frame.results.clone();
                let exit = self.block_with(&results);
                self.frames[at].exit = Some(exit);
                exit
            }
        };
        Ok((exit, self.frames[at].results.len()))
    }

    pub(super) fn branch(&mut self, depth: u32) -> Result<(), Error> {
        let (target, count) = self.label(depth)?;
        let values = self.peek_canonical(count)?;
        self.b.ins().jump(target, &arguments(&values));
        Ok(())
    }

    fn branch_if(&mut self, depth: u32) -> Result<(), Error> {
        let condition = self.pop()?;
        let condition = self.condition(condition);
        let (target, count) = self.label(depth)?;
        let values = self.peek_canonical(count)?;
        let next = self.b.create_block();
        self.b
            .ins()
            .brif(condition, target, &arguments(&values), next, &[]);
        self.b.seal_block(next);
        self.b.switch_to_block(next);
        Ok(())
    }

    fn branch_table(&mut self, targets: &BrTable<'_>) -> Result<(), Error> {
        let index = self.pop()?;
        let mut calls = vec![];
        let labels: Result<Vec<u32>, _> = targets.targets().collect();
        let mut labels = labels?;
        labels.push(targets.default());
        let (_, count) = self.label(targets.default())?;
        let values = arguments(&self.peek_canonical(count)?);
        for label in labels {
            let (target, _) = self.label(label)?;
            let call = self.b.func.dfg.block_call(target, &values);
            calls.push(call);
        }
        let default = calls.pop().ok_or_else(super::underflow)?;
        let table = JumpTableData::new(default, &calls);
        let table = self.b.create_jump_table(table);
        self.b.ins().br_table(index, table);
        self.reachable = false;
        Ok(())
    }

    fn return_(&mut self) -> Result<(), Error> {
        let count = self.frames.first().map_or(0, |frame| frame.results.len());
        let values = self.peek_canonical(count)?;
        self.b.ins().return_(&values);
        self.reachable = false;
        Ok(())
    }

    fn block_with(&mut self, params: &[ValueType]) -> Block {
        let block = self.b.create_block();
        for param in params {
            self.b.append_block_param(block, param.clif());
        }
        block
    }

    /// A value as a condition: without the extension of a comparison's result.
    pub(super) fn condition(&self, value: Value) -> Value {
        let dfg = &self.b.func.dfg;
        let Some(inst) = dfg.value_def(value).inst() else {
            return value;
        };
        let extended = dfg.insts[inst].opcode() == cranelift_codegen::ir::Opcode::Uextend;
        match dfg.inst_args(inst) {
            &[narrow] if extended && dfg.value_type(narrow) == types::I8 => narrow,
            _ => value,
        }
    }
}

pub(super) fn arguments(values: &[Value]) -> Vec<BlockArg> {
    values.iter().map(|value| BlockArg::from(*value)).collect()
}
