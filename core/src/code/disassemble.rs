//! Machine code of templates as text: Cranelift has one of its own code only.
//!
//! ```text
//!      4: movabs $0x0,%r11          # u0:3
//!      e: call *%r11
//! ```
//!
//! Without the feature `disassembly`, the bytes as such.

use cranelift_codegen::ir::Function;
use regraft_template::Code;
#[cfg(feature = "disassembly")]
use regraft_template::SymbolName;
#[cfg(feature = "disassembly")]
use std::collections::BTreeMap;

/// The code that was made of `func`, an instruction a line.
#[cfg(feature = "disassembly")]
pub fn disassemble(code: &Code, func: &Function) -> String {
    use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};
    use std::fmt::Write;

    let notes = notes(code, func);
    let mut text = String::new();
    let mut formatter = GasFormatter::new();
    let mut instruction = String::new();
    let end = u32::try_from(code.bytes.len()).unwrap_or(u32::MAX);
    let mut start = 0;
    for &(table, after) in code.tables.iter().chain([&(end, end)]) {
        let bytes = code.bytes.get(start as usize..table as usize);
        let ip = start.into();
        let mut decoder = Decoder::with_ip(64, bytes.unwrap_or_default(), ip, DecoderOptions::NONE);
        while decoder.can_decode() {
            let decoded = decoder.decode();
            instruction.clear();
            formatter.format(&decoded, &mut instruction);
            // Writing to a string does not fail.
            let _ = write!(text, "{:6x}: {instruction}", decoded.ip());
            if let Some((_, note)) = notes.range(decoded.ip()..decoded.next_ip()).next() {
                let _ = write!(
                    text,
                    "{:1$}# {note}",
                    "",
                    40_usize.saturating_sub(instruction.len())
                );
            }
            text.push('\n');
        }
        for entry in (table..after).step_by(4) {
            let bytes = code
                .bytes
                .get(entry as usize..)
                .and_then(<[u8]>::first_chunk);
            let distance = bytes.map_or(0, |bytes| i32::from_le_bytes(*bytes));
            let target = i64::from(table) + i64::from(distance);
            let _ = writeln!(text, "{entry:6x}: .long {target:#x} - {table:#x}");
        }
        start = after;
    }
    text
}

/// What is to be said of instructions, by where in them: the names whose addresses they get, the traps that they raise.
#[cfg(feature = "disassembly")]
fn notes(code: &Code, func: &Function) -> BTreeMap<u64, String> {
    let symbols = code.symbols.iter().map(|symbol| {
        let name = match &symbol.name {
            SymbolName::Source(name) => name.display(Some(&func.params)).to_string(),
            SymbolName::Probe(name) => name.to_string(),
        };
        let note = match symbol.addend {
            0 => name.to_string(),
            addend => format!("{name} + {addend}"),
        };
        (symbol.offset.into(), note)
    });
    let traps = code.traps.iter();
    let traps = traps.map(|(offset, trap)| (u64::from(*offset), format!("trap {trap}")));
    symbols.chain(traps).collect()
}

/// The bytes of the code.
#[cfg(not(feature = "disassembly"))]
pub fn disassemble(code: &Code, _: &Function) -> String {
    let lines = code.bytes.chunks(16).enumerate().map(|(line, bytes)| {
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:6x}: {}\n", line * 16, bytes.join(" "))
    });
    lines.collect()
}
