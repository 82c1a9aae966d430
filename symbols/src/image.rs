//! An ELF image of one piece of code, for a debugger: symbols, lines, unwind information, and where the code is.
//!
//! ```text
//!   .text      no bytes: they are in memory, at the section's address
//!   .debug_*   lines and the name, where there is a source; .debug_frame
//!   .symtab    one function
//! ```
//!
//! Every address is known, so that nothing needs a relocation, and the image says that it is executable.

use crate::jitdump::MACHINE;
use crate::{Code, dwarf};
use object::elf;
use object::write::StringId;
use object::write::elf::{FileHeader, SectionHeader, SectionIndex, Sym, Writer};

/// Why an image could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Debug information does not fit into its format.
    #[error("debug information: {0}")]
    Dwarf(#[from] gimli::write::Error),
    /// The image does not fit into its format.
    #[error("the ELF image: {0}")]
    Elf(#[from] object::write::Error),
}

/// Where the section of the code is in the list: after the null section.
const TEXT: SectionIndex = SectionIndex(1);

/// Writes the image.
///
/// # Errors
/// [`ImageError`].
pub fn write(code: &Code<'_>, len: usize, name: &str) -> Result<Vec<u8>, ImageError> {
    let mut sections = match code.source {
        Some(source) => dwarf::write(name, code.start, len, source)?,
        None => vec![],
    };
    if let Some(frame) = code.frame {
        sections.push((".debug_frame", frame.debug_frame()?));
    }

    let mut bytes = vec![];
    let mut elf = Writer::new(object::Endianness::default(), true, &mut bytes);
    // First, everything gets its place …
    elf.reserve_null_section_index();
    elf.reserve_section_index();
    let text = elf.add_section_name(b".text");
    let mut placed: Vec<(StringId, usize, &[u8])> = vec![];
    for (name, _) in &sections {
        elf.reserve_section_index();
        placed.push((elf.add_section_name(name.as_bytes()), 0, &[]));
    }
    elf.reserve_symtab_section_index();
    elf.reserve_strtab_section_index();
    elf.reserve_shstrtab_section_index();
    let symbol = elf.add_string(name.as_bytes());
    elf.reserve_null_symbol_index();
    elf.reserve_symbol_index(Some(TEXT));
    elf.reserve_file_header();
    for (place, (_, contents)) in placed.iter_mut().zip(&sections) {
        *place = (place.0, elf.reserve(contents.len(), 1), contents);
    }
    elf.reserve_symtab();
    elf.reserve_strtab();
    elf.reserve_shstrtab();
    elf.reserve_section_headers();

    // … then it is written, in the same order.
    elf.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: MACHINE,
        e_entry: 0,
        e_flags: 0,
    })?;
    for (_, _, contents) in &placed {
        elf.write(contents);
    }
    elf.write_null_symbol();
    elf.write_symbol(&Sym {
        name: Some(symbol),
        section: Some(TEXT),
        st_info: (elf::STB_GLOBAL << 4) | elf::STT_FUNC,
        st_other: elf::STV_DEFAULT,
        st_shndx: 0,
        st_value: code.start as u64,
        st_size: len as u64,
    });
    elf.write_strtab();
    elf.write_shstrtab();
    elf.write_null_section_header();
    elf.write_section_header(&SectionHeader {
        name: Some(text),
        sh_type: elf::SHT_NOBITS,
        sh_flags: u64::from(elf::SHF_ALLOC | elf::SHF_EXECINSTR),
        sh_addr: code.start as u64,
        sh_offset: 0,
        sh_size: len as u64,
        sh_link: 0,
        sh_info: 0,
        sh_addralign: 1,
        sh_entsize: 0,
    });
    for (name, offset, contents) in placed {
        elf.write_section_header(&SectionHeader {
            name: Some(name),
            sh_type: elf::SHT_PROGBITS,
            sh_flags: 0,
            sh_addr: 0,
            sh_offset: offset as u64,
            sh_size: contents.len() as u64,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: 1,
            sh_entsize: 0,
        });
    }
    // The null symbol is local, the function is not.
    elf.write_symtab_section_header(1);
    elf.write_strtab_section_header();
    elf.write_shstrtab_section_header();
    Ok(bytes)
}
