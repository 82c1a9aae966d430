//! The text that a function was made from, in a file, and which line each instruction is on.
//!
//! ```text
//!   client's CLIF ── printed, at once or when it is known to matter ──▶ DIR/regraft-PID/NAME-N.clif
//!        ├─ counted ──▶ lines                                             ▲ line
//!        └─ numbered ──▶ source locations ── outliner, code generator ──▶ rows: offset, line
//! ```
//!
//! Printing takes as long as compiling at tier 0, so lines are counted without it: who has a file of them written is
//! `units::function`.
//!
//! Source locations go through everything that code is made by, so each instruction gets its own number as such, while
//! somebody reads lines. The client's locations come back from the table.
//!
//! Limitations: files stay after the process has ended, as profiles and core files do, which refer to them. Of code
//! that the optimiser merged, one line is known; of code that the engine added, none.
//!
//! Not here: what is done with rows (`regraft-symbols`).

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::entities::AnyEntity;
use cranelift_codegen::ir::{Block, Function, Inst, SourceLoc, Value};
use cranelift_codegen::write::{FuncWriter, decorate_function};
use std::cell::Cell;
use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// What is known of the instructions of one definition.
#[derive(Debug)]
pub(crate) struct Lines {
    file: PathBuf,
    /// Done when the file is there, or cannot be written.
    saved: Once,
    /// The lines of the blocks' headers.
    blocks: SecondaryMap<Block, u32>,
    /// By instruction.
    places: SecondaryMap<Inst, Place>,
    /// Whether the client has set source locations.
    client: bool,
}

/// Where an instruction is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    block: Option<Block>,
    location: SourceLoc,
    line: u32,
}

/// The number of the first instruction. Locations are stored as distances from the client's first, and one distance
/// means "none": numbers that are far from usual locations do not meet it.
const FIRST: u32 = 1 << 30;

impl Lines {
    /// Finds the lines of a definition, and a name for the file that is to have its text.
    ///
    /// # Errors
    /// There is no current directory to start from.
    ///
    /// # Complexity
    /// O(instructions).
    pub fn of(directory: &Path, name: &str, func: &Function) -> std::io::Result<Self> {
        let lines = Cell::new(0);
        let mut counter = Counter {
            lines: &lines,
            blocks: SecondaryMap::new(),
            insts: SecondaryMap::new(),
        };
        // Counting does not fail.
        let _ = decorate_function(&mut counter, &mut Counted(&lines), func);
        let Counter {
            blocks, mut insts, ..
        } = counter;
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                insts[inst].block = Some(block);
                insts[inst].location = func.srcloc(inst);
            }
        }
        Ok(Self {
            file: file(directory, name)?,
            saved: Once::new(),
            blocks,
            places: insts,
            client: !func.params.base_srcloc().is_default(),
        })
    }

    /// Saves the text, once: that of the function whose lines they are.
    pub fn save(&self, text: impl FnOnce() -> String) {
        self.saved.call_once(|| {
            if let Err(error) = write(&self.file, &text()) {
                tracing::warn!(file = %self.file.display(), %error, "the text of a function is not saved");
            }
        });
    }

    /// Gives every instruction its number as its source location.
    ///
    /// # Complexity
    /// O(instructions).
    pub fn number(func: &mut Function) {
        let mut next = func.layout.entry_block();
        while let Some(block) = next {
            let mut inst = func.layout.first_inst(block);
            while let Some(this) = inst {
                func.set_srcloc(this, SourceLoc::new(FIRST.saturating_add(this.as_u32())));
                inst = func.layout.next_inst(this);
            }
            next = func.layout.next_block(block);
        }
    }

    /// Puts the client's source locations back.
    pub fn restore(&self, func: &mut Function) {
        func.srclocs.clear();
        let located = self
            .places
            .iter()
            .filter(|(_, place)| !place.location.is_default());
        for (inst, place) in located {
            func.set_srcloc(inst, place.location);
        }
    }

    /// Whether the client has set source locations.
    pub fn are_clients(&self) -> bool {
        self.client
    }

    /// The block and the client's location behind a number.
    pub fn find(&self, number: SourceLoc) -> (Option<Block>, Option<SourceLoc>) {
        match self.place(number) {
            Some(place) => {
                let location = Some(place.location).filter(|location| !location.is_default());
                (place.block, location)
            }
            None => (None, None),
        }
    }

    /// The line behind a number; 0 for none.
    pub fn line(&self, number: SourceLoc) -> u32 {
        self.place(number).map_or(0, |place| place.line)
    }

    /// The line of a block's header, or of the function's.
    pub fn header(&self, block: Option<Block>) -> u32 {
        block.map_or(1, |block| self.blocks[block])
    }

    /// The file that has the text, once it is saved.
    pub fn file(&self) -> &Path {
        &self.file
    }

    fn place(&self, number: SourceLoc) -> Option<&Place> {
        let index = number.bits().checked_sub(FIRST)?;
        self.places.get(Inst::from_u32(index))
    }
}

/// A name for the file of a definition's text.
fn file(directory: &Path, name: &str) -> std::io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = std::path::absolute(directory)?.join(format!("regraft-{}", std::process::id()));
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().take(60).map(plain).collect();
    Ok(directory.join(format!("{name}-{number}.clif")))
}

/// Writes a text into its file, and makes the directory for it.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(directory) = path.parent() {
                let mut builder = DirBuilder::new();
                builder.recursive(true).mode(0o700).create(directory)?;
            }
            options.open(path)?
        }
        file => file?,
    };
    file.write_all(text.as_bytes())
}

/// Counts the lines of what is written, and keeps nothing.
struct Counted<'a>(&'a Cell<u32>);

impl fmt::Write for Counted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        add(self.0, text.bytes().filter(|&byte| byte == b'\n').count());
        Ok(())
    }
}

fn add(lines: &Cell<u32>, more: usize) {
    let more = u32::try_from(more).unwrap_or(u32::MAX);
    lines.set(lines.get().saturating_add(more));
}

/// Takes note of lines as they would be printed, and prints nothing that is sure to be one line.
struct Counter<'a> {
    lines: &'a Cell<u32>,
    blocks: SecondaryMap<Block, u32>,
    insts: SecondaryMap<Inst, Place>,
}

impl FuncWriter for Counter<'_> {
    fn write_entity_definition(
        &mut self,
        w: &mut dyn fmt::Write,
        func: &Function,
        entity: AnyEntity,
        value: &dyn fmt::Display,
    ) -> fmt::Result {
        match entity {
            AnyEntity::StackSlot(_) | AnyEntity::SigRef(_) | AnyEntity::Constant(_) => {
                add(self.lines, 1);
                Ok(())
            }
            // A client's names may have anything in them.
            _ => self.super_entity_definition(w, func, entity, value),
        }
    }

    fn write_block_header(
        &mut self,
        _: &mut dyn fmt::Write,
        _: &Function,
        block: Block,
        _: usize,
    ) -> fmt::Result {
        add(self.lines, 1);
        self.blocks[block] = self.lines.get();
        Ok(())
    }

    fn write_instruction(
        &mut self,
        _: &mut dyn fmt::Write,
        func: &Function,
        aliases: &SecondaryMap<Value, Vec<Value>>,
        inst: Inst,
        _: usize,
    ) -> fmt::Result {
        add(self.lines, 1);
        self.insts[inst].line = self.lines.get();
        // Aliases are on lines after the instruction that defines their referent.
        let mut referents = func.dfg.inst_results(inst).to_vec();
        while let Some(referent) = referents.pop() {
            add(self.lines, aliases[referent].len());
            referents.extend(&aliases[referent]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::ir::UserFuncName;

    const CLIF: &str = "
function %sum(i64) -> i64 system_v {
block0(v0: i64):
    v1 = iconst.i64 0
    jump block1(v1)

block1(v2: i64):
@0012 v3 = iadd v2, v0
    v4 = icmp ult v3, v0
    brif v4, block1(v3), block2

block2:
    return v3
}";

    #[test]
    fn numbers_lead_to_lines_blocks_and_locations() {
        let original = cranelift_reader::parse_functions(CLIF).unwrap().remove(0);
        let mut func = original.clone();
        let lines = Lines::of(&std::env::temp_dir(), "sum/..", &func).unwrap();
        assert!(!lines.file().exists());
        lines.save(|| original.to_string());
        let text = std::fs::read_to_string(lines.file()).unwrap();
        std::fs::remove_file(lines.file()).unwrap();
        assert_eq!(text, original.to_string());
        assert!(lines.are_clients());
        let text: Vec<&str> = text.lines().collect();
        Lines::number(&mut func);
        for block in func.layout.blocks() {
            let header = text[lines.header(Some(block)) as usize - 1];
            assert!(
                header.trim_start().starts_with(&block.to_string()),
                "{header}"
            );
            for inst in func.layout.block_insts(block) {
                let number = func.srcloc(inst);
                let line = text[lines.line(number) as usize - 1];
                let opcode = func.dfg.insts[inst].opcode().to_string();
                assert!(line.contains(&opcode), "{line}: {opcode}");
                let location = original.srcloc(inst);
                let location = (!location.is_default()).then_some(location);
                assert_eq!(lines.find(number), (Some(block), location));
            }
        }
        assert_eq!(lines.line(SourceLoc::default()), 0);
        lines.restore(&mut func);
        assert_eq!(func.to_string(), original.to_string());
    }

    /// What is counted is what would be printed: preambles, aliases, names with line breaks in them.
    #[test]
    fn lines_are_those_of_the_text() {
        let aliases = "
function %aliases(i64) -> i64 system_v {
block0(v0: i64):
    v7 -> v0
    v8 -> v7
    v1 = iadd v0, v8
    v5 -> v1
    v6 -> v5
    v2 = iadd v6, v7
    return v2
}";
        let texts = [
            include_str!("../../../examples/clif/many_values.clif"),
            include_str!("../../../examples/clif/stack_slots.clif"),
            include_str!("../../../examples/clif/calls.clif"),
            include_str!("../../../examples/clif/br_table.clif"),
            aliases,
            CLIF,
        ];
        let functions = texts
            .into_iter()
            .flat_map(|text| cranelift_reader::parse_functions(text).unwrap());
        for mut func in functions {
            func.name = UserFuncName::testcase("a\nb");
            let lines = Lines::of(&std::env::temp_dir(), "f", &func).unwrap();
            let text = func.to_string();
            let text: Vec<&str> = text.lines().collect();
            for block in func.layout.blocks() {
                let header = text[lines.header(Some(block)) as usize - 1].trim_start();
                assert!(header.starts_with(&block.to_string()), "{header}");
                for inst in func.layout.block_insts(block) {
                    let line = text[lines.places[inst].line as usize - 1].trim_start();
                    let opcode = func.dfg.insts[inst].opcode().to_string();
                    let results = func.dfg.inst_results(inst);
                    let result = results.first().map(ToString::to_string);
                    assert!(line.contains(&opcode), "{line}: {opcode}");
                    assert!(line.contains(&result.unwrap_or_default()), "{line}");
                }
            }
        }
    }
}
