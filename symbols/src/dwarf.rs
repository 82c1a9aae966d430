//! Lines and names of one piece of code, as DWARF.

use crate::Source;
use gimli::write::{
    Address, AttributeValue, Dwarf, EndianVec, Expression, LineProgram, LineString, Result,
    Sections, Unit,
};
use gimli::{Encoding, Format, LineEncoding, NativeEndian};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A section of debug information: its name and contents.
pub type Section = (&'static str, Vec<u8>);

/// One compilation unit with one subprogram.
///
/// # Errors
/// What does not fit into the format.
pub fn write(name: &str, start: usize, len: usize, source: Source<'_>) -> Result<Vec<Section>> {
    let encoding = Encoding {
        format: Format::Dwarf32,
        version: 4,
        address_size: 8,
    };
    let text = |path: &Path| path.as_os_str().as_bytes().to_vec();
    let directory = source.file.parent().filter(|path| path.is_absolute());
    let directory = text(directory.unwrap_or(Path::new("/")));
    let file = source
        .file
        .file_name()
        .unwrap_or("unknown".as_ref())
        .as_bytes()
        .to_vec();
    let (start, len) = (Address::Constant(start as u64), len as u64);

    let mut program = LineProgram::new(
        encoding,
        LineEncoding::default(),
        LineString::String(directory.clone()),
        None,
        LineString::String(file.clone()),
        None,
    );
    let in_directory = program.default_directory();
    let file_id = program.add_file(LineString::String(file.clone()), in_directory, None);
    program.begin_sequence(Some(start));
    let mut last = 0;
    let mut row = |offset: u64, line: u32| {
        // Rows that go back cannot be written.
        last = offset.max(last);
        program.row().address_offset = last;
        program.row().file = file_id;
        program.row().line = line.into();
        program.generate_row();
    };
    // The prologue is of the line where the code starts, and a debugger takes the second row for its end.
    row(0, source.line);
    for at in source.rows {
        row(at.offset.into(), at.line);
    }
    program.end_sequence(len);

    let mut dwarf = Dwarf::new();
    let unit = dwarf.units.add(Unit::new(encoding, program));
    let unit = dwarf.units.get_mut(unit);
    let root = unit.root();
    let subprogram = unit.add(root, gimli::DW_TAG_subprogram);
    let range = [
        (gimli::DW_AT_low_pc, AttributeValue::Address(start)),
        (gimli::DW_AT_high_pc, AttributeValue::Udata(len)),
    ];
    let entry = unit.get_mut(root);
    entry.set(
        gimli::DW_AT_producer,
        AttributeValue::String(b"regraft".to_vec()),
    );
    // A language without rules of its own about names and types.
    let language = AttributeValue::Language(gimli::DW_LANG_Mips_Assembler);
    entry.set(gimli::DW_AT_language, language);
    entry.set(gimli::DW_AT_name, AttributeValue::String(file));
    entry.set(gimli::DW_AT_comp_dir, AttributeValue::String(directory));
    for (attribute, value) in range.clone() {
        entry.set(attribute, value);
    }
    let entry = unit.get_mut(subprogram);
    entry.set(gimli::DW_AT_name, AttributeValue::String(name.into()));
    entry.set(gimli::DW_AT_external, AttributeValue::Flag(true));
    entry.set(
        gimli::DW_AT_decl_file,
        AttributeValue::FileIndex(Some(file_id)),
    );
    entry.set(
        gimli::DW_AT_decl_line,
        AttributeValue::Udata(source.line.into()),
    );
    let mut base = Expression::new();
    base.op(gimli::DW_OP_call_frame_cfa);
    entry.set(gimli::DW_AT_frame_base, AttributeValue::Exprloc(base));
    for (attribute, value) in range {
        entry.set(attribute, value);
    }

    let mut sections = Sections::new(EndianVec::new(NativeEndian));
    dwarf.write(&mut sections)?;
    let mut written = vec![];
    sections.for_each_mut(|id, section| -> Result<()> {
        if !section.slice().is_empty() {
            written.push((id.name(), section.take()));
        }
        Ok(())
    })?;
    Ok(written)
}
